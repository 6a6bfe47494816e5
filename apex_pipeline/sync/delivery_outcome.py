"""What became of the rows of one request."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from apex_pipeline.dataverse.answers import Remedy, failure, remedy
from apex_pipeline.errors import (
    ApexError,
    DataverseError,
    RejectedError,
    TransientError,
)
from apex_pipeline.metrics import CampaignMetric, Rejection
from apex_pipeline.microsoft.http_answer import Answer


@dataclass(frozen=True, slots=True)
class RequestTiming:
    """How long one bulk request took.

    Attributes:
        is_too_much: The request failed, possibly because it was too large.
    """

    rows: int
    seconds: float
    is_too_much: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """The outcome of one request.

    A metric in none of the first three was not delivered and has no fault: it stays
    pending.

    Attributes:
        acknowledged: Ids of the records that Dataverse confirmed.
        rejections: Rows rejected for a fault of their own.
        suspects: Rows rejected for a cause that many rows may share.
        failure: Why delivery stopped.
        timings: Bulk requests that succeeded or were too large.
    """

    acknowledged: tuple[str, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    suspects: tuple[Rejection, ...] = ()
    failure: ApexError | None = None
    timings: tuple[RequestTiming, ...] = ()

    def and_then(self, other: "Delivery") -> "Delivery":
        """This delivery and the one that followed, combined."""
        return Delivery(
            self.acknowledged + other.acknowledged,
            self.rejections + other.rejections,
            self.suspects + other.suspects,
            other.failure,
            self.timings + other.timings,
        )


class Judgement:
    """Sorts the answers to single upserts, over as many rounds as needed."""

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
        """The metrics to send again, and the seconds to wait before that.

        Args:
            metrics: The metrics that were sent.
            answers: The answers, in the same order; the last ones may be missing.
            is_last: Reject a colliding record instead of retrying it.

        Raises:
            DataverseError: An answer means that no metric can be delivered.
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
            # The request itself was let in, so a part's 401 is a passing fault. The
            # sender renews the token.
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
        """The combined outcome of all rounds."""
        faults = tuple(r for r in self._refused if is_row_fault(r.code))
        suspects = tuple(r for r in self._refused if not is_row_fault(r.code))
        return Delivery(tuple(self._acknowledged), faults, suspects, error)
