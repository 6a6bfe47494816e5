"""Start a job from outside Dagster and wait for it to finish."""

import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg

from apex_pipeline.audit.authors import ACTOR_TAG, process_author
from apex_pipeline.defs.code_location import LOCATION
from apex_pipeline.defs.operations.instance_state import opened_instance
from apex_pipeline.defs.reconcile.reconciliation import (
    RECONCILIATION_MAX_RUNTIME,
    RECONCILIATION_STEP,
    reconcile_dataverse,
)
from apex_pipeline.defs.sync.sync_assets import SKIPPED_TAG, SLICE_TAG
from apex_pipeline.defs.sync.sync_job import MAX_RUNTIME, sync_campaign_metrics
from apex_pipeline.errors import ApexError
from apex_pipeline.settings import dagster_home

logger = logging.getLogger(__name__)

_ERROR_LINE = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Timeout)\b")

# A daemon writes a heartbeat every 30 s; Dagster itself allows five minutes.
_HEARTBEAT_SECONDS = 90.0
_POLL_SECONDS = 0.25
# Launching loads the code location, which takes seconds.
_LAUNCH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """How a run ended.

    Attributes:
        note: Why it did nothing, if it succeeded without work.
        failure: Message with cause and remedy, if it failed.
        slice_note: What remains of the slice that it resent.
        queued: Whether it went through the daemon's queue.
    """

    run_id: str
    note: str | None
    failure: str | None
    slice_note: str | None
    queued: bool


def sync_through_dagster(
    definitions: dg.Definitions,
    config: Mapping[str, object],
    environment: Mapping[str, str],
) -> FinishedRun:
    """Run the sync job, through the queue if a daemon is alive, else in this process.

    Args:
        definitions: Where the job is, should it run in this process.
        config: Fields of `SyncForm` that differ from their defaults.
        environment: If it has DAGSTER_HOME, the run is recorded in that instance.

    Raises:
        ApexError: The run could not be started, or exceeded the job's maximum runtime.
    """
    return _through_dagster(_SYNC, definitions, config, environment)


def reconcile_through_dagster(
    definitions: dg.Definitions,
    config: Mapping[str, object],
    environment: Mapping[str, str],
) -> FinishedRun:
    """Run the job that compares rows with records, likewise.

    Raises:
        ApexError: As above.
    """
    return _through_dagster(_RECONCILIATION, definitions, config, environment)


@dataclass(frozen=True, slots=True)
class _Job:
    """A job of one configurable step."""

    name: str
    step: str
    max_runtime: timedelta


_SYNC = _Job(sync_campaign_metrics.name, "sync", MAX_RUNTIME)
_RECONCILIATION = _Job(
    reconcile_dataverse.name,
    RECONCILIATION_STEP,
    RECONCILIATION_MAX_RUNTIME,
)


def _through_dagster(
    job: _Job,
    definitions: dg.Definitions,
    config: Mapping[str, object],
    environment: Mapping[str, str],
) -> FinishedRun:
    run_config: dict[str, object] = {"ops": {job.step: {"config": dict(config)}}}
    home = dagster_home(environment)
    tags = {ACTOR_TAG: process_author(environment).actor}
    with _instance(environment, home) as instance:
        if home and _daemon_lives(instance):
            run_id = str(uuid4())
            with _told_if_interrupted(instance, run_id):
                if _is_queued(
                    instance, home, job, run_id, run_config=run_config, tags=tags
                ):
                    return _await(instance, run_id, job)
        # The caller prints the outcome; Dagster's event log would only be noise.
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        result = definitions.resolve_job_def(job.name).execute_in_process(
            run_config=run_config | quiet,
            instance=instance,
            raise_on_error=False,
            tags=tags,
        )
        return _finished(instance, result.run_id, queued=False)


@contextmanager
def _instance(
    environment: Mapping[str, str], home: Path | None
) -> Iterator[dg.DagsterInstance]:
    if home:
        with opened_instance(environment) as instance:
            yield instance
    else:
        with dg.DagsterInstance.ephemeral() as instance:
            yield instance


