"""The command lines of the children of `apex up`, and their health checks.

No secret is on a command line, because every user of the machine can read it.
"""

import signal
import sys
import time

from apex_pipeline.local import child_environments, graphql_client
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.local.embedded_roles import DEMO_LOGIN, PANEL_LOGIN, SYNC_LOGIN
from apex_pipeline.local.local_certificates import Certificates
from apex_pipeline.local.local_services import LocalInstance, LocalServices
from apex_pipeline.local.ports import HeldPorts
from apex_pipeline.local.watched_child import LISTENER_DESCRIPTOR, Child
from apex_pipeline.monitoring.code_server import load_error
from apex_pipeline.settings import NO_TENANT, Tenant

DATABASE = "database"
EMULATOR = "emulator"
CODE_SERVER = "Dagster code server"
WEB_SERVER = "Dagster UI"
DAEMON = "Dagster daemon"
PANEL = "panel"
DEMO_WRITER = "demo writer"
LISTENER = str(LISTENER_DESCRIPTOR)
_OF = " of "

# Dagster's processes on a machine that has not read them from its disk yet.
_SLOW_SECONDS = 120.0
# A daemon writes a heartbeat every 30 s.
_HEARTBEAT_SECONDS = 90.0


def of_tenant(name: str, tenant: Tenant) -> str:
    """The name of a tenant's own child."""
    return f"{name}{_OF}{tenant.name}" if tenant.name else name


def kind(name: str) -> str:
    """The name of a child without its tenant."""
    return name.partition(_OF)[0]


def owner(name: str) -> str:
    """The tenant that a child belongs to; empty for a shared child."""
    return name.partition(_OF)[2]


def names(services: LocalServices) -> list[str]:
    """The children of a tenant that must be ready before you can work."""
    local = [DATABASE] if services.postgres else []
    if services.certificates:
        local.append(EMULATOR)
    return [of_tenant(name, services.tenant) for name in (*local, PANEL, CODE_SERVER)]


def shared_names(instance: LocalInstance) -> list[str]:
    """The shared children that must be ready before you can work."""
    return [*_storage(instance), WEB_SERVER, DAEMON]


def _storage(instance: LocalInstance) -> tuple[str, ...]:
    return (DATABASE,) if instance.postgres else ()


def _databases(services: LocalServices) -> tuple[str, ...]:
    """The embedded databases that a tenant's processes need."""
    own = of_tenant(DATABASE, services.tenant)
    return _storage(services.instance) + ((own,) if services.postgres else ())


def _code_servers(instance: LocalInstance) -> tuple[str, ...]:
    return tuple(of_tenant(CODE_SERVER, tenant) for tenant in instance.tenants)


def database(
    postgres: EmbeddedPostgres, ports: HeldPorts, tenant: Tenant = NO_TENANT
) -> Child:

    def command() -> list[str]:
        # It opens its port itself, so it is free for a moment.
        ports.release(postgres.port)
        # All others know it by this port.
        postgres.prepare(may_move=False)
        return postgres.command()

    return Child(
        name=of_tenant(DATABASE, tenant),
        command=command,
        environment=postgres.environment(),
        ready=postgres.health,
        # Fast shutdown; SIGTERM would wait for the clients to leave.
        stop_signal=signal.SIGINT,
        stop_within=15.0,
    )


def emulator(services: LocalServices, certificates: Certificates) -> Child:
    """The Dataverse emulator, with only the log's variables of the pipeline."""
    return Child(
        name=of_tenant(EMULATOR, services.tenant),
        command=lambda: [
            *(sys.executable, "-m", "apex_pipeline.dagster_program"),
            "apex_pipeline.emulator",
            *("--port", str(services.emulator_port), "--fd", LISTENER),
            *("--tls-cert", str(certificates.certificate)),
            *("--tls-key", str(certificates.key)),
            *("--state-dir", str(services.state / "emulator")),
            *("--tenant-id", services.environment["AZURE_TENANT_ID"]),
            *("--client-id", services.environment["AZURE_CLIENT_ID"]),
        ],
        environment=child_environments.of_the_emulator(services.environment)
        | {"EMULATOR_CLIENT_SECRET": services.environment["AZURE_CLIENT_SECRET"]},
        listener=lambda: services.ports.hand_over(services.emulator_port),
        ready=lambda: graphql_client.responds(
            f"https://localhost:{services.emulator_port}", certificates.authority
        ),
        folder=services.instance.home,
    )


