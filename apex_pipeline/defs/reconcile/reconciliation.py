"""The reconciliation of rows with records: asset, checks, job and schedule."""

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from apex_pipeline.dataverse.environment import REQUEST_TIMEOUT_SECONDS
from apex_pipeline.defs.code_location import asset_key
from apex_pipeline.defs.form_schema import form_schema
from apex_pipeline.defs.job_tags import RETRY_LOST_TAGS, SCHEDULED_TAGS
from apex_pipeline.defs.metadata import escaped
from apex_pipeline.defs.pool_limits import bound_runtime
from apex_pipeline.defs.run_failures import failures
from apex_pipeline.defs.services import Services, author_of
from apex_pipeline.defs.sync.sync_assets import SKIPPED_TAG
from apex_pipeline.defs.sync_specs import CAMPAIGN_METRICS, OPERATIONS
from apex_pipeline.flags_and_launchpad_forms.reconcile_form import (
    LONGEST_SECONDS,
    ReconcileForm,
)
from apex_pipeline.reconcile.agreement import (
    SMALLEST_ENTITLEMENT,
    Agreement,
    read_agreement,
)
from apex_pipeline.reconcile.comparison_run import run_reconciliation
from apex_pipeline.reconcile.findings import Finding, FindingKind
from apex_pipeline.reconcile.run_report import ReconcileReport

RECONCILIATION_MAX_RUNTIME = timedelta(
    seconds=LONGEST_SECONDS + REQUEST_TIMEOUT_SECONDS + 120
)
"""Run monitoring fails a run that takes longer."""

RECONCILIATION_STEP = "dataverse_reconciliation"
"""The step's name; a tenant's asset has a prefix before it, and the step has none."""

RECONCILIATION = dg.AssetSpec(
    asset_key(RECONCILIATION_STEP),
    description=(
        "Compares exported rows with their Dataverse records, by id and in all 13 "
        "columns: everything that changed on either side since the last run, and a "
        "thirtieth of the rest. The view `dataverse_finding` lists the differences."
    ),
    # Depending on the sync's assets, which change every five minutes, it would always
    # be stale.
    deps=[CAMPAIGN_METRICS.key],
    group_name=OPERATIONS,
    kinds={"dataverse", "postgres"},
    owners=["team:apex-data"],
    skippable=True,
    metadata={"dagster/table_name": "dataverse_finding"},
)

_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@dataclasses.dataclass(frozen=True, slots=True)
class _FindingCheck:
    """A check, and the kinds of finding that fail it."""

    name: str
    kinds: tuple[FindingKind, ...]
    severity: dg.AssetCheckSeverity
    description: str


_CHECKS = (
    _FindingCheck(
        "no_record_missing",
        (FindingKind.MISSING,),
        _ERROR,
        "Every exported row has its record. `repair` clears the marks of rows without "
        "one, and the next sync sends them.",
    ),
    _FindingCheck(
        "no_record_differs",
        (FindingKind.DIFFERENT,),
        _ERROR,
        "Every record equals its row. `repair` makes the next sync send differing rows.",
    ),
    _FindingCheck(
        "no_unknown_records",
        (FindingKind.UNKNOWN,),
        _WARN,
        "Every record has a row. The pipeline may not delete other records; delete them "
        "in Dataverse if you do not need them.",
    ),
    _FindingCheck(
        "no_double_records",
        (FindingKind.DOUBLE,),
        _WARN,
        "No row has a second record under another id. Delete such records in Dataverse.",
    ),
    _FindingCheck(
        "no_records_of_another_flow",
        (FindingKind.OTHER_FLOW, FindingKind.AMBIGUOUS),
        _WARN,
        "No row has only a record that another flow created. `adopt` accepts such a "
        "record where a row has exactly one.",
    ),
)


