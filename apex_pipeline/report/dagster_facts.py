"""Facts about the Dagster code location and its instance, as plain values.

`defs` reads them, because only it may import Dagster.
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AssetState:
    """An asset.

    Attributes:
        is_made: Whether this code location produces the asset.
        materialized_at: Its last materialization (aware); None if never or unknown.
    """

    name: str
    group: str
    description: str
    is_made: bool
    materialized_at: datetime | None


@dataclass(frozen=True, slots=True)
class AssetCheckState:
    """A check of an asset.

    Attributes:
        passed: The result of its last evaluation; None if there was none.
        is_warning: Whether a failure only warns.
    """

    asset: str
    name: str
    description: str
    passed: bool | None
    is_warning: bool
    evaluated_at: datetime | None


@dataclass(frozen=True, slots=True)
class JobState:
    """A job, and its last run.

    Attributes:
        status: Dagster's status of the last run; None if there was none.
    """

    name: str
    description: str
    runs: int
    status: str | None
    began_at: datetime | None


@dataclass(frozen=True, slots=True)
class AutomationState:
    """A schedule or a sensor.

    Attributes:
        when: Cron expression, or the interval of the ticks.
        is_on: Whether it is switched on; None if no daemon has seen it yet.
        ticked_at: The last tick (aware).
        error: The error of that tick, if it failed.
    """

    name: str
    kind: str
    when: str
    is_on: bool | None
    ticked_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class RunState:
    """A run in the run history."""

    run_id: str
    job: str
    status: str
    began_at: datetime | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Orchestration:
    """All facts about Dagster.

    Attributes:
        instance: The storage of the instance; None if no instance is configured.
        runs: The last runs, newest first.
    """

    instance: str | None
    assets: tuple[AssetState, ...]
    checks: tuple[AssetCheckState, ...]
    jobs: tuple[JobState, ...]
    automations: tuple[AutomationState, ...]
    runs: tuple[RunState, ...]
