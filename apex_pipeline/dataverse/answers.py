"""Interpret Dataverse answers: what went wrong, what to do, how much budget is left.

Statuses and codes are from Microsoft Learn ("Compose HTTP requests and handle errors",
"Web service error codes", "Service protection API limits", "Troubleshoot bulk
operation errors"). The status decides first, because live organizations and the
documentation do not always agree on the code.
"""

import html
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from functools import cached_property
from urllib.parse import urlsplit

from apex_pipeline.dataverse.pacing import Allowance, Facet
from apex_pipeline.errors import (
    AuthError,
    DataverseError,
    InterceptedError,
    RejectedError,
    SchemaDriftError,
    TransientError,
)

DEFAULT_RETRY_AFTER_SECONDS = 30.0
LONGEST_RETRY_AFTER_SECONDS = 3600.0
"""The limits count over five minutes. A header that asks for years is a mistake;
obeying it would stop the sync for good."""

SQL_TIMEOUT = "0x80044151"
PAYLOAD_ERROR = "0x80048d19"
"""Wrong JSON type, number out of int32, or a property that the table does not have."""

ROW_FAULTS = frozenset({"0x80044331", "0x80044330", "0x8004432f", "0x8004431a"})
"""Length, decimal range, whole-number range, choice: always the row's own fault."""

# Gateways use 520 to 529 for a failing origin (Cloudflare's documentation).
_TRANSIENT_STATUSES = frozenset({408, 500, 502, 503, 504, *range(520, 530)})
_TRANSIENT_CODES = frozenset(
    {
        "0x80044150",  # generic SQL error: deadlock 1205, first-use races
        SQL_TIMEOUT,
        "0x80040255",  # transaction already rolled back: a swallowed deadlock
        "0x8004ed47",  # a customization holds the metadata lock
    }
)
LOST_RACES = frozenset({"0x80060892", "0x80073002", "0x80040237"})
"""An upsert that lost the race to create the same record; a retry updates it. If the
retry fails too, the row itself collides with another."""

_NOT_A_MEMBER = "0x80072560"
_USER_DISABLED = "0x80040225"
_ORGANIZATION_DISABLED = "0x8004a104"
_ADMINISTRATION_MODE = re.compile(r"admin(istration)?(\s+only)?\s+mode", re.IGNORECASE)
_FACETS = {
    "0x80072322": Facet.REQUESTS,
    "0x80072321": Facet.EXECUTION_TIME,
    "0x80072326": Facet.CONCURRENCY,
}
_UNKNOWN_SEGMENT = "resource not found for the segment"
_EXCERPT = 300
_LONGEST_MESSAGE = 2000
_LONGEST_NAME = 80
_CODE = re.compile(r"(0x[0-9a-fA-F]+)?")
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_TITLE_WITHIN = 65_536