@dg.multi_asset(
    config_schema=form_schema(ReconcileForm),
    name=RECONCILIATION_STEP,
    specs=[RECONCILIATION],
    check_specs=[
        dg.AssetCheckSpec(
            check.name, asset=RECONCILIATION.key, description=check.description
        )
        for check in _CHECKS
    ],
)
def dataverse_reconciliation(
    context: dg.AssetExecutionContext, services: Services
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Compare rows with records; repair or adopt if configured."""
    bound_runtime(context, RECONCILIATION_MAX_RUNTIME)
    with failures():
        options = ReconcileForm(**context.op_execution_context.op_config).options()
        settings = services.settings()
        with services.open_database() as database:
            report = run_reconciliation(
                database,
                settings.dataverse,
                settings.token_cache_path,
                options,
                dagster_run_id=context.run.run_id,
                author=author_of(context.run),
            )
            standing = read_agreement(database, settings.dataverse.resource)
    if report.skipped is not None:
        context.log.info(report.skipped)
        context.instance.add_run_tags(context.run.run_id, {SKIPPED_TAG: report.skipped})
    else:
        yield dg.MaterializeResult(
            asset_key=RECONCILIATION.key, metadata=_metadata(report, standing)
        )
    yield from _check_results(standing)
    if report.failure is not None:
        raise dg.Failure(
            str(report.failure),
            metadata={"cause": type(report.failure).__name__},
            allow_retries=False,
        )


def _metadata(report: ReconcileReport, standing: Agreement) -> dict[str, Any]:
    run = report.run
    figures: dict[str, Any] = {
        f"found_{k.value}": n for k, n in standing.counts.items()
    }
    if run is not None:
        figures |= {
            "dagster/row_count": sum(standing.counts.values()),
            "rows_compared": run.rows_compared,
            "changes_read": run.changes_read,
            "rows_repaired": run.repaired,
            "records_adopted": run.adopted,
            "requests": run.requests,
            "throttled_seconds": round(run.throttled_seconds, 1),
            "came_to_its_end": run.is_complete,
        }
        figures |= {"note": run.note} if run.note else {}
    passed = standing.last_pass_finished_at
    return figures | {
        "requests_24h": standing.requests_24h,
        "requests_24h_with_sync": standing.requests_24h + standing.sync_requests_24h,
        f"pct_of_{SMALLEST_ENTITLEMENT}_daily_requests": round(
            standing.entitlement_pct, 2
        ),
        "all_rows_compared_at": f"{passed:%Y-%m-%d %H:%M} UTC" if passed else "not yet",
        "findings": dg.MetadataValue.md(findings_table(standing.examples)),
    }


def _check_results(standing: Agreement) -> Iterator[dg.AssetCheckResult]:
    for check in _CHECKS:
        count = sum(standing.counts[kind] for kind in check.kinds)
        shown = [each for each in standing.examples if each.kind in check.kinds]
        yield dg.AssetCheckResult(
            asset_key=RECONCILIATION.key,
            check_name=check.name,
            passed=count == 0,
            severity=check.severity,
            metadata={
                "count": count,
                **(
                    {"findings": dg.MetadataValue.md(findings_table(shown))}
                    if shown
                    else {}
                ),
            },
        )


def findings_table(found: Sequence[Finding]) -> str:
    """Show findings as a Markdown table of ids and column names, without row data."""
    lines = ["| what | row | record | columns |", "| --- | --- | --- | --- |"]
    for each in found:
        cells = (
            each.kind.value,
            each.metric_id or "-",
            each.record_id or "-",
            ", ".join(each.columns) or "-",
        )
        lines.append(f"| {' | '.join(escaped(cell) for cell in cells)} |")
    return "\n".join(lines)


reconcile_dataverse = dg.define_asset_job(
    "reconcile_dataverse",
    selection=dg.AssetSelection.assets(RECONCILIATION.key),
    description="Compares exported rows with their records every day. Start it by hand to "
    "repair rows whose record is missing or differs (`repair`), to accept another flow's "
    "records (`adopt`), or to compare everything at once (`full`).",
    executor_def=dg.in_process_executor,
    # Not in the writer pool: a sync may run at the same time and must not wait.
    tags=SCHEDULED_TAGS
    | RETRY_LOST_TAGS
    | {"dagster/max_runtime": str(int(RECONCILIATION_MAX_RUNTIME.total_seconds()))},
)

reconcile_dataverse_daily = dg.ScheduleDefinition(
    name="reconcile_dataverse_daily",
    job=reconcile_dataverse,
    cron_schedule="15 4 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day at 04:15 UTC.",
)
