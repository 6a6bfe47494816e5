"""Writes any number of records in one transaction and in bounded memory.

The rows are copied into a temporary table, and from there into the real one: so one that
is there already is told from one that is new, and a kill leaves nothing behind.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from apex_pipeline.errors import InvalidRecordError
from apex_pipeline.postgres.database import Database
from apex_pipeline.recording import statements
from apex_pipeline.recording.fields import AGENTS, Spelling, spelling_of
from apex_pipeline.recording.record_reading import Rules, read_record
from apex_pipeline.recording.record_writing import conflict, refusals_told
from apex_pipeline.recording.table_shape import Table, begin

SHOWN_LINES = 20
"""Bad lines that are told; of the others, how many there are."""


@dataclass(frozen=True, slots=True)
class Line:
    """A record as it stands in a file.

    Attributes:
        number: Of the line that it begins in, from 1.
        given: Name to value.
        problems: Why it could not be taken apart; then nothing is given.
    """

    number: int
    given: Mapping[str, object]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of the records.

    Attributes:
        created: Those that were written.
        repeated: Those that were there already, or stand in the file twice.
        rejected: Those that were left out because of what is wrong with them.
    """

    created: int
    repeated: int
    rejected: int


Reject = Callable[[int, Sequence[str]], None]


@dataclass(slots=True)
class _Rejects:
    """Counts bad lines, and passes them on or keeps the first of them.

    Attributes:
        spelling: How the lines spell the names.
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
        summary = f"{self.count} lines are bad" if self.count > 1 else "1 line is bad"
        unshown = [f"… and {more} more"] if more else []
        raise InvalidRecordError(
            *self.shown, *unshown, f"{summary}; nothing was written."
        )


def load(
    database: Database,
    lines: Iterable[Line],
    *,
    reject: Reject | None = None,
    dry_run: bool = False,
) -> Loaded:
    """Write records, all of them or none.

    A record without id has one made from its content, so that writing the same file
    again changes nothing; two lines that are alike in everything are one record.

    Args:
        database: Where to.
        lines: The records; read once, as they are needed.
        reject: Takes number and problems of each bad line, which is then left out. With
            none given, one bad line means that nothing is written.
        dry_run: Whether to do all of it, and undo it.

    Raises:
        InvalidRecordError: Lines are bad; the first are named, the others counted. Or a
            constraint of somebody else's refuses one: then no line is left out for it.
        DatabaseError: One of its kinds. Nothing was written, unless the connection was
            lost at the very end; the same file can be sent again.
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

    with refusals_told():
        return database.transact(write)


def _copy(
    connection: Connection, lines: Iterable[Line], rules: Rules, rejects: _Rejects
) -> int:
    """Copy the good lines into the temporary table; count them."""
    driver: Any = connection.connection.driver_connection
    copied = 0
    with driver.cursor() as cursor, cursor.copy(statements.COPY_LINES.encode()) as copy:
        for row in _rows(lines, rules, rejects):
            # When nothing will be written, the rest is read for its problems alone.
            if not rejects.count or rejects.pass_on is not None:
                copy.write_row(row)
                copied += 1
    return copied


def _rows(
    lines: Iterable[Line], rules: Rules, rejects: _Rejects
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
    connection: Connection, table: Table, copied: int, rejects: _Rejects
) -> Loaded:
    """Write what is not there yet, and compare the rest with what is."""
    # Without statistics the planner expects next to nothing in the new table.
    connection.exec_driver_sql(f"ANALYZE {statements.LINES}")
    if table.has_text_ids:
        connection.exec_driver_sql(statements.SPELL_LINES)
    created = connection.exec_driver_sql(statements.INSERT_LINES).rowcount
    conflicts = 0
    if created < copied:
        streaming = connection.execution_options(
            stream_results=True, max_row_buffer=500
        )
        found = streaming.exec_driver_sql(statements.CONFLICTS_OF_LINES)
        for row in found.mappings():
            rejects.add(row["line"], [str(conflict(row, rejects.spelling))])
            conflicts += 1
    return Loaded(created, copied - created - conflicts, rejects.count)
