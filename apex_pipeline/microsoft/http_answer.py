"""One HTTP answer of whichever service, and what can be said of it by itself."""

import html
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Protocol, Self
from urllib.parse import urlsplit

from apex_pipeline.errors import InterceptedError

LONGEST_RETRY_AFTER_SECONDS = 3600.0
"""A header that asks for years is a mistake, and obeying it would end the sync for good.
Dataverse's limits count over five minutes."""

_EXCERPT = 300
_LONGEST_MESSAGE = 2000
_LONGEST_NAME = 80
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_TITLE_WITHIN = 65_536


class ClientResponse(Protocol):
    """What the HTTP clients have in common: an answer that was read to its end."""

    status_code: int

    @property
    def headers(self) -> Mapping[str, str]:
        """Names as they came."""

    @property
    def content(self) -> bytes:
        """The body, decompressed."""


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of one answer, or of one part of a `$batch`.

    Header names are in lower case; `seconds` is what the whole answer took.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    seconds: float = 0.0

    @classmethod
    def of(cls, response: ClientResponse) -> Self:
        """What a client was answered."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        return cls(response.status_code, headers, response.content)

    @property
    def ok(self) -> bool:
        """Whether the status reports success, from any sender."""
        return 200 <= self.status < 300

    @property
    def request_id(self) -> str | None:
        """The service's own id of the request."""
        found = self.headers.get("x-ms-service-request-id", self.headers.get("req_id"))
        return _line(found, _EXCERPT) if found else None

    @property
    def media_type(self) -> str:
        """What the body is said to be, in lower case; empty where nothing is said."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_page(self) -> bool:
        """Whether it is meant for a browser: no API that we call answers so."""
        start = self.body[:_EXCERPT].lstrip()[:9].lower()
        return self.media_type == "text/html" or start.startswith(
            (b"<!doctype", b"<html", b"<head")
        )

    @cached_property
    def document(self) -> object:
        """The body read as JSON, decimals exact; None where it is not JSON."""
        try:
            return json.loads(self.body, parse_float=Decimal)
        # InvalidOperation: an exponent of more digits than a Decimal has room for.
        except (ValueError, RecursionError, InvalidOperation):
            return None

    def error(self) -> tuple[str | None, str]:
        """Code in lower case, and message; an excerpt where the body is not an error."""
        error = self.document.get("error") if isinstance(self.document, dict) else None
        if not isinstance(error, dict):
            text = self.body[: 4 * _EXCERPT].decode("utf-8", "replace")
            return None, self._title() or _line(
                text, _EXCERPT
            ) or "no further information"
        code, message = error.get("code"), error.get("message", "")
        return _line(code, _EXCERPT).lower() if code else None, _line(message)

    def looks(self) -> str:
        """Who seems to have given this answer: nothing of its text but a page's title."""
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

    def retry_after(self, now: datetime) -> float | None:
        """Seconds that the answer asks us to wait: a number or an HTTP date.

        Where a gateway has joined two headers (`30,120`), the longer wait counts.
        """
        value = self.headers.get("retry-after")
        if value is None:
            return None
        numbers = [finite(each) for each in value.split(",")]
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
"""What is amiss with an answer; None for the documented success of its request."""


def intercepted(
    answer: Answer, what: str, service: str, expected: Expectation | None = None
) -> InterceptedError:
    """The error for an answer that the service itself cannot have given."""
    amiss = None if expected is None else expected(answer)
    return InterceptedError(
        f"Could not {what}: {stand_in(answer, service)}"
        + (f" It lacks {amiss}." if amiss else "")
        + " Nothing counts as done. Look at the proxies, gateways and firewalls on the "
        f"way to {service}, and at the address that is configured.",
        status=answer.status,
        request_id=answer.request_id,
    )


def stand_in(answer: Answer, service: str) -> str:
    """The sentence for an answer that the service itself cannot have given."""
    return f"something between us and {service} answers in its place: {answer.looks()}."


def _line(text: object, longest: int = _LONGEST_MESSAGE) -> str:
    """Somebody else's words on one line, such as logs and Postgres take."""
    # A JSON string may hold NUL, and halves of a surrogate pair.
    storable = str(text).replace("\0", " ").encode("utf-8", "replace").decode()
    return " ".join(storable.split())[:longest]


def _host(address: str) -> str:
    """The host of an address, the rest of which may be a secret."""
    try:
        return _line(urlsplit(address).hostname or "", _LONGEST_NAME)
    except ValueError:
        return ""


def finite(text: str) -> float | None:
    """A number that a header holds; None where it holds none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
