"""A storage for Dagster on the tests' Postgres.

Its tables take seconds to make, so they are copied. Dagster's own SQLite files would be
made for each run, and wait for the disk at each event.
"""

from collections.abc import Callable

import pytest

from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.postgres import migrations

_TEMPLATE = "dagster_tables"

NO_OUTPUT_KEPT: dict[str, object] = {
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
    with dg.instance_for_test(overrides=stored_at(url)):
        migrations.apply(url, migrations.Part.ALERTS)
    return _TEMPLATE


@pytest.fixture
def dagster_storage(
    create_database: Callable[[str], str], dagster_database: str
) -> str:
    """URL of a storage that holds nothing yet."""
    return create_database(dagster_database)


def stored_at(url: str) -> dict[str, object]:
    """The settings of an instance whose storage is there."""
    return NO_OUTPUT_KEPT | {"storage": {"postgres": {"postgres_url": url}}}
