"""OpenLineage's events for a run that has ended. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from openlineage.client.event_v2 import (
    InputDataset,
    Job,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
)
from openlineage.client.facet_v2 import (
    column_lineage_dataset,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    processing_engine_run,
    schema_dataset,
)
from openlineage.client.generated.base import DatasetFacet, RunFacet

from apex_pipeline import __version__
from apex_pipeline.lineage.datasets import LineageTable

PRODUCER = f"urn:apex-pipeline:{__version__}"


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run and what it read and wrote.

    Attributes:
        run_id: A UUID.
        namespace: The code location.
        engine: Name and version of what carried it out.
        error: Why it failed, without secrets; None if it did not.
        written: Tables, with the number of rows if known.
        read: Tables that those were made from.
    """

    run_id: str
    namespace: str
    job: str
    started_at: datetime
    ended_at: datetime
    outcome: RunState
    engine: tuple[str, str]
    error: str | None = None
    written: Mapping[LineageTable, int | None] = field(default_factory=dict)
    read: tuple[LineageTable, ...] = ()


def events(run: EndedRun) -> tuple[RunEvent, RunEvent]:
    """The event of its start, and of its end with all that is known."""
    job = Job(
        run.namespace,
        run.job,
        {
            "jobType": job_type_job.JobTypeJobFacet(
                processingType="BATCH",
                integration="DAGSTER",
                jobType="JOB",
                producer=PRODUCER,
            )
        },
    )
    name, version = run.engine
    engine = processing_engine_run.ProcessingEngineRunFacet(
        version=version, name=name, producer=PRODUCER
    )
    facets: dict[str, RunFacet] = {"processing_engine": engine}
    started = RunEvent(
        eventTime=_instant(run.started_at),
        producer=PRODUCER,
        run=Run(run.run_id, dict(facets)),
        job=job,
        eventType=RunState.START,
    )
    if run.error is not None:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=run.error, programmingLanguage="PYTHON", producer=PRODUCER
        )
    ended = RunEvent(
        eventTime=_instant(run.ended_at),
        producer=PRODUCER,
        run=Run(run.run_id, facets),
        job=job,
        eventType=run.outcome,
        inputs=[
            InputDataset(each.namespace, each.name, facets=_facets(each))
            for each in run.read
        ],
        outputs=[_output(table, rows) for table, rows in run.written.items()],
    )
    return started, ended


def _output(table: LineageTable, rows: int | None) -> OutputDataset:
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=rows, producer=PRODUCER
    )
    return OutputDataset(
        table.namespace,
        table.name,
        facets=_facets(table),
        outputFacets={} if rows is None else {"outputStatistics": statistics},
    )


def _facets(table: LineageTable) -> dict[str, DatasetFacet]:
    if not table.columns:
        return {}
    found: dict[str, DatasetFacet] = {
        "schema": schema_dataset.SchemaDatasetFacet(
            fields=[
                schema_dataset.SchemaDatasetFacetFields(
                    name=column.name,
                    type=column.type or None,
                    description=column.description or None,
                )
                for column in table.columns
            ],
            producer=PRODUCER,
        )
    }
    lineage = {
        column.name: column_lineage_dataset.Fields(
            inputFields=[
                column_lineage_dataset.InputField(
                    source.namespace, source.name, source_column
                )
                for source, source_column in column.sources
            ]
        )
        for column in table.columns
        if column.sources
    }
    if lineage:
        found["columnLineage"] = column_lineage_dataset.ColumnLineageDatasetFacet(
            fields=lineage, producer=PRODUCER
        )
    return found


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
