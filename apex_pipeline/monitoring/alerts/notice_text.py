"""A notice in plain words, whoever wrote the text in it. Pure."""

import re
import unicodedata

from apex_pipeline.monitoring.alerts.notice import Notice, NoticeKind, Severity

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINER = "\N{ZERO WIDTH JOINER}"  # holds an emoji of several characters together
_LINK = re.compile(r"https?://[!-~]+")
_MOST_TITLE = 200

_KINDS = {
    NoticeKind.REMINDED: "Reminder",
    NoticeKind.RESOLVED: "Resolved",
    NoticeKind.TEST: "Test",
    NoticeKind.ANCHOR: "Audit trail",
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
