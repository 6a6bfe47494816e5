"""Choose and make what `apex up` needs, for one tenant or several; nothing is started."""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from apex_pipeline.errors import ApexError
from apex_pipeline.local.code_socket import code_socket
from apex_pipeline.local.embedded_databases import (
    METRICS,
    STORAGE,
    URL_VARIABLES,
    prepare_postgres,
)
from apex_pipeline.local.embedded_roles import OwnDatabase
from apex_pipeline.local.ends import Ends, prepare_ends
from apex_pipeline.local.local_services import LocalInstance, LocalServices
from apex_pipeline.local.ports import HOST, HeldPorts
from apex_pipeline.local.private_files import write_private
from apex_pipeline.settings import (
    CLIENTS_FILE,
    LOCATION_VARIABLE,
    PanelSettings,
    load_panel_settings,
    load_tenant,
    project_dir,
    read_variable,
    state_dir,
    state_root,
    with_secrets,
)
from apex_pipeline.settings.named_paths import FOLDERS, path_of_file, path_of_folder

_STORAGE_URL = URL_VARIABLES[STORAGE.name]
_OF_DAGSTER = {
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    # Writes the materializations of two years of days in one batch.
    "DAGSTER_EVENT_BATCH_SIZE": "1000",
    # One planned event per asset instead of one per day. The daemon writes them one by
    # one, and those of two years would exceed the start timeout of a run.
    "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS": "true",
    "PYTHONUNBUFFERED": "1",
}
_PLACES = re.compile(r"(max_concurrent_runs: )(\d+)")
_PATH_VARIABLES = (
    *("APEX_CA_BUNDLE", "AZURE_CLIENT_CERTIFICATE_PATH", "APEX_EXPORT_DIR"),
    *("APEX_RECORD_DIR", "APEX_TSA_CERTIFICATES", CLIENTS_FILE),
)


def prepare_services(
    environment: Mapping[str, str],
    ports: HeldPorts,
    *,
    ui_port: int,
    ui_host: str = HOST,
) -> LocalServices:
    """Choose what is needed and make its files; nothing is started.

    Args:
        environment: The variables that the user has set, and all others.
        ports: Gets the ports of all services, so no other program takes them.
        ui_port: Port of the Dagster UI.
        ui_host: Where it listens.

    Raises:
        ConfigError: The variables contradict each other, or a package that the local
            services need is not installed.
        ApexError: A port that the user has chosen is in use.
        DatabaseError: The embedded Postgres could not be created.
    """
    environment = with_secrets(environment)
    state = _own_folder(state_dir(environment))
    ui = _held_ui(environment, ports, ui_host, ui_port)
    storage = _storage(environment)
    ends = prepare_ends(environment, ports, state, storage)
    variables = _environment(environment, state / "dagster", ui.url, ends)
    instance = LocalInstance(
        state=state,
        ports=ports,
        ui=ui,
        own_secret=secrets.token_urlsafe(32),
        tenants=(load_tenant(environment),),
        postgres=None,
        owns_storage=bool(storage),
        environment=variables,
    )
    write_private(instance.secret_file, instance.own_secret)
    return _services(instance, ends, variables)


def prepare_tenants(
    environment: Mapping[str, str],
    tenants: Sequence[Mapping[str, str]],
    ports: HeldPorts,
    *,
    ui_port: int,
    ui_host: str = HOST,
) -> tuple[LocalServices, ...]:
    """Prepare the services of several tenants on one Dagster instance.

    Each embedded database has a server of its own, because the roles of a server are
    the same in all of its databases.

    Args:
        environment: The variables of the instance.
        tenants: The variables of each tenant.
        ports: As for `prepare_services`.
        ui_port: Likewise.
        ui_host: Likewise.

    Raises:
        ConfigError: As by `prepare_services`.
        ApexError: Likewise.
        DatabaseError: Likewise.
    """
    environment = with_secrets(environment)
    state = _own_folder(state_root(environment))
    ui = _held_ui(environment, ports, ui_host, ui_port)
    postgres, own = prepare_postgres(ports, state, _storage(environment))
    home = state / "dagster"
    variables = {
        **environment,
        **own,
        "APEX_STATE_DIR": str(state),
        "DAGSTER_HOME": str(home),
    }
    instance = LocalInstance(
        state=state,
        ports=ports,
        ui=ui,
        own_secret=secrets.token_urlsafe(32),
        tenants=tuple(map(load_tenant, tenants)),
        postgres=postgres,
        owns_storage=postgres is not None,
        environment=variables | _OF_DAGSTER,
    )
    write_private(instance.secret_file, instance.own_secret)
    storage_url = read_variable(variables, _STORAGE_URL)
    found = []
    for each in tenants:
        given = with_secrets(each) | {_STORAGE_URL: storage_url}
        ends = prepare_ends(given, ports, _own_folder(state_dir(given)), [])
        own_variables = _environment(given, home, ui.url, ends)
        found.append(_services(instance, ends, own_variables))
    return tuple(found)


