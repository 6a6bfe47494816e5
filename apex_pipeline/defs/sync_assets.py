"""The three assets of the sync: one step, through which rows stream."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import Field

from apex_pipeline.dataverse.batch import MAX_OPERATIONS
from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync_specs import (
    DELIVERED,
    DELIVERY_COMPLETE,
    EXPORTED,
    NO_ROWS_QUARANTINED,
    PENDING,
)
from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.ledger import RunStatus
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.store import Store
from apex_pipeline.stream import StreamOptions
from apex_pipeline.sync import (
    DEFAULT_TIME_BUDGET_SECONDS,
    SyncOptions,
    SyncReport,
    run_sync,
)

SKIPPED_TAG = "apex/skipped"
"""Run tag that says why a run delivered nothing, though it did not fail."""


class SyncConfig(dg.Config):
    """What one run may do; the defaults are those of the schedule."""

    page_size: int = Field(
        default=1000,
        description="Rows read from Postgres at a time, 1 to 10 000.",
    )
    rows_per_request: int = Field(
        default=100,
        description=f"Rows in one UpsertMultiple request, 1 to {MAX_OPERATIONS}.",
    )
    time_budget_seconds: float = Field(
        default=DEFAULT_TIME_BUDGET_SECONDS,
        description=(
            "After so many seconds nothing more is begun; rows stay pending. More than "
            f"0, at most {DEFAULT_TIME_BUDGET_SECONDS:g}."
        ),
    )
    limit: int | None = Field(
        default=None, description="Deliver no more rows than this."
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
        """The same, for the core.

        Raises:
            ConfigError: Values are out of range. Checked here and not by the fields,
                whose refusal would be a stack trace in the run.
        """
        longest = DEFAULT_TIME_BUDGET_SECONDS
        rules = {
            "page_size must be 1 to 10000.": 1 <= self.page_size <= 10_000,
            # A refused request's rows go once more in a single `$batch`.
            f"rows_per_request must be 1 to {MAX_OPERATIONS}.": (
                1 <= self.rows_per_request <= MAX_OPERATIONS
            ),
            f"time_budget_seconds must be above 0, at most {longest:g}.": (
                0 < self.time_budget_seconds <= longest
            ),
            "limit must be 1 or more.": self.limit is None or self.limit >= 1,
        }
        problems = [rule for rule, is_kept in rules.items() if not is_kept]
        if problems:
            raise ConfigError(*problems)
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
    check_specs=[DELIVERY_COMPLETE, NO_ROWS_QUARANTINED],
)
def synced_campaign_metrics(
    context: dg.AssetExecutionContext, config: SyncConfig, services: Services
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Deliver pending rows to Dataverse and mark them."""
    try:
        options = config.options()
        settings = services.settings()
        with services.open_store(settings) as store:
            report = run_sync(
                store,
                settings.dataverse,
                settings.token_cache_path,
                options,
                dagster_run_id=context.run.run_id,
            )
            note = report.skipped
            if config.dry_run and note is None:
                note = (
                    f"dry run: {report.read} rows read, {report.rejected} of them bad"
                )
            standing = (
                standing_of(store, report) if note is None else standing_of(store)
            )
    except ApexError as error:
        raise _failed(error) from None
    if note is None:
        yield from _materializations(report)
    else:
        context.log.info(note)
        context.instance.add_run_tags(context.run.run_id, {SKIPPED_TAG: note})
    yield from _checks(standing)
    if report.failure is not None:
        raise _failed(report.failure, report)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the checks state, whether or not this run delivered anything itself.

    Dagster wants a result of each check from each run.
    """

    failure: str | None
    quarantined: int


def standing_of(store: Store, report: SyncReport | None = None) -> Standing:
    """How delivery stands: by this run's report, else by the last run in the ledger."""
    if report is not None and report.failure is not None:
        # Postgres itself may be what failed.
        return Standing(str(report.failure), report.rejected)
    ended = (r for r in store.last_runs(5) if r.status is not RunStatus.RUNNING)
    last = next(ended, None)
    return Standing(last.error if last else None, store.quarantine_count())


def _failed(error: ApexError, report: SyncReport | None = None) -> dg.Failure:
    """A failed run; the client has already retried what is worth retrying."""
    metadata: dict[str, Any] = {"cause": type(error).__name__}
    if report is not None:
        metadata |= {"delivered": report.delivered, "remaining": report.remaining}
    return dg.Failure(str(error), metadata=metadata, allow_retries=False)


def _materializations(report: SyncReport) -> Iterator[dg.MaterializeResult]:
    """In topological order, each once: Dagster keeps what precedes a failure."""
    seconds = (report.finished_at - report.started_at).total_seconds()
    asked = report.token_hits + report.token_misses
    yield dg.MaterializeResult(
        asset_key=PENDING.key,
        metadata={
            "dagster/row_count": report.read,
            "oldest_pending_age_seconds": round(
                report.oldest_pending_age_seconds or 0.0, 1
            ),
        },
    )
    yield dg.MaterializeResult(
        asset_key=DELIVERED.key,
        metadata={
            "dagster/row_count": report.delivered,
            "rows_rejected": report.rejected,
            "requests": report.requests,
            "seconds": round(seconds, 2),
            "rows_per_second": round(report.delivered / seconds) if seconds else 0,
            "throttled_seconds": round(report.throttled_seconds, 1),
            "token_hit_rate_pct": (
                round(100 * report.token_hits / asked, 2) if asked else 100.0
            ),
            "last_rows": dg.MetadataValue.md(preview_table(report.preview)),
        },
    )
    yield dg.MaterializeResult(
        asset_key=EXPORTED.key,
        metadata={
            "dagster/row_count": report.delivered,
            # Unknown where Postgres itself is what failed.
            **(
                {} if report.remaining is None else {"rows_remaining": report.remaining}
            ),
        },
    )


def _checks(standing: Standing) -> Iterator[dg.AssetCheckResult]:
    yield dg.AssetCheckResult(
        asset_key=DELIVERED.key,
        check_name=DELIVERY_COMPLETE.name,
        passed=standing.failure is None,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"failure": standing.failure or "none"},
    )
    yield dg.AssetCheckResult(
        asset_key=DELIVERED.key,
        check_name=NO_ROWS_QUARANTINED.name,
        passed=standing.quarantined == 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"rows_quarantined": standing.quarantined},
    )


def preview_table(records: tuple[str, ...]) -> str:
    """Records as a Markdown table: values alone, nothing that Markdown would act on."""
    names = [column.dataverse for column in COLUMNS]
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    for record in records:
        values = json.loads(record, parse_float=str)
        cells = (escaped(str(values[name])) for name in names)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def escaped(value: str) -> str:
    """A text in which Markdown finds nothing to act on."""
    return "".join(
        character
        if character.isalnum() or character in " .:-+"
        else f"&#{ord(character)};"
        for character in value
    )
