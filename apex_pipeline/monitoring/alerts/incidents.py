"""Decide which notices to send: opened, reminded, resolved. Pure.

An incident sends a notice when it opens, every four hours, when its cause changes, and
when it is resolved. Consequences of an open incident send none; if they remain some
minutes after their cause was fixed, they send theirs then. A notice that something is
wrong is always followed by one that it is resolved.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from apex_pipeline.monitoring.alerts.notice import (
    Fault,
    Notice,
    NoticeKind,
    Observation,
    Severity,
    is_within,
)
from apex_pipeline.texts.durations import words

REMINDER = timedelta(hours=4)

GRACE = timedelta(minutes=6)
"""Consequences of a fixed cause go away with the next tick of the schedule."""

FLAPPING = 3
"""After this many notices within `MEMORY`, it is resolved only once it stays fine."""

STEADY = timedelta(minutes=15)
MEMORY = timedelta(hours=1)

# A cause that changes with every run would otherwise send a notice with every run.
_CAUSE_INTERVAL = timedelta(minutes=30)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A problem, open or resolved, and which notices were sent about it.

    The comments on the columns of `apex_alerts.incident` say what each field is.
    """

    fingerprint: str
    opened_at: datetime
    severity: Severity
    title: str
    cause: str
    cause_key: str
    remedy: str
    facts: tuple[tuple[str, str], ...]
    link: str | None
    inhibits: frozenset[str]
    is_repeated: bool
    seen_at: datetime
    count: int = 1
    resolved_at: datetime | None = None
    well_since: datetime | None = None
    held_until: datetime | None = None
    told_at: datetime | None = None
    told_cause: str = ""
    notices: int = 0

    @property
    def is_open(self) -> bool:
        return self.resolved_at is None


_SAID = {each.name for each in fields(Incident)} & {each.name for each in fields(Fault)}


@dataclass(frozen=True, slots=True)
class Silence:
    """A scope that sends no notices before an instant."""

    scope: str
    until: datetime


def decide(
    incidents: Iterable[Incident],
    observations: Sequence[Observation],
    silences: Sequence[Silence],
    now: datetime,
) -> tuple[tuple[Incident, ...], tuple[Notice, ...]]:
    """Apply observations in order, then what is due by time alone.

    Args:
        incidents: Open ones, and those resolved within `MEMORY`.
        observations: May be empty. Root causes come first, or their consequences would
            send notices.
        silences: Those that may be in force.
        now: Current time, timezone-aware.

    Returns:
        The incidents, and the notices to send, in order.
    """
    book = _Book(incidents, [s.scope for s in silences if s.until > now], now)
    notices: list[Notice] = []
    for observation in observations:
        book.observe(observation)
        # Settle each at once: a failure followed by a success sends both notices.
        notices += book.settle()
    notices += book.settle()
    return book.incidents, tuple(notices)


