"""Observe the ends of runs and the results of checks in the Dagster instance."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.storage.tags import WILL_RETRY_TAG
from dagster_shared.error import SerializableErrorInfo

from apex_pipeline.defs.alerts.known_definitions import KnownDefinitions, check_name
from apex_pipeline.defs.code_location import OURS, asset_name, is_our_run
from apex_pipeline.defs.sync.sync_assets import SKIPPED_TAG
from apex_pipeline.monitoring.alerts.notice import Observation
from apex_pipeline.monitoring.rules.run_outcomes import (
    QUOTABLE_ERRORS,
    QUOTES_ITS_CALLER,
    Cursor,
    RunEnd,
    advance,
    observe_check,
    observe_run,
    unseen,
    without_rows,
)
from apex_pipeline.monitoring.rules.unfinished_selections import UnfinishedSelections

Page = Callable[[str], str | None]
"""Path of a page to its address in the Dagster UI; None if the UI's address is unknown."""

_REFUSED_RECORDS = "The records are invalid; nothing was written."
_PAGE = 500
# How far back the very first read goes.
_FIRST = timedelta(minutes=15)
# Dagster records shortly after the failure whether it retries the run.
_RETRY_IS_KNOWN = timedelta(seconds=30)
_KINDS = (
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
)
# Metadata of our checks that says how many problems were found.
_COUNTS = ("count", "wrong")
_CLASS = re.compile(r"^[\w.]+: ")


class _NotKnownYetError(Exception):
    """Dagster has not recorded yet whether it retries a failed run."""


@dataclass(frozen=True, slots=True)
class EventReader:
    """Reads the ends of our runs and the results of our checks.

    Runs and checks of other code locations on the same instance are ignored.

    Attributes:
        known: Source of check descriptions and of the assets of each job.
    """

    instance: dg.DagsterInstance
    known: KnownDefinitions
    page: Page

    def read(
        self, cursor: Cursor | None, now: datetime, selections: UnfinishedSelections
    ) -> tuple[list[Observation], Cursor]:
        """What the events since the cursor say, in their order, and the new cursor.

        A failed run stays unhandled until Dagster has recorded whether it retries it. A
        run that is retried is not reported.

        Args:
            cursor: The previous cursor; None the first time.
            now: Current time, timezone-aware.
            selections: Follow the events.
        """
        records = {
            record.storage_id: record
            for kind in _KINDS
            for record in self._records(kind, cursor, now)
        }
        new = unseen(cursor, records)
        runs = self._our_runs({records[number].run_id for number in new})
        observed: list[Observation] = []
        handled = []
        for number, record in sorted(records.items()):
            at = datetime.fromtimestamp(record.timestamp, UTC)
            if number in new:
                try:
                    seen, made_good = self._observe(record, runs, now - at)
                except _NotKnownYetError:
                    continue
                observed += selections.follow(seen, made_good)
            handled.append((number, at))
        return observed, advance(cursor, handled, now)

    def _records(
        self, kind: dg.DagsterEventType, cursor: Cursor | None, now: datetime
    ) -> Iterator[dg.EventLogRecord]:
        after = cursor.after if cursor else 0
        since = None if cursor else (now - _FIRST).timestamp()
        while True:
            # For checks, the instance itself offers only a deprecated method.
            records = self.instance.event_log_storage.get_event_records(
                dg.EventRecordsFilter(kind, after_cursor=after, after_timestamp=since),
                limit=_PAGE,
                # In descending order, events beyond the first page would be missed.
                ascending=True,
            )
            yield from records
            if len(records) < _PAGE:
                return
            after = records[-1].storage_id

    def _our_runs(self, run_ids: Collection[str]) -> dict[str, dg.RunRecord]:
        if not run_ids:
            return {}
        records = self.instance.get_run_records(dg.RunsFilter(run_ids=[*run_ids]))
        return {
            each.dagster_run.run_id: each
            for each in records
            if is_our_run(each.dagster_run)
        }

    def _observe(
        self,
        record: dg.EventLogRecord,
        runs: Mapping[str, dg.RunRecord],
        age: timedelta,
    ) -> tuple[Iterable[Observation], Collection[str]]:
        """What an event says, and the assets and checks that it shows to work."""
        event = record.event_log_entry.dagster_event
        run = runs.get(record.run_id)
        if event is None or run is None:
            return (), ()
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data.asset_check_key
            return self._observe_check(record, event), {check_name(check)}
        if self._is_tried_again(event, run.dagster_run, age):
            return (), ()
        end = self._run_end(event, run)
        did_work = end.succeeded and not end.did_nothing
        return observe_run(end), end.makes_good if did_work else ()

    def _is_tried_again(
        self, event: dg.DagsterEvent, run: dg.DagsterRun, age: timedelta
    ) -> bool:
        """Whether Dagster retries a failed run.

        Raises:
            _NotKnownYetError: Dagster has not decided yet.
        """
        if not (event.is_run_failure and self.instance.run_retries_enabled):
            return False
        will_retry = run.tags.get(WILL_RETRY_TAG)
        if will_retry is None and age < _RETRY_IS_KNOWN:
            raise _NotKnownYetError
        return will_retry == "true"

    def _run_end(self, event: dg.DagsterEvent, run_record: dg.RunRecord) -> RunEnd:
        run = run_record.dagster_run
        made = self.known.made(run)
        job = self.known.work(run)
        kind, cause, step = _failure(event) if event.is_run_failure else ("", "", "")
        facts = {"Job": job, "Run": run.run_id[:8]}
        facts |= {"Step": step} if step else {}
        facts |= {"Error": kind} if kind else {}
        return RunEnd(
            job=job,
            makes_good=self.known.jobs_within(made) | set(map(asset_name, made)),
            has_started=self._has_started(event, run_record),
            succeeded=not event.is_run_failure,
            began_at=run_record.create_timestamp,
            cause=cause,
            cause_kind=kind,
            did_nothing=SKIPPED_TAG in run.tags,
            facts=tuple(facts.items()),
            link=self.page(f"runs/{run.run_id}"),
        )

    def _has_started(self, event: dg.DagsterEvent, record: dg.RunRecord) -> bool:
        """Whether a run's process started, or the job's previous one did not either.

        Two failed starts in a row count as the job's own failure.
        """
        data = _failure_data(event) if event.is_run_failure else None
        if data is None or data.failure_reason is not RunFailureReason.START_TIMEOUT:
            return True
        asked = dg.RunsFilter(
            job_name=record.dagster_run.job_name,
            tags=OURS,
            statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS],
            created_before=record.create_timestamp,
        )
        before = self.instance.get_run_records(asked, limit=1)
        return bool(before) and before[0].start_time is None

    def _observe_check(
        self, record: dg.EventLogRecord, event: dg.DagsterEvent
    ) -> Iterator[Observation]:
        evaluation = event.asset_check_evaluation_data
        return observe_check(
            asset_name(evaluation.asset_key),
            evaluation.check_name,
            passed=evaluation.passed,
            is_warning=evaluation.severity is dg.AssetCheckSeverity.WARN,
            states=self.known.states(evaluation.asset_check_key),
            count=_count(evaluation.metadata),
            link=self.page(f"runs/{record.run_id}") if record.run_id else None,
        )


