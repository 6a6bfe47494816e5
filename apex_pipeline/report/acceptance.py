"""The acceptance list: whether the pipeline fulfills its purpose now."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from apex_pipeline.errors import ApexError
from apex_pipeline.monitoring.alerts.journal import NO_JOURNAL, VARIABLE, Journal
from apex_pipeline.monitoring.alerts.notice import Severity
from apex_pipeline.monitoring.doctor import check_results as doctor
from apex_pipeline.monitoring.facts import Facts, read_facts
from apex_pipeline.reconcile.agreement import read_agreement
from apex_pipeline.report.delivery_statistics import read_rows
from apex_pipeline.report.document import LineState, ReportLine
from apex_pipeline.report.latencies import count_records
from apex_pipeline.report.measured_lines import (
    Seen,
    measure,
    met,
    not_measured,
    not_met,
    seconds,
    warning,
)
from apex_pipeline.report.report_subject import Subject
from apex_pipeline.settings import load_journal_name, read_variable

WAIT_LIMIT = timedelta(minutes=5)
_ATTEMPTS = 3

_STATES = {
    doctor.CheckState.OK: LineState.MET,
    doctor.CheckState.WARNING: LineState.WARNING,
    doctor.CheckState.FAILED: LineState.NOT_MET,
    doctor.CheckState.NOT_CHECKED: LineState.NOT_MEASURED,
}


def as_line(line: doctor.CheckLine, *, how: str = "") -> ReportLine:
    """Turn a line of the doctor into a line of the report."""
    return ReportLine(line.name, _STATES[line.state], line.measured, line.target, how)


def delivery(subject: Subject, now: datetime) -> Iterator[ReportLine]:
    """Check that rows arrive exactly once, and list what is wrong now."""
    yield measure(
        "rows arrive",
        f"no row waits longer than {WAIT_LIMIT.total_seconds() / 60:.0f} min",
        "campaign_metrics_pending",
        lambda: _waiting(subject, now),
    )
    yield measure(
        "no row lost or duplicated",
        "as many records as exported rows",
        "rows with exported_at in Postgres; $apply=aggregate in Dataverse",
        lambda: _counted(subject),
    )
    yield measure(
        "records equal their rows",
        "all compared; none missing, different, unknown or double",
        "the last comparisons of `apex reconcile`",
        lambda: _compared(subject),
    )
    yield measure(
        "quarantine",
        "empty",
        "campaign_metrics_quarantine",
        lambda: _quarantined(subject, now),
    )
    yield measure(
        "incidents", "none is open", "apex_alerts.incident", lambda: _open(subject)
    )


def _waiting(subject: Subject, now: datetime) -> Seen:
    facts = _facts(subject, now)
    since = facts.waiting_since()
    if since is None:
        return met(f"{facts.pending.count or 'nothing'} pending")
    waited = seconds((now - since).total_seconds())
    seen = f"{facts.pending.count} pending, waiting for {waited}"
    return met(seen) if now - since <= WAIT_LIMIT else not_met(seen)


def _facts(subject: Subject, now: datetime) -> Facts:
    with subject.open_database() as database:
        return database.ask(read_facts, now)


def _counted(subject: Subject) -> Seen:
    settings = subject.dataverse()
    seen = ""
    # A record exists a moment before its row is marked.
    for _ in range(_ATTEMPTS):
        with subject.open_database() as database:
            before = read_rows(database).exported
            records = count_records(settings, subject.token_cache)
            after = read_rows(database).exported
        if records is None:
            return not_measured(
                "Dataverse counts at most 50 000 records; `apex reconcile` compares all"
            )
        seen = f"{after} rows are exported, {records} records exist"
        if before <= records <= after:
            return met(seen)
    return not_met(f"{seen}; `apex reconcile` shows which differ")


def _compared(subject: Subject) -> Seen:
    resource = subject.dataverse().resource
    with subject.open_database() as database:
        agreement = read_agreement(database, resource, most=0)
    wrong = [
        f"{count} {kind.value}" for kind, count in agreement.counts.items() if count
    ]
    if wrong:
        return not_met(", ".join(wrong))
    if agreement.last_pass_finished_at is None:
        return not_measured(
            f"{agreement.rows_under_way} rows were compared so far; run `apex reconcile`"
        )
    return met(
        f"all rows compared by {agreement.last_pass_finished_at:%Y-%m-%d %H:%M} UTC, "
        "without findings"
    )


def _quarantined(subject: Subject, now: datetime) -> Seen:
    facts = _facts(subject, now)
    seen = (
        f"{facts.quarantined_count} rows wait for a retry, {facts.dropped} were dropped"
    )
    return warning(seen) if facts.quarantined_count else met(seen)


def _open(subject: Subject) -> Seen:
    with open_journal(subject.environment) as journal:
        found = journal.incidents()
    if not found:
        return met("none is open")
    seen = "; ".join(each.title for each in found)
    only_warn = all(each.severity is Severity.WARNING for each in found)
    return warning(seen) if only_warn else not_met(seen)


def open_journal(environment: Mapping[str, str]) -> Journal:
    """Open the journal of incidents; the caller closes it.

    Raises:
        ApexError: No journal is configured.
    """
    url = read_variable(environment, VARIABLE)
    if not url:
        raise ApexError(NO_JOURNAL)
    return Journal(url, load_journal_name(environment))
