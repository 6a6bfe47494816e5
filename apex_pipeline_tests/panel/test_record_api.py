"""`POST /api/metrics/campaign`, served as the panel serves it."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from uuid import UUID

import httpx
import jsonschema
import pytest
import uvicorn
from starlette.applications import Starlette

from apex_pipeline.audit import trail
from apex_pipeline.audit.authors import panel_author
from apex_pipeline.errors import ConfigError
from apex_pipeline.panel.record_endpoint import (
    PATH,
    RECORDING_OPENAPI,
    recording_routes,
)
from apex_pipeline.postgres.database import Database
from apex_pipeline.recording.record_ids import id_from_key
from apex_pipeline_tests.support.campaign_runs import sent
from apex_pipeline_tests.support.ends import execute, query
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

COUNT = "SELECT count(*) FROM campaign_metrics"


@contextmanager
def serving(open_database) -> Iterator[httpx.Client]:
    """A client of the routes alone, without the panel's middleware."""
    authors = partial(panel_author, {"APEX_ACTOR": "ada"})
    app = Starlette(routes=recording_routes(open_database, authors))
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS) as client:
        yield client
    server.should_exit = True
    thread.join(timeout=SECONDS)


@pytest.fixture
def client(database_url):
    with (
        Database(database_url, application_name="tests") as database,
        serving(lambda: database) as opened,
    ):
        yield opened


def refused(answer, status, error):
    document = answer.json()
    assert (answer.status_code, document["ok"], document["error"]) == (
        status,
        False,
        error,
    )
    schema = RECORDING_OPENAPI["components"]["schemas"]["RecordingError"]
    jsonschema.validate(document, schema)
    assert str(status) in RECORDING_OPENAPI["paths"][PATH]["post"]["responses"]
    return document["problems"]


def test_a_byte_order_mark_before_the_json_is_ignored(client):
    body = b"\xef\xbb\xbf" + json.dumps(sent()).encode()
    answer = client.post(
        PATH, content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 201


def test_a_run_is_recorded_as_the_agents_send_it(client, database_url):
    answer = client.post(PATH, json=sent())
    assert answer.status_code == 201
    ((key, rate),) = query(
        database_url, "SELECT id::text, success_rate_pct FROM campaign_metrics"
    )
    assert answer.json() == {"ok": True, "id": key, "created": True}
    assert answer.headers["cache-control"] == "no-store"
    assert rate == 80


@pytest.mark.parametrize(
    ("headers", "more", "key"),
    [
        ({"Idempotency-Key": "run 7"}, {}, id_from_key("run 7")),
        ({"Idempotency-Key": '"run 7"'}, {}, id_from_key("run 7")),
        ({}, {"id": "run 7"}, id_from_key("run 7")),
        ({}, {"id": str(UUID(int=7))}, UUID(int=7)),
    ],
)
def test_a_repeat_is_answered_with_200_and_the_same_id(client, headers, more, key):
    first, again = (
        client.post(PATH, json=sent(**more), headers=headers) for _ in range(2)
    )
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {"ok": True, "id": str(key), "created": False}


def test_each_request_that_records_leaves_one_event_of_its_token(client, database_url):
    named = {"Idempotency-Key": "k", "Authorization": "Bearer a-secret-of-the-panel"}
    for headers in (named, named, {}):
        answer = client.post(PATH, json=sent(), headers=headers)
        assert answer.status_code in {200, 201}
    assert client.post(PATH, json=sent(tokensIn=-1)).status_code == 422
    with Database(database_url, application_name="tests") as database:
        second, first = database.ask(trail.newest, limit=10)
    assert first["action"] == second["action"] == "record"
    assert first["counts"] == {"created": 1}
    assert first["subject"] == {"rows": [str(id_from_key("k"))]}
    assert first["actor"] == panel_author({}, "a-secret-of-the-panel").actor
    assert second["actor"] == "panel of ada"


def test_nothing_is_recorded_whose_event_cannot_be_written(client, database_url):
    execute(database_url, "DROP FUNCTION audit_append")
    assert client.post(PATH, json=sent()).status_code == 503
    assert query(database_url, COUNT) == [(0,)]


def test_the_same_key_with_other_values_is_a_conflict(client, database_url):
    headers = {"Idempotency-Key": "k"}
    client.post(PATH, json=sent(), headers=headers)
    answer = client.post(PATH, json=sent(tokensIn=7, phase="4"), headers=headers)
    assert refused(answer, 409, "conflict") == ["phase differs", "tokensIn differs"]
    assert query(database_url, COUNT) == [(1,)]


def test_all_problems_are_told_at_once(client, database_url):
    answer = client.post(
        PATH,
        content=json.dumps(sent(phase="x" * 17, tokensIn=True, cost=1))[:-1]
        + ', "runId": "r", "latencyAvgMs": NaN}',
        headers={"Content-Type": "application/json"},
    )
    assert refused(answer, 422, "invalid_record") == [
        "'cost' is not a field; did you mean costUSD?",
        "runId is given more than once",
        "phase is 17 characters long; the column holds 16",
        "tokensIn is true or false; it must be a number",
        "latencyAvgMs is given more than once",
    ]
    assert query(database_url, COUNT) == [(0,)]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_a_bad_request(client, body):
    answer = client.post(
        PATH, content=body, headers={"Content-Type": "application/json"}
    )
    assert len(refused(answer, 400, "malformed_json")) == 1


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"1e999999999"])
def test_json_of_something_else_is_no_record(client, body):
    answer = client.post(
        PATH, content=body, headers={"Content-Type": "application/json; charset=UTF-8"}
    )
    assert refused(answer, 422, "invalid_record") == ["this is not a JSON object"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/json; charset=latin-1", None]
)
def test_another_media_type_is_not_taken(client, kind):
    headers = {} if kind is None else {"Content-Type": kind}
    answer = client.post(PATH, content=json.dumps(sent()), headers=headers)
    refused(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "headers",
    [
        [("Idempotency-Key", "")],
        [("Idempotency-Key", "k" * 256)],
        [("Idempotency-Key", b"\xe4".decode("latin-1") + "\x9f")],
        [("Idempotency-Key", "a"), ("Idempotency-Key", "b")],
    ],
)
def test_a_key_that_can_be_none_is_told(client, headers):
    encoded = [(name, value.encode("latin-1")) for name, value in headers]
    answer = client.post(PATH, json=sent(), headers=encoded)
    (problem,) = refused(answer, 422, "invalid_record")
    assert problem.startswith("Idempotency-Key ")


