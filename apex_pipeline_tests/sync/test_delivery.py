"""Delivery into the served emulator: records, rejections, and requests."""

import asyncio
from uuid import UUID

import httpx
import pytest

from apex_pipeline.dataverse.environment import connect
from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.emulator import Options, serve
from apex_pipeline.errors import AuthError, SchemaDriftError, TransientError
from apex_pipeline.metrics import (
    COLUMNS,
    ENTITY_SET,
    TABLE,
    CampaignMetric,
    read_metric,
)
from apex_pipeline.sync.request_delivery import DataverseSink, check_columns
from apex_pipeline_tests.support.ends import emulator_settings
from apex_pipeline_tests.support.entra import RESOURCE
from apex_pipeline_tests.support.metric_rows import row
from apex_pipeline_tests.support.scripted_sender import VERSION, connected, no

IMPATIENT = RetryPolicy(attempts=4, first_wait=0.01)
DENIED = "d0000000-0000-4000-8000-000000000001"
STRANGER = "d0000000-0000-4000-8000-000000000002"


def metrics(*numbers):
    return [read_metric(row(id=UUID(int=n))) for n in numbers]


def poisoned(number, fields='{"apex_phase":"much too long for the column"}'):
    key = str(UUID(int=number))
    return CampaignMetric(key, key, fields)


def deliver(emulator, tmp_path, batch, *, retry=IMPATIENT, **overrides):
    async def go():
        async with connect(
            emulator_settings(emulator, **overrides),
            tmp_path / "tokens.json",
            retry=retry,
        ) as environment:
            sink = DataverseSink(environment.client, retry)
            return await sink.deliver(batch, Deadline(60))

    return asyncio.run(go())


def delivered(emulator):
    return sorted(r["apex_campaignmetricsid"] for r in emulator.records(TABLE))


def paths(emulator):
    return [
        request["path"].rsplit("/", 1)[-1]
        for request in emulator.requests()
        if "/api/data/" in request["path"]
    ]


def test_good_metrics_land_in_one_request(emulator, tmp_path):
    batch = metrics(*range(1, 101))
    delivery = deliver(emulator, tmp_path, batch)
    assert delivery.acknowledged == tuple(m.id for m in batch)
    assert delivered(emulator) == sorted(m.id for m in batch)
    assert paths(emulator) == ["Microsoft.Dynamics.CRM.UpsertMultiple"]


def test_a_record_holds_what_the_row_held(emulator, tmp_path):
    deliver(emulator, tmp_path, metrics(1))
    (record,) = emulator.records(TABLE)
    assert str(record["apex_costusd"]) == "0.00348"
    assert record["apex_createdat"] == "2026-10-30T13:00:00Z"
    assert record["apex_campaignid"] == str(UUID(int=1))
    assert {column.dataverse for column in COLUMNS} <= set(record)


def test_delivering_twice_changes_nothing(emulator, tmp_path):
    for _ in range(2):
        deliver(emulator, tmp_path, metrics(1, 2, 3))
    assert len(delivered(emulator)) == 3


def test_rows_that_share_a_key_do_not_hold_up_the_others(emulator, tmp_path):
    """A table without a primary key may contain a row twice."""
    delivery = deliver(emulator, tmp_path, metrics(1, 2, 2, 3))
    assert delivery.failure is None
    assert len(delivery.acknowledged) == 4
    assert len(delivered(emulator)) == 3


def test_one_bad_row_costs_one_request_and_only_itself(emulator, tmp_path):
    batch = [*metrics(1, 2), poisoned(3), *metrics(4, 5)]
    delivery = deliver(emulator, tmp_path, batch)
    assert len(delivery.acknowledged) == 4
    (rejection,) = delivery.rejections
    assert rejection.id == str(UUID(int=3))
    assert rejection.code == "0x80044331"
    assert "apex_phase" in rejection.message
    assert paths(emulator) == ["Microsoft.Dynamics.CRM.UpsertMultiple", "$batch"]


def test_a_wrong_value_is_told_from_a_missing_column_by_the_metadata(
    emulator, tmp_path
):
    batch = [*metrics(1), poisoned(2, '{"apex_agentstotal":"five"}')]
    delivery = deliver(emulator, tmp_path, batch)
    assert len(delivery.acknowledged) == 1
    assert [one.code for one in delivery.rejections] == ["0x80048d19"]
    assert delivery.suspects == ()


def test_metadata_that_cannot_be_read_leaves_the_row_a_suspect(emulator, tmp_path):
    emulator.fault("status", status=403, path="EntityDefinitions")
    batch = [*metrics(1), poisoned(2, '{"apex_agentstotal":"five"}')]
    delivery = deliver(emulator, tmp_path, batch)
    assert [one.id for one in delivery.suspects] == [str(UUID(int=2))]
    assert delivery.failure is None


def test_missing_and_mistyped_columns_are_all_named():
    types = {c.dataverse: "String" for c in COLUMNS[:4]}
    with pytest.raises(SchemaDriftError) as caught:
        check_columns(types)
    assert "apex_agentstotal is String, not BigInt or Integer" in str(caught.value)
    assert "apex_createdat is missing" in str(caught.value)


