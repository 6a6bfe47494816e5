"""A channel that keeps what it is given, and what a watcher records."""

from datetime import UTC, datetime

from apex_pipeline.monitoring.alerts.journal import Journal
from apex_pipeline.monitoring.alerts.notice import (
    DeliveryError,
    Fault,
    Notice,
    NoticeKind,
    Observation,
)


class Recorder:
    """A channel that keeps what it is given, unless it is dead."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.taken: list[Notice] = []
        self.is_dead = False

    def send(self, notice: Notice) -> None:
        if self.is_dead:
            raise DeliveryError("it answers HTTP 503 for now")
        self.taken.append(notice)

    @property
    def kinds(self) -> list[NoticeKind]:
        return [notice.kind for notice in self.taken]


class Broken:
    """A channel whose own code fails."""

    name = "broken"

    def send(self, notice: Notice) -> None:
        raise ZeroDivisionError(f"sentinel of {notice.key}")

    def reach(self, seconds: float) -> str:
        raise NotImplementedError(seconds)


def record(
    journal: Journal,
    *findings: Fault,
    scope: str = "a",
    channels: tuple[str, ...] = ("teams", "email"),
    now: datetime | None = None,
) -> tuple[Notice, ...]:
    return journal.record(
        "test",
        lambda _: ([Observation(scope, findings)], {}),
        channels,
        now or datetime.now(UTC),
    )
