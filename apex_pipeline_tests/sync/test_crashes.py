"""kill -9 at every step loses no row and duplicates none."""

import random

import dagster as dg
import pytest

from apex_pipeline.audit import trail
from apex_pipeline.audit.verification import verify
from apex_pipeline.postgres import run_ledger
from apex_pipeline.postgres.run_ledger import RunStatus
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import SyncOptions
from apex_pipeline_tests.support.crashing import STEPS, crash, resolve_job, run_dagster
from apex_pipeline_tests.support.ends import (
    campaign_row,
    delivered,
    differences,
    emulator_settings,
    environment,
    insert,
    marked,
    query,
)


def rows(seed):
    rng = random.Random(seed)
    for _ in range(200):
        bad = rng.random() < 0.05
        yield campaign_row(
            phase="x" * 17 if bad else "2-3",
            tokens_in=rng.randrange(2**31),
            created_at=f"2026-10-{rng.randrange(1, 31):02} 12:00:00+00",
        )


def settle(store, emulator, database_url, tmp_path):
    """Run once more undisturbed, and compare the outcome with the rows."""
    report = run_sync(
        store, emulator_settings(emulator), tmp_path / "tokens.json", SyncOptions()
    )
    assert report.failure is None
    assert report.skipped is None
    hold_against_rows(emulator, database_url)


def hold_against_rows(emulator, database_url):
    """Each row that Dataverse can hold has exactly one record; only those are marked."""
    good = query(
        database_url, "SELECT id::text FROM campaign_metrics WHERE length(phase) <= 16"
    )
    expected = {one for (one,) in good}
    assert len(emulator.records()) == len(expected)
    assert delivered(emulator) == marked(database_url) == expected
    assert {line.split(":")[0] for line in differences(emulator, database_url)} == {
        one
        for (one,) in query(
            database_url,
            "SELECT id::text FROM campaign_metrics WHERE length(phase) > 16",
        )
    }


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_sync_killed_at_a_step_is_made_good_by_the_next(
    step, store, emulator, database_url, tmp_path
):
    insert(database_url, rows(step))
    # Slow enough for a request to be seen on its way.
    emulator.fault("slow", delay=0.05, count=10_000, path="UpsertMultiple")
    variables = environment(emulator, database_url, tmp_path)
    assert crash(variables, step, 1), f"{step} was not reached"
    assert marked(database_url) <= delivered(emulator)
    emulator.clear_faults()
    settle(store, emulator, database_url, tmp_path)
    counted = query(database_url, "SELECT sum(delivered) FROM sync_run")
    assert counted == [(len(marked(database_url)),)]
    left = [run.status for run in store.ask(run_ledger.last_runs, 10)]
    assert RunStatus.RUNNING not in left
    events = store.ask(trail.newest, limit=100)
    assert [e["outcome"] for e in events if e["action"] == "sync"] == [
        {"success": "done", "interrupted": "interrupted"}[status] for status in left
    ]
    assert store.ask(verify).problems == ()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(15))
def test_syncs_killed_again_and_again_end_with_every_row_once(
    seed, store, emulator, database_url, tmp_path
):
    rng = random.Random(seed)
    insert(database_url, rows(seed))
    variables = environment(emulator, database_url, tmp_path)
    for _ in range(4):
        emulator.fault("slow", delay=0.02, count=20, path="UpsertMultiple")
        emulator.fault("drop_after", count=2, probability=0.3)
        crash(variables, rng.choice(STEPS), rng.randrange(1, 12))
        emulator.clear_faults()
        assert marked(database_url) <= delivered(emulator)
    settle(store, emulator, database_url, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_run_in_dagster_killed_at_a_step_is_made_good_by_the_next_run(
    step, emulator, database_url, tmp_path, monkeypatch
):
    insert(database_url, rows(step))
    emulator.fault("slow", delay=0.05, count=10_000, path="UpsertMultiple")
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    variables = environment(emulator, database_url, tmp_path) | {
        "DAGSTER_HOME": str(home)
    }
    assert crash(variables, step, 1, run_dagster), f"{step} was not reached"
    assert marked(database_url) <= delivered(emulator)

    emulator.clear_faults()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        (lost,) = instance.get_runs()
        assert not lost.is_finished
        assert resolve_job().execute_in_process(instance=instance).success
    hold_against_rows(emulator, database_url)
