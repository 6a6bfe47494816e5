"""What Dataverse says about its limits: a pause, which limit, how much is left.

Headers and codes are from Microsoft Learn, "Service protection API limits". `throttling`
and `pacing` act on them.
"""

from datetime import UTC, datetime

from apex_pipeline.dataverse.answers import asks_for_pause_itself
from apex_pipeline.dataverse.pacing import Allowance, Facet
from apex_pipeline.microsoft.http_answer import Answer, finite

DEFAULT_RETRY_AFTER_SECONDS = 30.0

_FACETS = {
    "0x80072322": Facet.REQUESTS,
    "0x80072321": Facet.EXECUTION_TIME,
    "0x80072326": Facet.CONCURRENCY,
}

_REASONS = {
    Facet.REQUESTS: "too many requests within five minutes",
    Facet.EXECUTION_TIME: "too much execution time within five minutes",
    Facet.CONCURRENCY: "too many requests at once",
}


def asked_pause(answer: Answer) -> float | None:
    """Seconds for which the service wants no requests; None if it asks for no pause.

    A 429 always asks for a pause; a 503 does if it has `Retry-After` (RFC 9110).
    """
    if answer.status not in {429, 503}:
        return None
    asked = answer.retry_after(datetime.now(UTC))
    if asked is None and answer.status == 429:
        return DEFAULT_RETRY_AFTER_SECONDS
    return asked


def facet(answer: Answer) -> Facet | None:
    """Which limit a 429 names."""
    return _FACETS.get(answer.error()[0] or "")


def reason(answer: Answer) -> str:
    """Why the service asks for a pause, or who does in its place; for people."""
    if not asks_for_pause_itself(answer):
        return answer.looks()
    limit = facet(answer)
    return _REASONS[limit] if limit else f"HTTP {answer.status}"


def allowance(answer: Answer) -> Allowance:
    """What the service protection headers say is left."""
    hint = _number(answer.headers.get("x-ms-dop-hint"))
    return Allowance(
        requests=_number(
            answer.headers.get("x-ms-ratelimit-burst-remaining-xrm-requests")
        ),
        seconds=_number(
            answer.headers.get("x-ms-ratelimit-time-remaining-xrm-requests")
        ),
        concurrency_hint=None if hint is None else int(hint),
    )


def _number(text: str | None) -> float | None:
    """A number of the rate limit headers, with thousands separators: `1,200.00`."""
    return None if text is None else finite(text.replace(",", ""))
