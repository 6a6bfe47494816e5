"""Faults on demand."""

import httpx
import pytest

from apex_pipeline.emulator.faults import Faults
from apex_pipeline_tests.support.emulator_server import (
    SET,
    UPSERT,
    api,
    campaign_metric,
    control,
    sign_in,
)

__all__ = ["api"]


def upsert(api: httpx.Client) -> httpx.Response:
    return api.post(UPSERT, json={"Targets": [campaign_metric()]})


def test_a_status_strikes_as_often_as_it_is_told(emulator, api):
    emulator.fault("status", status=503, retry_after=7, count=2)
    answers = [upsert(api) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 204]
    assert answers[0].headers["Retry-After"] == "7"
    assert answers[0].json()["error"]["message"] == "The service is unavailable."
    assert len(emulator.records()) == 1
    log = [entry for entry in emulator.requests() if entry["path"].endswith(UPSERT)]
    assert [entry["fault"] for entry in log] == ["status", "status", None]


def test_a_gateway_answers_html(emulator, api):
    emulator.fault("html", status=502)
    answer = upsert(api)
    assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html")
    assert answer.text.startswith("<html>")


def test_a_connection_dropped_before_the_commit_leaves_nothing(emulator, api):
    emulator.fault("drop_before")
    with pytest.raises(httpx.RemoteProtocolError):
        upsert(api)
    assert emulator.records() == []
    assert emulator.requests()[-1]["status"] == 0


def test_a_connection_dropped_after_the_commit_leaves_the_record(emulator, api):
    emulator.fault("drop_after")
    with pytest.raises(httpx.RemoteProtocolError):
        upsert(api)
    assert len(emulator.records()) == 1
    assert upsert(api).status_code == 204


@pytest.mark.parametrize(
    ("kind", "code"), [("deadlock", "0x80044150"), ("sql_timeout", "0x80044151")]
)
def test_sql_errors_commit_nothing(emulator, api, kind, code):
    emulator.fault(kind)
    answer = upsert(api)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, code)
    assert emulator.records() == []


def test_the_first_uses_of_a_table_race(emulator, api):
    emulator.fault("first_use", count=2)
    assert api.get(SET).status_code == 200
    assert [upsert(api).status_code for _ in range(4)] == [500, 500, 204, 204]


def test_slow_is_only_slow(emulator, api):
    emulator.fault("slow", delay=0.01)
    assert upsert(api).status_code == 204
    assert emulator.requests()[-1]["seconds"] >= 0.01


def test_a_fault_may_choose_method_and_path_and_pass_some(emulator, api):
    emulator.fault("status", method="POST", path="UpsertMultiple$", skip=1)
    assert api.get(SET).status_code == 200
    assert api.post(SET, json={}).status_code == 204
    assert [upsert(api).status_code for _ in range(3)] == [204, 503, 204]


def test_an_expired_token_can_be_feigned(emulator, api):
    emulator.fault("unauthorized")
    answer = upsert(api)
    assert answer.status_code == 401
    assert "authorization_uri=" in answer.headers["WWW-Authenticate"]


def test_the_token_endpoint_can_fail(emulator):
    emulator.fault("status", status=500, path="oauth2/v2.0/token")
    with pytest.raises(Exception, match="500"):
        sign_in(emulator)
    assert "access_token" in sign_in(emulator)


def test_faults_can_be_cleared(emulator, api):
    emulator.fault("status", count=None)
    assert upsert(api).status_code == 503
    emulator.clear_faults()
    assert upsert(api).status_code == 204


@pytest.mark.parametrize(
    "body", [{"kind": "nonsense"}, {"status_code": 500}, {"path": "("}, 7]
)
def test_a_malformed_fault_is_explained(emulator, body):
    with control(emulator, emulator.control_secret) as client:
        answer = client.post("faults", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_the_dice_are_seeded():
    def strikes() -> list[bool]:
        faults = Faults(seed=7)
        faults.add({"kind": "status", "probability": 0.3, "count": None})
        return [
            faults.pick("GET", "/api/data/v9.2/WhoAmI") is not None for _ in range(50)
        ]

    assert strikes() == strikes()
    assert 5 < sum(strikes()) < 25


def test_the_log_keeps_no_secret(emulator, api):
    emulator.clear_requests()
    sign_in(emulator)
    upsert(api)
    text = str(emulator.requests())
    assert emulator.client_secret not in text
    assert "Bearer" not in text
    assert [entry["method"] for entry in emulator.requests()] == ["POST", "POST"]