def _count(metadata: Mapping[str, dg.MetadataValue]) -> int | None:
    """How many problems one of our checks found; ids and values stay out of notices."""
    found = [metadata[name].value for name in _COUNTS if name in metadata]
    return next((each for each in found if isinstance(each, int)), None)


def _failure_data(event: dg.DagsterEvent) -> JobFailureData | None:
    """What Dagster knows of a failure; None if the run was marked from outside.

    So it is when a run's process dies, or cannot load its job.
    """
    data = event.event_specific_data
    return data if isinstance(data, JobFailureData) else None


def _failure(event: dg.DagsterEvent) -> tuple[str, str, str]:
    """Error class, message and step of a failed run; empty where unknown."""
    data = _failure_data(event)
    if data is None:
        return "", event.message or "", ""
    step = data.first_step_failure_event
    if step is None and data.error is not None:
        return *describe(data.error), ""
    if step is None:
        reason = data.failure_reason
        return reason.value if reason else "", event.message or "", ""
    failure = step.step_failure_data
    described = failure.user_failure_data
    if described is not None and described.description:
        # We raised this Failure; its description is safe to show.
        cause = described.metadata.get("cause")
        kind = str(cause.value) if cause is not None else ""
        if kind in QUOTES_ITS_CALLER:
            return kind, _REFUSED_RECORDS, step.step_key or ""
        return kind, without_rows(described.description), step.step_key or ""
    return *describe(failure.error), step.step_key or ""


def describe(error: SerializableErrorInfo | None) -> tuple[str, str]:
    """Class and message of the root cause.

    The message is included only for our own errors; others may quote row data.
    """
    if error is None:
        return "", "No reason given."
    while error.cause is not None:
        error = error.cause
    kind = error.cls_name or "Error"
    if kind in QUOTES_ITS_CALLER:
        return kind, _REFUSED_RECORDS
    if kind in QUOTABLE_ERRORS:
        return kind, _CLASS.sub("", error.message).strip()
    return kind, f"{kind}. See the Dagster UI for its message, which may quote data."
