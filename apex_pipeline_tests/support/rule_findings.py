"""What a rule finds, and incidents as time goes by."""

from datetime import UTC, datetime, timedelta

from apex_pipeline.monitoring.alerts.incidents import MEMORY, Incident, Silence, decide
from apex_pipeline.monitoring.alerts.notice import (
    Fault,
    Notice,
    NoticeKind,
    Observation,
    Severity,
)

START = datetime(2026, 11, 25, 12, tzinfo=UTC)


def finding(fingerprint: str, *inhibits: str, **overrides) -> Fault:
    values = {
        "severity": Severity.ERROR,
        "title": f"{fingerprint} is wrong",
        "cause": "it broke",
        "cause_key": "it broke",
        "remedy": "mend it",
        "inhibits": frozenset(inhibits),
    }
    return Fault(fingerprint=fingerprint, **(values | overrides))


class World:
    """The incidents, the time, and all notices."""

    def __init__(self) -> None:
        self.now = START
        self.incidents: tuple[Incident, ...] = ()
        self.silences: list[Silence] = []
        self.notices: list[Notice] = []

    def see(self, *observations: Observation) -> list[tuple[str, NoticeKind]]:
        known = [
            each
            for each in self.incidents
            if each.resolved_at is None or each.resolved_at > self.now - MEMORY
        ]
        self.incidents, notices = decide(known, observations, self.silences, self.now)
        self.notices += notices
        return [(n.title.partition(" ")[0], n.kind) for n in notices]

    def wrong(self, *findings: Fault) -> list[tuple[str, NoticeKind]]:
        return self.see(*(Observation(each.fingerprint, (each,)) for each in findings))

    def well(self, *scopes: str) -> list[tuple[str, NoticeKind]]:
        return self.see(*(Observation(scope) for scope in scopes))

    def later(self, **duration: float) -> None:
        self.now += timedelta(**duration)
