"""Whatever is sent, the answer is the service's kind of error, never a stumble."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given, strategies as st

from apex_pipeline_tests.support.emulator_server import SET, TYPE, UPSERT, api
from apex_pipeline_tests.support.examples import examples

__all__ = ["api"]

DEFINITION = "EntityDefinitions(LogicalName='apex_campaignmetrics')"
CRM = "Microsoft.Dynamics.CRM."
PROPERTIES = [
    "@odata.type",
    "@odata.id",
    "apex_campaignmetricsid",
    "apex_phase",
    "apex_tokensin",
    "apex_costusd",
    "apex_createdat",
    "statecode",
    "SchemaName",
    "DisplayName",
    "DisplayCollectionName",
    "OwnershipType",
    "Attributes",
    "KeyAttributes",
    "Entities",
    "QuerySet",
    "Privileges",
    "MaxLength",
    "Precision",
    "MinValue",
    "OptionSet",
    "DateTimeBehavior",
    "IsPrimaryName",
    "businessunitid@odata.bind",
    "applicationid",
    "name",
]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(
        [
            TYPE,
            f"{CRM}StringAttributeMetadata",
            f"{CRM}DecimalAttributeMetadata",
            f"{CRM}PicklistAttributeMetadata",
            f"{CRM}DateTimeAttributeMetadata",
            "UserOwned",
            "apex_Thing",
            f"{SET}(apex_runid='x')",
            "00000000-0000-0000-0000-000000000001",
        ]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(PROPERTIES), inner, max_size=5)
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from(PROPERTIES), values, max_size=8)
fuzzing = examples(20)


def check(answer: httpx.Response) -> None:
    assert answer.status_code < 500 or answer.status_code == 501, answer.text
    if answer.status_code >= 400:
        assert answer.json()["error"]["code"].startswith("0x")


def send(api: httpx.Client, method: str, path: str, body: Any) -> None:
    content = json.dumps(body).encode()
    check(api.request(method, path, content=content))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", SET),
        ("PATCH", f"{SET}(00000000-0000-0000-0000-000000000001)"),
        ("POST", "EntityDefinitions"),
        ("PUT", DEFINITION),
        ("POST", f"{DEFINITION}/Attributes"),
        ("PUT", f"{DEFINITION}/Attributes(LogicalName='apex_phase')"),
        ("POST", f"{DEFINITION}/Keys"),
        ("POST", "CreateEntities"),
        ("POST", "BulkDelete"),
        ("POST", "systemusers"),
        ("POST", "roles"),
    ],
)
@fuzzing
@given(body=objects)
def test_any_object_as_a_body(api, method, path, body):
    send(api, method, path, body)


@fuzzing
@given(targets=st.lists(objects, max_size=3))
def test_any_objects_as_targets(api, targets):
    typed = [{"@odata.type": TYPE, **target} for target in targets]
    send(api, "POST", UPSERT, {"Targets": typed})


@fuzzing
@given(
    option=st.sampled_from(
        ["$select", "$filter", "$orderby", "$top", "$apply", "$skiptoken", "$expand"]
    ),
    text=st.one_of(
        st.text(max_size=40),
        st.lists(
            st.sampled_from(
                [
                    "apex_tokensin",
                    "apex_phase",
                    "createdon",
                    "eq",
                    "ne",
                    "gt",
                    "and",
                    "or",
                    "not",
                    "(",
                    ")",
                    ",",
                    "'x'",
                    "1",
                    "1e500",
                    "99999999999999999999",
                    "null",
                    "contains",
                    "2025-01-01",
                    "/",
                    "with",
                    "sum",
                    "as",
                    "n",
                    "aggregate",
                    "groupby",
                    "filter",
                    "$count",
                ]
            ),
            max_size=10,
        ).map(" ".join),
    ),
)
def test_any_text_as_a_query_option(api, option, text):
    check(api.get(SET, params={option: text}))
    check(api.get("EntityDefinitions", params={option: text}))


@fuzzing
@given(
    body=st.binary(max_size=200)
    | st.lists(
        st.sampled_from(
            [
                b"--b",
                b"--b--",
                b"\r\n",
                b"Content-Type: application/http\r\n\r\n",
                b"Content-Type: multipart/mixed; boundary=c\r\n\r\n",
                b"--c\r\n",
                b"--c--",
                b"Content-ID: 1\r\n",
                b"GET /api/data/v9.2/WhoAmI HTTP/1.1\r\n\r\n",
                b"POST $1 HTTP/1.1\r\n\r\n{}",
            ]
        ),
        max_size=12,
    ).map(b"".join)
)
def test_any_bytes_as_a_batch(api, body):
    answer = api.post(
        "$batch",
        content=body,
        headers={"Content-Type": "multipart/mixed; boundary=b"},
    )
    assert answer.status_code < 500


def test_a_number_with_an_endless_exponent_is_no_json(api):
    answer = api.post(SET, content=b'{"apex_costusd":1e9999999999999999999}')
    assert answer.status_code == 400
    check(answer)
