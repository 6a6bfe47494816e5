"""Each way to deliver rows, as a process of its own: `python -m benchmarks.contenders NAME`.

Reads a JSON object from standard input: where the service is, and the rows. Prints the
processor time and the peak memory of the delivery. A contender that raises has stopped
there; what it had delivered by then counts.
"""

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

TABLE = "apex_campaignmetrics"
SET = "apex_campaignmetricses"
SLOTS = 10
CHUNK = 100
AT_ONCE = 50

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ends:
    """Where rows go, and where they come from."""

    url: str
    authority: str
    client_id: str
    secret: str
    ca: str
    token: str
    database_url: str
    folder: str
    window_seconds: float = 0
    others: Sequence[str] = ()


def ours(ends: Ends, rows: list[Row]) -> None:
    """`run_sync`, from Postgres to the mark, until nothing is pending."""
    from apex_pipeline.dataverse import window_budget
    from apex_pipeline.postgres.store import connect
    from apex_pipeline.settings import Credential, DataverseSettings
    from apex_pipeline.sync.run import run_sync
    from apex_pipeline.sync.run_options import SyncOptions

    options = SyncOptions(time_budget=600, accept_duplicates=True)
    if ends.window_seconds:
        # Requests as long beside the window as they may be beside the documented one.
        scale = ends.window_seconds / window_budget.WINDOW_SECONDS
        options = replace(options, request_timeout=options.request_timeout * scale)
        window_budget.WINDOW_SECONDS = ends.window_seconds
    settings = DataverseSettings(
        ends.client_id,
        ends.secret,
        resource=ends.url,
        authority=ends.authority,
        ca_bundle=Path(ends.ca),
        others=tuple(Credential(each, ends.secret) for each in ends.others),
    )
    with connect(ends.database_url) as store:
        report = run_sync(
            store,
            settings,
            Path(ends.folder) / "tokens.json",
            options,
        )
    if report.failure:
        raise report.failure
    del rows


class _Credential:
    """The SDK's way to ask for a token; it is fetched beforehand, for all contenders."""

    def __init__(self, ends: Ends) -> None:
        self._token = ends.token

    def get_token(self, *_: str, **__: Any) -> Any:
        from azure.core.credentials import AccessToken

        return AccessToken(self._token, int(time.time()) + 3000)


class _AsyncCredential(_Credential):
    async def get_token(self, *_: str, **__: Any) -> Any:
        return super().get_token()

    async def close(self) -> None:
        return None

    async def __aenter__(self) -> "_AsyncCredential":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


def _items(rows: Sequence[Row]) -> list[Any]:
    from PowerPlatform.Dataverse.models.upsert import UpsertItem

    keys = ("apex_campaignid", "apex_runid")
    left_out = {*keys, "apex_campaignmetricsid"}
    return [
        UpsertItem(
            {key: row[key] for key in keys},
            {name: value for name, value in row.items() if name not in left_out},
        )
        for row in rows
    ]


def _sdk(ends: Ends, rows: list[Row], chunk: int) -> None:
    from PowerPlatform.Dataverse.client import DataverseClient

    with DataverseClient(ends.url, _Credential(ends)) as client:
        for portion in _chunks(rows, chunk):
            client.records.upsert(TABLE, _items(portion))


def sdk(ends: Ends, rows: list[Row]) -> None:
    """Microsoft's SDK as it comes: one call with all rows."""
    _sdk(ends, rows, len(rows))


def sdk_chunks(ends: Ends, rows: list[Row]) -> None:
    """Microsoft's SDK, called once for each hundred rows."""
    _sdk(ends, rows, CHUNK)


def sdk_async(ends: Ends, rows: list[Row]) -> None:
    """Microsoft's asynchronous SDK, a hundred rows a call, ten slots made by hand."""
    from PowerPlatform.Dataverse.aio.async_client import AsyncDataverseClient

    async def run() -> None:
        async with AsyncDataverseClient(ends.url, _AsyncCredential(ends)) as client:

            async def send(portion: Sequence[Row]) -> None:
                await client.records.upsert(TABLE, _items(portion))

            await _in_slots(send, _chunks(rows, CHUNK), SLOTS)

    asyncio.run(run())


def dlt_destination(ends: Ends, rows: list[Row]) -> None:
    """Dlt with a custom destination: a hundred rows a batch, UpsertMultiple by id."""
    import dlt

    os.environ["DLT_DATA_DIR"] = ends.folder
    with httpx.Client(verify=ends.ca, headers=_headers(ends), timeout=120) as client:

        def dataverse(items: Any, table: Any) -> None:
            del table
            client.post(_bulk(ends), json=_targets(items)).raise_for_status()

        made = dlt.destination(
            dataverse, batch_size=CHUNK, naming_convention="direct", name="dataverse"
        )
        pipeline = dlt.pipeline(
            "benchmark", destination=made, pipelines_dir=ends.folder
        )
        # Otherwise dlt makes it a datetime, which JSON cannot carry.
        text = {"apex_createdat": {"data_type": "text"}}
        pipeline.run(
            iter(rows), table_name="metrics", columns=text
        ).raise_on_failed_jobs()


