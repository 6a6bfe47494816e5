import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from apex_pipeline import migrations
from apex_pipeline.errors import (
    ConfigError,
    DatabaseError,
    DatabaseUnavailableError,
    SchemaMissingError,
    WriterLockLostError,
)
from apex_pipeline.ledger import RunRecord, RunStatus, Target
from apex_pipeline.local.postgres import EmbeddedPostgres
from apex_pipeline.metrics import CampaignMetric, Rejection, read_metric
from apex_pipeline.pending import PendingRow, PendingSummary
from apex_pipeline.store import Store, connect

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RESOURCE = "https://org.crm.dynamics.com"

_INSERT = """
    INSERT INTO campaign_metrics (
        id, campaign_id, run_id, agents_total, agents_successful, assets_generated,
        tokens_in, tokens_out, cost_usd, latency_p95_ms, latency_avg_ms,
        success_rate_pct, created_at, exported_at
    )
    VALUES (
        %(id)s, gen_random_uuid(), gen_random_uuid(), 10, 9, 4, 1000, 100, %(cost)s,
        900, 400, 90, %(created_at)s, %(exported_at)s
    )
"""

_HOLD_LOCK = """
import sys
from apex_pipeline.store import connect
store = connect(sys.argv[1])
lock = store.writer_lock()
print(lock is not None, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def table(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection to the store's database, in autocommit."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def insert(
    table: psycopg.Connection,
    created_at: object = NOW,
    *,
    row_id: object = None,
    cost: object = 1,
    exported_at: object = None,
) -> str:
    values = {
        "id": row_id or uuid4(),
        "created_at": created_at,
        "cost": cost,
        "exported_at": exported_at,
    }
    table.execute(_INSERT, values)
    return str(values["id"])


def walk(store: Store, limit: int) -> list[PendingRow]:
    """Read all pages."""
    rows: list[PendingRow] = []
    while page := store.pending_page(rows[-1].position if rows else None, limit):
        assert len(page) <= limit
        rows += page
    return rows


def ids(rows: list[PendingRow]) -> list[str]:
    return [row.id for row in rows]


def exported(table: psycopg.Connection) -> dict[str, datetime | None]:
    rows = table.execute("SELECT id::text, exported_at FROM campaign_metrics")
    return dict(rows.fetchall())


def quarantined(table: psycopg.Connection) -> list[tuple[object, ...]]:
    return table.execute(
        """
        SELECT metric_id::text, code, message, attempts, first_rejected_at,
            last_rejected_at, next_attempt_at
        FROM campaign_metrics_quarantine ORDER BY metric_id
        """
    ).fetchall()


class TestPending:
    def test_rows_come_oldest_first_whatever_their_age(self, store, table):
        new = insert(table, NOW)
        old = insert(table, NOW - timedelta(days=4000))
        insert(table, NOW, exported_at=NOW)
        middle = insert(table, NOW - timedelta(days=40))

        assert ids(walk(store, 2)) == [old, middle, new]

    def test_row_is_readable_as_a_metric(self, store, table):
        row_id = insert(table, "2026-02-03 04:05:06.789012+01", cost="12.34567")

        (row,) = store.pending_page(None, 10)
        metric = read_metric(row.values)

        assert isinstance(metric, CampaignMetric)
        assert metric.key == UUID(row_id)
        assert '"apex_costusd":12.34567' in metric.fields
        assert '"apex_createdat":"2026-02-03T03:05:06Z"' in metric.fields

    @pytest.mark.parametrize(
        "created_at",
        ["infinity", "-infinity", "0001-01-01 00:00Z", "0044-03-15 12:00Z BC"],
    )
    def test_instant_that_python_does_not_know_is_refused_by_name(
        self, store, table, created_at
    ):
        insert(table, created_at)
        later = insert(table, "infinity")

        rows = walk(store, 1)

        assert len(rows) == 2
        rejection = read_metric(rows[0].values)
        assert isinstance(rejection, Rejection)
        assert rejection.message.startswith("created_at")
        assert ids(rows)[-1] == later or created_at == "infinity"
        assert store.pending_summary().count == 2

    def test_number_that_is_none_is_refused_by_name(self, store, table):
        insert(table, cost="NaN")

        (row,) = store.pending_page(None, 10)

        rejection = read_metric(row.values)
        assert isinstance(rejection, Rejection)
        assert rejection.message.startswith("cost_usd is NaN")

    # The database is emptied by each example itself.
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        instants=st.lists(
            st.sampled_from([0, 1, 2, 1_000_000, 3_600_000_000])
            | st.integers(0, 10**15),
            max_size=30,
        ),
        limit=st.integers(1, 7),
    )
    def test_pages_cover_each_row_once_in_order(self, store, table, instants, limit):
        table.execute("TRUNCATE campaign_metrics")
        epoch = datetime(2000, 1, 1, tzinfo=UTC)
        expected = sorted(
            (instant, insert(table, epoch + timedelta(microseconds=instant)))
            for instant in instants
        )

        assert ids(walk(store, limit)) == [row_id for _, row_id in expected]

    def test_summary_counts_and_finds_the_oldest(self, store, table):
        assert store.pending_summary() == PendingSummary(0, None)
        assert not store.has_pending()

        insert(table, NOW)
        insert(table, NOW - timedelta(days=40))
        insert(table, NOW - timedelta(days=80), exported_at=NOW)

        oldest = NOW - timedelta(days=40)
        assert store.pending_summary() == PendingSummary(2, oldest)
        assert store.has_pending()

    def test_oldest_is_brought_within_the_years_of_python(self, store, table):
        insert(table, "-infinity")

        assert store.pending_summary().oldest_created_at == datetime.min.replace(
            tzinfo=UTC
        )


class TestMarking:
    def test_only_the_named_rows_are_marked(self, store, table):
        first, second = insert(table), insert(table)

        assert store.mark_exported([first], NOW) == 1

        assert exported(table) == {first: NOW, second: None}
        assert ids(store.pending_page(None, 10)) == [second]

    def test_row_that_is_marked_keeps_its_first_time(self, store, table):
        row_id = insert(table)
        store.mark_exported([row_id], NOW)

        assert store.mark_exported([row_id], NOW + timedelta(hours=1)) == 0
        assert exported(table) == {row_id: NOW}

    def test_nothing_and_unknown_rows_are_no_error(self, store):
        assert store.mark_exported([], NOW) == 0
        assert store.mark_exported([str(uuid4())], NOW) == 0

    def test_known_ids_are_recognised_in_any_spelling(self, store, table):
        row_id = insert(table)

        assert store.known_ids([row_id.upper(), str(uuid4())]) == {row_id}
        assert store.known_ids([]) == set()


class TestQuarantine:
    def test_wait_doubles_from_five_minutes_to_a_day(self, store, table):
        row_id = insert(table)
        waits = []
        for attempt in range(1, 12):
            at = NOW + timedelta(days=attempt)
            store.quarantine([Rejection(row_id, "invalid", f"try {attempt}")], at)
            (entry,) = quarantined(table)
            assert entry[2:6] == (f"try {attempt}", attempt, NOW + timedelta(days=1), at)
            waits.append((entry[6] - at) / timedelta(minutes=1))

        assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]

    def test_attempts_beyond_counting_still_wait_a_day(self, store, table):
        row_id = insert(table)
        store.quarantine([Rejection(row_id, "invalid", "")], NOW)
        table.execute("UPDATE campaign_metrics_quarantine SET attempts = 2000000")

        store.quarantine([Rejection(row_id, "invalid", "")], NOW)

        assert quarantined(table)[0][6] == NOW + timedelta(days=1)

    def test_row_is_not_pending_until_it_is_due(self, store, table):
        row_id, other = insert(table), insert(table)
        store.quarantine([Rejection(row_id, "invalid", "too long")], datetime.now(UTC))

        assert ids(store.pending_page(None, 10)) == [other]
        assert store.pending_summary().count == 1
        assert store.quarantine_count() == 1

        # An hour ago, so that the five minutes are over.
        table.execute("TRUNCATE campaign_metrics_quarantine")
        ago = datetime.now(UTC) - timedelta(hours=1)
        store.quarantine([Rejection(row_id, "invalid", "too long")], ago)

        assert set(ids(store.pending_page(None, 10))) == {row_id, other}
        assert store.quarantine_count() == 1

    def test_row_that_a_person_dropped_or_released(self, store, table):
        row_id = insert(table)
        store.quarantine([Rejection(row_id, "invalid", "")], datetime.now(UTC))

        for next_attempt_at, pending in (("infinity", False), ("now", True)):
            table.execute(
                "UPDATE campaign_metrics_quarantine SET next_attempt_at = %s",
                (next_attempt_at,),
            )
            assert store.has_pending() is pending

    def test_delivered_row_leaves(self, store, table):
        delivered, other = sorted([insert(table), insert(table)])
        store.quarantine(
            [Rejection(delivered, "invalid", ""), Rejection(other, "invalid", "")], NOW
        )

        store.mark_exported([delivered], NOW)

        assert [entry[0] for entry in quarantined(table)] == [other]

    def test_no_rejections_and_unprintable_reasons_are_no_error(self, store, table):
        store.quarantine([], NOW)
        store.quarantine([Rejection(insert(table), "0x80040265", "a\0b ü 😀")], NOW)

        assert quarantined(table)[0][2] == "ab ü 😀"


class TestAdoptedTable:
    @pytest.fixture
    def adopted(self, adopted_url: str) -> Iterator[Store]:
        """A store on a table that other people's migration made."""
        migrations.apply(adopted_url)
        with connect(adopted_url) as opened:
            yield opened

    @pytest.mark.parametrize("limit", [1, 2, 10])
    def test_every_row_is_read_once_the_undated_last(self, adopted, limit):
        rows = walk(adopted, limit)

        suffixes = [row.id[-1] for row in rows]
        assert suffixes in (["1", "3"], ["1", "A", "3"])
        assert len(rows) == adopted.pending_summary().count

    def test_rows_are_marked_quarantined_and_recognised(self, adopted, adopted_url):
        rows = walk(adopted, 10)
        adopted.quarantine([Rejection(row.id, "invalid", "") for row in rows], NOW)
        assert adopted.quarantine_count() == len(rows)

        assert adopted.mark_exported(ids(rows), NOW) == len(rows)

        assert adopted.quarantine_count() == 0
        assert not adopted.has_pending()
        assert adopted.known_ids(ids(rows)) == {row.id.lower() for row in rows}
        with psycopg.connect(adopted_url) as connection:
            marked = connection.execute("SELECT max(exported_at) FROM campaign_metrics")
            assert marked.fetchone() == (NOW,)

    def test_null_is_refused_by_name(self, adopted):
        last = walk(adopted, 10)[-1]

        metric = read_metric(last.values)

        if last.position.created_at is None:
            assert isinstance(metric, Rejection)
            assert "latency_avg_ms is missing" in metric.message
            assert "created_at is missing" in metric.message
        else:
            assert isinstance(metric, Rejection)
            assert metric.message.startswith("tokens_in is 5000000000")


