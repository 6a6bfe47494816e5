"""Cards and e-mails hold whatever a notice says, and nothing of it gets out of place."""

import email
import json
from email import policy
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, strategies as st

from apex_pipeline.monitoring.alerts.mail import message
from apex_pipeline.monitoring.alerts.notice import Notice, NoticeKind, Severity, link_of
from apex_pipeline.monitoring.alerts.teams import MOST_BYTES, card, payload
from apex_pipeline_tests.support.card_schema import faults
from apex_pipeline_tests.support.examples import examples
from apex_pipeline_tests.support.notices import AT, SENDER, TO, notice, runs

SPITEFUL = (
    "[here](https://evil.example) <script>alert(1)</script> **b** _i_\r\n"
    "Bcc: victim@example.com\r\n\r\n<b>body</b>\x00\x1b[31m\u202egnp\udc80 🧨"
)


def sent(told):
    """The message as its reader's program sees it."""
    raw = message(told, sender=SENDER, to=TO).as_bytes()
    return email.message_from_bytes(raw, policy=policy.default)


def html_of(told):
    return sent(told).get_body(("html",)).get_content()


@pytest.mark.parametrize(
    ("kind", "severity", "words", "color"),
    [
        (NoticeKind.OPENED, Severity.ERROR, "Error: ", "Attention"),
        (NoticeKind.OPENED, Severity.WARNING, "Warning: ", "Warning"),
        (NoticeKind.REMINDED, Severity.ERROR, "Reminder, error: ", "Attention"),
        (NoticeKind.REMINDED, Severity.WARNING, "Reminder, warning: ", "Warning"),
        (NoticeKind.RESOLVED, Severity.ERROR, "Resolved: ", "Good"),
        (NoticeKind.TEST, Severity.WARNING, "Test: ", "Accent"),
    ],
)
def test_what_it_is_stands_in_words_and_not_in_the_colour_alone(
    kind, severity, words, color
):
    told = notice(kind=kind, severity=severity)
    first = card(told)["body"][0]["inlines"][0]
    assert (first["text"], first["color"]) == (f"{words}The sync fails", color)
    assert sent(told)["Subject"] == f"[Apex] {words}The sync fails"


def test_a_card_tells_when_what_why_what_to_do_and_where_to_look():
    assert runs(notice()) == [
        "Error: The sync fails",
        *("Time: ", "2026-11-25 10:30:00 UTC"),
        *("Job: ", "sync_campaign_metrics", "Since: ", "10:25"),
        *("Cause", "Postgres at db.example.com does not answer"),
        *("What to do", "Start it; the next tick tries again."),
    ]
    assert card(notice())["actions"] == [
        {
            "type": "Action.OpenUrl",
            "title": "Open in Dagster",
            "url": "https://dagster.example/runs/5f3c",
        }
    ]
    bare = card(notice(cause="", remedy="", facts=(), link=None))
    assert "actions" not in bare
    assert len(bare["body"]) == 2


def test_a_mail_tells_the_same_in_text_and_in_html():
    made = sent(notice())
    (text, html) = made.iter_parts()
    assert (text.get_content_type(), html.get_content_type()) == (
        "text/plain",
        "text/html",
    )
    for part in (text.get_content(), html.get_content()):
        for each in runs(notice()):
            assert each.removesuffix(": ") in part
        assert "https://dagster.example/runs/5f3c" in part
    assert (made["From"], made["To"]) == (SENDER, ", ".join(TO))
    assert made["Date"].datetime == AT
    assert made["Auto-Submitted"] == "auto-generated"


def test_a_repeat_is_recognised_by_its_id():
    first, again = sent(notice()), sent(notice(cause="worded anew"))
    other = sent(notice(key="sync-failed/2"))
    assert first["Message-ID"] == again["Message-ID"] != other["Message-ID"]
    assert first["X-Apex-Notice"] == again["X-Apex-Notice"] != other["X-Apex-Notice"]
    assert first["Message-ID"].endswith("@example.com>")


