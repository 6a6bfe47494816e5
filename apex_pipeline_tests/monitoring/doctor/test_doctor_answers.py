"""However odd an answer is, it costs its own line of the doctor, and no other."""

import copy
import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.monitoring.doctor.check_results import Check, CheckState
from apex_pipeline.monitoring.doctor.dataverse_access import Access, EnvironmentProbes
from apex_pipeline.monitoring.doctor.dataverse_reachability import clock, reachable
from apex_pipeline.monitoring.doctor.runner import examine
from apex_pipeline.monitoring.doctor.table_comparison import (
    columns,
    organization_auditing,
)
from apex_pipeline_tests.support.empty_environment import (
    APPLICATION,
    empty_emulator,
    made_once,
)
from apex_pipeline_tests.support.emulator_server import campaign_metric, web_api
from apex_pipeline_tests.support.examples import examples
from apex_pipeline_tests.support.hostile import answer, serving

__all__ = ["empty_emulator", "made_once"]

HEADERS = {"OData-Version": "4.0", "Content-Type": "application/json"}
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)
GONE = object()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("hostile")) as served:
        yield served


@pytest.fixture(scope="module")
def documents(empty_emulator, made_once, hostile, tmp_path_factory) -> dict[str, Any]:
    """What a whole environment answers the doctor, by path."""
    empty_emulator.restore(made_once)
    found: dict[str, Any] = {}
    with web_api(empty_emulator) as api:
        record = campaign_metric()
        del record["@odata.type"]
        api.post("apex_campaignmetricses", json=record).raise_for_status()

        def relay(asked):
            if asked.method != "GET":
                return answer(204, HEADERS)
            path = asked.path.partition("/api/data/v9.2/")[2]
            found[asked.path] = api.get(path).raise_for_status().json()
            return answer(200, HEADERS, json.dumps(found[asked.path]).encode())

        hostile.says = relay
        lines = looked_at(hostile, tmp_path_factory.mktemp("tokens"))
    assert {line.state for line in lines} <= {CheckState.OK, CheckState.WARNING}, lines
    assert len(found) > 8
    return found


def looked_at(hostile, folder):
    """Lines of all that the doctor reads of Dataverse with a token."""
    application = dataclasses.replace(hostile.settings(), client_id=APPLICATION)
    seen = EnvironmentProbes(Access(application, folder / "tokens.json"), None)

    def of_columns():
        assert seen.table
        return columns(seen.table)

    def audited():
        return organization_auditing(seen.organization_auditing())

    return examine(
        [
            Check("user", "", "", seen.user),
            Check("privileges", "", "", seen.privileges, ("user",)),
            Check("role", "", "", seen.role, ("user",), ("privileges",)),
            Check("table", "", "", seen.look_at_table, ("user",), ("privileges",)),
            Check("columns", "", "", of_columns, ("table",)),
            Check("auditing", "", "", audited, ("user",)),
            Check("write", "", "", seen.write, ("columns",)),
        ],
        seconds=120,
    )


def changed(document, path, value):
    """A copy with another value, or none, in one place."""
    if not path:
        return None if value is GONE else value
    copied = copy.deepcopy(document)
    parent = copied
    for key in path[:-1]:
        parent = parent[key]
    if value is GONE:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return copied


def places(value, path=()):
    """Every place within a JSON document."""
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from places(inner, (*path, key))


def saying(documents, *, instead):
    def says(asked):
        if asked.method != "GET":
            return answer(204, HEADERS)
        told = instead.get(asked.path, documents.get(asked.path))
        return answer(200, HEADERS, json.dumps(told).encode())

    return says


@given(data=st.data())
@examples(10)
def test_an_answer_with_one_odd_place_is_never_a_fault_of_ours(
    documents, hostile, tmp_path, data
):
    instead = {}
    # Odd in every answer at once: what each line makes of its own is seen.
    for path, document in documents.items():
        place = data.draw(st.sampled_from([*places(document)]))
        value = data.draw(st.just(GONE) | ODD)
        instead[path] = changed(document, place, value)
        if data.draw(st.booleans()):
            del instead[path]
    hostile.says = saying(documents, instead=instead)
    lines = looked_at(hostile, tmp_path)
    assert len(lines) == 7
    assert [line for line in lines if "a bug in" in line.measured] == []


@pytest.mark.parametrize("name", ["IsManaged", "Privileges", "IsAuditEnabled"])
def test_a_property_that_is_missing_is_named_in_its_line_and_costs_no_other(
    documents, hostile, tmp_path, name
):
    (path,) = (p for p in documents if p.partition("?")[0].endswith("Definitions"))
    instead = {path: changed(documents[path], ("value", 0, name), GONE)}
    hostile.says = saying(documents, instead=instead)
    lines = {line.name: line for line in looked_at(hostile, tmp_path)}
    assert f"the answer lacks {name}" in lines["table"].measured
    failed = {each.name for each in lines.values() if each.state is CheckState.FAILED}
    assert failed == {"table", "role"}


@pytest.mark.parametrize(
    "date",
    ["soon", "", "Mon, 99 Nov 2026 10:00:00 GMT", "Sun, 29 Nov 2026 10:00:00 -0000"],
)
def test_an_odd_date_is_told_as_one(hostile, date):
    hostile.says = lambda _: answer(401, {"Date": date})
    now = datetime(2026, 11, 29, 10, tzinfo=UTC)
    found = clock(hostile.settings(), now)
    is_read = date.endswith("-0000")
    assert found.state is (CheckState.OK if is_read else CheckState.WARNING)


PORTAL = {"Content-Type": "text/html", "Server": "portal/1"}
BASIC = {"WWW-Authenticate": "Basic", "Server": "portal/1"}
PAGE = b"<html><title>Sign in</title></html>"


@pytest.mark.parametrize(
    ("status", "headers", "body", "told"),
    [
        (200, PORTAL, PAGE, "its place: HTTP 200, text/html, server portal/1, page “S"),
        (401, PORTAL, PAGE, "answers in its place: HTTP 401, text/html"),
        (401, BASIC, b"", "answers in its place: HTTP 401, server portal/1"),
        (403, PORTAL, PAGE, "answers in its place: HTTP 403"),
        (302, {"Location": "https://portal.example/x"}, b"", "a redirect to portal."),
        (404, {}, b"", "HTTP 404, "),
        (503, PORTAL, PAGE, "HTTP 503, "),
    ],
)
def test_what_answers_in_the_place_of_dataverse_is_shown(
    hostile, status, headers, body, told
):
    hostile.says = lambda _: answer(status, headers, body)
    found = reachable(hostile.settings())
    assert found.state is CheckState.FAILED
    assert told in found.measured
    if "place" in told:
        assert "server portal/1" in found.measured
        assert "proxies" in found.remedy


@pytest.mark.parametrize("body", [b"", PAGE])
def test_a_challenge_is_dataverses_own_answer(hostile, body):
    challenge = {"WWW-Authenticate": "Bearer authorization_uri=https://login.example/"}
    hostile.says = lambda _: answer(401, challenge, body)
    assert reachable(hostile.settings()).state is CheckState.OK
