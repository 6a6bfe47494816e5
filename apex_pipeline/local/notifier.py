"""Send alerts when a child of `apex up` dies, even if others are down too.

The daemon cannot report its own death, so its supervisor does, through the same journal.
If the journal is down too, incidents and notices are kept in memory and sent from there.
The journal takes over the incidents when it is back; notices still in memory are sent
from memory.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from apex_pipeline.errors import DatabaseError
from apex_pipeline.local import child_commands
from apex_pipeline.local.local_services import LocalServices
from apex_pipeline.local.memory_outbox import MemoryOutbox
from apex_pipeline.local.supervisor import Supervisor
from apex_pipeline.monitoring.alerts.channels import configured_channels, deliver
from apex_pipeline.monitoring.alerts.incidents import Incident, decide
from apex_pipeline.monitoring.alerts.journal import VARIABLE, Journal
from apex_pipeline.monitoring.alerts.notice import Channel, Observation
from apex_pipeline.monitoring.alerts.send_limits import within
from apex_pipeline.monitoring.rules.catalogue import (
    PROCESS_DIED,
    STORAGE_UNUSABLE,
    SYNC_JOB,
    WATCH_STALLED,
)
from apex_pipeline.monitoring.rules.health_summary import stalled
from apex_pipeline.monitoring.rules.health_watch import STALLED, WATCHER
from apex_pipeline.settings import Tenant, load_journal_name

NAME = "apex up"
"""The name under which the notifier's own progress is stored."""

_INTERVAL_SECONDS = 15.0
_DELIVERY_SECONDS = 30.0
_END_SECONDS = 5.0
# A single failed check may be a server that is only restarting.
_FAILED_LOOKS = 2
# A server that hangs keeps its connections open, and their clients waiting.
_LOOK_SECONDS = 10.0

_LATE = frozenset({"rows-overdue", "no-success"})
_FOLLOWS: Mapping[str, frozenset[str]] = {
    child_commands.DATABASE: STORAGE_UNUSABLE.inhibits | {STORAGE_UNUSABLE.name},
    child_commands.EMULATOR: _LATE
    | {f"run-failed/{SYNC_JOB}", "token-refused", "table-drifted"},
}


