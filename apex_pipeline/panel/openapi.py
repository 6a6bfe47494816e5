"""Describe the API in OpenAPI 3.1, from the definitions that its routes use."""

from collections.abc import Mapping, Sequence
from typing import Any

from apex_pipeline import __version__
from apex_pipeline.panel.api_schemas import Schema, schemas
from apex_pipeline.panel.parameters import (
    DAYS,
    LIMIT,
    Parameter,
    WholeNumberParameter,
    ZoneParameter,
)
from apex_pipeline.web_gate.gatekeeping import COOKIE, HEALTH

_JSON = "application/json"


def openapi(
    *parts: Mapping[str, Any],
    needs_token: bool,
    time_zones: tuple[str, ...] = ("UTC",),
    root: str = "",
) -> Schema:
    """The document.

    Args:
        parts: Paths and schemas of routes described elsewhere.
        needs_token: Whether requests need the token.
        time_zones: Those that rollups are made for.
        root: The path under which a reverse proxy publishes the API.
    """
    described = _guarded(_paths(ZoneParameter(time_zones)), "401", "429")
    health = _get("Liveness: the process runs", "Health")
    described_schemas = schemas()
    for part in parts:
        described |= _guarded(part["paths"], "401", "403", "413", "429")
        described_schemas |= part["components"]["schemas"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Apex campaign metrics",
            "version": __version__,
            "description": "Costs and results of campaigns, and the state of the sync "
            "of their metrics into Dataverse. null means no data; it is never 0.",
        },
        "servers": [{"url": root or "/"}],
        "security": [{"token": []}, {"session": []}] if needs_token else [],
        "paths": {
            **described,
            HEALTH: {"get": {**health["get"], "security": []}},
        },
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "APEX_PANEL_TOKEN, if it is set.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": "The session cookie that signing in sets.",
                },
            },
            "schemas": described_schemas,
            "responses": _responses(),
        },
    }


def _paths(zone: ZoneParameter) -> Schema:
    return {
        "/api/metrics/recent": _get(
            "Newest records in Dataverse",
            "RecentMetrics",
            [LIMIT],
            failures=("400", "502", "503"),
        ),
        "/api/kpis": _get(
            "Last 24 hours compared with the 24 before, and the state of the sync",
            "Kpis",
            also={"502": "Kpis", "503": "Kpis"},
        ),
        "/api/history": _get(
            "Last whole days", "History", [DAYS, zone], failures=("400", "503")
        ),
        "/api/forecast": _get(
            "Forecast of the daily cost", "Forecast", failures=("503",)
        ),
        "/api/rollups/daily.csv": _download(
            "Rollups of all days, campaigns and phases", "503"
        ),
        "/api/history.csv": _download("The last whole days", "400", "503", days=DAYS),
        "/api/campaigns.csv": _download(
            "The costliest campaigns of the last whole days", "400", "503", days=DAYS
        ),
        "/readyz": _get(
            "Readiness: Postgres answers and Dataverse is configured",
            "Readiness",
            also={"503": "Readiness"},
        ),
    }


def _get(
    summary: str,
    schema: str,
    parameters: Sequence[Parameter] = (),
    *,
    failures: Sequence[str] = (),
    also: Mapping[str, str] | None = None,
) -> Schema:
    """A GET route: its parameters, answers and failures."""
    answers: Schema = {
        "200": _answer("Success.", schema),
        "304": {"description": "Not modified since the ETag in If-None-Match."},
    }
    answers |= _refusals(*failures)
    answers |= {
        code: _answer("Not available; the message says why.", name)
        for code, name in (also or {}).items()
    }
    operation: Schema = {"summary": summary, "responses": answers}
    if parameters:
        operation["parameters"] = [parameter.schema() for parameter in parameters]
    return {"get": operation}


def _download(
    summary: str, *failures: str, days: WholeNumberParameter | None = None
) -> Schema:
    file = {"text/csv": {"schema": {"type": "string"}}}
    answers: Schema = {
        "200": {"description": "CSV (RFC 4180) with a header line.", "content": file},
        "304": {"description": "Not modified since the ETag in If-None-Match."},
    }
    operation: Schema = {
        "summary": summary,
        "responses": answers | _refusals(*failures),
    }
    if days:
        operation["parameters"] = [days.schema()]
    return {"get": operation}


def _guarded(paths: Mapping[str, Any], *codes: str) -> Schema:
    """The paths, with the refusals that the gate adds to each operation."""
    return {
        path: {
            method: operation
            | {"responses": _refusals(*codes) | operation["responses"]}
            for method, operation in operations.items()
        }
        for path, operations in paths.items()
    }


def _refusals(*codes: str) -> Schema:
    return {code: {"$ref": f"#/components/responses/{code}"} for code in codes}


def _answer(description: str, schema: str) -> Schema:
    return {
        "description": description,
        "content": {_JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _responses() -> Schema:
    described = {
        "400": "A parameter has an invalid value.",
        "401": "The token is missing or wrong.",
        "403": "The request came from another site's page.",
        "413": "The request is too large.",
        "429": "Too many requests; retry after Retry-After seconds.",
        "502": "Dataverse does not answer, or refuses the request.",
        "503": "Something is not configured, or Postgres does not answer.",
    }
    return {code: _answer(text, "Failure") for code, text in described.items()}
