"""The panel's application: routes and middleware."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from markupsafe import Markup
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from apex_pipeline.analytics.rollups.history import HistoryDay
from apex_pipeline.panel import (
    api_documents,
    exposition,
    page_view,
    refusals,
    templating,
)
from apex_pipeline.panel.api_documents import Document
from apex_pipeline.panel.cached_sources import Sources
from apex_pipeline.panel.downloads import DAILY, HISTORY, Downloads, is_noted
from apex_pipeline.panel.measurement import Latencies, Measured
from apex_pipeline.panel.openapi import openapi
from apex_pipeline.panel.parameters import (
    DAYS,
    HISTORY_DAYS,
    LIMIT,
    InvalidParameterError,
    ZoneParameter,
)
from apex_pipeline.panel.record_endpoint import RECORDING_OPENAPI, recording_routes
from apex_pipeline.panel.responses import HTML, json_response, tagged
from apex_pipeline.settings import PanelSettings, Tenant
from apex_pipeline.web_gate.gatekeeping import (
    Bounds,
    Gatekeeper,
    RateLimit,
    SecurityHeaders,
)
from apex_pipeline.web_gate.rate_limit import REQUESTS, SIGN_INS, Buckets, Rate
from apex_pipeline.web_gate.root_path import RootPath
from apex_pipeline.web_gate.sessions import Sessions
from apex_pipeline.web_gate.sign_in import SignIn

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors "
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # Without any referrer, a browser would also hide the origin of the forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True)
class Panel:
    """The handlers of the routes."""

    sources: Sources
    sign_in: SignIn
    latencies: Latencies
    tenant: Tenant
    root: str

    async def page(self, request: Request) -> Response:
        """The page, with its first figures already rendered."""
        days = DAYS.read(request.query_params)
        # Each waits for its source; together they answer as soon as the slowest does.
        (_, kpis), past, ahead, lately = await asyncio.gather(
            self._kpis(),
            self.sources.history(days),
            self.sources.outlook.get(),
            self._lately(),
        )
        known = past.value.days if past.value else ()
        outlook = ahead.value.outlook if ahead.value else None
        body = templating.render(
            "page.html",
            title=templating.page_title(self.tenant),
            root=self.root,
            live=page_view.live(kpis, lately, self.sources.time_zone()),
            time_zone=self.sources.time_zone(),
            campaigns=page_view.campaigns(past.value.campaigns if past.value else ()),
            history=api_documents.history_document(past)[1],
            forecast=api_documents.forecast_document(ahead)[1],
            rows=page_view.rows(known),
            totals=page_view.totals(outlook),
            # Our own SVG, built from numbers and dates.
            picture=Markup(page_view.picture(known, outlook) or ""),  # noqa: S704
            days=days,
            choices=HISTORY_DAYS,
            is_signed_in=self.sign_in.is_signed_in(request),
        )
        return tagged(request, body, HTML)

    async def live(self, request: Request) -> Response:
        """The part of the page that the browser polls."""
        _, kpis = await self._kpis()
        shown = page_view.live(kpis, await self._lately(), self.sources.time_zone())
        body = templating.render("live.html", live=shown)
        return tagged(request, body, HTML)

    async def kpis(self, request: Request) -> Response:
        """`GET /api/kpis`."""
        return _answer(request, await self._kpis())

    async def recent(self, request: Request) -> Response:
        """`GET /api/metrics/recent`."""
        limit = LIMIT.read(request.query_params)
        reading = await self.sources.recent(limit)
        return _answer(request, api_documents.recent_document(reading, limit))

    async def history(self, request: Request) -> Response:
        """`GET /api/history`."""
        days = DAYS.read(request.query_params)
        zone = ZoneParameter(self.sources.time_zones()).read(request.query_params)
        reading = await self.sources.history(days, zone)
        return _answer(request, api_documents.history_document(reading))

    async def forecast(self, request: Request) -> Response:
        """`GET /api/forecast`."""
        reading = await self.sources.outlook.get()
        return _answer(request, api_documents.forecast_document(reading))

    async def healthz(self, request: Request) -> Response:
        """`GET /healthz`: whether the process runs; it checks nothing else."""
        return json_response(request, {"ok": True})

    async def readyz(self, request: Request) -> Response:
        """`GET /readyz`."""
        health = await self.sources.health.get()
        comparison = self.sources.comparison.peek()
        return _answer(request, api_documents.readiness_document(health, comparison))

    async def metrics(self, _: Request) -> Response:
        """`GET /metrics`, for Prometheus; sends no request to Dataverse."""
        health = await self.sources.health.get()
        totals = await self.sources.totals.get()
        comparison, use = self.sources.comparison.peek(), self.sources.dataverse_use()
        body = exposition.expose(
            [
                *exposition.sync_families(health.current, totals.current),
                *exposition.token_families(totals.current, use),
                *exposition.dataverse_families(comparison, use),
                self.latencies.family(),
            ],
            self.tenant.labels,
        )
        headers = {"Cache-Control": "no-store"}
        return Response(body, 200, headers, exposition.CONTENT_TYPE)

    async def openapi(self, request: Request) -> Response:
        """`GET /openapi.json`."""
        needs_token = self.sign_in.sessions is not None
        document = openapi(
            RECORDING_OPENAPI,
            needs_token=needs_token,
            time_zones=self.sources.time_zones(),
            root=self.root,
        )
        return json_response(request, document)

    async def _lately(self) -> Sequence[HistoryDay]:
        reading = await self.sources.history(min(HISTORY_DAYS))
        return reading.value.days if reading.value else ()

    async def _kpis(self) -> tuple[int, Document]:
        # The first request waits for both at once, for ten seconds at most. The read of
        # Dataverse starts with the health, because Dataverse may be throttling the sync.
        health, comparison = await asyncio.gather(
            self.sources.health.get(), self.sources.comparison.get()
        )
        return api_documents.kpis_document(comparison, health, datetime.now(UTC))


def make_app(
    settings: PanelSettings,
    sources: Sources,
    *,
    requests: Rate = REQUESTS,
    ended_sessions: Path | None = None,
) -> ASGIApp:
    """Build the application; it connects to its sources on the first request.

    Args:
        settings: Address to listen on, and the token to sign in with.
        sources: What it shows.
        requests: How many each client may send.
        ended_sessions: File of signed-out sessions, shared with the Dagster UI.
    """
    sessions = (
        None
        if settings.token is None
        else Sessions(settings.token, ended=ended_sessions)
    )
    title = templating.page_title(settings.tenant)
    root, framers = settings.root_path, settings.frame_ancestors
    form = partial(templating.sign_in_form, title, root)
    sign_in = SignIn(sessions, Buckets(SIGN_INS), form, root, is_framed=bool(framers))
    latencies = Latencies()
    panel = Panel(sources, sign_in, latencies, settings.tenant, root)
    routes = _routes(panel, sign_in)
    latencies.know(route.path for route in routes if isinstance(route, Route))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await sources.close()

    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=settings.allowed_origins,
                allow_headers=["Authorization", "If-None-Match"],
                expose_headers=["ETag", "Retry-After"],
            ),
            Middleware(RateLimit, buckets=Buckets(requests)),
            Middleware(GZipMiddleware, minimum_size=500, compresslevel=5),
            Middleware(Bounds),
            Middleware(
                Gatekeeper,
                settings=settings,
                sessions=sessions,
                is_private=is_noted,
                readers=settings.allowed_origins,
                root=root,
            ),
        ],
        exception_handlers={
            HTTPException: refusals.refuse,
            InvalidParameterError: refusals.refuse_parameter,
            Exception: refusals.apologize,
        },
        lifespan=lifespan,
    )
    guarded = SecurityHeaders(app, _headers(framers))
    return RootPath(Measured(guarded, latencies), root)


def _headers(framers: Sequence[str]) -> dict[str, str]:
    """The headers of every answer.

    Args:
        framers: Origins whose pages may show the panel in a frame. X-Frame-Options cannot
            name them, and browsers prefer `frame-ancestors`.
    """
    refused = {} if framers else {"X-Frame-Options": "DENY"}
    policy = _POLICY + (" ".join(framers) or "'none'")
    return _HEADERS | refused | {"Content-Security-Policy": policy}


def _routes(panel: Panel, sign_in: SignIn) -> list[BaseRoute]:
    downloads = Downloads(panel.sources)
    return [
        Route("/", panel.page),
        Route("/live", panel.live),
        *sign_in.routes(),
        Route("/api/metrics/recent", panel.recent),
        Route("/api/kpis", panel.kpis),
        Route("/api/history", panel.history),
        Route("/api/forecast", panel.forecast),
        Route(DAILY, downloads.daily),
        Route(HISTORY, downloads.history),
        Route("/api/campaigns.csv", downloads.campaigns),
        *recording_routes(panel.sources.open_database, panel.sources.author),
        Route("/healthz", panel.healthz),
        Route("/readyz", panel.readyz),
        Route("/metrics", panel.metrics),
        Route("/openapi.json", panel.openapi),
        Mount("/static", StaticFiles(directory=templating.STATIC)),
    ]


def _answer(request: Request, answer: tuple[int, Document]) -> Response:
    status, document = answer
    return json_response(request, document, status)
