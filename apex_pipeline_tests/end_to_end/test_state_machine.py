"""Everything that can happen to rows, in any order; after each step nothing is wrong.

Each rule is something that the agents, a schedule, an operator or a fault does. What has to
hold after every step is written once, in the invariants; what Dataverse holds is read
from the emulator, what Postgres holds from its tables, and neither from the pipeline.
"""

import gc
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.emulator import ServedEmulator
from apex_pipeline.errors import ApexError
from apex_pipeline.metrics import TABLE
from apex_pipeline.postgres import (
    dataverse_targets,
    migrations,
    pending_rows,
    stored_pacing,
)
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.resent_rows import Slice
from apex_pipeline.postgres.store import Store, connect
from apex_pipeline.quarantine import decisions
from apex_pipeline.quarantine.decisions import Decision, QuarantineSelection
from apex_pipeline.reconcile.comparison_run import run_reconciliation
from apex_pipeline.reconcile.run_report import ReconcileOptions
from apex_pipeline.sync.pacing_memory import pacing_key
from apex_pipeline.sync.run_options import StreamOptions, SyncOptions
from apex_pipeline.sync.sync_report import SyncReport
from apex_pipeline_tests.support.crashing import (
    STEPS,
    Death,
    crash,
    dying_sync,
    run_core,
)
from apex_pipeline_tests.support.emulator_server import SET, web_api
from apex_pipeline_tests.support.ends import (
    campaign_row,
    emulator_settings,
    environment,
    insert,
)

MOST_ASSETS = 1000
"""What the column of the assets holds in Dataverse, and only Dataverse knows of it."""

DAY = datetime(2026, 10, 1, tzinfo=UTC)

GOOD = st.fixed_dictionaries(
    {
        "tokens_in": st.integers(0, 2**31 - 1),
        "assets_generated": st.integers(0, MOST_ASSETS),
        "cost_usd": st.decimals(-99_999, 99_999, places=5).map(str),
        "phase": st.sampled_from(["2-3", "", "x" * 16, "ä😀", "'; --", "\\N%s"]),
    }
)
BAD = st.sampled_from(
    [
        {"phase": "x" * 17},
        {"cost_usd": "NaN"},
        {"created_at": "-infinity"},
        {"created_at": "1066-10-14"},
        {"tokens_in": 2**31},
        # Nothing here minds this one; Dataverse does.
        {"assets_generated": MOST_ASSETS + 1},
    ]
)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 99), st.sampled_from(["lower", "upper"]), GOOD, BAD | st.just({})
    ),
    min_size=1,
    max_size=8,
)
LASTING = st.sampled_from(
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 503, "skip": 1},
        {"kind": "status", "status": 400, "code": "0x80040203"},
        {"kind": "status", "status": 403, "path": "Multiple"},
        {"kind": "drop_before"},
        {"kind": "drop_after"},
        {"kind": "drop_after", "skip": 1},
    ]
)
FAULTS = st.sampled_from(
    [
        {"kind": "status", "status": 503, "count": 1},
        {"kind": "status", "status": 503, "count": 4, "skip": 1},
        {"kind": "status", "status": 400, "code": "0x80040203", "count": 1},
        {"kind": "status", "status": 412, "code": "0x80060892", "count": 1},
        {"kind": "drop_before", "count": 2},
        {"kind": "drop_after", "count": 1},
        {"kind": "deadlock", "count": 1},
        {"kind": "html", "count": 3},
        {"kind": "unauthorized", "count": 1},
    ]
)
DEATHS = st.tuples(st.sampled_from(STEPS), st.integers(1, 4))


class Killed(BaseException):
    """No code catches it, so a run ends where it is raised."""


def killed() -> None:
    raise Killed


@dataclass(frozen=True)
class Ends:
    """The two ends, which all examples share.

    Attributes:
        postgres: A connection in autocommit.
    """

    store: Store
    url: str
    postgres: psycopg.Connection
    emulator: ServedEmulator
    folder: Path


