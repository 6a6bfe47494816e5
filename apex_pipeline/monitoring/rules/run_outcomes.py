"""Ends of runs and results of checks, each told once, and what they mean. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from apex_pipeline import errors
from apex_pipeline.errors import (
    AuthError,
    DatabaseUnavailableError,
    InterceptedError,
    SchemaDriftError,
    SystemicRejectionError,
    TransientError,
)
from apex_pipeline.monitoring.alerts.notice import Severity
from apex_pipeline.monitoring.alerts.observations import Observation
from apex_pipeline.monitoring.rules.catalogue import (
    CHECK_FAILED,
    DATABASE_UNUSABLE,
    RUN_FAILED,
    RUN_NOT_STARTED,
    SYNC_JOB,
    TABLE_DRIFTED,
    TOKEN_REFUSED,
)

SEPARATOR = ", "
_NAMES_SHOWN = 3

OVERLAP = timedelta(seconds=60)
"""Ids are given out before transactions end, so a lower one may appear after a higher."""

REFUSED = "Refused"
"""Cause of a run that was started in a way that cannot work: who started it sees that."""

FAILED_BY_A_CHECK = "DagsterAssetCheckFailedError"

TELLING = {name for name, kind in vars(errors).items() if isinstance(kind, type)} | {
    "DeliveryError",
    "Failure",
    "DagsterUserCodeUnreachableError",
}
"""Errors whose text was written for people, and quotes no data of others."""

_REMEDIES = {
    TransientError.__name__: "Dataverse, or the network on the way to it, failed for "
    "longer than a run keeps trying. Nothing is lost: the next run, with the next tick "
    "of the schedule, goes on. If it stays so, `apex doctor` tells whether it can be "
    "reached, and *Service health* in the Microsoft 365 admin center how it is.",
    InterceptedError.__name__: "A proxy, a gateway, a firewall or a captive portal "
    "stands on the way and answers for itself. Nothing is lost: what was not "
    "acknowledged stays pending, and the next run sends it. Ask who runs the network; "
    "`apex doctor` shows what answers.",
    SchemaDriftError.__name__: TABLE_DRIFTED.remedy,
}
_UNFORESEEN = (
    "Open the run in the Dagster UI, where the whole text is. It is none of the faults "
    "that the pipeline knows, so whoever looks after its code has to see it."
)
_CHECK_REMEDIES = {
    "no_record_missing": "`apex reconcile --repair`, or the job reconcile_dataverse with "
    "`repair`; the next sync sends them.",
    "no_record_differs": "`apex reconcile --repair`, or the job reconcile_dataverse with "
    "`repair`; the next sync sends them.",
    "no_records_of_another_flow": "Switch the other flow off; then `apex reconcile "
    "--adopt`, or the job reconcile_dataverse with `adopt`.",
}

# What these say, other rules say as well, and better.
_TOLD_OTHERWISE = {
    ("dataverse_campaign_metrics", "delivery_complete"),
    ("quarantined_campaign_metrics", "no_rows_quarantined"),
}
# A look of ours may find the same a little later.
_FOUND_ALSO_BY = {
    AuthError.__name__: frozenset({TOKEN_REFUSED.name}),
    SchemaDriftError.__name__: frozenset({TABLE_DRIFTED.name}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """A run that ended, and is not started again by itself.

    Attributes:
        event_id: Of the event; ascending.
        at: When it ended (aware).
        job: The job; for a run that Dagster's implicit job made, the job of ours that
            makes the same assets, else their names.
        makes_good: Incidents of other jobs, or of single assets, that its success ends,
            since it made their assets too.
        has_started: Whether its process ever ran.
        cause: What it failed with; empty for one that succeeded.
        cause_kind: Name of the error's class.
        did_nothing: Whether it succeeded only because it left the work to another.
    """

    event_id: int
    at: datetime
    run_id: str
    job: str
    succeeded: bool
    began_at: datetime
    makes_good: frozenset[str] = frozenset()
    has_started: bool = True
    cause: str = ""
    cause_kind: str = ""
    did_nothing: bool = False
    facts: tuple[tuple[str, str], ...] = ()
    link: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One evaluation of an asset check.

    Attributes:
        event_id: Of the event; ascending.
        at: When it was evaluated (aware).
        states: What the check says should be; may be empty.
        count: How many things it has found wrong, where it says so.
    """

    event_id: int
    at: datetime
    asset: str
    check: str
    passed: bool
    is_warning: bool
    states: str = ""
    count: int | None = None
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the events were read.

    Attributes:
        after: All events up to this id were handled.
        seen: Later ones that were handled.
    """

    after: int
    seen: tuple[int, ...] = ()


def unseen(cursor: Cursor | None, ids: Iterable[int]) -> set[int]:
    """Those of these events that were not handled."""
    return {
        each
        for each in ids
        if cursor is None or (each > cursor.after and each not in cursor.seen)
    }


def advance(
    cursor: Cursor | None, handled: Sequence[tuple[int, datetime]], now: datetime
) -> Cursor:
    """The cursor after more events were handled.

    Args:
        cursor: The one before; None for the first time.
        handled: Id and time of each, also of those that a former cursor had seen.
        now: The present (aware).
    """
    before = cursor or Cursor(0)
    settled = [each for each, at in handled if at < now - OVERLAP]
    after = max([before.after, *settled])
    ids = {*before.seen, *(each for each, _ in handled)}
    return Cursor(after, tuple(sorted(each for each in ids if each > after)))


def observe(events: Iterable[RunEnd | CheckResult]) -> Iterator[Observation]:
    """What the events mean, in the order in which they happened."""
    for event in sorted(events, key=lambda each: each.event_id):
        if isinstance(event, CheckResult):
            yield from _of_check(event)
        else:
            yield from _of_run(event)


def _of_run(end: RunEnd) -> Iterator[Observation]:
    scope = f"{RUN_FAILED.name}/{end.job}"
    if not end.has_started:
        # A fault of the machinery, which every run meets: the next one that starts ends
        # the incident, and the schedules make good what this one did not do.
        found = RUN_NOT_STARTED.finding(
            f"{end.job}: {end.cause or end.cause_kind}", facts=end.facts, link=end.link
        )
        yield Observation(RUN_NOT_STARTED.name, (found,))
        return
    yield Observation(RUN_NOT_STARTED.name)
    if end.succeeded:
        if not end.did_nothing:
            for key in (end.job, *sorted(end.makes_good - {end.job})):
                yield Observation(f"{RUN_FAILED.name}/{key}")
        return
    if end.cause_kind in {FAILED_BY_A_CHECK, REFUSED}:
        # A failed check is an incident of its own, with this run.
        return
    if end.cause_kind == DatabaseUnavailableError.__name__:
        # The cause comes first, so that people hear of that.
        cause = DATABASE_UNUSABLE.finding(
            end.cause, facts=end.facts, link=end.link, began_at=end.began_at
        )
        yield Observation(DATABASE_UNUSABLE.name, (cause,))
    is_sync = end.job == SYNC_JOB
    also = _FOUND_ALSO_BY.get(end.cause_kind, frozenset()) if is_sync else frozenset()
    late = frozenset({"rows-overdue", "no-success"}) if is_sync else frozenset()
    failure = RUN_FAILED.finding(
        end.cause,
        where=_short(end.job),
        key=end.job,
        remedy=_remedy(end.cause_kind),
        facts=end.facts,
        link=end.link,
        inhibits=also | late,
        began_at=end.began_at,
    )
    yield Observation(scope, (failure,))


def _short(job: str) -> str:
    """A job's name, or the first of the assets that were selected."""
    names = job.split(SEPARATOR)
    more = len(names) - _NAMES_SHOWN
    shown = SEPARATOR.join(names[:_NAMES_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown


def _remedy(kind: str) -> str:
    """What to do about a kind of error; empty where its text says that itself."""
    is_ours = not kind.endswith("Error") or kind in TELLING
    return _REMEDIES.get(kind, "") if is_ours else _UNFORESEEN


def without_rows(text: str) -> str:
    """The text of an error of ours, without what may quote a row."""
    told, mark, _ = text.partition(SystemicRejectionError.OF_A_ROW)
    return f"{told} What Dataverse says of them is in the Dagster UI." if mark else told


def _of_check(result: CheckResult) -> Iterator[Observation]:
    if (result.asset, result.check) in _TOLD_OTHERWISE:
        return
    key = f"{result.asset}/{result.check}"
    if result.passed:
        yield Observation(f"{CHECK_FAILED.name}/{key}")
        return
    failure = CHECK_FAILED.finding(
        f"This does not hold: {result.states}" if result.states else "",
        where=f"{result.check} of {result.asset}",
        key=key,
        severity=Severity.WARNING if result.is_warning else Severity.ERROR,
        remedy=_CHECK_REMEDIES.get(result.check, ""),
        facts=() if result.count is None else (("Found", f"{result.count:,}"),),
        link=result.link,
    )
    yield Observation(f"{CHECK_FAILED.name}/{key}", (failure,))