def _own_folder(state: Path) -> Path:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    return state


def _storage(environment: Mapping[str, str]) -> list[OwnDatabase]:
    """The embedded database of Dagster's storage, if it is needed."""
    return [] if read_variable(environment, _STORAGE_URL) else [STORAGE]


def _services(
    instance: LocalInstance, ends: Ends, environment: Mapping[str, str]
) -> LocalServices:
    services = LocalServices(
        instance=instance,
        tenant=load_tenant(environment),
        state=ends.state,
        code_socket=code_socket(ends.state),
        emulator_port=ends.emulator_port,
        panel=ends.panel,
        postgres=ends.postgres,
        databases=ends.databases,
        certificates=ends.certificates,
        environment=environment,
    )
    if services.url_file and services.postgres:
        url = services.postgres.url(METRICS.name, METRICS.owner)
        write_private(services.url_file, url)
    return services


def _environment(
    given: Mapping[str, str], home: Path, ui_url: str, ends: Ends
) -> dict[str, str]:
    """The given variables, with our own services' addresses for missing ones."""
    environment = {name: value for name, value in given.items() if value.strip()}
    # The workspace that we write names it.
    environment.pop(LOCATION_VARIABLE, None)
    if "DATAVERSE_RESOURCE" in ends.own:
        # They belong to real applications and would conflict with the secret.
        for name in ("AZURE_CLIENT_CERTIFICATE_PATH", CLIENTS_FILE):
            environment.pop(name, None)
    environment |= ends.own
    for name in _PATH_VARIABLES:
        place = environment.get(name, "").strip()
        if place and "://" not in place:
            # The children have another current directory.
            read = path_of_folder if name in FOLDERS else path_of_file
            environment[name] = str(read(name, place))
    loopback = {"localhost", HOST}
    for name in ("NO_PROXY", "no_proxy"):
        listed = [part for part in environment.get(name, "").split(",") if part]
        environment[name] = ",".join([*listed, *sorted(loopback.difference(listed))])
    return (
        {"APEX_DAGSTER_URL": ui_url}
        | environment
        | {
            "APEX_STATE_DIR": str(state_root(given)),
            "APEX_PANEL_HOST": ends.panel.host,
            "APEX_PANEL_PORT": str(ends.panel.port),
            "DAGSTER_HOME": str(home),
        }
        | _OF_DAGSTER
    )


def _held_ui(
    environment: Mapping[str, str], ports: HeldPorts, host: str, port: int
) -> PanelSettings:
    ui = load_panel_settings(environment, host=host, port=port)
    if not ports.hold(ui.host, ui.port):
        raise ApexError(
            f"Port {ui.port} is in use. Choose another for the Dagster UI, for example "
            f"`apex up --port {ui.port + 1}`."
        )
    return ui


def prepare_dagster_home(*services: LocalServices) -> None:
    """Write the configuration files of the Dagster instance and workspace."""
    home = services[0].instance.home
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(_instance_text(len(services)))
    servers = [
        "  - grpc_server:\n"
        f"      socket: {json.dumps(str(each.code_socket), allow_nan=False)}\n"
        f"      location_name: {each.tenant.location}\n"
        for each in services
    ]
    (home / "workspace.yaml").write_text("".join(["load_from:\n", *servers]))


def _instance_text(tenants: int) -> str:
    """The instance's configuration, with places for the runs of every tenant."""
    text = _instance_file().read_text()
    return _PLACES.sub(lambda found: f"{found[1]}{int(found[2]) * tenants}", text)


def _instance_file() -> Path:
    """The instance's configuration, from the wheel's package or the checkout."""
    packaged = Path(__file__).parent.parent / "dagster.yaml"
    return packaged if packaged.is_file() else project_dir() / "dagster.yaml"
