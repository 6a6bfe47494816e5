"""Errors of Postgres and poolers become one message with a remedy."""

import psycopg
import pytest
from sqlalchemy import Connection

from apex_pipeline.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    SchemaMissingError,
)
from apex_pipeline.monitoring.doctor.check_results import CheckState
from apex_pipeline.monitoring.doctor.postgres_state import Postgres
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.postgres_errors import connection_refused, not_connected
from apex_pipeline.provisioning.databases import provision_database
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import SyncOptions
from apex_pipeline_tests.support.ends import (
    emulator_settings,
    execute,
    insert_many,
    marked,
    query,
)
from apex_pipeline_tests.support.waiting import wait_until

TRIGGER = """
    CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'Rows of % are closed', 2024 USING ERRCODE = '{}'; END $$;
    CREATE TRIGGER guard BEFORE UPDATE ON campaign_metrics
    FOR EACH ROW EXECUTE FUNCTION guard()
"""
VIEW = """
    ALTER TABLE campaign_metrics RENAME TO everything;
    CREATE VIEW campaign_metrics AS SELECT DISTINCT * FROM everything
"""
COMPOSITE = """
    DROP VIEW campaign_metrics_pending, v_campaign_metrics_pending CASCADE;
    ALTER TABLE campaign_metrics ALTER created_at DROP DEFAULT,
        ALTER created_at TYPE text;
    CREATE VIEW campaign_metrics_pending AS SELECT * FROM campaign_metrics
"""
RENAMED = "ALTER TABLE campaign_metrics RENAME exported_at TO sent_at"


@pytest.mark.parametrize("state", ["23514", "22000", "55000", "P0001", "ZZ999"])
def test_a_trigger_that_refuses_marks_is_told_in_its_own_words(
    store, database_url, emulator, tmp_path, state
):
    insert_many(database_url, 3)
    execute(database_url, TRIGGER.format(state))

    report = run_sync(
        store, emulator_settings(emulator), tmp_path / "tokens.json", SyncOptions()
    )

    assert isinstance(report.failure, DatabaseError)
    assert not isinstance(report.failure, DatabaseUnavailableError)
    assert "Rows of 2024 are closed" in str(report.failure)
    assert "tried again" not in str(report.failure)
    if state != "P0001":
        assert "PL/pgSQL function guard() line 2" in str(report.failure)
    assert marked(database_url) == set()
    kept = query(database_url, "SELECT status, error FROM sync_run")
    assert kept == [("failure", str(report.failure))]


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (VIEW, DatabaseError, 'cannot update view "campaign_metrics"'),
        (COMPOSITE, DatabaseError, "does not exist"),
        (RENAMED, SchemaMissingError, "restore it under its name"),
    ],
    ids=["a view that takes no update", "a type that cannot be read", "renamed"],
)
def test_a_table_that_is_not_as_it_should_be_is_told_in_one_sentence(
    store, database_url, emulator, tmp_path, change, kind, said
):
    insert_many(database_url, 3)
    execute(database_url, change)

    report = run_sync(
        store, emulator_settings(emulator), tmp_path / "tokens.json", SyncOptions()
    )

    assert type(report.failure) is kind
    assert said in str(report.failure)
    assert "\n" not in str(report.failure)


def test_a_renamed_column_is_found_by_provision_and_doctor(database_url):
    assert provision_database(database_url, None, plan_only=False).by_hand is None
    execute(database_url, RENAMED)

    for plan_only in (True, False):
        outcome = provision_database(database_url, None, plan_only=plan_only)
        assert "has no column exported_at" in str(outcome.by_hand)
    finding = Postgres(database_url).relations()
    assert finding.state is CheckState.FAILED
    assert "has no column exported_at" in finding.measured
    assert "RENAME COLUMN" in finding.remedy


def test_values_of_a_row_are_not_told(database_url):
    execute(
        database_url, "CREATE TABLE secret (id text PRIMARY KEY, n int CHECK (n > 1))"
    )

    def insert(connection: Connection) -> None:
        values = {"id": "hunter2", "n": 0}
        connection.exec_driver_sql("INSERT INTO secret VALUES (%(id)s, %(n)s)", values)

    with (
        Database(database_url, application_name="apex_pipeline") as database,
        pytest.raises(DatabaseError, match="constraint secret_n_check") as caught,
    ):
        database.transact(insert)

    assert "hunter2" not in str(caught.value)


