"""The checklist: every line, its target, its remedy, and what it needs.

A further line is a `Check` in one of the functions below: a probe that returns a
finding, and the names of the lines without which it says nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from apex_pipeline.errors import ConfigError
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.monitoring.doctor import (
    alert_channels,
    credentials,
    dagster_health,
    dataverse_reachability,
    machine,
    recent_delivery,
    table_comparison as table_lines,
    trial_mark,
)
from apex_pipeline.monitoring.doctor.check_results import (
    Check,
    Finding,
    Line,
    not_checked,
    ok,
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
from apex_pipeline.settings import DataverseSettings, read_variable

_PROVISION_DATABASE = "Run `apex provision database`."
_PROVISION = "Run `apex provision dataverse`."
_STORAGE_LINE = "Dagster storage"
_CODE_LINE = "code location"
_STORAGE_VARIABLE = "DAGSTER_POSTGRES_URL"
_PAGE_VARIABLE = "APEX_DAGSTER_URL"
_CLOCK = "Have the clock of this machine kept by NTP."
_GRAPH_TOKENS = "graph.json"
_SKEW = f"at most {machine.MAX_SKEW_SECONDS:g} s"

LookAtDagster = Callable[[Mapping[str, str]], Instance | None]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the doctor looks at besides the two ends.

    Attributes:
        dagster: Reads the Dagster instance that an environment names; None if it names
            none. It lives in `defs`, where Dagster may be imported.
        now: This machine's clock (aware).
        further: Checks of other parts; they may need any of those here.
        send_test: Whether each alert channel is to send a test message.
    """

    dagster: LookAtDagster
    now: Callable[[], datetime] = _now
    min_free_bytes: int = machine.MIN_FREE_BYTES
    seconds: float = PATIENCE_SECONDS
    further: Sequence[Check] = field(default=())
    send_test: bool = False


def look(environment: Mapping[str, str], around: Surroundings) -> list[Line]:
    """Go through the whole checklist.

    Raises:
        ConfigError: Nothing can be checked, so wrong is the environment.
    """
    configuration = read_configuration(environment)
    # An empty token cache, so that a token is asked for; gone afterwards.
    with TemporaryDirectory(prefix="apex-doctor-") as folder:
        checks = [
            Check(
                "configuration",
                "complete, without contradiction",
                "Set the variables as said; the documentation lists them.",
                configuration.finding,
            )
        ]
        if configuration.database_url is not None:
            checks += _database_checks(configuration.database_url, around)
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


def _database_checks(url: str, around: Surroundings) -> Iterator[Check]:
    postgres = Postgres(url)
    yield Check(
        "database",
        "answers",
        "Check DATABASE_URL, and that Postgres runs and can be reached from here.",
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
        "all there, readable",
        _PROVISION_DATABASE,
        postgres.relations,
        ("migrations",),
    )
    yield Check(
        "indexes",
        "all there, valid",
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
        "Find double ids, then `ALTER TABLE campaign_metrics ADD UNIQUE (id)`: rows "
        "that share an id are one record in Dataverse.",
        postgres.unique_id,
        ("tables and views",),
    )

    def marks_take() -> Finding:
        with postgres.open_database() as database:
            return trial_mark.marks_take(database, around.now())

    yield Check(
        "marks",
        "a delivered row can be marked",
        trial_mark.REMEDY,
        marks_take,
        ("tables and views",),
    )
    yield Check(
        "clock of Postgres",
        _SKEW,
        _CLOCK,
        partial(postgres.clock, around.now),
        ("database",),
    )

    def last_success() -> Finding:
        with postgres.open_database() as database:
            return recent_delivery.last_success(database, around.now())

    yield Check(
        "last success",
        f"rows wait no longer than {_minutes(LATE)} for one",
        "Run `apex sync`, and see what it says.",
        last_success,
        ("tables and views",),
    )


def _dataverse_checks(
    configuration: Configuration, around: Surroundings, folder: Path
) -> Iterator[Check]:
    settings = configuration.dataverse
    if settings is None:
        return
    yield from _service_checks(settings, around)
    yield from _credential_checks(configuration, settings, around, folder)
    administrator = configuration.administrator
    environment = Environment(
        Access(settings, folder / "tokens.json"),
        Access(administrator, folder / "administrator.json") if administrator else None,
    )
    yield from _user_checks(environment)
    yield from _table_checks(environment)


def _service_checks(
    settings: DataverseSettings, around: Surroundings
) -> Iterator[Check]:
    yield Check(
        "Dataverse",
        "answers HTTP 401 without a token",
        "Check DATAVERSE_RESOURCE, and that it can be reached from here.",
        partial(dataverse_reachability.reachable, settings),
    )
    yield Check(
        "TLS",
        "trusted, 14 days left",
        "If a private authority signed the certificate, name its PEM file in "
        "APEX_CA_BUNDLE; if it runs out, renew it.",
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
        token, seconds = credentials.acquire(settings, folder / "tokens.json")
        tokens.append(token)
        return ok(f"acquired in {1000 * seconds:,.0f} ms, past the cache")

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
        "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and the secret or certificate.",
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
        "lasts 30 days more",
        "Make a new one in Entra, and set it.",
        expiry,
    )


def _user_checks(environment: Environment) -> Iterator[Check]:
    yield Check(
        "application user",
        "a user of the environment, enabled",
        f"{_PROVISION} A disabled one is activated in the Power Platform admin center.",
        environment.user,
        ("Dataverse", "TLS", "token"),
    )
    yield Check(
        PRIVILEGES_LINE,
        "create, read, write; to read definitions",
        _PROVISION,
        environment.privileges,
        ("application user",),
    )
    yield Check(
        "role",
        "holds what a sync needs, and cannot delete",
        f"{_PROVISION} If it may delete, take that from it in the Power Platform "
        "admin center.",
        environment.role,
        ("application user",),
        after=(PRIVILEGES_LINE,),
    )


def _table_checks(environment: Environment) -> Iterator[Check]:
    yield Check(
        TABLE_LINE,
        "there",
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
        "on, or the table's has no effect",
        "Switch it on in the Power Platform admin center, under the environment's "
        "settings, Audit settings.",
        lambda: table_lines.organization_auditing(
            environment.organization_is_audited()
        ),
        ("application user",),
    )
    yield Check(
        "create and write",
        "granted and tried",
        "As Dataverse says; else `apex provision dataverse`.",
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
            f"Check {_STORAGE_VARIABLE}, and that its Postgres runs and can be reached "
            "from here; its log and its disk say why it does not answer.",
            lambda: Postgres(storage, variable=_STORAGE_VARIABLE).reachable(),
        )
    seen: list[Instance | None] = []

    def found() -> Instance | None:
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
        "daemon and this machine, set DAGSTER_POSTGRES_URL alike for all of them, and "
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
            "Restart the Dagster code server; its log says why. `apex up` does so by "
            "itself. Daemon and web server need no restart.",
            lambda: dagster_health.code_location(servers),
        )
    yield Check(
        "schedule",
        "on, and ticking every five minutes",
        f"Switch {dagster_health.SCHEDULE} on in the Dagster UI, under Automation.",
        lambda: dagster_health.schedule(found(), around.now()),
        ("Dagster daemon", *([_CODE_LINE] if servers else [])),
    )
    yield Check(
        "disk",
        f"{around.min_free_bytes / 1024**2:,.0f} MiB free for the state, writable",
        "Make room, or choose another folder with APEX_STATE_DIR.",
        lambda: machine.disk(configuration.state, min_free_bytes=around.min_free_bytes),
    )


def _minutes(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 60:g} min"
