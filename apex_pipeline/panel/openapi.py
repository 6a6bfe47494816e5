"""The API described in OpenAPI 3.1, by the same definitions that its routes obey."""

from collections.abc import Mapping, Sequence
from typing import Any

from apex_pipeline import __version__
from apex_pipeline.panel.api_schemas import Schema, schemas
from apex_pipeline.panel.parameters import DAYS, LIMIT, WholeNumberParameter
from apex_pipeline.web_gate.gatekeeping import COOKIE, HEALTH

_JSON = "application/json"


def openapi(*parts: Mapping[str, Any], needs_token: bool) -> Schema:
    """The document.

    Args:
        parts: Paths and schemas of routes that are described elsewhere.
        needs_token: Whether the token has to be shown.
    """
    described = _guarded(_paths(), "401", "429")
    health = _get("Whether the process lives", "Health")
    described_schemas = schemas()
    for part in parts:
        described |= _guarded(part["paths"], "401", "403", "413", "429")
        described_schemas |= part["components"]["schemas"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Apex campaign metrics",
            "version": __version__,
            "description": "What campaigns cost and achieved, and whether the sync of "
            "their metrics into Dataverse keeps up. null is no data, never 0.",
        },
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
                    "description": "APEX_PANEL_TOKEN, where one is set.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": "What a person gets for the token by signing in.",
                },
            },
            "schemas": described_schemas,
            "responses": _responses(),
        },
    }


def _paths() -> Schema:
    return {
        "/api/metrics/recent": _get(
            "The newest records of Dataverse",
            "RecentMetrics",
            [LIMIT],
            failures=("400", "502", "503"),
        ),
        "/api/kpis": _get(
            "The last 24 hours beside the 24 before, and the sync's health",
            "Kpis",
            also={"502": "Kpis", "503": "Kpis"},
        ),
        "/api/history": _get(
            "The last whole days", "History", [DAYS], failures=("400", "503")
        ),
        "/api/forecast": _get(
            "The daily cost that is expected", "Forecast", failures=("503",)
        ),
        "/api/rollups/daily.csv": _download(
            "The rollups of all days, campaigns and phases", "503"
        ),
        "/api/history.csv": _download("The last whole days", "400", "503", days=DAYS),
        "/readyz": _get(
            "Whether Postgres answers and Dataverse is configured",
            "Readiness",
            also={"503": "Readiness"},
        ),
    }


def _get(
    summary: str,
    schema: str,
    parameters: Sequence[WholeNumberParameter] = (),
    *,
    failures: Sequence[str] = (),
    also: Mapping[str, str] | None = None,
) -> Schema:
    """A route that is read: what it answers, and with what it fails."""
    answers: Schema = {
        "200": _answer("What was asked for.", schema),
        "304": {"description": "It is what the tag in If-None-Match stands for."},
    }
    answers |= _refusals(*failures)
    answers |= {
        code: _answer("There is nothing to show, and why.", name)
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
        "200": {"description": "A file, RFC 4180, with a header.", "content": file},
        "304": {"description": "It is what the tag in If-None-Match stands for."},
    }
    operation: Schema = {
        "summary": summary,
        "responses": answers | _refusals(*failures),
    }
    if days:
        operation["parameters"] = [days.schema()]
    return {"get": operation}


def _guarded(paths: Mapping[str, Any], *codes: str) -> Schema:
    """The paths, each operation with what stands before it."""
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
        "400": "A parameter is not one of those that are taken.",
        "401": "No token was shown, or another.",
        "403": "Another site's page asked for a change.",
        "413": "The request is too large.",
        "429": "Too many requests; Retry-After says when to ask again.",
        "502": "Dataverse does not answer, or refuses us.",
        "503": "Something is not configured, or Postgres does not answer.",
    }
    return {code: _answer(text, "Failure") for code, text in described.items()}
