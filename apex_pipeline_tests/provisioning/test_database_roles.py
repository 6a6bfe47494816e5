"""The roles of the pipeline's processes: what each may do, and that it is enough."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import dagster as dg
import httpx
import psycopg
import pytest
from click.testing import CliRunner
from psycopg import errors

from apex_pipeline.analytics.rollups.periods import DAILY, WEEKLY, Periods
from apex_pipeline.analytics.rollups.refresh import refresh
from apex_pipeline.audit import trail
from apex_pipeline.audit.events import Action
from apex_pipeline.audit.trail import part
from apex_pipeline.cli.audit import audit
from apex_pipeline.cli.export import export
from apex_pipeline.cli.provision import provision
from apex_pipeline.cli.quarantine import quarantine
from apex_pipeline.cli.reconcile import reconcile
from apex_pipeline.cli.record import record
from apex_pipeline.definitions import defs
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.monitoring.doctor import trial_mark
from apex_pipeline.monitoring.doctor.check_results import CheckState
from apex_pipeline.monitoring.doctor.postgres_state import Postgres
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.store import connect
from apex_pipeline.postgres.table_locks import MIGRATIONS, take
from apex_pipeline.provisioning import database_roles
from apex_pipeline.provisioning.databases import provision_database
from apex_pipeline.settings.analytics import load_analysis_settings
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import SyncOptions
from apex_pipeline_tests.support.aged_trail import age as make_older, append, daily
from apex_pipeline_tests.support.analyst_logins import as_url, named, powerless_url
from apex_pipeline_tests.support.campaign_runs import sent
from apex_pipeline_tests.support.dagster_runs import age
from apex_pipeline_tests.support.dagster_storage import stored_at
from apex_pipeline_tests.support.database_copies import create_copy, drop
from apex_pipeline_tests.support.ends import (
    campaign_row,
    emulator_settings,
    environment,
    execute,
    insert,
    insert_many,
    marked,
    query,
)
from apex_pipeline_tests.support.other_logins import login
from apex_pipeline_tests.support.panel_server import TOKEN, served

__all__ = ["powerless_url"]

# A week of which all days are over.
_TODAY = datetime.now(UTC).date()
SUNDAY = _TODAY - timedelta(days=_TODAY.weekday() + 1)

ALLOWED = """
    apex_sync apex_panel apex_analyst
    _yoyo_log                     -                  -           -
    _yoyo_migration               r                  r           -
    _yoyo_version                 -                  -           -
    adopted_record                rad                r           -
    analyst_object                r                  -           -
    audit_anchor                  ra                 r           -
    audit_event                   ra                 ra          -
    audit_intent                  rawd               rawd        -
    audit_lock                    w                  w           -
    audit_verification            ra                 r           -
    business_time_zone            raw                r           r
    campaign_daily                r                  r           r
    campaign_history_30d          r                  r           r
    campaign_history_60d          r                  r           r
    campaign_history_90d          r                  r           r
    campaign_metrics              ra(exported_at)    ra          -
    campaign_metrics_pending      r                  r           -
    campaign_metrics_quarantine   rawd               r           -
    campaign_name                 rawd               r           r
    campaign_weekly               r                  r           r
    cost_forecast                 r                  r           r
    cost_forecast_campaign        r                  r           r
    cost_forecast_day             rad                r           r
    cost_forecast_horizon         r                  r           r
    cost_forecast_outcome         r                  r           r
    cost_forecast_part            rad                r           r
    cost_forecast_score           rad                r           r
    cost_forecast_total           rad                r           r
    cost_forecast_training        rad                r           r
    daily_campaign_rollup         rawd               r           r
    daily_rollup_total            rawd               r           r
    dataverse_finding             r                  r           -
    dataverse_pacing              raw                r           -
    dataverse_target              raw                r           -
    foreign_record                rawd               r           -
    migration_lock                -                  -           -
    pending_look                  raw                r           -
    quarantined_campaign_metrics  r                  r           -
    reconciliation_finding        rawd               r           -
    reconciliation_lock           w                  -           -
    reconciliation_progress       raw                r           -
    reconciliation_run            raw                r           -
    recording_lock                w                  w           -
    rollup_comparison             raw                r           -
    rollup_history                raw                r           -
    rollup_source                 rad                r           -
    sync_run                      raw                r           -
    totals_daily                  r                  r           r
    totals_weekly                 r                  r           r
    v_campaign_metrics_pending    r                  r           -
    weekly_campaign_rollup        rawd               r           r
    weekly_rollup_total           rawd               r           r
    writer_lock                   w                  -           -
    yoyo_lock                     -                  -           -
    zoned_campaign_daily          r                  r           -
    zoned_campaign_weekly         r                  r           -
