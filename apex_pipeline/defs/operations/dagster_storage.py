"""Dagster's storage in the Postgres of DAGSTER_POSTGRES_URL, as dagster.yaml configures.

`env:` in dagster.yaml would work too, but with the variable unset every Dagster command
would end in a stack trace.
"""

import os
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Self

import click
import psycopg2
from dagster._serdes import ConfigurableClassData
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_postgres.utils import create_pg_engine
from sqlalchemy import Engine, event

from apex_pipeline.errors import ConfigError
from apex_pipeline.postgres.loopback import guards
from apex_pipeline.postgres.time_limits import TCP_LIMITS
from apex_pipeline.settings import load_storage_parameters, write_postgres_url

_VARIABLE = "DAGSTER_POSTGRES_URL"
_CONNECT_SECONDS = 15
_PARTS = (PostgresRunStorage, PostgresEventLogStorage, PostgresScheduleStorage)
_SCHEMA_QUESTIONS = (
    "has_asset_key_col",
    "has_backfill_id_column",
    "has_backfill_tags_table",
    "has_bulk_action_job_name_column",
    "has_bulk_actions_selector_cols",
    "has_run_stats_index_cols",
    "has_table",
)
_NOTICE = "NOTIFY "
_KEPT_CONNECTIONS = 2
_MORE_CONNECTIONS = 30
_LONGEST_SECONDS = 300
_MISSING = (
    f"{_VARIABLE} is not set. Set it to the Postgres for Dagster's storage (see "
    ".env.example). To only validate definitions, point DAGSTER_HOME at a folder with an "
    "empty dagster.yaml instead; Dagster then uses SQLite."
)


class PostgresOfVariable(DagsterPostgresStorage):
    """Dagster's Postgres storage at the address in DAGSTER_POSTGRES_URL.

    Raises:
        UsageError: The variable is not set, or malformed. Dagster's commands print only
            the message.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Accept no options in dagster.yaml."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, _: Mapping[str, Any]
    ) -> Self:
        """Create the storage, and its tables in an empty database."""
        try:
            given = load_storage_parameters(os.environ)
        except ConfigError as error:
            raise click.UsageError(str(error)) from None
        if given is None:
            raise click.UsageError(_MISSING)
        limited = _limited(given)
        storage = cls(limited, inst_data=inst_data)
        storage.keep_connections(limited)
        return storage

    def keep_connections(self, url: str) -> None:
        """Reuse connections; by default each query opens one and closes it.

        Idle, Dagster's processes ask many times a second. Each process keeps up to two
        connections; `pool_pre_ping` replaces those that a restart has closed.
        """
        engine = create_pg_engine(
            url,
            isolation_level="AUTOCOMMIT",
            pool_size=_KEPT_CONNECTIONS,
            max_overflow=_MORE_CONNECTIONS,
            pool_pre_ping=True,
            pool_recycle=_LONGEST_SECONDS,
        )
        send_no_notices(engine)
        for part in (self.run_storage, self.event_log_storage, self.schedule_storage):
            if isinstance(part, _PARTS):
                # As the storage itself does for the web server, with one for all three.
                part._engine = engine  # noqa: SLF001  there is no other way in 0.29.27
                _remember_schema(part)


def _remember_schema(part: object) -> None:
    """Ask Postgres once whether a column or table is there, not at each event and look.

    Migrations of Dagster add to its tables, and take nothing away.
    """
    for name in _SCHEMA_QUESTIONS:
        if (question := getattr(part, name, None)) is not None:
            setattr(part, name, _asked_until_true(question))


def _asked_until_true(question: Callable[..., bool]) -> Callable[..., bool]:
    found: set[tuple[Hashable, ...]] = set()

    def answer(*given: Hashable) -> bool:
        if given not in found and question(*given):
            found.add(given)
        return given in found

    return answer


def send_no_notices(engine: Engine) -> None:
    """Leave out the NOTIFY after each event, which nothing listens to any more.

    All databases of a server share one queue of notices. Any login can fill it, and then
    each NOTIFY fails, and with it the storing of events.
    """

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def leave_out(
        _connection: Any,
        _cursor: Any,
        statement: str,
        parameters: Any,
        _context: Any,
        _many: bool,  # noqa: FBT001  SQLAlchemy passes it so
    ) -> tuple[str, Any]:
        if statement.startswith(_NOTICE):
            return "SELECT 1", {}
        return statement, parameters


def _limited(given: Mapping[str, str]) -> str:
    """A URL with a limit on how long a vanished server is waited for, and guarded.

    What the address says itself counts. There is no `statement_timeout`: a pooler would
    refuse the connection for it, and a server that hangs does not keep it.
    """
    limits = {"connect_timeout": _CONNECT_SECONDS, **TCP_LIMITS}
    parameters = {
        **{name: str(value) for name, value in limits.items()},
        **guards(given, psycopg2.__libpq_version__),
        **given,
    }
    return write_postgres_url(parameters, "postgresql")
