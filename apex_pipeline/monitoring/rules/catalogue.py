"""Everything that an alert can be about. docs/runbook.md has an entry for each."""

import re
from dataclasses import dataclass
from datetime import datetime

from apex_pipeline.monitoring.alerts.notice import Severity
from apex_pipeline.monitoring.alerts.observations import Finding

# What differs from one occurrence to the next: times, counts, ids, quoted values.
_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\b[0-9a-f]{8}[-0-9a-f]*\b|\d[\d.,:]*")
_LONGEST_KEY = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that can be wrong.

    Attributes:
        name: What fingerprints begin with.
        title: What is wrong, in one line; `{}` stands for where.
        remedy: What to do, unless a finding knows better.
        inhibits: Rules, or fingerprints, that only follow from this.
        is_event: Whether it happens, rather than lasts.
        is_repeated: Whether people are to be reminded of it.
        is_held: Whether it may end by itself at once.
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
    ) -> Finding:
        """What this rule has found.

        Args:
            cause: The message of the fault.
            where: What the title names; also the fingerprint's second part, unless
                there is a `key`.
            key: The fingerprint's second part.
            cause_key: The kind of cause; the message without numbers if it is empty.
            severity: If it is another than the rule's.
            remedy: If a better one is known than the rule's.
            facts: Names and values to show.
            link: Page in the Dagster UI.
            inhibits: What follows from this finding, besides what does from the rule.
            began_at: When that began which failed.
        """
        part = key or where
        return Finding(
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


SYNC_JOB = "sync_campaign_metrics"
SYNC_SCHEDULE = "sync_every_five_minutes"

_SYNC_FAILED = f"run-failed/{SYNC_JOB}"
_LATE = frozenset({"rows-overdue", "no-success"})

DATABASE_UNUSABLE = Rule(
    name="database-unusable",
    title="The metrics database cannot be used",
    severity=Severity.ERROR,
    remedy="Do what the message says; the next tick goes on where the last one stopped.",
    inhibits=_LATE | {"run-failed", "check-failed", "ticks-failing"},
)
STORAGE_UNUSABLE = Rule(
    name="storage-unusable",
    title="Dagster's storage cannot be used",
    severity=Severity.ERROR,
    remedy="Start the Postgres of DAGSTER_POSTGRES_URL again, and look at its log and "
    "its disk. Nothing runs until then; nothing is lost.",
    inhibits=_LATE
    | {"run-failed", "check-failed", "ticks-failing", "database-unusable"}
    | {"watch-stalled"},
)
CONFIGURATION_WRONG = Rule(
    name="configuration-wrong",
    title="The configuration is wrong",
    severity=Severity.ERROR,
    remedy="Correct the variables that the message names, and start `apex up`, or daemon "
    "and code server, anew.",
    inhibits=_LATE | {"run-failed", "ticks-failing"},
)
PROCESS_DIED = Rule(
    name="process-died",
    title="The {} died",
    severity=Severity.ERROR,
    remedy="It is started again by itself. If it keeps dying, its log in the folder "
    "`logs` of the state folder says why.",
    inhibits=frozenset(
        {"ticks-failing", "schedule-late", "watch-stalled", "run-failed"}
    ),
    is_event=True,
)
CODE_LOCATION_DOWN = Rule(
    name="code-location-down",
    title="The code location does not load",
    severity=Severity.ERROR,
    remedy="Restart the Dagster code server; its log says why. `apex up` does so by "
    "itself. Daemon and web server need no restart.",
    inhibits=_LATE | {"ticks-failing", "schedule-late", "watch-stalled"},
)
SCHEDULE_STOPPED = Rule(
    name="schedule-stopped",
    title="{} is switched off",
    severity=Severity.WARNING,
    remedy="Switch it on in the Dagster UI under Automation. If it is meant to be off, "
    "`apex alerts silence INCIDENT --for 2d`, or the job silence_alert.",
)
SCHEDULE_LATE = Rule(
    name="schedule-late",
    title="{} does not tick",
    severity=Severity.ERROR,
    remedy="Restart the Dagster daemon.",
    inhibits=_LATE,
)
TICKS_FAILING = Rule(
    name="ticks-failing",
    title="Ticks of {} fail",
    severity=Severity.ERROR,
    remedy="Do what the message says. The tick itself, in the Dagster UI under "
    "Automation, tells more; the next one comes by itself.",
)
RUN_FAILED = Rule(
    name="run-failed",
    title="A run of {} failed",
    severity=Severity.ERROR,
    remedy="Do what the message says. A schedule tries again by itself; a run that "
    "was started by hand is started again in the Dagster UI.",
    is_event=True,
)
RUN_NOT_STARTED = Rule(
    name="run-not-started",
    title="Runs do not start",
    severity=Severity.ERROR,
    remedy="Look at the log of the code server and of the Dagster daemon, and at the disk "
    "and the memory of their machine. Restart the code server.",
    inhibits=_LATE,
    is_event=True,
    is_held=True,
)
CHECK_FAILED = Rule(
    name="check-failed",
    title="The check {} failed",
    severity=Severity.ERROR,
    remedy="The asset's page in the Dagster UI says what the check compares and what "
    "it found. Mend that, and materialize the asset again.",
    is_event=True,
)
TOKEN_REFUSED = Rule(
    name="token-refused",
    title="No token for Dataverse",
    severity=Severity.ERROR,
    remedy="Check AZURE_TENANT_ID, AZURE_CLIENT_ID and the secret or certificate; then "
    "start `apex up`, or daemon and code server, anew. `apex doctor` asks for a token.",
    inhibits=_LATE | {_SYNC_FAILED, "table-drifted"},
)
CREDENTIAL_ENDS = Rule(
    name="credential-ends",
    title="The application's secret or certificate is about to end",
    severity=Severity.WARNING,
    remedy="Make a new one in Entra before that day, put it into the environment with "
    "its end date, and start `apex up`, or daemon and code server, anew.",
    is_repeated=False,
)
TABLE_DRIFTED = Rule(
    name="table-drifted",
    title="The Dataverse table is no longer as it should be",
    severity=Severity.ERROR,
    remedy="`apex provision dataverse --plan` lists each difference; what is missing "
    "`apex provision dataverse` makes again, the rest is changed in Power Apps. A column "
    "that was made again is empty: `apex reconcile --full --repair` fills it.",
    inhibits=_LATE | {_SYNC_FAILED},
)
THROTTLED = Rule(
    name="throttled",
    title="Dataverse throttles the sync",
    severity=Severity.WARNING,
    remedy="Nothing is lost, and the sync goes as fast as it may. If it stays so, see "
    "who else uses this application user, or spread the rows over more time.",
    inhibits=_LATE,
)
ROWS_OVERDUE = Rule(
    name="rows-overdue",
    title="Rows have been waiting for more than ten minutes",
    severity=Severity.ERROR,
    remedy="Look at the last runs of the sync in the Dagster UI and at `apex status`; "
    "`apex doctor` finds what is in the way, `apex sync` delivers at once.",
    inhibits=frozenset({"no-success"}),
)
NO_SUCCESS = Rule(
    name="no-success",
    title="No sync has succeeded for a quarter of an hour, though rows are pending",
    severity=Severity.ERROR,
    remedy="Look at the last runs of the sync in the Dagster UI; `apex doctor` finds "
    "what is in the way.",
)
ROWS_QUARANTINED = Rule(
    name="rows-quarantined",
    title="Rows are in quarantine",
    severity=Severity.WARNING,
    remedy="`apex quarantine list` shows each with the reason. Mend the row in Postgres, "
    "and `apex quarantine release ID` has the next sync send it; left alone, it is tried "
    "again by itself. `apex quarantine drop ID --reason TEXT` gives it up. In Dagster, "
    "the job release_quarantine does the same.",
)
COMPARISON_SLOW = Rule(
    name="comparison-slow",
    title="Changed rows are not found within a day",
    severity=Severity.WARNING,
    remedy="See in the Dagster UI that the sensor remake_late_days ticks, and that its "
    "runs end before the next tick. Until then days and weeks may lack what was changed; "
    "to have some made at once, materialize them.",
)
STORAGE_FULL = Rule(
    name="storage-full",
    title="Storage is nearly full: {}",
    severity=Severity.WARNING,
    remedy="Free some space, or make it larger.",
)
CHANNEL_FAILING = Rule(
    name="channel-failing",
    title="Notices do not get through by {}",
    severity=Severity.WARNING,
    remedy="Do what the message says, then try with `apex alerts test`. What waits is "
    "sent as soon as it can be.",
)
WATCH_STALLED = Rule(
    name="watch-stalled",
    title="Nothing watches the sync",
    severity=Severity.ERROR,
    remedy="See in the Dagster UI that the sensors watch_sync_health and "
    "alert_on_failure are on. If they are and do not tick, `apex doctor` says which to "
    "restart: the code server where the code location does not load, else the daemon.",
)

RULES = {
    rule.name: rule
    for rule in (
        CONFIGURATION_WRONG,
        STORAGE_UNUSABLE,
        DATABASE_UNUSABLE,
        PROCESS_DIED,
        CODE_LOCATION_DOWN,
        WATCH_STALLED,
        SCHEDULE_STOPPED,
        SCHEDULE_LATE,
        TICKS_FAILING,
        RUN_FAILED,
        RUN_NOT_STARTED,
        CHECK_FAILED,
        TOKEN_REFUSED,
        CREDENTIAL_ENDS,
        TABLE_DRIFTED,
        THROTTLED,
        ROWS_OVERDUE,
        NO_SUCCESS,
        ROWS_QUARANTINED,
        COMPARISON_SLOW,
        STORAGE_FULL,
        CHANNEL_FAILING,
    )
}