"""
# As Postgres abbreviates them; in brackets, the columns that may be updated.

_LETTERS = {
    "r": "SELECT",
    "a": "INSERT",
    "w": "UPDATE",
    "d": "DELETE",
    "D": "TRUNCATE",
    "x": "REFERENCES",
    "t": "TRIGGER",
    "m": "MAINTAIN",
}
_HELD = f"""
    SELECT relname, role, {
    " || ".join(
        f"CASE WHEN has_table_privilege(role, pg_class.oid, '{privilege}')"
        f" THEN '{letter}' ELSE '' END"
        for letter, privilege in _LETTERS.items()
    )
}, (
        SELECT string_agg(attname, ',') FROM pg_attribute
        WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
            AND has_column_privilege(role, attrelid, attname, 'UPDATE')
            AND NOT has_table_privilege(role, attrelid, 'UPDATE')
    )
    FROM pg_class, unnest(ARRAY['apex_sync', 'apex_panel', 'apex_analyst']) AS role
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'p', 'f')
"""
_ELSEWHERE = """
    SELECT rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls
            OR rolreplication,
        has_schema_privilege(oid, 'public', 'CREATE'),
        has_database_privilege(oid, current_database(), 'CREATE'),
        (SELECT count(*) FROM pg_auth_members WHERE member = pg_roles.oid),
        (SELECT count(*) FROM pg_class WHERE relowner = pg_roles.oid),
        (SELECT count(*) FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND CASE relkind WHEN 'S'
            THEN has_sequence_privilege(pg_roles.oid, pg_class.oid, 'USAGE, UPDATE')
            END),
        has_function_privilege(oid, 'grant_analyst_access()', 'EXECUTE')
    FROM pg_roles WHERE rolname = %s