class Rows(RuleBasedStateMachine):
    """Rows on their way, with whatever befalls them.

    Attributes:
        once_bad: Ids of rows that could not be delivered at some time since they were
            delivered last.
        stale: Ids of rows that were changed since they were delivered.
        dropped: Ids of dropped rows.
    """

    ends: Ends
    kills = False

    @initialize(is_known=st.sampled_from([True, True, True, False]))
    def begin(self, is_known) -> None:
        self.emulator, self.store = self.ends.emulator, self.ends.store
        self.settings = emulator_settings(self.emulator)
        self.emulator.restore("narrow")
        self.sql(
            "TRUNCATE campaign_metrics, campaign_metrics_quarantine, sync_run,"
            " dataverse_pacing, dataverse_target, adopted_record, foreign_record,"
            " reconciliation_finding, reconciliation_progress, reconciliation_run",
        )
        if is_known:
            # Else the first run looks for another flow's records first.
            self.store.ask(
                dataverse_targets.record_delivery, self.settings.resource, DAY
            )
        self.clock = timedelta(0)
        self.once_bad: set[str] = set()
        self.stale: set[str] = set()
        self.dropped: set[str] = set()

    # What the agents and people write

    @rule(rows=ROWS)
    def agents_write(self, rows) -> None:
        """Two ids that differ in case alone are twins: one record, and one bad row."""
        new = {}
        for number, case, good, bad in rows:
            row_id = str(UUID(int=0xABCDEF << 64 | number))
            row_id = row_id.upper() if case == "upper" else row_id
            at = DAY + timedelta(hours=number // 4)
            new[row_id] = campaign_row(id=row_id, created_at=at) | good | bad
        there = self.ids()
        written = {one: row for one, row in new.items() if one not in there}
        insert(self.ends.url, written.values())
        self.judge_anew()

    @rule(changes=GOOD | BAD, share=st.integers(1, 3))
    def somebody_changes_rows(self, changes, share) -> None:
        """Mended, or spoiled, whether it is in Dataverse or not."""
        chosen = sorted(self.ids())[::share]
        with psycopg.connect(self.ends.url) as connection:
            for name, value in changes.items():
                statement = (
                    f"UPDATE campaign_metrics SET {name} = %s WHERE id = ANY(%s)"
                )
                connection.execute(statement.encode(), [value, chosen])
        self.stale |= self.marked() & set(chosen)
        self.judge_anew()

    # What the schedule does

    @rule(rows=ROWS)
    def a_sync_runs(self, rows) -> None:
        self.agents_write(rows)
        self.run()

    @rule(rows=ROWS, fault=FAULTS)
    def a_sync_meets_a_fault(self, rows, fault) -> None:
        self.agents_write(rows)
        self.emulator.fault(**fault)
        self.run()
        self.emulator.clear_faults()

    @rule(rows=ROWS, fault=LASTING)
    def a_sync_meets_a_fault_that_lasts(self, rows, fault) -> None:
        self.agents_write(rows)
        self.emulator.fault(**fault, count=None)
        self.run()
        self.emulator.clear_faults()

    @rule(rows=ROWS, death=DEATHS, fault=st.none() | FAULTS)
    def a_sync_dies(self, rows, death, fault) -> None:
        self.agents_write(rows)
        if fault is not None:
            self.emulator.fault(**fault)
        self.run(death=death)
        self.emulator.clear_faults()

    @precondition(lambda self: self.kills)
    @rule(death=DEATHS)
    def a_process_is_killed(self, death) -> None:
        step, count = death
        before = self.marks()
        variables = environment(self.emulator, self.ends.url, self.ends.folder)
        crash(variables, step, count, run_core)
        self.note_deliveries(before)

    # What an operator does

    @rule(
        since=st.integers(0, 15),
        until=st.integers(16, 31),
        limit=st.none() | st.integers(1, 5),
        death=st.none() | DEATHS,
        fault=st.none() | FAULTS,
    )
    def a_slice_is_sent_again(self, since, until, limit, death, fault) -> None:
        part = Slice(DAY + timedelta(hours=since), DAY + timedelta(hours=until))
        if fault is not None:
            self.emulator.fault(**fault)
        report = self.run(part, limit=limit, death=death)
        self.emulator.clear_faults()
        # By a clock that was set back, what was put aside is due again at once.
        if report and (fault, limit) == (None, None) and not self.clock:
            assert report.part_left == 0
            assert report.rows_read == report.delivered + report.rejected

    @rule(share=st.integers(1, 3))
    def rows_are_released(self, share) -> None:
        chosen = sorted(self.put_aside())[::share]
        if chosen:
            assert self.store.release(QuarantineSelection(ids=tuple(chosen))) == len(
                chosen
            )
        self.dropped -= set(chosen)

    @rule(choice=st.sampled_from([{"everything": True}, {"code": "invalid"}]))
    def a_cause_is_released(self, choice) -> None:
        try:
            self.store.release(QuarantineSelection(**choice))
        except ApexError:
            assert "everything" not in choice

    @rule(share=st.integers(1, 3))
    def rows_are_dropped(self, share) -> None:
        chosen = sorted(self.put_aside())[::share]
        if chosen:
            selection = QuarantineSelection(ids=tuple(chosen))
            self.store.drop(selection, Decision("a test", "ann"))
        self.dropped |= set(chosen)

    @rule(share=st.integers(1, 3))
    def lost_records_are_found_and_sent_again(self, share) -> None:
        """What differs, because its row was changed, is let go of too."""
        with web_api(self.emulator) as api:
            for key in sorted(self.records())[::share]:
                api.delete(f"{SET}({key})").raise_for_status()
        before = self.marked()
        with Database(self.ends.url, application_name="tests") as database:
            report = run_reconciliation(
                database,
                self.settings,
                self.ends.folder / "token_cache.json",
                ReconcileOptions(full=True, repair=True),
            )
        assert report.failure is None
        assert report.skipped is None
        self.stale -= before - self.marked()
        self.judge_anew()

    # What time does

    @rule(minutes=st.sampled_from([6, 60, 60 * 24 * 2]))
    def time_passes(self, minutes) -> None:
        self.sql(
            "UPDATE campaign_metrics_quarantine SET next_attempt_at = next_attempt_at"
            f" - interval '{minutes} minutes'",
        )

    @rule(days=st.sampled_from([-366, -1, 0, 1, 366]))
    def the_clock_is_set(self, days) -> None:
        self.clock = timedelta(days=days)

    # What has to hold

    @invariant()
    def each_record_is_one_row_and_each_marked_row_is_a_record(self) -> None:
        records = self.records()
        assert len(records) == len(self.emulator.records(TABLE))
        assert set(records) <= {one.lower() for one in self.ids()}
        assert {one.lower() for one in self.marked()} <= set(records)

    @invariant()
    def a_marked_row_is_in_dataverse_as_it_is(self) -> None:
        records = self.records()
        for row_id, tokens, phase, cost in self.read(
            "SELECT id, tokens_in, phase, cost_usd FROM campaign_metrics"
            " WHERE exported_at IS NOT NULL",
        ):
            if row_id not in self.stale:
                record = records[row_id.lower()]
                assert record["apex_tokensin"] == tokens
                assert (record["apex_phase"] or "") == phase
                assert Decimal(str(record["apex_costusd"])) == cost

    @invariant()
    def no_row_is_lost(self) -> None:
        """Each is marked, or pending, or put aside until it is due or for good."""
        pending = {row.id for row in self.store.ask(pending_rows.page, None, 1000)}
        waiting = self.put_aside("next_attempt_at > now()")
        states = (self.marked(), pending, waiting)
        assert sum(map(len, states)) == len(set().union(*states))
        assert set().union(*states) == self.ids()

    @invariant()
    def only_bad_rows_are_put_aside(self) -> None:
        assert self.put_aside() <= self.once_bad
        assert self.put_aside("next_attempt_at = 'infinity'") == self.dropped
        assert self.store.ask(decisions.count)[1] == len(self.dropped)
        assert self.store.ask(decisions.count)[0] == len(
            self.put_aside() - self.dropped
        )

    def teardown(self) -> None:
        """The faults over, and all released: what can be delivered is delivered."""
        self.emulator.clear_faults()
        self.clock = timedelta(0)
        everything = Slice(until=datetime(9999, 1, 1, tzinfo=UTC))
        # A row that was changed for the worse gives way to its twin after that.
        for part in (everything, None):
            for dropped in (False, True):
                self.store.release(
                    QuarantineSelection(everything=True, dropped=dropped)
                )
            self.dropped.clear()
            report = self.run(part)
            assert report is not None
            assert report.failure is None
        bad = self.bad()
        assert self.marked() == self.ids() - bad
        assert self.put_aside() == bad
        self.stale.clear()
        self.a_marked_row_is_in_dataverse_as_it_is()
        self._leave_store()

    # How it is done, and what is read

    def _leave_store(self) -> None:
        if self.store is not self.ends.store:
            self.store.close()

    def run(self, part=None, *, limit=None, death=None) -> SyncReport | None:
        """One run in this process; None if it died."""
        self.store.ask(stored_pacing.save_pacing, pacing_key(self.settings), {}, None)
        options = SyncOptions(
            StreamOptions(page_size=5, rows_per_request=3, limit=limit),
            part=part,
            retry=RetryPolicy(attempts=3, first_wait=0.001, longest_wait=0.002),
            now=lambda: datetime.now(UTC) + self.clock,
        )
        step, count = death or ("never", 1)
        before = self.marks()
        report: SyncReport | None = None
        try:
            report = dying_sync(
                Death(step, count, killed),
                self.store,
                self.settings,
                self.ends.folder / "token_cache.json",
                options,
            )
        except* Killed:
            # The next process opens its own; this one's has given up.
            self._leave_store()
            self.store = connect(self.ends.url)
        self.note_deliveries(before)
        return report

    def note_deliveries(self, before) -> None:
        """A row whose mark is new holds in Dataverse what it holds here."""
        fresh = {one for one, at in self.marks().items() if before.get(one) != at}
        self.stale -= fresh
        self.once_bad -= fresh
        self.dropped -= fresh

    def sql(self, statement: str, *values: object) -> psycopg.Cursor[Any]:
        return self.ends.postgres.execute(statement.encode(), values or None)

    def read(self, statement: str) -> list[tuple[Any, ...]]:
        return self.sql(statement).fetchall()

    def ids(self) -> set[str]:
        return {one for (one,) in self.read("SELECT id FROM campaign_metrics")}

    def marks(self) -> dict[str, datetime]:
        return dict(
            self.read(
                "SELECT id, exported_at FROM campaign_metrics"
                " WHERE exported_at IS NOT NULL",
            )
        )

    def marked(self) -> set[str]:
        return set(self.marks())

    def put_aside(self, condition="true") -> set[str]:
        found = self.read(
            "SELECT metric_id FROM campaign_metrics_quarantine"
            f" JOIN campaign_metrics ON id = metric_id AND exported_at IS NULL"
            f" WHERE {condition}",
        )
        return {one for (one,) in found}

    def bad(self) -> set[str]:
        """What no Dataverse could take, by the columns' documented limits."""
        found = self.read(
            "SELECT id FROM campaign_metrics AS metric WHERE char_length(phase) > 16"
            " OR cost_usd = 'NaN' OR created_at < '1753-01-01' OR tokens_in >= 2^31"
            f" OR assets_generated > {MOST_ASSETS}"
            # Of twins the one that was delivered is good, else the one in small letters.
            " OR EXISTS (SELECT FROM campaign_metrics AS twin"
            " WHERE lower(twin.id) = lower(metric.id) AND twin.id <> metric.id"
            " AND CASE WHEN (twin.exported_at IS NULL) = (metric.exported_at IS NULL)"
            " THEN metric.id <> lower(metric.id)"
            " ELSE twin.exported_at IS NOT NULL END)",
        )
        return {one for (one,) in found}

    def judge_anew(self) -> None:
        self.once_bad |= self.bad()

    def records(self) -> dict[str, dict[str, Any]]:
        return {r["apex_campaignmetricsid"]: r for r in self.emulator.records(TABLE)}


@pytest.fixture
def ends(empty_database_url, emulator, tmp_path):
    """A table that somebody else made, with ids of text, and a table with a narrow column."""
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(
            "CREATE TABLE campaign_metrics (id text PRIMARY KEY, tokens_in bigint)"
        )
    migrations.apply(empty_database_url)
    with web_api(emulator) as api:
        path = f"EntityDefinitions(LogicalName='{TABLE}')/Attributes"
        path = f"{path}(LogicalName='apex_assetsgenerated')"
        kind = "Microsoft.Dynamics.CRM.IntegerAttributeMetadata"
        found = api.get(f"{path}/{kind}").json()
        narrow = found | {"@odata.type": kind, "MaxValue": MOST_ASSETS}
        answer = api.put(path, json=narrow)
        assert answer.status_code == 204, answer.text
    emulator.snapshot("narrow")
    with (
        connect(empty_database_url) as store,
        psycopg.connect(empty_database_url, autocommit=True) as postgres,
    ):
        yield Ends(store, empty_database_url, postgres, emulator, tmp_path)


# A run that dies closes nothing.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def walk(ends, *, kills=False, **limits):
    """Let a machine of its own walk between these ends."""
    machine = type("Walk", (Rows,), {"ends": ends, "kills": kills})
    run_state_machine_as_test(
        machine,
        settings=settings(
            deadline=None, suppress_health_check=list(HealthCheck), **limits
        ),
    )
    gc.collect()


def test_whatever_happens_in_whatever_order_no_row_is_lost_or_doubled(ends):
    # To make a story that fails shorter takes minutes; the long test does it.
    phases = (Phase.reuse, Phase.generate)
    walk(ends, max_examples=5, stateful_step_count=14, phases=phases)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_it_holds_for_longer_stories_and_real_kills_too(ends):
    walk(ends, max_examples=25, stateful_step_count=40, kills=True)
