"""Delivering one request's worth of metrics, and finding out which of them cannot be.

In bulk first: `UpsertMultiple` takes all or nothing and does not say which row it
minded. So on a data error the same rows go once more as a `$batch` of single upserts,
where the good ones land and each bad one comes back with a reason of its own.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from apex_pipeline.dataverse.answers import (
    PAYLOAD_ERROR,
    ROW_FAULTS,
    Remedy,
    failure,
    remedy,
)
from apex_pipeline.dataverse.client import DataverseClient, Table, Target
from apex_pipeline.dataverse.gate import Deadline
from apex_pipeline.dataverse.sender import RetryPolicy
from apex_pipeline.errors import (
    ApexError,
    AuthError,
    DataverseError,
    RejectedError,
    SchemaDriftError,
    TooMuchError,
    TransientError,
)
from apex_pipeline.metrics import (
    COLUMNS,
    ENTITY_SET,
    PRIMARY_KEY,
    TABLE,
    CampaignMetric,
    Rejection,
)
from apex_pipeline.microsoft.http_answer import Answer
from apex_pipeline.provisioning.drift import ATTRIBUTE_TYPES

logger = logging.getLogger(__name__)

# A lost race is won at the next try; one that is lost again is no race.
_COLLISIONS = 2

_GATEWAY_FAULTS = frozenset({502, 504})

METRICS_TABLE = Table(TABLE, ENTITY_SET, PRIMARY_KEY)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one bulk request took.

    Attributes:
        is_too_much: It came to nothing, for it may have been too large.
    """

    rows: int
    seconds: float
    is_too_much: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of the metrics of one request.

    A metric in none of the three was not delivered and has no fault: it stays pending.

    Attributes:
        acknowledged: Ids that Dataverse has said it holds.
        rejections: Rows refused for a fault of their own.
        suspects: Rows refused for what may as well be one cause common to all.
        failure: Why nothing more could be delivered.
        timings: Bulk requests that were carried out, or were too large.
    """

    acknowledged: tuple[str, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    suspects: tuple[Rejection, ...] = ()
    failure: ApexError | None = None
    timings: tuple[Timing, ...] = ()

    def and_then(self, other: "Delivery") -> "Delivery":
        """This and what followed, as one."""
        return Delivery(
            self.acknowledged + other.acknowledged,
            self.rejections + other.rejections,
            self.suspects + other.suspects,
            other.failure,
            self.timings + other.timings,
        )


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
        """Deliver all that can be delivered; failures are returned, not raised."""
        return await self._deliver(metrics, deadline, attempt=1)

    async def _deliver(
        self, metrics: Sequence[CampaignMetric], deadline: Deadline, *, attempt: int
    ) -> Delivery:
        try:
            seconds = await self._client.upsert_multiple(
                METRICS_TABLE, _targets(metrics), deadline
            )
        except TooMuchError as error:
            return await self._deliver_parts(metrics, deadline, error, attempt)
        except RejectedError as error:
            return await self._isolate(metrics, error, deadline)
        except ApexError as error:
            return Delivery(failure=error)
        return Delivery(
            acknowledged=tuple(metric.id for metric in metrics),
            timings=(Timing(len(metrics), seconds),),
        )

    async def _deliver_parts(
        self,
        metrics: Sequence[CampaignMetric],
        deadline: Deadline,
        error: TooMuchError,
        attempt: int,
    ) -> Delivery:
        """Send again, by halves, what may have been too much at once.

        A half for which the time does not suffice is not begun; its rows stay pending.
        """
        done = Delivery(
            timings=(Timing(len(metrics), error.seconds, is_too_much=True),)
        )
        if error.status in _GATEWAY_FAULTS:
            # It may as well be down for a moment.
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
        """Send the metrics of a refused request one by one, in as few requests."""
        judged = _Judgement()
        pending = list(metrics)
        try:
            if refusal.code == PAYLOAD_ERROR:
                await self._check_schema(deadline)
            for attempt in range(1, self._retry.attempts + 1):
                answers = await self._client.upsert_each(
                    METRICS_TABLE, _targets(pending), deadline
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
        """Tell a row's wrong value from a column that is not there, once for all.

        Raises:
            SchemaDriftError: The table lacks a column, or has it with another type.
        """
        async with self._schema_lock:
            if self._is_schema_sound is not None:
                return
            try:
                types = await self._client.column_types(METRICS_TABLE, deadline)
            except (AuthError, SchemaDriftError, RejectedError) as error:
                logger.warning(
                    "the table's metadata cannot be read, so that wrong values are not "
                    "told from missing columns: %s",
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


class _Judgement:
    """Sorts the answers to single upserts, over as many rounds as it takes."""

    def __init__(self) -> None:
        self._acknowledged: list[str] = []
        self._refused: list[Rejection] = []
        self.passing_fault: DataverseError = TransientError(
            "Dataverse did not answer for every record of a batch."
        )

    def sort(
        self,
        metrics: Sequence[CampaignMetric],
        answers: Sequence[Answer],
        *,
        is_last: bool,
    ) -> tuple[list[CampaignMetric], float]:
        """The metrics that have to go again, and the seconds to wait before that.

        Args:
            metrics: What was sent.
            answers: What came back, in the same order, perhaps not for all.
            is_last: A record that collides with another is refused now for good.

        Raises:
            DataverseError: An answer means that none of them can be delivered.
        """
        again = list(metrics[len(answers) :])
        wait = 0.0
        fatal: DataverseError | None = None
        for metric, answer in zip(metrics, answers, strict=False):
            verdict = remedy(answer)
            if verdict is Remedy.NONE:
                self._acknowledged.append(metric.id)
                continue
            error = failure(answer, f"upsert the record {metric.key}")
            collides = isinstance(error, RejectedError)
            # The request itself was let in, so a part's 401 is a passing fault.
            if verdict in {Remedy.WAIT, Remedy.RENEW} or (
                verdict is Remedy.RETRY and not (collides and is_last)
            ):
                again.append(metric)
                self.passing_fault = TransientError(
                    error.message,
                    status=error.status,
                    code=error.code,
                    request_id=error.request_id,
                )
                wait = max(wait, answer.retry_after(datetime.now(UTC)) or 0.0)
            elif collides:
                code, message = answer.error()
                self._refused.append(
                    Rejection(metric.id, code or str(answer.status), message)
                )
            else:
                fatal = error
        if fatal is not None:
            raise fatal
        return again, wait

    def delivery(
        self, is_row_fault: Callable[[str], bool], error: ApexError | None = None
    ) -> Delivery:
        """What the rounds came to."""
        faults = tuple(r for r in self._refused if is_row_fault(r.code))
        suspects = tuple(r for r in self._refused if not is_row_fault(r.code))
        return Delivery(tuple(self._acknowledged), faults, suspects, error)


def check_columns(types: Mapping[str, str]) -> None:
    """Hold a table's columns against those that are sent.

    Args:
        types: Logical name to `AttributeType`.

    Raises:
        SchemaDriftError: Columns are missing or of a type that cannot hold the values;
            all of them are named.
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


def _targets(metrics: Sequence[CampaignMetric]) -> list[Target]:
    return [Target(metric.key, metric.fields) for metric in metrics]
