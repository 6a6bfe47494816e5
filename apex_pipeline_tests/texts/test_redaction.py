"""No configured secret leaves, whatever wrote the text that holds it."""

import base64
import html
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, strategies as st

from apex_pipeline import errors
from apex_pipeline.settings import read_secrets, read_variable, secret_parts
from apex_pipeline.settings.variables import VARIABLES
from apex_pipeline.texts.redaction import OURS, Redactor, install, redact

# Any text but lone surrogates, which no environment variable holds.
SECRETS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0§"), min_size=8
).filter(lambda text: not (text.isalpha() and text.islower() and len(text) < 12))
TEXTS = st.text("§", max_size=20)

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "as a part of a URL": lambda s: quote(s, safe=""),
    "as a path": quote,
    "as a form": quote_plus,
    "as a form with lower-case digits": lambda s: "".join(
        f"%{byte:02x}" if chr(byte) not in SAFE else chr(byte) for byte in s.encode()
    ),
    "as JSON": json.dumps,
    "as JSON in UTF-8": lambda s: json.dumps(s, ensure_ascii=False),
    "as JSON within JSON": lambda s: json.dumps({"a": json.dumps({"b": s})}),
    "as Python writes it": repr,
    "as HTML": html.escape,
    "as HTTP Basic": lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
    "as OAuth's HTTP Basic": lambda s: base64.b64encode(
        f"client:{quote_plus(s)}".encode()
    ).decode(),
    "as base64": lambda s: base64.b64encode(s.encode()).decode(),
    "as base64 of URLs": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
}
SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~"

_TELLING = 6
# What nobody would set as a secret, and what would be a secret of its own length.
_MARK = "Zq7~"


@pytest.fixture(autouse=True)
def nothing_remembered():
    OURS.forget()
    yield
    OURS.forget()


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(secret=SECRETS, before=TEXTS, after=TEXTS)
def test_a_secret_is_hidden_in_every_spelling(spelling, secret, before, after):
    written = SPELLINGS[spelling](secret)
    hidden = Redactor([secret]).hide(f"{before}{_MARK}{written}{_MARK}{after}")
    assert secret not in hidden
    # Of base64, the first and the last characters also hold bits of what is beside it.
    inner = written.strip("'\"")[4:-4]
    assert len(inner) < _TELLING or inner not in hidden


@given(st.lists(SECRETS, min_size=1, max_size=4), st.lists(TEXTS, max_size=4))
def test_of_several_none_is_left_and_what_is_hidden_stays_hidden(secrets, texts):
    hides = Redactor(secrets).hide
    written = "|".join([*secrets, *texts, *reversed(secrets)])
    once = hides(written)
    assert not [secret for secret in secrets if secret in once and secret != "***"]
    assert hides(once) == once


def test_words_and_short_values_stay():
    hides = Redactor(["apex", "postgres", "password", "1234567"]).hide
    assert hides("postgres password apex 1234567") == "postgres password apex 1234567"


def test_what_is_remembered_or_forgotten_later_counts_from_then_on():
    text = "first-sentinel second-sentinel"
    redactor = Redactor(["first-sentinel"])
    assert redactor.hide(text) == "*** second-sentinel"
    redactor.remember("second-sentinel")
    assert redactor.hide(text) == "*** ***"
    assert redactor.are_in(b"second-sentinel")
    redactor.forget()
    assert redactor.hide(text) == text
    assert not redactor.are_in(text.encode())


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("postgresql://u:pa%40ss-word@h/d", ["pa%40ss-word", "pa@ss-word"]),
        ("postgresql://u:pa/ss@word@h/d", ["pa/ss@word"]),
        ("host=h user=u password='it\\'s secret' dbname=d", ["it's secret"]),
        ("http://user:pass/word1@proxy:3128", ["pass/word1"]),
        ("https://hooks.example.com/a/0123456789abcdef0?sig=fedcba98765432100", [
            "0123456789abcdef0", "fedcba98765432100",
        ]),
        ("smtp://me:sm%2Ftp-pass@mail:587", ["sm/tp-pass", "sm%2Ftp-pass"]),
    ],
)  # fmt: skip
def test_what_may_appear_alone_of_an_address_is_a_secret_too(value, parts):
    assert {value, *parts} <= set(secret_parts(value))


@pytest.mark.parametrize("name", [v.name for v in VARIABLES if v.is_secret])
def test_a_secret_is_hidden_from_when_it_is_read(name):
    assert read_variable({name: " value-of-a-secret\r"}, name) == "value-of-a-secret"
    assert redact("a value-of-a-secret") == "a ***"


def test_other_variables_are_no_secrets():
    read_variable(
        {"DATAVERSE_RESOURCE": "https://org.example.com"}, "DATAVERSE_RESOURCE"
    )
    assert redact("https://org.example.com") == "https://org.example.com"


@pytest.mark.parametrize("name", ["PGPASSWORD", "HTTPS_PROXY", "all_proxy"])
def test_secrets_of_other_programs_are_hidden_too(name):
    read_secrets({name: "http://me:a-password@proxy:3128"})
    assert redact("a-password") == "***"
    assert redact("http://me:a-password@proxy:3128") == "***"


def test_no_error_of_ours_holds_a_secret():
    OURS.remember("a-secret-value")
    kinds = [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.ApexError)
    ]
    for kind in kinds:
        more: dict[str, Any] = {"seconds": 1.0} if kind is errors.TooMuchError else {}
        more |= {"fields": ()} if kind is errors.RecordConflictError else {}
        error = kind("says a-secret-value", **more)
        assert "a-secret-value" not in f"{error} {error!r} {vars(error)}", kind
    assert len(kinds) > 15


def test_no_log_holds_a_secret_in_a_message_an_argument_or_a_traceback(caplog):
    OURS.remember("a-secret-value")
    before = logging.getLogRecordFactory()
    install()
    try:
        logger = logging.getLogger("any.library")
        logger.error("a-secret-value %s %r", "a-secret-value", {"k": "a-secret-value"})
        try:
            try:
                dict[str, str]()["a-secret-value"]
            except KeyError as cause:
                raise RuntimeError("again a-secret-value") from cause
        except RuntimeError:
            logger.exception("it failed")
    finally:
        logging.setLogRecordFactory(before)
    assert "a-secret-value" not in caplog.text
    assert caplog.text.count("***") == 7
    assert "RuntimeError" in caplog.text


def test_no_traceback_that_python_prints_holds_a_secret():
    code = (
        "import threading\n"
        "from apex_pipeline.texts import redaction\n"
        "redaction.OURS.remember('a-secret-value')\n"
        "redaction.install()\n"
        "def fail(): raise ValueError('in a thread: a-secret' + '-value')\n"
        "thread = threading.Thread(target=fail)\n"
        "thread.start(); thread.join()\n"
        "raise ValueError('at the end: a-secret' + '-value')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "in a thread: ***" in ended.stderr
    assert "at the end: ***" in ended.stderr
    assert ended.stderr.count("Traceback") == 2
