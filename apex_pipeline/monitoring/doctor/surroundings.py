"""What the doctor uses besides the environment variables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from apex_pipeline.monitoring.doctor import machine
from apex_pipeline.monitoring.doctor.check_results import Check
from apex_pipeline.monitoring.doctor.dagster_health import InstanceHealth
from apex_pipeline.monitoring.doctor.runner import PATIENCE_SECONDS

GRAPH_TOKENS = "graph.json"
"""The doctor's own cache of tokens for Microsoft Graph, in its temporary folder."""

LookAtDagster = Callable[[Mapping[str, str]], InstanceHealth | None]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is passed to the doctor.

    Attributes:
        dagster: Reads the Dagster instance that the variables name; None without one.
            Passed in, because only `defs` may import Dagster.
        now: This machine's clock, timezone-aware.
        min_free_bytes: Less free disk space than this is an error.
        seconds: Timeout for all checks together.
        further: Checks of other parts; they may depend on any check here.
        send_test: Whether to send a test message through each alert channel.
    """

    dagster: LookAtDagster
    now: Callable[[], datetime] = _now
    min_free_bytes: int = machine.MIN_FREE_BYTES
    seconds: float = PATIENCE_SECONDS
    further: Sequence[Check] = field(default=())
    send_test: bool = False
