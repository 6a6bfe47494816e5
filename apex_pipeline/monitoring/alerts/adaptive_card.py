"""A notice as an Adaptive Card, in the envelope that a Teams workflow takes. Pure.

Elements and properties are those of version 1.4, which Teams shows everywhere. What
others wrote stands in text runs, the one element that reads no Markdown, so a message
of Postgres can neither hide nor pose as a link.
"""

import json
from typing import Any

from apex_pipeline.monitoring.alerts.notice import Notice, NoticeKind, Severity
from apex_pipeline.monitoring.alerts.notice_text import (
    heading,
    link_of,
    one_line,
    plain,
    when,
)

MOST_BYTES = 20_000
"""Teams takes about 28 KB for a message, and was seen to fail above 21 KB."""

# Bytes in JSON. With the card around them they stay below `MOST_BYTES` together.
_MOST_HEADING = 900
_MOST_CAUSE = 4_000
_MOST_REMEDY = 2_500
_MOST_LINK = 1_000
_MOST_FACTS = 12
_MOST_NAME = 100
_MOST_VALUE = 400

_COLORS = {Severity.ERROR: "Attention", Severity.WARNING: "Warning"}


def payload(notice: Notice) -> bytes:
    """The body to post: UTF-8, at most `MOST_BYTES`, and it says what was left out."""
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card(notice),
    }
    return _encoded({"type": "message", "attachments": [attachment]})


def card(notice: Notice) -> dict[str, Any]:
    """The card: what, when, the facts, the cause, what to do, and a button."""
    link = link_of(notice, _MOST_LINK)
    title = _run(
        _cut(heading(notice), _MOST_HEADING),
        size="Large",
        weight="Bolder",
        color=_color(notice),
    )
    body = [
        _block(title),
        *map(_fact, _facts(notice)),
        *_paragraph("Cause", notice.cause, _MOST_CAUSE),
        *_paragraph("What to do", notice.remedy, _MOST_REMEDY),
    ]
    made: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
    }
    if link is not None:
        open_page = {"type": "Action.OpenUrl", "title": "Open in Dagster", "url": link}
        made["actions"] = [open_page]
    return made


def _color(notice: Notice) -> str:
    match notice.kind:
        case NoticeKind.RESOLVED:
            return "Good"
        case NoticeKind.TEST | NoticeKind.ANCHOR:
            return "Accent"
        case _:
            return _COLORS[notice.severity]


def _facts(notice: Notice) -> list[tuple[str, str]]:
    facts = [("Time", when(notice)), *notice.facts]
    if len(facts) > _MOST_FACTS:
        left_out = len(facts) - _MOST_FACTS + 1
        facts = [*facts[: _MOST_FACTS - 1], ("Left out", f"{left_out} more")]
    return facts


def _fact(fact: tuple[str, str]) -> dict[str, Any]:
    """Name and value in one line; a FactSet would read Markdown in both."""
    name, value = (one_line(each) for each in fact)
    return _block(
        _run(f"{_cut(name, _MOST_NAME)}: ", weight="Bolder"),
        _run(_cut(value, _MOST_VALUE)),
        spacing="Small",
    )


def _paragraph(label: str, text: str, most: int) -> list[dict[str, Any]]:
    """A label and what stands below it; nothing without text."""
    if not text:
        return []
    return [
        _block(_run(label, weight="Bolder"), spacing="Medium", separator=True),
        _block(_run(_cut(plain(text), most)), spacing="Small"),
    ]


def _block(*runs: dict[str, str], **style: str | bool) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs), **style}


def _run(text: str, **style: str) -> dict[str, str]:
    return {"type": "TextRun", "text": text or "-", **style}


def _cut(text: str, most: int) -> str:
    """The longest beginning of at most `most` bytes, and how much is missing."""
    if len(_encoded(text)) <= most:
        return text
    note = " … (cut; {:,} characters more)"
    room = most - len(_encoded(note.format(len(text))))
    kept = text[:room]
    while len(_encoded(kept)) > room:
        # A character takes six bytes at most, so this ends after few steps.
        kept = kept[: len(kept) - max(1, (len(_encoded(kept)) - room) // 6)]
    return kept.rstrip() + note.format(len(text) - len(kept))


def _encoded(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
