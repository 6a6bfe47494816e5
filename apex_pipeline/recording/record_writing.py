"""Write one record exactly once, even if it is sent repeatedly or concurrently."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import Connection, RowMapping
from sqlalchemy.exc import DBAPIError

from apex_pipeline.audit.authors import process_author
from apex_pipeline.audit.events import Action, Author, Event, rows
from apex_pipeline.audit.trail import acting
from apex_pipeline.errors import DatabaseError, InvalidRecordError, RecordConflictError
from apex_pipeline.postgres.database import Database
from apex_pipeline.recording import statements
from apex_pipeline.recording.fields import ID, Spelling
from apex_pipeline.recording.record_reading import Record, read_record
from apex_pipeline.recording.table_shape import TableShape, begin


@dataclass(frozen=True, slots=True)
class Recorded:
    """A record that is stored in `campaign_metrics`.

    Attributes:
        id: Id of the row and of its Dataverse record.
        created: Whether this call wrote it; if not, it existed already.
    """

    id: UUID
    created: bool


def record(
    database: Database,
    given: Mapping[str, object],
    spelling: Spelling,
    *,
    key: str | None = None,
    dry_run: bool = False,
    author: Author | None = None,
) -> Recorded:
    """Write a record unless it exists already.

    Args:
        database: Database to write to.
        given: Name to value.
        spelling: Spelling of the names, also used in messages.
        key: Idempotency key. Without key and id, every call writes a new record.
        dry_run: Roll the transaction back at the end.
        author: Who records it, for the audit trail; by default the user of this process.

    Raises:
        InvalidRecordError: The record is invalid; lists all problems.
        RecordConflictError: The id exists with other values.
        DatabaseError: It is unknown whether the record was written. With an id or key
            it is safe to send it again.
    """
    new_id = uuid4()
    by = author or process_author(os.environ)

    def write(connection: Connection) -> Recorded:
        table = begin(connection)
        read = read_record(given, spelling, table.rules, key=key, otherwise=new_id)
        created = _insert(connection, table, read, spelling)
        if dry_run:
            connection.rollback()
        return Recorded(read.id, created or read.id == new_id)

    def told(recorded: Recorded) -> Event | None:
        if dry_run or not recorded.created:
            return None
        return Event(Action.RECORD, by, rows([str(recorded.id)]), {"created": 1})

    with translated_refusals():
        return acting(database, write, told)


def conflict(row: RowMapping, spelling: Spelling) -> RecordConflictError:
    """Convert a row of the conflicts query to an error."""
    if row["is_blocked"]:
        return RecordConflictError(
            f"{row['id']} cannot be written: a unique constraint of the table conflicts "
            "with another row",
            (),
        )
    fields = tuple(spelling.names[n] for n in statements.NAMES if row[n])
    return RecordConflictError(
        f"{row['id']} is already recorded with a different {', '.join(fields)}", fields
    )


@contextmanager
def translated_refusals() -> Iterator[None]:
    """Translate refusals by constraints that we did not define into our errors."""
    try:
        yield
    except (DatabaseError, DBAPIError, psycopg.Error) as error:
        origin = error.__cause__ if isinstance(error, DatabaseError) else error
        if isinstance(origin, DBAPIError):
            origin = origin.orig
        if isinstance(origin, (psycopg.IntegrityError, psycopg.DataError)):
            raise _refusal(origin) from error
        raise


def _refusal(error: psycopg.Error) -> InvalidRecordError:
    diagnosis = error.diag
    parts = (diagnosis.message_primary, diagnosis.message_detail, diagnosis.context)
    return InvalidRecordError(f"the table refuses it: {'; '.join(filter(None, parts))}")


def _insert(
    connection: Connection, table: TableShape, read: Record, spelling: Spelling
) -> bool:
    row = {ID: str(read.id), **read.values}
    if table.has_text_ids:
        capitals = connection.exec_driver_sql(statements.SPELL_ONE, {"id": row[ID]})
        row[ID] = capitals.scalar() or row[ID]
    values = {"row": json.dumps(row, allow_nan=False), "dated": read.is_dated}
    if connection.exec_driver_sql(statements.INSERT_ONE, values).rowcount:
        return True
    found = connection.exec_driver_sql(statements.CONFLICTS_OF_ONE, values)
    if (row_found := found.mappings().first()) is not None:
        raise conflict(row_found, spelling)
    return False
