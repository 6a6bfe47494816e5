"""The API described in OpenAPI 3.1, by the same definitions that its routes obey."""

from collections.abc import Mapping, Sequence
from typing import Any

from apex_pipeline import __version__
from apex_pipeline.metrics import (
    COLUMNS,
    PRIMARY_KEY,
    ColumnType,
    DecimalNumber,
    Text,
    WholeNumber,
)
from apex_pipeline.panel.documents import ACCURACY, TILES
from apex_pipeline.panel.gatekeeping import COOKIE, HEALTH
from apex_pipeline.panel.parameters import DAYS, LIMIT, WholeNumberParameter

Schema = dict[str, Any]

_JSON = "application/json"
_INSTANT: Schema = {"type": "string", "format": "date-time"}
_DAY: Schema = {"type": "string", "format": "date"}
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}


def openapi(*parts: Mapping[str, Any], needs_token: bool) -> Schema:
    """The document.

    Args:
        parts: Paths and schemas of routes that are described elsewhere.
        needs_token: Whether the token has to be shown.
    """
    described = _guarded(_paths(), "401", "429")
    health = _get("Whether the process lives", "Health")
    schemas = _schemas()
    for part in parts:
        described |= _guarded(part["paths"], "401", "403", "413", "429")
        schemas |= part["components"]["schemas"]
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
            "schemas": schemas,
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


def _download(summary: str, *failures: str) -> Schema:
    file = {"text/csv": {"schema": _TEXT}}
    answers: Schema = {
        "200": {"description": "A file, RFC 4180, with a header.", "content": file},
        "304": {"description": "It is what the tag in If-None-Match stands for."},
    }
    return {"get": {"summary": summary, "responses": answers | _refusals(*failures)}}


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


def _schemas() -> Schema:
    return {
        "Failure": _object(
            {"ok": {"const": False}, "error": _TEXT, "message": _TEXT},
        ),
        "RecentMetrics": _object(
            {
                "ok": {"const": True},
                "count": _COUNT,
                "metrics": _list(_ref("Metric")),
                "as_of": _INSTANT,
                "stale": _FLAG,
            }
        ),
        "Metric": _object(
            {PRIMARY_KEY: _or_null({"type": "string", "format": "uuid"})}
            | {
                column.dataverse: _or_null(_column(column.type))
                | {"description": column.description}
                for column in COLUMNS
            }
        ),
        **_kpi_schemas(),
        **_history_schemas(),
        "Health": _object({"ok": {"const": True}}),
        "Readiness": _object(
            {
                "ok": _FLAG,
                "database": {"enum": ["ok", "failed"]},
                "dataverse": {"enum": ["ok", "failed", "not_asked", "not_configured"]},
                "message": _or_null(_TEXT),
            }
        ),
    }


def _kpi_schemas() -> Schema:
    keys = [tile.key for tile in TILES]
    figures = [figure.key for tile in TILES for figure in tile.figures]
    return {
        "Kpis": _object(
            {
                **_told(),
                "state": {"enum": ["fresh", "stale", "empty", "error"]},
                "as_of": _or_null(_INSTANT),
                "generated_at": _INSTANT,
                "max_age_s": _COUNT,
                "poll_after_s": _COUNT,
                "window_hours": {"const": 24},
                "runs": _or_null(_object({"current": _COUNT, "previous": _COUNT})),
                "tiles": _list(_ref("Tile"))
                | {"minItems": len(keys), "maxItems": len(keys)},
                "sync": _ref("Sync"),
            }
        ),
        "Tile": _object(
            {
                "key": {"enum": keys},
                "label": _TEXT,
                "better": {"enum": ["lower", "higher", "neither"]},
                "figures": _list(_ref("Figure")) | {"minItems": 1},
            }
        ),
        "Figure": _object(
            {
                "key": {"enum": figures},
                "label": _TEXT,
                "unit": {"enum": ["USD", "ms", "%", "assets", "tokens"]},
                "value": _or_null(_NUMBER),
                "previous": _or_null(_NUMBER),
                "change": _or_null(_NUMBER),
                "change_unit": {"enum": ["%", "points"]},
            }
        ),
        "Sync": _object(
            {
                **_told(),
                "as_of": _or_null(_INSTANT),
                "pending": _or_null(_COUNT),
                "oldest_pending_seconds": _or_null(_NUMBER),
                "quarantined": _or_null(_COUNT),
                "last_success_at": _or_null(_INSTANT),
                "last_failure": _or_null(_TEXT),
                "delivered_24h": _or_null(_COUNT),
                "throttled_until": _or_null(_INSTANT),
            }
        ),
    }


def _history_schemas() -> Schema:
    measures = (
        *("success_rate_pct", "assets_generated", "tokens_in", "tokens_out"),
        *("cost_usd", "latency_p95_worst_ms", "latency_p95_median_ms", "runs_avg_7d"),
        *("cost_avg_7d_usd", "cost_before_usd"),
    )
    ends = ("low_50_usd", "high_50_usd", "low_80_usd", "high_80_usd")
    cost = {"cost_usd": _NUMBER, **{name: _or_null(_NUMBER) for name in ends}}
    total = {"horizon": {"enum": ["7d", "30d", "90d", "month_end"]}}
    total |= {"first_day": _DAY, "last_day": _DAY, "spent_usd": _NUMBER, **cost}
    return {
        "History": _object(
            {
                "ok": {"const": True},
                "time_zone": _TEXT,
                "as_of": _INSTANT,
                "stale": _FLAG,
                "days": _list(_ref("HistoryDay")),
            }
        ),
        "HistoryDay": _object(
            {
                "day": _DAY,
                "is_computed": _FLAG,
                "runs": _or_null(_COUNT),
                **{name: _or_null(_NUMBER) for name in measures},
            }
        ),
        "Forecast": _object(
            {
                "ok": {"const": True},
                "available": _FLAG,
                "reason": _TEXT,
                "note": _TEXT,
                "as_of": _or_null(_INSTANT),
                "made_on": _or_null(_DAY),
                "model": _or_null(_TEXT),
                "time_zone": _TEXT,
                "stale": _FLAG,
                "days": _list(_object({"day": _DAY, **cost})),
                "totals": _list(_object(total)),
                "accuracy": _or_null(
                    _object({name: _or_null(_NUMBER) for name in ACCURACY})
                ),
            }
        ),
    }


def _told() -> Schema:
    return {"ok": _FLAG, "error": _or_null(_TEXT), "message": _or_null(_TEXT)}


def _column(kind: ColumnType) -> Schema:
    match kind:
        case Text(max_length):
            return {"type": "string", "maxLength": max_length}
        case WholeNumber(minimum, maximum):
            return {"type": "integer", "minimum": minimum, "maximum": maximum}
        case DecimalNumber():
            return dict(_NUMBER)
        case _:
            return dict(_INSTANT)


def _object(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
