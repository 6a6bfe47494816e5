"""The application: routes, and what stands before each of them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from apex_pipeline.panel import documents, pages
from apex_pipeline.panel.documents import Document
from apex_pipeline.panel.parameters import InvalidParameterError, WholeNumberParameter
from apex_pipeline.panel.responses import HTML, json_response, tagged
from apex_pipeline.panel.sources import HISTORY_DAYS, RECENT_TIERS, Sources
from apex_pipeline.settings import PanelSettings

LIMIT = WholeNumberParameter(
    "limit", "How many records, the newest first.", default=50, maximum=RECENT_TIERS[-1]
)
DAYS = WholeNumberParameter(
    "days", "How many whole days.", default=30, choices=HISTORY_DAYS
)


@dataclass(frozen=True, slots=True)
class Panel:
    """What the routes are served from."""

    settings: PanelSettings
    sources: Sources

    async def page(self, request: Request) -> Response:
        """The page, with all that it shows first already in it."""
        days = DAYS.read(request.query_params)
        _, kpis = await self._kpis()
        _, history = documents.history_document(await self.sources.history(days))
        _, forecast = documents.forecast_document()
        body = pages.render(
            "page.html",
            kpis=kpis,
            history=history,
            forecast=forecast,
            days=days,
            is_signed_in=False,
        )
        return tagged(request, body, HTML)

    async def kpis(self, request: Request) -> Response:
        """`GET /api/kpis`."""
        return _answer(request, await self._kpis())

    async def recent(self, request: Request) -> Response:
        """`GET /api/metrics/recent`."""
        limit = LIMIT.read(request.query_params)
        reading = await self.sources.recent(limit)
        return _answer(request, documents.recent_document(reading, limit))

    async def history(self, request: Request) -> Response:
        """`GET /api/history`."""
        days = DAYS.read(request.query_params)
        reading = await self.sources.history(days)
        return _answer(request, documents.history_document(reading))

    async def forecast(self, request: Request) -> Response:
        """`GET /api/forecast`."""
        return _answer(request, documents.forecast_document())

    async def healthz(self, request: Request) -> Response:
        """Whether the process lives; nothing else is asked."""
        return json_response(request, {"ok": True})

    async def _kpis(self) -> tuple[int, Document]:
        # The first look waits for both, the health first: Dataverse may have asked the
        # sync to wait, which the read then respects.
        health = await self.sources.health.get()
        comparison = await self.sources.comparison.get()
        return documents.kpis_document(comparison, health)


def make_app(settings: PanelSettings, make_sources: Callable[[], Sources]) -> Starlette:
    """The application; what it reads from is opened at the first look."""
    sources = make_sources()
    panel = Panel(settings, sources)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await sources.close()

    return Starlette(
        routes=[
            Route("/", panel.page),
            Route("/api/metrics/recent", panel.recent),
            Route("/api/kpis", panel.kpis),
            Route("/api/history", panel.history),
            Route("/api/forecast", panel.forecast),
            Route("/healthz", panel.healthz),
            Mount("/static", StaticFiles(directory=pages.STATIC)),
        ],
        middleware=[Middleware(GZipMiddleware, minimum_size=500, compresslevel=5)],
        exception_handlers={
            HTTPException: _refuse,
            InvalidParameterError: _refuse_parameter,
        },
        lifespan=lifespan,
    )


def _answer(request: Request, answer: tuple[int, Document]) -> Response:
    status, document = answer
    return json_response(request, document, status)


def _refuse(request: Request, error: Exception) -> Response:
    """JSON where programs ask, a line of text where people do."""
    assert isinstance(error, HTTPException)  # noqa: S101
    if request.url.path.startswith("/api/"):
        document = {"ok": False, "error": "not_found", "message": error.detail}
        return json_response(request, document, error.status_code, error.headers)
    return PlainTextResponse(error.detail, error.status_code, error.headers)


def _refuse_parameter(request: Request, error: Exception) -> Response:
    document = {"ok": False, "error": "invalid_request", "message": str(error)}
    return json_response(request, document, 400)
