"""Whatever the server answers, a run ends with a report and keeps the token secret."""

import dataclasses
import gzip
import json
import logging

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.errors import ApexError
from apex_pipeline.metrics import PRIMARY_KEY
from apex_pipeline.postgres import stored_pacing
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import StreamOptions, SyncOptions
from apex_pipeline_tests.support.ends import execute, insert_many, marked, query
from apex_pipeline_tests.support.examples import examples
from apex_pipeline_tests.support.hostile import SECRET, TOKEN, Asked, answer
from apex_pipeline_tests.support.hostile_environment import (
    JSON,
    JSON_VERSION,
    VERSION,
    elsewhere,
    hostile,
)

__all__ = ["elsewhere", "hostile"]

IMPATIENT = SyncOptions(
    StreamOptions(rows_per_request=10),
    time_budget=0.5,
    accept_duplicates=True,
    retry=RetryPolicy(attempts=2, first_wait=0.001, grace=0.2),
)
# For what has to come to its end, on a busy machine too.
PATIENT = dataclasses.replace(IMPATIENT, time_budget=60.0)
LONG_MESSAGE = 5_000


@pytest.fixture
def sync(store, hostile, database_url, tmp_path):
    """Runs a sync of thirty rows against the given answers of the server."""
    insert_many(database_url, 30)

    def run(says, options=IMPATIENT):
        hostile.says = says
        hostile.asked.clear()
        # What the example before left behind is of no concern to this one.
        execute(database_url, "UPDATE campaign_metrics SET exported_at = NULL")
        execute(database_url, "TRUNCATE campaign_metrics_quarantine")
        store.ask(stored_pacing.save_pacing, f"{hostile.url} client", {}, None)
        return run_sync(store, hostile.settings(), tmp_path / "tokens.json", options)

    return run


NESTED = b"[" * 200_000
HUGE_TEXT = json.dumps({"error": {"code": "0x1", "message": "x" * 3_000_000}}).encode()
NUMBERS = st.sampled_from(
    ["nan", "inf", "-inf", "-1", "1e400", "1e300", "0", "x", "", "9" * 5000, "1,2,3"]
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Retry-After",
            "x-ms-dop-hint",
            "x-ms-ratelimit-burst-remaining-xrm-requests",
            "x-ms-ratelimit-time-remaining-xrm-requests",
            "x-ms-service-request-id",
        ]
    ),
    NUMBERS
    | st.sampled_from(
        ["Thu, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 99999 23:59:59 GMT", "\x80"]
    ),
    max_size=3,
)
TYPES = st.sampled_from(
    [
        "application/json",
        "multipart/mixed",
        "multipart/mixed; boundary=b",
        'multipart/mixed; boundary="',
        "text/html",
        "\x80",
        "",
    ]
)
BODIES = (
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.sampled_from(
        [
            NESTED,
            b'{"error":' * 50_000,
            HUGE_TEXT,
            b"--b\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 204 No\r\n\r\n\r\n--b--",
            b"--b\r\n\r\nHTTP/1.1 999999 X\r\n\r\n--b--",
            b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 2000,
            b"9" * 10_000,
            b'{"value":[1e9999999999999999999]}',
        ]
    )
)


@st.composite
def answers(draw):
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    headers = {**draw(HEADERS), "Content-Type": draw(TYPES)}
    status = draw(st.sampled_from([400, 401, 403, 404, 412, 413, 429, 500, 503, 304]))
    return answer(status, headers, draw(BODIES))


@given(told=st.lists(answers(), min_size=1, max_size=4))
@examples(12)
def test_rubbish_ends_in_a_report_and_marks_nothing(sync, database_url, told):
    def says(_: Asked) -> bytes:
        said: bytes = told.pop(0) if len(told) > 1 else told[0]
        return said

    report = sync(says)
    assert report.failure is None or isinstance(report.failure, ApexError)
    assert len(str(report.failure)) < LONG_MESSAGE
    assert report.delivered == 0
    assert marked(database_url) == set()


@given(body=BODIES, kind=TYPES)
@examples(10)
def test_a_batch_answered_with_rubbish_marks_only_what_it_acknowledges(
    sync, database_url, body, kind
):
    """`UpsertMultiple` is refused, so the answer to the `$batch` decides."""

    def says(asked: Asked) -> bytes:
        if asked.path.endswith("$batch"):
            return answer(200, {"Content-Type": kind}, body)
        return answer(400, VERSION, b'{"error":{"code":"0x80044331","message":"no"}}')

    report = sync(says)
    assert report.failure is None or isinstance(report.failure, ApexError)
    assert len(marked(database_url)) <= body.count(b"HTTP/1.1 204") * 30


LOOK = SyncOptions(time_budget=0.5, retry=IMPATIENT.retry)
LONG_LOOK = dataclasses.replace(LOOK, time_budget=60.0)


PAGES = st.fixed_dictionaries(
    {"value": JSON | st.lists(st.dictionaries(st.just(PRIMARY_KEY), JSON), max_size=3)},
    optional={"@odata.nextLink": JSON | st.just("https://[")},
)


@given(document=JSON | PAGES)
@examples(12)
def test_records_of_wrong_types_are_no_reason_to_crash(sync, document):
    """The check of the table before the first delivery reads the answers of the service."""
    report = sync(
        lambda _: answer(200, JSON_VERSION, json.dumps(document).encode()), LOOK
    )
    assert report.failure is None or isinstance(report.failure, ApexError)


@pytest.mark.parametrize("status", [200, 301, 302, 307, 308, 401])
def test_the_token_goes_to_no_other_host(sync, hostile, elsewhere, status):
    link = f"{elsewhere.url}/api/data/v9.2/apex_campaignmetricses"
    page = json.dumps({"value": [], "@odata.nextLink": link}).encode()
    challenge = JSON_VERSION | {
        "Location": link,
        "WWW-Authenticate": f'Bearer authorization_uri="{link}"',
    }
    report = sync(lambda _: answer(status, challenge, page), LONG_LOOK)
    assert isinstance(report.failure, ApexError)
    assert hostile.asked
    assert elsewhere.asked == []


def test_a_token_that_is_echoed_reaches_no_message(sync, database_url, caplog):
    def says(asked: Asked) -> bytes:
        said = {"code": "0x80040216", "message": f"you sent {dict(asked.headers)}"}
        return answer(403, {}, json.dumps({"error": said}).encode())

    with caplog.at_level(logging.DEBUG):
        report = sync(says, PATIENT)
    assert report.failure is not None
    told = [str(report.failure), repr(report), caplog.text]
    told += [str(row) for row in query(database_url, "SELECT * FROM sync_run")]
    assert "you sent" in told[0]
    for text in told:
        assert TOKEN not in text
        assert SECRET not in text


def test_a_small_answer_that_unpacks_into_a_large_one_is_given_up(sync):
    bomb = gzip.compress(b"x" * 200_000_000)
    report = sync(lambda _: answer(500, {"Content-Encoding": "gzip"}, bomb), PATIENT)
    assert "is too large" in str(report.failure)


def test_a_record_without_a_key_is_said_to_be_one(sync):
    page = json.dumps({"value": [{PRIMARY_KEY: 7}, {}]}).encode()
    report = sync(lambda _: answer(200, JSON_VERSION, page), LONG_LOOK)
    assert PRIMARY_KEY in str(report.failure)
