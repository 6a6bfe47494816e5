"""Measure the latency of Dataverse and the authority for the report."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from apex_pipeline.dataverse.documented_answers import COUNT, RECORDS
from apex_pipeline.dataverse.environment import connect
from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import RejectedError
from apex_pipeline.metrics import ENTITY_SET, PRIMARY_KEY
from apex_pipeline.monitoring.doctor.credential_checks import acquire
from apex_pipeline.panel.dataverse_reads import read_recent
from apex_pipeline.settings import DataverseSettings

QUERIES = 20
TOKENS = 3

_SECONDS = 20.0
_TIMEOUT = 10.0
_ONCE_MORE = RetryPolicy(attempts=2, first_wait=0.2, grace=0.0)


def time_tokens(settings: DataverseSettings) -> list[float]:
    """Time token requests in seconds, each with an empty cache.

    Raises:
        DataverseError: The authority issues no token; see the errors of `acquire`.
    """
    with TemporaryDirectory(prefix="apex-report-") as folder:
        return [
            acquire(settings, Path(folder) / f"{number}.json")[1]
            for number in range(TOKENS)
        ]


def time_queries(settings: DataverseSettings, token_cache: Path) -> list[float]:
    """Time small reads of Dataverse in seconds, one after another.

    Raises:
        DataverseError: See the tree in `errors`.
    """

    async def ask() -> list[float]:
        async with connect(
            settings, token_cache, retry=_ONCE_MORE, request_timeout=_TIMEOUT
        ) as environment:
            deadline = Deadline(_SECONDS)
            taken = []
            for _ in range(QUERIES + 1):
                began = time.perf_counter()
                await environment.client.get(
                    f"{ENTITY_SET}?$select={PRIMARY_KEY}"
                    "&$orderby=apex_createdat%20desc&$top=5",
                    what="read the newest campaign metrics",
                    deadline=deadline,
                    expected=RECORDS,
                )
                taken.append(time.perf_counter() - began)
            # The first request opens the connection and may need a token.
            return taken[1:]

    return asyncio.run(ask())


def read_samples(
    settings: DataverseSettings, token_cache: Path, most: int
) -> Sequence[dict[str, Any]]:
    """Read the newest records, with the key and the pipeline's columns.

    Raises:
        DataverseError: See the tree in `errors`.
    """

    async def read() -> Sequence[dict[str, Any]]:
        async with connect(
            settings, token_cache, retry=_ONCE_MORE, request_timeout=_TIMEOUT
        ) as environment:
            return await read_recent(environment.client, most)

    return asyncio.run(read())


def count_records(settings: DataverseSettings, token_cache: Path) -> int | None:
    """Count the table's records; None if there are more than Dataverse can count.

    The limit is 50 000 records ("Aggregate data using OData", Microsoft Learn).

    Raises:
        DataverseError: See the tree in `errors`.
    """

    async def ask() -> int | None:
        async with connect(
            settings, token_cache, retry=_ONCE_MORE, request_timeout=_TIMEOUT
        ) as environment:
            try:
                answer = await environment.client.get(
                    f"{ENTITY_SET}?$apply=aggregate($count%20as%20records)",
                    what="count the campaign metrics",
                    deadline=Deadline(_SECONDS),
                    expected=COUNT,
                )
            except RejectedError:
                return None
            return int(answer["value"][0]["records"])

    return asyncio.run(ask())
