"""Read Dataverse records to compare: by time, by key, or by change tracking.

Text from rows never enters a query; only times and UUID keys select records.
"""

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.record_pages import TrackedPage
from apex_pipeline.dataverse.sender import Sender
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import DataverseError
from apex_pipeline.metrics import COLUMNS, ENTITY_SET, PRIMARY_KEY, TABLE
from apex_pipeline.sync.cutover import key_of

KEYS_PER_REQUEST = 250
"""Each key takes 39 characters of the address, which may have at most 32 768."""

LARGEST_PAGE = 5000
"""The most records that Dataverse returns per page."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The range of the column; a bound outside it has no effect.
_FIRST = int(datetime(1753, 1, 1, tzinfo=UTC).timestamp())
_LAST = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
_COLUMNS = ",".join([PRIMARY_KEY, *(column.dataverse for column in COLUMNS)])
_WHAT = f"compare the records of {TABLE}"

Record = Mapping[str, Any]


class RequestBudget(Deadline):
    """A deadline with a limit on the number of requests."""

    def __init__(self, seconds: float, requests: int, sender: Sender) -> None:
        super().__init__(seconds)
        self._requests = requests
        self._sender = sender

    @property
    def is_used_up(self) -> bool:
        """Whether the request limit is reached."""
        return self._sender.requests >= self._requests

    def remaining(self) -> float:
        """Seconds left; negative after the deadline or the request limit."""
        return -math.inf if self.is_used_up else super().remaining()


class Records:
    """The table's records in one environment."""

    def __init__(
        self, client: DataverseClient, deadline: Deadline, page_size: int = LARGEST_PAGE
    ) -> None:
        self._client = client
        self._deadline = deadline
        self._page_size = page_size

    async def between(
        self, start: int | None, end: int | None
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Read the records of a range of time, page by page.

        Args:
            start: First second since the epoch; None for no lower bound.
            end: The second after the last; None for no upper bound.
        """
        bounds = [
            f"apex_createdat {operator} {_text(second)}"
            for operator, second in (("ge", start), ("lt", end))
            if second is not None and _FIRST <= second <= _LAST
        ]
        # A comparison with null is never true; records without a time come separately.
        condition = " and ".join(bounds) or "apex_createdat ne null"
        async for page in self._pages(condition):
            yield page

    async def undated(self) -> AsyncIterator[list[dict[str, Any]]]:
        """Read the records without a time, page by page."""
        async for page in self._pages("apex_createdat eq null"):
            yield page

    async def by_key(self, keys: Sequence[UUID]) -> dict[UUID, Record]:
        """Read the records with these keys, at most `KEYS_PER_REQUEST`."""
        wanted = ",".join(f"'{key}'" for key in keys)
        condition = (
            f"Microsoft.Dynamics.CRM.In(PropertyName='{PRIMARY_KEY}',"
            f"PropertyValues=[{wanted}])"
        )
        return {
            key_of(record): record
            async for page in self._pages(condition)
            for record in page
        }

    async def changes(self, link: str | None) -> TrackedPage:
        """Follow a link of change tracking; without a link, start tracking.

        Raises:
            RejectedError: The table is not tracked, or the link is too old.
        """
        start = self._client.address(f"{ENTITY_SET}?$select={PRIMARY_KEY}")
        return await self._client.tracked_page(
            link or start,
            what=f"read what changed in {TABLE}",
            deadline=self._deadline,
            page_size=self._page_size,
        )

    async def _pages(self, condition: str) -> AsyncIterator[list[dict[str, Any]]]:
        async for page in self._client.pages(
            f"{ENTITY_SET}?$select={_COLUMNS}&$filter={condition}",
            what=_WHAT,
            deadline=self._deadline,
            page_size=self._page_size,
        ):
            yield page


def changed_key(record: Record) -> UUID:
    """The key of a record that changed or was deleted.

    Raises:
        DataverseError: The record has no valid key.
    """
    if "reason" not in record:
        return key_of(record)
    try:
        return UUID(str(record.get("id")))
    except ValueError:
        raise DataverseError(
            f"Could not read what changed in {TABLE}: a deleted record has no id."
        ) from None


def _text(second: int) -> str:
    return f"{_EPOCH + timedelta(seconds=second):%Y-%m-%dT%H:%M:%SZ}"
