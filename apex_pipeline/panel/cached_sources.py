"""The panel's sources, Dataverse and Postgres, each behind a shared cache.

Both connections open on the first request and stay open. If one of them is down or not
configured, the values of the other are still served.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from apex_pipeline.analytics.csv.csv_datasets import (
    DAILY_ROWS,
    HISTORY,
    ExportSelection,
    select,
)
from apex_pipeline.analytics.csv.csv_files import ByteSink, Written, snapshot, write_csv
from apex_pipeline.analytics.csv.export_audit import exporting
from apex_pipeline.analytics.forecast.latest_forecast import outlook
from apex_pipeline.analytics.rollups import history
from apex_pipeline.analytics.rollups.costliest_campaigns import costliest
from apex_pipeline.audit.authors import panel_author
from apex_pipeline.audit.events import Author
from apex_pipeline.dataverse.environment import Environment
from apex_pipeline.errors import (
    ConfigError,
    DatabaseUnavailableError,
    OutOfTimeError,
)
from apex_pipeline.monitoring.status import read_status
from apex_pipeline.panel.cache import CacheTiming, Reading, Shared
from apex_pipeline.panel.dataverse_end import DataverseEnd
from apex_pipeline.panel.dataverse_reads import (
    RecordWindow,
    read_recent,
)
from apex_pipeline.panel.kpis import PeriodComparison
from apex_pipeline.panel.parameters import MOST_RECENT
from apex_pipeline.panel.source_values import (
    CostOutlook,
    DataverseUse,
    Health,
    History,
    Recent,
    Timings,
)
from apex_pipeline.postgres import run_ledger
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.run_ledger import Totals
from apex_pipeline.settings import (
    load_analysis_settings,
    load_database_url,
    load_settings,
)

RECENT_TIERS = (50, MOST_RECENT)
"""Numbers of records to read: a request uses the smallest that covers it, so there are
only this many different reads."""

# Together shorter than the limit of a read (`Timings`), so the error says why.
_PATIENCE_SECONDS = 3.0
_STATEMENT_SECONDS = 2.5

_Result = TypeVar("_Result")


class Sources:
    """All values that the panel shows, shared among its viewers.

    Attributes:
        comparison: The key figures of the last two days, from Dataverse.
        health: The state of the sync, from Postgres.
        totals: Sums over all runs of the sync, from Postgres.
        outlook: The newest forecast of the cost, from Postgres.
    """

    def __init__(
        self, environment: Mapping[str, str], timings: Timings | None = None
    ) -> None:
        """Keep the variables; nothing is opened or read yet."""
        timings = timings or Timings()
        self._environment = environment
        self._dataverse = DataverseEnd(environment)
        self._database: Database | None = None
        self._opening = threading.Lock()
        self._window = RecordWindow()
        self.comparison = _from_dataverse(self._read_comparison, timings.dataverse)
        self.health = _from_postgres(self._read_health, timings.health)
        self.totals = _from_postgres(self._read_totals, timings.health)
        self.outlook = _from_postgres(self._read_outlook, timings.history)
        self._recent = {
            tier: _from_dataverse(self._recent_reader(tier), timings.dataverse)
            for tier in RECENT_TIERS
        }
        self._history: dict[tuple[int, str | None], Shared[History]] = {}
        self._history_timing = timings.history

    async def recent(self, limit: int) -> Reading[Recent]:
        """The newest records, at least *limit* of them if there are that many."""
        return await self._recent[next(t for t in RECENT_TIERS if t >= limit)].get()

    async def history(self, days: int, zone: str | None = None) -> Reading[History]:
        """The last whole days, one of `parameters.HISTORY_DAYS`.

        Of one of `time_zones`; of the business's where none is given.
        """
        if (days, zone) not in self._history:
            read = self._history_reader(days, zone)
            self._history[days, zone] = _from_postgres(read, self._history_timing)
        return await self._history[days, zone].get()

    def write_daily(self, sink: ByteSink, credential: str | None) -> Written:
        """Write all daily rollups of the business's time zone as CSV; blocks.

        The audit trail gets an event of whose credential it is.

        Raises:
            ConfigError: The database is not configured.
            DatabaseError: A subclass that fits the remedy.
        """
        settings = load_analysis_settings(self._environment)
        return self._write(select(settings, DAILY_ROWS.name), sink, credential)

    def write_history(
        self, sink: ByteSink, days: int, credential: str | None
    ) -> Written:
        """Write the last whole days of the business's time zone as CSV; blocks.

        Raises:
            ConfigError: The database is not configured.
            DatabaseError: One of its kinds.
        """
        settings = load_analysis_settings(self._environment)
        selection = select(settings, HISTORY.name, days=days)
        return self._write(selection, sink, credential)

    def _write(
        self, selection: ExportSelection, sink: ByteSink, credential: str | None
    ) -> Written:
        database = self.open_database()
        with (
            exporting(
                database, self.author(credential), selection, "download"
            ) as ending,
            snapshot(database) as connection,
        ):
            written = write_csv(connection, selection, sink)
            ending.counts["rows"] = written.rows
        return written

    def author(self, credential: str | None) -> Author:
        """Who a request with this credential acts for, in the audit trail."""
        return panel_author(self._environment, credential)

    def time_zone(self) -> str:
        """The business's time zone; UTC where the configuration is wrong."""
        return self.time_zones()[-1]

    def time_zones(self) -> tuple[str, ...]:
        """Those that rollups are made for; the business's is the last."""
        try:
            return load_analysis_settings(self._environment).time_zones
        except ConfigError:
            # Whatever needs the rest of it reports what is wrong.
            return ("UTC",)

    async def close(self) -> None:
        """Cancel running reads, and close both connections."""
        every: tuple[Shared[Any], ...] = (
            *(self.comparison, self.health, self.totals, self.outlook),
            *self._recent.values(),
            *self._history.values(),
        )
        await asyncio.gather(*(shared.close() for shared in every))
        await self._dataverse.close()
        if self._database is not None:
            await asyncio.to_thread(self._database.close)

    def dataverse_use(self) -> DataverseUse:
        """The requests to Dataverse so far."""
        return self._dataverse.use()

    def open_database(self) -> Database:
        """The database, opened once; thread-safe.

        Raises:
            ConfigError: The database is not configured.
        """
        with self._opening:
            if self._database is None:
                self._database = Database(
                    load_database_url(self._environment),
                    wait_seconds=_PATIENCE_SECONDS,
                    statement_seconds=_STATEMENT_SECONDS,
                    application_name="apex_panel",
                )
            return self._database

    async def _read_comparison(self) -> PeriodComparison:
        environment = await self._open_dataverse()
        return await self._window.refresh(environment.client, datetime.now(UTC))

    def _recent_reader(self, tier: int) -> Callable[[], Awaitable[Recent]]:
        async def read() -> Recent:
            environment = await self._open_dataverse()
            as_of = datetime.now(UTC)
            return Recent(as_of, await read_recent(environment.client, tier))

        return read

    async def _open_dataverse(self) -> Environment:
        """The environment, unless it throttles the sync.

        Raises:
            ConfigError: The environment is not configured.
            OutOfTimeError: The environment accepts no requests yet.
        """
        environment = await self._dataverse.open()
        health = (await self.health.get()).value
        until = health.status.throttled_until if health else None
        if until is not None and until > datetime.now(UTC):
            raise OutOfTimeError(
                f"Dataverse accepts requests again at {until:%H:%M:%S} UTC.",
                retry_at=until,
            )
        return environment

    async def _read_health(self) -> Health:
        settings = load_settings(self._environment)
        as_of = datetime.now(UTC)
        status = await asyncio.to_thread(
            lambda: read_status(self.open_database(), settings.dataverse)
        )
        return Health(as_of, status)

    async def _read_totals(self) -> Totals:
        return await asyncio.to_thread(
            lambda: self.open_database().ask(run_ledger.totals)
        )

    async def _read_outlook(self) -> CostOutlook:
        zone = load_analysis_settings(self._environment).time_zone
        found = await asyncio.to_thread(lambda: outlook(self.open_database(), zone))
        return CostOutlook(zone, found)

    def _history_reader(
        self, days: int, asked: str | None
    ) -> Callable[[], Awaitable[History]]:
        async def read() -> History:
            zone = asked or load_analysis_settings(self._environment).time_zone
            as_of = datetime.now(UTC)
            found = await asyncio.to_thread(
                lambda: history.history(self.open_database(), days, zone)
            )
            dear = await asyncio.to_thread(
                lambda: costliest(self.open_database(), days, zone)
            )
            return History(as_of, zone, tuple(found), tuple(dear))

        return read


def _from_dataverse(
    read: Callable[[], Awaitable[_Result]], timing: CacheTiming
) -> Shared[_Result]:
    return Shared(read, timing, source="Dataverse")


def _from_postgres(
    read: Callable[[], Awaitable[_Result]], timing: CacheTiming
) -> Shared[_Result]:
    return Shared(read, timing, source="Postgres", late=DatabaseUnavailableError)
