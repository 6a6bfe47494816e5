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


class Severity(StrEnum):
    """How soon a person has to look."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong. Never holds a row's data or a secret.

    Attributes:
        fingerprint: The rule's name; where the rule looks at several things, then a
            slash and which one.
        title: What is wrong, in one line.
        cause: The message of the fault; may be empty.
        cause_key: The cause without what differs each time. When it becomes another,
            people are told, since what they know is no longer so.
        remedy: What to do.
        inhibits: Rules, or fingerprints, that only follow from this.
        is_event: Whether finding it again means that it happened again.
        is_repeated: Whether people are to be reminded of it.
        is_held: Whether it may end by itself at once: people are told if it has not.
        began_at: When that began which failed, such as a run. What began before a root
            cause was mended may still fail for it.
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
    """All that is wrong within a scope. What is not in it, is well.

    A rule that could not look makes no observation.

    Attributes:
        scope: The rule's name, or a fingerprint.
    """

    scope: str
    findings: tuple[Finding, ...] = ()


def is_within(fingerprint: str, scope: str) -> bool:
    """Whether a scope, a rule or a fingerprint, includes a fingerprint."""
    return fingerprint == scope or fingerprint.startswith(f"{scope}/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message about one incident. Never holds a row's data or a secret.

    Attributes:
        key: Identifies the notice: the same key is the same message, sent again.
        title: What is wrong, or well again, in one line.
        cause: The message of the fault itself; may be empty.
        remedy: What to do, in a sentence or two; empty where nothing has to be done.
        facts: Names and values to show beside it, in their order.
        link: Page in the Dagster UI, where one is known.
        at: When it came to be known (aware, UTC).
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
    """A channel could not be given a notice; it has to be tried again.

    Attributes:
        retry_after: Seconds that the other end asks to wait, where it does.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """Keep the wait that was asked for."""
        super().__init__(message)
        self.retry_after = retry_after


class Channel(Protocol):
    """A way to people."""

    @property
    def name(self) -> str:
        """Short and constant, such as `teams`; deliveries are kept under it."""
        ...

    def send(self, notice: Notice) -> None:
        """Hand a notice over, in bounded time.

        Raises:
            DeliveryError: It was not taken, or nobody knows whether it was.
        """
        ...


_KINDS = {
    NoticeKind.REMINDED: "Reminder",
    NoticeKind.RESOLVED: "Resolved",
    NoticeKind.TEST: "Test",
}
_SEVERITIES = {Severity.ERROR: "Error", Severity.WARNING: "Warning"}


def heading(notice: Notice) -> str:
    """Kind, severity and title in one line: what counts is not left to a colour."""
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
    """Text without line breaks, and without what is not seen."""
    return " ".join(plain(text).split())


def plain(text: str) -> str:
    """Text as it may be shown: lines, and characters that are seen.

    Others are replaced: control characters, half of a pair of surrogates, and marks that
    turn the direction of what follows, with which a text can pose as another.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    return "".join(map(_seen, lines)).strip()


def shortened(text: str, most: int) -> str:
    """The beginning, and how much was left out, if it is longer than `most`."""
    if len(text) <= most:
        return text
    return f"{text[:most].rstrip()} … ({len(text) - most:,} characters more)"


def link_of(notice: Notice, most: int) -> str | None:
    """The page to open, if it is one that a browser opens, and not absurdly long."""
    link = notice.link or ""
    return link if _LINK.fullmatch(link) and len(link) <= most else None


def when(notice: Notice) -> str:
    """The time, with its zone."""
    return f"{notice.at:%Y-%m-%d %H:%M:%S} UTC"


def _seen(character: str) -> str:
    if character in {"\n", _JOINER}:
        return character
    unseen = unicodedata.category(character) in _UNSEEN
    return _REPLACEMENT if unseen else character