"""


@pytest.fixture
def provisioned_url(database_url: str) -> str:
    outcome = provision_database(database_url, None, plan_only=False)
    assert outcome.by_hand is None
    return database_url


@pytest.fixture(scope="module")
def refusing_url(postgres: EmbeddedPostgres, migrated_database: str) -> Iterator[str]:
    """URL of a provisioned database in which every statement of the tests is refused."""
    create_copy(postgres, migrated_database, "refusing")
    url = postgres.url("refusing")
    provision_database(url, None, plan_only=False)
    yield url
    drop(postgres, "refusing")


@pytest.fixture
def sync_url(provisioned_url: str) -> Iterator[str]:
    """URL of a login that is a member of `apex_sync` and nothing else."""
    with login(provisioned_url, "apex_sync") as url:
        # Where nobody has the right to temporary tables, the role still has.
        revoke = (
            "DO $$BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC',"
        )
        execute(provisioned_url, f"{revoke} current_database()); END$$")
        yield url


@pytest.fixture
def panel_url(provisioned_url: str) -> Iterator[str]:
    with login(provisioned_url, "apex_panel") as url:
        yield url


def test_each_role_may_do_to_each_table_what_the_table_here_says(provisioned_url):
    heading, *lines = ALLOWED.strip().splitlines()
    expected = {
        (name, role): allowed.removeprefix("-")
        for name, *cells in map(str.split, lines)
        for role, allowed in zip(heading.split(), cells, strict=True)
    }
    found = {
        (name, role): letters + (f"({columns})" if columns else "")
        for name, role, letters, columns in query(provisioned_url, _HELD)
    }
    assert found == expected


@pytest.mark.parametrize("role", ["apex_sync", "apex_panel"])
def test_a_role_is_a_group_without_any_power_besides(provisioned_url, role):
    with psycopg.connect(provisioned_url) as connection:
        found = connection.execute(_ELSEWHERE, [role]).fetchone()
    assert found == (False, False, False, 0, 0, 0, False)


def test_what_is_granted_is_named_for_every_table_and_view_of_ours(provisioned_url):
    """A migration that adds a table has to say who may do what to it."""
    made = {name.split()[0] for name in ALLOWED.strip().splitlines()[1:]}
    internal = {"_yoyo_log", "_yoyo_version", "yoyo_lock"}
    assert database_roles.PRIVILEGES.keys() == made - internal


@pytest.mark.parametrize("role", ["apex_sync", "apex_panel"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE campaign_metrics SET cost_usd = 0",
        "UPDATE campaign_metrics SET id = gen_random_uuid()",
        "DELETE FROM campaign_metrics",
        "TRUNCATE campaign_metrics",
        "ALTER TABLE campaign_metrics DISABLE TRIGGER ALL",
        "LOCK TABLE campaign_metrics IN ACCESS EXCLUSIVE MODE",
        "LOCK TABLE migration_lock IN SHARE ROW EXCLUSIVE MODE",
        "DELETE FROM sync_run",
        "CREATE TABLE mine (a integer)",
        "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "COPY campaign_metrics TO PROGRAM 'cat'",
        "CREATE ROLE mine",
        "GRANT apex_sync TO apex_analyst",
    ],
)
def test_what_a_process_needs_not_is_refused(refusing_url, role, statement):
    with (
        login(refusing_url, role) as url,
        psycopg.connect(url) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE campaign_metrics SET exported_at = now()",
        "LOCK TABLE writer_lock IN SHARE ROW EXCLUSIVE MODE",
        "INSERT INTO sync_run (started_at, host) VALUES (now(), 'x')",
        "DELETE FROM campaign_metrics_quarantine",
    ],
)
def test_the_panel_can_neither_mark_nor_hold_up_the_sync(refusing_url, statement):
    with (
        login(refusing_url, "apex_panel") as url,
        psycopg.connect(url) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


@pytest.fixture
def commands(sync_url, emulator, tmp_path, monkeypatch):
    """Run commands as a member of `apex_sync`; what they print."""
    for name, value in environment(emulator, sync_url, tmp_path / "state").items():
        monkeypatch.setenv(name, value)

    def run(command, *arguments: str) -> str:
        ended = CliRunner().invoke(command, arguments, catch_exceptions=False)
        assert ended.exit_code == 0, ended.output
        return ended.output

    return run


def test_a_member_of_apex_sync_does_all_the_work(
    commands, sync_url, emulator, provisioned_url, tmp_path
):
    insert_many(provisioned_url, 30)
    insert(provisioned_url, [campaign_row(phase="x" * 17)])
    with Database(sync_url, application_name="tests") as database:
        for grain, last in ((DAILY, SUNDAY), (WEEKLY, SUNDAY - timedelta(days=6))):
            first = SUNDAY - timedelta(days=20)
            refresh(database, load_analysis_settings({}), Periods(grain, first, last))
    with connect(sync_url) as store:
        report = run_sync(
            store, emulator_settings(emulator), tmp_path / "tokens.json", SyncOptions()
        )
    assert (report.failure, report.delivered, report.rejected) == (None, 30, 1)
    assert len(marked(provisioned_url)) == 30
    assert "1" in commands(quarantine, "list", "--json")
    commands(quarantine, "release", "--all", "--yes")
    commands(quarantine, "drop", "--all", "--yes", "--reason", "a test")
    execute(provisioned_url, "UPDATE campaign_metrics SET tokens_in = tokens_in + 1")
    commands(reconcile, "--repair")
    assert len(marked(provisioned_url)) < 30
    for dataset, lines in (("raw", 32), ("daily", 2)):
        file = tmp_path / f"{dataset}.csv"
        commands(export, dataset, "-o", str(file))
        assert len(file.read_text().splitlines()) >= lines
    file = tmp_path / "runs.jsonl"
    file.write_text(json.dumps(sent()) + "\n")
    commands(record, "--file", str(file))
    assert query(provisioned_url, "SELECT count(*) FROM campaign_metrics") == [(32,)]


def test_old_runs_are_purged_for_a_member_of_apex_sync(
    commands, sync_url, provisioned_url, dagster_storage, tmp_path
):
    """It deletes from Dagster's storage; here it needs to write its event alone."""
    job = defs().resolve_job_def("purge_event_log")
    with dg.instance_for_test(
        temp_dir=str(tmp_path), overrides=stored_at(dagster_storage)
    ) as instance:
        old = instance.create_run_for_job(job, tags=job.tags)
        instance.report_run_canceled(old)
        age(instance, old.run_id)
        assert job.execute_in_process(instance=instance).success
        assert instance.get_run_by_id(old.run_id) is None
    with Database(provisioned_url, application_name="tests") as database:
        event = database.ask(trail.newest_of, Action.PURGE)
    assert event is not None
    assert part(event, "counts")["runs_deleted"] == 1


