"""The quarantine as a Dagster asset with a table, and its check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from apex_pipeline.defs.storage_timeouts import bound_storage
from apex_pipeline.defs.sync_specs import NO_ROWS_QUARANTINED, QUARANTINED
from apex_pipeline.errors import ApexError
from apex_pipeline.postgres.store import Store
from apex_pipeline.quarantine import decisions, listing
from apex_pipeline.quarantine.decisions import QuarantineSelection
from apex_pipeline.quarantine.listing import Cause, QuarantinedRow

# Every run stores its tables in the event log, so they are kept short.
_CAUSES_SHOWN = 20
_ROWS_SHOWN = 20
_MESSAGE_SHOWN = 300


@dataclass(frozen=True, slots=True)
class QuarantineState:
    """The quarantine at one moment.

    Attributes:
        waiting: Number of rows that will be retried.
        dropped: Number of rows that were dropped.
        causes: Why the waiting rows were refused, most frequent cause first.
        dropped_rows: Some of the dropped rows.
    """

    waiting: int
    dropped: int
    causes: Sequence[Cause]
    dropped_rows: Sequence[QuarantinedRow]


def read_quarantine(store: Store) -> QuarantineState:
    """Read counts, causes and dropped rows.

    Raises:
        DatabaseError: Postgres did not answer.
    """
    everything = QuarantineSelection(everything=True)
    dropped = QuarantineSelection(everything=True, dropped=True)
    return QuarantineState(
        *store.ask(decisions.count),
        store.ask(listing.causes, everything, _CAUSES_SHOWN),
        store.ask(listing.rows, dropped, _ROWS_SHOWN),
    )


def quarantine_metadata(state: QuarantineState) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "dagster/row_count": state.waiting,
        "rows_dropped": state.dropped,
    }
    if state.causes:
        metadata["causes"] = causes_table(state.causes)
    if state.dropped_rows:
        metadata["dropped"] = rows_table(state.dropped_rows)
    return metadata


def causes_table(causes: Sequence[Cause]) -> dg.TableMetadataValue:
    return table(
        [
            {
                "code": cause.code,
                "cause": cause.message[:_MESSAGE_SHOWN],
                "rows": cause.count,
                "oldest": _time(cause.oldest_rejected_at),
                "next_attempt": _time(cause.next_attempt_at),
                "such_as": ", ".join(cause.example_ids),
            }
            for cause in causes
        ]
    )


def rows_table(rows: Sequence[QuarantinedRow]) -> dg.TableMetadataValue:
    return table(
        [
            {
                "id": row.id,
                "code": row.code,
                "message": row.message[:_MESSAGE_SHOWN],
                "attempts": row.attempts,
                "first_refused": _time(row.first_rejected_at),
                "next_attempt": _time(row.next_attempt_at),
                "dropped": _time(row.dropped_at),
                "dropped_by": row.dropped_by or "",
                "reason": row.drop_reason or "",
            }
            for row in rows
        ]
    )


def table(records: Sequence[Mapping[str, str | int]]) -> dg.TableMetadataValue:
    """Show records as a metadata table; there must be at least one."""
    columns = [
        dg.TableColumn(name, "int" if isinstance(value, int) else "string")
        for name, value in records[0].items()
    ]
    return dg.MetadataValue.table(
        [dg.TableRecord(dict(record)) for record in records],
        schema=dg.TableSchema(columns=columns),
    )


def check_values(waiting: int, dropped: int | None = None) -> dict[str, Any]:
    """Arguments of the check's result, for a run and for a report outside any run.

    Args:
        waiting: Number of rows that will be retried.
        dropped: Number of dropped rows, if known; they do not fail the check.
    """
    known = {} if dropped is None else {"rows_dropped": dropped}
    return {
        "asset_key": QUARANTINED.key,
        "check_name": NO_ROWS_QUARANTINED.name,
        "passed": waiting == 0,
        "severity": dg.AssetCheckSeverity.WARN,
        "metadata": {"rows_quarantined": waiting, **known},
    }


def report_check(instance: dg.DagsterInstance, state: QuarantineState) -> None:
    """Report a new check result, which clears the warning once the quarantine is empty."""
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(**check_values(state.waiting, state.dropped))
    )


def report_quarantine(state: QuarantineState) -> None:
    """Report the quarantine to the instance in DAGSTER_HOME, from outside any run.

    Raises:
        ApexError: The instance cannot be written to.
    """
    bound_storage()
    try:
        with dg.DagsterInstance.get() as instance:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    QUARANTINED.key, metadata=quarantine_metadata(state)
                )
            )
            report_check(instance, state)
    except (dg.DagsterError, SQLAlchemyError, OSError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ApexError(
            f"Cannot write to the Dagster instance: {first_line} Its UI shows the change "
            "after the next sync."
        ) from error


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"