@pytest.mark.slow
@pytest.mark.parametrize("adopted_url", ["uuid_ids", "text_ids"], indirect=True)
def test_pages_of_a_long_table_are_read_through_the_partial_index(adopted_url):
    """Neither the exported rows nor those of earlier pages are touched again."""
    migrations.apply(adopted_url)
    with psycopg.connect(adopted_url, autocommit=True) as connection:
        columns = "campaign_id, run_id, agents_total, created_at, exported_at"
        connection.execute(
            f"""
            INSERT INTO campaign_metrics ({columns}, agents_successful,
                assets_generated, tokens_in, tokens_out, cost_usd, latency_p95_ms,
                latency_avg_ms, success_rate_pct)
            SELECT u, u, 1, now() - n * interval '1 minute',
                CASE WHEN n %% 2 = 0 THEN now() END, 1, 1, 1, 1, 1, 1, 1, 1
            FROM (SELECT n, {{}}(gen_random_uuid()) AS u
                FROM generate_series(1, 100000) AS n) AS rows
            """.replace("{}", "text" if "text" in _id_type(connection) else "")
            .replace("%%", "%")
        )
        connection.execute(
            """
            INSERT INTO campaign_metrics_quarantine
            SELECT id, 'invalid', '', 1, now(), now(), 'infinity'
            FROM campaign_metrics WHERE exported_at IS NULL LIMIT 5000
            """
        )
        connection.execute("VACUUM ANALYZE")
        before = _scans(connection)

        with connect(adopted_url) as store:
            rows = store.pending_page(None, 1000)
            for _ in range(9):
                rows += store.pending_page(rows[-1].position, 1000)

        assert len(rows) == 10_000
        _until(lambda: _scans(connection)[0] >= before[0] + 10)
        index_scans, entries_read, table_scans = _scans(connection)
        assert entries_read - before[1] < 20_000
        assert table_scans == before[2]