def code_server(services: LocalServices) -> Child:
    """The process that holds the definitions; its children execute the runs."""
    home = services.instance.home
    address = f"unix:{services.code_socket}"
    return Child(
        name=of_tenant(CODE_SERVER, services.tenant),
        command=lambda: [
            # Not `code-server start`: the process behind its proxy ends after it was
            # suspended for 30 s, and the proxy keeps running without it.
            *(sys.executable, "-m", "apex_pipeline.dagster_program"),
            *("dagster", "api", "grpc"),
            *("-m", "apex_pipeline.definitions", "-d", str(home)),
            *("--socket", str(services.code_socket)),
            *("--location-name", services.tenant.location),
            # Works even if `dagster` is not on the PATH.
            "--use-python-environment-entry-point",
        ],
        environment=child_environments.of_the_pipeline(services.environment)
        | services.as_login(SYNC_LOGIN),
        ready=lambda: load_error(address) is None,
        after=_databases(services),
        folder=home,
        # A run stops cleanly only if its own process gets the signal; the server would
        # wait for it.
        stop_everyone=True,
        ready_within=_SLOW_SECONDS,
        stop_within=10.0,
    )


def web_server(instance: LocalInstance) -> Child:
    """The Dagster UI."""
    return Child(
        name=WEB_SERVER,
        command=lambda: [
            *(sys.executable, "-m", "apex_pipeline.cli", "webserver"),
            *("--host", instance.ui.host, "--port", str(instance.ui.port)),
            *("--fd", LISTENER),
            *("-w", str(instance.home / "workspace.yaml")),
            *("--secret-file", str(instance.secret_file)),
        ],
        environment=child_environments.of_dagster(
            instance.environment,
            own_storage=instance.owns_storage,
            also={"APEX_PANEL_TOKEN", "APEX_STATE_DIR"},
        ),
        listener=lambda: instance.ports.hand_over(instance.ui.port),
        ready=lambda: graphql_client.answers(instance.ui.url, instance.own_secret),
        after=_code_servers(instance),
        folder=instance.home,
        ready_within=_SLOW_SECONDS,
    )


def daemon(instance: LocalInstance) -> Child:
    """The process for schedules, sensors and the run queue."""
    started = 0.0

    def command() -> list[str]:
        nonlocal started
        started = time.time()
        workspace = str(instance.home / "workspace.yaml")
        program = [sys.executable, "-m", "apex_pipeline.dagster_program"]
        return [*program, "dagster._daemon", "run", "-w", workspace]

    return Child(
        name=DAEMON,
        command=command,
        environment=child_environments.of_dagster(
            instance.environment, own_storage=instance.owns_storage
        ),
        ready=lambda: graphql_client.daemons_beat_since(
            instance.ui.url,
            instance.own_secret,
            max(started, time.time() - _HEARTBEAT_SECONDS),
        ),
        after=_code_servers(instance),
        folder=instance.home,
        ready_within=_SLOW_SECONDS,
        # Two heartbeats: after a suspension the first may take half a minute.
        sick_after=60.0,
    )


def panel(services: LocalServices) -> Child:
    """The KPI panel, without the variables of alerts, administrators and Dagster."""
    return Child(
        name=of_tenant(PANEL, services.tenant),
        command=lambda: [
            *(sys.executable, "-m", "apex_pipeline.cli"),
            *("panel", "--host", services.panel.host),
            *("--port", str(services.panel.port), "--fd", LISTENER),
        ],
        environment=child_environments.of_the_panel(services.environment)
        | services.as_login(PANEL_LOGIN),
        listener=lambda: services.ports.hand_over(services.panel.port),
        ready=lambda: graphql_client.is_well(services.panel.url),
        after=_databases(services),
        folder=services.instance.home,
    )


def demo_writer(services: LocalServices) -> Child:
    """The writer that keeps inserting runs and starts a sync every minute."""
    return Child(
        name=of_tenant(DEMO_WRITER, services.tenant),
        command=lambda: [
            *(sys.executable, "-m", "apex_pipeline.local.demo"),
            *(
                services.ui_url,
                str(services.instance.secret_file),
                services.tenant.location,
            ),
        ],
        environment=child_environments.of_the_demo(services.environment)
        | services.as_login(DEMO_LOGIN),
        after=_databases(services),
        folder=services.instance.home,
    )