def test_pruning_the_trail_is_refused_to_a_member_of_apex_sync(
    commands, sync_url, provisioned_url, monkeypatch
):
    with Database(provisioned_url, application_name="tests") as owner:
        append(owner, 3)
        daily(owner)
        make_older(provisioned_url, 400)
    monkeypatch.setenv("APEX_AUDIT_KEEP", "30d")
    with Database(sync_url, application_name="tests") as database:
        before = database.ask(trail.newest, limit=100)
        ended = CliRunner().invoke(audit, ["prune", "--yes"])
        assert "only the owner of audit_event may delete" in str(ended.exception)
        # The daily job goes on, and says how many events wait for the owner.
        done = daily(database, keep=timedelta(days=30))
        assert (done.pruned, done.failure) == (None, None)
        assert done.waiting is not None
        assert database.ask(trail.newest, limit=100)[1:] == before


def test_provisioning_by_a_role_that_owns_nothing_finds_all_there(commands):
    assert commands(provision, "database") == "The database is up to date.\n"


def test_a_member_of_apex_panel_shows_the_panel_and_records(
    panel_url, provisioned_url, emulator, tmp_path
):
    execute(
        provisioned_url,
        "ALTER TABLE campaign_metrics DROP CONSTRAINT campaign_metrics_pkey",
    )
    variables = environment(emulator, panel_url, tmp_path / "state")
    with (
        served(variables, token=TOKEN) as url,
        httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60
        ) as client,
    ):
        answer = client.post("/api/metrics/campaign", json=sent())
        assert answer.status_code == 201, answer.text
        for path in ("/", "/api/kpis", "/api/history", "/readyz", "/metrics"):
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.text)
            assert "permission" not in answer.text
    assert query(provisioned_url, "SELECT count(*) FROM campaign_metrics") == [(1,)]