def _daemon_lives(instance: dg.DagsterInstance) -> bool:
    beats = instance.get_daemon_heartbeats()
    beat = beats.get("QUEUED_RUN_COORDINATOR")
    return beat is not None and time.time() - beat.timestamp < _HEARTBEAT_SECONDS


def _is_queued(
    instance: dg.DagsterInstance,
    home: Path,
    job: _Job,
    run_id: str,
    *,
    run_config: Mapping[str, object],
    tags: Mapping[str, str],
) -> bool:
    """Queue a run with Dagster's own command; return False if that fails."""
    workspace = home / "workspace.yaml"
    where = ["-w", str(workspace)] if workspace.is_file() else []
    command = [
        *(sys.executable, "-m", "dagster", "job", "launch", *where),
        *(("--location", LOCATION) if where else ()),
        *("--job", job.name, "--run-id", run_id),
        *("--config-json", json.dumps(run_config, allow_nan=False)),
        *("--tags", json.dumps(tags, allow_nan=False)),
    ]
    complaint = _run(command)
    if complaint is None or instance.get_run_by_id(run_id) is not None:
        return True
    # The daemon may have just died: its last heartbeat still counts for a while.
    logger.warning(
        "Dagster could not queue the run (%s); running it in this process",
        complaint,
    )
    return False


def _run(command: Sequence[str]) -> str | None:
    """Run a command to its end; return why it failed, or None."""
    try:
        ended = subprocess.run(  # noqa: S603  our own interpreter and job
            command,
            capture_output=True,
            text=True,
            check=False,
            # The child process has no timeout on the storage of its own.
            timeout=_LAUNCH_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {_LAUNCH_SECONDS:.0f} s"
    return _cause(ended.stderr) if ended.returncode else None


def _cause(stderr: str) -> str:
    """The last line of a stack trace that names an error."""
    named = [line for line in stderr.splitlines() if _ERROR_LINE.match(line)]
    return named[-1] if named else "no reason given"


@contextmanager
def _told_if_interrupted(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Say that the run is not this process: it does not stop with it."""
    try:
        yield
    except KeyboardInterrupt:
        if instance.get_run_by_id(run_id) is not None:
            logger.warning(
                "Run %s goes on in Dagster. `apex status` shows what it delivers; the "
                "Dagster UI can stop it.",
                run_id,
            )
        raise


def _await(instance: dg.DagsterInstance, run_id: str, job: _Job) -> FinishedRun:
    deadline = time.monotonic() + job.max_runtime.total_seconds()
    while time.monotonic() < deadline:
        run = instance.get_run_by_id(run_id)
        if run is not None and run.is_finished:
            return _finished(instance, run_id, queued=True)
        time.sleep(_POLL_SECONDS)
    raise ApexError(
        f"Run {run_id} has not finished after {job.max_runtime.total_seconds():.0f} s. "
        "Check it in the Dagster UI; it may still be queued."
    )


def _finished(
    instance: dg.DagsterInstance, run_id: str, *, queued: bool
) -> FinishedRun:
    run = instance.get_run_by_id(run_id)
    tags = run.tags if run else {}
    failed = run is not None and not run.is_success
    return FinishedRun(
        run_id,
        note=None if failed else tags.get(SKIPPED_TAG),
        failure=_failure(instance, run_id) if failed else None,
        slice_note=tags.get(SLICE_TAG),
        queued=queued,
    )


def _failure(instance: dg.DagsterInstance, run_id: str) -> str:
    """The failure message of the step, or else of the run."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.dagster_event
        if event is None or not event.is_step_failure:
            continue
        described = event.step_failure_data.user_failure_data
        if described is not None and described.description:
            return described.description
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE):
        if entry.dagster_event and entry.dagster_event.message:
            return entry.dagster_event.message
    return f"Run {run_id} did not succeed; see the Dagster UI for details."
