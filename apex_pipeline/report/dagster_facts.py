"""What Dagster tells of the code location and its instance, as plain values.

It is read in `defs`, which alone may know Dagster.
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AssetState:
    """An asset.

    Attributes:
        is_made: Whether this code location makes it, or only knows of it.
        materialized_at: When it was made last (aware); None if never, or not known.
    """

    name: str
    group: str
    description: str
    is_made: bool
    materialized_at: datetime | None


@dataclass(frozen=True, slots=True)
class CheckState:
    """A check of an asset.

    Attributes:
        passed: What its last evaluation said; None if there was none.
        is_warning: Whether a failure would only warn.
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
        status: Of the last run, in Dagster's words; None if there was none.
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
        when: Cron expression, or the pause between two looks.
        is_on: None where no daemon has seen it yet.
        ticked_at: The last tick (aware).
        error: What that tick failed with.
    """

    name: str
    kind: str
    when: str
    is_on: bool | None
    ticked_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class RunState:
    """A run of the history."""

    run_id: str
    job: str
    status: str
    began_at: datetime | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Orchestration:
    """All of it.

    Attributes:
        instance: What the instance is kept in; None where none was asked.
        runs: The last runs, the newest first.
    """

    instance: str | None
    assets: tuple[AssetState, ...]
    checks: tuple[CheckState, ...]
    jobs: tuple[JobState, ...]
    automations: tuple[AutomationState, ...]
    runs: tuple[RunState, ...]
