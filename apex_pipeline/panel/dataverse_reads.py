"""What the panel reads from Dataverse: the newest records, and two days of runs.

Two days are read once in whole. After that only what Dataverse has modified since is
asked for, which costs one small answer however many runs there are; every few minutes
the whole is read again, because that is how deleted records are noticed.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from apex_pipeline.dataverse.client import DataverseClient, records_of
from apex_pipeline.dataverse.documented_answers import RECORDS
from apex_pipeline.dataverse.gate import Deadline
from apex_pipeline.errors import DataverseError
from apex_pipeline.metrics import COLUMNS, ENTITY_SET, PRIMARY_KEY
from apex_pipeline.panel.kpis import (
    PERIOD,
    Comparison,
    Run,
    compare,
    instant,
    read_run,
    understood,
)

DEADLINE_SECONDS = 8.0
"""A read of the panel may begin nothing more after so long."""

MOST_RUNS = 50_000
"""Runs of two days that the panel adds up; ten pages of Dataverse's largest size."""

_NAMES = tuple(column.dataverse for column in COLUMNS)
_SELECT = ",".join(_NAMES)
_NEWEST_FIRST = f"apex_createdat desc,{PRIMARY_KEY} desc"

# A bulk request is one transaction: its records are modified when it begins, and seen
# when it ends, up to two minutes later.
_OVERLAP = timedelta(minutes=5)
_WHOLE_AGAIN_AFTER = timedelta(minutes=10)


async def read_recent(
    client: DataverseClient, limit: int
) -> tuple[dict[str, Any], ...]:
    """Read the newest records, key and columns of ours alone.

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
    """A run, and when Dataverse modified its record."""

    run: Run
    modified_on: datetime


class Window:
    """The runs of the last two days, kept up to date by small reads."""

    def __init__(self, most_runs: int = MOST_RUNS) -> None:
        """Begin with nothing; so many runs are added up, and no more."""
        self._most_runs = most_runs
        self._kept: dict[str, Kept] = {}
        self._whole_at: datetime | None = None

    async def refresh(self, client: DataverseClient, now: datetime) -> Comparison:
        """Read what is new, and compare the two days.

        Raises:
            DataverseError: See the tree in `errors`; also where there are more runs
                than can be added up here.
        """
        begin = now - 2 * PERIOD
        since = self._since(now)
        kept = {} if since is None else dict(self._kept)
        async for key, one in _modified(client, begin, since):
            kept[key] = one
            if len(kept) > self._most_runs:
                raise DataverseError(
                    f"Dataverse holds more than {self._most_runs} runs of the last two "
                    "days, which the panel does not add up. The rollups have them."
                )
        if since is None:
            self._whole_at = now
        self._kept = {
            key: one for key, one in kept.items() if one.run.created_at > begin
        }
        return compare((one.run for one in self._kept.values()), now)

    def _since(self, now: datetime) -> datetime | None:
        """From when on to ask for modified records; None for all of them."""
        if (
            not self._kept
            or self._whole_at is None
            or now - self._whole_at >= _WHOLE_AGAIN_AFTER
        ):
            return None
        # Dataverse's own clock, whatever ours says.
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
    """The key of a record, and what is kept of it.

    Raises:
        DataverseError: It does not hold what was asked for.
    """
    run = read_run(record)
    with understood():
        return str(record[PRIMARY_KEY]), Kept(run, instant(record["modifiedon"]))


def _literal(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
