import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql

from apex_pipeline.errors import (
    ConfigError,
    DatabaseError,
    DatabaseUnavailableError,
)
from apex_pipeline.postgres import migrations
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

pytestmark = pytest.mark.any_server

ALL = [
    "0001_campaign_metrics",
    "0002_index_created_at",
    "0003_index_campaign_id",
    "0004_index_pending",
    "0005_quarantine",
    "0006_ledger",
    "0007_rollups",
    "0008_campaign_history",
    "0009_cost_forecast",
    "0010_dropped_rows",
    "0011_reconciliation",
    "0012_marks",
    "0013_locks",
    "0014_more_locks",
    "0020_analyst_views",
    "0021_rollup_comparison",
    "0022_campaign_forecast",
    "0023_audit",
    "0024_audit_search_path",
    "0025_audit_hashes",
    "0026_pending_look",
]

_APPLY = """
import sys
from apex_pipeline.postgres import migrations
migrations.apply(sys.argv[1])
"""

_INDEXES = """
    SELECT indexrelid::regclass::text, indisvalid FROM pg_index
    WHERE indrelid = 'campaign_metrics'::regclass
"""

_WAITING = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database()
        AND application_name = 'apex_pipeline migrations' AND wait_event_type = 'Lock'
"""


@pytest.fixture
def connect() -> Iterator[Callable[[str], psycopg.Connection]]:
    """Open connections in autocommit; closed after the test."""
    opened: list[psycopg.Connection] = []

    def open_one(url: str) -> psycopg.Connection:
        # A pooler may give the next statement another server connection.
        opened.append(psycopg.connect(url, autocommit=True, prepare_threshold=None))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


def _indexes(connection: psycopg.Connection) -> dict[str, bool]:
    return dict(connection.execute(_INDEXES).fetchall())


def test_each_migration_is_applied_once(empty_database_url):
    assert migrations.pending(empty_database_url) == ALL
    assert migrations.apply(empty_database_url) == ALL
    assert migrations.apply(empty_database_url) == []
    assert migrations.pending(empty_database_url) == []


def test_asking_what_is_pending_changes_nothing(empty_database_url, connect):
    migrations.pending(empty_database_url)

    tables = connect(empty_database_url).execute(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    )
    assert tables.fetchone() == (0,)


def test_every_table_and_column_of_ours_is_explained(database_url, connect):
    silent = connect(database_url).execute(
        """
        SELECT relname, attname FROM pg_class
        JOIN pg_attribute ON attrelid = pg_class.oid AND attnum >= 0
            AND NOT attisdropped
        WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace
            AND relname NOT LIKE '%yoyo%'
            AND (obj_description(pg_class.oid) IS NULL
                OR relkind = 'r' AND col_description(attrelid, attnum) IS NULL)
        """
    )
    assert silent.fetchall() == []


def test_adopted_table_keeps_its_rows_files_indexes_comments_and_view(
    adopted_url, connect
):
    connection = connect(adopted_url)
    observe = """
        SELECT pg_relation_filenode('campaign_metrics'),
            (SELECT array_agg(to_jsonb(m) - 'phase' - 'latency_avg_ms' - 'exported_at'
                ORDER BY id) FROM campaign_metrics AS m),
            (SELECT array_agg(attname || ' ' || format_type(atttypid, atttypmod)
                || attnotnull ORDER BY attnum) FROM pg_attribute
                WHERE attrelid = 'campaign_metrics'::regclass AND attnum > 0
                    AND attname NOT IN ('phase', 'latency_avg_ms', 'exported_at')),
            (SELECT array_agg(description) FROM pg_description
                WHERE objoid = 'campaign_metrics'::regclass)
    """
    before = connection.execute(observe).fetchone()
    indexes = _indexes(connection)
    view = "SELECT pg_get_viewdef(to_regclass('v_campaign_metrics_pending'))"
    old_view = connection.execute(view).fetchone()

    assert migrations.apply(adopted_url) == ALL

    assert connection.execute(observe).fetchone() == before
    assert indexes.items() <= _indexes(connection).items()
    assert old_view in {(None,), connection.execute(view).fetchone()}
    # Complete now, for whatever reads and marks it.
    connection.execute(
        "SELECT phase, latency_avg_ms, exported_at, created_at FROM campaign_metrics"
    )


def test_pending_view_that_is_made_shows_every_pending_row(database_url, connect):
    connection = connect(database_url)
    connection.execute(_SOME_ROW, {"created_at": "2001-01-01"})
    for view in ("v_campaign_metrics_pending", "campaign_metrics_pending"):
        shown = connection.execute(
            sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(view))
        )
        assert shown.fetchone() == (1,)


_SOME_ROW = """
    INSERT INTO campaign_metrics (
        campaign_id, run_id, agents_total, agents_successful, assets_generated,
        tokens_in, tokens_out, cost_usd, latency_p95_ms, latency_avg_ms,
        success_rate_pct, created_at
    )
    VALUES (
        gen_random_uuid(), gen_random_uuid(), 1, 1, 1, 1, 1, 1, 1, 1, 1, %(created_at)s
    )