def drt(ends: Ends, rows: list[Row]) -> None:
    """Drt's REST destination in batches of a hundred, with an UpsertMultiple template."""
    from drt.config.destinations_saas import RestApiDestinationConfig
    from drt.config.models import SyncOptions
    from drt.destinations.rest_api import RestApiDestination

    config = RestApiDestinationConfig(
        type="rest_api",
        url=_bulk(ends),
        headers=_headers(ends),
        body_mode="batch",
        batch_template='{"Targets": {{ rows | tojson }}}',
        max_records_per_request=CHUNK,
    )
    options = SyncOptions.model_validate(
        {"on_error": "skip", "rate_limit": {"requests_per_second": 1000}}
    )
    RestApiDestination().load(_targets(rows)["Targets"], config, options)


def _flow(ends: Ends, rows: list[Row], at_once: int) -> None:
    """The replaced flow: one create and one UPDATE for each row."""
    import psycopg

    def deliver(portion: Sequence[Row]) -> None:
        with (
            httpx.Client(verify=ends.ca, headers=_headers(ends), timeout=120) as client,
            psycopg.connect(ends.database_url, autocommit=True) as connection,
        ):
            for row in portion:
                record = {k: v for k, v in row.items() if k != "apex_campaignmetricsid"}
                answer = client.post(f"{ends.url}/api/data/v9.2/{SET}", json=record)
                if answer.is_success:
                    connection.execute(
                        "UPDATE campaign_metrics SET exported_at = now() WHERE run_id = %s",
                        [row["apex_runid"]],
                    )

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(deliver, [rows[n::at_once] for n in range(at_once)]))


def flow(ends: Ends, rows: list[Row]) -> None:
    """The replaced flow, one row after the other."""
    _flow(ends, rows, 1)


def flow_parallel(ends: Ends, rows: list[Row]) -> None:
    """The replaced flow, fifty rows at a time."""
    _flow(ends, rows, AT_ONCE)


def _targets(rows: Sequence[Row]) -> dict[str, list[Row]]:
    kind = f"Microsoft.Dynamics.CRM.{TABLE}"
    return {"Targets": [{"@odata.type": kind, **_of_table(row)} for row in rows]}


def _of_table(row: Row) -> Row:
    return {name: value for name, value in row.items() if name.startswith("apex_")}


def _bulk(ends: Ends) -> str:
    return f"{ends.url}/api/data/v9.2/{SET}/Microsoft.Dynamics.CRM.UpsertMultiple"


def _headers(ends: Ends) -> dict[str, str]:
    kind = "application/json"
    return {"Authorization": f"Bearer {ends.token}", "Content-Type": kind}


def _chunks(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


async def _in_slots(
    send: Callable[[Sequence[Row]], Awaitable[None]],
    portions: list[Sequence[Row]],
    slots: int,
) -> None:
    gate = asyncio.Semaphore(slots)

    async def one(portion: Sequence[Row]) -> None:
        async with gate:
            await send(portion)

    await asyncio.gather(*map(one, portions))


CONTENDERS: dict[str, Callable[[Ends, list[Row]], None]] = {
    "ours": ours,
    "sdk": sdk,
    "sdk-chunks": sdk_chunks,
    "sdk-async": sdk_async,
    "dlt": dlt_destination,
    "drt": drt,
    "flow": flow,
    "flow-50": flow_parallel,
}


LOADED_BEFORE = {
    "ours": ("apex_pipeline.sync.run", "msal"),
    "sdk": ("PowerPlatform.Dataverse.client",),
    "sdk-chunks": ("PowerPlatform.Dataverse.client",),
    "sdk-async": ("PowerPlatform.Dataverse.aio.async_client",),
    "dlt": ("dlt",),
    "drt": ("drt.destinations.rest_api",),
    "flow": ("psycopg",),
    "flow-50": ("psycopg",),
}
"""Modules whose import is startup, and no part of the delivery."""


def _peak_kib() -> int:
    """Peak resident memory of this program; Linux only.

    `ru_maxrss` would start at what the parent had used when it forked.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def main() -> None:
    """Deliver, then print what it cost."""
    told = json.load(sys.stdin)
    name, file = sys.argv[1], Path(told.pop("rows"))
    rows: list[Row] = []
    if name != "ours":
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    ends = Ends(**told)
    for module in LOADED_BEFORE[name]:
        importlib.import_module(module)
    before, stopped = time.process_time(), ""
    try:
        CONTENDERS[name](ends, rows)
    except Exception as error:  # noqa: BLE001  whatever a rival raises ends it
        # The service knows what it had delivered.
        stopped = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
    print(
        json.dumps(
            {
                "cpu": time.process_time() - before,
                "peak_kib": _peak_kib(),
                "stopped": stopped,
            }
        )
    )


if __name__ == "__main__":
    main()
