"""`apex up`: start everything in order, show what runs where, stop everything."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from rich.console import Console

from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.local import child_commands, demo as campaigns, graphql_client
from apex_pipeline.local.embedded_databases import STORAGE
from apex_pipeline.local.local_services import LocalInstance, LocalServices
from apex_pipeline.local.notifier import telling
from apex_pipeline.local.ports import HOST, HeldPorts
from apex_pipeline.local.preparing import (
    prepare_dagster_home,
    prepare_services,
    prepare_tenants,
)
from apex_pipeline.local.start_progress import Startup
from apex_pipeline.local.supervisor import Supervisor
from apex_pipeline.local.up_lock import announced, only_one
from apex_pipeline.local.watching import (
    StopRequest,
    Watch,
    ending_helpers,
    obeying_signals,
)
from apex_pipeline.log_lines import started_line
from apex_pipeline.provisioning.databases import provision_database
from apex_pipeline.settings import (
    NO_TENANT,
    check_settings,
    state_dir,
    state_root,
    wants_local,
)
from apex_pipeline.settings.tenant_ends import compare, ends_of
from apex_pipeline.settings.tenants_file import tenant_environments
from apex_pipeline.texts.printable_text import printable

_SCHEMA = "schema"
_CAMPAIGNS = "demo campaigns"

FirstSync = Callable[[Mapping[str, str]], str]
"""Runs the first sync with the services' variables; returns its counts as text."""


def run_up(
    environment: Mapping[str, str],
    *,
    demo: bool,
    port: int,
    first_sync: FirstSync,
    host: str = HOST,
    console: Console | None = None,
    tenants: Path | None = None,
) -> int:
    """Run everything on this machine until a signal stops it.

    Args:
        environment: All environment variables.
        demo: Whether to write made-up campaigns and sync them at once.
        port: Port of the Dagster UI.
        first_sync: What the demo calls when all is ready. With tenants, the demo's
            writers begin the first syncs instead: this process cannot be two tenants.
        host: Where the Dagster UI is to listen; beyond this machine with a token alone.
        console: Where to tell what goes on.
        tenants: The file of the tenants to run; None to run one pipeline.

    Returns:
        The exit code, 0 after a signal.

    Raises:
        ConfigError: The variables do not allow it; nothing was started.
        ApexError: It already runs here, or a child did not start; children that were
            started are stopped.
    """
    environments = tenant_environments(environment, tenants)
    for each in environments if demo else ():
        _refuse_real_ends(each)
    began = time.time()
    state = state_dir(environment) if tenants is None else state_root(environment)
    screen = console or Console()
    say = partial(_say, screen)
    with suppress(StopRequest), ExitStack() as stack:
        url = f"http://127.0.0.1:{port}"
        for folder in dict.fromkeys([state, *map(state_dir, environments)]):
            stack.enter_context(only_one(folder, url))
        asked_to_stop = stack.enter_context(obeying_signals())
        stack.enter_context(ending_helpers())
        ports = stack.enter_context(HeldPorts())
        supervisor = stack.enter_context(
            Supervisor(
                logs=state / "logs",
                record=state / "processes.json",
                report=say,
                heading=lambda child: started_line(
                    environment, child, child_commands.owner(child)
                ),
            )
        )
        watch = Watch(supervisor, asked_to_stop, say)
        services = (
            (prepare_services(environment, ports, ui_port=port, ui_host=host),)
            if tenants is None
            else prepare_tenants(
                environment, environments, ports, ui_port=port, ui_host=host
            )
        )
        _check(services)
        with Startup(screen, _steps(services, demo=demo), began) as startup:
            _start(watch, services, startup, demo=demo)
        _inspect(services[0].instance, began, say)
        for one in services:
            stack.enter_context(announced(one.state, one.announcement))
        say(_summary(services))
        if demo and tenants is None:
            say("Syncing …")
            say(_first_sync(watch, services[0], first_sync))
        for one in services if demo else ():
            supervisor.start(child_commands.demo_writer(one))
        stack.enter_context(telling(supervisor, services))
        watch.until(lambda: False)
    say("Stopped.")
    return 0


def _say(screen: Console, text: str) -> None:
    # A closed terminal must not leave processes behind.
    with suppress(OSError):
        screen.print(printable(text), highlight=False, markup=False, soft_wrap=True)


def _refuse_real_ends(environment: Mapping[str, str]) -> None:
    if not all(wants_local(environment)):
        raise ConfigError(
            "--demo writes made-up campaigns, so it works only with the embedded "
            "database and the emulator. Unset DATABASE_URL and DATAVERSE_RESOURCE."
        )


def _check(services: Sequence[LocalServices]) -> None:
    """Refuse what is wrong before anything runs, and write Dagster's configuration."""
    for each in services:
        check_settings(each.environment)
    ends = [
        ends_of(each.tenant.name, each.state, each.environment) for each in services
    ]
    if shared := [text for each in compare(ends) for text in each.problems]:
        raise ConfigError(*shared)
    prepare_dagster_home(*services)


