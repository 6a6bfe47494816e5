"""The sensor that starts a sync between the schedule's ticks.

It continues at once after a run that left rows. If you switch it on, it also starts a run
soon after rows arrive.
"""

import os
from datetime import UTC, datetime, timedelta

import dagster as dg

from apex_pipeline.defs.code_location import OURS
from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync.sync_job import (
    NOTHING_PENDING,
    active_sync,
    is_sync,
    nothing_to_do,
    sync_campaign_metrics,
)
from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.postgres import run_ledger
from apex_pipeline.postgres.run_ledger import RunRecord, RunStatus
from apex_pipeline.settings import (
    ARRIVAL_VARIABLE,
    load_arrival_interval,
    parse_interval,
    read_variable,
)

_SECONDS = 5 if read_variable(os.environ, ARRIVAL_VARIABLE) else 10
"""Rows that should arrive within seconds need closer looks than a backlog does."""

_PATIENCE_SECONDS = 5.0
_CURSOR = "The sensor's cursor"


@dg.sensor(
    job=sync_campaign_metrics,
    minimum_interval_seconds=_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the next run at once if the last one left rows. With "
    f"{ARRIVAL_VARIABLE}=15s, or 15s as this sensor's cursor, also starts a run when rows "
    "wait and none has begun for 15 s.",
)
def sync_on_arrival(
    context: dg.SensorEvaluationContext, services: Services
) -> dg.RunRequest | dg.SkipReason:
    """Request a run if rows are left or, where that is switched on, have arrived.

    One look at Postgres serves both. After a failed run the schedule decides, because
    the fault is probably still there.
    """
    try:
        interval = _interval(context.cursor)
        last, reason = _look(services, interval)
    except ConfigError as error:
        return dg.SkipReason(str(error))
    except ApexError as error:
        # The schedule starts a run, whose failure raises the alert.
        return dg.SkipReason(f"Postgres cannot be read: {error}")
    reason = reason or active_sync(context.instance)
    is_rest = last is not None and _left_rows(last)
    if not (reason or is_rest):
        reason = _too_soon(context.instance, interval)
    if reason:
        return dg.SkipReason(reason)
    # One follow-up per run, so a run without progress is not repeated.
    return dg.RunRequest(run_key=f"after-{last.id}" if last and is_rest else None)


def _look(
    services: Services, interval: timedelta | None
) -> tuple[RunRecord | None, str | None]:
    """The last run, and why Postgres says that no run is needed."""
    settings = services.settings()
    with services.open_for_a_tick(settings, _PATIENCE_SECONDS) as store:
        last = next(iter(store.ask(run_ledger.last_runs, 1)), None)
        if reason := _none_needed(last, interval):
            return last, reason
        return last, nothing_to_do(store, settings.dataverse)


def _interval(cursor: str | None) -> timedelta | None:
    """The interval in the cursor, which you can edit in the UI, or in the variable."""
    if cursor:
        return parse_interval(cursor, _CURSOR)
    return load_arrival_interval(os.environ)


def _none_needed(last: RunRecord | None, interval: timedelta | None) -> str | None:
    """Why no run is needed, as far as the last run tells."""
    if last is not None and last.status is RunStatus.RUNNING:
        return "A run is under way."
    is_first = last is None and interval is not None
    if not is_first and (last is None or last.status is not RunStatus.SUCCESS):
        return "The last run did not succeed; the schedule starts the next."
    if interval is None and last is not None and not _left_rows(last):
        return "The last run left no rows to deliver now."
    return None


def _left_rows(run: RunRecord) -> bool:
    # Rows that changed or were locked a moment ago are probably still busy.
    return bool(run.delivered) and (run.remaining or 0) > run.changed + run.locked


def _too_soon(instance: dg.DagsterInstance, interval: timedelta | None) -> str | None:
    """Why arrived rows have to wait; None once no run has begun for the interval."""
    if interval is None:
        return NOTHING_PENDING
    now = datetime.now(UTC)
    asked = dg.RunsFilter(tags=OURS, created_after=now - interval)
    records = instance.get_run_records(asked)
    last = next((each for each in records if is_sync(each.dagster_run)), None)
    if last is None:
        return None
    since = now - last.create_timestamp
    return f"Rows wait; the last run began {since.total_seconds():.0f} s ago."
