"""Writes one record, once, however often and by however many it is sent."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import Connection, RowMapping
from sqlalchemy.exc import DataError, IntegrityError

from apex_pipeline.errors import InvalidRecordError, RecordConflictError
from apex_pipeline.postgres.database import Database
from apex_pipeline.recording import statements
from apex_pipeline.recording.fields import ID, Spelling
from apex_pipeline.recording.record_reading import Record, read_record
from apex_pipeline.recording.table_shape import Table, begin


@dataclass(frozen=True, slots=True)
class Recorded:
    """A record that is in `campaign_metrics`.

    Attributes:
        id: Key of the row, and of its record in Dataverse.
        created: Whether it is there since now; otherwise nothing was written.
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
) -> Recorded:
    """Write a record, or find that it is there already.

    Args:
        database: Where to.
        given: Name to value, the names as `spelling` has them.
        spelling: See above; problems are told in it.
        key: An idempotency key. A record with neither key nor id is a new one each time.
        dry_run: Whether to do all of it, and undo it.

    Raises:
        InvalidRecordError: It cannot be written. All problems are named at once.
        RecordConflictError: The same id is there with other values.
        DatabaseError: One of its kinds. Whether it was written is then unknown; with an
            id or a key it can be sent again.
    """
    new_id = uuid4()

    def write(connection: Connection) -> Recorded:
        table = begin(connection)
        read = read_record(given, spelling, table.rules, key=key, otherwise=new_id)
        created = _insert(connection, table, read, spelling)
        if dry_run:
            connection.rollback()
        return Recorded(read.id, created or read.id == new_id)

    with refusals_told():
        return database.transact(write, repeatable=True)


def conflict(row: RowMapping, spelling: Spelling) -> RecordConflictError:
    """What a row of the conflicts means."""
    if row["is_blocked"]:
        return RecordConflictError(
            f"{row['id']} is not there, and cannot be written: another row has what a "
            "unique constraint of the table allows once",
            (),
        )
    fields = tuple(spelling.names[n] for n in statements.NAMES if row[n])
    return RecordConflictError(
        f"{row['id']} is recorded already, with another {', '.join(fields)}", fields
    )


@contextmanager
def refusals_told() -> Iterator[None]:
    """Tell a refusal by a constraint that somebody else gave the table as one of ours."""
    try:
        yield
    except (IntegrityError, DataError) as error:
        if not isinstance(error.orig, psycopg.Error):
            raise
        raise _refusal(error.orig) from error
    except (psycopg.IntegrityError, psycopg.DataError) as error:
        raise _refusal(error) from error


def _refusal(error: psycopg.Error) -> InvalidRecordError:
    told = (error.diag.message_primary, error.diag.message_detail, error.diag.context)
    text = "; ".join(part for part in told if part)
    return InvalidRecordError(f"the table refuses it: {text}")


def _insert(
    connection: Connection, table: Table, read: Record, spelling: Spelling
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
