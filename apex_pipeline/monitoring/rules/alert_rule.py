"""What an alert rule is; `catalogue` declares them all."""

import re
from dataclasses import dataclass
from datetime import datetime

from apex_pipeline.monitoring.alerts.notice import Fault, Severity

# Parts that differ between occurrences: times, counts, ids, quoted values.
_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\b[0-9a-f]{8}[-0-9a-f]*\b|\d[\d.,:]*")
_LONGEST_KEY = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One kind of problem.

    Attributes:
        name: First part of its fingerprints.
        title: The problem in one line; `{}` stands for where.
        remedy: What to do, unless the finding has a better remedy.
        inhibits: Rules or fingerprints that are mere consequences of this one.
        is_event: Whether it is a single event, not a lasting state.
        is_repeated: Whether to send reminders.
        is_held: Whether to hold the notice back, because it may resolve at once.
    """

    name: str
    title: str
    severity: Severity
    remedy: str
    inhibits: frozenset[str] = frozenset()
    is_event: bool = False
    is_repeated: bool = True
    is_held: bool = False

    def finding(
        self,
        cause: str,
        *,
        where: str = "",
        key: str = "",
        cause_key: str = "",
        severity: Severity | None = None,
        remedy: str = "",
        facts: tuple[tuple[str, str], ...] = (),
        link: str | None = None,
        inhibits: frozenset[str] = frozenset(),
        began_at: datetime | None = None,
    ) -> Fault:
        """Create a finding of this rule.

        Args:
            cause: Message of the fault.
            where: Inserted into the title; also the second part of the fingerprint,
                unless there is a `key`.
            key: Second part of the fingerprint.
            cause_key: Kind of cause; by default `cause` without its numbers.
            severity: Overrides the rule's severity.
            remedy: Overrides the rule's remedy.
            facts: Names and values to show.
            link: Page in the Dagster UI.
            inhibits: Further consequences, besides those of the rule.
            began_at: When the failed run or tick began.
        """
        part = key or where
        return Fault(
            fingerprint=f"{self.name}/{part}" if part else self.name,
            severity=severity or self.severity,
            title=self.title.format(where),
            cause=cause,
            cause_key=cause_key or _VARYING.sub("#", cause)[:_LONGEST_KEY],
            remedy=remedy or self.remedy,
            facts=facts,
            link=link,
            inhibits=self.inhibits | inhibits,
            is_event=self.is_event,
            is_repeated=self.is_repeated,
            is_held=self.is_held,
            began_at=began_at,
        )
