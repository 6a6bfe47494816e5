"""Deliver the metrics of one request, and find out which of them Dataverse rejects.

Bulk comes first: `UpsertMultiple` takes all rows or none and does not say which row
failed. After a data error, the same rows are sent as a `$batch` of single upserts. Good
rows land, and each bad row comes back with its own reason.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from apex_pipeline.dataverse.answers import (
    GATEWAY_TIMEOUTS,
    PAYLOAD_ERROR,
    ROW_FAULTS,
)
from apex_pipeline.dataverse.client import DataverseClient, DataverseTable
from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import (
    ApexError,
    AuthError,
    RejectedError,
    SchemaDriftError,
    TooMuchError,
)
from apex_pipeline.metrics import (
    COLUMNS,
    ENTITY_SET,
    PRIMARY_KEY,
    TABLE,
    CampaignMetric,
)
from apex_pipeline.provisioning.drift import ATTRIBUTE_TYPES
from apex_pipeline.sync.delivery_outcome import Delivery, Judgement, RequestTiming

logger = logging.getLogger(__name__)

# A lost race is won at the next attempt; if the attempt fails too, it is not a race.
_COLLISIONS = 2

METRICS_TABLE = DataverseTable(TABLE, ENTITY_SET, PRIMARY_KEY)


class MetricSink(Protocol):
    """Delivers metrics."""

    async def deliver(
        self, metrics: Sequence[CampaignMetric], deadline: Deadline
    ) -> Delivery:
        """Deliver the metrics of one request."""


class DataverseSink:
    """Delivers campaign metrics to their table in one environment."""

    def __init__(
        self, client: DataverseClient, retry: RetryPolicy | None = None
    ) -> None:
        self._client = client
        self._retry = retry or RetryPolicy()
        self._schema_lock = asyncio.Lock()
        self._is_schema_sound: bool | None = None

    async def deliver(
        self, metrics: Sequence[CampaignMetric], deadline: Deadline
    ) -> Delivery:
        """Deliver as many metrics as possible; failures are returned, not raised."""
        return await self._deliver(metrics, deadline, attempt=1)

    async def _deliver(
        self, metrics: Sequence[CampaignMetric], deadline: Deadline, *, attempt: int
    ) -> Delivery:
        try:
            seconds = await self._client.upsert_multiple(
                METRICS_TABLE, metrics, deadline
            )
        except TooMuchError as error:
            return await self._deliver_parts(metrics, deadline, error, attempt)
        except RejectedError as error:
            return await self._isolate(metrics, error, deadline)
        except ApexError as error:
            return Delivery(failure=error)
        return Delivery(
            acknowledged=tuple(metric.id for metric in metrics),
            timings=(RequestTiming(len(metrics), seconds),),
        )

    async def _deliver_parts(
        self,
        metrics: Sequence[CampaignMetric],
        deadline: Deadline,
        error: TooMuchError,
        attempt: int,
    ) -> Delivery:
        """Retry a request that was too large, one half at a time.

        A half that would not finish in time is not started; its rows stay pending.
        """
        done = Delivery(
            timings=(RequestTiming(len(metrics), error.seconds, is_too_much=True),)
        )
        if error.status in GATEWAY_TIMEOUTS:
            # The gateway may be down for a moment; the size may not be the cause.
            await asyncio.sleep(self._retry.wait(attempt, 0.0))
        seconds = error.seconds / 2
        middle = (len(metrics) + 1) // 2
        for part in (metrics[:middle], metrics[middle:]):
            if deadline.remaining() <= seconds:
                break
            begun = await self._deliver(part, deadline, attempt=attempt + 1)
            done = done.and_then(begun)
            if begun.failure is not None:
                break
            seconds = max((timing.seconds for timing in begun.timings), default=seconds)
        return done

    async def _isolate(
        self,
        metrics: Sequence[CampaignMetric],
        refusal: RejectedError,
        deadline: Deadline,
    ) -> Delivery:
        """Send the metrics of a rejected request as single upserts, in batches."""
        judged = Judgement()
        pending = list(metrics)
        try:
            if refusal.code == PAYLOAD_ERROR:
                await self._check_schema(deadline)
            for attempt in range(1, self._retry.attempts + 1):
                answers = await self._client.upsert_each(
                    METRICS_TABLE, pending, deadline
                )
                pending, asked = judged.sort(
                    pending, answers, is_last=attempt >= _COLLISIONS
                )
                if not pending:
                    return judged.delivery(self._is_row_fault)
                wait = max(self._retry.wait(attempt, 0.0), asked)
                if wait > deadline.remaining() + self._retry.grace:
                    break
                await asyncio.sleep(wait)
        except ApexError as error:
            return judged.delivery(self._is_row_fault, error)
        return judged.delivery(self._is_row_fault, judged.passing_fault)

    async def _check_schema(self, deadline: Deadline) -> None:
        """Tell a row's wrong value from a missing column; checked once per run.

        Raises:
            SchemaDriftError: A column is missing or has the wrong type.
        """
        async with self._schema_lock:
            if self._is_schema_sound is not None:
                return
            try:
                types = await self._client.column_types(METRICS_TABLE, deadline)
            except (AuthError, SchemaDriftError, RejectedError) as error:
                logger.warning(
                    "cannot read the table's metadata, so wrong values look the same "
                    "as missing columns: %s",
                    error,
                )
                self._is_schema_sound = False
                return
            check_columns(types)
            self._is_schema_sound = True

    def _is_row_fault(self, code: str) -> bool:
        return code in ROW_FAULTS or (
            code == PAYLOAD_ERROR and self._is_schema_sound is True
        )


def check_columns(types: Mapping[str, str]) -> None:
    """Compare a table's columns with those that the sync sends.

    Args:
        types: Logical name to `AttributeType`.

    Raises:
        SchemaDriftError: Columns are missing or have a type that cannot hold the
            values; the message names all of them.
    """
    problems = []
    for column in COLUMNS:
        found = types.get(column.dataverse)
        wanted = ATTRIBUTE_TYPES[type(column.type)]
        if found is None:
            problems.append(f"{column.dataverse} is missing")
        elif found not in wanted:
            problems.append(
                f"{column.dataverse} is {found}, not {' or '.join(sorted(wanted))}"
            )
    if problems:
        raise SchemaDriftError(
            f"The Dataverse table {TABLE} cannot take the metrics: "
            f"{'; '.join(problems)}. `apex provision dataverse --plan` shows the "
            "difference."
        )
