"""JSON schemas of the API's answers, built from the definitions that produce them.

pydantic makes them from types. What a route returns is not validated again: a test holds
the answers to the schemas.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, TypeAdapter, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from apex_pipeline.analytics.forecast.latest_forecast import (
    OutlookCampaign,
    OutlookDay,
    OutlookTotal,
)
from apex_pipeline.analytics.rollups.history import HistoryDay
from apex_pipeline.column_types import ColumnType, DecimalNumber, Text, WholeNumber
from apex_pipeline.metrics import COLUMNS, PRIMARY_KEY
from apex_pipeline.panel.api_documents import ACCURACY
from apex_pipeline.panel.tiles import TILES

Schema = dict[str, Any]

_COUNT = Annotated[int, Field(ge=0)]
_OUTCOME = {"ok": bool, "error": str | None, "message": str | None}


def schemas() -> Schema:
    """All schemas by name; objects have exactly the named members."""
    wanted = [
        _object("Failure", ok=Literal[False], error=str, message=str),
        _recent_metrics(),
        _kpis(),
        _object(
            "History",
            **_PASSES,
            time_zone=str,
            as_of=datetime,
            stale=bool,
            days=list[HistoryDay],
        ),
        _forecast(),
        _object("Health", **_PASSES),
        _object(
            "Readiness",
            ok=bool,
            database=Literal["ok", "failed"],
            dataverse=Literal["ok", "failed", "not_asked", "not_configured"],
            message=str | None,
        ),
    ]
    _, document = TypeAdapter.json_schemas(
        [(each.__name__, "serialization", TypeAdapter(each)) for each in wanted],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Numbers,
    )
    found: Schema = document["$defs"]
    return {
        name: {**schema, "additionalProperties": False}
        for name, schema in found.items()
    }


_PASSES = {"ok": Literal[True]}


class _Numbers(GenerateJsonSchema):
    """A decimal is written as a number, not as text."""

    def decimal_schema(self, schema: Any) -> JsonSchemaValue:  # noqa: ARG002  pydantic's
        return {"type": "number"}


def _object(name: str, /, **members: Any) -> Any:
    required = {member: (kind, ...) for member, kind in members.items()}
    # mypy does not see that the members' names are not the options' names.
    make: Any = create_model
    return make(name, __config__=ConfigDict(extra="forbid"), **required)


def _list(of: Any) -> Any:
    return list[of]


def _recent_metrics() -> Any:
    columns = {
        column.dataverse: Annotated[
            _column(column.type) | None, Field(description=column.description)
        ]
        for column in COLUMNS
    }
    metric = _object("Metric", **{PRIMARY_KEY: UUID | None}, **columns)
    return _object(
        "RecentMetrics",
        **_PASSES,
        count=_COUNT,
        metrics=_list(metric),
        as_of=datetime,
        stale=bool,
    )


def _kpis() -> Any:
    figure = _object(
        "Figure",
        key=Literal[*(figure.key for tile in TILES for figure in tile.figures)],
        label=str,
        unit=Literal["USD", "ms", "%", "assets", "tokens"],
        value=Decimal | None,
        previous=Decimal | None,
        change=Decimal | None,
        change_unit=Literal["%", "points"],
    )
    tile = _object(
        "Tile",
        key=Literal[*(tile.key for tile in TILES)],
        label=str,
        better=Literal["lower", "higher", "neither"],
        figures=Annotated[_list(figure), Field(min_length=1)],
    )
    number = len(TILES)
    return _object(
        "Kpis",
        **_OUTCOME,
        state=Literal["fresh", "stale", "empty", "error"],
        as_of=datetime | None,
        generated_at=datetime,
        max_age_s=_COUNT,
        poll_after_s=float,
        window_hours=Literal[24],
        runs=_object("ComparedRuns", current=_COUNT, previous=_COUNT) | None,
        tiles=Annotated[_list(tile), Field(min_length=number, max_length=number)],
        sync=_object(
            "Sync",
            **_OUTCOME,
            as_of=datetime | None,
            pending=_COUNT | None,
            oldest_pending_seconds=float | None,
            quarantined=_COUNT | None,
            last_success_at=datetime | None,
            last_failure=str | None,
            delivered_24h=_COUNT | None,
            throttled_until=datetime | None,
        ),
    )


def _forecast() -> Any:
    return _object(
        "Forecast",
        **_PASSES,
        available=bool,
        reason=str,
        note=str,
        as_of=datetime | None,
        made_on=date | None,
        model=str | None,
        time_zone=str,
        stale=bool,
        days=list[OutlookDay],
        totals=list[OutlookTotal],
        campaigns=list[OutlookCampaign],
        accuracy=_object("Accuracy", **dict.fromkeys(ACCURACY, Decimal | None)) | None,
    )


def _column(kind: ColumnType) -> Any:
    match kind:
        case Text(max_length):
            return Annotated[str, Field(max_length=max_length)]
        case WholeNumber(minimum, maximum):
            return Annotated[int, Field(ge=minimum, le=maximum)]
        case DecimalNumber():
            return Decimal
        case _:
            return datetime
