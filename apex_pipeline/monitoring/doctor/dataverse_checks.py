"""The checks of Dataverse: the service, each application user, and the table."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from apex_pipeline.errors import ConfigError
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.monitoring.doctor import (
    credential_checks,
    dataverse_reachability,
    machine,
    table_comparison as table_lines,
)
from apex_pipeline.monitoring.doctor.check_results import (
    Check,
    Measurement,
    not_checked,
    ok,
    warning,
)
from apex_pipeline.monitoring.doctor.configuration import Configuration
from apex_pipeline.monitoring.doctor.dataverse_access import (
    PRIVILEGES_LINE,
    TABLE_LINE,
    Access,
    EnvironmentProbes,
)
from apex_pipeline.monitoring.doctor.surroundings import GRAPH_TOKENS, Surroundings
from apex_pipeline.settings import (
    CLIENTS_FILE,
    DataverseSettings,
    exposure,
    read_variable,
)

_PROVISION = "Run `apex provision dataverse`."
_TOKENS = "tokens.json"
_SHARED_LINES = {"Dataverse", "TLS"}


def dataverse_checks(
    configuration: Configuration, around: Surroundings, folder: Path
) -> Iterator[Check]:
    """The checks of one environment; none if its settings are incomplete.

    Args:
        configuration: The variables.
        around: What else the doctor uses.
        folder: Where the token caches go.
    """
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
    environment = EnvironmentProbes(Access(first, folder / _TOKENS), as_administrator)
    yield from _user_checks(environment)
    yield from _table_checks(environment)
    for number, user in enumerate(others, start=2):
        # Lines without an application are about the first one.
        one = partial(_of_user, f" ({user.client_id})")
        place = folder / str(number)
        place.mkdir()
        yield from map(one, _credential_checks(configuration, user, around, place))
        further = EnvironmentProbes(Access(user, place / _TOKENS), as_administrator)
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

    def protected() -> Measurement:
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
        machine.SKEW_TARGET,
        machine.SKEW_REMEDY,
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

    def acquire() -> Measurement:
        token, seconds = credential_checks.acquire(settings, folder / _TOKENS)
        tokens.append(token)
        return ok(f"in {1000 * seconds:,.0f} ms without the cache, by {settings.proof}")

    def expiry() -> Measurement:
        try:
            return credential_checks.expiry(
                settings,
                configuration.environment,
                folder / GRAPH_TOKENS,
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
        lambda: credential_checks.audience(tokens[0], settings),
        ("token",),
    )
    yield Check(
        "secret or certificate",
        "valid for 30 days",
        "Create a new one in Entra, and set it in the environment.",
        expiry,
    )


def _user_checks(environment: EnvironmentProbes) -> Iterator[Check]:
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


def _table_checks(environment: EnvironmentProbes) -> Iterator[Check]:
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


def _of_table(
    environment: EnvironmentProbes, judge: Callable[..., Measurement]
) -> Measurement:
    return judge(environment.table)
