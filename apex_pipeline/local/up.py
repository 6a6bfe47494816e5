"""`apex up`: start everything in order, show what runs where, stop everything."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from types import FrameType
from typing import TypeVar

from rich.console import Console

from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.local import (
    background,
    child_commands,
    demo as campaigns,
    graphql_client,
    processes,
)
from apex_pipeline.local.notifier import Notifier
from apex_pipeline.local.ports import HOST, HeldPorts
from apex_pipeline.local.services import (
    Services,
    prepare_dagster_home,
    prepare_services,
)
from apex_pipeline.local.start_progress import Startup
from apex_pipeline.local.supervisor import Supervisor
from apex_pipeline.local.up_lock import announced, only_one
from apex_pipeline.monitoring.alerts.alert_center import ways
from apex_pipeline.monitoring.alerts.journal import Journal
from apex_pipeline.printable_text import printable
from apex_pipeline.provisioning.databases import provision_database
from apex_pipeline.settings import (
    check_settings,
    load_journal_name,
    state_dir,
    wants_local,
)

_STEP_SECONDS = 0.1
_SCHEMA = "schema"
_CAMPAIGNS = "demo campaigns"

_Result = TypeVar("_Result")
FirstSync = Callable[[Mapping[str, str]], str]
"""Runs the first sync with the services' variables; returns its counts as text."""


class _StopRequest(BaseException):
    """A signal requested the end; this is not an error."""


def run_up(
    environment: Mapping[str, str],
    *,
    demo: bool,
    port: int,
    first_sync: FirstSync,
    host: str = HOST,
    console: Console | None = None,
) -> int:
    """Run everything on this machine until a signal stops it.

    Args:
        environment: All environment variables.
        demo: Whether to write made-up campaigns and sync them at once.
        port: Port of the Dagster UI.
        first_sync: What the demo calls when all is ready.
        host: Where the Dagster UI is to listen; beyond this machine with a token alone.
        console: Where to tell what goes on.

    Returns:
        The exit code, 0 after a signal.

    Raises:
        ConfigError: The variables do not allow it; nothing was started.
        ApexError: It already runs here, or a child did not start; children that were
            started are stopped.
    """
    if demo:
        _refuse_real_ends(environment)
    began, state = time.time(), state_dir(environment)
    screen = console or Console()
    say = partial(_say, screen)
    with suppress(_StopRequest), ExitStack() as stack:
        stack.enter_context(only_one(state, f"http://127.0.0.1:{port}"))
        asked_to_stop = stack.enter_context(_obeying_signals())
        stack.enter_context(_ending_helpers())
        ports = stack.enter_context(HeldPorts())
        supervisor = stack.enter_context(
            Supervisor(logs=state / "logs", record=state / "processes.json", report=say)
        )
        watch = _Watch(supervisor, asked_to_stop, say)
        services = _prepare(environment, ports, host, port)
        with Startup(screen, _steps(services, demo=demo), began) as startup:
            _start(watch, services, startup, demo=demo)
        _inspect(services, began, say)
        stack.enter_context(announced(state, services.announcement))
        say(_summary(services))
        if demo:
            say("Syncing …")
            say(_first_sync(watch, services, first_sync))
            supervisor.start(child_commands.demo_writer(services))
        stack.enter_context(_telling(supervisor, services))
        watch.until(lambda: False)
    say("Stopped.")
    return 0


@contextmanager
def _telling(supervisor: Supervisor, services: Services) -> Iterator[None]:
    """Send alerts for children that die from now on."""
    url = services.environment["DAGSTER_POSTGRES_URL"]
    channels = ways(services.environment)
    with (
        Journal(
            url, load_journal_name(services.environment), wait_seconds=1
        ) as journal,
        Notifier(journal, channels, supervisor.log) as told,
    ):
        supervisor.on_death, supervisor.on_return = told.died, told.returned
        yield


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


class _Watch:
    """Supervises the children while waiting for something else."""

    def __init__(
        self,
        supervisor: Supervisor,
        asked_to_stop: Callable[[], str],
        say: Callable[[str], None],
    ) -> None:
        self.supervisor = supervisor
        self._say = say
        self.on_step: Callable[[], None] = lambda: None
        self._asked_to_stop = asked_to_stop

    def until(self, done: Callable[[], bool]) -> None:
        """Wait until a condition is true.

        Raises:
            _StopRequest: A signal requested the end.
            StartError: A child does not start.
        """
        while not done():
            request = self._asked_to_stop()
            if request:
                self._say(f"Stopping ({request}) …")
                raise _StopRequest
            self.supervisor.step()
            self.on_step()
            time.sleep(_STEP_SECONDS)

    def during(self, work: Callable[[], _Result]) -> _Result:
        """Run work in the background, and return its result or raise its error."""
        # Not in a pool, so that stopping does not wait for a suspended database.
        outcome = background.start(work)
        self.until(outcome.done)
        return outcome.result()


