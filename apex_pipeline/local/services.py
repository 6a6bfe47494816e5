"""The services that `apex up` runs: which are needed, their addresses and secrets.

The pipeline's processes are configured only by their environment, as with real services.
"""

import dataclasses
import json
import secrets
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.local import embedded_roles
from apex_pipeline.local.code_socket import code_socket
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.local.embedded_roles import OwnDatabase
from apex_pipeline.local.local_certificates import Certificates, ensure_certificates
from apex_pipeline.local.ports import HOST, HeldPorts
from apex_pipeline.settings import (
    CLIENTS_FILE,
    LOCATION_VARIABLE,
    PAGES,
    PanelSettings,
    Tenant,
    existing_file,
    load_panel_settings,
    load_tenant,
    project_dir,
    read_variable,
    state_dir,
    state_root,
    wants_local,
    with_secrets,
)
from apex_pipeline.settings.postgres_url import read_postgres_url, shown_address

_METRICS_DATABASE = "apex"
_DAGSTER_DATABASE = "dagster"
_DATABASES = {
    each.name: each
    for each in (
        OwnDatabase(_METRICS_DATABASE, embedded_roles.OWNER),
        OwnDatabase(_DAGSTER_DATABASE, embedded_roles.DAGSTER_LOGIN, is_private=True),
    )
}
_URL_VARIABLES = {
    _METRICS_DATABASE: "DATABASE_URL",
    _DAGSTER_DATABASE: "DAGSTER_POSTGRES_URL",
}
_ENDS = ("DATABASE_URL", "DATAVERSE_RESOURCE", "DAGSTER_HOME", "DAGSTER_POSTGRES_URL")
_APPLICATION = (
    *("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"),
    *("AZURE_AUTHORITY_HOST", "APEX_CA_BUNDLE"),
)
_PATH_VARIABLES = (
    *("APEX_CA_BUNDLE", "AZURE_CLIENT_CERTIFICATE_PATH", "APEX_EXPORT_DIR"),
    *("APEX_RECORD_DIR", "APEX_TSA_CERTIFICATES", CLIENTS_FILE),
)


@dataclass(frozen=True, slots=True)
class Services:
    """The services to run, with addresses and credentials.

    Attributes:
        ports: Where the children are to listen.
        emulator_port: 0 if the emulator is not needed.
        own_secret: What our own processes show to the Dagster UI.
        databases: The embedded databases that are needed.
        environment: The environment variables of the pipeline's processes.
    """

    tenant: Tenant
    state: Path
    ports: HeldPorts = field(repr=False)
    ui: PanelSettings
    code_socket: Path
    emulator_port: int
    panel: PanelSettings
    own_secret: str = field(repr=False)
    postgres: EmbeddedPostgres | None
    databases: tuple[OwnDatabase, ...]
    certificates: Certificates | None
    environment: Mapping[str, str] = field(repr=False)

    @property
    def ui_url(self) -> str:
        """Address to open in a browser."""
        return self.ui.url

    @property
    def secret_file(self) -> Path:
        """File with `own_secret`, for its owner alone."""
        return self.state / "webserver.secret"

    @property
    def owns_dagster_storage(self) -> bool:
        """Whether Dagster's storage is embedded, so that only our runs are in it."""
        return _DATABASES[_DAGSTER_DATABASE] in self.databases

    @property
    def url_file(self) -> Path | None:
        """File with the URL of the embedded metrics database, for other tools."""
        return self.state / "database.url" if self.owns_metrics else None

    @property
    def owns_metrics(self) -> bool:
        """Whether the metrics database is embedded."""
        return _DATABASES[_METRICS_DATABASE] in self.databases

    def as_login(self, login: str) -> dict[str, str]:
        """Variables that give a process its own login; none for a real database."""
        if not self.postgres or not self.owns_metrics:
            return {}
        variable = _URL_VARIABLES[_METRICS_DATABASE]
        return {variable: self.postgres.url(_METRICS_DATABASE, login)}

    @property
    def database_place(self) -> str:
        """Address of the metrics database, without the password."""
        variable = "DATABASE_URL"
        parameters = read_postgres_url(self.environment[variable], variable)
        return f"postgresql://{shown_address(parameters)}"

    @property
    def announcement(self) -> dict[str, str]:
        """Variables for other commands, without a real application's secret."""
        names = _ENDS + PAGES + (_APPLICATION if self.certificates else ())
        return {name: self.environment[name] for name in names}

    @property
    def dagster_home(self) -> Path:
        """Dagster's own folder."""
        return self.state / "dagster"


