"""Send a slice of rows again although Dataverse has acknowledged them.

A slice is streamed without unmarking it first. So wherever it stops, exported rows stay
exported: no alert is raised for rows that Dataverse holds, new rows do not queue behind
old ones, and another flow that reads unmarked rows sees none. An upsert by the row's own
id makes a repeat harmless.

Each acknowledged row is marked again, with the time of the new answer. A slice that takes
several runs continues by that time: `exported_before` leaves out what earlier runs have
done. Two kinds of row lose their mark, because Dataverse does not hold their current
version: a row that can no longer be sent goes into quarantine, and a row that changed
while it was being sent goes with the next sync. A row that another transaction holds
keeps its old mark, because no run waits for it; its record may be newer than that mark.
The mark is older than the run, so the rest of the slice still includes the row.

Quarantined and dropped rows stay there.
"""

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.errors import ConfigError
from apex_pipeline.postgres import pending_rows as pending
from apex_pipeline.postgres.pending_rows import PendingRow, Position
from apex_pipeline.quarantine import decisions
from apex_pipeline.texts.redaction import shortened


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows selected by creation time and campaign; instants are aware.

    Attributes:
        since: The first instant of the slice.
        until: The first instant after the slice, so adjacent slices share no row.
        campaign: Campaign, in any spelling if it is a UUID.
        exported_before: Rows marked at this instant or later count as done.

    Raises:
        ConfigError: The bounds exclude every row, or there are none.
    """

    since: datetime | None = None
    until: datetime | None = None
    campaign: str | None = None
    exported_before: datetime | None = None

    def __post_init__(self) -> None:
        """Check that the slice has bounds, and that they are in order."""
        if self.since is None and self.until is None and self.campaign is None:
            raise ConfigError(
                "`exported_before` continues a slice: also give `since`, `until` or "
                "`campaign`."
            )
        if self.since and self.until and self.since >= self.until:
            raise ConfigError("`since` must be before `until`.")
        if self.campaign is not None and not self.campaign.strip():
            raise ConfigError("`campaign` must not be blank.")
        decisions.require_storable(self.campaign)

    def continued(self, at: datetime) -> "Slice":
        """The rest of the slice after a run that started at this instant."""
        return dataclasses.replace(self, exported_before=self.exported_before or at)

    def __str__(self) -> str:
        parts = [
            self.since and f"since {self.since:%Y-%m-%dT%H:%M:%SZ}",
            self.until and f"until {self.until:%Y-%m-%dT%H:%M:%SZ}",
            self.campaign and f"campaign {self.campaign}",
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class SliceSummary:
    """The rows of a slice, counted by state.

    Attributes:
        exported: Acknowledged by Dataverse before; to be sent again.
        done: Acknowledged since `exported_before`.
        pending: Not exported, and due.
        quarantined: In quarantine, to be retried later.
        dropped: In quarantine, never to be sent.
    """

    exported: int
    done: int
    pending: int
    quarantined: int
    dropped: int

    @property
    def to_send(self) -> int:
        """How many rows a run would send."""
        return self.exported + self.pending


def parse_slice(
    *,
    since: str | None = None,
    until: str | None = None,
    campaign: str | None = None,
    exported_before: str | None = None,
) -> Slice | None:
    """Parse a slice; None if no part of one is given.

    Raises:
        ConfigError: A text is not an instant, or the slice is invalid.
    """
    if (since, until, campaign, exported_before) == (None,) * 4:
        return None
    return Slice(
        since=parse_instant("`since`", since),
        until=parse_instant("`until`", until),
        campaign=campaign,
        exported_before=parse_instant("`exported_before`", exported_before),
    )


def parse_instant(name: str, text: str | None) -> datetime | None:
    """Parse an ISO date, which means 00:00, or an instant; UTC unless it has a zone.

    Raises:
        ConfigError: The text is neither.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{name} must be a date like 2026-10-30, or an instant like "
            f"2026-10-30T13:00:00+02:00 (UTC without a zone), not {shortened(repr(text), 80)}."
        ) from None


# Bounds are written out in UTC, so a column without time zone compares correctly.
_IN_BOUNDS = "metric.created_at >= %(since)s AND metric.created_at < %(until)s"

# Common spellings, which the index finds in a column of either type.
_OF_CAMPAIGN = "AND metric.campaign_id = ANY(%(campaigns)s)"

# A text column may hold any text; a UUID column cannot be compared with it.
_OF_ODD_CAMPAIGN = "AND lower(CAST(metric.campaign_id AS text)) = ANY(%(campaigns)s)"

_TO_SEND = f"""
    AND (metric.exported_at < %(exported_before)s
        OR {pending.DUE})
"""

_SUMMARY = """
    SELECT count(*) FILTER (WHERE exported_at < %(exported_before)s),
        count(*) FILTER (WHERE exported_at >= %(exported_before)s),
        count(*) FILTER (WHERE exported_at IS NULL
            AND (next_attempt_at IS NULL OR next_attempt_at <= now())),
        count(*) FILTER (WHERE exported_at IS NULL
            AND next_attempt_at > now() AND next_attempt_at < 'infinity'),
        count(*) FILTER (WHERE exported_at IS NULL AND next_attempt_at = 'infinity')
    FROM campaign_metrics AS metric
    LEFT JOIN campaign_metrics_quarantine AS entry ON entry.metric_id = metric.id
"""

_PAGE = f"{pending.ROW} FROM campaign_metrics AS metric"


def page(
    connection: Connection, part: Slice, after: Position | None, limit: int
) -> list[PendingRow]:
    """Read the rows of a slice still to be sent after a position, oldest first."""
    where, values = _condition(part)
    statement = f"{_PAGE} WHERE {where} {_TO_SEND}"
    values["limit"] = limit
    if after is not None:
        statement += f" AND {pending.AFTER}"
        values |= after._asdict()
    statement = pending.versioned(f"{statement} {pending.IN_ORDER}")
    return pending.read(connection, statement, values)


def summary(connection: Connection, part: Slice) -> SliceSummary:
    """Count the rows of a slice by state."""
    where, values = _condition(part)
    found = connection.exec_driver_sql(f"{_SUMMARY} WHERE {where}", values).one()
    return SliceSummary(*found)


def _condition(part: Slice) -> tuple[str, dict[str, Any]]:
    """The SQL condition for the rows of a slice, with its bound values."""
    values: dict[str, Any] = {
        "since": part.since.isoformat() if part.since else "-infinity",
        "until": part.until.isoformat() if part.until else "infinity",
        "exported_before": (
            part.exported_before.isoformat() if part.exported_before else "infinity"
        ),
    }
    if part.campaign is None:
        return _IN_BOUNDS, values
    try:
        usual = str(UUID(part.campaign))
    except ValueError:
        usual = None
    if usual == part.campaign.lower():
        values["campaigns"] = sorted({usual, usual.upper(), part.campaign})
        return f"{_IN_BOUNDS} {_OF_CAMPAIGN}", values
    values["campaigns"] = sorted(
        {part.campaign.lower()} | ({usual} if usual else set())
    )
    return f"{_IN_BOUNDS} {_OF_ODD_CAMPAIGN}", values
