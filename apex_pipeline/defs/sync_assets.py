"""The three assets of the sync: one step, through which rows stream."""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from apex_pipeline.defs.services import Services
from apex_pipeline.errors import ApexError
from apex_pipeline.metrics import COLUMNS, PRIMARY_KEY, TABLE
from apex_pipeline.stream import StreamOptions
from apex_pipeline.sync import (
    DEFAULT_TIME_BUDGET_SECONDS,
    SyncOptions,
    SyncReport,
    run_sync,
)

SKIPPED_TAG = "apex/skipped"
"""Run tag that says why a run delivered nothing, though it did not fail."""

_OWNERS = ["team:apex-data"]
_GROUP = "sync"
_POSTGRES_SCHEMA = dg.TableSchema(
    columns=[
        dg.TableColumn("id", description="Primary key, and that of the record"),
        *(dg.TableColumn(c.postgres, description=c.description) for c in COLUMNS),
    ]
)
_DATAVERSE_SCHEMA = dg.TableSchema(
    columns=[
        dg.TableColumn(PRIMARY_KEY, description="Primary key: the row's id"),
        *(dg.TableColumn(c.dataverse, description=c.description) for c in COLUMNS),
    ]
)
_LINEAGE = dg.TableColumnLineage(
    deps_by_column={
        c.dataverse: [dg.TableColumnDep(dg.AssetKey("campaign_metrics"), c.postgres)]
        for c in COLUMNS
    }
    | {PRIMARY_KEY: [dg.TableColumnDep(dg.AssetKey("campaign_metrics"), "id")]}
)

campaign_metrics = dg.AssetSpec(
    "campaign_metrics",
    description="One row for each campaign run, written by the agents into Postgres.",
    group_name=_GROUP,
    kinds={"postgres"},
    owners=_OWNERS,
    metadata={
        "dagster/table_name": "campaign_metrics",
        "dagster/column_schema": _POSTGRES_SCHEMA,
    },
)

PENDING = dg.AssetSpec(
    "pending_campaign_metrics",
    description="Rows that Dataverse does not hold yet, oldest first, none forgotten.",
    deps=[campaign_metrics],
    group_name=_GROUP,
    kinds={"postgres"},
    owners=_OWNERS,
    skippable=True,
    metadata={
        "dagster/table_name": "campaign_metrics_pending",
        "dagster/column_schema": _POSTGRES_SCHEMA,
    },
)
DELIVERED = dg.AssetSpec(
    "dataverse_campaign_metrics",
    description=(
        "Records upserted into Dataverse by the row's own id: in bulk, and one by one "
        "where a bulk request is refused, so that a bad row costs only itself."
    ),
    deps=[PENDING],
    group_name=_GROUP,
    kinds={"dataverse"},
    owners=_OWNERS,
    skippable=True,
    metadata={
        "dagster/table_name": TABLE,
        "dagster/column_schema": _DATAVERSE_SCHEMA,
        "dagster/column_lineage": _LINEAGE,
    },
)
EXPORTED = dg.AssetSpec(
    "exported_campaign_metrics",
    description="Rows marked in `exported_at`, after Dataverse acknowledged them.",
    deps=[DELIVERED],
    group_name=_GROUP,
    kinds={"postgres"},
    owners=_OWNERS,
    skippable=True,
    metadata={"dagster/table_name": "campaign_metrics"},
)
DELIVERY_COMPLETE = dg.AssetCheckSpec(
    "delivery_complete",
    asset=DELIVERED.key,
    description="The run ended without a failure; what it left is due to time alone.",
)
ROWS_ACCEPTED = dg.AssetCheckSpec(
    "rows_accepted",
    asset=DELIVERED.key,
    description="No row was refused. Refused rows are in the quarantine, with reasons.",
)