FATAL = 'connection to server at "1.2.3.4", port 5432 failed: FATAL:  '
NEON = 'connection to server at "1.2.3.4", port 5432 failed: ERROR:  '
PG_HBA = f'{FATAL}no pg_hba.conf entry for host "10.0.0.1", user "apex", database "m", '
REJECTED = 'pg_hba.conf rejects connection for host "10.0.0.1", user "a", database "m"'
NOT_FOUND = "The requested endpoint could not be found, or you don't have access to it."
NOT_ALLOWED = "This IP address 10.0.0.1 is not allowed to connect to this endpoint."
INSECURE = "connection is insecure (try using `sslmode=require`)"


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (f"{NEON}{INSECURE}", "sslmode=require"),
        (f"{FATAL}SSL required", "sslmode=require"),
        (f"{PG_HBA}no encryption", "over TLS only"),
        (f"{PG_HBA}SSL encryption", "other addresses only"),
        (f"{FATAL}unsupported startup parameter: search_path", "Remove the parameter"),
        (f"{FATAL}unsupported startup parameter in options: jit", "Remove the para"),
        (f"{NEON}Your project has exceeded the compute time quota.", "larger plan"),
        (f"{NEON}Your project has exceeded the data transfer quota.", "larger plan"),
        (f"{NEON}{NOT_FOUND}", "Check the host in WHERE"),
        (f"{NEON}{NOT_ALLOWED}", "IP allow list"),
        (f"{FATAL}no such database: metrics", "Check the database in WHERE"),
        (f"{FATAL}Tenant or user not found", "Check the user and the host in WHERE"),
        (f"{FATAL}{REJECTED}, SSL encryption", "other addresses only"),
        (f"{FATAL}{REJECTED}, no encryption", "over TLS only"),
        (f"{FATAL}connection requires a valid client certificate", "sslcert"),
        ('server certificate for "a" does not match host name "b"', "host in WHERE"),
        ("channel binding required, but server did not", "channel_binding in WHERE"),
        ('authentication method requirement "md5" failed: no', "require_auth in WHERE"),
        ('private key file "/k" has group or world access', "sslkey in WHERE"),
        ('could not read certificate file "/c": no such file', "sslcert and sslkey"),
        ("could not match 2 port numbers to 3 hosts", "one port for each host"),
    ],
)
def test_a_refusal_that_waiting_does_not_end_has_its_own_remedy(said, remedy):
    error = psycopg.OperationalError(f"connection failed: {said}")

    refused = connection_refused(error, "host:5432/metrics", "WHERE")

    assert refused is not None
    assert remedy in str(refused)
    assert "DATABASE_URL" not in str(refused)


@pytest.mark.parametrize(
    "said",
    [
        "the database system is starting up",
        "the database system is not yet accepting connections",
        "the database system is shutting down",
        "the database system is in recovery mode",
        "sorry, too many clients already",
        "Couldn't connect to compute node",
    ],
)
def test_what_passes_by_itself_is_waited_for(said):
    error = psycopg.OperationalError(f"connection failed: {FATAL}{said}")

    assert connection_refused(error, "host:5432/metrics", "DATABASE_URL") is None


@pytest.mark.parametrize(
    "said",
    [
        "sorry, too many clients already",
        "remaining connection slots are reserved for roles with the SUPERUSER attribute",
        'too many connections for role "apex"',
        "no more connections allowed (max_client_conn)",
        "MaxClientsInSessionMode: max clients reached - in Session mode",
        "Max client connections reached",
    ],
)
def test_slots_that_are_used_up_are_told_as_such(said):
    error = psycopg.OperationalError(f"connection failed: {FATAL}{said}")

    told = str(not_connected(error, "host:5432/metrics"))

    assert "connection slots" in told
    assert "that it runs" not in told


