"""Rules: what run ends and check results mean, each handled once. Pure."""

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
from apex_pipeline.monitoring.alerts.notice import Observation, Severity
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
"""Between the names of a selection that is no job of ours."""

CHECK_MARK = ":"
"""Between an asset and a check in such a name; a job's name holds neither."""

_NAMES_SHOWN = 3

OVERLAP = timedelta(seconds=60)
"""An event with a lower id may commit after one with a higher id, by at most this."""

REFUSED = "Refused"
"""Cause of a run that was started in an unsupported way; its starter sees the message."""

FAILED_BY_A_CHECK = "DagsterAssetCheckFailedError"

QUOTES_ITS_CALLER = {
    *("InvalidRecordError", "MalformedRecordError", "RecordConflictError"),
}
"""Errors that repeat names or values which a caller chose; notices leave them out."""

QUOTABLE_ERRORS = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and name not in QUOTES_ITS_CALLER
} | {
    "DeliveryError",
    "Failure",
    "DagsterUserCodeUnreachableError",
}
"""Errors whose message we wrote, without row data, so notices may show it."""

_REMEDIES = {
    TransientError.__name__: "Dataverse, or the network to it, failed for longer than a "
    "run retries. No data is lost: the next scheduled run continues. If this persists, "
    "check the connection with `apex doctor`, and see *Service health* in the Microsoft "
    "365 admin center.",
    InterceptedError.__name__: "A proxy, gateway, firewall or captive portal answered "
    "instead of the service. No data is lost: unacknowledged rows stay pending, and the "
    "next run sends them. Ask your network administrator; `apex doctor` shows what "
    "answers.",
    SchemaDriftError.__name__: TABLE_DRIFTED.remedy,
} | dict.fromkeys(
    QUOTES_ITS_CALLER,
    "Open the run in the Dagster UI: it says what is wrong. Correct the records, then "
    "start the job again.",
)
_UNFORESEEN = (
    "Open the run in the Dagster UI for the full message. The pipeline does not know this "
    "error; report it to the maintainers."
)
_CHECK_REMEDIES = {
    "no_record_missing": "Run `apex reconcile --repair`, or the job reconcile_dataverse "
    "with `repair`; the next sync sends the rows.",
    "no_record_differs": "Run `apex reconcile --repair`, or the job reconcile_dataverse "
    "with `repair`; the next sync sends the rows.",
    "no_records_of_another_flow": "Switch the other flow off, then run `apex reconcile "
    "--adopt`, or the job reconcile_dataverse with `adopt`.",
}

# Other rules report the same problems with more detail.
_REPORTED_BY_OTHER_RULES = {
    ("dataverse_campaign_metrics", "delivery_complete"),
    ("quarantined_campaign_metrics", "no_rows_quarantined"),
    ("audit_trail", "audit_trail_unbroken"),
}
# A periodic probe may find the same problem a little later.
_FOUND_ALSO_BY = {
    AuthError.__name__: frozenset({TOKEN_REFUSED.name}),
    SchemaDriftError.__name__: frozenset({TABLE_DRIFTED.name}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """A run that ended and will not be retried by Dagster.

    Attributes:
        job: Name of the job. For a run of Dagster's implicit job: our job with the same
            assets, or else the names of its assets or checks.
        makes_good: Other jobs and single assets whose incidents a success resolves,
            because the run materialized their assets too.
        has_started: Whether its process ever ran.
        cause: Error message; empty if it succeeded.
        cause_kind: Class name of the error.
        did_nothing: Whether it succeeded without work, because another run does it.
    """

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


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the events have been handled.

    Attributes:
        after: All events up to this id are handled.
        seen: Ids above `after` that are handled too.
    """

    after: int
    seen: tuple[int, ...] = ()


def unseen(cursor: Cursor | None, ids: Iterable[int]) -> set[int]:
    """Return the ids of events that are not handled yet."""
    return {
        each
        for each in ids
        if cursor is None or (each > cursor.after and each not in cursor.seen)
    }


def advance(
    cursor: Cursor | None, handled: Sequence[tuple[int, datetime]], now: datetime
) -> Cursor:
    """Advance the cursor over handled events.

    Args:
        cursor: The previous cursor; None the first time.
        handled: Id and time of each handled event, also of those in `cursor.seen`.
        now: Current time, timezone-aware.
    """
    before = cursor or Cursor(0)
    settled = [each for each, at in handled if at < now - OVERLAP]
    after = max([before.after, *settled])
    ids = {*before.seen, *(each for each, _ in handled)}
    return Cursor(after, tuple(sorted(each for each in ids if each > after)))


def observe_run(end: RunEnd) -> Iterator[Observation]:
    """What the end of a run says of its job, and of what its failure comes from."""
    scope = f"{RUN_FAILED.name}/{end.job}"
    if not end.has_started:
        # Not the job's fault: no run can start. The next run that starts resolves the
        # incident, and the schedules catch up on the work.
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
        # A failed check has an incident of its own, which links this run.
        return
    if end.cause_kind == DatabaseUnavailableError.__name__:
        # The cause comes first; it inhibits the notice about the run.
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
    """Shorten a list of asset names to the first few; a job's name stays as it is."""
    names = job.split(SEPARATOR)
    more = len(names) - _NAMES_SHOWN
    shown = SEPARATOR.join(names[:_NAMES_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown


def _remedy(kind: str) -> str:
    """The remedy for a class of error; empty if its message includes one."""
    is_ours = not kind.endswith("Error") or kind in QUOTABLE_ERRORS
    return _REMEDIES.get(kind, "" if is_ours else _UNFORESEEN)


def without_rows(text: str) -> str:
    """Cut the part of one of our messages that may quote a row."""
    safe, mark, _ = text.partition(SystemicRejectionError.OF_A_ROW)
    return f"{safe} See the Dagster UI for Dataverse's message." if mark else safe


def observe_check(
    asset: str,
    check: str,
    *,
    passed: bool,
    is_warning: bool,
    states: str = "",
    count: int | None = None,
    link: str | None = None,
) -> Iterator[Observation]:
    """What one evaluation of an asset check says, unless another rule reports it.

    Args:
        asset: The asset's name.
        check: The check's name.
        passed: Whether the asset is as expected.
        is_warning: Whether a failure is only a warning.
        states: What the check expects, from its description; may be empty.
        count: Number of problems found, if the check reports it.
        link: Page of the run.
    """
    if (asset, check) in _REPORTED_BY_OTHER_RULES:
        return
    key = f"{asset}/{check}"
    if passed:
        yield Observation(f"{CHECK_FAILED.name}/{key}")
        return
    failure = CHECK_FAILED.finding(
        f"Expected: {states}" if states else "",
        where=f"{check} of {asset}",
        key=key,
        severity=Severity.WARNING if is_warning else Severity.ERROR,
        remedy=_CHECK_REMEDIES.get(check, ""),
        facts=() if count is None else (("Found", f"{count:,}"),),
        link=link,
    )
    yield Observation(f"{CHECK_FAILED.name}/{key}", (failure,))
