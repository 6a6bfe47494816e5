"""What guards a run that Dagster starts without a job of ours, as the UI does."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from apex_pipeline.defs import pool_limits
from apex_pipeline.defs.analytics.rollup_specs import (
    DAILY_KEY,
    FORECAST_KEY,
    HISTORY_KEY,
)
from apex_pipeline.defs.job_tags import ACTIVE
from apex_pipeline.defs.reconcile.reconciliation import RECONCILIATION
from apex_pipeline.defs.sync.sync_assets import PARTIAL_SELECTION
from apex_pipeline.defs.sync.sync_job import MAX_RUNTIME, active_sync
from apex_pipeline.defs.sync_specs import SYNC_ASSETS
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.postgres import migrations
from apex_pipeline_tests.support.dagster_ui import Ui, dagster_ui
from apex_pipeline_tests.support.ends import delivered, environment, insert_many, marked

OURS = "apex_pipeline"
SYNC = [key.to_user_string() for key in SYNC_ASSETS]
RECONCILED = RECONCILIATION.key.to_user_string()
ANALYSIS = [key.to_user_string() for key in (DAILY_KEY, HISTORY_KEY, FORECAST_KEY)]

pytestmark = [
    pytest.mark.slow,
    # Each waits for run workers, which take long to start on a busy machine.
    pytest.mark.timeout(600),
    # Dagster's own daemon of backfills (1.13.27).
    pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources`"),
]


@pytest.fixture(scope="module")
def metrics(postgres: EmbeddedPostgres) -> str:
    """URL of the database that the code location works on."""
    postgres.create_database("guarded_metrics")
    url = postgres.url("guarded_metrics")
    migrations.apply(url)
    return url


@pytest.fixture(scope="module")
def served_ui(postgres, metrics, shared_emulator, tmp_path_factory) -> Iterator[Ui]:
    """One for all: its code server takes seconds to load."""
    folder = tmp_path_factory.mktemp("guards")
    postgres.create_database("guarded_storage")
    storage = postgres.url("guarded_storage")
    history = (datetime.now(UTC) - timedelta(days=10)).date().isoformat()
    variables = environment(shared_emulator, metrics, folder) | {
        "DAGSTER_POSTGRES_URL": storage,
        "APEX_HISTORY_START": history,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        with dagster_ui(folder, [OURS]) as found:
            yield found


@pytest.fixture
def ui(served_ui: Ui) -> Ui:
    """Nothing is queued or running, and no pool was ever used."""
    for run in served_ui.instance.get_runs(dg.RunsFilter(statuses=ACTIVE)):
        served_ui.finish(run.run_id)
    for pool in pool_limits.POOL_LIMITS:
        served_ui.instance.event_log_storage.delete_concurrency_limit(pool)
    return served_ui


def messages(ui: Ui, run_id: str) -> str:
    return "\n".join(entry.user_message for entry in ui.instance.all_logs(run_id))


def failure(ui: Ui, run_id: str) -> str | None:
    (entry,) = ui.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert entry.dagster_event
    described = entry.dagster_event.step_failure_data.user_failure_data
    assert described
    return described.description


def test_materializing_the_syncs_assets_is_a_sync_with_all_its_guards(
    ui, emulator, metrics
):
    insert_many(metrics, 3)
    pool_limits.ensure_pool_limits(ui.instance)
    first, second = ui.materialize(OURS, *SYNC), ui.materialize(OURS, *SYNC)
    found = active_sync(ui.instance)
    assert found is not None
    assert second[:8] in found
    # The very first look of the queue at an instance that is new.
    ui.dequeue()
    assert ui.status(first) is not dg.DagsterRunStatus.QUEUED
    assert ui.status(second) is dg.DagsterRunStatus.QUEUED
    run = ui.finish(first)
    assert run.is_success
    # Counted from the run's start; the asset begins a moment later.
    over = int(run.tags["dagster/max_runtime"]) - MAX_RUNTIME.total_seconds()
    assert 0 <= over < 120
    assert "Executing steps in process" in messages(ui, first)
    assert delivered(emulator) == marked(metrics)
    assert ui.finish(second).is_success


def test_the_syncs_group_is_green_and_stays_so(ui, emulator, metrics):
    for count, asset in ((2, SYNC), (0, [RECONCILED]), (1, SYNC)):
        insert_many(metrics, count)
        assert ui.finish(ui.materialize(OURS, *asset)).is_success
    shown = ui.group(OURS, "sync")
    assert set(shown) == {*SYNC, "campaign_metrics"}
    shown[RECONCILED] = ui.group(OURS, "operations")[RECONCILED]
    for name in (*SYNC, RECONCILED):
        assert shown[name]["staleStatus"] == "FRESH", name
        assert shown[name]["staleCauses"] == [], name
    assert shown[SYNC[1]]["freshnessStatusInfo"] == {"freshnessStatus": "HEALTHY"}
    checks = {
        check["name"]: check["executionForLatestMaterialization"]["status"]
        for name in SYNC
        for check in shown[name]["assetChecksOrError"]["checks"]
    }
    assert checks == {
        "delivery_complete": "SUCCEEDED",
        "no_rows_quarantined": "SUCCEEDED",
    }


def test_one_asset_of_the_sync_alone_is_refused_with_one_sentence(ui):
    run = ui.finish(ui.materialize(OURS, SYNC[1]))
    assert not run.is_success
    assert failure(ui, run.run_id) == PARTIAL_SELECTION


def test_pages_of_analysts_assets_leave_a_place_for_a_sync(ui):
    pool_limits.ensure_pool_limits(ui.instance)
    days = [str((datetime.now(UTC) - timedelta(days=n)).date()) for n in (3, 2, 1)]
    (backfilled,) = ui.backfill(ANALYSIS[0], days)
    others = [ui.materialize(OURS, name) for name in ANALYSIS[1:] * 2]
    sync = ui.materialize(OURS, *SYNC)
    ui.dequeue()
    analysis = [backfilled.run_id, *others]
    begun = [each for each in analysis if "QUEUED" not in ui.status(each).value]
    assert len(begun) == pool_limits.POOL_LIMITS[pool_limits.ANALYSIS_POOL]
    assert "QUEUED" not in ui.status(sync).value
    assert ui.finish(sync).is_success
    run = ui.finish(backfilled.run_id)
    assert run.is_success
    assert "Executing steps in process" in messages(ui, run.run_id)


def test_a_run_without_a_limit_of_its_own_has_that_of_the_instance(ui):
    assert ui.instance.run_monitoring_max_runtime_seconds == 7200


def test_a_limit_that_an_operator_set_stays(ui):
    storage = ui.instance.event_log_storage
    storage.set_concurrency_slots(pool_limits.ANALYSIS_POOL, 1)
    pool_limits.ensure_pool_limits(ui.instance)
    limits = {each.name: each.limit for each in storage.get_pool_limits()}
    assert limits == {pool_limits.WRITER_POOL: 1, pool_limits.ANALYSIS_POOL: 1}
