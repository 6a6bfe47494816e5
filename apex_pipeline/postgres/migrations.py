"""The database schemas: plain SQL files, applied in order, each once.

A kill does no harm. The process that applies them holds a lock that ends with its
connection. A lock row of yoyo that exists under that lock is left from a dead
process. And each file can be applied again after half of it was applied.
"""

import glob
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import yoyo
from yoyo.migrations import Migration, MigrationList

from apex_pipeline.postgres import declared_schema
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.migration_session import (
    Backend,
    LockPatience,
    apply_one,
    exclusive,
)
from apex_pipeline.postgres.server_version import require_supported
from apex_pipeline.postgres.time_limits import STATEMENT_SECONDS


class MigrationFolder(StrEnum):
    """A folder of migrations; both may go into the same database."""

    METRICS = ""
    """The tables next to `campaign_metrics`."""
    ALERTS = "alerts"
    """The tables next to Dagster's storage."""


def apply(
    url: str,
    part: MigrationFolder = MigrationFolder.METRICS,
    *,
    wait_seconds: float = 30.0,
) -> list[str]:
    """Bring a schema up to date.

    Args:
        url: The database.
        part: Which schema.
        wait_seconds: How long to wait for a suspended server, for another process that
            applies migrations, and for transactions that lock a table.

    Returns:
        Names of the migrations applied now, including those applied again because
        something that they create was missing.

    Raises:
        ConfigError: The server is too old.
        DatabaseError: The database does not exist, or the user may not change it.
    """
    database = Database(
        url, wait_seconds=wait_seconds, application_name="apex_pipeline migrations"
    )
    patience = LockPatience(time.monotonic() + wait_seconds)
    # A role that owns nothing may find all there, and take no lock.
    if not pending(url, part, wait_seconds=wait_seconds):
        return []
    with (
        database,
        database.translated(),
        exclusive(database, patience),
        Backend(database, patience) as backend,
    ):
        backend.create_lock_table()
        backend.break_lock()
        backend.drop_empty_records()
        every = _read(part)
        outstanding = list(backend.to_apply(every))
        lost = _lost(database, [each for each in every if each not in outstanding])
        with backend.lock():
            for migration in every:
                if migration.id in lost:
                    # First marked as not applied: after a kill, the next run does it.
                    backend.unmark_one(migration)
                    outstanding.append(migration)
            again = [each for each in every if each in outstanding]
            for migration in again:
                apply_one(backend, migration)
        return [migration.id for migration in again]


def pending(
    url: str,
    part: MigrationFolder = MigrationFolder.METRICS,
    *,
    wait_seconds: float = 30.0,
) -> list[str]:
    """Name the migrations that `apply` would apply, or apply again; changes nothing."""
    database = Database(
        url, wait_seconds=wait_seconds, application_name="apex_pipeline migrations"
    )
    every = _read(part)
    new = unapplied(url, part, wait_seconds=wait_seconds)
    with database:
        lost = _lost(database, [each for each in every if each.id not in new])
    return [each.id for each in every if each.id in {*new, *lost}]


def unapplied(
    url: str,
    part: MigrationFolder = MigrationFolder.METRICS,
    *,
    wait_seconds: float = 30.0,
    statement_seconds: float = STATEMENT_SECONDS,
) -> list[str]:
    """Name the migrations that were never applied; changes nothing."""
    database = _reading(url, wait_seconds, statement_seconds)
    with database, database.session() as connection:
        require_supported(connection.info.server_version)
        found = connection.execute(
            "SELECT to_regclass('_yoyo_migration') IS NOT NULL"
        ).fetchone()
        applied = set()
        if found == (True,):
            rows = connection.execute("SELECT migration_id FROM _yoyo_migration")
            applied = {name for (name,) in rows}
        return [m.id for m in _read(part) if m.id not in applied]


def missing(
    url: str,
    kind: declared_schema.ObjectKind,
    *,
    wait_seconds: float = 30.0,
    statement_seconds: float = STATEMENT_SECONDS,
) -> dict[str, list[str]]:
    """Name the objects that are missing although their migration is applied."""
    database = _reading(url, wait_seconds, statement_seconds)
    with database, database.session() as connection:
        return declared_schema.missing(
            connection, _sources(_read(MigrationFolder.METRICS)), kind
        )


def contents(part: MigrationFolder = MigrationFolder.METRICS) -> dict[str, list[str]]:
    """Name every migration, with the tables and views that it creates."""
    return {
        name: declared_schema.relations({name: source})
        for name, source in _sources(_read(part)).items()
    }


def _reading(url: str, wait_seconds: float, statement_seconds: float) -> Database:
    return Database(
        url,
        wait_seconds=wait_seconds,
        statement_seconds=statement_seconds,
        application_name="apex_pipeline migrations",
    )


def _lost(database: Database, every: Sequence[Migration]) -> set[str]:
    """The migrations of which something is missing, and those that build on it.

    A migration that alters what is missing builds on it. So does one that leaves no table,
    view or index to look for and depends on such a migration: the first one applied again
    puts its own functions in place of what the second one made of them.
    """
    with database.session() as connection:
        sources = _sources(every)
        missing_by_kind = [
            declared_schema.missing(connection, sources, kind)
            for kind in declared_schema.ObjectKind
        ]
    names = {
        name for found in missing_by_kind for each in found.values() for name in each
    }
    lost = {migration for found in missing_by_kind for migration in found} | {
        migration
        for migration, text in sources.items()
        if names & declared_schema.altered(text)
    }
    for migration in every:
        if not declared_schema.leaves_objects(sources[migration.id]) and any(
            each.id in lost for each in migration.depends
        ):
            lost.add(migration.id)
    return lost


def _sources(every: Sequence[Migration]) -> dict[str, str]:
    return {each.id: Path(each.path).read_text() for each in every}


def _read(part: MigrationFolder) -> MigrationList:
    package = Path(__file__).parents[1]
    # In a wheel, the files are inside the package; in a checkout, next to it.
    folder = next(f for f in (package / "sql", package.parent / "sql") if f.is_dir())
    return yoyo.read_migrations(glob.escape(str(folder / part)))