class SyncConfig(dg.Config):
    """What one run may do; the defaults are those of the schedule."""

    page_size: int = Field(
        default=1000, ge=1, le=10_000, description="Rows read from Postgres at a time."
    )
    rows_per_request: int = Field(
        default=100, ge=1, le=1000, description="Rows in one UpsertMultiple request."
    )
    time_budget_seconds: float = Field(
        default=DEFAULT_TIME_BUDGET_SECONDS,
        gt=0,
        le=DEFAULT_TIME_BUDGET_SECONDS,
        description="After so many seconds nothing more is begun; rows stay pending.",
    )
    limit: int | None = Field(
        default=None, ge=1, description="Deliver no more rows than this."
    )
    dry_run: bool = Field(
        default=False, description="Read and validate; send nothing and mark nothing."
    )
    accept_duplicates: bool = Field(
        default=False,
        description=(
            "Deliver although the table holds records that another flow made. "
            "Remembered; needed once."
        ),
    )

    def options(self) -> SyncOptions:
        """The same, for the core."""
        return SyncOptions(
            StreamOptions(
                page_size=self.page_size,
                rows_per_request=self.rows_per_request,
                limit=self.limit,
                dry_run=self.dry_run,
            ),
            time_budget=self.time_budget_seconds,
            accept_duplicates=self.accept_duplicates,
        )


@dg.multi_asset(
    name="sync",
    specs=[PENDING, DELIVERED, EXPORTED],
    check_specs=[DELIVERY_COMPLETE, ROWS_ACCEPTED],
)
def synced_campaign_metrics(
    context: dg.AssetExecutionContext, config: SyncConfig, services: Services
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Deliver pending rows to Dataverse and mark them."""
    try:
        settings = services.settings()
        with services.open_store(settings) as store:
            report = run_sync(
                store,
                settings.dataverse,
                settings.token_cache_path,
                config.options(),
                dagster_run_id=context.run_id,
            )
    except ApexError as error:
        raise _failed(error) from None
    if report.skipped or config.dry_run:
        note = report.skipped or f"dry run: {report.read} rows read, none sent"
        context.log.info(note)
        context.instance.add_run_tags(context.run_id, {SKIPPED_TAG: note})
    else:
        yield from _results(report)
    if report.failure is not None:
        raise _failed(report.failure, report)


def _failed(error: ApexError, report: SyncReport | None = None) -> dg.Failure:
    """A failed run; the client has already retried what is worth retrying."""
    metadata: dict[str, Any] = {"cause": type(error).__name__}
    if report is not None:
        metadata |= {"delivered": report.delivered, "remaining": report.remaining}
    return dg.Failure(str(error), metadata=metadata, allow_retries=False)


def _results(
    report: SyncReport,
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """In topological order, each once: Dagster keeps what precedes a failure."""
    seconds = (report.finished_at - report.started_at).total_seconds()
    asked = report.token_hits + report.token_misses
    yield dg.MaterializeResult(
        asset_key=PENDING.key,
        metadata={
            "dagster/row_count": report.read,
            "oldest_pending_age_seconds": report.oldest_pending_age_seconds or 0.0,
        },
    )
    yield dg.MaterializeResult(
        asset_key=DELIVERED.key,
        metadata={
            "dagster/row_count": report.delivered,
            "rows_rejected": report.rejected,
            "requests": report.requests,
            "seconds": seconds,
            "rows_per_second": report.delivered / seconds if seconds else 0.0,
            "throttled_seconds": report.throttled_seconds,
            "token_hit_rate_pct": 100 * report.token_hits / asked if asked else 100.0,
            "last_rows": dg.MetadataValue.md(preview_table(report.preview)),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=DELIVERY_COMPLETE.name,
                passed=report.failure is None,
                severity=dg.AssetCheckSeverity.ERROR,
                metadata={"failure": str(report.failure or "none")},
            ),
            dg.AssetCheckResult(
                check_name=ROWS_ACCEPTED.name,
                passed=report.rejected == 0,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"rows_rejected": report.rejected},
            ),
        ],
    )
    yield dg.MaterializeResult(
        asset_key=EXPORTED.key,
        metadata={
            "dagster/row_count": report.delivered,
            "rows_remaining": report.remaining if report.remaining is not None else -1,
        },
    )


def preview_table(records: tuple[str, ...]) -> str:
    """Records as a Markdown table: values alone, nothing that Markdown would act on."""
    names = [column.dataverse for column in COLUMNS]
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    for record in records:
        values = json.loads(record, parse_float=str)
        cells = (_escaped(str(values[name])) for name in names)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _escaped(value: str) -> str:
    return "".join(
        character
        if character.isalnum() or character in " .:-+"
        else f"&#{ord(character)};"
        for character in value
    )
