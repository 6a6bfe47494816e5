"""The sensors that open and resolve incidents and send the notices.

Each stores its notices first and delivers them afterwards. If it is killed in between,
the next tick sends them. Each sensor also watches the other, whose errors show only on
its own ticks.
"""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from apex_pipeline.defs.alerts.instance_events import EventReader
from apex_pipeline.defs.alerts.instigator_states import (
    instigator_names,
    read_instigators,
)
from apex_pipeline.defs.alerts.known_definitions import KnownDefinitions
from apex_pipeline.defs.pool_limits import ensure_pool_limits
from apex_pipeline.monitoring.alerts import heartbeat
from apex_pipeline.monitoring.alerts.audit_relay import relay
from apex_pipeline.monitoring.alerts.channels import (
    Alerts,
    NoticeDelivery,
    deliver,
    open_alerts,
)
from apex_pipeline.monitoring.alerts.journal import (
    NO_JOURNAL,
    VARIABLE,
    WatcherProgress,
)
from apex_pipeline.monitoring.alerts.notice import DeliveryError, Notice, Observation
from apex_pipeline.monitoring.rules import health_watch, schedules_and_sensors
from apex_pipeline.monitoring.rules.run_outcomes import Cursor
from apex_pipeline.monitoring.rules.schedules_and_sensors import Instigator
from apex_pipeline.monitoring.rules.unfinished_selections import (
    UnfinishedSelections,
    observe_gone,
)
from apex_pipeline.settings import read_variable

EVENTS = "alert_on_failure"
"""Name of the sensor, under which the journal keeps its cursor."""

# Dagster ends a tick after 60 s.
_TICK_SECONDS = 50.0
_DELIVERY_SECONDS = 30.0
_PING_SECONDS = 8.0


def _delivery_seconds(began: float) -> float:
    """Seconds left in this tick for sending notices, with time kept for the ping."""
    left = began + _TICK_SECONDS - _PING_SECONDS - time.monotonic()
    return min(_DELIVERY_SECONDS, left)


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends a notice when runs or checks fail, and when they succeed again.",
)
def alert_on_failure(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Read run ends and check results since the last tick, and send notices."""
    if not read_variable(os.environ, VARIABLE):
        return dg.SkipReason(NO_JOURNAL)
    began = time.monotonic()
    with open_alerts(os.environ) as alerts:
        now = datetime.now(UTC)
        found = [*_observe_health_watch(context, alerts, now)]
        known = KnownDefinitions(context.repository_def)
        reader = EventReader(context.instance, known, alerts.page)
        open_now = _open(alerts)

        def look(
            progress: WatcherProgress | None,
        ) -> tuple[list[Observation], dict[str, Any]]:
            owed = progress.state.get("owed", {}) if progress else {}
            selections = UnfinishedSelections(open_now, owed)
            observed, cursor = reader.read(_cursor(progress), now, selections)
            if known.repository is not None:
                observed += selections.forget(known.selectable())
                observed += observe_gone(open_now, known.observable())
            state = {"after": cursor.after, "seen": cursor.seen}
            return [*observed, *found], state | {"owed": selections.owed}

        notices = alerts.journal.record(EVENTS, look, alerts.names, now)
        deliveries = deliver(
            alerts.journal.outbox, alerts.channels, _delivery_seconds(began)
        )
    return dg.SkipReason(
        _tick_summary(notices, deliveries, "No run or check has failed.")
    )


def _open(alerts: Alerts) -> list[str]:
    return [each.fingerprint for each in alerts.journal.incidents()]


def _cursor(progress: WatcherProgress | None) -> Cursor | None:
    if progress is None:
        return None
    return Cursor(progress.state["after"], tuple(progress.state["seen"]))


def _observe_health_watch(
    context: dg.SensorEvaluationContext, alerts: Alerts, now: datetime
) -> Iterator[Observation]:
    """Observe the health watch, which cannot report its own failure."""
    watch = _instigators(context, alerts, only=health_watch.WATCHER)
    yield from schedules_and_sensors.observe(watch, now, now)


def _instigators(
    context: dg.SensorEvaluationContext, alerts: Alerts, only: str | None = None
) -> list[Instigator]:
    if context.repository_def is None:
        return []
    return read_instigators(context.instance, context.repository_def, alerts.page, only)


def _gone_instigators(
    context: dg.SensorEvaluationContext, alerts: Alerts
) -> list[Observation]:
    """End the incidents of schedules and sensors that an earlier version defined."""
    if context.repository_def is None:
        return []
    names = instigator_names(context.repository_def)
    rules = schedules_and_sensors.RULES_OF_EACH
    return [*observe_gone(_open(alerts), dict.fromkeys(rules, names))]


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Watches for problems that fail no run, such as rows not arriving. Sends "
    "reminders, and retries undelivered notices.",
)
def watch_sync_health(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Observe everything that fails no run, and deliver the notices that are due."""
    ensure_pool_limits(context.instance)
    if not read_variable(os.environ, VARIABLE):
        return dg.SkipReason(NO_JOURNAL)
    began = time.monotonic()
    with open_alerts(os.environ) as alerts:
        journal, now = alerts.journal, datetime.now(UTC)
        before = journal.progress(health_watch.WATCHER)
        around = health_watch.WatchSurroundings(
            _instigators(context, alerts),
            journal.outbox.backlogs(alerts.names),
            alerts.names,
        )
        # Observe outside the journal's lock: it takes seconds, and these states last.
        seen, state = health_watch.look(
            os.environ, around, before.state if before else {}, now
        )
        seen += _gone_instigators(context, alerts)
        notices = journal.record(
            health_watch.WATCHER, lambda _: (seen, state), alerts.names, now
        )
        deliveries = deliver(journal.outbox, alerts.channels, _delivery_seconds(began))
        journal.forget_old()
        relay(journal, os.environ)
        summary = _tick_summary(notices, deliveries, _open_problems(seen))
        return dg.SkipReason(f"{summary} {_ping(alerts)}".strip())


def _open_problems(seen: Sequence[Observation]) -> str:
    wrong = [found.title for each in seen for found in each.findings]
    return f"Still open: {'; '.join(wrong)}." if wrong else "No problems."


def _tick_summary(
    notices: Sequence[Notice], deliveries: Sequence[NoticeDelivery], otherwise: str
) -> str:
    """Summarise the tick for the Dagster UI."""
    parts = [f"{notice.kind.value}: {notice.title}." for notice in notices]
    parts = parts or [otherwise]
    for each in deliveries:
        if each.taken:
            parts.append(f"{each.taken} sent by {each.channel}.")
        if each.error is not None:
            parts.append(f"Not sent by {each.channel}: {each.error}")
    if not deliveries:
        parts.append("No alert channel is configured; no notices are sent.")
    return " ".join(parts)


def _ping(alerts: Alerts) -> str:
    """Ping the outside monitor while the watch runs and its notices arrive.

    An undelivered error stops the pings, and the missing ping alerts people instead.
    """
    if any(each.is_serious for each in alerts.journal.outbox.backlogs(alerts.names)):
        return "No heartbeat sent, because an error notice is undelivered."
    try:
        heartbeat.ping(alerts.settings, _PING_SECONDS)
    except DeliveryError as error:
        return f"The heartbeat failed: {error}"
    return ""
