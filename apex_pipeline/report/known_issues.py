"""Known issues: open and recent incidents, and causes in quarantine."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from apex_pipeline.monitoring.alerts.incidents import Incident
from apex_pipeline.quarantine import listing
from apex_pipeline.quarantine.decisions import QuarantineSelection
from apex_pipeline.report.acceptance import open_journal
from apex_pipeline.report.document import Block, Note, ReportTable
from apex_pipeline.report.measured_lines import instant
from apex_pipeline.report.report_subject import Subject
from apex_pipeline.texts.durations import words

LATELY = timedelta(days=30)
_CAUSES = 20


def incidents(subject: Subject, now: datetime) -> Iterator[Block]:
    """Open incidents, and those resolved lately.

    Raises:
        ApexError: The incident table does not exist or cannot be read.
    """
    with open_journal(subject.environment) as journal:
        found = journal.incidents(resolved_within=LATELY)
    if not found:
        yield Note(f"No incident is open or was open in the last {LATELY.days} days.")
        return
    yield ReportTable(
        ("incident", "severity", "opened (UTC)", "lasted", "times", "what to do"),
        tuple(_row(each, now) for each in reversed(found)),
        f"Incidents that are open or were resolved in the last {LATELY.days} days",
    )


def quarantine(subject: Subject) -> Iterator[Block]:
    """Why rows are in quarantine.

    Raises:
        DatabaseError: Postgres does not answer, or lacks our tables.
    """
    with subject.open_database() as database:
        causes = database.ask(
            listing.causes, QuarantineSelection(everything=True), _CAUSES, 0
        )
    if not causes:
        yield Note("No row is in quarantine.")
        return
    yield ReportTable(
        ("code", "message", "rows", "since (UTC)", "next attempt (UTC)"),
        tuple(
            (
                each.code,
                each.message,
                str(each.count),
                instant(each.oldest_rejected_at),
                instant(each.next_attempt_at),
            )
            for each in causes
        ),
        "Rows in quarantine, by cause",
    )


def _row(incident: Incident, now: datetime) -> tuple[str, ...]:
    lasted = words((incident.resolved_at or now) - incident.opened_at)
    return (
        f"{incident.title} ({incident.fingerprint})",
        incident.severity.value,
        instant(incident.opened_at),
        lasted if incident.resolved_at else f"open for {lasted}",
        str(incident.count),
        incident.remedy if incident.is_open else "resolved",
    )