def _id_type(connection: psycopg.Connection) -> str:
    found = connection.execute(
        "SELECT atttypid::regtype::text FROM pg_attribute "
        "WHERE attrelid = 'campaign_metrics'::regclass AND attname = 'id'"
    ).fetchone()
    assert found is not None
    return str(found[0])


def _scans(connection: psycopg.Connection) -> tuple[int, int, int]:
    found = connection.execute(
        """
        SELECT i.idx_scan, i.idx_tup_read, t.seq_scan
        FROM pg_stat_user_indexes AS i JOIN pg_stat_user_tables AS t USING (relid)
        WHERE i.indexrelname = 'campaign_metrics_pending_idx'
        """
    ).fetchone()
    assert found is not None
    return found


def _until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


class TestLedger:
    def test_run_is_opened_and_finished(self, store):
        run_id = store.start_run(at=NOW, dagster_run_id="d-1")
        (open_run,) = store.last_runs(5)
        assert open_run.status is RunStatus.RUNNING
        assert open_run.finished_at is None

        record = RunRecord(
            status=RunStatus.FAILURE,
            finished_at=NOW + timedelta(minutes=4),
            rows_read=5,
            delivered=3,
            rejected=1,
            remaining=1,
            requests=2,
            throttled_seconds=1.5,
            token_cache_hits=1,
            token_cache_misses=1,
            oldest_pending_age_seconds=60.0,
            retry_at=NOW + timedelta(minutes=9),
            error="Dataverse is down",
        )
        store.finish_run(run_id, record)

        (run,) = store.last_runs(5)
        assert (run.id, run.started_at, run.dagster_run_id) == (run_id, NOW, "d-1")
        assert run.host
        for name in RunRecord.__slots__[4:]:
            assert getattr(run, name) == getattr(record, name), name

    def test_run_whose_process_died_is_closed_by_the_next(self, store):
        dead = store.start_run(at=NOW, dagster_run_id=None)
        alive = store.start_run(at=NOW + timedelta(minutes=5), dagster_run_id=None)

        newest, interrupted = store.last_runs(5)
        assert (newest.id, newest.status) == (alive, RunStatus.RUNNING)
        assert (interrupted.id, interrupted.status) == (dead, RunStatus.INTERRUPTED)
        assert interrupted.finished_at == NOW + timedelta(minutes=5)
        assert [run.id for run in store.last_runs(1)] == [alive]

    def test_pacing_is_kept_by_key(self, store):
        assert store.pacing("a") is None
        assert store.retry_at("a") is None

        store.save_pacing("a", {"spent": [[1.5, 2]]}, NOW)
        assert store.pacing("a") == {"spent": [[1.5, 2]]}
        assert store.retry_at("a") == NOW
        assert store.pacing("b") is None

        store.save_pacing("a", {"spent": []}, None)
        assert store.pacing("a") == {"spent": []}
        assert store.retry_at("a") is None

    def test_target_remembers_the_first_delivery_and_the_last_word(self, store):
        assert store.target(RESOURCE) is None

        store.accept_duplicates(RESOURCE, NOW)
        assert store.target(RESOURCE) == Target(RESOURCE, None, NOW)

        store.record_delivery(RESOURCE, NOW)
        store.record_delivery(RESOURCE, NOW + timedelta(hours=1))
        store.accept_duplicates(RESOURCE, NOW + timedelta(hours=2))
        later = NOW + timedelta(hours=2)
        assert store.target(RESOURCE) == Target(RESOURCE, NOW, later)


