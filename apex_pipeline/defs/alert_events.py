"""What the Dagster instance tells of runs, checks, schedules and sensors, as values."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    InstigatorType,
    TickStatus,
)
from dagster._core.storage.tags import WILL_RETRY_TAG
from dagster_shared.error import SerializableErrorInfo

from apex_pipeline.defs.sync_assets import SKIPPED_TAG
from apex_pipeline.watch.instigators import Instigator, Tick
from apex_pipeline.watch.run_events import (
    TELLING,
    CheckResult,
    Cursor,
    RunEnd,
    unseen,
    without_rows,
)

Page = Callable[[str], str | None]
"""Address of a page in the Dagster UI, if it is known where that is."""

_PAGE = 500
# Before the first look of all, so far back is looked.
_FIRST = timedelta(minutes=15)
# A moment after the event, Dagster notes whether it starts the run again.
_RETRY_IS_KNOWN = timedelta(seconds=30)
_KINDS = (
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
)
# Under these names checks of ours say how many things are wrong.
_COUNTS = ("count", "wrong")
_CLASS = re.compile(r"^[\w.]+: ")
_TICKS_LOOKED_AT = 2


@dataclass(frozen=True, slots=True)
class Events:
    """What happened since the cursor.

    Attributes:
        news: What has not been handled yet.
        handled: Id and time of each event that is handled with that, or was before.
    """

    news: tuple[RunEnd | CheckResult, ...]
    handled: tuple[tuple[int, datetime], ...]


class _NotKnownYetError(Exception):
    """Dagster has not noted yet whether it starts a failed run again."""


@dataclass(frozen=True, slots=True)
class EventReader:
    """Reads the ends of runs and the results of checks.

    Attributes:
        repository: Knows what a check states.
    """

    instance: dg.DagsterInstance
    repository: dg.RepositoryDefinition | None
    page: Page

    def read(self, cursor: Cursor | None, now: datetime) -> Events:
        """What happened since the cursor.

        A failed run is not handled as long as it is not known whether it is started
        again by itself; one that is, is no news.
        """
        records = {
            record.storage_id: record
            for kind in _KINDS
            for record in self._records(kind, cursor, now)
        }
        new = unseen(cursor, records)
        news: list[RunEnd | CheckResult] = []
        handled = []
        for number, record in records.items():
            at = datetime.fromtimestamp(record.timestamp, UTC)
            if number in new:
                try:
                    news += self._event(record, at, now)
                except _NotKnownYetError:
                    continue
            handled.append((number, at))
        return Events(tuple(news), tuple(handled))

    def _records(
        self, kind: dg.DagsterEventType, cursor: Cursor | None, now: datetime
    ) -> Iterator[dg.EventLogRecord]:
        after = cursor.after if cursor else 0
        since = None if cursor else (now - _FIRST).timestamp()
        while True:
            # The instance has no such method for checks that is not deprecated.
            records = self.instance.event_log_storage.get_event_records(
                dg.EventRecordsFilter(kind, after_cursor=after, after_timestamp=since),
                limit=_PAGE,
                # Descending, what does not fit into a page would never be seen.
                ascending=True,
            )
            yield from records
            if len(records) < _PAGE:
                return
            after = records[-1].storage_id

    def _event(
        self, record: dg.EventLogRecord, at: datetime, now: datetime
    ) -> Iterator[RunEnd | CheckResult]:
        event = record.event_log_entry.dagster_event
        if event is None:
            return
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            yield self._check_result(record, event, at)
            return
        run = self.instance.get_run_record_by_id(record.run_id)
        if run and not self._is_tried_again(event, run.dagster_run, now - at):
            yield self._run_end(record, event, run, at)

    def _is_tried_again(
        self, event: dg.DagsterEvent, run: dg.DagsterRun, age: timedelta
    ) -> bool:
        """Whether a failed run is started again by itself.

        Raises:
            _NotKnownYetError: Nobody knows yet.
        """
        if not (event.is_run_failure and self.instance.run_retries_enabled):
            return False
        will_retry = run.tags.get(WILL_RETRY_TAG)
        if will_retry is None and age < _RETRY_IS_KNOWN:
            raise _NotKnownYetError
        return will_retry == "true"

    def _run_end(
        self,
        record: dg.EventLogRecord,
        event: dg.DagsterEvent,
        run_record: dg.RunRecord,
        at: datetime,
    ) -> RunEnd:
        run = run_record.dagster_run
        kind, cause, step = _failure(event) if event.is_run_failure else ("", "", "")
        facts = {"Job": run.job_name, "Run": run.run_id[:8]}
        facts |= {"Step": step} if step else {}
        facts |= {"Error": kind} if kind else {}
        return RunEnd(
            event_id=record.storage_id,
            at=at,
            run_id=run.run_id,
            job=run.job_name,
            succeeded=not event.is_run_failure,
            began_at=run_record.create_timestamp,
            cause=cause,
            cause_kind=kind,
            did_nothing=SKIPPED_TAG in run.tags,
            facts=tuple(facts.items()),
            link=self.page(f"runs/{run.run_id}"),
        )

    def _check_result(
        self, record: dg.EventLogRecord, event: dg.DagsterEvent, at: datetime
    ) -> CheckResult:
        evaluation = event.asset_check_evaluation_data
        return CheckResult(
            event_id=record.storage_id,
            at=at,
            asset=evaluation.asset_key.to_user_string(),
            check=evaluation.check_name,
            passed=evaluation.passed,
            is_warning=evaluation.severity is dg.AssetCheckSeverity.WARN,
            states=self._states(evaluation.asset_check_key),
            count=_count(evaluation.metadata),
            link=self.page(f"runs/{record.run_id}") if record.run_id else None,
        )

    def _states(self, check: dg.AssetCheckKey) -> str:
        if self.repository is None:
            return ""
        graph = self.repository.asset_graph
        if check not in graph.asset_check_keys:
            return ""
        return graph.get_check_spec(check).description or ""


def _count(metadata: Mapping[str, dg.MetadataValue]) -> int | None:
    """How many things a check of ours has found; ids and values are not told."""
    found = [metadata[name].value for name in _COUNTS if name in metadata]
    return next((each for each in found if isinstance(each, int)), None)


def _failure(event: dg.DagsterEvent) -> tuple[str, str, str]:
    """The kind of error that a run failed with, its message, and its step."""
    data = event.job_failure_data
    step = data.first_step_failure_event
    if step is None and data.error is not None:
        return *describe(data.error), ""
    if step is None:
        reason = data.failure_reason
        return reason.value if reason else "", event.message or "", ""
    failure = step.step_failure_data
    described = failure.user_failure_data
    if described is not None and described.description:
        # Written by us, for people.
        cause = described.metadata.get("cause")
        kind = str(cause.value) if cause is not None else ""
        return kind, without_rows(described.description), step.step_key or ""
    kind, message = describe(failure.error)
    return kind, message, step.step_key or ""


def describe(error: SerializableErrorInfo | None) -> tuple[str, str]:
    """The kind and the message of the error that others were raised for.

    The message only where it is ours: another's may quote a row's data.
    """
    if error is None:
        return "", "No reason is given."
    while error.cause is not None:
        error = error.cause
    kind = error.cls_name or "Error"
    if kind in TELLING:
        return kind, _CLASS.sub("", error.message).strip()
    return kind, f"{kind}. Its text, which may quote data, is in the Dagster UI."


def read_instigators(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, page: Page
) -> list[Instigator]:
    """Schedules and sensors of this code location, with their last ticks."""
    ours = {each.name for each in repository.schedule_defs}
    ours |= {each.name for each in repository.sensor_defs}
    latest: dict[str, Instigator] = {}
    for state in instance.all_instigator_state():
        if state.instigator_name not in ours:
            continue
        found = _instigator(instance, state, page)
        known = latest.get(found.name)
        # A code location that was renamed leaves others behind, which tick no more.
        if known is None or _ticked_at(found) > _ticked_at(known):
            latest[found.name] = found
    return [latest[name] for name in sorted(latest)]


def _instigator(
    instance: dg.DagsterInstance, state: InstigatorState, page: Page
) -> Instigator:
    ticks = instance.get_ticks(
        state.instigator_origin_id,
        state.selector_id,
        limit=_TICKS_LOOKED_AT,
        statuses=[TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE],
    )
    is_schedule = state.instigator_type is InstigatorType.SCHEDULE
    return Instigator(
        name=state.instigator_name,
        is_schedule=is_schedule,
        is_stopped=state.status is InstigatorStatus.STOPPED,
        ticks=[_tick(each) for each in ticks],
        link=page("automation"),
    )


def _tick(tick: InstigatorTick) -> Tick:
    failed = tick.status is TickStatus.FAILURE
    return Tick(
        datetime.fromtimestamp(tick.timestamp, UTC),
        describe(tick.error)[1] if failed else None,
    )


def _ticked_at(instigator: Instigator) -> datetime:
    return (
        instigator.ticks[0].at if instigator.ticks else datetime.min.replace(tzinfo=UTC)
    )
