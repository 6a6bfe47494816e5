"""The storage of dagster.yaml keeps its connections, also through a restart of Postgres."""

import dagster as dg
import psycopg
import pytest

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
