"""Record campaign runs: validated and written once, ready for the sync.

A row that is accepted here fits Dataverse, so it is never quarantined because of its
values.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path, PurePath
from typing import IO
from uuid import UUID

from apex_pipeline.audit.authors import process_author
from apex_pipeline.audit.events import Author
from apex_pipeline.postgres.database import Database
from apex_pipeline.recording.csv_rows import Dialect
from apex_pipeline.recording.fields import POSTGRES
from apex_pipeline.recording.loading import Loaded, RecordLine, RecordSource, load
from apex_pipeline.recording.record_files import (
    Format,
    is_gzip,
    opened,
    read_lines,
    reporting,
)
from apex_pipeline.recording.record_writing import Recorded, record
from apex_pipeline.settings import load_database_url

__all__ = [
    "Loaded",
    "Recorded",
    "record_all_campaign_metrics",
    "record_campaign_metrics",
]

_APPLICATION_NAME = "apex_pipeline recording"


def record_campaign_metrics(
    *,
    campaign_id: UUID | str,
    run_id: UUID | str,
    phase: str,
    agents_total: int,
    agents_successful: int,
    assets_generated: int,
    tokens_in: int,
    tokens_out: int,
    cost_usd: Decimal | float,
    latency_p95_ms: int,
    latency_avg_ms: int,
    success_rate_pct: Decimal | float | None = None,
    created_at: datetime | str | None = None,
    id: UUID | str | None = None,  # noqa: A002  as the column is called
    idempotency_key: str | None = None,
    database_url: str | None = None,
) -> Recorded:
    """Write the metrics of one campaign run into `campaign_metrics`.

    A repeated call with the same `id` or `idempotency_key` writes nothing and returns the
    same id. Without either, every call writes a new row.

    Args:
        campaign_id: Campaign that the run served.
        run_id: Agent run; several rows may share it.
        phase: Phase of the campaign, such as 2-3; at most 16 characters.
        agents_total: Agents started.
        agents_successful: Agents that finished successfully; at most `agents_total`.
        assets_generated: Assets generated.
        tokens_in: Prompt tokens.
        tokens_out: Completion tokens.
        cost_usd: US dollars, rounded half up to five places.
        latency_p95_ms: 95th percentile of the agents' latency, milliseconds.
        latency_avg_ms: Mean of the agents' latency, milliseconds.
        success_rate_pct: Percent from 0 to 100, rounded half up to two places; by
            default computed from the agents, 0 if there were none.
        created_at: When the run was, with a time zone; by default now.
        id: Id of the row, a UUID; other text is used as an idempotency key.
        idempotency_key: Text of at most 255 characters; the row's id is derived from it.
        database_url: Database to write to; by default `DATABASE_URL`.

    Raises:
        InvalidRecordError: Values are invalid; the error lists all problems.
        RecordConflictError: The id or key already belongs to other values.
        ConfigError: The URL is malformed, or the local database is not running.
        DatabaseError: Postgres did not answer or refused the statement.
    """
    given = {
        "campaign_id": campaign_id,
        "run_id": run_id,
        "phase": phase,
        "agents_total": agents_total,
        "agents_successful": agents_successful,
        "assets_generated": assets_generated,
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "cost_usd": cost_usd,
        "latency_p95_ms": latency_p95_ms,
        "latency_avg_ms": latency_avg_ms,
        "success_rate_pct": success_rate_pct,
        "created_at": created_at,
        "id": id,
    }
    with open_database(database_url) as database:
        return record(database, given, POSTGRES, key=idempotency_key)


def record_all_campaign_metrics(
    records: Iterable[Mapping[str, object]], *, database_url: str | None = None
) -> Loaded:
    """Write many records in one transaction, all or none, in bounded memory.

    The id of a record without `id` is derived from its content, so writing the same
    records again changes nothing.

    Args:
        records: Fields of each record, named as above or as the agents send them.
        database_url: Database to write to; by default `DATABASE_URL`.

    Raises:
        InvalidRecordError: Records are invalid; the error lists the first by position,
            counted from 1.
        ConfigError: The URL is malformed, or the local database is not running.
        DatabaseError: Postgres did not answer or refused. Nothing was written.
    """
    lines = (RecordLine(number, given) for number, given in enumerate(records, start=1))
    with open_database(database_url) as database:
        return load(database, lines)


def load_file(
    raw: IO[bytes],
    name: str,
    written: Format,
    *,
    dialect: Dialect = Dialect.EXCEL,
    report: Path | None = None,
    replaces: bool = True,
    tell: Callable[[int], None] = lambda _: None,
    dry_run: bool = False,
    author: Author | None = None,
) -> Loaded:
    """Write the records of an open file to the database in `DATABASE_URL`.

    Args:
        raw: The file.
        name: Its name, which shows whether it is compressed.
        written: Format of the file.
        dialect: CSV only: separators of cells and decimals.
        report: File that lists invalid lines, which are skipped; None to reject the
            whole file if a line is invalid.
        replaces: Whether `report` may take the place of a file.
        tell: Called with the number of bytes read so far.
        dry_run: Validate everything; write nothing.
        author: Who loads it, for the audit trail; by default the user of this process.

    Raises:
        OSError: The file or the report cannot be read or written.
        InvalidRecordError: Lines are invalid, or the file is damaged.
        ConfigError: The URL is malformed, or the local database is not running.
        DatabaseError: Postgres did not answer or refused. Nothing was written.
    """
    with (
        opened(raw, compressed=is_gzip(name), tell=tell) as stream,
        reporting(report, replaces=replaces) as reject,
        open_database() as database,
    ):
        lines = read_lines(stream, written, dialect)
        source = RecordSource(author or process_author(os.environ), PurePath(name).name)
        return load(database, lines, reject=reject, dry_run=dry_run, source=source)


def open_database(url: str | None = None) -> Database:
    """Open the database to record in; the caller closes it.

    Raises:
        ConfigError: The URL is malformed, or the local database is not running.
    """
    return Database(
        load_database_url(os.environ) if url is None else url,
        application_name=_APPLICATION_NAME,
    )
