"""A whole `apex up` whose storage of Dagster goes away."""

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline_tests.support.apex_up import apex_up, wait_until
from apex_pipeline_tests.support.unattended import CHILDREN, delivers, watched_since

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A Postgres of the test's own for Dagster's storage."""
    server = EmbeddedPostgres(tmp_path / "storage")
    server.start()
    yield server
    server.stop()


def test_dagsters_storage_may_be_down_and_may_be_wiped(tmp_path, storage):
    url = storage.url("postgres")
    with apex_up(tmp_path / "state", storage=url) as running:
        before = {n: running.pid(n) for n in CHILDREN}
        storage.stop()
        time.sleep(180)
        storage.start()
        began = time.time()
        wait_until(watched_since(running, began), running, seconds=180)
        delivers(running)
        # Those who wait for a storage are not restarted for it.
        assert {n: running.pid(n) for n in CHILDREN} == before

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("DROP SCHEMA apex_alerts CASCADE")
            connection.execute("CREATE SCHEMA public")
        began = time.time()
        wait_until(watched_since(running, began), running, seconds=240)
        delivers(running)
