"""The logins of the embedded Postgres: each process has its own, and none is superuser."""

import asyncio
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import dagster as dg
import httpx
import psycopg
import pytest
from psycopg import conninfo, errors
from starlette.types import ASGIApp

from apex_pipeline.defs.operations.dagster_storage import PostgresOfVariable
from apex_pipeline.defs.operations.dagster_ui import behind_the_gate, dagster_ui
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.local.embedded_roles import (
    DAGSTER_LOGIN,
    DEMO_LOGIN,
    LOGINS,
    OWNER,
    PANEL_LOGIN,
    SYNC_LOGIN,
    OwnDatabase,
)
from apex_pipeline.postgres import migrations
from apex_pipeline.provisioning.databases import provision_database
from apex_pipeline.settings import PanelSettings
from apex_pipeline_tests.support.ends import execute, query
from apex_pipeline_tests.support.waiting import SECONDS

METRICS = OwnDatabase("apex", OWNER)
STORAGE = OwnDatabase("dagster", DAGSTER_LOGIN, is_private=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[EmbeddedPostgres]:
    """A server as an earlier release left it, then started by this one."""
    made = EmbeddedPostgres(
        tmp_path_factory.mktemp("roles") / "postgres",
        # The smallest queue of notices, which is full soon.
        settings={"fsync": "off", "max_notify_queue_pages": "64"},
    )
    made.start(SECONDS)
    try:
        for database in (METRICS, STORAGE):
            made.create_database(database.name)
        migrations.apply(made.url("apex"))
        migrations.apply(made.url("dagster"), migrations.MigrationFolder.ALERTS)
        execute(made.url("apex"), "CREATE TABLE yours (note text)")
        for _ in range(2):
            made.provide([METRICS, STORAGE])
        outcome = provision_database(
            made.url("apex", OWNER), made.url("dagster", DAGSTER_LOGIN), plan_only=False
        )
        assert outcome.by_hand is None
        yield made
    finally:
        made.stop()


def connect(server, database: str, login: str) -> psycopg.Connection:
    return psycopg.connect(server.url(database, login), autocommit=True)


def test_no_login_has_a_power_of_the_superuser(server):
    found = query(
        server.url("apex"),
        "SELECT rolname FROM pg_roles WHERE rolsuper OR rolbypassrls OR rolreplication"
        " OR rolcreatedb",
    )
    assert found == [("apex",)]


@pytest.mark.parametrize("login", LOGINS)
def test_no_login_runs_programs_or_reads_files_of_the_server(server, login):
    database = "dagster" if login == DAGSTER_LOGIN else "apex"
    with connect(server, database, login) as connection:
        for statement in (
            "CREATE TEMPORARY TABLE told (line text)"
            if login in {OWNER, DAGSTER_LOGIN}
            else "SELECT 1",
            "SELECT pg_read_file('/etc/passwd')",
            "COPY (SELECT 1) TO PROGRAM 'cat'",
            "COPY (SELECT 1) TO '/tmp/out'",
            "GRANT pg_execute_server_program TO CURRENT_USER",
            "ALTER ROLE apex PASSWORD 'mine'",
            "SET ROLE apex",
            "SELECT lo_create(0)",
            "ALTER SYSTEM SET archive_command = 'cat'",
        ):
            if statement.startswith(("CREATE TEMP", "SELECT 1")):
                connection.execute(statement.encode())
                continue
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement.encode())


