"""A storage for Dagster on the tests' Postgres.

Its tables take seconds to make, so they are copied. Dagster's own SQLite files would be
made for each run, and wait for the disk at each event.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.postgres import migrations
from apex_pipeline_tests.support.database_copies import create_copy, drop

if TYPE_CHECKING:
    import dagster as dg

_TEMPLATE = "dagster_tables"

_NO_OUTPUT_KEPT: dict[str, object] = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}
"""As in our `dagster.yaml`. Otherwise each step starts four processes for its output."""


@pytest.fixture(scope="session")
def dagster_database(postgres: EmbeddedPostgres) -> str:
    """Name of a database with Dagster's tables and those of the alerts beside them.

    It is there to copy from; never connect to it.
    """
    # Not at the top: conftest.py loads this, and most tests need no Dagster.
    import dagster as dg  # noqa: PLC0415

    postgres.create_database(_TEMPLATE)
    url = postgres.url(_TEMPLATE)
    # Which keeps no connection open.
    plain = {"storage": {"postgres": {"postgres_url": url}}}
    with dg.instance_for_test(overrides=plain):
        migrations.apply(url, migrations.MigrationFolder.ALERTS)
    return _TEMPLATE


@pytest.fixture
def dagster_storage(
    create_database: Callable[[str], str], dagster_database: str
) -> str:
    """URL of a storage that holds nothing yet."""
    return create_database(dagster_database)


@pytest.fixture(scope="module")
def shared_storage(postgres: EmbeddedPostgres, dagster_database: str) -> Iterator[str]:
    """URL of one storage for the tests of a file."""
    name = f"dagster_{uuid4().hex}"
    create_copy(postgres, dagster_database, name)
    yield postgres.url(name)
    drop(postgres, name)


@pytest.fixture(scope="module")
def shared_instance(shared_storage: str) -> Iterator[dg.DagsterInstance]:
    """One for the tests of a file, if none looks at what another has left in it."""
    import dagster as dg  # noqa: PLC0415  as above

    with dg.instance_for_test(overrides=stored_at(shared_storage)) as found:
        yield found


@pytest.fixture(scope="session")
def tables_to_empty(
    postgres: EmbeddedPostgres, dagster_database: str
) -> list[sql.Identifier]:
    """The tables that hold nothing in a new storage."""
    name = f"dagster_{uuid4().hex}"
    create_copy(postgres, dagster_database, name)
    with psycopg.connect(postgres.url(name)) as connection:
        found = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        tables = [sql.Identifier(*names) for names in found]
        empty = [table for table in tables if _is_empty(connection, table)]
    drop(postgres, name)
    return empty


def _is_empty(connection: psycopg.Connection, table: sql.Identifier) -> bool:
    asked = sql.SQL("SELECT 1 FROM {} LIMIT 1").format(table)
    return connection.execute(asked).fetchone() is None


@pytest.fixture
def emptied_storage(
    shared_storage: str,
    shared_instance: dg.DagsterInstance,
    tables_to_empty: list[sql.Identifier],
) -> str:
    """URL of the file's storage, with no row and no kept output of another test.

    It takes a tenth of the time of a storage and an instance of its own.
    """
    with psycopg.connect(shared_storage) as connection:
        # In any order, whatever refers to what. If a test left a session open that holds
        # locks, the next one fails here and is not blocked.
        connection.execute(
            "SET LOCAL session_replication_role = replica; SET LOCAL lock_timeout = '20s'"
        )
        connection.execute(
            sql.SQL(";").join(
                sql.SQL("DELETE FROM {}").format(table) for table in tables_to_empty
            )
        )
    shutil.rmtree(shared_instance.storage_directory(), ignore_errors=True)
    return shared_storage


@pytest.fixture
def emptied_instance(
    emptied_storage: str, shared_instance: dg.DagsterInstance
) -> dg.DagsterInstance:
    """The file's instance, as if no other test had run in it."""
    return shared_instance


def stored_at(url: str) -> dict[str, object]:
    """The settings of an instance whose storage is there."""
    storage = {
        "module": "apex_pipeline_tests.support.kept_connections",
        "class": "KeptConnections",
        "config": {"postgres_url": url},
    }
    return _NO_OUTPUT_KEPT | {"storage": {"custom": storage}}
