"""A writer at work while rows travel: what is marked is what Dataverse holds.

Somebody updates, deletes, inserts and locks rows at random while the stream reads, sends
and marks them, against a real Postgres. The sink records what it acknowledged, and
refuses a few. Each mark is looked at by a trigger that writes down the row as it was
marked. Threads decide who comes first, so a story that fails tells what happened in it.
"""

import asyncio
import gc
import json
import random
import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.metrics import Rejection
from apex_pipeline.postgres import pending_rows
from apex_pipeline.postgres.resent_rows import Slice
from apex_pipeline.sync.delivery_outcome import Delivery
from apex_pipeline.sync.row_sources import PendingSource, SliceSource
from apex_pipeline.sync.run_options import StreamOptions
from apex_pipeline.sync.stream import Stream
from apex_pipeline_tests.support.examples import examples

RESOURCE = "https://org.crm.dynamics.com"

EVERYTHING = Slice(until=datetime(9999, 1, 1, tzinfo=UTC))

# What the record of a marked row must hold, noted at the instant of each mark.
WITNESS = """
    CREATE TABLE seen (id uuid, tokens_in integer, at timestamptz);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO seen VALUES (NEW.id, NEW.tokens_in, NEW.exported_at);
        RETURN NULL;
    END $$;
    CREATE TRIGGER note AFTER UPDATE ON campaign_metrics FOR EACH ROW
    WHEN (NEW.exported_at IS NOT NULL
        AND NEW.exported_at IS DISTINCT FROM OLD.exported_at)
    EXECUTE FUNCTION note();
"""


class Sink:
    """Holds what it acknowledged; lets the writer in before it answers.

    Some requests are slow: they land after others that began later.
    """

    def __init__(self, rng, writer, told):
        self.records = {}
        self.passage = set()
        self._rng = rng
        self._writer = writer
        self._told = told

    async def deliver(self, metrics, deadline):
        if self._writer and self._rng.random() < 0.3:
            await asyncio.to_thread(self._writer.act)
        refused = []
        for metric in metrics:
            if self._writer and self._rng.random() < 0.05:
                refused.append(Rejection(metric.id, "0x80044331", "too long"))
                continue
            tokens = json.loads(metric.fields)["apex_tokensin"]
            self.records.setdefault(metric.id, []).append(tokens)
            self.passage.add(metric.id)
            self._told(f"{metric.id} holds {tokens}")
        if self._writer and self._rng.random() < 0.8:
            await asyncio.to_thread(self._writer.act)
        away = {one.id for one in refused}
        landed = tuple(metric.id for metric in metrics if metric.id not in away)
        return Delivery(landed, tuple(refused))

    def quiet(self):
        """From now on the writer is gone, and nothing is refused."""
        self._writer = None


SOME = (
    "id IN (SELECT id FROM campaign_metrics WHERE random() < 0.3"
    " FOR UPDATE SKIP LOCKED)"
)
CHANGE = f"UPDATE campaign_metrics SET tokens_in = tokens_in + 1 WHERE {SOME}"
ACTS = {
    "change": CHANGE,
    "change again": CHANGE,
    "change twice": f"{CHANGE}; {CHANGE}",
    "change in a savepoint": f"SAVEPOINT s; {CHANGE}; RELEASE s; {CHANGE}",
    "change and think better of it": f"SAVEPOINT s; {CHANGE}; ROLLBACK TO s",
    "date later": f"""
        UPDATE campaign_metrics
        SET tokens_in = tokens_in + 1, created_at = created_at + interval '1 hour'
        WHERE {SOME}
    """,
    "delete": f"DELETE FROM campaign_metrics WHERE {SOME} AND random() < 0.3",
    "replace": f"""
        WITH gone AS (
            DELETE FROM campaign_metrics WHERE {SOME} AND random() < 0.5
            RETURNING campaign_metrics AS row
        )
        INSERT INTO campaign_metrics
        SELECT (jsonb_populate_record(row, jsonb_build_object(
            'tokens_in', (row).tokens_in + 1, 'exported_at', null))).*
        FROM gone
    """,
    "lock": f"SELECT FROM campaign_metrics WHERE {SOME} FOR UPDATE",
    "share": "SELECT FROM campaign_metrics WHERE random() < 0.3 FOR KEY SHARE SKIP LOCKED",
    "touch": f"UPDATE campaign_metrics SET phase = phase WHERE {SOME}",
    "insert": "",
}


class Writer:
    """Another program at work on the same rows, some of it uncommitted for a while."""

    def __init__(self, seed, connections, told):
        self._rng = random.Random(seed)
        self._open, self._held = connections
        self._turn = threading.Lock()
        self._is_holding = False
        self._told = told

    def act(self):
        """Do something, unless it would have to wait for itself."""
        with self._turn:
            for _ in range(self._rng.randint(1, 3)):
                self._step()

    def _step(self):
        choice = self._rng.random()
        if self._is_holding and choice < 0.4:
            ending = "commit" if choice < 0.25 else "rollback"
            getattr(self._held, ending)()
            self._told(f"held: {ending}")
            self._is_holding = False
            return
        if not self._is_holding and choice < 0.3:
            self._carry_out(self._held, "held")
            self._is_holding = True
            return
        self._carry_out(self._open, "at once")
        self._open.commit()

    def _carry_out(self, connection, how):
        name = self._rng.choice(list(ACTS))
        if ACTS[name]:
            connection.execute(ACTS[name].encode())
        else:
            _insert(connection, 1)
        self._told(f"{how}: {name}")

    def leave(self):
        self._open.rollback()
        self._held.rollback()


