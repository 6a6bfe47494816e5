"""Sensors that recompute today after a sync, and days whose raw rows changed later."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from apex_pipeline.analytics.rollups.late_days import Stale, first_day, stale
from apex_pipeline.analytics.rollups.periods import Periods
from apex_pipeline.defs.analytics.rollup_jobs import (
    active_refresh,
    range_tags,
    refresh_daily_rollups,
    refresh_weekly_rollups,
)
from apex_pipeline.defs.analytics.rollup_specs import CSV_KEY, DAILY_KEY
from apex_pipeline.defs.services import Services
from apex_pipeline.errors import ApexError
from apex_pipeline.postgres import run_ledger
from apex_pipeline.postgres.comparison_progress import keep_progress
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.local_days import dates_at
from apex_pipeline.postgres.run_ledger import RunRecord, RunStatus
from apex_pipeline.settings import AnalysisSettings

_PATIENCE_SECONDS = 10.0
# Dagster ends a tick after 60 s. Counting and comparing each have a budget of their own.
_COUNTING_SECONDS = 14.0
_COMPARING_SECONDS = 20.0
_RUNS_LOOKED_AT = 20
_TODAY_INTERVAL = timedelta(minutes=15)
_LATE_INTERVAL = timedelta(minutes=15)
_REQUESTS = 10  # of days, and of weeks; for counting and for comparing
_COMPARED_AT_ONCE = timedelta(days=30)

TODAY_CHANGES = (DAILY_KEY, CSV_KEY)
"""What a day that goes on changes. The history and the forecast know whole days only."""


@dg.sensor(
    job=refresh_daily_rollups,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Recomputes today after a sync that delivered rows, at most every fifteen "
    "minutes; once a day has ended, also the history and the forecast.",
)
def refresh_today(
    context: dg.SensorEvaluationContext, services: Services
) -> dg.SensorResult | dg.SkipReason:
    """Request a run if a sync has delivered rows since the last refresh."""
    now = datetime.now(UTC)
    done_run, done_at = _read_today(context.cursor)
    try:
        settings = services.analysis_settings()
        run = _last_delivery(services)
    except ApexError as error:
        # The sync's own failed run already raises the alert.
        return dg.SkipReason(f"The run ledger cannot be read: {error}")
    if run is None or run.id <= done_run:
        return dg.SkipReason("No sync has delivered rows since the last refresh.")
    if done_at is not None and now - done_at < _TODAY_INTERVAL:
        minutes = (now - done_at).total_seconds() / 60
        return dg.SkipReason(f"Today was recomputed {minutes:.0f} minutes ago.")
    try:
        before, today = _dates(services, settings, done_at or now, now)
    except ApexError as error:
        return dg.SkipReason(f"The days cannot be read: {error}")
    goes_on = done_at is not None and before == today
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"sync-{run.id}",
                # A day that has not ended at the last refresh is made once more.
                tags=range_tags(min(before), max(today)),
                asset_selection=TODAY_CHANGES if goes_on else None,
            )
        ],
        cursor=json.dumps({"run": run.id, "at": now.isoformat()}, allow_nan=False),
    )


def _read_today(cursor: str | None) -> tuple[int, datetime | None]:
    if not cursor:
        return 0, None
    kept = json.loads(cursor)
    return kept["run"], datetime.fromisoformat(kept["at"])


def _last_delivery(services: Services) -> RunRecord | None:
    settings = services.settings()
    with services.open_for_a_tick(settings, _PATIENCE_SECONDS) as store:
        runs = store.ask(run_ledger.last_runs, _RUNS_LOOKED_AT)
    ended = (run for run in runs if run.status is not RunStatus.RUNNING)
    return next((run for run in ended if run.delivered), None)


def _dates(
    services: Services, settings: AnalysisSettings, since: datetime, now: datetime
) -> tuple[Sequence[date], Sequence[date]]:
    """The dates of the last refresh and of now, in each time zone."""
    since = max(since, now - timedelta(days=1))
    with services.open_database(wait_seconds=_PATIENCE_SECONDS) as database:
        return (
            database.ask(dates_at, since, settings.time_zones),
            database.ask(dates_at, now, settings.time_zones),
        )


@dataclass(frozen=True, slots=True)
class _Compared:
    """Progress of the daily comparison, which covers one part per tick.

    Attributes:
        begun: Day on which the lap began.
        next: First day that is not compared yet; None if all are.
        began_at: When it began; None if an earlier version did not keep it.
    """

    begun: str
    next: str | None
    began_at: str | None = None


@dg.sensor(
    jobs=[refresh_daily_rollups, refresh_weekly_rollups],
    minimum_interval_seconds=int(_LATE_INTERVAL.total_seconds()),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Recomputes days and weeks that are missing, or whose raw rows have "
    "changed since. Compares row counts every fifteen minutes, and all columns once a "
    "day, a month of days at a time.",
)
def remake_late_days(
    context: dg.SensorEvaluationContext, services: Services
) -> dg.SensorResult | dg.SkipReason:
    """Request one run for each range of days or weeks that is out of date."""
    busy = active_refresh(context.instance)
    if busy:
        return dg.SkipReason(f"{busy}; it may be recomputing the same days.")
    now = datetime.now(UTC)
    settings = services.analysis_settings()
    with services.open_database(wait_seconds=_PATIENCE_SECONDS) as database:
        database.spend(_COUNTING_SECONDS)
        counted = stale(database, settings, now)
        requests = _requests(counted)
        compared = _next_part(context.cursor, first_day(database, settings), now)
        following = compared
        if compared.next is not None:
            database.spend(_COMPARING_SECONDS)
            changed, following = _compare(database, settings, compared, now)
            changed -= counted
            more = _requests(changed)
            requests += more
            if len(more) < len(changed.days) + len(changed.weeks):
                following = compared  # to find the others, this part is compared again
        _report(database, following, now)
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else "Every day is up to date with its rows.",
        cursor=json.dumps(asdict(following), allow_nan=False),
    )


def _compare(
    database: Database, settings: AnalysisSettings, compared: _Compared, now: datetime
) -> tuple[Stale, _Compared]:
    """What has changed in the next part of the lap, and what follows it."""
    first = date.fromisoformat(str(compared.next))
    last = first + _COMPARED_AT_ONCE - timedelta(days=1)
    found = stale(database, settings, now, compare=(first, last))
    rest = last + timedelta(days=1)
    return found, replace(compared, next=str(rest) if rest <= now.date() else None)


def _report(database: Database, compared: _Compared, now: datetime) -> None:
    keep_progress(
        database,
        began_at=datetime.fromisoformat(compared.began_at or now.isoformat()),
        next_day=date.fromisoformat(compared.next) if compared.next else None,
        now=now,
    )


def _next_part(cursor: str | None, first: date, now: datetime) -> _Compared:
    today = str(now.date())
    if cursor:
        kept = _Compared(**json.loads(cursor))
        if kept.begun == today or kept.next is not None:
            return kept
    return _Compared(today, str(first), now.isoformat())


def _requests(found: Stale) -> list[dg.RunRequest]:
    """Newest first; the next tick finds those beyond the limit again."""

    def request(job: str, periods: Periods) -> dg.RunRequest:
        return dg.RunRequest(job_name=job, tags=range_tags(periods.first, periods.last))

    days = [request(refresh_daily_rollups.name, p) for p in reversed(found.days)]
    weeks = [request(refresh_weekly_rollups.name, p) for p in reversed(found.weeks)]
    return days[:_REQUESTS] + weeks[:_REQUESTS]