"""


@pytest.mark.parametrize(
    ("existing", "superfluous"),
    [
        ("(created_at)", "campaign_metrics_created_at_idx"),
        ("(created_at DESC)", "campaign_metrics_created_at_idx"),
        ("(created_at, run_id)", "campaign_metrics_created_at_idx"),
        ("(campaign_id)", "campaign_metrics_campaign_id_idx"),
        (
            "(created_at, id) WHERE exported_at IS NULL",
            "campaign_metrics_pending_idx",
        ),
        (
            "(created_at DESC, id DESC) WHERE exported_at IS NULL",
            "campaign_metrics_pending_idx",
        ),
    ],
)
def test_index_that_exists_under_another_name_is_not_made_again(
    empty_database_url, connect, existing, superfluous
):
    connection = connect(empty_database_url)
    connection.execute(_BARE_TABLE)
    connection.execute(f"CREATE INDEX theirs ON campaign_metrics {existing}")

    assert migrations.apply(empty_database_url) == ALL

    ours = {
        "campaign_metrics_created_at_idx",
        "campaign_metrics_campaign_id_idx",
        "campaign_metrics_pending_idx",
        "campaign_metrics_exported_idx",
    }
    assert set(_indexes(connection)) == ours - {superfluous} | {
        "theirs",
        "campaign_metrics_pkey",
    }


@pytest.mark.parametrize(
    "existing",
    [
        "(created_at) WHERE exported_at IS NULL",
        "(created_at, id DESC) WHERE exported_at IS NULL",
        "(created_at, id)",
        "(id, created_at) WHERE exported_at IS NULL",
        "(created_at, id) WHERE exported_at IS NOT NULL",
    ],
)
def test_index_that_does_not_serve_the_pending_rows_is_no_substitute(
    empty_database_url, connect, existing
):
    connection = connect(empty_database_url)
    connection.execute(_BARE_TABLE)
    connection.execute(f"CREATE INDEX theirs ON campaign_metrics {existing}")

    migrations.apply(empty_database_url)

    assert "campaign_metrics_pending_idx" in _indexes(connection)


_BARE_TABLE = """
    CREATE TABLE campaign_metrics (
        id uuid PRIMARY KEY, created_at timestamptz, campaign_id uuid, run_id uuid,
        exported_at timestamptz
    )
