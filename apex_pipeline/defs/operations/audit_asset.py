"""The audit trail as a Dagster asset: verified and anchored every day."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import dagster as dg

from apex_pipeline.audit.anchoring import DailyResult, Edges, work_daily
from apex_pipeline.audit.chain_walk import Anchor
from apex_pipeline.audit.stamp_checks import load_authority, stamp_check
from apex_pipeline.audit.trail import Head, parse_head
from apex_pipeline.defs.code_location import asset_key
from apex_pipeline.defs.form_schema import form_schema
from apex_pipeline.defs.job_tags import RETRY_LOST_TAGS, SCHEDULED_TAGS
from apex_pipeline.defs.pool_limits import bound_runtime
from apex_pipeline.defs.run_failures import failures
from apex_pipeline.defs.services import Services, author_of
from apex_pipeline.defs.sync_specs import OPERATIONS
from apex_pipeline.flags_and_launchpad_forms.audit_forms import AuditVerifyForm
from apex_pipeline.monitoring.alerts.channels import open_alerts
from apex_pipeline.monitoring.alerts.journal import VARIABLE
from apex_pipeline.monitoring.alerts.notice import Notice, NoticeKind, Severity
from apex_pipeline.settings import AuditSettings, load_audit_settings, read_variable

_MAX_RUNTIME = timedelta(hours=2)
_PROBLEMS_SHOWN = 20
_HASH_SHOWN = 16

AUDIT_TRAIL = dg.AssetSpec(
    asset_key("audit_trail"),
    description=(
        "Who did what, in the table `audit_event`: append only, each hash covering the "
        "one before it. Verified and anchored every day."
    ),
    group_name=OPERATIONS,
    kinds={"postgres"},
    owners=["team:apex-data"],
    skippable=True,
    metadata={"dagster/table_name": "audit_event"},
)

UNBROKEN = dg.AssetCheckSpec(
    "audit_trail_unbroken",
    asset=AUDIT_TRAIL.key,
    description="No event was changed, removed, moved or inserted, and every anchor fits. "
    "`apex audit verify` does the same.",
)


@dg.multi_asset(
    name="audit_trail",
    specs=[AUDIT_TRAIL],
    check_specs=[UNBROKEN],
    # No dg.Config: its texts may name variables of the environment, which the run prints.
    config_schema=form_schema(AuditVerifyForm),
)
def audit_trail(
    context: dg.AssetExecutionContext, services: Services
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Verify the trail; if it is unbroken, anchor its head and prune old events."""
    bound_runtime(context, _MAX_RUNTIME)
    with failures():
        settings = load_audit_settings(os.environ)
        form = AuditVerifyForm(**context.op_execution_context.op_config)
        heads = [parse_head(text) for text in form.anchors]
        with ExitStack() as open_ends, services.open_database() as database:
            edges = _edges(settings, services, open_ends, heads)
            author = author_of(context.run)
            done = work_daily(database, author, edges, settings.keep)
    yield dg.MaterializeResult(asset_key=AUDIT_TRAIL.key, metadata=_metadata(done))
    yield _check(done)
    if done.failure is not None:
        raise dg.Failure(str(done.failure), allow_retries=False)


def _edges(
    settings: AuditSettings,
    services: Services,
    open_ends: ExitStack,
    heads: Sequence[Head],
) -> Edges:
    authority, stamp = load_authority(settings), None
    if authority is not None and settings.authority is not None:
        # Runs of the sync load this module too, and do without.
        from apex_pipeline.microsoft.http_transport import token_http  # noqa: PLC0415

        bundle = services.settings().dataverse.ca_bundle
        http = open_ends.enter_context(token_http(bundle))
        stamp = partial(authority.stamp, http, settings.authority)
    elsewhere = [Anchor(h.sequence, h.hash, is_kept_here=False) for h in heads]
    return Edges(stamp_check(settings), stamp, _teller(settings), elsewhere)


def _teller(settings: AuditSettings) -> Callable[[Head], Sequence[str]]:
    def tell(head: Head) -> Sequence[str]:
        if not settings.is_told or not read_variable(os.environ, VARIABLE):
            return ()
        with open_alerts(os.environ) as alerts:
            alerts.journal.outbox.put(_notice(head), alerts.names)
            return alerts.names

    return tell


def _notice(head: Head) -> Notice:
    """One line; its number and hash are what `apex audit verify --anchor` takes."""
    return Notice(
        key=f"audit-anchor/{head.sequence}",
        kind=NoticeKind.ANCHOR,
        severity=Severity.WARNING,
        title=f"{head.sequence} events, {head.hash[:_HASH_SHOWN]}…",
        cause="",
        remedy="",
        facts=(("Anchor", str(head)),),
        link=None,
        at=datetime.now(UTC),
    )


def _metadata(done: DailyResult) -> dict[str, Any]:
    found = done.verification
    metadata: dict[str, Any] = {
        "dagster/row_count": found.events,
        "anchors": found.anchors,
        "head": str(done.anchored or found.head or "none"),
        "anchored": done.anchored is not None,
        "time_stamped": done.is_stamped,
        "sent_to": ", ".join(done.told) or "no channel",
    }
    if done.pruned is not None:
        metadata["events_pruned"] = done.pruned.events
    if done.waiting is not None:
        metadata["note"] = (
            f"{done.waiting.events} events are older than APEX_AUDIT_KEEP. Run `apex audit "
            "prune` as the role that owns the tables."
        )
    return metadata


def _check(done: DailyResult) -> dg.AssetCheckResult:
    found = done.verification
    shown = "\n".join(found.problems[:_PROBLEMS_SHOWN]) or "none"
    return dg.AssetCheckResult(
        asset_key=AUDIT_TRAIL.key,
        check_name=UNBROKEN.name,
        passed=found.is_unbroken,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "events": found.events,
            "anchors": found.anchors,
            "problems": dg.MetadataValue.text(shown),
        },
    )


anchor_audit_trail = dg.define_asset_job(
    "anchor_audit_trail",
    selection=dg.AssetSelection.assets(AUDIT_TRAIL.key),
    description="Verifies the audit trail every day, and anchors its head: in the alert "
    "channel, and where `APEX_TSA_URL` is set as a time stamp of that authority. Prunes "
    "events older than `APEX_AUDIT_KEEP`.",
    executor_def=dg.in_process_executor,
    tags=SCHEDULED_TAGS
    | RETRY_LOST_TAGS
    | {"dagster/max_runtime": str(int(_MAX_RUNTIME.total_seconds()))},
)

anchor_audit_trail_daily = dg.ScheduleDefinition(
    name="anchor_audit_trail_daily",
    job=anchor_audit_trail,
    cron_schedule="5 5 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day at 05:05 UTC.",
)