@pytest.mark.parametrize(
    "table", ["writer_lock", "reconciliation_lock", "recording_lock", "migration_lock"]
)
def test_no_analyst_holds_up_anything_by_a_lock(refusing_url, table):
    with (
        login(refusing_url, "apex_analyst") as url,
        psycopg.connect(url) as analyst,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        analyst.execute(f"LOCK TABLE {table} IN ROW SHARE MODE".encode())


def test_the_former_lock_of_the_migrations_counts_where_its_holder_may_migrate(
    database_url,
):
    with (
        login(database_url) as url,
        psycopg.connect(url) as anyone,
        psycopg.connect(database_url, application_name="former") as owner,
        psycopg.connect(database_url) as connection,
    ):
        anyone.execute("SELECT pg_advisory_xact_lock(730833204421056)")
        assert take(connection, MIGRATIONS) is None
        connection.rollback()
        anyone.rollback()
        owner.execute("SELECT pg_advisory_xact_lock(730833204421056)")
        held = take(connection, MIGRATIONS)
        assert held is not None
        assert "application former" in held.holders


def test_without_the_right_to_make_roles_provisioning_says_so_and_goes_on(
    powerless_url, provisioned_url
):
    with psycopg.connect(provisioned_url, autocommit=True) as owner:
        for role in ("apex_sync", "apex_panel"):
            owner.execute(f"DROP OWNED BY {role}".encode())
            owner.execute(f"ALTER ROLE {role} RENAME TO {role}_set_aside".encode())
        try:
            outcome = provision_database(powerless_url, None, plan_only=False)
            assert "0013_locks" in outcome.names
            assert outcome.by_hand is not None
            assert "CREATE ROLE apex_sync NOLOGIN" in outcome.by_hand
            assert "CREATE ROLE apex_panel NOLOGIN" in outcome.by_hand
            for role in ("apex_sync", "apex_panel"):
                owner.execute(f"CREATE ROLE {role} NOLOGIN".encode())
            plan = provision_database(powerless_url, None, plan_only=True)
            assert plan.by_hand is None
            assert any(" to apex_sync" in each for each in plan.granted)
            again = provision_database(powerless_url, None, plan_only=False)
            assert again.by_hand is None
        finally:
            for role in ("apex_sync", "apex_panel"):
                owner.execute(f"DROP OWNED BY {role}".encode())
                owner.execute(f"DROP ROLE IF EXISTS {role}".encode())
                owner.execute(f"ALTER ROLE {role}_set_aside RENAME TO {role}".encode())


def test_the_plan_tells_what_will_be_created_from_what_is_to_be_done_by_hand(
    powerless_url, provisioned_url
):
    with psycopg.connect(provisioned_url, autocommit=True) as owner:
        owner.execute("REVOKE SELECT ON sync_run FROM apex_panel")
        owner.execute("DROP OWNED BY apex_sync")
        owner.execute("ALTER ROLE apex_sync RENAME TO apex_sync_set_aside")
        try:
            theirs = provision_database(powerless_url, None, plan_only=True)
            assert "CREATE ROLE apex_sync NOLOGIN" in str(theirs.by_hand)
            assert theirs.created == []
            plan = CliRunner().invoke(
                provision,
                ["database", "--plan"],
                env={"DATABASE_URL": provisioned_url, "DATAVERSE_RESOURCE": ""},
            )
            lines = [
                "would be created: role apex_sync",
                "would be granted: SELECT on sync_run to apex_panel",
            ]
            assert plan.output.splitlines() == lines
            missing = "SELECT to_regrole('apex_sync') IS NULL"
            assert query(provisioned_url, missing) == [(True,)]
            made = provision_database(provisioned_url, None, plan_only=False)
            assert (made.created, made.by_hand) == (["apex_sync"], None)
            assert made.granted == ["SELECT on sync_run to apex_panel"]
            again = provision_database(provisioned_url, None, plan_only=True)
            assert (again.created, again.granted, again.by_hand) == ([], [], None)
        finally:
            owner.execute("DROP OWNED BY apex_sync")
            owner.execute("DROP ROLE IF EXISTS apex_sync")
            owner.execute("ALTER ROLE apex_sync_set_aside RENAME TO apex_sync")


def test_roles_and_grants_leave_an_event_and_no_change_leaves_none(provisioned_url):
    with Database(provisioned_url, application_name="tests") as database:
        before = len(database.ask(trail.newest, limit=100))
        provision_database(provisioned_url, None, plan_only=False)
        assert len(database.ask(trail.newest, limit=100)) == before
        execute(provisioned_url, "REVOKE SELECT ON sync_run FROM apex_panel")
        provision_database(provisioned_url, None, plan_only=False)
        event, *rest = database.ask(trail.newest, limit=100)
    assert len(rest) == before
    assert event["action"] == "provision"
    assert event["subject"] == {
        "database": "metrics",
        "roles": ["SELECT on sync_run to apex_panel"],
    }


def test_what_belongs_to_somebody_else_is_named_and_the_rest_is_granted(database_url):
    """A table that others made may stay theirs."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("CREATE ROLE theirs")
        owner.execute("CREATE ROLE provisioner LOGIN PASSWORD 'secret'")
        owner.execute("GRANT ALL ON SCHEMA public TO provisioner")
        for (table,) in owner.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'v')"
        ).fetchall():
            keeper = "theirs" if table == "sync_run" else "provisioner"
            owner.execute(f"ALTER TABLE {table} OWNER TO {keeper}".encode())
        owner.execute("GRANT SELECT ON sync_run TO provisioner")
        try:
            with Database(
                as_url(named(database_url, "provisioner")), application_name="tests"
            ) as database:
                gaps = database_roles.find_gaps(database)
                problem = database_roles.grant(database)
            assert {gap.what for gap in gaps if not gap.is_ours} == {
                "SELECT on sync_run to apex_sync",
                "INSERT on sync_run to apex_sync",
                "UPDATE on sync_run to apex_sync",
                "SELECT on sync_run to apex_panel",
            }
            assert problem is not None
            assert "lacks SELECT on sync_run; " in problem
            assert "campaign_metrics" not in problem
        finally:
            owner.execute("REASSIGN OWNED BY theirs, provisioner TO CURRENT_USER")
            owner.execute("DROP OWNED BY theirs, provisioner")
            owner.execute("DROP ROLE theirs, provisioner")


def test_two_who_provision_at_once_do_not_trip_over_each_other(database_url):
    with ThreadPoolExecutor(4) as pool:
        outcomes = [
            pool.submit(provision_database, database_url, None, plan_only=False)
            for _ in range(4)
        ]
        assert [each.result().by_hand for each in outcomes] == [None] * 4


def test_the_doctor_says_what_a_role_may_do_beyond_need(sync_url, provisioned_url):
    member = Postgres(sync_url).role()
    assert member.state is CheckState.OK
    assert member.measured.endswith("which may do nothing else")
    owner = Postgres(provisioned_url).role()
    assert owner.state is CheckState.OK
    for power in ("superuser", "create roles", "drop campaign_metrics", "delete rows"):
        assert power in owner.measured
    assert "apex_sync" in owner.measured


def test_the_doctor_warns_where_every_login_may_create_objects(
    sync_url, provisioned_url
):
    """As Postgres 14 has it at first."""
    assert Postgres(sync_url).schema().state is CheckState.OK
    execute(provisioned_url, "GRANT CREATE ON SCHEMA public TO PUBLIC")
    finding = Postgres(sync_url).schema()
    assert finding.state is CheckState.WARNING
    assert "REVOKE CREATE ON SCHEMA public FROM PUBLIC" in str(finding.remedy)


def test_the_doctor_is_content_with_a_member_of_apex_sync(sync_url):
    postgres = Postgres(sync_url)
    for line in (postgres.reachable, postgres.migrations, postgres.relations):
        assert line().state is CheckState.OK
    for line in (postgres.indexes, postgres.plan, postgres.unique_id):
        assert line().state is CheckState.OK
    with Database(sync_url, application_name="tests") as database:
        assert trial_mark.marks_take(database, datetime.now(UTC)).state is CheckState.OK
