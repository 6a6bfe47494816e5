"""The SQLite file under the emulator.

One connection, used by one thread. Write-ahead log with synchronous=NORMAL: what was
committed survives the death of the process, though not of the machine.
"""

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.schema import AlternateKey, EmulatedColumn, Table

Sql = tuple[str, list[Stored]]
"""A condition, with `?` for its values."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS document (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deletion (
    table_name TEXT NOT NULL,
    record_id TEXT NOT NULL,
    version INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS link (
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    value TEXT,
    PRIMARY KEY (kind, source, target)
) WITHOUT ROWID;
"""
_PAGE_CACHE_KIB = 64 * 1024
_PAGES_BEFORE_CHECKPOINT = 4_000
_FIRST_VERSION = 1_000_000


def quoted(name: str) -> str:
    """A name of a table or column as SQLite reads it."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def joined(*parts: str) -> str:
    """A statement, of constants and quoted names."""
    return " ".join(parts)


class Storage:
    """Records, definitions and documents, in transactions."""

    def __init__(self, path: Path | None) -> None:
        """Open the file, or memory where there is none.

        Raises:
            sqlite3.OperationalError: Another process has the file.
        """
        if path is not None:
            # It holds the key that tokens are signed with.
            path.touch(mode=0o600)
        self._connection = sqlite3.connect(
            path or ":memory:", isolation_level=None, check_same_thread=False, timeout=1
        )
        for pragma in (
            "locking_mode=EXCLUSIVE",
            "journal_mode=WAL",
            "synchronous=NORMAL",
            f"cache_size=-{_PAGE_CACHE_KIB}",
            "temp_store=MEMORY",
            f"wal_autocheckpoint={_PAGES_BEFORE_CHECKPOINT}",
        ):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.create_function("regexp", 2, _like, deterministic=True)
        self._connection.executescript(_SCHEMA)
        self._snapshots: dict[str, sqlite3.Connection] = {}
        self._depth = 0
        self._version: int = self.document("counter", "version") or _FIRST_VERSION

    def close(self) -> None:
        """Close the file and forget the snapshots."""
        for copy in self._snapshots.values():
            copy.close()
        self._connection.close()

    def snapshot(self, name: str) -> None:
        """Keep a copy of everything under a name, in memory."""
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        self._connection.backup(copy)
        previous = self._snapshots.pop(name, None)
        if previous is not None:
            previous.close()
        self._snapshots[name] = copy

    def restore(self, name: str) -> None:
        """Go back to a snapshot; raises KeyError."""
        self._snapshots[name].backup(self._connection)
        self._version = self.document("counter", "version")

    @property
    def version(self) -> int:
        """The row version given last."""
        return self._version

    def take_versions(self, count: int) -> int:
        """Reserve row versions; returns the first. Only within a transaction."""
        first = self._version + 1
        self._version += count
        self.put_document("counter", "version", self._version)
        return first

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; within another transaction, a savepoint."""
        point = f"point_{self._depth}"
        self.execute(f"SAVEPOINT {point}" if self._depth else "BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._depth -= 1
            for statement in (
                (f"ROLLBACK TO {point}", f"RELEASE {point}")
                if self._depth
                else ("ROLLBACK",)
            ):
                self.execute(statement)
            raise
        self._depth -= 1
        self.execute(f"RELEASE {point}" if self._depth else "COMMIT")

    def execute(self, sql: str, values: Sequence[Stored] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self._connection.execute(sql, values)

    def execute_many(self, sql: str, rows: Iterable[Sequence[Stored]]) -> None:
        """Run one statement for each row."""
        self._connection.executemany(sql, rows)

    def rows(self, sql: str, values: Sequence[Stored] = ()) -> list[tuple[Any, ...]]:
        return self.execute(sql, values).fetchall()

    def select(
        self,
        table: Table,
        columns: str,
        condition: str = "1",
        values: Sequence[Stored] = (),
        *,
        order: str = "",
        limit: int | None = None,
    ) -> list[tuple[Any, ...]]:
        """Rows of a table; condition and order are SQL with `?` for the values."""
        parts = ["SELECT", columns, "FROM", quoted(table.name), "WHERE", condition]
        parts += ["ORDER BY", order] if order else []
        parts += ["LIMIT", str(limit)] if limit is not None else []
        return self.rows(joined(*parts), values)

    def of_record(
        self, table: Table, columns: str, record_id: str | None
    ) -> tuple[Any, ...] | None:
        """Columns of the record with this primary key, or None."""
        condition = f"{quoted(table.primary_key)} = ?"
        found = self.select(table, columns, condition, (record_id,))
        return found[0] if found else None

    def document(self, kind: str, name: str) -> Any:
        """A stored JSON document, or None."""
        found = self.rows(
            "SELECT body FROM document WHERE kind = ? AND name = ?", (kind, name)
        )
        return json.loads(found[0][0]) if found else None

    def documents(self, kind: str) -> dict[str, Any]:
        found = self.rows("SELECT name, body FROM document WHERE kind = ?", (kind,))
        return {name: json.loads(body) for name, body in found}

    def put_document(self, kind: str, name: str, body: object) -> None:
        """Store or replace a document."""
        self.execute(
            "INSERT OR REPLACE INTO document VALUES (?, ?, ?)",
            (kind, name, json.dumps(body, default=float)),
        )

    def delete_document(self, kind: str, name: str) -> None:
        self.execute("DELETE FROM document WHERE kind = ? AND name = ?", (kind, name))

    def create_table(self, table: Table) -> None:
        """Make an empty table with a column for each of the definition's."""
        columns = [
            f"{quoted(column.name)} {column.codec.affinity}"
            + (" PRIMARY KEY" if column.name == table.primary_key else "")
            for column in table.columns.values()
        ]
        self.execute(f"CREATE TABLE {quoted(table.name)} ({', '.join(columns)})")

    def drop_table(self, table: Table) -> None:
        """Forget a table, its records and its deletions."""
        self.execute(f"DROP TABLE IF EXISTS {quoted(table.name)}")
        self.execute("DELETE FROM deletion WHERE table_name = ?", (table.name,))

    def add_column(self, table: Table, column: EmulatedColumn) -> None:
        """Add a column; existing records hold null in it."""
        self.execute(
            f"ALTER TABLE {quoted(table.name)}"
            f" ADD COLUMN {quoted(column.name)} {column.codec.affinity}"
        )

    def drop_column(self, table: Table, column: EmulatedColumn) -> None:
        """Remove a column with its values."""
        self.execute(
            f"ALTER TABLE {quoted(table.name)} DROP COLUMN {quoted(column.name)}"
        )

    def create_index(self, table: Table, key: AlternateKey) -> None:
        """Build the unique index of an alternate key.

        Raises:
            sqlite3.IntegrityError: Records violate it.
        """
        columns = ", ".join(quoted(name) for name in key.columns)
        self.execute(
            f"CREATE UNIQUE INDEX {quoted(_index_name(table, key))}"
            f" ON {quoted(table.name)} ({columns})"
        )

    def drop_index(self, table: Table, key: AlternateKey) -> None:
        """Remove the index of an alternate key, if there is one."""
        self.execute(f"DROP INDEX IF EXISTS {quoted(_index_name(table, key))}")

    def delete_record(self, table: Table, record_id: str) -> None:
        """Delete a record and remember it for change tracking."""
        key = quoted(table.primary_key)
        statement = joined("DELETE FROM", quoted(table.name), "WHERE", key, "= ?")
        self.execute(statement, (record_id,))
        self.execute(
            "INSERT INTO deletion VALUES (?, ?, ?)",
            (table.name, record_id, self.take_versions(1)),
        )

    def save_definition(self, table: Table) -> None:
        """Keep a table's definition for the next start."""
        body = {
            "definition": table.definition,
            "attributes": [each.definition for each in table.columns.values()],
            "keys": [each.definition for each in table.keys],
        }
        self.put_document("table", table.name, body)


def _like(pattern: str, text: str | None) -> bool:
    """T-SQL's LIKE with sets such as `[a-c]` and `[^x]`, which SQLite's lacks."""
    if text is None:
        return False
    parts = []
    for part in re.findall(r"\[\^?[^\]]*\]|.", pattern, re.DOTALL):
        if len(part) > 2:
            inner = re.sub(r"([\\\[\]&~|])", r"\\\1", part[1:-1])
            parts.append(f"[{inner}]")
        else:
            parts.append({"%": ".*", "_": "."}.get(part) or re.escape(part))
    return re.fullmatch("".join(parts), text, re.IGNORECASE | re.DOTALL) is not None


def _index_name(table: Table, key: AlternateKey) -> str:
    return f"{table.name}__{key.name}"
