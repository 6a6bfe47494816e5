"""The asset of the nightly CSV files, and the job that exports any range on request."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from apex_pipeline.analytics.csv.csv_datasets import DAILY_ROWS
from apex_pipeline.analytics.csv.export_audit import exporting
from apex_pipeline.analytics.csv.export_folder import Exported, export_files
from apex_pipeline.analytics.csv.exported_files import ExportedFile
from apex_pipeline.analytics.csv.on_request import (
    export_months_on_request,
    export_on_request,
)
from apex_pipeline.analytics.csv.parquet_files import Month
from apex_pipeline.analytics.rollups.history import totals
from apex_pipeline.analytics.rollups.periods import DAILY, Periods
from apex_pipeline.audit.events import Action, Event
from apex_pipeline.audit.intents import intended
from apex_pipeline.defs.analytics.rollup_assets import (
    asked_periods,
    preview,
    shown,
    today_in,
)
from apex_pipeline.defs.analytics.rollup_specs import (
    CSV_KEY,
    DAILY_FRESHNESS,
    DAILY_KEY,
    DAILY_METADATA,
    DAYS,
    FORECAST_KEY,
    GROUP,
    HISTORY_KEY,
    OWNERS,
    WEEKLY_KEY,
)
from apex_pipeline.defs.form_schema import form_schema
from apex_pipeline.defs.job_tags import ANALYSIS_TAGS, OPERATOR_TAGS
from apex_pipeline.defs.metadata import table
from apex_pipeline.defs.pool_limits import ANALYSIS_POOL
from apex_pipeline.defs.run_failures import failures
from apex_pipeline.defs.services import Services, author_of
from apex_pipeline.flags_and_launchpad_forms.export_form import ExportForm

FILES_MATCH_ROLLUPS = dg.AssetCheckSpec(
    "files_match_rollups",
    asset=CSV_KEY,
    description="Each file of this run, read back, has as many rows as the "
    "database had when it was written.",
)
FILES_OUTLAST_RUNS = dg.AssetCheckSpec(
    "files_outlast_runs",
    asset=CSV_KEY,
    description="The files of earlier runs are still there. They are lost with each run "
    "where runs are separate containers and `APEX_EXPORT_DIR` names a folder of their own: "
    "name an object store or a mounted volume.",
)

# Columns of the daily files. docs/csv.md and the database describe the others.
_SCHEMA: dg.TableSchema = DAILY_METADATA["dagster/column_schema"]
_OF_THE_VIEW = [
    dg.TableColumn("is_complete", "boolean", "Whether the day was over then."),
    dg.TableColumn("campaign_name", "text", "What people call the campaign."),
]
_METADATA = {
    "dagster/column_schema": dg.TableSchema([*_SCHEMA.columns, *_OF_THE_VIEW]),
    "dagster/column_lineage": dg.TableColumnLineage(
        {c.name: [dg.TableColumnDep(DAILY_KEY, c.name)] for c in _SCHEMA.columns}
    ),
}

_PREVIEW_FILES = 8
_EXAMPLES = 5


@dg.asset(
    key=CSV_KEY,
    deps=[
        DAILY_KEY,
        # A run writes every week that is out of date. Its days cannot be mapped to
        # weeks, because weekly partitions may use the other time zone.
        dg.AssetDep(WEEKLY_KEY, partition_mapping=dg.AllPartitionMapping()),
        HISTORY_KEY,
        FORECAST_KEY,
    ],
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[FILES_MATCH_ROLLUPS, FILES_OUTLAST_RUNS],
    metadata=_METADATA,
    group_name=GROUP,
    pool=ANALYSIS_POOL,
    owners=OWNERS,
    kinds={"csv", "file"},
    freshness_policy=DAILY_FRESHNESS,
    description="Rollups, history and forecast as CSV files in `APEX_EXPORT_DIR`, in the "
    "business time zone: `daily/` has one file per day, `weekly/` one per completed week "
    "(by its Monday), beside `history_30d.csv`, `_60d`, `_90d`, `forecast.csv` and "
    "`forecast_totals.csv`. With `APEX_EXPORT_FORMATS=csv,parquet`, `parquet/` has days and "
    "weeks, one typed file a month. Each run writes the files of its days, the current files, and "
    "any file that is missing or older than its rollup.",
)
def campaign_csv_exports(
    context: dg.AssetExecutionContext, services: Services
) -> dg.MaterializeResult:
    """Write the files of the run's days and every file that is out of date."""
    with failures():
        settings = services.analysis_settings()
        days = asked_periods(context, DAILY)
        event = Event(
            Action.EXPORT,
            author_of(context.run),
            {"first": str(days.first), "last": str(days.last), "to": "APEX_EXPORT_DIR"},
        )
        with services.open_database() as database:
            with intended(database, event) as ending:
                exported = export_files(database, settings, days)
                files = exported.files
                ending.counts = {
                    "files": len(files),
                    "rows": sum(file.written.rows for file in files),
                }
            zone = settings.time_zone
            found = totals(database, DAILY, zone, shown(days))
            today = today_in(database, zone)
    outlast = _check_outlast(context, exported)
    _tell(context, files, days, _overview(files) | preview(DAILY, found, today))
    return dg.MaterializeResult(check_results=[_check(files), outlast])


