"""The tables of the model: campaign metrics as Dataverse has them, and the days.

Names, types and descriptions of columns come from `metrics.COLUMNS`.
"""

from apex_pipeline.column_types import ColumnType, DecimalNumber, Text, Timestamp
from apex_pipeline.metrics import COLUMNS, TABLE, Column
from apex_pipeline.powerbi.measures import MEASURES
from apex_pipeline.powerbi.semantic_model import (
    DataType,
    ModelColumn,
    ModelRelationship,
    ModelTable,
    Parameter,
    Partition,
    SemanticModel,
)
from apex_pipeline.powerbi.utc_offsets import utc_changes

METRICS = "Campaign Metrics"
DATE = "Date"

_ENVIRONMENT = Parameter(
    "DataverseEnvironment",
    '"contoso.crm.dynamics.com"',
    "Text",
    "Host of the Dataverse environment: without https:// and without a slash.",
)
_OBJECTIVE = Parameter(
    "LatencyObjectiveMs",
    "60000",
    "Number",
    "Latency objective in milliseconds, as in APEX_SLO_P95_MS. A run whose 95th "
    "percentile is above it is slow. 0 for none.",
)
_ZONE = Parameter(
    "BusinessTimeZone",
    f'"{utc_changes("UTC", 2000, 2000)}"',
    "Text",
    "Time zone of days and times: its name, and since when it is how many minutes from "
    "UTC. Paste what apex powerbi time-zone prints.",
)

# Shown to report authors. The others are read through measures.
_VISIBLE = {"campaign_id", "run_id", "phase", "created_at"}
_WORDS = {"id": "ID", "usd": "(USD)", "ms": "(ms)", "pct": "(%)"}
DELIVERED = "createdon"
_INSTANT = "yyyy-mm-dd hh:nn"
_DAY = "yyyy-mm-dd"


def label(postgres: str) -> str:
    """The column's name in the model: `cost_usd` is `Cost (USD)`."""
    return " ".join(_WORDS.get(w, w.capitalize()) for w in postgres.split("_"))


def model_type(column: ColumnType) -> DataType:
    """The type in the model.

    Decimals are doubles: the model's fixed-point type rounds to four places, and costs
    have five.
    """
    if isinstance(column, Text):
        return "string"
    if isinstance(column, Timestamp):
        return "dateTime"
    return "double" if isinstance(column, DecimalNumber) else "int64"


M_TYPES = {
    "string": "type text",
    "dateTime": "type datetime",
    "double": "type number",
    "int64": "Int64.Type",
}
_FORMATS: dict[DataType, str] = {
    "string": "",
    "dateTime": _INSTANT,
    "double": "#,0.00",
    "int64": "#,0",
}


def _model_column(column: Column) -> ModelColumn:
    kind = model_type(column.type)
    name = label(column.postgres)
    zone = "; in the business time zone here" if kind == "dateTime" else ""
    return ModelColumn(
        name,
        kind,
        name,
        f"{column.description}{zone}. {column.dataverse} in Dataverse.",
        _FORMATS[kind],
        is_hidden=column.postgres not in _VISIBLE,
    )


_DERIVED = (
    ModelColumn(
        "Delivered At",
        "dateTime",
        "Delivered At",
        f"When Dataverse created the record, in the business time zone. {DELIVERED} in "
        "Dataverse.",
        _INSTANT,
    ),
    ModelColumn(
        "Created Date",
        "dateTime",
        "Created Date",
        "Day on which the run was recorded, in the business time zone.",
        _DAY,
        is_hidden=True,
        holds_days=True,
    ),
    ModelColumn(
        "Delivered Date",
        "dateTime",
        "Delivered Date",
        "Day on which Dataverse created the record, in the business time zone.",
        _DAY,
        is_hidden=True,
        holds_days=True,
    ),
    ModelColumn(
        "Delay (min)",
        "double",
        "Delay (min)",
        "Minutes from the run's recording to its delivery.",
        "#,0.0",
        is_hidden=True,
    ),
    ModelColumn(
        "Is Slow",
        "boolean",
        "Is Slow",
        "Whether the run's 95th percentile of latency is above LatencyObjectiveMs; "
        "blank without an objective.",
        is_hidden=True,
    ),
    ModelColumn(
        "Refreshed Date",
        "dateTime",
        "Refreshed Date",
        "Day of the last refresh, in the business time zone; the same in each row.",
        _DAY,
        is_hidden=True,
        holds_days=True,
    ),
)


def _listed(items: list[str]) -> str:
    return ",\n".join(f"            {item}" for item in items)