def prepare_services(
    environment: Mapping[str, str],
    ports: HeldPorts,
    *,
    ui_port: int,
    ui_host: str = HOST,
) -> Services:
    """Choose what is needed and make its files; nothing is started.

    Args:
        environment: The variables that the user has set, and all others.
        ports: Gets the ports of all services, so that no other program takes them.
        ui_port: Port of the Dagster UI.
        ui_host: Where it listens.

    Raises:
        ConfigError: The variables contradict each other, or a package that the local
            services need is not installed.
        ApexError: A port that the user has chosen is in use.
        DatabaseError: The embedded Postgres could not be created.
    """
    environment = with_secrets(environment)
    state = state_dir(environment)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    local_database, local_dataverse = wants_local(environment)
    databases = [_METRICS_DATABASE] if local_database else []
    if not read_variable(environment, "DAGSTER_POSTGRES_URL"):
        databases.append(_DAGSTER_DATABASE)
    panel = load_panel_settings(environment)
    ui = load_panel_settings(environment, host=ui_host, port=ui_port)
    _hold_ui(ports, ui)
    is_chosen = bool(read_variable(environment, "APEX_PANEL_PORT"))
    last = state / "ports.json"
    panel = _hold_panel(ports, panel, last, is_chosen=is_chosen)
    emulator_port = _hold_own(ports, HOST, "emulator", last) if local_dataverse else 0
    postgres = EmbeddedPostgres(state / "postgres") if databases else None
    own: dict[str, str] = {}
    if postgres:
        postgres.prepare()
        while not ports.hold(HOST, postgres.port):
            postgres.prepare()
        own |= {
            _URL_VARIABLES[name]: postgres.url(name, _DATABASES[name].owner)
            for name in databases
        }
    if local_database and not read_variable(environment, "APEX_HISTORY_START"):
        own["APEX_HISTORY_START"] = _history_start(state / "history-start")
    certificates = None
    if local_dataverse:
        certificates = ensure_certificates(state / "tls")
        own |= _emulated_dataverse(state, emulator_port)
        own["APEX_CA_BUNDLE"] = str(_trusted(environment, certificates.authority))
    services = Services(
        tenant=load_tenant(environment),
        state=state,
        ports=ports,
        ui=ui,
        code_socket=code_socket(state),
        emulator_port=emulator_port,
        panel=panel,
        own_secret=secrets.token_urlsafe(32),
        postgres=postgres,
        databases=tuple(_DATABASES[name] for name in databases),
        certificates=certificates,
        environment={"APEX_DAGSTER_URL": ui.url}
        | _environment(environment, state, own)
        | {"APEX_PANEL_HOST": panel.host, "APEX_PANEL_PORT": str(panel.port)},
    )
    _write_secret(services.secret_file, services.own_secret)
    if services.url_file:
        _write_secret(services.url_file, services.environment["DATABASE_URL"])
    return services


def prepare_dagster_home(services: Services) -> None:
    """Write the configuration files of the Dagster instance and workspace."""
    home = services.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_instance_file(), home / "dagster.yaml")
    (home / "workspace.yaml").write_text(
        "load_from:\n"
        "  - grpc_server:\n"
        f"      socket: {json.dumps(str(services.code_socket), allow_nan=False)}\n"
        f"      location_name: {services.tenant.location}\n"
    )


