"""All alert rules, with titles and remedies. docs/runbook.md has an entry for each."""

from apex_pipeline.monitoring.alerts.notice import Severity
from apex_pipeline.monitoring.rules.alert_rule import Rule

SYNC_JOB = "sync_campaign_metrics"
SYNC_SCHEDULE = "sync_every_five_minutes"

_SYNC_FAILED = f"run-failed/{SYNC_JOB}"
_LATE = frozenset({"rows-overdue", "no-success"})

DATABASE_UNUSABLE = Rule(
    name="database-unusable",
    title="The metrics database cannot be used",
    severity=Severity.ERROR,
    remedy="Follow the message. The next tick continues where the last one stopped.",
    inhibits=_LATE | {"run-failed", "check-failed", "ticks-failing"},
)
STORAGE_UNUSABLE = Rule(
    name="storage-unusable",
    title="Dagster's storage cannot be used",
    severity=Severity.ERROR,
    remedy="Restart the Postgres of DAGSTER_POSTGRES_URL, and check its log and disk. "
    "Nothing runs until then; no data is lost.",
    inhibits=_LATE
    | {"run-failed", "check-failed", "ticks-failing", "database-unusable"}
    | {"watch-stalled"},
)
CONFIGURATION_WRONG = Rule(
    name="configuration-wrong",
    title="The configuration is wrong",
    severity=Severity.ERROR,
    remedy="Correct the variables that the message names, then restart `apex up`, or the "
    "daemon and code server.",
    inhibits=_LATE | {"run-failed", "ticks-failing"},
)
PROCESS_DIED = Rule(
    name="process-died",
    title="The {} died",
    severity=Severity.ERROR,
    remedy="It restarts automatically. If it keeps dying, read its log in the folder "
    "`logs` of the state folder.",
    inhibits=frozenset(
        {"ticks-failing", "schedule-late", "watch-stalled", "run-failed"}
    ),
    is_event=True,
)
CODE_LOCATION_DOWN = Rule(
    name="code-location-down",
    title="The code location does not load",
    severity=Severity.ERROR,
    remedy="Restart the Dagster code server; its log shows the reason. `apex up` restarts "
    "it automatically. The daemon and the web server need no restart.",
    inhibits=_LATE | {"ticks-failing", "schedule-late", "watch-stalled"},
)
SCHEDULE_STOPPED = Rule(
    name="schedule-stopped",
    title="{} is switched off",
    severity=Severity.WARNING,
    remedy="Switch it on in the Dagster UI under Automation. If you want it off, silence "
    "this incident: `apex alerts silence INCIDENT --for 2d`, or the job silence_alert.",
)
SCHEDULE_LATE = Rule(
    name="schedule-late",
    title="{} is not ticking",
    severity=Severity.ERROR,
    remedy="Restart the Dagster daemon.",
    inhibits=_LATE,
)
TICKS_FAILING = Rule(
    name="ticks-failing",
    title="Ticks of {} fail",
    severity=Severity.ERROR,
    remedy="Follow the message. For details, open the tick in the Dagster UI under "
    "Automation. The next tick comes automatically.",
)
RUN_FAILED = Rule(
    name="run-failed",
    title="A run of {} failed",
    severity=Severity.ERROR,
    remedy="Follow the message. A schedule retries automatically. If you started the run "
    "by hand, start it again in the Dagster UI.",
    is_event=True,
)
RUN_NOT_STARTED = Rule(
    name="run-not-started",
    title="Runs do not start",
    severity=Severity.ERROR,
    remedy="Check the logs of the code server and the Dagster daemon, and the disk and "
    "memory of their machine. Then restart the code server.",
    inhibits=_LATE,
    is_event=True,
    is_held=True,
)
CHECK_FAILED = Rule(
    name="check-failed",
    title="The check {} failed",
    severity=Severity.ERROR,
    remedy="Open the asset's page in the Dagster UI: it shows what the check compares and "
    "what it found. Fix that, then materialize the asset again.",
    is_event=True,
)
TOKEN_REFUSED = Rule(
    name="token-refused",
    title="No token for Dataverse",
    severity=Severity.ERROR,
    remedy="Check AZURE_TENANT_ID, AZURE_CLIENT_ID and the secret or certificate, then "
    "restart `apex up`, or the daemon and code server. `apex doctor` tests the sign-in.",
    inhibits=_LATE | {_SYNC_FAILED, "table-drifted"},
)
USER_LEFT_OUT = Rule(
    name="application-user-left-out",
    title="The application user {} is left out",
    severity=Severity.WARNING,
    remedy="The other application users deliver in its place, more slowly. Check its "
    "entry in AZURE_CLIENTS_FILE, and its user and role in Dataverse: `apex doctor` "
    "tests each. `apex provision dataverse` creates what is missing.",
)
CREDENTIAL_ENDS = Rule(
    name="credential-ends",
    title="The application's secret or certificate expires soon",
    severity=Severity.WARNING,
    remedy="Create a new one in Entra before that day, set it and its expiry date in the "
    "environment, and restart `apex up`, or the daemon and code server.",
    is_repeated=False,
)
TABLE_DRIFTED = Rule(
    name="table-drifted",
    title="The Dataverse table has drifted",
    severity=Severity.ERROR,
    remedy="List the differences with `apex provision dataverse --plan`. Create what is "
    "missing with `apex provision dataverse`, and change the rest in Power Apps. A "
    "recreated column is empty; fill it with `apex reconcile --full --repair`.",
    inhibits=_LATE | {_SYNC_FAILED},
)
THROTTLED = Rule(
    name="throttled",
    title="Dataverse is throttling the sync",
    severity=Severity.WARNING,
    remedy="No data is lost, and the sync runs as fast as Dataverse allows. If this "
    "persists, find out who else uses this application user, or spread the rows over "
    "more time.",
    inhibits=_LATE,
)
ROWS_OVERDUE = Rule(
    name="rows-overdue",
    title="Rows have been pending for more than ten minutes",
    severity=Severity.ERROR,
    remedy="Check the last runs of the sync in the Dagster UI and `apex status`. Find the "
    "cause with `apex doctor`; deliver at once with `apex sync`.",
    inhibits=frozenset({"no-success"}),
)
NO_SUCCESS = Rule(
    name="no-success",
    title="No sync has succeeded for 15 minutes, although rows are pending",
    severity=Severity.ERROR,
    remedy="Check the last runs of the sync in the Dagster UI. Find the cause with `apex "
    "doctor`.",
)
ROWS_QUARANTINED = Rule(
    name="rows-quarantined",
    title="Rows are in quarantine",
    severity=Severity.WARNING,
    remedy="`apex quarantine list` shows each row with the reason. Fix the row in "
    "Postgres, then run `apex quarantine release ID`: the next sync sends it. Otherwise "
    "it is retried when due. To never send it, run `apex quarantine drop ID --reason "
    "TEXT`. In Dagster, use the job release_quarantine.",
)
COMPARISON_SLOW = Rule(
    name="comparison-slow",
    title="Changed rows are not found within a day",
    severity=Severity.WARNING,
    remedy="Check in the Dagster UI that the sensor remake_late_days ticks, and that its "
    "runs end before the next tick. Until then, days and weeks may lack changes. To "
    "update some of them at once, materialize them.",
)
AUDIT_BROKEN = Rule(
    name="audit-broken",
    title="The audit trail is broken",
    severity=Severity.ERROR,
    remedy="Run `apex audit verify`: it names the first event that was changed, removed, "
    "moved or inserted. Find out who may write to the database, and compare with a backup "
    "and the anchors in reports and in this channel. It resolves when the trail verifies.",
)
STORAGE_FULL = Rule(
    name="storage-full",
    title="Storage is nearly full: {}",
    severity=Severity.WARNING,
    remedy="Free some space, or enlarge the storage.",
)
CHANNEL_FAILING = Rule(
    name="channel-failing",
    title="Notices are not delivered by {}",
    severity=Severity.WARNING,
    remedy="Follow the message, then run `apex alerts test`. Undelivered notices are sent "
    "as soon as the channel works.",
)
WATCH_STALLED = Rule(
    name="watch-stalled",
    title="The sync is not monitored",
    severity=Severity.ERROR,
    remedy="Check in the Dagster UI that the sensors watch_sync_health and "
    "alert_on_failure are on. If they are on but do not tick, run `apex doctor`: if the "
    "code location does not load, restart the code server, otherwise the daemon.",
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
        USER_LEFT_OUT,
        CREDENTIAL_ENDS,
        TABLE_DRIFTED,
        THROTTLED,
        ROWS_OVERDUE,
        NO_SUCCESS,
        ROWS_QUARANTINED,
        COMPARISON_SLOW,
        AUDIT_BROKEN,
        STORAGE_FULL,
        CHANNEL_FAILING,
    )
}