class TestWriterLock:
    def test_one_writer_at_a_time(self, store, database_url):
        with connect(database_url) as other:
            lock = store.writer_lock()
            assert lock is not None
            assert other.writer_lock() is None
            assert store.writer_lock() is None
            lock.ping()

            lock.release()

            with other.writer_lock() as taken:
                taken.ping()
                assert store.writer_lock() is None
            assert store.writer_lock() is not None

    def test_writers_of_other_databases_do_not_matter(self, store, create_database):
        with store.writer_lock(), connect(create_database("template1")) as other:
            with other.writer_lock() as lock:
                lock.ping()

    def test_lock_dies_with_its_connection_and_says_so(self, store, table):
        lock = store.writer_lock()
        assert lock is not None
        table.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks "
            "WHERE locktype = 'advisory'"
        )

        with pytest.raises(WriterLockLostError):
            lock.ping()
        with pytest.raises(WriterLockLostError):
            lock.ping()
        lock.release()

        with store.writer_lock() as again:
            again.ping()

    def test_lock_dies_with_its_process(self, store, database_url):
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLD_LOCK, database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"True\n"
        assert store.writer_lock() is None

        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()

        taken = []
        _until(lambda: taken.append(lock := store.writer_lock()) or lock)
        taken[-1].release()

    def test_lock_holds_back_neither_vacuum_nor_index_builds(self, store, table):
        with store.writer_lock() as lock:
            lock.ping()
            held = table.execute(
                "SELECT backend_xmin FROM pg_stat_activity JOIN pg_locks USING (pid) "
                "WHERE locktype = 'advisory'"
            )
            assert held.fetchall() == [(None,)]

    def test_silent_lock_ends_within_two_minutes(self, store, database_url):
        with store.writer_lock() as lock:
            shown = lock._connection.execute(  # noqa: SLF001 - the server's own answer
                "SHOW idle_in_transaction_session_timeout"
            )
            assert shown.fetchone() == ("90s",)