def _environment(
    given: Mapping[str, str], state: Path, own: Mapping[str, str]
) -> dict[str, str]:
    """The given variables, with our own services' addresses for missing ones."""
    environment = {name: value for name, value in given.items() if value.strip()}
    # The workspace that we write names it.
    environment.pop(LOCATION_VARIABLE, None)
    if "DATAVERSE_RESOURCE" in own:
        # They belong to real applications and would conflict with the secret.
        for name in ("AZURE_CLIENT_CERTIFICATE_PATH", CLIENTS_FILE):
            environment.pop(name, None)
    environment |= own
    for name in _PATH_VARIABLES:
        if name in environment:
            # The children have another current directory.
            path = Path(environment[name]).expanduser().absolute()
            environment[name] = str(path)
    loopback = {"localhost", HOST}
    for name in ("NO_PROXY", "no_proxy"):
        listed = [part for part in environment.get(name, "").split(",") if part]
        environment[name] = ",".join([*listed, *sorted(loopback.difference(listed))])
    return environment | {
        "APEX_STATE_DIR": str(state_root(given)),
        "DAGSTER_HOME": str(state / "dagster"),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        # Writes the materializations of two years of days in one batch.
        "DAGSTER_EVENT_BATCH_SIZE": "1000",
        # One planned event per asset instead of one per day. The daemon writes them one
        # by one, and those of two years would exceed the start timeout of a run.
        "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS": "true",
        "PYTHONUNBUFFERED": "1",
    }


def _emulated_dataverse(state: Path, port: int) -> dict[str, str]:
    """Addresses of the emulator, and its application's credentials."""
    origin = f"https://localhost:{port}"
    return _application(state / "application.json") | {
        "DATAVERSE_RESOURCE": origin,
        "AZURE_AUTHORITY_HOST": origin,
    }


def _trusted(environment: Mapping[str, str], authority: Path) -> Path:
    """A bundle of the emulator's authority and the given certificates.

    Raises:
        ConfigError: The given bundle is not a file.
    """
    problems: list[str] = []
    given = existing_file("APEX_CA_BUNDLE", environment, problems)
    if problems:
        raise ConfigError(*problems)
    if given is None:
        return authority
    both = authority.with_name("trusted.pem")
    both.write_bytes(authority.read_bytes() + b"\n" + given.read_bytes())
    return both


def _history_start(path: Path) -> str:
    """The first day of the rollups: two years before the first start.

    The database stores the same day. But Dagster needs it before the database is
    reachable; otherwise earlier days would never be computed.
    """
    if not path.is_file():
        today = datetime.now(UTC).date()
        # There is no 29 February two years earlier.
        start = today.replace(year=today.year - 2, day=min(today.day, 28))
        path.write_text(start.isoformat())
    return path.read_text()


def _application(path: Path) -> dict[str, str]:
    """Ids and secret of the emulated application, created once."""
    if not path.is_file():
        made = {
            "AZURE_TENANT_ID": str(uuid.uuid4()),
            "AZURE_CLIENT_ID": str(uuid.uuid4()),
            "AZURE_CLIENT_SECRET": secrets.token_urlsafe(24),
        }
        _write_secret(path, json.dumps(made, allow_nan=False))
    application: dict[str, str] = json.loads(path.read_text())
    return application


def _write_secret(path: Path, text: str) -> None:
    """Write a file atomically, accessible only to its owner."""
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


def _hold_ui(ports: HeldPorts, ui: PanelSettings) -> None:
    if not ports.hold(ui.host, ui.port):
        raise ApexError(
            f"Port {ui.port} is in use. Choose another for the Dagster UI, for example "
            f"`apex up --port {ui.port + 1}`."
        )


def _hold_panel(
    ports: HeldPorts, panel: PanelSettings, last: Path, *, is_chosen: bool
) -> PanelSettings:
    """The panel on its port; on another one only if the user has not chosen it."""
    if ports.hold(panel.host, panel.port):
        return panel
    if is_chosen:
        raise ApexError(
            f"Port {panel.port} is in use. Choose another for the panel with "
            "APEX_PANEL_PORT, or unset it, and `apex up` takes one that is free."
        )
    return dataclasses.replace(panel, port=_hold_own(ports, panel.host, "panel", last))


def _hold_own(ports: HeldPorts, host: str, name: str, last: Path) -> int:
    """The port of the last start if it is free, otherwise any free one."""
    known: dict[str, int] = json.loads(last.read_text()) if last.is_file() else {}
    if name not in known or not ports.hold(host, known[name]):
        known[name] = ports.hold_any(host)
        last.write_text(json.dumps(known, allow_nan=False))
    return known[name]


def _instance_file() -> Path:
    """The instance's configuration, from the wheel's package or the checkout."""
    packaged = Path(__file__).parent.parent / "dagster.yaml"
    return packaged if packaged.is_file() else project_dir() / "dagster.yaml"