"""


def test_key_that_cannot_be_a_uuid_is_refused(empty_database_url, connect):
    connection = connect(empty_database_url)
    connection.execute("CREATE TABLE campaign_metrics (id bigint PRIMARY KEY)")

    with pytest.raises(DatabaseError, match=r"campaign_metrics\.id is bigint"):
        migrations.apply(empty_database_url)

    assert migrations.pending(empty_database_url) == ALL


def test_two_processes_apply_each_migration_once_between_them(empty_database_url):
    with ThreadPoolExecutor(2) as executor:
        applied = executor.map(migrations.apply, [empty_database_url] * 2)

    assert sorted(name for names in applied for name in names) == ALL


def test_lock_row_of_a_dead_process_is_no_obstacle(empty_database_url, connect):
    migrations.apply(empty_database_url)
    connection = connect(empty_database_url)
    connection.execute("INSERT INTO yoyo_lock VALUES (1, now(), 4711)")
    connection.execute("DELETE FROM _yoyo_migration WHERE migration_id = '0006_ledger'")

    assert migrations.apply(empty_database_url) == ["0006_ledger"]


def test_waiting_for_another_process_ends_with_its_name(empty_database_url, connect):
    holder = connect(empty_database_url)
    with holder.transaction():
        holder.execute("CREATE TABLE campaign_metrics (id uuid PRIMARY KEY)")
        with subprocess.Popen([sys.executable, "-c", _APPLY, empty_database_url]) as p:
            wait_until(lambda: connect(empty_database_url).execute(_WAITING).fetchall())
            with pytest.raises(DatabaseUnavailableError, match="Another process"):
                migrations.apply(empty_database_url, wait_seconds=0)
            p.kill()


def test_table_that_stays_locked_is_left_as_it_is(empty_database_url, connect):
    connection, holder = connect(empty_database_url), connect(empty_database_url)
    connection.execute(_BARE_TABLE)
    with holder.transaction():
        holder.execute("LOCK TABLE campaign_metrics IN ACCESS SHARE MODE")
        with pytest.raises(DatabaseUnavailableError, match="locks the table"):
            migrations.apply(empty_database_url, wait_seconds=0)

        assert migrations.pending(empty_database_url) == ALL

    assert migrations.apply(empty_database_url) == ALL


def test_who_holds_a_table_that_has_to_be_changed_is_named(empty_database_url, connect):
    connection = connect(empty_database_url)
    connection.execute(_BARE_TABLE)
    with psycopg.connect(empty_database_url, application_name="psql") as holder:
        holder.execute("LOCK TABLE campaign_metrics IN ACCESS SHARE MODE")
        backend = holder.execute("SELECT pg_backend_pid()").fetchone()
        with pytest.raises(DatabaseUnavailableError) as caught:
            migrations.apply(empty_database_url, wait_seconds=3)

    assert backend
    named = f"(application psql, process {backend[0]}, since 20"
    assert named in str(caught.value)


def test_others_get_at_a_table_while_a_change_of_it_waits(empty_database_url, connect):
    """A reader waits behind it for as long as it waits itself: one second."""
    connection, holder = connect(empty_database_url), connect(empty_database_url)
    connection.execute(_BARE_TABLE)
    connection.execute("SET lock_timeout = '20s'")
    with holder.transaction(), ThreadPoolExecutor(1) as executor:
        holder.execute("LOCK TABLE campaign_metrics IN ACCESS SHARE MODE")
        applied = executor.submit(migrations.apply, empty_database_url, wait_seconds=90)
        for _ in range(3):
            wait_until(lambda: connection.execute(_WAITING).fetchall())
            connection.execute("SELECT count(*) FROM campaign_metrics")
            assert not applied.done()
        holder.execute("COMMIT")
        assert applied.result(SECONDS) == ALL
        holder.execute("BEGIN")


def test_an_index_that_waits_for_an_old_transaction_is_given_up_and_made_later(
    empty_database_url, connect
):
    connection = connect(empty_database_url)
    connection.execute(_BARE_TABLE)
    migrations.apply(empty_database_url)
    connection.execute("DROP INDEX campaign_metrics_pending_idx")
    with psycopg.connect(empty_database_url, application_name="psql") as holder:
        holder.execute("INSERT INTO campaign_metrics VALUES (gen_random_uuid())")
        with pytest.raises(DatabaseUnavailableError, match="application psql"):
            migrations.apply(empty_database_url, wait_seconds=0)
        holder.rollback()

    assert migrations.apply(empty_database_url) == ["0004_index_pending"]
    assert all(_indexes(connection).values())


_AUDIT_GUARDS = """
    SELECT proname, proconfig FROM pg_proc WHERE proname LIKE 'audit%' ORDER BY proname
"""
_AUDIT_TRIGGERS = """
    SELECT tgname FROM pg_trigger WHERE tgrelid = 'audit_event'::regclass ORDER BY tgname
