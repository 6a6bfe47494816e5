"""Load the configuration and report which checks each mistake blocks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from apex_pipeline.errors import ConfigError
from apex_pipeline.monitoring.doctor.check_results import Measurement, failed, ok
from apex_pipeline.provisioning.administrator import load_administrator
from apex_pipeline.settings import (
    DataverseSettings,
    find_mistakes,
    load_database_url,
    load_dataverse,
    state_dir,
)

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Configuration:
    """The valid parts of the configuration; None for an invalid part.

    Attributes:
        problems: Everything that is wrong with the configuration.
    """

    environment: Mapping[str, str]
    state: Path
    database_url: str | None
    dataverse: DataverseSettings | None
    administrator: DataverseSettings | None
    problems: tuple[str, ...]

    def finding(self) -> Measurement:
        """Result of the check `configuration`."""
        return failed(" ".join(self.problems)) if self.problems else ok("complete")

    def tells(self, error: ConfigError) -> bool:
        """Whether `problems` already contains everything that `error` says."""
        return set(error.problems) <= set(self.problems)


def read_configuration(environment: Mapping[str, str]) -> Configuration:
    """Load every part that is valid.

    Raises:
        ConfigError: Neither Postgres nor Dataverse is configured validly.
    """
    # Both ends together first: one without the other is a mistake too.
    problems = dict.fromkeys(find_mistakes(environment))

    def read(load: Callable[[], _Result]) -> _Result | None:
        try:
            return load()
        except ConfigError as error:
            problems.update(dict.fromkeys(error.problems))
            return None

    database_url = read(lambda: load_database_url(environment))
    dataverse = read(lambda: load_dataverse(environment))
    if database_url is None and dataverse is None:
        raise ConfigError(*problems)
    administrator = dataverse and read(
        lambda: load_administrator(environment, dataverse)
    )
    return Configuration(
        environment,
        state_dir(environment),
        database_url,
        dataverse,
        administrator,
        tuple(problems),
    )