def _prepare(
    environment: Mapping[str, str], ports: HeldPorts, host: str, port: int
) -> Services:
    services = prepare_services(environment, ports, ui_port=port, ui_host=host)
    # What is wrong comes out now, before anything runs.
    check_settings(services.environment)
    prepare_dagster_home(services)
    return services


def _steps(services: Services, *, demo: bool) -> list[str]:
    return child_commands.names(services) + [_SCHEMA] + [_CAMPAIGNS] * demo


def _start(watch: _Watch, services: Services, startup: Startup, *, demo: bool) -> None:
    """Start all services, and show the progress."""
    supervisor, url = watch.supervisor, services.environment["DATABASE_URL"]

    def show_ready() -> None:
        for name in set(supervisor.names).intersection(startup.pending):
            if supervisor.is_ready(name):
                startup.done(name)

    watch.on_step = show_ready
    _start_ends(watch, services)
    supervisor.start(child_commands.code_server(services))
    supervisor.start(child_commands.panel(services))
    alerts_url = services.environment["DAGSTER_POSTGRES_URL"]
    made = watch.during(lambda: provision_database(url, alerts_url, plan_only=False))
    names = f"{len(made.names)} migrations applied" if made.names else ""
    startup.done(_SCHEMA, "; ".join(filter(None, (names, made.by_hand))))
    supervisor.start(child_commands.web_server(services))
    supervisor.start(child_commands.daemon(services))
    if demo:
        rows = watch.during(lambda: campaigns.fill(url))
        startup.done(_CAMPAIGNS, f"{rows} rows written")
    watch.until(lambda: not startup.pending)
    watch.on_step = lambda: None


def _start_ends(watch: _Watch, services: Services) -> None:
    """Start the local Postgres and emulator, and create the databases."""
    if services.postgres:
        database = child_commands.database(services.postgres, services.ports)
        watch.supervisor.start(database)
    if services.certificates:
        emulator = child_commands.emulator(services, services.certificates)
        watch.supervisor.start(emulator)
    if services.postgres:
        watch.until(lambda: watch.supervisor.is_ready(child_commands.DATABASE))
        services.postgres.provide(services.databases)


def _inspect(services: Services, began: float, say: Callable[[str], None]) -> None:
    """Cancel runs that an earlier kill left behind."""
    if services.owns_dagster_storage:
        # Their processes went with the start before this one. Left alone, they would
        # hold up the schedule until their time is over.
        lost = graphql_client.end_lost_runs(services.ui_url, services.own_secret, began)
        if lost:
            say(f"Canceled runs that a kill had interrupted: {lost}.")


def _first_sync(watch: _Watch, services: Services, first_sync: FirstSync) -> str:
    try:
        counts = watch.during(lambda: first_sync(services.environment))
    except ApexError as error:
        return f"The sync failed: {error}"
    return f"Synced: {counts}"


def _summary(services: Services) -> str:
    """A text that shows what runs where, and what to do next."""
    environment = services.environment
    state = services.state
    lines = [
        "",
        "Everything runs. Ctrl-C stops it; the data stays.",
        "",
        f"  Panel       {services.panel.url}",
        f"  Dagster UI  {services.ui_url}",
        f"  Dataverse   {environment['DATAVERSE_RESOURCE']}"
        + (" (emulator)" if services.certificates else ""),
        f"  Database    {services.database_place}",
        f"  Data        {state}",
        f"  Logs        {state / 'logs'}",
        "",
        "Next, in another terminal:",
        "  apex status     check whether the sync keeps up",
        "  apex sync       deliver pending rows now",
    ]
    if services.url_file:
        lines.append(f'  psql "$(cat {services.url_file})"')
    return "\n".join([*lines, ""])


@contextmanager
def _obeying_signals() -> Iterator[Callable[[], str]]:
    """Treat SIGINT, SIGTERM and SIGHUP as requests to stop.

    SIGINT counts even if it was ignored, because a shell ignores it for background jobs.
    An ignored SIGHUP stays ignored: `nohup` does that on purpose.

    Yields:
        A function that returns the name of the last signal, or an empty text.
    """
    came = ""

    def note(number: int, _: FrameType | None) -> None:
        nonlocal came
        came = signal.Signals(number).name

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ending_helpers() -> Iterator[None]:
    """At the very end, stop processes that our own threads have started."""
    before = processes.descendants(os.getpid())
    try:
        yield
    finally:
        for process in processes.descendants(os.getpid()) - before:
            processes.end(process.pid, request=signal.SIGTERM, patience=2.0)
