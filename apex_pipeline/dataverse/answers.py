"""What an answer of Dataverse means: how long it lets us go on, and what went wrong.

Statuses and codes are from Microsoft Learn ("Compose HTTP requests and handle errors",
"Web service error codes", "Service protection API limits", "Troubleshoot bulk
operation errors"). The status decides first, because live organizations and the
documentation do not always agree on the code.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto

from apex_pipeline.dataverse.pacing import Allowance, Facet
from apex_pipeline.errors import (
    AuthError,
    DataverseError,
    RejectedError,
    SchemaDriftError,
    TransientError,
)

DEFAULT_RETRY_AFTER_SECONDS = 30.0
LONGEST_RETRY_AFTER_SECONDS = 3600.0
"""The limits count over five minutes. A header that asks for years is a mistake, and
obeying it would end the sync for good."""

SQL_TIMEOUT = "0x80044151"
PAYLOAD_ERROR = "0x80048d19"
"""Wrong JSON type, number out of int32, or a property that the table does not have."""

ROW_FAULTS = frozenset({"0x80044331", "0x80044330", "0x8004432f", "0x8004431a"})
"""Length, decimal range, whole-number range, choice: always the row's own fault."""

_TRANSIENT_STATUSES = frozenset({408, 500, 502, 503, 504})
_TRANSIENT_CODES = frozenset(
    {
        "0x80044150",  # generic SQL error: deadlock 1205, first-use races
        SQL_TIMEOUT,
        "0x80040255",  # transaction already rolled back: a swallowed deadlock
        "0x8004ed47",  # a customization holds the metadata lock
    }
)
LOST_RACES = frozenset({"0x80060892", "0x80073002", "0x80040237"})
"""An upsert that lost the race to create the same record; sent again, it updates. If it
does not, the row itself collides with another."""

_NOT_A_MEMBER = "0x80072560"
_FACETS = {
    "0x80072322": Facet.REQUESTS,
    "0x80072321": Facet.EXECUTION_TIME,
    "0x80072326": Facet.CONCURRENCY,
}
_UNKNOWN_SEGMENT = "resource not found for the segment"
_EXCERPT = 300
_LONGEST_MESSAGE = 2000


class Remedy(Enum):
    """What the sender of a request does about its answer."""

    NONE = auto()
    """It succeeded."""
    WAIT = auto()
    """429: everybody waits."""
    RENEW = auto()
    """401: the token is not taken any more."""
    RETRY = auto()
    """It may well succeed the next time."""
    GIVE_UP = auto()
    """It will fail again just so."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body of one answer, or of one part of a `$batch`.

    Header names are in lower case; `seconds` is what the whole answer took.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it reports success."""
        return 200 <= self.status < 300

    @property
    def request_id(self) -> str | None:
        """The service's own id of the request."""
        found = self.headers.get("x-ms-service-request-id", self.headers.get("req_id"))
        return _line(found, _EXCERPT) if found else None

    def error(self) -> tuple[str | None, str]:
        """Code in lower case, and message; an excerpt where the body is not an error."""
        try:
            error = json.loads(self.body)["error"]
            code, message = error.get("code"), error.get("message", "")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            text = self.body[: 4 * _EXCERPT].decode("utf-8", "replace")
            return None, _line(text, _EXCERPT) or "no further information"
        return _line(code, _EXCERPT).lower() if code else None, _line(message)

    def allowance(self) -> Allowance:
        """What the service protection headers say is left."""
        hint = _number(self.headers.get("x-ms-dop-hint"))
        return Allowance(
            requests=_number(
                self.headers.get("x-ms-ratelimit-burst-remaining-xrm-requests")
            ),
            seconds=_number(
                self.headers.get("x-ms-ratelimit-time-remaining-xrm-requests")
            ),
            concurrency_hint=None if hint is None else int(hint),
        )

    def facet(self) -> Facet | None:
        """Which limit a 429 names."""
        return _FACETS.get(self.error()[0] or "")

    def retry_after(self, now: datetime) -> float | None:
        """Seconds that the answer asks us to wait: a number or an HTTP date."""
        value = self.headers.get("retry-after")
        if value is None:
            return None
        seconds = _number(value)
        if seconds is None:
            try:
                at = parsedate_to_datetime(value)
            except (ValueError, OverflowError):
                return None
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            seconds = (at - now).total_seconds()
        return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def remedy(answer: Answer) -> Remedy:
    """What to do about an answer to an idempotent request."""
    if answer.ok:
        return Remedy.NONE
    if answer.status == 429:
        return Remedy.WAIT
    if answer.status == 401:
        return Remedy.RENEW
    code, _ = answer.error()
    if (
        answer.status in _TRANSIENT_STATUSES
        or code in _TRANSIENT_CODES
        or (answer.status in {400, 412} and code in LOST_RACES)
    ):
        return Remedy.RETRY
    return Remedy.GIVE_UP


def is_too_much(answer: Answer) -> bool:
    """Whether the request may have been more than somebody on the way takes at once."""
    return answer.status in {413, 502, 504} or answer.error()[0] == SQL_TIMEOUT


def failure(answer: Answer, what: str) -> DataverseError:
    """The error for an answer that was not success, whatever was tried about it.

    Args:
        answer: The answer, of status 300 or more.
        what: What was attempted, for the message: "upsert 100 records".
    """
    code, message = answer.error()
    text = f"Dataverse refused to {what}: {message}"
    kind: type[DataverseError] = RejectedError
    if answer.status == 401:
        kind = AuthError
        text = (
            f"Dataverse does not accept the token to {what}: {message.rstrip('.')}. "
            "Check that DATAVERSE_RESOURCE is the environment's own address."
        )
    elif answer.status == 403:
        kind, text = AuthError, _forbidden(code, what, message)
    elif answer.status in {404, 405, 501} or _UNKNOWN_SEGMENT in message.lower():
        kind = SchemaDriftError
        text = (
            f"Dataverse has nothing at that address to {what}: {message.rstrip('.')}. "
            "Make the table with `apex provision dataverse`."
        )
    elif answer.status < 400 or (
        remedy(answer) is Remedy.RETRY and code not in LOST_RACES
    ):
        kind, text = TransientError, f"Dataverse failed to {what}: {message}"
    return kind(text, status=answer.status, code=code, request_id=answer.request_id)


def _forbidden(code: str | None, what: str, message: str) -> str:
    if code == _NOT_A_MEMBER:
        return (
            f"The application may not {what}: {message} Add it as an application user "
            "of the environment, with the role Apex Metrics Sync."
        )
    return (
        f"The application may not {what}: {message} Give its application user a role "
        "with that privilege (create, read and write on the table)."
    )


def _line(text: object, longest: int = _LONGEST_MESSAGE) -> str:
    """Somebody else's words on one line, such as logs and Postgres take."""
    # A JSON string may hold NUL, and halves of a surrogate pair.
    storable = str(text).replace("\0", " ").encode("utf-8", "replace").decode()
    return " ".join(storable.split())[:longest]


def _number(text: str | None) -> float | None:
    """A number as the service writes it, with thousands separators: `1,200.00`."""
    try:
        number = float(text.replace(",", "")) if text is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
