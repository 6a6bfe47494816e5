"""A storage for Dagster on the tests' Postgres.

Its tables take seconds to make, so they are copied. Dagster's own SQLite files would be
made for each run, and wait for the disk at each event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

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
def shared_instance(
    postgres: EmbeddedPostgres, dagster_database: str
) -> Iterator[dg.DagsterInstance]:
    """One for the tests of a file, if none looks at what another has left in it."""
    import dagster as dg  # noqa: PLC0415  as above

    name = f"dagster_{uuid4().hex}"
    create_copy(postgres, dagster_database, name)
    with dg.instance_for_test(overrides=stored_at(postgres.url(name))) as found:
        yield found
    drop(postgres, name)


def stored_at(url: str) -> dict[str, object]:
    """The settings of an instance whose storage is there."""
    storage = {
        "module": "apex_pipeline_tests.support.kept_connections",
        "class": "KeptConnections",
        "config": {"postgres_url": url},
    }
    return _NO_OUTPUT_KEPT | {"storage": {"custom": storage}}
