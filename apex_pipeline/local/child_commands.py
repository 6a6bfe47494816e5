"""The command lines of the children of `apex up`, and their health checks.

No secret is on a command line, because every user of the machine can read it.
"""

import signal
import sys
import time

from apex_pipeline.errors import DatabaseError
from apex_pipeline.local import child_environments, graphql_client
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.local.embedded_roles import DEMO_LOGIN, PANEL_LOGIN, SYNC_LOGIN
from apex_pipeline.local.local_certificates import Certificates
from apex_pipeline.local.ports import HOST, HeldPorts
from apex_pipeline.local.services import Services
from apex_pipeline.local.supervisor import LISTENER_DESCRIPTOR, Child
from apex_pipeline.monitoring.code_server import load_error

DATABASE = "database"
EMULATOR = "emulator"
CODE_SERVER = "Dagster code server"
WEB_SERVER = "Dagster UI"
DAEMON = "Dagster daemon"
PANEL = "panel"
DEMO_WRITER = "demo writer"
LISTENER = str(LISTENER_DESCRIPTOR)

# Dagster's processes on a machine that has not read them from its disk yet.
_SLOW_SECONDS = 120.0
# A daemon writes a heartbeat every 30 s.
_HEARTBEAT_SECONDS = 90.0


def names(services: Services) -> list[str]:
    """The children that must be ready before you can work."""
    local = [DATABASE] if services.postgres else []
    if services.certificates:
        local.append(EMULATOR)
    return [*local, PANEL, CODE_SERVER, WEB_SERVER, DAEMON]


def database(postgres: EmbeddedPostgres, ports: HeldPorts) -> Child:
    """The embedded Postgres."""
    url = postgres.url("postgres")

    def command() -> list[str]:
        # It opens its port itself, so that it is free for a moment.
        ports.release(postgres.port)
        postgres.prepare()
        if postgres.url("postgres") != url:
            raise DatabaseError(
                "has lost its port to another program; restart `apex up`"
            )
        return postgres.command()

    return Child(
        name=DATABASE,
        command=command,
        environment=postgres.environment(),
        ready=postgres.health,
        # Fast shutdown; SIGTERM would wait for the clients to leave.
        stop_signal=signal.SIGINT,
        stop_within=15.0,
    )


def emulator(services: Services, certificates: Certificates) -> Child:
    """The Dataverse emulator; it gets no variables of the pipeline."""
    return Child(
        name=EMULATOR,
        command=lambda: [
            *(sys.executable, "-m", "apex_pipeline.emulator"),
            *("--port", str(services.emulator_port), "--fd", LISTENER),
            *("--tls-cert", str(certificates.certificate)),
            *("--tls-key", str(certificates.key)),
            *("--state-dir", str(services.state / "emulator")),
            *("--tenant-id", services.environment["AZURE_TENANT_ID"]),
            *("--client-id", services.environment["AZURE_CLIENT_ID"]),
        ],
        environment=child_environments.of_the_system(services.environment)
        | {"EMULATOR_CLIENT_SECRET": services.environment["AZURE_CLIENT_SECRET"]},
        listener=lambda: services.ports.hand_over(HOST, services.emulator_port),
        ready=lambda: graphql_client.responds(
            f"https://localhost:{services.emulator_port}", certificates.authority
        ),
        folder=services.dagster_home,
    )


def code_server(services: Services) -> Child:
    """The process that holds the definitions; its children execute the runs."""
    home = services.dagster_home
    address = f"unix:{services.code_socket}"
    return Child(
        name=CODE_SERVER,
        command=lambda: [
            # Not `code-server start`: the process behind its proxy ends after it was
            # suspended for 30 s, and the proxy keeps running without it.
            *(sys.executable, "-m", "dagster", "api", "grpc"),
            *("-m", "apex_pipeline.definitions", "-d", str(home)),
            *("--socket", str(services.code_socket)),
            *("--location-name", services.tenant.location),
            # Works even if `dagster` is not on the PATH.
            "--use-python-environment-entry-point",
        ],
        environment=child_environments.of_the_pipeline(services.environment)
        | services.as_login(SYNC_LOGIN),
        ready=lambda: load_error(address) is None,
        after=(DATABASE,) if services.postgres else (),
        folder=home,
        # A run stops cleanly only if its own process gets the signal; the server would
        # wait for it.
        stop_everyone=True,
        ready_within=_SLOW_SECONDS,
        stop_within=10.0,
    )


def web_server(services: Services) -> Child:
    """The Dagster UI."""
    return Child(
        name=WEB_SERVER,
        command=lambda: [
            *(sys.executable, "-m", "apex_pipeline.cli", "webserver"),
            *("--host", services.ui.host, "--port", str(services.ui.port)),
            *("--fd", LISTENER),
            *("-w", str(services.dagster_home / "workspace.yaml")),
            *("--secret-file", str(services.secret_file)),
        ],
        environment=child_environments.of_dagster(
            services.environment,
            own_storage=services.owns_dagster_storage,
            also={"APEX_PANEL_TOKEN"},
        ),
        listener=lambda: services.ports.hand_over(services.ui.host, services.ui.port),
        ready=lambda: graphql_client.answers(services.ui_url, services.own_secret),
        after=(CODE_SERVER,),
        folder=services.dagster_home,
        ready_within=_SLOW_SECONDS,
    )


def daemon(services: Services) -> Child:
    """The process for schedules, sensors and the run queue."""
    started = 0.0

    def command() -> list[str]:
        nonlocal started
        started = time.time()
        workspace = str(services.dagster_home / "workspace.yaml")
        return [sys.executable, "-m", "dagster._daemon", "run", "-w", workspace]

    return Child(
        name=DAEMON,
        command=command,
        environment=child_environments.of_dagster(
            services.environment, own_storage=services.owns_dagster_storage
        ),
        ready=lambda: graphql_client.daemons_beat_since(
            services.ui_url,
            services.own_secret,
            max(started, time.time() - _HEARTBEAT_SECONDS),
        ),
        after=(CODE_SERVER,),
        folder=services.dagster_home,
        ready_within=_SLOW_SECONDS,
        # Two heartbeats: after a suspension the first may take half a minute.
        sick_after=60.0,
    )


def panel(services: Services) -> Child:
    """The KPI panel, without the variables of alerts, administrators and Dagster."""
    return Child(
        name=PANEL,
        command=lambda: [
            *(sys.executable, "-m", "apex_pipeline.cli"),
            *("panel", "--host", services.panel.host),
            *("--port", str(services.panel.port), "--fd", LISTENER),
        ],
        environment=child_environments.of_the_panel(services.environment)
        | services.as_login(PANEL_LOGIN),
        listener=lambda: services.ports.hand_over(
            services.panel.host, services.panel.port
        ),
        ready=lambda: graphql_client.is_well(services.panel.url),
        after=(DATABASE,) if services.postgres else (),
        folder=services.dagster_home,
    )


def demo_writer(services: Services) -> Child:
    """The writer that keeps inserting runs and starts a sync every minute."""
    return Child(
        name=DEMO_WRITER,
        command=lambda: [
            *(sys.executable, "-m", "apex_pipeline.local.demo"),
            *(services.ui_url, str(services.secret_file), services.tenant.location),
        ],
        environment=child_environments.of_the_demo(services.environment)
        | services.as_login(DEMO_LOGIN),
        after=(DATABASE,),
        folder=services.dagster_home,
    )
