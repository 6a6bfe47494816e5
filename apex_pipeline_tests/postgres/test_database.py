from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier, Event
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from apex_pipeline.errors import (
    ConfigError,
    DatabaseError,
    DatabaseUnavailableError,
    SchemaMissingError,
)
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.metrics import Rejection
from apex_pipeline.postgres import pending_rows, run_ledger
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.store import connect
from apex_pipeline.provisioning.databases import provision_database
from apex_pipeline.quarantine import decisions
from apex_pipeline_tests.support.ends import campaign_row, insert
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

_OURS = "datname = current_database() AND application_name = 'apex_pipeline'"
_WAITING = f"SELECT FROM pg_stat_activity WHERE {_OURS} AND wait_event_type = 'Lock'"
_CUT = f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {_OURS}"


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection to the store's database, in autocommit."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def ascii_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """URL of a database of the kind that `initdb` makes on a machine without a locale."""
    name = f"ascii_{uuid4().hex}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as server:
        server.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C'"
        )
        yield postgres.url(name)
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_database_without_an_encoding_serves_text(ascii_url):
    assert len(provision_database(ascii_url, None, plan_only=False).names) > 10
    assert provision_database(ascii_url, None, plan_only=False).names == []
    insert(ascii_url, [campaign_row(phase="Übergang")])
    with connect(ascii_url) as store:
        (row,) = store.ask(pending_rows.page, None, 10)
    assert "Übergang" in repr(row)


def test_a_missing_table_names_the_command(empty_database_url):
    with (
        connect(empty_database_url) as store,
        pytest.raises(SchemaMissingError, match="apex provision database"),
    ):
        store.ask(pending_rows.exists)


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ({"password": "hunter2"}, "Check the user and the password"),
        ({"username": "nobody"}, "Check the user and the password"),
        ({"database": "nowhere"}, "Check the user and the database"),
        ({"query": {"sslmode": "require"}}, "Check sslmode"),
    ],
)
def test_a_refusal_is_final_and_says_what_to_check(database_url, wrong, remedy):
    url = make_url(database_url).set(**wrong).render_as_string(hide_password=False)

    with pytest.raises(DatabaseError, match=remedy) as caught:
        connect(url, wait_seconds=600)

    assert not isinstance(caught.value, DatabaseUnavailableError)
    assert "hunter2" not in str(caught.value)


def test_an_unknown_parameter_is_named(database_url):
    with pytest.raises(ConfigError, match='DATABASE_URL: the parameter "speed"'):
        connect(f"{database_url}?speed=high")


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql+psycopg2", "postgresql+psycopg"]
)
def test_any_spelling_of_the_scheme_is_taken(database_url, scheme):
    with connect(database_url.replace("postgresql", scheme, 1)) as store:
        assert not store.ask(pending_rows.exists)


def test_a_server_that_comes_up_late_is_waited_for(tmp_path, caplog):
    server = EmbeddedPostgres(tmp_path)
    server.prepare()
    caplog.set_level("INFO")
    with ThreadPoolExecutor(1) as executor:
        opened = executor.submit(connect, server.url("postgres"), wait_seconds=60)
        wait_until(lambda: "waiting for postgres" in caplog.text)

        server.start()
        opened.result(timeout=SECONDS).close()
        server.stop()


def test_a_connection_that_was_cut_while_idle_is_made_anew(store, admin, database_url):
    row = campaign_row()
    insert(database_url, [row])
    assert store.ask(pending_rows.exists)
    admin.execute(_CUT)

    store.quarantine([Rejection(str(row["id"]), "invalid", "")], NOW)

    assert store.ask(decisions.count)[0] == 1


def test_reading_survives_a_connection_that_is_cut_in_the_middle(
    store, admin, database_url
):
    insert(database_url, [campaign_row()])
    with ThreadPoolExecutor(1) as executor, psycopg.connect(database_url) as blocker:
        blocker.execute("LOCK TABLE campaign_metrics")
        page = executor.submit(store.ask, pending_rows.page, None, 10)
        wait_until(lambda: admin.execute(_WAITING).fetchall())
        admin.execute(_CUT)
        wait_until(lambda: admin.execute(_WAITING).fetchall())
        blocker.rollback()

        assert len(page.result(timeout=SECONDS)) == 1


def test_a_write_that_is_cut_in_the_middle_is_reported_and_not_repeated(
    store, admin, database_url
):
    with ThreadPoolExecutor(1) as executor, psycopg.connect(database_url) as blocker:
        blocker.execute("LOCK TABLE sync_run")
        run = executor.submit(store.start_run, at=NOW, dagster_run_id=None)
        wait_until(lambda: admin.execute(_WAITING).fetchall())
        admin.execute(_CUT)

        with pytest.raises(DatabaseUnavailableError, match="You can retry"):
            run.result(timeout=SECONDS)

    assert store.ask(run_ledger.last_runs, 5) == []


def test_a_read_only_replica_is_named(database_url):
    replica = f"{database_url}?options=-c%20default_transaction_read_only%3Don"
    with connect(replica) as store, pytest.raises(DatabaseError, match="not a replica"):
        store.start_run(at=NOW, dagster_run_id=None)


def test_threads_that_have_all_connections_for_too_long_are_told_of(database_url):
    most = 4
    began, is_over = Barrier(most + 1), Event()

    def hold(_: Connection) -> None:
        began.wait(SECONDS)
        is_over.wait(SECONDS)

    with (
        Database(database_url, wait_seconds=0.1, application_name="apex") as database,
        ThreadPoolExecutor(most) as executor,
    ):
        held = [executor.submit(database.transact, hold) for _ in range(most)]
        began.wait(SECONDS)
        try:
            with pytest.raises(
                DatabaseUnavailableError, match="none became free"
            ) as no:
                database.transact(hold)
        finally:
            is_over.set()
        assert "127.0.0.1" in str(no.value)
        assert [each.result(SECONDS) for each in held] == [None] * most
