"""JSON schemas of the API's answers, built from the definitions that produce them."""

from typing import Any

from apex_pipeline.column_types import ColumnType, DecimalNumber, Text, WholeNumber
from apex_pipeline.metrics import COLUMNS, PRIMARY_KEY
from apex_pipeline.panel.api_documents import ACCURACY
from apex_pipeline.panel.tiles import TILES

Schema = dict[str, Any]

_INSTANT: Schema = {"type": "string", "format": "date-time"}
_DAY: Schema = {"type": "string", "format": "date"}
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}


def schemas() -> Schema:
    """All schemas by name; objects have exactly the named members."""
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
                **_outcome(),
                "state": {"enum": ["fresh", "stale", "empty", "error"]},
                "as_of": _or_null(_INSTANT),
                "generated_at": _INSTANT,
                "max_age_s": _COUNT,
                "poll_after_s": _NUMBER,
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
                **_outcome(),
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
    campaign = {
        "campaign_id": _TEXT,
        "campaign_name": _or_null(_TEXT),
        "horizon": total["horizon"],
        **dict.fromkeys(("last_28d_usd", "spent_usd", "cost_usd"), _NUMBER),
        **dict.fromkeys(("low_80_usd", "high_80_usd"), _or_null(_NUMBER)),
        "model": _or_null(_TEXT),
        "note": _TEXT,
        "difference_usd": _NUMBER,
    }
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
                "campaigns": _COUNT,
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
                "campaigns": _list(_object(campaign)),
                "accuracy": _or_null(
                    _object({name: _or_null(_NUMBER) for name in ACCURACY})
                ),
            }
        ),
    }


def _outcome() -> Schema:
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
