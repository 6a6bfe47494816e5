"""Limits of a request, and the answer after an unexpected error."""

import asyncio

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from apex_pipeline.panel.app import make_app
from apex_pipeline.panel.cache import Reading
from apex_pipeline.panel.cached_sources import Sources
from apex_pipeline.panel.source_values import History
from apex_pipeline.settings import PanelSettings
from apex_pipeline.web_gate.gatekeeping import Bounds


def get(app: ASGIApp, path: str = "/") -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost"
        ) as client:
            return await client.get(path)

    return asyncio.run(ask())


def test_what_is_not_answered_in_time_is_given_up():
    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    answer = get(Bounds(never, seconds=0.01))
    assert (answer.status_code, answer.json()["error"]) == (503, "timed_out")


def test_an_answer_that_has_begun_takes_as_long_as_its_reader():
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.1)
        await send({"type": "http.response.body", "body": b"whole"})

    assert get(Bounds(slow, seconds=0.01)).text == "whole"


class Slipping(Sources):
    async def history(self, days: int, zone: str | None = None) -> Reading[History]:
        raise ZeroDivisionError("of a value that is nobody's business")


def test_a_slip_of_ours_is_told_without_its_details():
    answer = get(make_app(PanelSettings(), Slipping({})), "/api/history")
    assert answer.status_code == 500
    assert answer.json()["error"] == "internal_error"
    assert "business" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