def _tell(
    context: dg.AssetExecutionContext,
    files: Sequence[ExportedFile],
    days: Periods,
    overview: dict[str, Any],
) -> None:
    """Report each day's file, including days outside the partitions of this run."""
    asked_for = frozenset(days.labels())
    # A day without runs has no file.
    for label in asked_for - {f.label for f in files if f.dataset is DAILY_ROWS}:
        whole = overview if label == days.last else {}
        context.add_asset_metadata(
            {"dagster/partition_row_count": 0} | whole, partition_key=label.isoformat()
        )
    for file in files:
        if file.dataset is not DAILY_ROWS or file.label is None:
            continue
        key, facts = file.label.isoformat(), _facts(file)
        if file.label not in asked_for:
            context.log_event(
                dg.AssetMaterialization(CSV_KEY, partition=key, metadata=facts)
            )
            continue
        # Attach the overview to one event only; each event stores its own copy.
        whole = overview if file.label == days.last else {}
        context.add_asset_metadata(whole | facts, partition_key=key)


def _facts(file: ExportedFile) -> dict[str, Any]:
    return {
        "path": dg.MetadataValue.path(file.place),
        "dagster/partition_row_count": file.written.rows,
        "bytes": file.written.size,
        "sha256": file.written.sha256,
    }


def _overview(files: Sequence[ExportedFile]) -> dict[str, Any]:
    """Totals and the last files of this run."""
    return {
        "files_written": len(files),
        "rows_written": sum(file.written.rows for file in files),
        "bytes_written": sum(file.written.size for file in files),
        "last_files": table(
            ("file", "rows", "bytes"),
            [
                (file.name, file.written.rows, file.written.size)
                for file in files[-_PREVIEW_FILES:]
            ],
        ),
    }


def _check(files: Sequence[ExportedFile]) -> dg.AssetCheckResult:
    wrong = [file for file in files if not file.is_right]
    return dg.AssetCheckResult(
        check_name=FILES_MATCH_ROLLUPS.name,
        passed=not wrong,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "files": len(files),
            "wrong": len(wrong),
            "examples": "; ".join(
                f"{file.place}: {file.rows_read_back} rows read back, "
                f"{file.rows_in_table} in the database"
                for file in wrong[:_EXAMPLES]
            )
            or "none",
        },
    )


def _check_outlast(
    context: dg.AssetExecutionContext, exported: Exported
) -> dg.AssetCheckResult:
    """An empty folder is right before the first run, and for no other."""
    earlier = context.instance.get_latest_materialization_event(context.asset_key)
    return dg.AssetCheckResult(
        check_name=FILES_OUTLAST_RUNS.name,
        passed=earlier is None or not exported.was_empty,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "folder": exported.place,
            "files_found": "none" if exported.was_empty else "those of earlier runs",
        },
    )


@dg.op(pool=ANALYSIS_POOL, config_schema=form_schema(ExportForm))
def write_requested_csv(context: dg.OpExecutionContext, services: Services) -> None:
    """Write one file, or a folder of months, to the folder `on_request`."""
    with failures():
        settings = services.analysis_settings()
        form = ExportForm(**context.op_config)
        selection, is_parquet = form.selection(settings), form.is_parquet
        author = author_of(context.run)
        with (
            services.open_database() as database,
            exporting(database, author, selection, "APEX_EXPORT_DIR") as ending,
        ):
            if is_parquet:
                months = export_months_on_request(database, settings, selection)
                facts = _months_facts(months)
            else:
                place, written = export_on_request(
                    database, settings, selection, compress=form.compress
                )
                facts = {
                    "path": dg.MetadataValue.path(place),
                    "rows": written.rows,
                    "bytes": written.size,
                    "sha256": written.sha256,
                }
            ending.counts["rows"] = facts["rows"]
    context.add_output_metadata(facts)


def _months_facts(months: Sequence[Month]) -> dict[str, Any]:
    places = [month.place.rpartition("/") for month in months]
    folder = {"path": dg.MetadataValue.path(places[0][0])} if places else {}
    rows = [month.rows for month in months]
    names = [name for *_, name in places]
    return {
        **folder,
        "rows": sum(rows),
        "files": table(("file", "rows"), list(zip(names, rows, strict=True))),
    }


@dg.job(
    executor_def=dg.in_process_executor,
    description="Writes one dataset as a CSV file, or as Parquet, to the folder on_request "
    "in APEX_EXPORT_DIR, like `apex export`. Run it for a range, time zone or dataset that "
    "the nightly files do not cover.",
    tags=OPERATOR_TAGS | ANALYSIS_TAGS,
)
def export_csv() -> None:
    write_requested_csv()