@pytest.mark.parametrize(
    "fault", ["deadlock", "first_use", "html", "drop_before", "drop_after"]
)
def test_passing_faults_are_overcome(emulator, tmp_path, fault):
    emulator.fault(fault, count=2)
    delivery = deliver(emulator, tmp_path, metrics(1, 2, 3))
    assert delivery.failure is None
    assert len(delivered(emulator)) == 3


def batch_answer(*parts):
    body = "".join(
        "--b\r\nContent-Type: application/http\r\n\r\n"
        f"HTTP/1.1 {status}\r\nOData-Version: 4.0\r\n{headers}\r\n{content}\r\n"
        for status, headers, content in parts
    )
    return httpx.Response(
        200,
        content=f"{body}--b--\r\n".encode(),
        headers=VERSION | {"Content-Type": "multipart/mixed; boundary=b"},
    )


@pytest.mark.parametrize("times", [1, 99])
def test_a_401_in_a_part_of_a_batch_is_a_passing_fault(tmp_path, times):
    one, two = metrics(1, 2)
    refused = iter([True] * times)
    tokens = []

    def landed(metric):
        link = f"{RESOURCE}/api/data/v9.2/{ENTITY_SET}({metric.key})"
        return ("204 No Content", f"OData-EntityId: {link}\r\n", "")

    def service(request):
        if "$batch" not in str(request.url):
            return no(400, "0x80044331")(request)
        tokens.append(request.headers["Authorization"])
        asked = [m for m in (one, two) if f"({m.key})" in request.content.decode()]
        error = '{"error": {"code": "0x80040220", "message": "no"}}'
        unauthorized = ("401 Unauthorized", "Content-Type: application/json\r\n", error)
        parts = [
            unauthorized if m is two and next(refused, False) else landed(m)
            for m in asked
        ]
        return batch_answer(*parts)

    async def go():
        async with connected(service, tmp_path) as client:
            return await DataverseSink(client, IMPATIENT).deliver(
                [one, two], Deadline(60)
            )

    delivery = asyncio.run(go())
    # A token that a part refused is not sent again.
    assert len(set(tokens)) == len(tokens) > 1
    if times == 1:
        assert delivery.failure is None
        assert delivery.acknowledged == (one.id, two.id)
    else:
        # It lasts; what landed counts, and nothing is put aside for it.
        assert isinstance(delivery.failure, TransientError)
        assert delivery.acknowledged == (one.id,)
    assert not delivery.rejections + delivery.suspects


def test_a_batch_that_takes_too_long_is_halved(emulator, tmp_path):
    emulator.fault("sql_timeout", count=2)
    delivery = deliver(emulator, tmp_path, metrics(*range(1, 9)))
    assert len(delivery.acknowledged) == 8
    assert [r["targets"] for r in emulator.requests() if r["targets"]] == [
        8,
        4,
        2,
        2,
        4,
    ]


def test_a_request_that_is_too_large_is_halved(emulator, tmp_path):
    emulator.fault("status", status=413, count=1, path="UpsertMultiple")
    assert len(deliver(emulator, tmp_path, metrics(1, 2)).acknowledged) == 2
    assert [r["targets"] for r in emulator.requests() if r["targets"]] == [2, 1, 1]


def test_a_service_that_stays_down_is_a_transient_failure(emulator, tmp_path):
    emulator.fault("status", status=503, count=99)
    delivery = deliver(emulator, tmp_path, metrics(1))
    assert isinstance(delivery.failure, TransientError)
    assert delivery.acknowledged == ()


def test_a_missing_privilege_is_named(emulator, tmp_path):
    emulator.register(
        DENIED, client_secret="x", denied=["prvCreateapex_CampaignMetrics"]
    )
    delivery = deliver(
        emulator, tmp_path, metrics(1), client_id=DENIED, client_secret="x"
    )
    assert isinstance(delivery.failure, AuthError)
    assert "prvCreateapex_CampaignMetrics" in str(delivery.failure)


def test_an_unknown_application_user_is_explained(emulator, tmp_path):
    emulator.register(STRANGER, client_secret="x", user=False)
    delivery = deliver(
        emulator, tmp_path, metrics(1), client_id=STRANGER, client_secret="x"
    )
    assert isinstance(delivery.failure, AuthError)
    assert "application user" in str(delivery.failure)


def test_a_wrong_secret_shows_the_code(emulator, tmp_path):
    delivery = deliver(emulator, tmp_path, metrics(1), client_secret="wrong")
    assert delivery.failure.code == "AADSTS7000215"


def test_an_untrusted_certificate_names_the_variable(emulator, tmp_path):
    delivery = deliver(emulator, tmp_path, metrics(1), ca_bundle=None)
    assert "APEX_CA_BUNDLE" in str(delivery.failure)


def test_a_missing_table_says_how_to_make_it(tmp_path):
    with serve(Options("secret", empty=True)) as bare:
        delivery = deliver(bare, tmp_path, metrics(1))
    assert isinstance(delivery.failure, SchemaDriftError)
    assert "apex provision dataverse" in str(delivery.failure)