class TestBadDays:
    def test_missing_tables_name_the_command(self, empty_database_url):
        with (
            connect(empty_database_url) as store,
            pytest.raises(SchemaMissingError, match="apex provision database"),
        ):
            store.has_pending()

    @pytest.mark.parametrize(
        ("wrong", "remedy"),
        [
            ({"password": "hunter2"}, "Check the user and the password"),
            ({"username": "nobody"}, "Check the user and the password"),
            ({"database": "nowhere"}, "Check the user and the database"),
            ({"query": {"sslmode": "require"}}, "Check sslmode"),
        ],
    )
    def test_refusal_is_final_and_says_what_to_check(
        self, postgres, database_url, wrong, remedy
    ):
        from sqlalchemy.engine import make_url

        url = make_url(database_url).set(**wrong)

        with pytest.raises(DatabaseError, match=remedy) as caught:
            connect(url.render_as_string(hide_password=False), wait_seconds=600)

        assert not isinstance(caught.value, DatabaseUnavailableError)
        assert "hunter2" not in str(caught.value)

    def test_unknown_parameter_is_named(self, database_url):
        with pytest.raises(ConfigError, match='DATABASE_URL: invalid.*"speed"'):
            connect(f"{database_url}?speed=high")

    @pytest.mark.parametrize(
        "scheme", ["postgres", "postgresql+psycopg2", "postgresql+psycopg"]
    )
    def test_any_spelling_of_the_scheme_is_taken(self, database_url, scheme):
        with connect(database_url.replace("postgresql", scheme, 1)) as store:
            assert not store.has_pending()

    def test_server_that_comes_up_late_is_waited_for(self, tmp_path):
        server = EmbeddedPostgres(tmp_path / "late")
        server.prepare()
        process = subprocess.Popen(
            [sys.executable, "-c", _CONNECT, server.url("postgres")],
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        try:
            assert b"first attempt failed" in process.stderr.readline()
            server.start()
            process.communicate(timeout=60)
            assert process.returncode == 0
        finally:
            process.kill()
            server.stop()

    def test_connection_that_was_cut_while_idle_is_made_anew(self, store, table):
        row_id = insert(table)
        _cut(table)

        assert store.mark_exported([row_id], NOW) == 1
        _cut(table)
        assert store.quarantine_count() == 0

    def test_reading_survives_a_connection_that_is_cut_in_the_middle(
        self, store, table, database_url
    ):
        insert(table)
        with psycopg.connect(database_url) as blocker:
            blocker.execute("LOCK TABLE campaign_metrics")
            with ThreadPoolExecutor(1) as executor:
                page = executor.submit(store.pending_page, None, 10)
                _until(lambda: table.execute(_BLOCKED).fetchall())
                _cut(table, "wait_event_type = 'Lock'")
                _until(lambda: table.execute(_BLOCKED).fetchall())
                blocker.rollback()

                assert len(page.result()) == 1

    def test_server_that_ends_in_the_middle_of_a_write_is_unavailable(
        self, store, table, database_url
    ):
        row_id = insert(table)
        with psycopg.connect(database_url) as blocker:
            blocker.execute("LOCK TABLE campaign_metrics_quarantine")
            with ThreadPoolExecutor(1) as executor:
                rejections = [Rejection(row_id, "invalid", "")]
                written = executor.submit(store.quarantine, rejections, NOW)
                _until(lambda: table.execute(_BLOCKED).fetchall())
                _cut(table, "wait_event_type = 'Lock'")

                with pytest.raises(DatabaseUnavailableError, match="can be tried"):
                    written.result()
        assert quarantined(table) == []

    def test_read_only_replica_is_named(self, postgres, database_url):
        url = f"{database_url}?options=-c%20default_transaction_read_only%3Don"
        with (
            connect(url) as store,
            pytest.raises(DatabaseError, match="not a replica"),
        ):
            store.start_run(at=NOW, dagster_run_id=None)


def _cut(table: psycopg.Connection, which: str = "true") -> None:
    table.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'apex_pipeline' "
        f"AND {which}"
    )
