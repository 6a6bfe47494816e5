"""What is found to be wrong, before anybody decides whom to tell: plain values."""

from dataclasses import dataclass
from datetime import datetime

from apex_pipeline.monitoring.alerts.notice import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong. Never holds a row's data or a secret.

    Attributes:
        fingerprint: The rule's name; where the rule looks at several things, then a
            slash and which one.
        title: What is wrong, in one line.
        cause: The message of the fault; may be empty.
        cause_key: The cause without what differs each time. When it becomes another,
            people are told, since what they know is no longer so.
        remedy: What to do.
        inhibits: Rules, or fingerprints, that only follow from this.
        is_event: Whether finding it again means that it happened again.
        is_repeated: Whether people are to be reminded of it.
        is_held: Whether it may end by itself at once: people are told if it has not.
        began_at: When that began which failed, such as a run. What began before a root
            cause was mended may still fail for it.
    """

    fingerprint: str
    severity: Severity
    title: str
    cause: str
    cause_key: str
    remedy: str
    facts: tuple[tuple[str, str], ...] = ()
    link: str | None = None
    inhibits: frozenset[str] = frozenset()
    is_event: bool = False
    is_repeated: bool = True
    is_held: bool = False
    began_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """All that is wrong within a scope. What is not in it, is well.

    A rule that could not look makes no observation.

    Attributes:
        scope: The rule's name, or a fingerprint.
    """

    scope: str
    findings: tuple[Finding, ...] = ()


def is_within(fingerprint: str, scope: str) -> bool:
    """Whether a scope, a rule or a fingerprint, includes a fingerprint."""
    return fingerprint == scope or fingerprint.startswith(f"{scope}/")
