"""What the Dagster UI sends, and the daemons that act on it, without its processes."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.freshness import FreshnessDaemon
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import (
    QueuedRunCoordinatorDaemon,
)
from dagster_graphql.test.utils import execute_dagster_graphql
from dagster_shared.yaml_utils import load_yaml_from_path

PROJECT = Path(__file__).parents[2]
REPOSITORY = "__repository__"

_LAUNCH = """
mutation LaunchPipelineExecution($executionParams: ExecutionParams!) {
  launchPipelineExecution(executionParams: $executionParams) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on Error { message }
  }
}
"""
_BACKFILL = """
mutation LaunchPartitionBackfill($backfillParams: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfillParams) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on Error { message }
  }
}
"""
_GROUP = """
query Group($group: AssetGroupSelector!) {
  assetNodes(group: $group) {
    assetKey { path }
    staleStatus
    staleCauses { reason }
    freshnessStatusInfo { freshnessStatus }
    assetChecksOrError {
      ... on AssetChecks {
        checks { name executionForLatestMaterialization { status } }
      }
    }
  }
}
"""


class Ui:
    """The UI's server and the daemons, one step of theirs at a time."""

    def __init__(
        self, instance: dg.DagsterInstance, process: WorkspaceProcessContext
    ) -> None:
        self.instance = instance
        self._process = process
        self._queue = QueuedRunCoordinatorDaemon(interval_seconds=1)
        self._freshness = FreshnessDaemon()

    def _ask(self, query: str, variables: dict[str, Any]) -> Any:
        context = self._process.create_request_context()
        result = execute_dagster_graphql(context, query, variables)
        assert result.errors is None, result.errors
        (answer,) = result.data.values()
        return answer

    def group(self, location: str, name: str) -> dict[str, dict[str, Any]]:
        """What a group's page shows of each asset, once freshness was looked at."""
        list(self._freshness.run_iteration(self._process))
        selector = {
            "repositoryLocationName": location,
            "repositoryName": REPOSITORY,
            "groupName": name,
        }
        nodes = self._ask(_GROUP, {"group": selector})
        return {node.pop("assetKey")["path"][-1]: node for node in nodes}

    def materialize(self, location: str, *assets: str) -> str:
        """Click *Materialize* on these assets; the run's id."""
        selector = {
            "repositoryLocationName": location,
            "repositoryName": REPOSITORY,
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": [name]} for name in assets],
        }
        answer = self._ask(
            _LAUNCH,
            {
                "executionParams": {
                    "selector": selector,
                    "mode": "default",
                    "executionMetadata": {"tags": []},
                    "runConfigData": "{}",
                }
            },
        )
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run_id: str = answer["run"]["runId"]
        return run_id

    def backfill(self, asset: str, partitions: Sequence[str]) -> list[dg.DagsterRun]:
        """Start a backfill from an asset's page, as far as the queue."""
        answer = self._ask(
            _BACKFILL,
            {
                "backfillParams": {
                    "assetSelection": [{"path": [asset]}],
                    "partitionNames": list(partitions),
                }
            },
        )
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        wanted = dg.RunsFilter(tags={"dagster/backfill": answer["backfillId"]})
        for _ in range(10):
            logger = logging.getLogger("backfill")
            list(execute_backfill_iteration(self._process, logger))
            if runs := list(self.instance.get_runs(wanted)):
                return runs
        raise AssertionError("the backfill asked for no run")

    def dequeue(self) -> None:
        """Let the queue look once."""
        errors = list(self._queue.run_iteration(self._process))
        assert not any(errors), errors

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        """Where a run stands."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def finish(self, run_id: str, seconds: float = 240) -> dg.DagsterRun:
        """Let the queue look until a run has ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.dequeue()
            run = self.instance.get_run_by_id(run_id)
            if run is not None and run.is_finished:
                return run
            time.sleep(0.2)
        raise AssertionError(f"run {run_id} is {self.status(run_id)}")


@contextmanager
def dagster_ui(folder: Path, locations: Sequence[str]) -> Iterator[Ui]:
    """A UI on the project's own dagster.yaml, with these code locations of ours.

    Its storage is the Postgres of DAGSTER_POSTGRES_URL.
    """
    settings = load_yaml_from_path(str(PROJECT / "dagster.yaml"))
    assert isinstance(settings, dict)
    workspace = folder / "workspace.yaml"
    workspace.write_text(
        "load_from:\n"
        + "".join(
            "  - python_module:\n"
            "      module_name: apex_pipeline.definitions\n"
            f"      location_name: {name}\n"
            for name in locations
        )
    )
    with (
        dg.instance_for_test(overrides=settings, temp_dir=str(folder)) as instance,
        WorkspaceProcessContext(
            instance, WorkspaceFileTarget([str(workspace)])
        ) as process,
    ):
        yield Ui(instance, process)
