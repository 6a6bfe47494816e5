"""Postgres dies in the middle of a run and comes back."""

import os
import signal
import threading

import pytest

from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.errors import DatabaseError
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.postgres import migrations
from apex_pipeline.postgres.store import connect
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import StreamOptions, SyncOptions
from apex_pipeline_tests.support.ends import (
    delivered,
    differences,
    emulator_settings,
    insert_many,
    marked,
)
from apex_pipeline_tests.support.waiting import wait_until

SMALL = StreamOptions(page_size=50, rows_per_request=10)


@pytest.fixture
def server(tmp_path):
    """A Postgres that the test may kill."""
    postgres = EmbeddedPostgres(tmp_path / "postgres")
    postgres.start()
    yield postgres
    postgres.stop()


@pytest.mark.slow
@pytest.mark.parametrize("restart", [True, False])
def test_a_database_that_dies_in_mid_run_costs_repeated_work_and_nothing_else(
    server, emulator, tmp_path, restart
):
    server.create_database("apex")
    url = server.url("apex")
    migrations.apply(url)
    insert_many(url, 1500)
    emulator.fault("slow", delay=0.05, count=100_000, path="UpsertMultiple")

    def kill():
        wait_until(lambda: delivered(emulator))
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        if restart:
            server.start()

    killer = threading.Thread(target=kill)

    def run(**options):
        with connect(url, wait_seconds=5.0) as store:
            return run_sync(
                store,
                emulator_settings(emulator),
                tmp_path / "tokens.json",
                SyncOptions(SMALL, retry=RetryPolicy(first_wait=0.01), **options),
            )

    killer.start()
    report = run(beat_seconds=0.2)
    killer.join()
    assert isinstance(report.failure, DatabaseError)

    if not restart:
        server.start()
    assert marked(url) <= delivered(emulator)
    emulator.clear_faults()
    assert run().failure is None
    assert len(emulator.records()) == 1500
    assert delivered(emulator) == marked(url)
    assert differences(emulator, url) == []
