"""Events of OpenLineage, against the specification's own schemas, and their way there."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from openlineage.client.event_v2 import RunState

from apex_pipeline.errors import ConfigError, LineageError
from apex_pipeline.lineage.datasets import LineageColumn, LineageTable, places
from apex_pipeline.lineage.openlineage_events import EndedRun, events
from apex_pipeline.lineage.receiver import Receiver
from apex_pipeline.settings import LineageSettings, load_lineage_settings
from apex_pipeline_tests.support.ends import free_port
from apex_pipeline_tests.support.lineage_receiver import lineage_receiver

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
SOURCE = LineageTable("postgres://db:5432", "apex.public.campaign_metrics")
TARGET = LineageTable(
    "https://org.example",
    "apex_campaignmetrics",
    (
        LineageColumn("apex_runid", "text", "The run", ((SOURCE, "run_id"),)),
        LineageColumn("other"),
    ),
)


def run(**changes):
    values: dict[str, Any] = {
        "run_id": str(uuid4()),
        "namespace": "apex_pipeline",
        "job": "sync_campaign_metrics",
        "started_at": AT,
        "ended_at": AT,
        "outcome": RunState.COMPLETE,
        "engine": ("Dagster", "1.13.27"),
        "written": {TARGET: 5},
        "read": (SOURCE,),
    }
    return EndedRun(**(values | changes))


@pytest.fixture
def receiver():
    with lineage_receiver() as served:
        yield served


def send(receiver, ended, key=None, later=timedelta(minutes=1)):
    client = Receiver(LineageSettings(receiver.url, key), lambda: AT + later)
    for event in events(ended):
        client.send(event)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"written": {TARGET: None}},
        {"written": {}, "read": ()},
        {"outcome": RunState.FAIL, "error": "Dataverse refuses. Check it."},
        {"outcome": RunState.ABORT, "written": {}},
    ],
)
def test_events_follow_the_schemas_of_the_specification(receiver, changes):
    ended = run(**changes)
    send(receiver, ended)
    assert receiver.faults == []
    assert [event["eventType"] for event in receiver.events] == [
        "START",
        ended.outcome.value,
    ]
    assert {event["run"]["runId"] for event in receiver.events} == {ended.run_id}


def test_a_column_names_the_columns_that_it_comes_from(receiver):
    send(receiver, run())
    (output,) = receiver.events[1]["outputs"]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 5
    (source,) = output["facets"]["columnLineage"]["fields"]["apex_runid"]["inputFields"]
    assert (source["namespace"], source["name"]) == (SOURCE.namespace, SOURCE.name)
    assert source["field"] == "run_id"
    assert list(output["facets"]["columnLineage"]["fields"]) == ["apex_runid"]


def test_the_key_is_sent_as_a_bearer_token(receiver):
    send(receiver, run(), "sentinel-key")
    assert set(receiver.authorizations) == {"Bearer sentinel-key"}


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_a_receiver_that_takes_nothing_now_is_told_again(receiver, status):
    receiver.statuses = [status]
    with pytest.raises(LineageError, match=f"HTTP {status}"):
        send(receiver, run())
    assert len(receiver.authorizations) == 1


PORTAL = {"Content-Type": "text/html", "Server": "portal/1"}
PAGE = b"<html><title>Sign in</title></html>"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, PORTAL),
        (202, PORTAL),
        (203, {}),
        (206, {}),
        (302, {"Location": "/login"}),
        (307, {"Location": "/login"}),
        (400, PORTAL),
    ],
)
def test_what_answers_in_the_place_of_a_receiver_takes_nothing(
    receiver, status, headers
):
    receiver.statuses = [status]
    receiver.said = headers, PAGE
    with pytest.raises(LineageError, match=f"HTTP {status}.*page “Sign in”"):
        send(receiver, run())
    assert receiver.followed == []
    receiver.said = {}, b""
    send(receiver, run())
    assert len(receiver.events) == 2


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"OK"), (201, b""), (202, b'{"id":1}'), (204, b"")]
)
def test_receivers_differ_in_how_they_say_that_they_took_it(receiver, status, body):
    receiver.statuses = [status, status]
    # What some web frameworks say of any text.
    receiver.said = {"Content-Type": "text/html; charset=utf-8"}, body
    send(receiver, run())
    assert len(receiver.authorizations) == 2


def test_a_proxy_that_cannot_be_used_is_named(receiver, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(ConfigError, match="ALL_PROXY is a proxy of type socks5"):
        send(receiver, run())


def test_a_receiver_that_cannot_be_reached_is_told_again(receiver):
    receiver.url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(LineageError, match="sent again"):
        send(receiver, run())


@pytest.mark.parametrize("status", [400, 409, 413, 422])
@pytest.mark.parametrize(
    "said", [b"", b"Request body too large", b"[]", b"{}", b'"no"']
)
def test_an_event_is_kept_unless_the_receiver_itself_refuses_it(receiver, status, said):
    receiver.statuses = [status]
    receiver.said = {"Content-Type": "text/plain", "Server": "gateway/1"}, said
    with pytest.raises(LineageError, match=f"HTTP {status}.*gateway/1"):
        send(receiver, run())


def test_an_event_that_is_refused_for_good_holds_up_no_other(receiver, caplog):
    receiver.statuses = [422]
    receiver.said = {}, b'{"code":422,"message":"No."}'
    send(receiver, run())
    assert [event["eventType"] for event in receiver.events] == ["COMPLETE"]
    assert "it is left out" in caplog.text


@pytest.mark.parametrize("said", [b"", b"<html>Too large</html>"])
def test_an_event_that_is_refused_for_days_is_left_out(receiver, caplog, said):
    receiver.statuses = [413, 413]
    receiver.said = {}, said
    send(receiver, run(), later=timedelta(days=2))
    assert receiver.events == []
    assert "it is left out" in caplog.text
    receiver.statuses = [503]
    with pytest.raises(LineageError):
        send(receiver, run(), later=timedelta(days=2))


@pytest.mark.parametrize(
    ("parameters", "namespace", "prefix"),
    [
        ({"host": "db", "dbname": "apex"}, "postgres://db:5432", "apex.public"),
        (
            {"host": "a,b", "port": "6432,6433", "dbname": "x", "password": "sentinel"},
            "postgres://a:6432",
            "x.public",
        ),
        ({"host": "/run/pg", "dbname": "x"}, "postgres://localhost:5432", "x.public"),
        (
            {"host": "db", "dbname": "x", "options": "-c search_path=metrics"},
            "postgres://db:5432",
            "x.metrics",
        ),
    ],
)
def test_tables_are_named_as_the_specification_says(parameters, namespace, prefix):
    found = places(parameters, "https://org.example").table("t")
    assert (found.namespace, found.name) == (namespace, f"{prefix}.t")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"OPENLINEAGE_URL": "marquez"}, "must be the receiver's address"),
        ({"OPENLINEAGE_URL": "https://u:p@x.example"}, "contains a user"),
        ({"OPENLINEAGE_API_KEY": "sentinel"}, "OPENLINEAGE_URL is not"),
        (
            {"OPENLINEAGE_URL": "http://x.example", "OPENLINEAGE_API_KEY": "sentinel"},
            "must begin with https",
        ),
    ],
)
def test_mistakes_in_its_settings_are_named(given, text):
    with pytest.raises(ConfigError, match=text) as raised:
        load_lineage_settings(given)
    assert "sentinel" not in str(raised.value)


def test_without_an_address_lineage_goes_nowhere():
    assert load_lineage_settings({}) is None
    beside = load_lineage_settings({"OPENLINEAGE_URL": "https://x.example/api/@team"})
    assert beside == LineageSettings("https://x.example/api/@team")
    plain = load_lineage_settings({"OPENLINEAGE_URL": "http://marquez:5000/"})
    assert plain == LineageSettings("http://marquez:5000")