class Remedy(Enum):
    """What the sender does after an answer."""

    NONE = auto()
    """The request succeeded."""
    WAIT = auto()
    """429: all requests wait."""
    RENEW = auto()
    """401: the token is no longer accepted."""
    RETRY = auto()
    """The next attempt may succeed."""
    GIVE_UP = auto()
    """The next attempt would fail the same way."""


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of one answer, or of one part of a `$batch`.

    Header names are in lower case; `seconds` is the time until the whole answer.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the status reports success, from Dataverse or from a proxy."""
        return 200 <= self.status < 300

    @property
    def request_id(self) -> str | None:
        """The request id that the service assigned."""
        found = self.headers.get("x-ms-service-request-id", self.headers.get("req_id"))
        return _line(found, _EXCERPT) if found else None

    @property
    def media_type(self) -> str:
        """The media type in lower case; empty if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_page(self) -> bool:
        """Whether the body is an HTML page; no API that we call answers with one."""
        start = self.body[:_EXCERPT].lstrip()[:9].lower()
        return self.media_type == "text/html" or start.startswith(
            (b"<!doctype", b"<html", b"<head")
        )

    @cached_property
    def document(self) -> object:
        """The body parsed as JSON with exact decimals; None if it is not JSON."""
        try:
            return json.loads(self.body, parse_float=Decimal)
        except (ValueError, RecursionError):
            return None

    @property
    def is_dataverse_error(self) -> bool:
        """Whether the body is a Dataverse error: a code, which may be empty, and a text.

        Source: Microsoft Learn, "Compose HTTP requests and handle errors".
        """
        error = self.document.get("error") if isinstance(self.document, dict) else None
        if not isinstance(error, dict):
            return False
        code, message = error.get("code"), error.get("message")
        return (
            isinstance(message, str)
            and isinstance(code, str)
            and _CODE.fullmatch(code) is not None
        )

    def error(self) -> tuple[str | None, str]:
        """Code in lower case, and message; an excerpt if the body is not an error."""
        error = self.document.get("error") if isinstance(self.document, dict) else None
        if not isinstance(error, dict):
            text = self.body[: 4 * _EXCERPT].decode("utf-8", "replace")
            return None, self._title() or _line(
                text, _EXCERPT
            ) or "no further information"
        code, message = error.get("code"), error.get("message", "")
        return _line(code, _EXCERPT).lower() if code else None, _line(message)

    def looks(self) -> str:
        """Describe the answer's origin; of its text, only a page's title is quoted."""
        seen = [f"HTTP {self.status}"]
        if self.media_type:
            seen.append(_line(self.media_type, _LONGEST_NAME))
        if server := _line(self.headers.get("server", ""), _LONGEST_NAME):
            seen.append(f"server {server}")
        if title := self._title():
            seen.append(f"page “{title}”")
        if target := _host(self.headers.get("location", "")):
            seen.append(f"a redirect to {target}")
        return ", ".join(seen)

    def _title(self) -> str:
        found = _TITLE.search(self.body[:_TITLE_WITHIN])
        text = found[1].decode("utf-8", "replace") if found else ""
        return _line(html.unescape(text), _LONGEST_NAME)

    def allowance(self) -> Allowance:
        """The budget left, from the service protection headers."""
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
        """The limit that a 429 names; None if it names none."""
        return _FACETS.get(self.error()[0] or "")

    def retry_after(self, now: datetime) -> float | None:
        """Seconds to wait from `Retry-After`, which is a number or an HTTP date.

        If a gateway has joined two headers (`30,120`), the longer wait counts.
        """
        value = self.headers.get("retry-after")
        if value is None:
            return None
        numbers = [_finite(each) for each in value.split(",")]
        seconds = [each for each in numbers if each is not None]
        if len(seconds) < len(numbers):
            try:
                at = parsedate_to_datetime(value)
            except (ValueError, OverflowError):
                return None
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            seconds = [(at - now).total_seconds()]
        return min(max(*seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


Expectation = Callable[[Answer], str | None]
"""What an answer lacks; None for the documented success of its request."""


def remedy(answer: Answer, expected: Expectation | None = None) -> Remedy:
    """What to do after an answer to an idempotent request.

    Args:
        answer: The answer.
        expected: Recognizes the documented success. Omit it for a part of a `$batch`,
            which was checked with the whole.
    """
    if answer.status < 400:
        is_success = answer.ok if expected is None else expected(answer) is None
        return Remedy.NONE if is_success else Remedy.RETRY
    if answer.status == 429:
        return Remedy.WAIT
    if _is_intercepted(answer):
        return Remedy.RETRY
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


def _is_intercepted(answer: Answer) -> bool:
    """Whether an error comes from something on the way instead of Dataverse.

    A 401 of Dataverse has no documented body. A gateway may also say that a request is
    too large or that the service fails, and that is just as true.
    """
    if answer.status == 401:
        challenge = answer.headers.get("www-authenticate", "").lower()
        return answer.is_page and not challenge.startswith("bearer")
    return (
        400 <= answer.status < 500
        and answer.status not in {408, 413, 429}
        and not answer.is_dataverse_error
    )


def is_too_much(answer: Answer) -> bool:
    """Whether the request may have been too large for Dataverse or a gateway."""
    return answer.status in {413, 502, 504} or answer.error()[0] == SQL_TIMEOUT


def failure(
    answer: Answer, what: str, expected: Expectation | None = None
) -> DataverseError:
    """The error for an answer that is not a success.

    Args:
        answer: The answer.
        what: The attempted action, for the message: "upsert 100 records".
        expected: See `remedy`.
    """
    if answer.status < 400 or _is_intercepted(answer):
        return intercepted(answer, what, "Dataverse", expected)
    code, message = answer.error()
    text = f"Dataverse refused to {what}: {message}"
    kind: type[DataverseError] = RejectedError
    if answer.status == 401:
        kind = AuthError
        text = (
            f"Dataverse does not accept the token to {what}: {message.rstrip('.')}. "
            "Check that DATAVERSE_RESOURCE is the environment's own address."
        )
    elif answer.status == 403 or code == _ORGANIZATION_DISABLED:
        kind, text = AuthError, _forbidden(code, what, message)
    elif answer.status in {404, 405, 501} or _UNKNOWN_SEGMENT in message.lower():
        kind = SchemaDriftError
        text = (
            f"Dataverse has nothing at that address to {what}: {message.rstrip('.')}. "
            "Create the table with `apex provision dataverse`."
        )
    elif remedy(answer) is Remedy.RETRY and code not in LOST_RACES:
        kind, text = TransientError, f"Dataverse failed to {what}: {message}"
    return kind(text, status=answer.status, code=code, request_id=answer.request_id)


def intercepted(
    answer: Answer, what: str, service: str, expected: Expectation | None = None
) -> InterceptedError:
    """The error for an answer that cannot come from the service itself."""
    amiss = None if expected is None else expected(answer)
    return InterceptedError(
        f"Could not {what}: {stand_in(answer, service)}"
        + (f" It lacks {amiss}." if amiss else "")
        + " Nothing counts as done. Check the proxies, gateways and firewalls on the "
        f"way to {service}, and the configured address.",
        status=answer.status,
        request_id=answer.request_id,
    )


def stand_in(answer: Answer, service: str) -> str:
    """A sentence about an answer that cannot come from the service itself."""
    return (
        f"something between here and {service} answers in its place: {answer.looks()}."
    )


def _forbidden(code: str | None, what: str, message: str) -> str:
    if code == _NOT_A_MEMBER:
        return (
            f"The application may not {what}: {message} Add it as an application user "
            "of the environment, with the role Apex Metrics Sync."
        )
    if code == _USER_DISABLED:
        return (
            f"The application may not {what}: {message} Enable its application user in "
            "the Power Platform admin center, or give it a business unit."
        )
    if code == _ORGANIZATION_DISABLED or _ADMINISTRATION_MODE.search(message):
        return (
            f"The application may not {what}: {message} The environment is disabled or "
            "in administration mode: switch that off in the Power Platform admin center "
            "(*Environments*, the environment, *Edit*)."
        )
    return (
        f"The application may not {what}: {message} Give its application user a role "
        "with that privilege (create, read and write on the table)."
    )


def _line(text: object, longest: int = _LONGEST_MESSAGE) -> str:
    """Foreign text on one line, safe for logs and Postgres."""
    # A JSON string may hold NUL and halves of a surrogate pair.
    storable = str(text).replace("\0", " ").encode("utf-8", "replace").decode()
    return " ".join(storable.split())[:longest]


def _host(address: str) -> str:
    """The host of an address; the rest may be secret."""
    try:
        return _line(urlsplit(address).hostname or "", _LONGEST_NAME)
    except ValueError:
        return ""


def _number(text: str | None) -> float | None:
    """A number of the rate limit headers, with thousands separators: `1,200.00`."""
    return None if text is None else _finite(text.replace(",", ""))


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