def _steps(services: Sequence[LocalServices], *, demo: bool) -> list[str]:
    own = [name for each in services for name in child_commands.names(each)]
    shared = child_commands.shared_names(services[0].instance)
    return own + shared + [_SCHEMA] + [_CAMPAIGNS] * demo


def _start(
    watch: Watch, services: Sequence[LocalServices], startup: Startup, *, demo: bool
) -> None:
    """Start all services, and show the progress."""
    supervisor, instance = watch.supervisor, services[0].instance

    def show_ready() -> None:
        for name in set(supervisor.names).intersection(startup.pending):
            if supervisor.is_ready(name):
                startup.done(name)

    watch.on_step = show_ready
    _start_databases(watch, services)
    for each in services:
        supervisor.start(child_commands.code_server(each))
        supervisor.start(child_commands.panel(each))
    startup.done(
        _SCHEMA, "; ".join(filter(None, [_migrate(watch, each) for each in services]))
    )
    supervisor.start(child_commands.web_server(instance))
    supervisor.start(child_commands.daemon(instance))
    if demo:
        urls = [each.environment["DATABASE_URL"] for each in services]
        rows = watch.during(lambda: sum(map(campaigns.fill, urls)))
        startup.done(_CAMPAIGNS, f"{rows} rows written")
    watch.until(lambda: not startup.pending)
    watch.on_step = lambda: None


def _migrate(watch: Watch, services: LocalServices) -> str:
    """Bring both schemas up to date; say what was done."""
    url = services.environment["DATABASE_URL"]
    alerts_url = services.environment["DAGSTER_POSTGRES_URL"]
    made = watch.during(lambda: provision_database(url, alerts_url, plan_only=False))
    names = f"{len(made.names)} migrations applied" if made.names else ""
    return "; ".join(filter(None, (names, made.by_hand)))


def _start_databases(watch: Watch, services: Sequence[LocalServices]) -> None:
    """Start the local databases and emulators, and create what is in them."""
    instance = services[0].instance
    servers = [
        (each.postgres, each.databases, each.tenant)
        for each in services
        if each.postgres is not None
    ]
    if instance.postgres is not None:
        servers.insert(0, (instance.postgres, (STORAGE,), NO_TENANT))
    for postgres, _, tenant in servers:
        watch.supervisor.start(
            child_commands.database(postgres, instance.ports, tenant)
        )
    for each in services:
        if each.certificates is not None:
            emulator = child_commands.emulator(each, each.certificates)
            watch.supervisor.start(emulator)
    for postgres, databases, tenant in servers:
        name = child_commands.of_tenant(child_commands.DATABASE, tenant)
        watch.until(partial(watch.supervisor.is_ready, name))
        postgres.provide(databases)


def _inspect(instance: LocalInstance, began: float, say: Callable[[str], None]) -> None:
    """Cancel runs that an earlier kill left behind."""
    if instance.owns_storage:
        # Their processes ended with the previous start. Left alone, they would block the
        # schedule until they time out.
        lost = graphql_client.end_lost_runs(instance.ui.url, instance.own_secret, began)
        if lost:
            say(f"Canceled runs that a kill had interrupted: {lost}.")


def _first_sync(watch: Watch, services: LocalServices, first_sync: FirstSync) -> str:
    try:
        counts = watch.during(lambda: first_sync(services.environment))
    except ApexError as error:
        return f"The sync failed: {error}"
    return f"Synced: {counts}"


def _summary(services: Sequence[LocalServices]) -> str:
    """A text that shows what runs where, and what to do next."""
    instance = services[0].instance
    first = services[0].tenant
    apex = f"apex --tenant {first.name}" if len(services) > 1 else "apex"
    lines = [
        "",
        "Everything runs. Ctrl-C stops it; the data stays.",
        "",
        f"  Dagster UI  {instance.ui.url}",
        f"  Data        {instance.state}",
        f"  Logs        {instance.state / 'logs'}",
        *(line for each in services for line in _places(each)),
        "",
        "Next, in another terminal:",
        f"  {apex} status     check whether the sync keeps up",
        f"  {apex} sync       deliver pending rows now",
    ]
    files = [each.url_file for each in services if each.url_file]
    lines += [f'  psql "$(cat {path})"' for path in files[:1]]
    return "\n".join([*lines, ""])


def _places(services: LocalServices) -> list[str]:
    environment = services.environment
    emulated = " (emulator)" if services.certificates else ""
    return [
        *(["", services.tenant.name] if services.tenant.name else []),
        f"  Panel       {services.panel.url}",
        f"  Dataverse   {environment['DATAVERSE_RESOURCE']}{emulated}",
        f"  Database    {services.database_place}",
    ]
