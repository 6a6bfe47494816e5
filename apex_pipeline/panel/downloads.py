"""CSV downloads: written from one snapshot, then sent as fast as a client reads.

A slow client occupies a temporary file but nothing in the database. Failures happen
before the first byte is sent.
"""

import asyncio
import csv
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import astuple, dataclass, field, fields
from io import StringIO
from typing import IO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from apex_pipeline.analytics.csv.csv_files import Written
from apex_pipeline.analytics.csv.csv_queries import harmless
from apex_pipeline.analytics.rollups.costliest_campaigns import CampaignCost
from apex_pipeline.errors import ApexError
from apex_pipeline.panel import api_documents
from apex_pipeline.panel.cached_sources import Sources
from apex_pipeline.panel.parameters import DAYS
from apex_pipeline.panel.responses import has_tag, json_response, tagged
from apex_pipeline.panel.source_values import History
from apex_pipeline.web_gate.gatekeeping import credential_of

CSV = "text/csv; charset=utf-8; header=present"

DAILY = "/api/rollups/daily.csv"
HISTORY = "/api/history.csv"
_AT_ONCE = 2
_IN_MEMORY_BYTES = 4 * 1024 * 1024
_BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Downloads:
    """The CSV files of the API."""

    sources: Sources
    turns: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(_AT_ONCE)
    )

    async def daily(self, request: Request) -> Response:
        """`GET /api/rollups/daily.csv`."""
        credential = credential_of(request.headers)
        return await self._answer(
            request,
            "daily_campaign_rollup.csv",
            lambda file: self.sources.write_daily(file, credential),
        )

    async def history(self, request: Request) -> Response:
        """`GET /api/history.csv`."""
        days = DAYS.read(request.query_params)
        credential = credential_of(request.headers)
        return await self._answer(
            request,
            f"history_{days}d.csv",
            lambda file: self.sources.write_history(file, days, credential),
        )

    async def campaigns(self, request: Request) -> Response:
        """`GET /api/campaigns.csv`: what the page's table of campaigns shows."""
        days = DAYS.read(request.query_params)
        reading = await self.sources.history(days)
        if reading.value is None:
            status, document = api_documents.history_document(reading)
            return json_response(request, document, status)
        name = f'attachment; filename="campaigns_{days}d.csv"'
        headers = {"Content-Disposition": name}
        return tagged(request, _campaigns(reading.value), CSV, headers=headers)

    async def _answer(
        self, request: Request, name: str, write: Callable[[IO[bytes]], Written]
    ) -> Response:
        try:
            file, written = await self._write(write)
        except ApexError as error:
            status, document = api_documents.failed(error)
            return json_response(request, document, status)
        return _sent(request, file, written, name)

    async def _write(
        self, write: Callable[[IO[bytes]], Written]
    ) -> tuple[IO[bytes], Written]:
        file = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115  it is sent
        try:
            async with self.turns:
                return file, await asyncio.to_thread(write, file)
        except BaseException:
            # Closing the file also stops a thread that still writes.
            file.close()
            raise


def is_noted(path: str) -> bool:
    """Whether a request leaves an event in the audit trail, in its viewer's name."""
    return path in {DAILY, HISTORY}


def _campaigns(past: History) -> bytes:
    text = StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(("time_zone", *(each.name for each in fields(CampaignCost))))
    for campaign in past.campaigns:
        values = (past.time_zone, *astuple(campaign))
        rows.writerow(harmless(v) if isinstance(v, str) else v for v in values)
    return text.getvalue().encode()


def _sent(request: Request, file: IO[bytes], written: Written, name: str) -> Response:
    # Strong would be a lie once it is compressed on the way.
    tag = f'W/"{written.sha256[:32]}"'
    headers = {"Cache-Control": "private, no-cache", "ETag": tag}
    if has_tag(request, tag):
        file.close()
        return Response(None, 304, headers)
    headers["Content-Disposition"] = f'attachment; filename="{name}"'
    headers["Content-Length"] = str(written.size)
    return StreamingResponse(_blocks(file), 200, headers, CSV)


async def _blocks(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        file.seek(0)
        while block := await asyncio.to_thread(file.read, _BLOCK_BYTES):
            yield block