# Dataverse has times in UTC. M knows no time zones by name, so the parameter lists when
# the distance from UTC changes.
_TO_ZONE = """    Changes = List.Buffer(
        List.Transform(
            List.Skip(Text.Split(BusinessTimeZone, "; ")),
            each [
                Since = DateTime.FromText(Text.BeforeDelimiter(_, " ")),
                Minutes = Number.FromText(Text.AfterDelimiter(_, " "))
            ]
        )
    ),
    ToZone = (at) =>
        let
            Last = List.Last(List.Select(Changes, each [Since] <= at))
        in
            at + #duration(0, 0, Last[Minutes], 0),"""


def _metrics_query() -> str:
    """Power Query for the rows: select, rename and type the columns, then derive."""
    delivered = (DELIVERED, "Delivered At", M_TYPES["dateTime"])
    columns = [
        (c.dataverse, label(c.postgres), M_TYPES[model_type(c.type)]) for c in COLUMNS
    ] + [delivered]
    selected = _listed([f'"{source}"' for source, _, _ in columns])
    renamed = _listed([f'{{"{source}", "{name}"}}' for source, name, _ in columns])
    typed = _listed([f'{{"{name}", {kind}}}' for _, name, kind in columns])
    p95 = label("latency_p95_ms")
    return f"""let
{_TO_ZONE}
    Source = CommonDataService.Database(
        DataverseEnvironment,
        [CreateNavigationProperties = false]
    ),
    Records = Source{{[Schema = "dbo", Item = "{TABLE}"]}}[Data],
    Selected = Table.SelectColumns(
        Records,
        {{
{selected}
        }}
    ),
    Renamed = Table.RenameColumns(
        Selected,
        {{
{renamed}
        }}
    ),
    Typed = Table.TransformColumnTypes(
        Renamed,
        {{
{typed}
        }}
    ),
    Delay = Table.AddColumn(
        Typed,
        "Delay (min)",
        each Duration.TotalMinutes([Delivered At] - [Created At]),
        type number
    ),
    Zoned = Table.TransformColumns(
        Delay,
        {{
            {{"Created At", ToZone, type datetime}},
            {{"Delivered At", ToZone, type datetime}}
        }}
    ),
    CreatedDate = Table.AddColumn(
        Zoned,
        "Created Date",
        each DateTime.Date([Created At]),
        type date
    ),
    DeliveredDate = Table.AddColumn(
        CreatedDate,
        "Delivered Date",
        each DateTime.Date([Delivered At]),
        type date
    ),
    Judged = Table.AddColumn(
        DeliveredDate,
        "Is Slow",
        each if LatencyObjectiveMs > 0 then [#"{p95}"] > LatencyObjectiveMs else null,
        type logical
    ),
    Today = DateTime.Date(ToZone(DateTimeZone.RemoveZone(DateTimeZone.FixedUtcNow()))),
    Refreshed = Table.AddColumn(Judged, "Refreshed Date", each Today, type date)
in
    Refreshed"""


# An empty table has no earliest day; CALENDAR refuses a blank.
_DAYS = f"""VAR FirstDay = COALESCE(MIN('{METRICS}'[Created Date]), UTCTODAY())
VAR LastDay = COALESCE(MAX('{METRICS}'[Delivered Date]), UTCTODAY())
RETURN
    ADDCOLUMNS(
        CALENDAR(FirstDay, MAX(FirstDay, LastDay)),
        "Month", FORMAT([Date], "yyyy-MM")
    )"""

MODEL = SemanticModel(
    parameters=(_ENVIRONMENT, _OBJECTIVE, _ZONE),
    tables=(
        ModelTable(
            METRICS,
            f"One row per campaign run. The table {TABLE} in Dataverse.",
            (*(_model_column(column) for column in COLUMNS), *_DERIVED),
            Partition("m", _metrics_query()),
            MEASURES,
        ),
        ModelTable(
            DATE,
            "One row per day, in the business time zone, from the first run to the last "
            "delivery.",
            (
                ModelColumn(
                    "Date",
                    "dateTime",
                    "[Date]",
                    "Calendar day, in the business time zone.",
                    _DAY,
                    is_key=True,
                    holds_days=True,
                ),
                ModelColumn("Month", "string", "[Month]", "Calendar month: 2026-11."),
            ),
            Partition("calculated", _DAYS),
            is_calendar=True,
        ),
    ),
    relationships=(
        ModelRelationship((METRICS, "Created Date"), (DATE, "Date")),
        ModelRelationship((METRICS, "Delivered Date"), (DATE, "Date"), is_active=False),
    ),
)
"""The model that `powerbi/` holds."""
