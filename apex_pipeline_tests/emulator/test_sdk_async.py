"""The asynchronous client of Microsoft's SDK against the emulator."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pandas as pd
import pytest
from PowerPlatform.Dataverse.aio.async_client import AsyncDataverseClient
from PowerPlatform.Dataverse.core.errors import HttpError
from PowerPlatform.Dataverse.models import col
from PowerPlatform.Dataverse.models.upsert import UpsertItem

from apex_pipeline.emulator import ServedEmulator
from apex_pipeline_tests.support.emulator_server import (
    AsyncMsalCredential,
    campaign_metric,
    trusting,
)

TABLE = "apex_campaignmetrics"
Run = Callable[[Callable[[Any], Awaitable[None]]], None]


@pytest.fixture
def run(emulator: ServedEmulator, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a coroutine function with a client; the SDK takes no TLS settings."""
    session = aiohttp.ClientSession
    monkeypatch.setattr(
        aiohttp,
        "ClientSession",
        lambda: session(connector=aiohttp.TCPConnector(ssl=trusting(emulator))),
    )

    def start(body: Callable[[Any], Awaitable[None]]) -> None:
        async def within() -> None:
            credential = AsyncMsalCredential(emulator)
            async with AsyncDataverseClient(emulator.url, credential) as client:
                await body(client)

        asyncio.run(within())

    return start


def record(**overrides):
    filled = campaign_metric(**overrides)
    del filled["@odata.type"], filled["apex_campaignmetricsid"]
    return filled


def test_records(run: Run, emulator):
    async def body(client):
        record_id = await client.records.create(TABLE, record(apex_runid="one"))
        found = await client.records.retrieve(TABLE, record_id, select=["apex_runid"])
        assert found["apex_runid"] == "one"
        await client.records.update(TABLE, record_id, {"apex_phase": "new"})
        assert emulator.records()[0]["apex_phase"] == "new"
        await client.records.delete(TABLE, record_id)
        ids = await client.records.create(TABLE, [record() for _ in range(3)])
        await client.records.update(TABLE, ids, {"apex_phase": "all"})
        assert {each["apex_phase"] for each in emulator.records()} == {"all"}

    run(body)


def test_pages(run: Run):
    async def body(client):
        targets = [record(apex_runid=f"r {number}") for number in range(7)]
        await client.records.create(TABLE, targets)
        runs = []
        async for page in client.records.list_pages(
            TABLE, select=["apex_runid"], orderby=["apex_runid"], page_size=3
        ):
            runs += [row["apex_runid"] for row in page]
        assert runs == [f"r {number}" for number in range(7)]

    run(body)


def test_query_builder(run: Run):
    async def body(client):
        await client.records.create(
            TABLE, [record(apex_tokensin=number) for number in range(5)]
        )
        found = await (
            client.query.builder(TABLE)
            .select("apex_tokensin")
            .where((col("apex_tokensin") > 2) & (col("apex_phase") == "2-3"))
            .order_by("apex_tokensin")
            .execute()
        )
        assert [row["apex_tokensin"] for row in found] == [3, 4]

    run(body)


def test_tables_columns_and_keys(run: Run):
    async def body(client):
        await client.tables.create("apex_Product", {"apex_Price": "decimal"})
        await client.tables.add_columns("apex_Product", {"apex_Extra": "string"})
        await client.tables.remove_columns("apex_Product", "apex_Extra")
        made = await client.tables.create_alternate_key(
            "apex_Product", "apex_ProductKey", ["apex_name"]
        )
        (key,) = await client.tables.get_alternate_keys("apex_Product")
        assert (key.metadata_id, key.status) == (made.metadata_id, "Active")
        for price in (1, 2):
            await client.records.upsert(
                "apex_Product",
                [
                    UpsertItem({"apex_name": f"it's {each}"}, {"apex_price": price})
                    for each in "ab"
                ],
            )
        rows = await client.records.list("apex_Product", select=["apex_price"])
        assert [row["apex_price"] for row in rows] == [2, 2]
        await client.tables.delete("apex_Product")
        assert await client.tables.get("apex_Product") is None

    run(body)


def test_batch(run: Run, emulator):
    async def body(client):
        batch = client.batch.new()
        batch.records.create(TABLE, record(apex_runid="a"))
        batch.records.create(TABLE, record(apex_phase="x" * 17))
        async with batch.changeset() as changes:
            reference = changes.records.create(TABLE, record(apex_runid="b"))
            changes.records.update(TABLE, reference, {"apex_phase": "later"})
        result = await batch.execute(continue_on_error=True)
        assert [each.status_code for each in result.responses] == [204, 400, 204, 204]
        phases = {each["apex_runid"]: each["apex_phase"] for each in emulator.records()}
        assert phases == {"a": "2-3", "b": "later"}

    run(body)


def test_dataframes(run: Run, emulator):
    async def body(client):
        frame = pd.DataFrame([record(), record()])
        frame["apex_campaignmetricsid"] = await client.dataframe.create(TABLE, frame)
        frame["apex_phase"] = ["x", "y"]
        await client.dataframe.update(TABLE, frame, id_column="apex_campaignmetricsid")
        assert {each["apex_phase"] for each in emulator.records()} == {"x", "y"}

    run(body)


def test_errors(run: Run):
    async def body(client):
        with pytest.raises(HttpError) as caught:
            await client.records.create(TABLE, record(apex_phase="x" * 17))
        assert caught.value.details["service_error_code"] == "0x80044331"
        with pytest.raises(HttpError, match="does not do this"):
            await client.query.sql(f"SELECT apex_runid FROM {TABLE}")

    run(body)


def test_a_lookup_is_made_and_removed(run: Run):
    async def body(client):
        await client.tables.create("apex_Agent", {"apex_Note": "memo"})
        made = await client.tables.create_lookup_field(
            referencing_table=TABLE,
            lookup_field_name="apex_AgentId",
            referenced_table="apex_agent",
        )
        found = await client.tables.get_relationship(made.relationship_schema_name)
        assert found.referencing_entity == TABLE
        await client.tables.delete_relationship(made.relationship_id)

    run(body)
