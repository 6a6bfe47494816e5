"""The logins of the embedded Postgres: each process has its own, and none is superuser."""

import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, errors

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
from apex_pipeline_tests.support.ends import execute, query
from apex_pipeline_tests.support.waiting import SECONDS

METRICS = OwnDatabase("apex", OWNER)
STORAGE = OwnDatabase("dagster", DAGSTER_LOGIN, is_private=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[EmbeddedPostgres]:
    """A server as an earlier release left it, then started by this one."""
    made = EmbeddedPostgres(
        tmp_path_factory.mktemp("roles") / "postgres", settings={"fsync": "off"}
    )
    made.start(SECONDS)
    try:
        for database in (METRICS, STORAGE):
            made.create_database(database.name)
        migrations.apply(made.url("apex"))
        migrations.apply(made.url("dagster"), migrations.Part.ALERTS)
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
        assert 0 < opened < 100
        for login in LOGINS:
            database = "dagster" if login == DAGSTER_LOGIN else "apex"
            connect(server, database, login).close()
        owner.execute("DROP ROLE eve")


def test_a_query_does_not_fill_the_disk(server):
    with connect(server, "apex", SYNC_LOGIN) as connection:
        assert connection.execute("SHOW temp_file_limit").fetchone() == ("8GB",)
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("SET temp_file_limit = -1")
