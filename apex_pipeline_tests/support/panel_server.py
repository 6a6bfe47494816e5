"""The panel, served by uvicorn in a thread, between a real Postgres and the emulator."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx

from apex_pipeline.emulator import ServedEmulator
from apex_pipeline.panel.app import make_app
from apex_pipeline.panel.cached_sources import Sources
from apex_pipeline.panel.source_values import Timings
from apex_pipeline.settings import PanelSettings
from apex_pipeline.web_gate.rate_limit import REQUESTS, Rate
from apex_pipeline.web_gate.serving import listen, make_server
from apex_pipeline_tests.support.emulator_server import (
    SET,
    UPSERT,
    campaign_metric,
    web_api,
)
from apex_pipeline_tests.support.waiting import SECONDS

TOKEN = "correct-horse-battery-staple"


@contextmanager
def served(
    environment: Mapping[str, str],
    *,
    timings: Timings | None = None,
    requests: Rate = REQUESTS,
    **settings: Any,
) -> Iterator[str]:
    """The URL of a panel that ends with the block."""
    chosen = PanelSettings(port=0, **settings)
    listener = listen(chosen)
    app = make_app(chosen, Sources(environment, timings), requests=requests)
    server = make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the panel did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        listener.close()


def ago(**units: float) -> str:
    """An instant before now, as Dataverse writes it."""
    return f"{datetime.now(UTC) - timedelta(**units):%Y-%m-%dT%H:%M:%SZ}"


def deliver(emulator: ServedEmulator, *records: Mapping[str, Any]) -> None:
    """Put records into Dataverse, as the sync does; what is not given is made up."""
    targets = [
        campaign_metric(
            **{
                "apex_campaignmetricsid": str(uuid4()),
                "apex_createdat": ago(hours=1),
                **record,
            }
        )
        for record in records
    ]
    with web_api(emulator) as api:
        api.post(UPSERT, json={"Targets": targets}).raise_for_status()
    emulator.clear_requests()


def reads(emulator: ServedEmulator) -> list[str]:
    """Addresses that were read from the table since the records were put there."""
    return [
        f"{request['path']}?{request['query']}"
        for request in emulator.requests()
        if request["method"] == "GET" and SET in str(request["path"])
    ]


def figures(kpis: httpx.Response) -> dict[str, tuple[float | None, float | None]]:
    """Key to value, and the value of the period before."""
    return {
        figure["key"]: (figure["value"], figure["previous"])
        for tile in kpis.json()["tiles"]
        for figure in tile["figures"]
    }