def _insert(connection, count):
    connection.execute(
        """
        INSERT INTO campaign_metrics (campaign_id, run_id, agents_total,
            agents_successful, assets_generated, tokens_in, tokens_out, cost_usd,
            latency_p95_ms, latency_avg_ms, success_rate_pct)
        SELECT gen_random_uuid(), gen_random_uuid(), 5, 4, 12, 0, 3000, 0.1, 5, 4, 80
        FROM generate_series(1, %s)
        """,
        [count],
    )


def flow(source, sink, **options):
    async def beat():
        return None

    sink.passage = set()
    stream = Stream(source, sink, StreamOptions(**options), Deadline(60), beat)
    asyncio.run(stream.run())
    assert stream.tally.failure is None
    return stream.tally


@pytest.fixture
def two(database_url):
    with (
        psycopg.connect(database_url) as one,
        psycopg.connect(database_url) as other,
        psycopg.connect(database_url, autocommit=True) as witness,
    ):
        witness.execute(WITNESS.encode())
        yield (one, other), witness


@contextmanager
def told_with_failures():
    """What happened, in order, as a note to the error that ends it."""
    schedule: list[str] = []
    try:
        yield schedule.append
    except BaseException as error:
        error.add_note("\n".join(schedule))
        raise


def test_the_record_of_a_marked_row_is_the_row_as_it_was_marked(
    store, two, record_property
):
    connections, witness = two
    counts = dict.fromkeys(("changed", "deleted", "locked", "rejected", "delivered"), 0)
    stories = 0

    @settings(
        # With fewer, one outcome or another does not come about.
        examples(25),
        phases=(Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 4), st.booleans())
    def story(seed, rows, portion, again):
        nonlocal stories
        witness.execute("TRUNCATE campaign_metrics, campaign_metrics_quarantine, seen")
        _insert(witness, rows)
        with told_with_failures() as told:
            writer = Writer(seed, connections, told)
            sink = Sink(random.Random(seed), writer, told)
            portions = {"page_size": 3, "rows_per_request": portion}
            pending = PendingSource(store, None, RESOURCE)
            begun, kept = datetime.now(UTC), set()
            try:
                tallies = [flow(pending, sink, **portions)]
                if again:
                    begun = datetime.now(UTC)
                    source = SliceSource(store, None, RESOURCE, EVERYTHING)
                    tallies.append(flow(source, sink, **portions))
                    kept = _kept_an_old_mark(witness, begun) & sink.passage
                    assert len(kept) <= tallies[1].changed + tallies[1].locked
                tallies.append(flow(pending, sink, **portions))
            finally:
                writer.leave()
            # Those that a writer has replaced were pending since, and may be marked.
            kept &= _kept_an_old_mark(witness, begun)
            assert _false_marks(witness, sink) <= kept
            sink.quiet()
            witness.execute("DELETE FROM campaign_metrics_quarantine")
            if again:
                rest = EVERYTHING.continued(begun)
                last = flow(SliceSource(store, None, RESOURCE, rest), sink)
                assert kept & _rows(witness) <= sink.passage
            else:
                last = flow(pending, sink)
            # And when the writer has gone, the rest follows.
            assert (last.changed, last.deleted, last.locked) == (0, 0, 0)
            assert not store.ask(pending_rows.exists)
            assert _false_marks(witness, sink) == set()
        for name in counts:
            counts[name] += sum(getattr(tally, name) for tally in tallies)
        stories += 1

    story()
    gc.collect()
    record_property("held", f"{stories} stories: {counts}")
    # A writer that was never in the way would prove nothing.
    assert all(counts.values()), counts


def _kept_an_old_mark(witness, begun):
    """Rows that were marked before, and not again since."""
    found = witness.execute(
        "SELECT CAST(id AS text) FROM campaign_metrics WHERE exported_at < %s", [begun]
    )
    return {row_id for (row_id,) in found}


def _rows(witness):
    return {one for (one,) in witness.execute("SELECT id::text FROM campaign_metrics")}


def _false_marks(witness, sink):
    """Rows whose record is not what they were when their mark was made.

    There are such for a while, in slices alone. A row that bears a mark already is sent,
    and another transaction holds it when the answer comes. Its record is overwritten
    and its mark can be neither renewed nor taken back, for Postgres lets nobody write a
    row that somebody holds, and a sync waits for nobody. Its mark is older than the
    slice, so that what is left of the slice still has it, and sends it once more.
    """
    for row_id, tokens in witness.execute("SELECT id, tokens_in FROM seen"):
        assert tokens in sink.records[str(row_id)]
    marked = witness.execute(
        """
        SELECT CAST(seen.id AS text), seen.tokens_in
        FROM campaign_metrics AS metric JOIN seen
            ON seen.id = metric.id AND seen.at = metric.exported_at
        """
    ).fetchall()
    return {row_id for row_id, tokens in marked if sink.records[row_id][-1] != tokens}
