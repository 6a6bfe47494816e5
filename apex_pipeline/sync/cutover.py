"""Refuse to deliver into a table that another flow has filled.

The flow that this pipeline replaces created its records under its own ids. Delivering
next to it would duplicate every row. So the first delivery into a table checks its
records, and an operator decides.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from uuid import UUID

from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import CutoverError, DataverseError
from apex_pipeline.metrics import ENTITY_SET, PRIMARY_KEY, TABLE


async def refuse_foreign_records(
    client: DataverseClient,
    known_ids: Callable[[list[str]], set[str]],
    deadline: Deadline,
    beat: Callable[[], Awaitable[None]],
) -> None:
    """Read the ids of the table's records, up to the first that belongs to no row.

    Args:
        client: The environment.
        known_ids: Of the given ids, those that belong to a row in Postgres.
        deadline: No page is requested after it.
        beat: Called after each page; a table can have many.

    Raises:
        CutoverError: A record belongs to no row.
        DataverseError: The records cannot be read.
    """
    async for page in client.pages(
        f"{ENTITY_SET}?$select={PRIMARY_KEY}",
        what=f"read the records of {TABLE}",
        deadline=deadline,
    ):
        ids = [str(key_of(record)) for record in page]
        foreign = set(ids) - await asyncio.to_thread(known_ids, ids)
        if foreign:
            raise CutoverError(
                f"{TABLE} holds records that this pipeline did not create (such as "
                f"{min(foreign)}), and the pipeline has not delivered into it yet. "
                "Rows that another flow has already sent would be duplicated. Switch "
                "that flow off; then run `apex reconcile --adopt`, which matches its "
                "records to their rows. Or run `apex sync --accept-duplicates` once, "
                "if every row that it delivered is marked in exported_at or "
                "duplicates do not matter."
            )
        await beat()


def key_of(record: Mapping[str, object]) -> UUID:
    """The primary key of a record as Dataverse returned it.

    Raises:
        DataverseError: The record has no valid primary key.
    """
    found = record.get(PRIMARY_KEY)
    try:
        return UUID(str(found))
    except ValueError:
        raise DataverseError(
            f"Could not read the records of {TABLE}: {found!r:.50} is not a valid "
            f"{PRIMARY_KEY}."
        ) from None