"""


@pytest.mark.parametrize(
    "lost", ["TABLE audit_event", "INDEX audit_event_landmark_idx"]
)
def test_an_audit_trail_that_is_made_again_has_all_its_guards(
    database_url, connect, lost
):
    connection = connect(database_url)
    guards = connection.execute(_AUDIT_GUARDS).fetchall()
    triggers = connection.execute(_AUDIT_TRIGGERS).fetchall()
    connection.execute(f"DROP {lost}")

    assert migrations.apply(database_url) == [
        "0023_audit",
        "0024_audit_search_path",
        "0025_audit_hashes",
    ]
    assert connection.execute(_AUDIT_GUARDS).fetchall() == guards
    assert connection.execute(_AUDIT_TRIGGERS).fetchall() == triggers


def test_nothing_waits_for_a_writer_when_nothing_is_missing(database_url, connect):
    """The table is complete; only the record of its migration is missing."""
    connect(database_url).execute("DELETE FROM _yoyo_migration")
    writer = connect(database_url)
    with writer.transaction():
        writer.execute(_SOME_ROW, {"created_at": "now"})

        assert migrations.apply(database_url, wait_seconds=0) == ALL


def test_process_killed_while_it_changes_the_table_leaves_nothing_behind(
    empty_database_url, connect
):
    connection, holder = connect(empty_database_url), connect(empty_database_url)
    connection.execute(_BARE_TABLE)
    with holder.transaction():
        holder.execute("LOCK TABLE campaign_metrics IN ACCESS SHARE MODE")
        process = subprocess.Popen([sys.executable, "-c", _APPLY, empty_database_url])
        wait_until(lambda: connection.execute(_WAITING).fetchall())
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert connection.execute("SELECT count(*) FROM yoyo_lock").fetchone() == (1,)

    assert migrations.apply(empty_database_url) == ALL


@pytest.mark.parametrize("backend_dies_too", [False, True])
def test_process_killed_while_it_builds_an_index_is_made_up_for(
    empty_database_url, connect, backend_dies_too
):
    connection, holder = connect(empty_database_url), connect(empty_database_url)
    connection.execute(_BARE_TABLE)
    migrations.apply(empty_database_url)
    connection.execute("DROP INDEX campaign_metrics_pending_idx")
    connection.execute(
        "DELETE FROM _yoyo_migration WHERE migration_id = '0004_index_pending'"
    )
    with holder.transaction():
        holder.execute("INSERT INTO campaign_metrics VALUES (gen_random_uuid())")
        process = subprocess.Popen([sys.executable, "-c", _APPLY, empty_database_url])
        wait_until(lambda: connection.execute(_WAITING).fetchall())
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert _indexes(connection)["campaign_metrics_pending_idx"] is False
        if backend_dies_too:
            for (pid,) in connection.execute(_WAITING).fetchall():
                connection.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))

    assert migrations.apply(empty_database_url) == ["0004_index_pending"]
    assert all(_indexes(connection).values())
    assert "campaign_metrics_pending_idx" in _indexes(connection)


@pytest.fixture
def stranger_url(database_url, connect) -> Iterator[str]:
    """URL of a migrated database for a role that owns none of it."""
    connection = connect(database_url)
    connection.execute("CREATE ROLE stranger LOGIN PASSWORD 'secret'")
    yield database_url.replace("//apex:", "//stranger:").replace(
        psycopg.conninfo.conninfo_to_dict(database_url)["password"], "secret"
    )
    connection.execute("DROP OWNED BY stranger")
    connection.execute("DROP ROLE stranger")


def test_missing_privilege_says_what_to_do(stranger_url):
    with pytest.raises(DatabaseError, match=r"lacks a privilege.*Grant it"):
        migrations.apply(stranger_url)


def test_table_of_another_role_need_not_be_owned_when_nothing_is_missing(
    stranger_url, database_url, connect
):
    connection = connect(database_url)
    connection.execute("GRANT ALL ON SCHEMA public TO stranger")
    connection.execute("GRANT ALL ON campaign_metrics TO stranger")
    connection.execute(
        """
        DROP VIEW campaign_metrics_pending, v_campaign_metrics_pending,
            quarantined_campaign_metrics, dataverse_finding;
        DROP VIEW cost_forecast, cost_forecast_horizon, cost_forecast_outcome,
            cost_forecast_campaign;
        DROP VIEW campaign_daily, campaign_weekly, totals_daily, totals_weekly,
            zoned_campaign_daily, zoned_campaign_weekly;
        DROP TABLE cost_forecast_day, cost_forecast_total, cost_forecast_score,
            cost_forecast_part,
            cost_forecast_training;
        DROP FUNCTION campaign_history CASCADE;
        DROP FUNCTION computed_time_zone;
        DROP TABLE business_time_zone, campaign_name, rollup_comparison, pending_look;
        DROP FUNCTION grant_analyst_access;
        DROP TABLE campaign_metrics_quarantine, sync_run, dataverse_pacing,
            dataverse_target, daily_campaign_rollup, daily_rollup_total,
            weekly_campaign_rollup, weekly_rollup_total, rollup_source, rollup_history,
            analyst_object, adopted_record, reconciliation_finding, foreign_record,
            reconciliation_progress, reconciliation_run, writer_lock,
            reconciliation_lock, recording_lock, migration_lock, audit_event,
            audit_anchor, audit_intent, audit_verification, audit_lock,
            yoyo_lock, _yoyo_log, _yoyo_version, _yoyo_migration;
        DROP FUNCTION audit_append, audit_canonical, audit_event_extends_the_chain,
            audit_event_fits_its_hash, audit_is_append_only, audit_event_is_pruned
        """
    )

    assert migrations.apply(stranger_url) == ALL


def test_a_copy_of_the_schema_without_its_rows_is_brought_up_to_date(
    connect, database_url
):
    connect(database_url).execute(
        "TRUNCATE _yoyo_version, _yoyo_migration, _yoyo_log, yoyo_lock"
    )
    assert migrations.apply(database_url) == ALL
    assert migrations.apply(database_url) == []


def test_server_that_is_not_there_is_named_without_its_password():
    with pytest.raises(DatabaseUnavailableError, match=r"127\.0\.0\.1:1/") as caught:
        migrations.apply("postgresql://me:hunter2@127.0.0.1:1/metrics", wait_seconds=0)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://me:hunter2@host/db", "hunter2", "://", ""])
def test_address_that_is_no_postgres_is_refused_without_being_shown(url):
    with pytest.raises(ConfigError, match="must look like") as caught:
        migrations.apply(url)

    assert "hunter2" not in str(caught.value)
