"""The resource that gives definitions their settings and database connections."""

import os

import dagster as dg

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
    ) -> store.Store:
        """Open a store, which the caller closes; arguments as for `Database`.

        Raises:
            DatabaseError: Postgres did not answer within `wait_seconds`.
        """
        return store.connect(
            settings.database_url,
            wait_seconds=wait_seconds,
            statement_seconds=statement_seconds,
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
