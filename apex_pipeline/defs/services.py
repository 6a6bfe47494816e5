"""The resource that gives definitions their settings and database connections."""

import os

import dagster as dg

from apex_pipeline.audit.authors import run_author
from apex_pipeline.audit.events import Author
from apex_pipeline.postgres import store
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.time_limits import STATEMENT_SECONDS
from apex_pipeline.settings import (
    AnalysisSettings,
    Settings,
    load_analysis_settings,
    load_database_url,
    load_settings,
)

# One statement may recompute years of days; such runs may take two hours.
_ANALYSIS_STATEMENT_SECONDS = 3600.0


def author_of(run: dg.DagsterRun) -> Author:
    """Who acts in a run, for the audit trail."""
    return run_author(os.environ, run.run_id, run.tags)


class Services(dg.ConfigurableResource):
    """Reads the environment when it is used, not when it is imported.

    A wrong variable then fails a run, whose message names it, instead of the import of
    the code location.
    """

    def settings(self) -> Settings:
        """Load the settings of this process.

        Raises:
            ConfigError: The environment is incomplete or contradictory.
        """
        return load_settings(os.environ)

    def open_store(
        self,
        settings: Settings,
        *,
        wait_seconds: float = 30.0,
        statement_seconds: float = STATEMENT_SECONDS,
        run: dg.DagsterRun | None = None,
    ) -> store.Store:
        """Open a store, which the caller closes.

        Args:
            settings: Where it is.
            wait_seconds: As for `Database`.
            statement_seconds: Likewise.
            run: The run that will change something, for the audit trail.

        Raises:
            DatabaseError: Postgres did not answer within `wait_seconds`.
        """
        return store.connect(
            settings.database_url,
            wait_seconds=wait_seconds,
            statement_seconds=statement_seconds,
            author=None if run is None else author_of(run),
        )

    def open_for_a_tick(self, settings: Settings, seconds: float) -> store.Store:
        """Open a store for a tick, which must end soon.

        Args:
            settings: Where it is.
            seconds: Timeout of connecting, and of each statement.

        Raises:
            DatabaseError: Postgres did not answer in time.
        """
        return self.open_store(
            settings, wait_seconds=seconds, statement_seconds=seconds
        )

    def analysis_settings(self) -> AnalysisSettings:
        """Load the time zone and the other settings of rollups and forecasts.

        Raises:
            ConfigError: A variable is malformed.
        """
        return load_analysis_settings(os.environ)

    def open_database(
        self,
        *,
        wait_seconds: float = 30.0,
        statement_seconds: float = _ANALYSIS_STATEMENT_SECONDS,
    ) -> Database:
        """Open the database without Dataverse settings; arguments as for `Database`.

        Raises:
            ConfigError: DATABASE_URL is malformed, or the local one is not running.
        """
        return Database(
            load_database_url(os.environ),
            wait_seconds=wait_seconds,
            statement_seconds=statement_seconds,
            application_name="apex_pipeline",
        )
