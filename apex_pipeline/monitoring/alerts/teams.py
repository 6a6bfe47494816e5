"""Teams: a notice as an Adaptive Card, posted by a workflow into a channel or a chat.

Trigger "When a Teams webhook request is received". Microsoft Learn, "Create incoming
webhooks with Workflows". Its answer, 2xx without a body, means that the workflow accepted
the card, not that it posted it. A later failure shows only in the workflow's run history.

Elements and properties of the card are those of version 1.4, which Teams shows
everywhere. Foreign text goes into text runs, the only element without Markdown, so a
message from Postgres can neither hide nor pose as a link.
"""

import json
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from apex_pipeline.errors import ApexError
from apex_pipeline.microsoft.documented_success import Documented, is_service_error
from apex_pipeline.microsoft.http_answer import Answer, stand_in
from apex_pipeline.monitoring.alerts import webhook
from apex_pipeline.monitoring.alerts.notice import (
    DeliveryError,
    Notice,
    NoticeKind,
    Severity,
    heading,
    link_of,
    one_line,
    plain,
    when,
)
from apex_pipeline.monitoring.alerts.send_limits import Pace, until_taken

_HEADERS = {"Content-Type": "application/json; charset=utf-8"}
_CODE = re.compile(r"\w{1,60}", re.ASCII)
_RENEW = (
    "Check the workflow in Power Automate. If it is gone, create a new one and set "
    "its address in APEX_TEAMS_WEBHOOK_URL."
)
_REMEDIES = {
    400: "Its first action must accept an Adaptive Card; create the workflow from the template.",
    401: 'Its trigger must be open to anyone: "Who can trigger the flow" is "Anyone".',
    403: 'Its trigger must be open to anyone: "Who can trigger the flow" is "Anyone".',
    404: _RENEW,
    410: _RENEW,
}

_CARD_TAKEN = Documented(
    frozenset({200, 201, 202, 204}),
    shape=lambda answer: answer.body.strip() in {b"", b"1"},
    shape_text="an empty body",
)
# A Teams workflow answers 202 without a body; the older connectors answered `1`
# (observed).

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


class Teams:
    """Posts a card for each notice."""

    name = "teams"

    def __init__(
        self,
        url: str,
        ca_bundle: Path | None = None,
        *,
        pace: Pace | None = None,
        patiently: Callable[[Callable[[], Answer]], Answer] = until_taken,
    ) -> None:
        self._url = url
        self._ca_bundle = ca_bundle
        self._pace = pace or _pace_of(url)
        self._patiently = patiently

    def send(self, notice: Notice) -> None:
        """Post a card.

        Raises:
            DeliveryError: It was refused, or the answer was lost.
        """
        body = payload(notice)
        try:
            self._pace.take()
            answer = self._patiently(partial(self._post, body))
        except DeliveryError as error:
            raise _undelivered(str(error), error.retry_after) from None
        except ApexError as error:
            raise _undelivered(str(error)) from None
        if _CARD_TAKEN(answer) is not None:
            raise _undelivered(_refusal(answer))

    def reach(self, seconds: float) -> str:
        """Check the connection without triggering the workflow.

        Raises:
            DeliveryError: It cannot be reached.
        """
        try:
            took = webhook.reach(self._url, ca_bundle=self._ca_bundle, seconds=seconds)
        except ApexError as error:
            raise _undelivered(str(error)) from None
        return f"TLS in {1000 * took:,.0f} ms, nothing sent"

    def _post(self, body: bytes) -> Answer:
        return webhook.call(
            "POST", self._url, body=body, headers=_HEADERS, ca_bundle=self._ca_bundle
        )


@cache
def _pace_of(url: str) -> Pace:
    """One pace for each workflow in this process.

    Microsoft publishes no limit for workflows. Their predecessors, the connectors,
    accepted 4 messages a second and 100 an hour; a workflow shares its owner's daily
    allowance.
    """
    del url
    return Pace(apart=1.0, per_hour=30)


def _refusal(answer: Answer) -> str:
    if 300 <= answer.status < 400:
        return (
            f"it redirects (HTTP {answer.status}), which is not followed: the address "
            f"is a secret. {_RENEW}"
        )
    if not is_service_error(answer):
        return stand_in(answer, "Teams")
    code = answer.error()[0] or ""
    named = f", {code}" if _CODE.fullmatch(code) else ""
    remedy = _REMEDIES.get(answer.status, "Check the workflow in Power Automate.")
    return f"it answers HTTP {answer.status}{named}. {remedy}"


def _undelivered(reason: str, retry_after: float | None = None) -> DeliveryError:
    return DeliveryError(f"The Teams workflow: {reason}", retry_after=retry_after)


def payload(notice: Notice) -> bytes:
    """The body to post: UTF-8, at most `MOST_BYTES`; it says what was left out."""
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
    """Cut a text to `most` bytes of JSON, and say how much is missing."""
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
