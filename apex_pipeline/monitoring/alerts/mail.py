"""A notice as an e-mail, in text and in HTML. Pure."""

import hashlib
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape

from apex_pipeline.monitoring.alerts.notice import (
    Notice,
    heading,
    link_of,
    one_line,
    plain,
    shortened,
    when,
)

_MOST_TEXT = 20_000
_MOST_LINK = 2_000
_MOST_FACTS = 50
_CELL = "padding:2px 12px 2px 0;vertical-align:top;text-align:left"


def message(notice: Notice, *, sender: str, to: Sequence[str]) -> EmailMessage:
    """The whole message, the same each time that the notice is sent.

    `Message-ID` and `X-Apex-Notice` come from the notice's key, so a repeat is
    recognised: servers and readers show one message for one id. `Auto-Submitted` (RFC
    3834) and Exchange's own header keep out-of-office replies from coming back.

    Args:
        notice: What to tell.
        sender: Address alone.
        to: Addresses alone.
    """
    made = EmailMessage(policy=SMTP)
    identity = hashlib.sha256(notice.key.encode("utf-8", "replace")).hexdigest()[:40]
    made["Subject"] = f"[Apex] {heading(notice)}"
    made["From"] = sender
    made["To"] = ", ".join(to)
    made["Date"] = format_datetime(notice.at)
    made["Message-ID"] = f"<{identity}@{sender.rpartition('@')[2]}>"
    made["X-Apex-Notice"] = identity
    made["Auto-Submitted"] = "auto-generated"
    made["X-Auto-Response-Suppress"] = "All"
    made.set_content(_text(notice), cte="base64")
    made.add_alternative(_html(notice), subtype="html", cte="base64")
    return made


def _text(notice: Notice) -> str:
    parts = [heading(notice), "\n".join(f"{n}: {v}" for n, v in _facts(notice))]
    parts += [f"{name}:\n{text}" for name, text in _paragraphs(notice)]
    link = link_of(notice, _MOST_LINK)
    if link is not None:
        parts.append(f"Open in Dagster: {link}")
    return "\n\n".join(parts) + "\n"


def _html(notice: Notice) -> str:
    rows = "\n".join(
        f'<tr><th style="{_CELL}">{escape(n)}</th><td style="{_CELL}">{escape(v)}</td>'
        "</tr>"
        for n, v in _facts(notice)
    )
    paragraphs = "\n".join(
        f"<h3>{name}</h3>\n"
        f'<p style="white-space:pre-wrap;overflow-wrap:anywhere">{escape(text)}</p>'
        for name, text in _paragraphs(notice)
    )
    link = link_of(notice, _MOST_LINK)
    button = f'<p><a href="{escape(link)}">Open in Dagster</a></p>' if link else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><body style="font-family:sans-serif">\n'
        f"<h2>{escape(heading(notice))}</h2>\n<table>\n{rows}\n</table>\n"
        f"{paragraphs}\n{button}\n</body></html>\n"
    )


def _facts(notice: Notice) -> list[tuple[str, str]]:
    facts = [("Time", when(notice)), *notice.facts[:_MOST_FACTS]]
    if len(notice.facts) > _MOST_FACTS:
        facts.append(("Left out", f"{len(notice.facts) - _MOST_FACTS} more"))
    return [
        (shortened(one_line(name), 200), shortened(one_line(value), 2_000))
        for name, value in facts
    ]


def _paragraphs(notice: Notice) -> list[tuple[str, str]]:
    given = (("Cause", notice.cause), ("What to do", notice.remedy))
    return [(name, shortened(plain(text), _MOST_TEXT)) for name, text in given if text]