def test_what_is_cut_says_so():
    long = notice(
        cause="x" * 50_000,
        remedy="é" * 50_000,
        facts=tuple((f"name {n}", "v" * 5_000) for n in range(40)),
    )
    texts = runs(long)
    kept = [text for text in texts if "characters more)" in text]
    assert len(kept) == 12
    cause = texts[texts.index("Cause") + 1]
    assert cause.endswith(f"… (cut; {50_000 - cause.count('x'):,} characters more)")
    assert texts[texts.index("Left out: ") + 1] == "30 more"
    mail = sent(long).get_body(("plain",)).get_content()
    assert "characters more)" in mail


@pytest.mark.parametrize(
    "link",
    ["javascript:alert(1)", "https://h/" + "x" * 3000, "https://h/ x", "file:///x"],
)
def test_a_link_that_is_none_becomes_no_button(link):
    told = notice(link=link)
    assert "actions" not in card(told)
    assert "href" not in html_of(told)


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, [name for name, _ in attrs]))


def elements(html):
    parser = Elements()
    parser.feed(html)
    parser.close()
    return parser.found


SHORT = st.one_of(
    st.text(st.characters(exclude_categories=[]), max_size=80),
    st.sampled_from(
        [SPITEFUL, "\r\nBcc: v@example.com\r\n\r\n<b>x", '"><img src=x>', "\ud800", ""]
    ),
)
LONG = st.sampled_from(['"', "\\", "\x00", "😀", "é", "<", "x "])
TEXTS = SHORT | LONG.map(lambda c: c * 30_000)
NOTICES = st.builds(
    Notice,
    key=TEXTS,
    kind=st.sampled_from(NoticeKind),
    severity=st.sampled_from(Severity),
    title=TEXTS,
    cause=TEXTS,
    remedy=TEXTS,
    # Sixty long ones at once would take most of the time, and show nothing more.
    facts=st.lists(
        st.tuples(SHORT, SHORT | LONG.map(lambda c: c * 1_000)), max_size=30
    ).map(tuple),
    link=st.none() | TEXTS | TEXTS.map(lambda text: f"https://h/{text}"),
    at=st.just(AT),
)
ANY = examples(30)
HEADERS = [
    *("Subject", "From", "To", "Date", "Message-ID", "X-Apex-Notice"),
    *("Auto-Submitted", "X-Auto-Response-Suppress", "MIME-Version", "Content-Type"),
]


@ANY
@example(
    notice(title=SPITEFUL, cause=SPITEFUL, remedy=SPITEFUL, link=SPITEFUL, key=SPITEFUL)
)
@example(
    notice(
        title="😀" * 30_000,
        cause="😀" * 30_000,
        remedy="😀" * 30_000,
        facts=(("😀" * 900, "😀" * 900),) * 30,
    )
)
@given(NOTICES)
def test_any_text_makes_a_card_that_teams_takes(told):
    body = payload(told)
    assert len(body) <= MOST_BYTES
    (attachment,) = json.loads(body)["attachments"]
    assert faults(attachment["content"]) == []
    for text in runs(told):
        assert "\u202e" not in text
        assert "\r" not in text
        assert "\x00" not in text


@ANY
@example(
    notice(title=SPITEFUL, cause=SPITEFUL, remedy=SPITEFUL, link=SPITEFUL, key=SPITEFUL)
)
@given(NOTICES)
def test_any_text_makes_a_mail_without_a_header_or_an_element_more(told):
    made = sent(told)
    assert list(made.keys()) == HEADERS
    assert made["To"] == ", ".join(TO)
    assert all(not part.defects for part in made.walk())
    text, html = (part.get_content() for part in made.iter_parts())
    assert "\x00" not in text + html
    harmless = notice(
        cause=told.cause and "c",
        remedy=told.remedy and "r",
        facts=(("n", "v"),) * len(told.facts),
        link=link_of(told, 2_000) and "https://h",
    )
    assert elements(html) == elements(html_of(harmless))
