"""The configuration that a report is about, and the readers that the caller provides."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.monitoring.alerts.journal import NO_JOURNAL, VARIABLE
from apex_pipeline.monitoring.doctor.configuration import (
    Configuration,
    read_configuration,
)
from apex_pipeline.monitoring.doctor.dataverse_reachability import reachable
from apex_pipeline.monitoring.doctor.surroundings import LookAtDagster
from apex_pipeline.postgres.database import Database
from apex_pipeline.report.dagster_facts import Orchestration
from apex_pipeline.report.measured_lines import once
from apex_pipeline.report.secret_values import read_all_secrets
from apex_pipeline.report.served_panel import ServedPanel
from apex_pipeline.settings import (
    DataverseSettings,
    dagster_environment,
    load_panel_settings,
    read_variable,
    resolve_local,
    served_pages,
    token_cache_path,
)
from apex_pipeline.texts.redaction import Redactor

_WAIT_SECONDS = 5.0


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Readers:
    """Readers that only other parts of the package may implement.

    Attributes:
        dagster: Reads the daemon and the schedule; implemented in `defs`.
        orchestration: Reads all other facts about Dagster; implemented in `defs`.
        commands: Name of each CLI command, to its description.
        now: This machine's clock (aware, UTC).
        tell: Receives progress messages.
    """

    dagster: LookAtDagster
    orchestration: Callable[[Mapping[str, str]], Orchestration]
    commands: Mapping[str, str]
    now: Callable[[], datetime] = _now
    tell: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Subject:
    """One configuration of the pipeline.

    Attributes:
        given: The variables as set by the user.
        environment: The same plus the variables that a running `apex up` adds.
        wake_database: Waits for Postgres once per report; later calls repeat the result
            or the error.
        wake_dataverse: Does the same for Dataverse.
    """

    given: Mapping[str, str] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    configuration: Configuration = field(repr=False)
    secrets: Redactor
    wake_database: Callable[[], object]
    wake_dataverse: Callable[[], object]

    @property
    def state(self) -> Path:
        """Folder of the local state."""
        return self.configuration.state

    @property
    def token_cache(self) -> Path:
        """File of the access tokens that all processes share."""
        return token_cache_path(self.environment)

    def panel(self) -> ServedPanel:
        """The panel at its configured address.

        Raises:
            ConfigError: The panel's variables are malformed.
        """
        return ServedPanel(load_panel_settings(self.environment))

    def open_database(self) -> Database:
        """Open the database; the caller closes it.

        Raises:
            ConfigError: DATABASE_URL is missing or malformed.
            DatabaseError: Postgres did not answer this report.
        """
        self.wake_database()
        return _database(self.configuration)

    def open_alerts_database(self) -> Database:
        """Open the database of Dagster's storage; the caller closes it.

        Raises:
            ApexError: No such database is configured.
        """
        url = read_variable(self.environment, VARIABLE)
        if not url:
            raise ApexError(NO_JOURNAL)
        return _connected(url)

    def dataverse(self) -> DataverseSettings:
        """The settings of the Dataverse environment, once it has answered.

        Raises:
            ConfigError: Variables are missing or malformed.
            DataverseError: Dataverse did not answer this report.
        """
        self.wake_dataverse()
        return _dataverse(self.configuration)


def read_subject(environment: Mapping[str, str]) -> Subject:
    """Read the configuration.

    Raises:
        ConfigError: Neither Postgres nor Dataverse is configured.
    """
    configuration = read_configuration(environment)
    try:
        whole = resolve_local(environment)
        whole |= dagster_environment(environment) | served_pages(environment)
    except ConfigError:
        # The configuration is incomplete; the checklist says what is missing.
        whole = dict(environment)
    return Subject(
        environment,
        whole,
        configuration,
        read_all_secrets(whole, token_cache_path(environment)),
        once(lambda: _wake(configuration)),
        once(lambda: reachable(_dataverse(configuration))),
    )


def _wake(configuration: Configuration) -> None:
    with _database(configuration) as database, database.translated():
        database.connect().close()


def _database(configuration: Configuration) -> Database:
    if configuration.database_url is None:
        raise ConfigError(*configuration.problems)
    return _connected(configuration.database_url)


def _connected(url: str) -> Database:
    return Database(
        url,
        wait_seconds=_WAIT_SECONDS,
        application_name="apex_pipeline report",
    )


def _dataverse(configuration: Configuration) -> DataverseSettings:
    if configuration.dataverse is None:
        raise ConfigError(*configuration.problems)
    return configuration.dataverse