def test_a_server_without_a_free_slot_says_so(database_url):
    role = "CREATE ROLE crowded LOGIN PASSWORD 'secret' CONNECTION LIMIT 0"
    execute(database_url, role)
    password = psycopg.conninfo.conninfo_to_dict(database_url)["password"]
    url = database_url.replace("//apex:", "//crowded:").replace(str(password), "secret")
    try:
        with (
            Database(url, wait_seconds=0, application_name="apex") as database,
            pytest.raises(DatabaseUnavailableError, match="connection slots"),
        ):
            database.connect()
    finally:
        execute(database_url, "DROP ROLE crowded")


def stand_still(connection: Connection, url: str) -> None:
    """Keep a transaction idle until Postgres ends it, as a paused process does."""
    pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 1")
    wait_until(
        lambda: not query(url, f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}")
    )
    connection.exec_driver_sql("SELECT 1")


def test_a_transaction_that_stands_still_each_time_may_be_tried_again(database_url):
    with (
        Database(database_url, application_name="apex_pipeline") as database,
        # Which of its last words arrive before the connection's end is chance.
        pytest.raises(DatabaseUnavailableError, match="You can retry") as caught,
    ):
        database.transact(lambda connection: stand_still(connection, database_url))

    assert "disk" not in str(caught.value)


RAISE = "DO $$ BEGIN RAISE EXCEPTION 'sentinel' USING ERRCODE = '{}'; END $$"


@pytest.mark.parametrize("state", ["25P03", "25P04"])
def test_a_transaction_that_postgres_ended_in_time_is_done_again(database_url, state):
    execute(database_url, "CREATE TABLE done (n int)")
    attempts: list[int] = []

    def work(connection: Connection) -> None:
        attempts.append(1)
        connection.exec_driver_sql("INSERT INTO done VALUES (1)")
        if len(attempts) == 1:
            connection.exec_driver_sql(RAISE.format(state))

    with Database(database_url, application_name="apex_pipeline") as database:
        database.transact(work)

    assert len(attempts) == 2
    assert query(database_url, "SELECT n FROM done") == [(1,)]


def test_a_transaction_that_postgres_ends_each_time_is_done_twice(database_url):
    attempts: list[int] = []

    def work(connection: Connection) -> None:
        attempts.append(1)
        connection.exec_driver_sql(RAISE.format("25P03"))

    with (
        Database(database_url, application_name="apex_pipeline") as database,
        pytest.raises(DatabaseUnavailableError, match="took too long"),
    ):
        database.transact(work)

    assert len(attempts) == 2


@pytest.mark.parametrize(
    ("state", "attempts"), [("25P04", 2), ("40001", 5), ("54000", 1)]
)
def test_what_cannot_have_happened_is_done_again_if_that_can_help(
    database_url, state, attempts
):
    done: list[int] = []

    def work(connection: Connection) -> None:
        done.append(1)
        connection.exec_driver_sql(RAISE.format(state))

    with (
        Database(database_url, application_name="apex_pipeline") as database,
        pytest.raises(DatabaseError, match="sentinel"),
    ):
        database.transact(work)

    assert len(done) == attempts


@pytest.mark.parametrize("state", ["54000", "54001", "54011", "54023"])
def test_a_limit_of_postgres_is_not_told_as_something_that_passes(database_url, state):
    with (
        Database(database_url, application_name="apex_pipeline") as database,
        pytest.raises(DatabaseError, match="limits of Postgres") as caught,
    ):
        database.transact(lambda c: c.exec_driver_sql(RAISE.format(state)))

    assert not isinstance(caught.value, DatabaseUnavailableError)
    assert "You can retry" not in str(caught.value)


def test_of_several_addresses_the_one_that_refuses_for_good_decides():
    error = psycopg.OperationalError(
        "connection failed: connection refused\n"
        "Multiple connection attempts failed. All failures were:\n"
        f"- host: 'x', hostaddr: '::1': {NEON}{INSECURE}\n"
        "- host: 'x', hostaddr: '127.0.0.1': connection refused"
    )

    refused = connection_refused(error, "host:5432/metrics", "DATABASE_URL")

    assert refused is not None
    assert "TLS" in str(refused)
