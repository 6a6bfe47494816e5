"""Refusing to deliver into a table that somebody else has been filling.

The flow that this pipeline replaces made its records under ids of its own. Delivering
beside it would make every row twice, so before the first delivery into a table its
records are looked at, and a person decides.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol
from uuid import UUID

from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.gate import Deadline
from apex_pipeline.errors import CutoverError, DataverseError
from apex_pipeline.metrics import ENTITY_SET, PRIMARY_KEY, TABLE


class Rows(Protocol):
    """The rows that records may have been made from."""

    def known_ids(self, ids: list[str]) -> set[str]:
        """Which of these are the id of a row."""


async def refuse_foreign_records(
    client: DataverseClient,
    rows: Rows,
    deadline: Deadline,
    beat: Callable[[], Awaitable[None]],
) -> None:
    """Read the ids of the table's records until one is found that is not a row's.

    Args:
        client: The environment.
        rows: What records may have been made from.
        deadline: Until when a page may still be asked for.
        beat: Called after each page, for there may be many.

    Raises:
        CutoverError: There is such a record.
        DataverseError: The records cannot be read.
    """
    async for page in client.pages(
        f"{ENTITY_SET}?$select={PRIMARY_KEY}",
        what=f"look at the records of {TABLE}",
        deadline=deadline,
    ):
        ids = [str(key_of(record)) for record in page]
        foreign = set(ids) - await asyncio.to_thread(rows.known_ids, ids)
        if foreign:
            raise CutoverError(
                f"{TABLE} holds records that this pipeline did not make (such as "
                f"{min(foreign)}), and nothing has been delivered into it yet. Rows "
                "that another flow has sent already would stand there twice. Switch "
                "that flow off; then run `apex reconcile --adopt`, which lets its "
                "records stand for their rows. Or, if every row that it delivered is "
                "marked in exported_at or duplicates do not matter, run `apex sync "
                "--accept-duplicates` once."
            )
        await beat()


def key_of(record: Mapping[str, object]) -> UUID:
    """The primary key of a record as Dataverse gave it.

    Raises:
        DataverseError: It has none.
    """
    found = record.get(PRIMARY_KEY)
    try:
        return UUID(str(found))
    except ValueError:
        raise DataverseError(
            f"Could not look at the records of {TABLE}: {found!r:.50} is no "
            f"{PRIMARY_KEY}."
        ) from None
