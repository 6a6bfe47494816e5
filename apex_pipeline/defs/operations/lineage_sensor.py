"""The sensor that tells a catalogue what ended runs read and wrote.

It is there only while `OPENLINEAGE_URL` is set. A receiver that does not answer delays the
events and nothing else: runs know nothing of it.
"""

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.storage.dagster_run import RunRecord

from apex_pipeline.defs.code_location import LOCATION, OURS, DefinitionsParam
from apex_pipeline.errors import ConfigError, LineageError, install_extra
from apex_pipeline.lineage.datasets import LineageColumn, LineageTable, Places, places
from apex_pipeline.settings import (
    load_lineage_settings,
    load_settings,
    read_postgres_url,
)
from apex_pipeline.texts.redaction import redact

if TYPE_CHECKING:
    from apex_pipeline.lineage.openlineage_events import EndedRun

_RUNS_PER_TICK = 20
_EVENTS_PER_RUN = 1000
_COUNTS = ("dagster/row_count", "dagster/partition_row_count")
_OUTCOMES = {
    dg.DagsterRunStatus.SUCCESS: "COMPLETE",
    dg.DagsterRunStatus.FAILURE: "FAIL",
    dg.DagsterRunStatus.CANCELED: "ABORT",
}


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends run and column lineage of ended runs to `OPENLINEAGE_URL`.",
)
def send_lineage(
    context: dg.SensorEvaluationContext, definitions: DefinitionsParam
) -> dg.SkipReason:
    """Send what has ended since the last tick; begin with what ends from now on."""
    if context.cursor is None:
        context.update_cursor(datetime.now(UTC).isoformat())
        return dg.SkipReason("lineage begins with the runs that end from now on")
    try:
        sent = _send(context, definitions())
    except (ConfigError, LineageError) as error:
        context.log.warning(str(error))
        return dg.SkipReason(str(error))
    return dg.SkipReason(f"lineage of {sent} runs sent")


def _send(context: dg.SensorEvaluationContext, definitions: dg.Definitions) -> int:
    settings = load_lineage_settings(os.environ)
    if settings is None:
        return 0
    if find_spec("openlineage") is None:
        raise ConfigError(
            "OPENLINEAGE_URL is set, but the client library is not installed. "
            + install_extra("lineage")
        )
    ended = context.instance.get_run_records(
        dg.RunsFilter(
            statuses=[*_OUTCOMES],
            tags=OURS,
            updated_after=datetime.fromisoformat(context.cursor or ""),
        ),
        limit=_RUNS_PER_TICK,
        order_by="update_timestamp",
        ascending=True,
    )
    if not ended:
        return 0
    # They load an optional library.
    from apex_pipeline.lineage.openlineage_events import events  # noqa: PLC0415
    from apex_pipeline.lineage.receiver import Receiver  # noqa: PLC0415

    receiver = Receiver(settings)
    tables = known_tables(definitions.resolve_all_asset_specs(), _places())
    for record in ended:
        for event in events(_ended_run(context.instance, record, tables)):
            receiver.send(event)
        context.update_cursor(record.update_timestamp.isoformat())
    return len(ended)


def _places() -> Places:
    settings = load_settings(os.environ)
    parameters = read_postgres_url(settings.database_url, "DATABASE_URL")
    return places(parameters, settings.dataverse.resource)


def known_tables(
    specs: Iterable[dg.AssetSpec], where: Places
) -> dict[dg.AssetKey, tuple[LineageTable, tuple[dg.AssetKey, ...]]]:
    """The table of each asset that is one, and the assets that it is made from."""
    listed = [spec for spec in specs if "dagster/table_name" in spec.metadata]
    bare = {
        spec.key: where.table(
            spec.metadata["dagster/table_name"], in_dataverse="dataverse" in spec.kinds
        )
        for spec in listed
    }
    return {
        spec.key: (
            LineageTable(
                bare[spec.key].namespace, bare[spec.key].name, _columns(spec, bare)
            ),
            tuple(each.asset_key for each in spec.deps if each.asset_key in bare),
        )
        for spec in listed
    }


def _columns(
    spec: dg.AssetSpec, tables: Mapping[dg.AssetKey, LineageTable]
) -> tuple[LineageColumn, ...]:
    schema = spec.metadata.get("dagster/column_schema")
    lineage = spec.metadata.get("dagster/column_lineage")
    sources = {
        name: tuple(
            (tables[each.asset_key], each.column_name)
            for each in found
            if each.asset_key in tables
        )
        for name, found in (lineage.deps_by_column if lineage else {}).items()
    }
    if schema is None:
        return tuple(
            LineageColumn(name, sources=found) for name, found in sources.items()
        )
    return tuple(
        LineageColumn(
            each.name, each.type, each.description or "", sources.get(each.name, ())
        )
        for each in schema.columns
    )


def _ended_run(
    instance: dg.DagsterInstance,
    record: RunRecord,
    tables: Mapping[dg.AssetKey, tuple[LineageTable, tuple[dg.AssetKey, ...]]],
) -> "EndedRun":
    from openlineage.client.event_v2 import RunState  # noqa: PLC0415  optional

    from apex_pipeline.lineage.openlineage_events import EndedRun  # noqa: PLC0415  as above

    run = record.dagster_run
    counted: dict[dg.AssetKey, int | None] = {}
    for key, rows in _materialized(instance, run.run_id):
        before = counted.get(key)
        counted[key] = before if rows is None else rows + (before or 0)
    written = {tables[key][0]: rows for key, rows in counted.items() if key in tables}
    # What a run has made itself, it has not read from elsewhere.
    read = {
        tables[source][0]: None
        for key in counted
        if key in tables
        for source in tables[key][1]
        if source not in counted
    }
    ended = record.end_time or record.update_timestamp.timestamp()
    return EndedRun(
        run_id=run.run_id,
        namespace=LOCATION,
        job=run.job_name,
        started_at=datetime.fromtimestamp(record.start_time or ended, UTC),
        ended_at=datetime.fromtimestamp(ended, UTC),
        outcome=RunState(_OUTCOMES[run.status]),
        engine=("Dagster", dg.__version__),
        error=_error(instance, run),
        written=written,
        read=tuple(read),
    )


def _materialized(
    instance: dg.DagsterInstance, run_id: str
) -> Iterable[tuple[dg.AssetKey, int | None]]:
    found = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION, limit=_EVENTS_PER_RUN
    )
    for record in found.records:
        event = record.asset_materialization
        if event is not None:
            values = [
                event.metadata[each] for each in _COUNTS if each in event.metadata
            ]
            counts = [each.value for each in values if isinstance(each.value, int)]
            yield event.asset_key, counts[0] if counts else None


def _error(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    if run.status is not dg.DagsterRunStatus.FAILURE:
        return None
    found = instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1
    )
    for record in found.records:
        event = record.event_log_entry.dagster_event
        error = event.step_failure_data.error if event is not None else None
        if error is not None:
            return redact(error.message)
    return "The run failed outside of its steps."
