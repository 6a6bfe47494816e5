"""Rules: schedules and sensors are on, tick, and do not fail. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from apex_pipeline.monitoring.alerts.notice import Observation, Severity
from apex_pipeline.monitoring.rules.catalogue import (
    NO_SUCCESS,
    ROWS_OVERDUE,
    SCHEDULE_LATE,
    SCHEDULE_STOPPED,
    SYNC_SCHEDULE,
    TICKS_FAILING,
)
from apex_pipeline.texts.durations import words

RULES_OF_EACH = (SCHEDULE_STOPPED.name, SCHEDULE_LATE.name, TICKS_FAILING.name)
"""Rules whose incidents are about one schedule or sensor each."""

# Two intervals of the five-minute schedule, and a minute for a slow tick.
_SILENT = timedelta(minutes=11)
# More ticks in a row than a restart of the code server costs.
_RESTART_TICKS = 4


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick.

    Attributes:
        error: Its error message; None if it did not fail.
        unreached: If it did not reach the code server, how many ticks in a row have
            failed up to this one; else 0.
    """

    at: datetime
    error: str | None
    unreached: int = 0

    @property
    def is_during_restart(self) -> bool:
        """Whether it says nothing about what it would have run."""
        return 0 < self.unreached <= _RESTART_TICKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Instigator:
    """One of our schedules or sensors.

    Attributes:
        ticks: Its last finished ticks, newest first.
        link: Its page in the Dagster UI.
    """

    name: str
    is_schedule: bool
    is_stopped: bool
    ticks: Sequence[Tick]
    link: str | None = None


def observe(
    instigators: Iterable[Instigator], since: datetime, now: datetime
) -> Iterator[Observation]:
    """Observe each schedule and sensor.

    Args:
        instigators: Our schedules and sensors.
        since: When the watch began; silence before that is ignored.
        now: Current time, timezone-aware.
    """
    for each in instigators:
        yield _stopped(each)
        if each.name == SYNC_SCHEDULE:
            yield _late(each, since, now)
        yield from _failing(each)


def _stopped(each: Instigator) -> Observation:
    scope = f"{SCHEDULE_STOPPED.name}/{each.name}"
    if not each.is_stopped:
        return Observation(scope)
    is_sync = each.name == SYNC_SCHEDULE
    finding = SCHEDULE_STOPPED.finding(
        "It was switched off in the Dagster UI or by a command.",
        where=each.name,
        severity=Severity.ERROR if is_sync else None,
        link=each.link,
        inhibits=frozenset({NO_SUCCESS.name, ROWS_OVERDUE.name} if is_sync else {}),
    )
    return Observation(scope, (finding,))


def _late(each: Instigator, since: datetime, now: datetime) -> Observation:
    scope = f"{SCHEDULE_LATE.name}/{each.name}"
    last = max([since, *(tick.at for tick in each.ticks[:1])])
    if each.is_stopped or now - last <= _SILENT:
        return Observation(scope)
    finding = SCHEDULE_LATE.finding(
        f"It is on but has not ticked for {words(now - last)}.",
        where=each.name,
        cause_key="silent",
        link=each.link,
    )
    return Observation(scope, (finding,))


def _failing(each: Instigator) -> Iterator[Observation]:
    """Observe failing ticks; a sensor retries within seconds, so it must fail twice.

    A tick that a restart of the code server cut off neither opens an incident nor
    resolves one: Dagster retries it, and the restart itself is reported elsewhere.
    """
    scope = f"{TICKS_FAILING.name}/{each.name}"
    looked_at = each.ticks[: 1 if each.is_schedule else 2]
    errors = [tick.error for tick in looked_at if tick.error is not None]
    if each.is_stopped or not errors or len(errors) < (1 if each.is_schedule else 2):
        yield Observation(scope)
    elif not any(tick.is_during_restart for tick in looked_at):
        finding = TICKS_FAILING.finding(
            errors[0], where=each.name, link=each.link, began_at=looked_at[-1].at
        )
        yield Observation(scope, (finding,))
