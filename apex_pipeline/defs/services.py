"""The resource through which definitions reach the outside world."""

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

# Years of days are made anew by one statement; their runs may take two hours.
_ANALYSIS_STATEMENT_SECONDS = 3600.0


class Services(dg.ConfigurableResource):
    """Reads the environment at the moment of use.

    So a wrong variable fails a run, whose message says which, and not the import of
    the code location, where nobody would see it.
    """

    def settings(self) -> Settings:
        """The settings of this process.

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
        """A store, to be closed by whoever asked for it; args as of `Database`.

        Raises:
            DatabaseError: Postgres did not answer within `wait_seconds`.
        """
        return store.connect(
            settings.database_url,
            wait_seconds=wait_seconds,
            statement_seconds=statement_seconds,
        )

    def analysis_settings(self) -> AnalysisSettings:
        """How rollups are cut.

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
        """The database alone, for what Dataverse has no part in; args as of `Database`.

        Raises:
            ConfigError: DATABASE_URL is malformed, or the local one is not running.
        """
        return Database(
            load_database_url(os.environ),
            wait_seconds=wait_seconds,
            statement_seconds=statement_seconds,
            application_name="apex_pipeline",
        )
