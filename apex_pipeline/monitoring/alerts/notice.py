"""What a rule finds, what a notice says of it, and its text as channels show it."""

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from apex_pipeline.errors import ApexError

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINER = "\N{ZERO WIDTH JOINER}"  # holds an emoji of several characters together
_LINK = re.compile(r"https?://[!-~]+")
_MOST_TITLE = 200


class NoticeKind(StrEnum):
    """Why a notice is sent."""

    OPENED = "opened"
    REMINDED = "reminded"
    RESOLVED = "resolved"
    TEST = "test"
    ANCHOR = "anchor"


class Severity(StrEnum):
    """How soon you have to look."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that is wrong. Never holds a row's data or a secret.

    Attributes:
        fingerprint: Name of the rule; if the rule covers several things, followed by a
            slash and which one.
        title: The problem in one line.
        cause: Message of the fault; may be empty.
        cause_key: The cause without its varying parts. A new value sends a notice.
        remedy: What to do.
        inhibits: Rules or fingerprints that are mere consequences of this.
        is_event: Whether finding it again means that it happened again.
        is_repeated: Whether to send reminders.
        is_held: Whether to hold the notice back, because it may resolve at once.
        began_at: When the failed run or tick began. If that was before a root cause was
            fixed, the failure may still be a consequence.
    """

    fingerprint: str
    severity: Severity
    title: str
    cause: str
    cause_key: str
    remedy: str
    facts: tuple[tuple[str, str], ...] = ()
    link: str | None = None
    inhibits: frozenset[str] = frozenset()
    is_event: bool = False
    is_repeated: bool = True
    is_held: bool = False
    began_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """All problems within a scope; anything else in the scope is fine.

    A rule that could not look makes no observation.

    Attributes:
        scope: Name of a rule, or a fingerprint.
    """

    scope: str
    findings: tuple[Fault, ...] = ()


def is_within(fingerprint: str, scope: str) -> bool:
    """Whether a scope includes a fingerprint."""
    return fingerprint == scope or fingerprint.startswith(f"{scope}/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message about one incident. Never holds a row's data or a secret.

    Attributes:
        key: Identifies the notice; a repeated delivery has the same key.
        title: The problem in one line.
        cause: Message of the fault; may be empty.
        remedy: What to do, in a sentence or two; may be empty.
        facts: Names and values to show, in order.
        link: Page in the Dagster UI, if known.
        at: When the notice was decided on (aware, UTC).
        number: Its place in the outbox, once it is there.
        attempts: How often it was taken from there, this time included.
    """

    key: str
    kind: NoticeKind
    severity: Severity
    title: str
    cause: str
    remedy: str
    facts: tuple[tuple[str, str], ...]
    link: str | None
    at: datetime
    number: int = field(default=0, compare=False)
    attempts: int = field(default=0, compare=False)


class DeliveryError(ApexError):
    """A channel did not accept a notice; retry.

    Attributes:
        retry_after: Seconds that the other end asks to wait, if it does.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Channel(Protocol):
    """A way to reach people."""

    @property
    def name(self) -> str:
        """Short and constant, such as `teams`; the outbox stores it."""
        ...

    def send(self, notice: Notice) -> None:
        """Send a notice, in bounded time.

        Raises:
            DeliveryError: It was refused, or the answer was lost.
        """
        ...


_KINDS = {
    NoticeKind.REMINDED: "Reminder",
    NoticeKind.RESOLVED: "Resolved",
    NoticeKind.TEST: "Test",
    NoticeKind.ANCHOR: "Audit trail",
}
_SEVERITIES = {Severity.ERROR: "Error", Severity.WARNING: "Warning"}


def heading(notice: Notice) -> str:
    """Kind, severity and title in one line, so nothing depends on colour."""
    severity = _SEVERITIES[notice.severity]
    match notice.kind:
        case NoticeKind.OPENED:
            kind = severity
        case NoticeKind.REMINDED:
            kind = f"{_KINDS[notice.kind]}, {severity.lower()}"
        case _:
            kind = _KINDS[notice.kind]
    return f"{kind}: {shortened(one_line(notice.title), _MOST_TITLE)}"


def one_line(text: str) -> str:
    """Text without line breaks and invisible characters."""
    return " ".join(plain(text).split())


def plain(text: str) -> str:
    """Text with line breaks, and only visible characters.

    Control characters, lone surrogates and direction marks are replaced, because a text
    can pose as another with them.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    return "".join(map(_seen, lines)).strip()


def shortened(text: str, most: int) -> str:
    """Shorten a text to `most` characters, and say how many are missing."""
    if len(text) <= most:
        return text
    return f"{text[:most].rstrip()} … ({len(text) - most:,} characters more)"


def link_of(notice: Notice, most: int) -> str | None:
    """The link, if it is HTTP and at most `most` characters long."""
    link = notice.link or ""
    return link if _LINK.fullmatch(link) and len(link) <= most else None


def when(notice: Notice) -> str:
    """The time, in UTC."""
    return f"{notice.at:%Y-%m-%d %H:%M:%S} UTC"


def _seen(character: str) -> str:
    if character in {"\n", _JOINER}:
        return character
    unseen = unicodedata.category(character) in _UNSEEN
    return _REPLACEMENT if unseen else character
