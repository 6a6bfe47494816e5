"""A database whose clock is wrong, a service that slows down, commands that are ended."""

import os
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.monitoring.doctor.check_results import ok
from apex_pipeline.monitoring.doctor.trial_mark import marks_take
from apex_pipeline.postgres import migrations
from apex_pipeline.postgres.resent_rows import Slice
from apex_pipeline.postgres.store import connect
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import StreamOptions, SyncOptions
from apex_pipeline_tests.support.apex_command import APEX, INHERITED
from apex_pipeline_tests.support.ends import (
    campaign_row,
    delivered,
    differences,
    emulator_settings,
    environment,
    execute,
    insert,
    insert_many,
    marked,
    query,
)
from apex_pipeline_tests.support.reconciling import (
    database,
    reconcile,
    report,
    sync,
)
from apex_pipeline_tests.support.repeating import repeating
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

__all__ = ["database", "reconcile", "report", "sync"]

pytestmark = pytest.mark.chaos

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


class SkewedPostgres(EmbeddedPostgres):
    """A server whose clock is off: its own environment lets no such variable through."""

    @staticmethod
    def environment() -> dict[str, str]:
        names = ("LD_PRELOAD", "FAKETIME")
        skew = {name: os.environ[name] for name in names if name in os.environ}
        return EmbeddedPostgres.environment() | skew


@pytest.mark.skipif(FAKETIME is None, reason="without faketime there is one clock")
@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_database_whose_clock_is_wrong_delivers_and_tries_bad_rows_again(
    emulator, tmp_path, monkeypatch, minutes
):
    monkeypatch.setenv("LD_PRELOAD", str(FAKETIME))
    monkeypatch.setenv("FAKETIME", f"{minutes:+}m")
    server = SkewedPostgres(tmp_path / "postgres")
    server.start()
    monkeypatch.delenv("LD_PRELOAD")
    try:
        server.create_database("apex")
        url = server.url("apex")
        migrations.apply(url)
        [(seconds,)] = query(url, "SELECT extract(epoch FROM now())::float8")
        assert abs(seconds - time.time() - 60 * minutes) < 300
        insert_many(url, 200)
        insert(url, [campaign_row(created_at="now", phase="x" * 40)])
        settings = emulator_settings(emulator)

        def run():
            with connect(url, wait_seconds=30) as store:
                return run_sync(
                    store, settings, tmp_path / "tokens.json", SyncOptions()
                )

        assert run().failure is None
        assert delivered(emulator) == marked(url)
        assert len(marked(url)) == 200
        execute(url, "UPDATE campaign_metrics SET phase = '2-3'")
        execute(url, "UPDATE campaign_metrics_quarantine SET next_attempt_at = now()")
        assert run().failure is None
        assert len(marked(url)) == 201
        assert differences(emulator, url) == []
    finally:
        server.stop()


def test_a_mark_that_is_kept_as_text_is_as_good(
    store, sync, reconcile, emulator, database_url
):
    for view in (
        "campaign_metrics_pending",
        "dataverse_finding",
        "quarantined_campaign_metrics",
        "v_campaign_metrics_pending",
    ):
        execute(database_url, f"DROP VIEW IF EXISTS {view} CASCADE")
    execute(database_url, "ALTER TABLE campaign_metrics ALTER exported_at TYPE text")
    migrations.apply(database_url)
    insert_many(database_url, 200)
    insert(database_url, [campaign_row(phase="x" * 40)])
    assert (sync().delivered, sync().delivered) == (200, 0)
    execute(database_url, "UPDATE campaign_metrics SET phase = '2-3'")
    execute(
        database_url, "UPDATE campaign_metrics_quarantine SET next_attempt_at = now()"
    )
    assert sync().delivered == 1
    everything = Slice(until=datetime.now(UTC) + timedelta(days=1))
    assert sync(part=everything).delivered == 201
    assert delivered(emulator) == marked(database_url)
    assert differences(emulator, database_url) == []
    run, standing = reconcile()
    assert (run.rows_compared, standing.is_settled) == (201, True)
    assert marks_take(store, datetime.now(UTC)) == ok("tested and rolled back")


def test_a_service_that_turns_ten_times_slower_in_mid_run_costs_time_alone(
    store, emulator, database_url, tmp_path
):
    insert_many(database_url, 2000)
    emulator.fault("slow", delay=0.05, count=100_000, path="UpsertMultiple")
    options = SyncOptions(
        StreamOptions(page_size=200, rows_per_request=20), time_budget=15
    )

    def slow_down() -> None:
        if delivered(emulator):
            emulator.clear_faults()
            emulator.fault("slow", delay=0.5, count=100_000, path="UpsertMultiple")

    def run():
        return run_sync(
            store, emulator_settings(emulator), tmp_path / "tokens.json", options
        )

    with repeating(slow_down, 0.2):
        report = run()
        assert report.failure is None
        assert report.delivered
        assert marked(database_url) <= delivered(emulator)
    wait_until(lambda: run().remaining == 0)
    assert delivered(emulator) == marked(database_url)
    assert len(emulator.records()) == 2000
    assert differences(emulator, database_url) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(
    "arguments",
    [("release", "--all"), ("drop", "--all", "--reason", "a test")],
    ids=["release", "drop"],
)
def test_a_command_that_is_ended_while_it_settles_rows_has_settled_none(
    store, emulator, database_url, tmp_path, arguments, number
):
    insert(database_url, [campaign_row(phase="x" * 40) for _ in range(5)])
    run_sync(
        store, emulator_settings(emulator), tmp_path / "tokens.json", SyncOptions()
    )
    states = "SELECT q::text FROM campaign_metrics_quarantine q ORDER BY metric_id"
    before = query(database_url, states)
    assert len(before) == 5
    command = [APEX, "quarantine", *arguments, "--yes"]
    variables = INHERITED | environment(emulator, database_url, tmp_path / "state")
    with psycopg.connect(database_url) as holder:
        # It has chosen its rows, and waits to change them.
        holder.execute("LOCK TABLE campaign_metrics_quarantine IN SHARE MODE")
        with subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            wait_until(lambda: query(database_url, WAITING) != [(0,)], process)
            os.kill(process.pid, number)
            said, told = process.communicate(timeout=SECONDS)
        assert process.returncode != 0
        assert b"Traceback" not in told, told
        assert b"row" not in said
    wait_until(lambda: query(database_url, WAITING) == [(0,)])
    assert query(database_url, states) == before

    again = subprocess.run(command, env=variables, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    assert query(database_url, states) != before
