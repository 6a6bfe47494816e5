"""Write any number of records in one transaction and in bounded memory.

The rows are copied into a temporary table and inserted from there. This distinguishes
new rows from existing ones, and a kill leaves nothing behind.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from apex_pipeline.audit.authors import process_author
from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.audit.trail import acting
from apex_pipeline.errors import InvalidRecordError
from apex_pipeline.postgres.database import Database
from apex_pipeline.recording import statements
from apex_pipeline.recording.fields import AGENTS, Spelling, spelling_of
from apex_pipeline.recording.record_reading import Rules, read_record
from apex_pipeline.recording.record_writing import conflict, translated_refusals
from apex_pipeline.recording.table_shape import TableShape, begin

SHOWN_LINES = 20
"""Maximum invalid lines to list; the others are only counted."""


@dataclass(frozen=True, slots=True)
class RecordLine:
    """A record as read from a file.

    Attributes:
        number: Number of its first line, from 1.
        given: Name to value; empty if it could not be parsed.
        problems: Why it could not be parsed.
    """

    number: int
    given: Mapping[str, object]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """Number of records by outcome.

    Attributes:
        created: Records that were written.
        repeated: Records that existed already, or appear twice in the file.
        rejected: Invalid records that were skipped.
    """

    created: int
    repeated: int
    rejected: int


@dataclass(frozen=True, slots=True)
class RecordSource:
    """Who loads records, and where they come from.

    Attributes:
        name: Name of the file, without its folder; None if they come from a program.
    """

    author: Author
    name: str | None = None

    def event(self, loaded: Loaded) -> Event | None:
        """The event in the audit trail; None if nothing was written."""
        if not loaded.created:
            return None
        counts = {
            "created": loaded.created,
            "repeated": loaded.repeated,
            "rejected": loaded.rejected,
        }
        subject = {} if self.name is None else {"file": self.name}
        return Event(Action.RECORD, self.author, subject, counts)


Reject = Callable[[int, Sequence[str]], None]


@dataclass(slots=True)
class _Rejects:
    """Counts invalid lines, and reports them or keeps the first of them.

    Attributes:
        spelling: Spelling of the names in the current line.
    """

    pass_on: Reject | None
    spelling: Spelling = AGENTS
    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, number: int, problems: Sequence[str]) -> None:
        self.count += 1
        if self.pass_on is not None:
            self.pass_on(number, problems)
        elif len(self.shown) < SHOWN_LINES:
            self.shown.append(f"line {number}: {'; '.join(problems)}")

    def stop_if_any(self) -> None:
        if self.pass_on is not None or not self.count:
            return
        more = self.count - len(self.shown)
        summary = (
            f"{self.count} lines are invalid" if self.count > 1 else "1 line is invalid"
        )
        unshown = [f"… and {more} more"] if more else []
        raise InvalidRecordError(
            *self.shown, *unshown, f"{summary}; nothing was written."
        )


def load(
    database: Database,
    lines: Iterable[RecordLine],
    *,
    reject: Reject | None = None,
    dry_run: bool = False,
    source: RecordSource | None = None,
) -> Loaded:
    """Write records, all of them or none.

    The id of a record without one is derived from its content. So writing the same file
    again changes nothing, and two identical lines are one record.

    Args:
        database: Database to write to.
        lines: The records; read once, lazily.
        reject: Called with number and problems of each invalid line, which is then
            skipped. Without it, one invalid line means that nothing is written.
        dry_run: Roll the transaction back at the end.
        source: Who loads what, for the audit trail; by default the user of this process,
            out of a program.

    Raises:
        InvalidRecordError: Lines are invalid; lists the first and counts the others. Or
            a constraint that we did not define refuses a line, even with `reject`.
        DatabaseError: Nothing was written, unless the connection was lost during the
            commit; writing the same file again is safe.
    """

    def write(connection: Connection) -> Loaded:
        rejects = _Rejects(reject)
        table = begin(connection)
        connection.exec_driver_sql(statements.MAKE_LINES)
        copied = _copy(connection, lines, table.rules, rejects)
        rejects.stop_if_any()
        loaded = _insert(connection, table, copied, rejects)
        rejects.stop_if_any()
        if dry_run:
            connection.rollback()
        return loaded

    origin = source or RecordSource(process_author(os.environ))

    def told(loaded: Loaded) -> Event | None:
        return None if dry_run else origin.event(loaded)

    with translated_refusals():
        return acting(database, write, told, repeatable=False)


def _copy(
    connection: Connection, lines: Iterable[RecordLine], rules: Rules, rejects: _Rejects
) -> int:
    """Copy the valid lines into the temporary table and count them."""
    driver: Any = connection.connection.driver_connection
    copied = 0
    with driver.cursor() as cursor, cursor.copy(statements.COPY_LINES.encode()) as copy:
        for row in _rows(lines, rules, rejects):
            # If nothing will be written, read the rest only to find its problems.
            if not rejects.count or rejects.pass_on is not None:
                copy.write_row(row)
                copied += 1
    return copied


def _rows(
    lines: Iterable[RecordLine], rules: Rules, rejects: _Rejects
) -> Iterator[tuple[object, ...]]:
    for line in lines:
        if line.problems:
            rejects.add(line.number, line.problems)
            continue
        rejects.spelling = spelling_of(line.given.keys())
        try:
            read = read_record(line.given, rejects.spelling, rules)
        except InvalidRecordError as error:
            rejects.add(line.number, error.problems)
            continue
        values = (read.values.get(name) for name in statements.NAMES)
        yield (line.number, read.is_dated, str(read.id), *values)


def _insert(
    connection: Connection, table: TableShape, copied: int, rejects: _Rejects
) -> Loaded:
    """Insert new rows and compare the others with the existing rows."""
    # Without statistics the planner assumes that the new table is almost empty.
    connection.exec_driver_sql(f"ANALYZE {statements.LINES}")
    if table.has_text_ids:
        connection.exec_driver_sql(statements.SPELL_LINES)
    created = connection.exec_driver_sql(statements.INSERT_LINES).rowcount
    conflicts = 0
    if created < copied:
        # Of this statement alone: options of the connection would stay, and a function
        # that is called through a cursor on the server only runs when rows are fetched.
        found = connection.exec_driver_sql(
            statements.CONFLICTS_OF_LINES,
            execution_options={"stream_results": True, "max_row_buffer": 500},
        )
        for row in found.mappings():
            rejects.add(row["line"], [str(conflict(row, rejects.spelling))])
            conflicts += 1
    return Loaded(created, copied - created - conflicts, rejects.count)