class _Book:
    """The incidents at one instant."""

    def __init__(
        self, incidents: Iterable[Incident], silenced: Sequence[str], now: datetime
    ) -> None:
        self._now = now
        self._silenced = silenced
        known = list(incidents)
        self._open = {each.fingerprint: each for each in known if each.is_open}
        self._resolved = [each for each in known if not each.is_open]

    @property
    def incidents(self) -> tuple[Incident, ...]:
        return (*self._resolved, *self._open.values())

    def observe(self, observation: Observation) -> None:
        found = {finding.fingerprint for finding in observation.findings}
        for finding in observation.findings:
            self._raise(finding)
        for fingerprint, incident in self._open.items():
            if is_within(fingerprint, observation.scope) and fingerprint not in found:
                well_since = incident.well_since or self._now
                self._open[fingerprint] = replace(incident, well_since=well_since)

    def settle(self) -> Iterator[Notice]:
        for incident in list(self._open.values()):
            if incident.well_since is not None:
                yield from self._resolve(incident, incident.well_since)
            else:
                yield from self._tell(incident)

    def _raise(self, finding: Fault) -> None:
        known = self._open.get(finding.fingerprint)
        if known is None:
            if not self._is_past(finding):
                self._open[finding.fingerprint] = self._new(finding)
            return
        self._open[finding.fingerprint] = replace(
            known,
            **_said(finding),
            seen_at=max(self._now, known.seen_at),
            well_since=None,
            count=known.count + finding.is_event,
        )

    def _is_past(self, finding: Fault) -> bool:
        """Whether a state that was found in the past is known to have ended since."""
        began_at = finding.began_at
        if finding.is_event or began_at is None:
            return False
        return any(
            each.resolved_at is not None and each.resolved_at >= began_at
            for each in self._resolved_before(finding.fingerprint)
        )

    def _new(self, finding: Fault) -> Incident:
        before = self._resolved_before(finding.fingerprint)
        # It may have been opened and resolved at this very instant.
        opened_at = max([self._now, *(each.opened_at + _TICK for each in before)])
        return Incident(
            **_said(finding),
            opened_at=opened_at,
            seen_at=opened_at,
            held_until=self._now + GRACE
            if finding.is_held
            else self._held_by_a_mended_cause(finding),
        )

    def _resolved_before(self, fingerprint: str) -> list[Incident]:
        return [each for each in self._resolved if each.fingerprint == fingerprint]

    def _held_by_a_mended_cause(self, finding: Fault) -> datetime | None:
        if finding.began_at is None:
            return None
        mended = [
            each.resolved_at
            for each in self._resolved
            if each.resolved_at is not None
            and each.resolved_at >= finding.began_at
            and _reaches(each, finding.fingerprint)
        ]
        return max(mended) + GRACE if mended else None

    def _resolve(self, incident: Incident, well_since: datetime) -> Iterator[Notice]:
        if self._flaps(incident) and self._now - well_since < STEADY:
            return
        del self._open[incident.fingerprint]
        resolved = replace(incident, resolved_at=max(self._now, incident.opened_at))
        if resolved.told_at is not None:
            resolved = self._noted(resolved)
            yield _notice(resolved, NoticeKind.RESOLVED, self._now)
        self._resolved.append(resolved)

    def _flaps(self, incident: Incident) -> bool:
        before = [
            each
            for each in self._resolved_before(incident.fingerprint)
            if each.told_at is not None and self._now - each.opened_at < MEMORY
        ]
        return len(before) + 1 >= FLAPPING

    def _tell(self, incident: Incident) -> Iterator[Notice]:
        if self._is_inhibited(incident):
            held = replace(incident, held_until=self._now + GRACE)
            self._open[incident.fingerprint] = held
            return
        is_silenced = any(is_within(incident.fingerprint, s) for s in self._silenced)
        is_held = incident.held_until is not None and incident.held_until > self._now
        kind = None if is_silenced or is_held else self._due(incident)
        if kind is not None:
            told = self._noted(incident)
            self._open[incident.fingerprint] = told
            yield _notice(told, kind, self._now)

    def _due(self, incident: Incident) -> NoticeKind | None:
        if incident.told_at is None:
            return NoticeKind.OPENED
        silent_for = self._now - incident.told_at
        has_changed = incident.cause_key != incident.told_cause
        if has_changed and silent_for >= _CAUSE_INTERVAL:
            return NoticeKind.REMINDED
        if incident.is_repeated and silent_for >= REMINDER:
            return NoticeKind.REMINDED
        return None

    def _is_inhibited(self, incident: Incident) -> bool:
        return any(
            _reaches(root, incident.fingerprint) and _goes_first(root, incident)
            for root in self._open.values()
            if root.fingerprint != incident.fingerprint and root.well_since is None
        )

    def _noted(self, incident: Incident) -> Incident:
        return replace(
            incident,
            told_at=self._now,
            told_cause=incident.cause_key,
            notices=incident.notices + 1,
        )


def _said(finding: Fault) -> dict[str, Any]:
    """The fields that an incident takes from its last finding."""
    return {name: getattr(finding, name) for name in _SAID}


def _reaches(root: Incident, fingerprint: str) -> bool:
    return any(is_within(fingerprint, scope) for scope in root.inhibits)


def _goes_first(root: Incident, other: Incident) -> bool:
    """If each may be the cause of the other, the earlier one is."""
    if not _reaches(other, root.fingerprint):
        return True
    mine, theirs = (
        (each.told_at is None, each.opened_at, each.fingerprint)
        for each in (root, other)
    )
    return mine < theirs


def _notice(incident: Incident, kind: NoticeKind, now: datetime) -> Notice:
    is_over = kind is NoticeKind.RESOLVED
    lasted = words(max((incident.resolved_at or now) - incident.opened_at, timedelta()))
    facts = []
    if kind is not NoticeKind.OPENED:
        facts.append(("Since", f"{incident.opened_at:%Y-%m-%d %H:%M:%S} UTC"))
        facts.append(("Lasted" if is_over else "For", lasted))
    if incident.count > 1:
        facts.append(("Times", str(incident.count)))
    if not is_over:
        facts += incident.facts
    facts.append(("Incident", incident.fingerprint))
    return Notice(
        key=f"{incident.fingerprint} {incident.opened_at.isoformat()} "
        f"{incident.notices}",
        kind=kind,
        severity=incident.severity,
        title=incident.title,
        cause="" if is_over else incident.cause,
        remedy="" if is_over else incident.remedy,
        facts=tuple(facts),
        link=incident.link,
        at=now,
    )
