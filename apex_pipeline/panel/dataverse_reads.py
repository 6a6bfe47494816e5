"""Read the newest records and two days of runs from Dataverse.

Two days are read once in full. After that, only records modified since are read: one
small answer, however many runs there are. Every few minutes the full read repeats, which
finds deleted records.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.documented_answers import RECORDS
from apex_pipeline.dataverse.record_pages import records_of
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import DataverseError
from apex_pipeline.metrics import COLUMNS, ENTITY_SET, PRIMARY_KEY
from apex_pipeline.panel.kpis import (
    PERIOD,
    PeriodComparison,
    Run,
    compare,
    instant,
    read_run,
    understood,
)

DEADLINE_SECONDS = 8.0
"""After this long, a read of the panel starts no further request."""

MOST_RUNS = 50_000
"""The most runs of two days that the panel adds up; ten of Dataverse's largest pages."""

_NAMES = tuple(column.dataverse for column in COLUMNS)
_SELECT = ",".join(_NAMES)
_NEWEST_FIRST = f"apex_createdat desc,{PRIMARY_KEY} desc"

# A bulk request is one transaction: its records get the time of its start and become
# visible at its end, up to two minutes later.
_OVERLAP = timedelta(minutes=5)
_WHOLE_AGAIN_AFTER = timedelta(minutes=10)


async def read_recent(
    client: DataverseClient, limit: int
) -> tuple[dict[str, Any], ...]:
    """Read the newest records, with only the key and the pipeline's columns.

    Raises:
        DataverseError: See the tree in `errors`.
    """
    what = "read the newest campaign metrics"
    document = await client.get(
        f"{ENTITY_SET}?$select={_SELECT}&$orderby={quote(_NEWEST_FIRST, safe=',')}"
        f"&$top={limit}",
        what=what,
        deadline=Deadline(DEADLINE_SECONDS),
        expected=RECORDS,
    )
    return tuple(
        {name: record.get(name) for name in (PRIMARY_KEY, *_NAMES)}
        for record in records_of(document, what)
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """A run, and when its record was last modified."""

    run: Run
    modified_on: datetime


class RecordWindow:
    """The runs of the last two days, kept up to date by small reads."""

    def __init__(self, most_runs: int = MOST_RUNS) -> None:
        """Start empty.

        Args:
            most_runs: The most runs to add up; more are an error.
        """
        self._most_runs = most_runs
        self._kept: dict[str, Kept] = {}
        self._whole_at: datetime | None = None

    async def refresh(self, client: DataverseClient, now: datetime) -> PeriodComparison:
        """Read new records, and compare the two days.

        Raises:
            DataverseError: See the tree in `errors`; also if there are more runs than
                the panel adds up.
        """
        begin = now - 2 * PERIOD
        since = self._since(now)
        kept = {} if since is None else dict(self._kept)
        async for key, one in _modified(client, begin, since):
            kept[key] = one
            if len(kept) > self._most_runs:
                raise DataverseError(
                    f"Dataverse holds more than {self._most_runs} runs of the last two "
                    "days, too many for the panel. See the rollups instead."
                )
        if since is None:
            self._whole_at = now
        self._kept = {
            key: one for key, one in kept.items() if one.run.created_at > begin
        }
        return compare((one.run for one in self._kept.values()), now)

    def _since(self, now: datetime) -> datetime | None:
        """The instant since when to read modified records; None to read all."""
        if (
            not self._kept
            or self._whole_at is None
            or now - self._whole_at >= _WHOLE_AGAIN_AFTER
        ):
            return None
        # By Dataverse's own clock, not by ours.
        return max(one.modified_on for one in self._kept.values()) - _OVERLAP


async def _modified(
    client: DataverseClient, begin: datetime, since: datetime | None
) -> AsyncIterator[tuple[str, Kept]]:
    condition = f"apex_createdat gt {_literal(begin)}"
    if since is not None:
        condition += f" and modifiedon ge {_literal(since)}"
    async for page in client.pages(
        f"{ENTITY_SET}?$select={_SELECT},modifiedon&$filter={quote(condition)}",
        what="read the campaign metrics of the last two days",
        deadline=Deadline(DEADLINE_SECONDS),
    ):
        for record in page:
            yield keep(record)


def keep(record: Mapping[str, Any]) -> tuple[str, Kept]:
    """The key of a record, and the values to keep.

    Raises:
        DataverseError: The record lacks a value, or has one of a wrong type.
    """
    run = read_run(record)
    with understood():
        return str(record[PRIMARY_KEY]), Kept(run, instant(record["modifiedon"]))


def _literal(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
