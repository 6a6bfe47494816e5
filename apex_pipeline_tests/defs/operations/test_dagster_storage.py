"""The storage of dagster.yaml keeps its connections, also through a restart of Postgres."""

from contextlib import contextmanager

import dagster as dg
import psycopg
import pytest
from sqlalchemy import Engine, event

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