@pytest.mark.parametrize("login", [OWNER, SYNC_LOGIN, PANEL_LOGIN, DEMO_LOGIN])
def test_dagsters_storage_and_other_databases_are_closed_to_them(server, login):
    for database in ("dagster", "postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            connect(server, database, login)
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        connect(server, "postgres", DAGSTER_LOGIN)


def test_what_an_earlier_release_made_belongs_to_the_owner_now(server):
    for database, owner in ((METRICS, OWNER), (STORAGE, DAGSTER_LOGIN)):
        owners = query(
            server.url(database.name),
            "SELECT DISTINCT relowner::regrole::text FROM pg_class"
            " WHERE relkind IN ('r', 'v', 'S') AND relnamespace NOT IN"
            " ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"
            " AND relnamespace::regnamespace::text !~ '^pg_'"
            " UNION SELECT DISTINCT proowner::regrole::text FROM pg_proc"
            " WHERE pronamespace::regnamespace::text !~ '^pg_|^information'"
            " UNION SELECT datdba::regrole::text FROM pg_database"
            " WHERE datname = current_database()",
        )
        assert owners == [(owner,)]
    with connect(server, "apex", OWNER) as connection:
        connection.execute("ALTER TABLE yours ADD COLUMN more text")


@pytest.mark.parametrize(
    ("login", "group"),
    [
        (SYNC_LOGIN, "apex_sync"),
        (PANEL_LOGIN, "apex_panel"),
        (DEMO_LOGIN, "apex_panel"),
    ],
)
def test_a_process_is_in_its_group_and_in_no_other(server, login, group):
    found = query(
        server.url("apex"),
        "SELECT roleid::regrole::text FROM pg_auth_members"
        f" WHERE member = '{login}'::regrole ORDER BY 1",
    )
    also = [("pg_read_all_stats",)] if login == SYNC_LOGIN else []
    assert found == [(group,), *also, ("pg_use_reserved_connections",)]


def test_the_owner_makes_logins_for_analysts_and_sees_what_they_see(server):
    with connect(server, "apex", OWNER) as connection:
        connection.execute("CREATE ROLE maria LOGIN PASSWORD 'x' IN ROLE apex_analyst")
        connection.execute("SET ROLE apex_analyst")
        connection.execute("SELECT * FROM cost_forecast")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM campaign_metrics")
    url = server.url("apex", OWNER).split("@")[1]
    with psycopg.connect(f"postgresql://maria:x@{url}", autocommit=True) as analyst:
        analyst.execute("SELECT * FROM campaign_daily")
        for statement in (
            "CREATE TEMPORARY TABLE mine (a integer)",
            "SELECT lo_create(0)",
            "SELECT lo_from_bytea(0, 'x')",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                analyst.execute(statement.encode())


def test_the_passwords_are_kept_for_their_owner_alone(server, tmp_path: Path):
    folder = Path(server.log_path).parent
    assert stat.S_IMODE((folder / "logins.json").stat().st_mode) == 0o600
    urls = {server.url("apex", login) for login in LOGINS}
    assert len(urls) == len(LOGINS)
    assert urls == {server.url("apex", login) for login in LOGINS}


def test_a_login_that_opens_every_connection_holds_no_process_up(server):
    with ExitStack() as held, connect(server, "apex", OWNER) as owner:
        owner.execute("CREATE ROLE eve LOGIN PASSWORD 'eve' IN ROLE apex_analyst")
        url = conninfo.make_conninfo(server.url("apex"), user="eve", password="eve")
        opened = 0
        with suppress(psycopg.OperationalError):
            while opened < 200:
                held.enter_context(psycopg.connect(url))
                opened += 1
        assert 0 < opened < 78
        for login in LOGINS:
            database = "dagster" if login == DAGSTER_LOGIN else "apex"
            connect(server, database, login).close()
        owner.execute("DROP ROLE eve")


def test_an_analyst_connects_beside_many_idle_connections_of_ours(server, eve):
    with ExitStack() as held:
        for _ in range(60):
            held.enter_context(connect(server, "apex", SYNC_LOGIN))
        psycopg.connect(eve).close()


@pytest.fixture
def eve(server) -> Iterator[str]:
    """The URL of an analyst who means harm."""
    with connect(server, "apex", OWNER) as owner:
        owner.execute("CREATE ROLE eve LOGIN PASSWORD 'eve' IN ROLE apex_analyst")
        yield conninfo.make_conninfo(server.url("apex"), user="eve", password="eve")
        owner.execute("DROP ROLE eve")


def test_a_query_does_not_fill_the_disk(server, eve):
    """All sessions of analysts together have less than twenty gigabytes."""
    with (
        psycopg.connect(eve, autocommit=True) as analyst,
        connect(server, "apex", SYNC_LOGIN) as ours,
    ):
        for connection, limit in ((analyst, "256MB"), (ours, "8GB")):
            found = connection.execute("SHOW temp_file_limit").fetchone()
            assert found == (limit,)
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute("SET temp_file_limit = -1")


def test_dagster_stores_events_though_an_analyst_has_filled_the_queue_of_notices(
    server, eve, tmp_path, monkeypatch
):
    """All databases of a server share it, and Postgres has no privilege for it."""
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", server.url("dagster", DAGSTER_LOGIN))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    storage = f"module: {PostgresOfVariable.__module__}, class: PostgresOfVariable"
    (tmp_path / "dagster.yaml").write_text(
        f"storage: {{custom: {{{storage}, config: {{}}}}}}\n"
    )
    (tmp_path / "workspace.yaml").write_text("load_from: []\n")
    with (
        dg.DagsterInstance.get() as instance,
        dagster_ui([tmp_path / "workspace.yaml"], read_only=False) as ui,
        psycopg.connect(eve) as listener,
        psycopg.connect(eve, autocommit=True) as writer,
    ):
        listener.execute("LISTEN x")
        listener.commit()
        # From here on, nothing leaves the queue.
        listener.execute("SELECT 1")
        with suppress(psycopg.OperationalError):
            for number in range(1000):
                writer.execute("SELECT pg_notify('x', %s)", [f"{number:07900}"])
        with (
            connect(server, "dagster", DAGSTER_LOGIN) as plain,
            pytest.raises(psycopg.OperationalError, match="too many notifications"),
        ):
            plain.execute("NOTIFY run_events, '1'")

        instance.report_runless_asset_event(dg.AssetMaterialization("by_a_run"))
        app = behind_the_gate(ui, PanelSettings(port=0))
        assert asyncio.run(reported(app, "by_the_ui")) == 200
        for key in ("by_a_run", "by_the_ui"):
            assert instance.get_latest_materialization_event(dg.AssetKey(key))


async def reported(app: ASGIApp, asset: str) -> int:
    """The answer to a materialization that is reported to the Dagster UI."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
    ) as client:
        answer = await client.post(f"/report_asset_materialization/{asset}", json={})
    return answer.status_code