class Notifier:
    """A thread that records dead and restored children, and sends the notices."""

    def __init__(
        self,
        journal: Journal,
        channels: Sequence[Channel],
        log: Callable[[str], Path],
        *,
        interval_seconds: float = _INTERVAL_SECONDS,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        """Prepare; the thread runs within the context.

        Args:
            journal: Stores incidents while it is available.
            channels: The channels for notices.
            log: Returns the log file of a child by its name.
            interval_seconds: How often to check while nothing happens.
            look_seconds: How long the journal may take to answer.
        """
        self._journal = journal
        self._channels = channels
        self._log = log
        self._interval = interval_seconds
        self._look_seconds = look_seconds
        self._answers = True
        # Incidents of an earlier start are over: everything was ready just now.
        self._events: queue.SimpleQueue[Observation | None] = queue.SimpleQueue()
        self._events.put(Observation(PROCESS_DIED.name))
        self._calm_since = datetime.now(UTC)
        self._failed_looks = 0
        self._incidents: tuple[Incident, ...] = ()
        self._mended: set[str] = set()
        self._outbox = MemoryOutbox()
        # A daemon thread, so stopping does not wait for a server that hangs.
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)

    def __enter__(self) -> "Notifier":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread; children stopped on purpose raise no alert."""
        self._events.put(None)
        self._thread.join(_END_SECONDS)

    def died(self, name: str, how: str) -> None:
        """Record the death of a child."""
        found = PROCESS_DIED.finding(
            f"It {how}.",
            where=name,
            key=_key(name),
            facts=(("Log", str(self._log(name))),),
            inhibits=_FOLLOWS.get(child_commands.kind(name), frozenset()),
        )
        self._events.put(Observation(found.fingerprint, (found,)))

    def returned(self, name: str) -> None:
        """Record that a child that died is healthy again."""
        self._events.put(_mended(name))

    def _run(self) -> None:
        while True:
            observations = self._wait()
            if observations is None:
                return
            now = datetime.now(UTC)
            if _DATABASE_IS_BACK in observations:
                # Looks that failed while it was down say nothing about what it is now.
                self._failed_looks = 0
            self._decide([*observations, *self._look(now)], now)
            self._deliver()

    def _wait(self) -> list[Observation] | None:
        """Wait for events; empty after the interval, None when stopping."""
        found: list[Observation] = []
        try:
            event = self._events.get(timeout=self._interval)
            while event is not None:
                found.append(event)
                self._calm_since = datetime.now(UTC)
                event = self._events.get_nowait()
        except queue.Empty:
            return found
        return None

    def _look(self, now: datetime) -> list[Observation]:
        """Check the storage and the watch, which report everything else."""
        try:
            progress = within(
                self._look_seconds, lambda: self._journal.progress(WATCHER)
            )
        except TimeoutError:
            return self._no_answer(f"It hangs: no answer in {self._look_seconds:g} s.")
        except DatabaseError as error:
            return self._no_answer(str(error))
        self._answers = True
        self._failed_looks = 0
        seen = [Observation(STORAGE_UNUSABLE.name)]
        if now - self._calm_since > STALLED:
            wrong = stalled(progress, now)
            seen.append(Observation(WATCH_STALLED.name, (wrong,) if wrong else ()))
        return seen

    def _no_answer(self, cause: str) -> list[Observation]:
        self._answers = False
        self._failed_looks += 1
        if self._failed_looks < _FAILED_LOOKS:
            return []
        found = STORAGE_UNUSABLE.finding(cause, cause_key="unusable")
        return [Observation(STORAGE_UNUSABLE.name, (found,))]

    def _decide(self, observations: Sequence[Observation], now: datetime) -> None:
        names = [channel.name for channel in self._channels]
        if self._answers and self._record(observations, names, now):
            return
        self._incidents, notices = decide(self._incidents, observations, [], now)
        for notice in notices:
            self._outbox.put(notice, names)
        # The journal may contain incidents that ended meanwhile.
        for each in observations:
            (self._mended.discard if each.findings else self._mended.add)(each.scope)

    def _record(
        self, observations: Sequence[Observation], names: Sequence[str], now: datetime
    ) -> bool:
        """Let the journal decide; return False if it is not available."""
        seen = [*(Observation(scope) for scope in sorted(self._mended)), *observations]
        held = self._incidents

        def write() -> None:
            if held:
                self._journal.adopt(held)
            self._journal.record(NAME, lambda _: (seen, {}), names, now)

        try:
            # It may hang since the last check; the alert must still be sent.
            within(self._look_seconds, write)
        except (DatabaseError, TimeoutError):
            return False
        self._incidents = ()
        self._mended.clear()
        return True

    def _deliver(self) -> None:
        deliver(self._outbox, self._channels, _DELIVERY_SECONDS)
        if not self._answers:
            return
        try:
            within(
                _DELIVERY_SECONDS + self._look_seconds,
                lambda: deliver(
                    self._journal.outbox, self._channels, _DELIVERY_SECONDS
                ),
            )
        except (DatabaseError, TimeoutError):
            # Nothing is lost: the notices wait there for the next attempt.
            return


@contextmanager
def telling(
    supervisor: Supervisor, services: Sequence[LocalServices]
) -> Iterator[None]:
    """Send alerts for children that die from now on.

    A tenant gets alerts about its own children, and about those that all tenants share.
    """
    shared = child_commands.shared_names(services[0].instance)
    told: dict[Tenant, Notifier] = {}

    def concerned(name: str) -> list[Notifier]:
        kind = child_commands.kind(name)
        return [
            notifier
            for tenant, notifier in told.items()
            if name in shared or name == child_commands.of_tenant(kind, tenant)
        ]

    def died(name: str, how: str) -> None:
        for notifier in concerned(name):
            notifier.died(name, how)

    def returned(name: str) -> None:
        for notifier in concerned(name):
            notifier.returned(name)

    with ExitStack() as stack:
        for each in services:
            url = each.environment[VARIABLE]
            known_as = load_journal_name(each.environment)
            journal = stack.enter_context(Journal(url, known_as, wait_seconds=1))
            notifier = Notifier(
                journal, configured_channels(each.environment), supervisor.log
            )
            told[each.tenant] = stack.enter_context(notifier)
        supervisor.on_death, supervisor.on_return = died, returned
        yield


def _mended(name: str) -> Observation:
    return Observation(f"{PROCESS_DIED.name}/{_key(name)}")


def _key(name: str) -> str:
    return name.lower().replace(" ", "-")


_DATABASE_IS_BACK = _mended(child_commands.DATABASE)