def test_many_at_once_with_the_same_keys_write_each_once(client, database_url):
    def post(number):
        return client.post(
            PATH, json=sent(), headers={"Idempotency-Key": f"k{number % 10}"}
        ).status_code

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(post, range(60)))
    assert sorted(statuses) == [200] * 50 + [201] * 10
    assert query(database_url, COUNT) == [(10,)]


def test_a_database_that_is_gone_is_told_without_where_it_is():
    url = "postgresql://somebody:pass-word@127.0.0.1:1/secret-name"
    with (
        Database(url, wait_seconds=0, application_name="tests") as database,
        serving(lambda: database) as client,
    ):
        answer = client.post(PATH, json=sent())
    refused(answer, 503, "database_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    for secret in ("pass-word", "somebody", "secret-name", "127.0.0.1"):
        assert secret not in answer.text


def test_a_database_without_the_schema_is_told_like_one_that_is_gone(
    client, database_url
):
    execute(database_url, "DROP TABLE campaign_metrics CASCADE")
    answer = client.post(PATH, json=sent())
    refused(answer, 503, "database_unavailable")


def test_without_a_database_it_says_that_none_is_configured():
    def not_configured():
        raise ConfigError("DATABASE_URL holds pass-word")

    with serving(not_configured) as client:
        answer = client.post(PATH, json=sent())
    refused(answer, 503, "not_configured")
    assert int(answer.headers["retry-after"]) > 0
    assert "pass-word" not in answer.text


def test_the_description_tells_good_from_bad():
    schemas = RECORDING_OPENAPI["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    record = jsonschema.Draft202012Validator(schemas["CampaignRun"])
    record.validate(sent(successRate=None, createdAt=None, id="k"))
    for wrong in (sent(tokensIn=-1), sent(phase=""), sent(more=1), {}):
        assert not record.is_valid(wrong)
