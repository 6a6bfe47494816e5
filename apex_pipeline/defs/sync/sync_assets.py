"""The sync's assets: one step that streams rows from Postgres to Dataverse."""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from apex_pipeline.audit.settings_changes import fingerprints
from apex_pipeline.defs.form_schema import form_schema
from apex_pipeline.defs.metadata import escaped
from apex_pipeline.defs.pool_limits import WRITER_POOL, bound_runtime
from apex_pipeline.defs.quarantine.quarantine_asset import (
    QuarantineState,
    check_values,
    quarantine_metadata,
    read_quarantine,
)
from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync.sync_job import MAX_RUNTIME, sync_campaign_metrics
from apex_pipeline.defs.sync_specs import (
    DELIVERED,
    DELIVERY_COMPLETE,
    EXPORTED,
    NO_ROWS_QUARANTINED,
    PENDING,
    QUARANTINED,
    SYNC_ASSETS,
)
from apex_pipeline.errors import ApexError, DatabaseError
from apex_pipeline.flags_and_launchpad_forms.sync_form import SyncForm
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.monitoring.rules.run_outcomes import REFUSED
from apex_pipeline.postgres import run_ledger
from apex_pipeline.postgres.resent_rows import Slice
from apex_pipeline.postgres.run_ledger import RunRecord, RunStatus, token_hit_rate_pct
from apex_pipeline.postgres.store import Store
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.sync_report import SyncReport

SKIPPED_TAG = "apex/skipped"
"""Run tag: why a successful run delivered nothing."""

SLICE_TAG = "apex/slice"
"""Run tag: what remains of a slice that was resent."""


PARTIAL_SELECTION = (
    "The sync's four assets are one step. Materialize them together, or start the job "
    f"{sync_campaign_metrics.name}."
)
# A suspended server needs seconds to wake; a restart takes less than a minute.
_PATIENCE_SECONDS = 30.0


