"""How the quarantine shows in Dagster: an asset with a table, and its check."""

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
from apex_pipeline.quarantine.decisions import Selection
from apex_pipeline.quarantine.listing import Cause, QuarantinedRow

# Every run keeps its table in the event log.
_CAUSES_SHOWN = 20
_ROWS_SHOWN = 20
_MESSAGE_SHOWN = 300


@dataclass(frozen=True, slots=True)
class QuarantineState:
    """What is in quarantine at one moment.

    Attributes:
        waiting: Rows that are tried again.
        dropped: Rows that a person decided never to send.
        causes: Why the first are there, the commonest cause first.
        dropped_rows: Some of the second.
    """

    waiting: int
    dropped: int
    causes: Sequence[Cause]
    dropped_rows: Sequence[QuarantinedRow]


def read_quarantine(store: Store) -> QuarantineState:
    """Read what is in quarantine.

    Raises:
        DatabaseError: Postgres did not answer.
    """
    everything = Selection(everything=True)
    dropped = Selection(everything=True, dropped=True)
    return QuarantineState(
        store.quarantine_count(),
        store.dropped_count(),
        store.quarantine_causes(everything, _CAUSES_SHOWN),
        store.quarantined_rows(dropped, _ROWS_SHOWN),
    )


def quarantine_metadata(state: QuarantineState) -> dict[str, Any]:
    """The same as metadata of the asset."""
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
    """Why rows are in quarantine, as a table."""
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
    """Rows in quarantine as a table."""
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
    """Records, of which there is at least one, as a table of metadata."""
    columns = [
        dg.TableColumn(name, "int" if isinstance(value, int) else "string")
        for name, value in records[0].items()
    ]
    return dg.MetadataValue.table(
        [dg.TableRecord(dict(record)) for record in records],
        schema=dg.TableSchema(columns=columns),
    )


def check_values(waiting: int, dropped: int | None = None) -> dict[str, Any]:
    """What the check states, whether it is a run's or nobody's.

    Args:
        waiting: Rows that are tried again.
        dropped: Rows that were dropped, where they are known; they are no fault.
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
    """Renew the check, so that nobody is alarmed by what has been settled."""
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(**check_values(state.waiting, state.dropped))
    )


def report_quarantine(state: QuarantineState) -> None:
    """Let the instance in DAGSTER_HOME show what was done outside of it.

    Raises:
        ApexError: It cannot be written to.
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
            f"The Dagster instance cannot be written to: {first_line} Its UI shows the "
            "quarantine as it is after the next sync."
        ) from error


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"
