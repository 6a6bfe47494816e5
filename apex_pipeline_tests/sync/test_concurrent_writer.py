"""A writer at work while rows travel: what is marked is what Dataverse holds.

Somebody updates, deletes, inserts and locks rows at random while the stream reads, sends
and marks them, against a real Postgres. The sink records what it acknowledged. Each mark
is looked at by a trigger that writes down the row as it was marked.
"""

import asyncio
import gc
import json
import os
import random
import threading
from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from apex_pipeline.dataverse.gate import Deadline
from apex_pipeline.postgres.resent_rows import Slice
from apex_pipeline.sync.request_delivery import Delivery
from apex_pipeline.sync.row_sources import PendingSource, SliceSource
from apex_pipeline.sync.stream import Source, Stream, StreamOptions
from apex_pipeline_tests.support.ends import campaign_row, insert

EXAMPLES = int(os.environ.get("APEX_WRITER_EXAMPLES", "25"))
"""Stories told; five a second on a quiet machine."""

RESOURCE = "https://org.crm.dynamics.com"

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
    """Holds what it acknowledged; lets the writer in before it answers."""

    def __init__(self, rng, meet):
        self.records = {}
        self._rng = rng
        self._meet = meet

    async def deliver(self, metrics, deadline):
        for metric in metrics:
            tokens = json.loads(metric.fields)["apex_tokensin"]
            self.records.setdefault(metric.id, []).append(tokens)
        if self._rng.random() < 0.8:
            await asyncio.to_thread(self._meet)
        return Delivery(tuple(metric.id for metric in metrics))


class Writer:
    """Another program at work on the same rows, some of it uncommitted for a while."""

    def __init__(self, url, seed, connections):
        self._url = url
        self._rng = random.Random(seed)
        self._open, self._held = connections
        self._turn = threading.Lock()
        self._is_holding = False

    def act(self):
        """Do something, unless it would have to wait for itself."""
        with self._turn:
            for _ in range(self._rng.randint(1, 3)):
                self._step()

    def _step(self):
        choice = self._rng.random()
        if self._is_holding and choice < 0.4:
            (self._held.commit if choice < 0.25 else self._held.rollback)()
            self._is_holding = False
            return
        if not self._is_holding and choice < 0.3:
            self._carry_out(self._held)
            self._is_holding = True
            return
        self._carry_out(self._open)
        self._open.commit()

    def _carry_out(self, connection):
        some = (
            "id IN (SELECT id FROM campaign_metrics WHERE random() < 0.3"
            " FOR UPDATE SKIP LOCKED)"
        )
        statement = self._rng.choice(
            [
                f"UPDATE campaign_metrics SET tokens_in = tokens_in + 1 WHERE {some}",
                f"UPDATE campaign_metrics SET tokens_in = tokens_in + 1 WHERE {some}",
                f"DELETE FROM campaign_metrics WHERE {some} AND random() < 0.3",
                f"SELECT FROM campaign_metrics WHERE {some} FOR UPDATE",
                f"UPDATE campaign_metrics SET phase = phase WHERE {some}",
                "",
            ]
        )
        if statement:
            connection.execute(statement.encode())
        else:
            insert(self._url, [campaign_row(tokens_in=0)])

    def leave(self):
        self._held.rollback()


def flow(source, sink, **options):
    async def beat():
        return None

    stream = Stream(source, sink, StreamOptions(**options), Deadline(60), beat)
    asyncio.run(stream.run())
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


def test_the_record_of_a_marked_row_is_the_row_as_it_was_marked(
    store, database_url, two
):
    connections, witness = two
    told = {"changed": 0, "deleted": 0, "locked": 0, "marked": 0}

    @settings(
        deadline=None,
        max_examples=EXAMPLES,
        phases=(Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 4), st.booleans())
    def story(seed, rows, portion, again):
        witness.execute("DELETE FROM campaign_metrics; DELETE FROM seen")
        insert(database_url, [campaign_row(tokens_in=0) for _ in range(rows)])
        writer = Writer(database_url, seed, connections)
        sink = Sink(random.Random(seed), writer.act)
        pending = PendingSource(store, None, RESOURCE)
        everything = Slice(until=datetime(9999, 1, 1, tzinfo=UTC))
        passages: list[Source] = [pending, pending]
        if again:
            passages.insert(1, SliceSource(store, None, RESOURCE, everything))
        for source in passages:
            tally = flow(source, sink, page_size=3, rows_per_request=portion)
            assert tally.failure is None
            for name in ("changed", "deleted", "locked"):
                told[name] += getattr(tally, name)
            told["marked"] += tally.delivered
        writer.leave()
        _hold(witness, sink, again=again)
        # And when the writer has gone, the rest follows.
        last = flow(pending, Sink(random.Random(0), lambda: None))
        assert (last.changed, last.deleted, last.locked) == (0, 0, 0)
        assert not store.has_pending()

    story()
    gc.collect()
    # A writer that was never in the way would prove nothing.
    assert all(told.values()), told


def _hold(witness, sink, *, again):
    """What was noted at each mark is what the sink had last.

    A row that was held while a slice carried it keeps its old mark, and its record is
    the newer one of the two.
    """
    for row_id, tokens in witness.execute("SELECT id, tokens_in FROM seen"):
        assert tokens in sink.records[str(row_id)]
    marked = witness.execute(
        """
        SELECT seen.id, seen.tokens_in
        FROM campaign_metrics AS metric JOIN seen
            ON seen.id = metric.id AND seen.at = metric.exported_at
        """
    ).fetchall()
    for row_id, tokens in marked:
        last = sink.records[str(row_id)][-1]
        assert last >= tokens if again else last == tokens
