"""The storage of dagster.yaml keeps its connections, also through a restart of Postgres."""

import shutil
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import click
import dagster as dg
import psycopg
import psycopg2
import pytest
from sqlalchemy import Engine, event

from apex_pipeline.defs.operations.dagster_storage import PostgresOfVariable
from apex_pipeline.defs.operations.instance_state import look_at_instance
from apex_pipeline.settings import find_mistakes
from apex_pipeline_tests.support.apex_command import apex, variables
from apex_pipeline_tests.support.complete_settings import REAL

__all__ = ["apex", "variables"]
PROJECT = Path(__file__).parents[3]
VARIABLE = "DAGSTER_POSTGRES_URL"

STORAGE = {
    "storage": {
        "custom": {
            "module": "apex_pipeline.defs.operations.dagster_storage",
            "class": "PostgresOfVariable",
            "config": {},
        }
    }
}


@pytest.fixture
def instance(dagster_storage, tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", dagster_storage)
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=STORAGE) as found:
        yield found


def sessions(url):
    """Connections to the database since it was made, those that are open included."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        ((number,),) = connection.execute(
            "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
        ).fetchall()
    return number


def ask(instance):
    instance.get_run_records(limit=1)
    instance.all_instigator_state()
    instance.get_daemon_heartbeats()
    instance.event_log_storage.get_maximum_record_id()


def test_many_queries_share_a_connection(instance, dagster_storage):
    ask(instance)
    before = sessions(dagster_storage)
    for _ in range(25):
        ask(instance)
    # One for the look itself, and one in case the pool had to open its second.
    assert sessions(dagster_storage) - before <= 2


def test_connections_that_were_closed_meanwhile_are_replaced(instance, dagster_storage):
    ask(instance)
    with psycopg.connect(dagster_storage, autocommit=True) as connection:
        ended = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    assert ended[0][0] >= 1
    ask(instance)


@contextmanager
def statements():
    """What SQLAlchemy sends to Postgres within the block."""
    sent = []

    def note(_connection, _cursor, statement, *_):
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def questions(instance):
    """What Dagster asks of the schema at each event of an asset, each look and each run."""
    events, runs = instance.event_log_storage, instance.run_storage
    return (
        events.has_asset_key_col("last_materialization_timestamp"),
        events.has_table("asset_check_executions"),
        runs.has_run_stats_index_cols(),
        runs.has_backfill_id_column(),
    )


def test_postgres_is_asked_once_whether_a_column_is_there(instance):
    with statements() as sent:
        assert all(questions(instance))
    assert sent
    with statements() as sent:
        assert all(questions(instance))
    assert not sent


def test_what_a_migration_adds_is_found(instance, dagster_storage):
    events = instance.event_log_storage
    assert not events.has_table("added")
    assert not events.has_asset_key_col("added")
    with psycopg.connect(dagster_storage) as connection:
        connection.execute("CREATE TABLE added ()")
        connection.execute("ALTER TABLE asset_keys ADD COLUMN added integer")
    assert events.has_table("added")
    assert events.has_asset_key_col("added")


def forms(url):
    """The same address as consoles, ORMs and psql write it."""
    parts = urlsplit(url)
    name = parts.path.removeprefix("/")
    pairs = (
        f"host={parts.hostname} port={parts.port} dbname={name} user={parts.username}"
    )
    bare = f"//{parts.netloc}{parts.path}"
    return {
        "postgres": f"postgres:{bare}",
        "another driver": f"postgresql+psycopg:{bare}",
        "a command": f"psql 'postgresql:{bare}'",
        "an assignment in quotes": f'{VARIABLE}="postgresql:{bare}"',
        "pairs": f"{pairs} password={parts.password or ''}",
        "an ORM's parameters": f"postgresql:{bare}?pgbouncer=true&schema=public",
        "the host as a parameter": (
            f"postgresql://{parts.username}:{parts.password or ''}@/{name}"
            f"?host={parts.hostname}&port={parts.port}"
        ),
    }


def test_every_form_of_address_that_the_journal_takes_opens_the_storage(
    empty_database_url, monkeypatch
):
    for kind, url in forms(empty_database_url).items():
        monkeypatch.setenv(VARIABLE, url)
        storage = PostgresOfVariable.from_config_value(None, {})
        assert storage.run_storage.get_runs(limit=1) == [], kind
        assert storage.postgres_url.startswith("postgresql://"), kind
        with closing(psycopg2.connect(storage.postgres_url)) as connection:
            place = connection.get_dsn_parameters()
        assert place["dbname"] == urlsplit(empty_database_url).path[1:]


@pytest.mark.parametrize(
    "url", ["hello", "postgresql://u:Geheim12@h:x/d", "mysql://h/d"]
)
def test_an_address_that_is_none_is_refused_in_a_sentence(url, monkeypatch, caplog):
    monkeypatch.setenv(VARIABLE, url)
    with pytest.raises(click.UsageError, match=f"^{VARIABLE} must look like") as caught:
        PostgresOfVariable.from_config_value(None, {})
    assert "Geheim12" not in caught.value.message + caplog.text
    named = find_mistakes(REAL | {VARIABLE: url})
    assert named == (caught.value.message,)


def test_the_storage_is_that_of_the_variable_however_it_is_written(
    dagster_storage, tmp_path, monkeypatch
):
    shutil.copy(PROJECT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    for kind, url in forms(dagster_storage).items():
        monkeypatch.setenv(VARIABLE, url)
        found = look_at_instance({"DAGSTER_HOME": str(tmp_path)})
        assert found is not None, kind
        assert found.setup is not None, kind
        assert found.setup.is_shared, kind


@pytest.mark.parametrize("command", ["sync", "reconcile"])
@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("hello", 2, f"{VARIABLE} must look like"),
        ("postgresql://u:p@127.0.0.1:1/d", 1, "Connection refused"),
    ],
)
def test_a_command_says_in_a_sentence_why_it_cannot_use_the_storage(
    apex, tmp_path, command, url, code, words
):
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(PROJECT / "dagster.yaml", home)
    ended = apex(command, DAGSTER_HOME=str(home), DAGSTER_POSTGRES_URL=url)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr.startswith("apex: ")
    assert words in ended.stderr
    assert VARIABLE in ended.stderr
    assert ended.stderr.count("\n") == 1
