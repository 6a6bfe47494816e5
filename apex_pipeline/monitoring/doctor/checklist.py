"""The checklist: every check with its target, remedy and dependencies.

To add a line, add a `Check` to one of the functions below: a probe that returns a
finding, and the names of the checks it depends on.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from apex_pipeline.errors import ConfigError
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.monitoring.doctor import (
    alert_channels,
    audit_trail,
    credentials,
    dagster_health,
    dataverse_reachability,
    machine,
    recent_delivery,
    table_comparison as table_lines,
    time_zones,
    trial_mark,
)
from apex_pipeline.monitoring.doctor.check_results import (
    Check,
    Finding,
    Line,
    not_checked,
    ok,
    warning,
)
from apex_pipeline.monitoring.doctor.configuration import (
    Configuration,
    read_configuration,
)
from apex_pipeline.monitoring.doctor.dagster_health import Instance
from apex_pipeline.monitoring.doctor.dataverse_access import (
    PRIVILEGES_LINE,
    TABLE_LINE,
    Access,
    Environment,
)
from apex_pipeline.monitoring.doctor.postgres_state import Postgres
from apex_pipeline.monitoring.doctor.runner import PATIENCE_SECONDS, examine
from apex_pipeline.monitoring.doctor.web_server import heartbeats_seen_by
from apex_pipeline.monitoring.facts import LATE
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import (
    CLIENTS_FILE,
    DataverseSettings,
    exposure,
    load_analysis_settings,
    read_variable,
)

_PROVISION_DATABASE = "Run `apex provision database`."
_PROVISION = "Run `apex provision dataverse`."
_STORAGE_LINE = "Dagster storage"
_CODE_LINE = "code location"
_STORAGE_VARIABLE = "DAGSTER_POSTGRES_URL"
_PAGE_VARIABLE = "APEX_DAGSTER_URL"
_CLOCK = "Synchronise this machine's clock with NTP."
_GRAPH_TOKENS = "graph.json"
_TOKENS = "tokens.json"
_SHARED_LINES = {"Dataverse", "TLS"}
_SKEW = f"at most {machine.MAX_SKEW_SECONDS:g} s"

LookAtDagster = Callable[[Mapping[str, str]], Instance | None]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the doctor uses besides the environment variables.

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


def look(environment: Mapping[str, str], around: Surroundings) -> list[Line]:
    """Run the whole checklist.

    Raises:
        ConfigError: The configuration is too broken to check anything.
    """
    configuration = read_configuration(environment)
    # A new, empty token cache forces a request for a token.
    with TemporaryDirectory(prefix="apex-doctor-") as folder:
        checks = [
            Check(
                "configuration",
                "complete and consistent",
                "Set the variables as the message says; the documentation lists them.",
                configuration.finding,
            )
        ]
        if configuration.database_url is not None:
            checks += database_checks(configuration.database_url, around)
            checks.append(
                _time_zone_check(configuration, configuration.database_url, around)
            )
        if configuration.dataverse is not None:
            checks += _dataverse_checks(configuration, around, Path(folder))
        checks += _machine_checks(configuration, around)
        checks += alert_channels.checks(
            configuration,
            Path(folder) / _GRAPH_TOKENS,
            around.now,
            send_test=around.send_test,
        )
        return examine([*checks, *around.further], seconds=around.seconds)


def database_checks(url: str, around: Surroundings) -> Iterator[Check]:
    """The checks of the Postgres that holds the metrics."""
    postgres = Postgres(url)

    def now_in(look: Callable[[Database, datetime], Finding]) -> Finding:
        with postgres.open_database() as database:
            return look(database, around.now())

    yield Check(
        "database",
        "answers, Postgres 14 or later",
        "Check DATABASE_URL, and that Postgres is running and reachable from here.",
        postgres.reachable,
    )
    yield Check(
        "migrations",
        "all applied",
        _PROVISION_DATABASE,
        postgres.migrations,
        ("database",),
    )
    yield Check(
        "tables and views",
        "all exist, readable",
        _PROVISION_DATABASE,
        postgres.relations,
        ("migrations",),
    )
    yield Check(
        "indexes",
        "all exist, valid",
        _PROVISION_DATABASE,
        postgres.indexes,
        ("tables and views",),
    )
    yield Check(
        "pending query",
        "uses an index of the pending rows",
        "Run `ANALYZE campaign_metrics`; if that does not help, compare the index with "
        "sql/0004_index_pending.sql.",
        postgres.plan,
        ("indexes",),
    )
    yield Check(
        "key of campaign_metrics",
        "id is unique",
        "Remove duplicate ids, then run `ALTER TABLE campaign_metrics ADD UNIQUE (id)`. "
        "Rows that share an id share one record in Dataverse.",
        postgres.unique_id,
        ("tables and views",),
    )

    yield Check(
        "marks",
        "a delivered row can be marked",
        trial_mark.REMEDY,
        partial(now_in, trial_mark.marks_take),
        ("tables and views",),
    )
    yield Check(
        "database role",
        "may do what a sync needs",
        _PROVISION_DATABASE,
        postgres.role,
        ("tables and views",),
    )
    yield Check(
        "database schema",
        "not everybody may create objects there",
        _PROVISION_DATABASE,
        postgres.schema,
        ("tables and views",),
    )
    yield Check(
        "clock of Postgres",
        _SKEW,
        _CLOCK,
        partial(postgres.clock, around.now),
        ("database",),
    )

    yield Check(
        "last success",
        f"no row is pending for more than {_minutes(LATE)} without one",
        "Run `apex sync` and read its message.",
        partial(now_in, recent_delivery.last_success),
        ("tables and views",),
    )

    yield Check(
        "audit trail",
        "unbroken, verified and anchored within two days",
        audit_trail.REMEDY,
        partial(now_in, audit_trail.last_result),
        ("tables and views",),
    )


def _time_zone_check(
    configuration: Configuration, url: str, around: Surroundings
) -> Check:
    def compared() -> Finding:
        try:
            analysis = load_analysis_settings(configuration.environment)
        except ConfigError as error:
            if not configuration.tells(error):
                raise
            return not_checked("configuration")
        with Postgres(url).open_database() as database:
            return time_zones.compare(
                database,
                analysis.time_zones,
                analysis.first_label,
                around.now().date(),
            )

    return Check(
        "time zones", time_zones.TARGET, time_zones.REMEDY, compared, ("database",)
    )


def _dataverse_checks(
    configuration: Configuration, around: Surroundings, folder: Path
) -> Iterator[Check]:
    settings = configuration.dataverse
    if settings is None:
        return
    yield from _service_checks(settings, around)
    yield from _clients_file_checks(configuration)
    administrator = configuration.administrator
    as_administrator = (
        Access(administrator, folder / "administrator.json") if administrator else None
    )
    first, *others = settings.users
    yield from _credential_checks(configuration, first, around, folder)
    environment = Environment(Access(first, folder / _TOKENS), as_administrator)
    yield from _user_checks(environment)
    yield from _table_checks(environment)
    for number, user in enumerate(others, start=2):
        # Lines without an application are about the first one.
        one = partial(_of_user, f" ({user.client_id})")
        place = folder / str(number)
        place.mkdir()
        yield from map(one, _credential_checks(configuration, user, around, place))
        further = Environment(Access(user, place / _TOKENS), as_administrator)
        yield from map(one, _user_checks(further))


def _of_user(suffix: str, check: Check) -> Check:
    """The same check for a further application user."""

    def named(lines: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(n if n in _SHARED_LINES else f"{n}{suffix}" for n in lines)

    return replace(
        check,
        name=f"{check.name}{suffix}",
        needs=named(check.needs),
        after=named(check.after),
    )


def _clients_file_checks(configuration: Configuration) -> Iterator[Check]:
    path = read_variable(configuration.environment, CLIENTS_FILE)
    if not path or configuration.dataverse is None:
        return

    def protected() -> Finding:
        seen = exposure(Path(path).expanduser())
        return warning(seen) if seen else ok("not readable by every user")

    yield Check(
        "application users' file",
        "readable by its owner only",
        f"Run `chmod 600` on the file in {CLIENTS_FILE}.",
        protected,
    )


def _service_checks(
    settings: DataverseSettings, around: Surroundings
) -> Iterator[Check]:
    yield Check(
        "Dataverse",
        "answers HTTP 401 without a token",
        "Check DATAVERSE_RESOURCE, and that it is reachable from here.",
        partial(dataverse_reachability.reachable, settings),
    )
    yield Check(
        "TLS",
        "trusted, valid for 14 days",
        "If a private authority signed the certificate, set APEX_CA_BUNDLE to the "
        "authority's PEM file. If the certificate expires soon, renew it.",
        lambda: dataverse_reachability.certificate(settings, around.now()),
        ("Dataverse",),
    )
    yield Check(
        "clock of Dataverse",
        _SKEW,
        _CLOCK,
        lambda: dataverse_reachability.clock(settings, around.now()),
        ("TLS",),
    )


def _credential_checks(
    configuration: Configuration,
    settings: DataverseSettings,
    around: Surroundings,
    folder: Path,
) -> Iterator[Check]:
    tokens: list[str] = []

    def acquire() -> Finding:
        token, seconds = credentials.acquire(settings, folder / _TOKENS)
        tokens.append(token)
        return ok(f"in {1000 * seconds:,.0f} ms without the cache, by {settings.proof}")

    def expiry() -> Finding:
        try:
            return credentials.expiry(
                settings,
                configuration.environment,
                folder / _GRAPH_TOKENS,
                around.now().date(),
            )
        except ConfigError as error:
            if not configuration.tells(error):
                raise
            return not_checked("configuration")

    yield Check(
        "token",
        "acquired",
        "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and what proves its identity.",
        acquire,
    )
    yield Check(
        "audience",
        "this environment, this application",
        "Check DATAVERSE_RESOURCE and AZURE_CLIENT_ID.",
        lambda: credentials.audience(tokens[0], settings),
        ("token",),
    )
    yield Check(
        "secret or certificate",
        "valid for 30 days",
        "Create a new one in Entra, and set it in the environment.",
        expiry,
    )


def _user_checks(environment: Environment) -> Iterator[Check]:
    yield Check(
        "application user",
        "a user of the environment, enabled",
        f"{_PROVISION} If the user is disabled, enable it in the Power Platform admin "
        "center.",
        environment.user,
        ("Dataverse", "TLS", "token"),
    )
    yield Check(
        PRIVILEGES_LINE,
        "create, read and write records; read definitions",
        _PROVISION,
        environment.privileges,
        ("application user",),
    )
    yield Check(
        "role",
        "grants what a sync needs, and no delete",
        f"{_PROVISION} If the role allows delete, remove that privilege in the Power "
        "Platform admin center.",
        environment.role,
        ("application user",),
        after=(PRIVILEGES_LINE,),
    )


def _table_checks(environment: Environment) -> Iterator[Check]:
    yield Check(
        TABLE_LINE,
        "exists",
        _PROVISION,
        environment.look_at_table,
        ("application user",),
        after=(PRIVILEGES_LINE,),
    )
    needs = (TABLE_LINE,)
    for name, target, judge in (
        ("columns", f"{len(COLUMNS)}, each wide enough", table_lines.columns),
        ("change tracking", "on", table_lines.change_tracking),
        ("auditing", "on", table_lines.auditing),
    ):
        yield Check(
            name, target, _PROVISION, partial(_of_table, environment, judge), needs
        )
    yield Check(
        "auditing of the environment",
        "on, as the table's auditing requires",
        "Switch it on in the Power Platform admin center: Audit settings in the "
        "environment's settings.",
        lambda: table_lines.organization_auditing(environment.organization_auditing()),
        ("application user",),
    )
    yield Check(
        "create and write",
        "granted and tried",
        "Follow Dataverse's message; otherwise run `apex provision dataverse`.",
        environment.write,
        ("columns", PRIVILEGES_LINE),
    )


def _of_table(environment: Environment, judge: Callable[..., Finding]) -> Finding:
    return judge(environment.table)


def _machine_checks(
    configuration: Configuration, around: Surroundings
) -> Iterator[Check]:
    storage = read_variable(configuration.environment, _STORAGE_VARIABLE)
    if storage:
        yield Check(
            _STORAGE_LINE,
            "answers",
            f"Check {_STORAGE_VARIABLE}, and that its Postgres is running and reachable "
            "from here. If it does not answer, check its log and disk.",
            lambda: Postgres(storage, variable=_STORAGE_VARIABLE).reachable(),
        )
    seen: list[Instance | None] = []

    # The lines run side by side; loading Dagster once is slow enough.
    one_at_a_time = threading.Lock()

    def found() -> Instance | None:
        with one_at_a_time:
            if not seen:
                seen.append(around.dagster(configuration.environment))
            return seen[0]

    def daemon() -> Finding:
        return dagster_health.daemon(found(), around.now())

    def instance() -> Finding:
        return dagster_health.settings(found())

    yield Check(
        "Dagster instance",
        "Postgres, queued runs, limits, monitoring, retention",
        "Copy this project's dagster.yaml into the DAGSTER_HOME of the web server, the "
        "daemon and this machine, set the same DAGSTER_POSTGRES_URL for all of them, and "
        "restart them.",
        instance,
        (_STORAGE_LINE,) if storage else (),
    )
    yield Check(
        "Dagster daemon",
        "heartbeats within 90 s",
        "Start it: `apex up`, `dagster dev`, or `dagster-daemon run` as a service.",
        daemon,
        (_STORAGE_LINE,) if storage else (),
    )
    page = read_variable(configuration.environment, _PAGE_VARIABLE)
    if page:
        yield Check(
            "Dagster web server",
            "sees the daemon's heartbeats",
            "Give the web server the DAGSTER_HOME and DAGSTER_POSTGRES_URL of the daemon, "
            f"and check {_PAGE_VARIABLE}.",
            lambda: dagster_health.web_server(found(), heartbeats_seen_by(page)),
            ("Dagster daemon",),
        )
    servers = dagster_health.code_servers(configuration.environment)
    if servers:
        yield Check(
            _CODE_LINE,
            "loads",
            "Restart the Dagster code server; its log shows the reason. `apex up` "
            "restarts it automatically. The daemon and the web server need no restart.",
            lambda: dagster_health.code_location(servers),
        )
    yield Check(
        "schedule",
        "on, ticks every five minutes",
        f"Switch {dagster_health.SCHEDULE} on in the Dagster UI, under Automation.",
        lambda: dagster_health.schedule(found(), around.now()),
        ("Dagster daemon", *([_CODE_LINE] if servers else [])),
    )
    yield Check(
        "disk",
        f"{around.min_free_bytes / 1024**2:,.0f} MiB free for the state, writable",
        "Free some space, or set APEX_STATE_DIR to another folder.",
        lambda: machine.disk(configuration.state, min_free_bytes=around.min_free_bytes),
    )


def _minutes(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 60:g} min"