@dg.multi_asset(
    name="sync",
    config_schema=form_schema(SyncForm),
    specs=[PENDING, DELIVERED, EXPORTED, QUARANTINED],
    check_specs=[DELIVERY_COMPLETE, NO_ROWS_QUARANTINED],
    pool=WRITER_POOL,
    # Lets us answer a partial selection in one sentence; Dagster's own error is a page.
    can_subset=True,
)
def synced_campaign_metrics(
    context: dg.AssetExecutionContext, services: Services
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Deliver pending rows to Dataverse and mark them."""
    if context.selected_asset_keys != {*SYNC_ASSETS}:
        raise dg.Failure(
            PARTIAL_SELECTION, metadata={"cause": REFUSED}, allow_retries=False
        )
    bound_runtime(context, MAX_RUNTIME)
    try:
        options = SyncForm(**context.op_execution_context.op_config).options()
        settings = services.settings()
        patience = min(options.time_budget, _PATIENCE_SECONDS)
        with services.open_store(
            settings, wait_seconds=patience, run=context.run
        ) as store:
            report = run_sync(
                store,
                settings.dataverse,
                settings.token_cache_path,
                dataclasses.replace(options, settings=fingerprints(os.environ)),
                dagster_run_id=context.run.run_id,
            )
            note = report.skipped or (
                _dry_note(report, options.part) if options.stream.dry_run else None
            )
            delivery = read_delivery_state(store, report if note is None else None)
    except ApexError as error:
        raise _failed(error) from None
    for refused in report.refused:
        context.log.warning(str(refused))
    if note is None:
        for key, metadata in _materialized(report, delivery.quarantine):
            # What a result brings along is stored a second time, with the step's output.
            context.add_asset_metadata(metadata, asset_key=key)
            yield dg.MaterializeResult(asset_key=key)
        if options.part is not None:
            slice_note = _slice_note(report, options.part)
            context.instance.add_run_tags(context.run.run_id, {SLICE_TAG: slice_note})
    else:
        context.log.info(note)
        context.instance.add_run_tags(context.run.run_id, {SKIPPED_TAG: note})
    selected = {key.name for key in context.selected_asset_check_keys}
    yield from (each for each in _checks(delivery) if each.check_name in selected)
    if report.failure is not None:
        raise _failed(report.failure, report)


@dataclasses.dataclass(frozen=True, slots=True)
class DeliveryState:
    """What the checks report, whether or not this run delivered rows itself.

    Dagster expects every run to report every check.

    Attributes:
        failure: Why the last delivery failed, if it did.
        quarantine: None if Postgres itself failed.
        figures: Counts of that run, plotted by the check.
    """

    failure: str | None
    quarantine: QuarantineState | None
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)


def read_delivery_state(
    store: Store, report: SyncReport | None = None
) -> DeliveryState:
    """Summarise delivery from this run's report, or else from the last run in the ledger."""
    if report is not None and report.failure is not None:
        try:
            quarantine = read_quarantine(store)
        except DatabaseError:
            quarantine = None
        return DeliveryState(str(report.failure), quarantine, _figures(report))
    ended = (
        r
        for r in store.ask(run_ledger.last_runs, 5)
        if r.status is not RunStatus.RUNNING
    )
    last = next(ended, None)
    return DeliveryState(
        last.error if last else None, read_quarantine(store), _figures(report or last)
    )


def _figures(run: SyncReport | RunRecord | None) -> dict[str, float]:
    if run is None:
        return {}
    known = {
        "rows_remaining": run.remaining,
        "oldest_pending_age_seconds": run.oldest_pending_age_seconds,
    }
    if not _failed_before_reading(run):
        known |= {
            "rows_delivered": run.delivered,
            "rows_rejected": run.rejected,
            "throttled_seconds": run.throttled_seconds,
        }
    return {name: round(n, 1) for name, n in known.items() if n is not None}


def _failed_before_reading(run: SyncReport | RunRecord) -> bool:
    """Whether the counts of a run are zero because it never came to count."""
    if isinstance(run, SyncReport):
        has_failed = run.failure is not None
    else:
        has_failed = run.status is not RunStatus.SUCCESS
    return has_failed and not run.rows_read and not run.delivered


def _dry_note(report: SyncReport, part: Slice | None) -> str:
    found = report.part
    if part is None or found is None:
        return (
            f"dry run: {report.rows_read} rows read, {report.rejected} of them invalid"
        )
    return (
        f"dry run: of the slice ({part}) {found.exported} rows are exported, "
        f"{found.pending} pending, {found.quarantined} in quarantine, {found.dropped} "
        f"dropped, {found.done} already resent; {report.rows_read} would be sent, "
        f"{report.rejected} of them invalid"
    )


def _slice_note(report: SyncReport, part: Slice) -> str:
    if report.part is not None and not any(dataclasses.astuple(report.part)):
        return f"no row is in the slice ({part})"
    if report.part_left == 0:
        return f"the slice ({part}) is done"
    left = "an unknown number" if report.part_left is None else report.part_left
    before = part.continued(report.started_at).exported_before or report.started_at
    return (
        f"of the slice ({part}) {left} rows are left; to continue, set exported_before "
        f"to {before.isoformat()}"
    )


def _failed(error: ApexError, report: SyncReport | None = None) -> dg.Failure:
    """Fail the run without Dagster retries; the client has already retried."""
    metadata: dict[str, Any] = {"cause": type(error).__name__}
    if report is not None:
        metadata |= {"delivered": report.delivered, "remaining": report.remaining}
    return dg.Failure(str(error), metadata=metadata, allow_retries=False)


def _materialized(
    report: SyncReport, quarantine: QuarantineState | None
) -> Iterator[tuple[dg.AssetKey, dict[str, Any]]]:
    """Each asset and its metadata, in topological order; a failure keeps those before it."""
    has_looked = not _failed_before_reading(report)
    if report.part is None and has_looked:
        yield PENDING.key, _pending(report)
    # Its freshness means that rows are delivered, and not that a run came by.
    if report.delivered or (report.failure is None and not report.remaining):
        yield DELIVERED.key, _delivered(report)
    if has_looked:
        yield EXPORTED.key, _exported(report)
    if quarantine is not None:
        yield QUARANTINED.key, quarantine_metadata(quarantine)


def _pending(report: SyncReport) -> dict[str, Any]:
    """The age is left out where only rows waited whose age says nothing."""
    metadata: dict[str, Any] = {"dagster/row_count": report.rows_read}
    oldest = report.oldest_pending_age_seconds
    if oldest is None and not report.rows_read and not report.remaining:
        oldest = 0.0
    if oldest is not None:
        metadata["oldest_pending_age_seconds"] = round(oldest, 1)
    return metadata


def _exported(report: SyncReport) -> dict[str, Any]:
    metadata: dict[str, Any] = {"dagster/row_count": report.delivered}
    # Unknown if Postgres itself failed.
    if report.remaining is not None:
        metadata["rows_remaining"] = report.remaining
    return metadata


def _delivered(report: SyncReport) -> dict[str, Any]:
    seconds = (report.finished_at - report.started_at).total_seconds()
    hit_rate = token_hit_rate_pct(report.token_cache_hits, report.token_cache_misses)
    return {
        "dagster/row_count": report.delivered,
        "rows_rejected": report.rejected,
        "rows_changed_on_the_way": report.changed,
        "rows_deleted_on_the_way": report.deleted,
        "rows_locked": report.locked,
        "requests": report.requests,
        **(
            {}
            if report.rows_per_request is None
            else {"rows_per_request": report.rows_per_request}
        ),
        "seconds": round(seconds, 2),
        "rows_per_second": round(report.delivered / seconds) if seconds else 0,
        "throttled_seconds": round(report.throttled_seconds, 1),
        # Unknown without requests.
        **({} if hit_rate is None else {"token_hit_rate_pct": round(hit_rate, 2)}),
        **(
            {"application_users_left_out": "; ".join(map(str, report.refused))}
            if report.refused
            else {}
        ),
        "last_rows": dg.MetadataValue.md(preview_table(report.preview)),
    }


def _checks(delivery: DeliveryState) -> Iterator[dg.AssetCheckResult]:
    """The results that are known; only a run that fails may lack one."""
    yield dg.AssetCheckResult(
        asset_key=DELIVERED.key,
        check_name=DELIVERY_COMPLETE.name,
        passed=delivery.failure is None,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"failure": delivery.failure or "none", **delivery.figures},
    )
    found = delivery.quarantine
    if found is not None:
        yield dg.AssetCheckResult(**check_values(found.waiting, found.dropped))


def preview_table(records: tuple[str, ...]) -> str:
    """Show JSON records as a Markdown table with escaped values."""
    names = [column.dataverse for column in COLUMNS]
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    for record in records:
        values = json.loads(record, parse_float=str)
        cells = (escaped(str(values[name])) for name in names)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
