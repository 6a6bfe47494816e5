"""Supervise child processes: start in order, restart, stop without leftovers.

The supervisor is independent of what the children do. Children start in the thread that
calls `step`, which must be the longest-lived thread: Linux ends a child when its parent
*thread* ends. Health checks run in threads, because they may hang.
"""

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from apex_pipeline.errors import ApexError
from apex_pipeline.local import processes
from apex_pipeline.local.health_checks import Checkup
from apex_pipeline.local.running_children import ChildrenRecord, RecordedChild
from apex_pipeline.local.watched_child import Child, WatchedChild, how_it_ended

_LASTING_SECONDS = 60.0
_FIRST_TRIES = 3
_MANY_DEATHS = 5
_SLOW_SECONDS = 30.0
_FILES_SECONDS = 1.0
# If two steps are further apart, this process was suspended, and perhaps its children.
_SUSPENDED_SECONDS = 5.0


def _started(_: str) -> str:
    return f"--- started {datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z\n"


class StartError(ApexError):
    """A child did not start; the text contains the end of its log."""


class Supervisor:
    """Keeps children running, and records them for the next start after a crash.

    As a context manager, it first stops the leftovers of an earlier supervisor, and at
    the end all its own children.

    Attributes:
        on_death: Called with the name of a child that was ready, and how it died.
        on_return: Called with the name of a child that died and is ready again.
    """

    def __init__(
        self,
        *,
        logs: Path,
        record: Path,
        report: Callable[[str], None],
        heading: Callable[[str], str] = _started,
        pause_seconds: float = 0.5,
        check_seconds: float = 10.0,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            logs: Folder of one log file per child.
            record: File with the ids of the running children.
            report: Receives one line per message for the user.
            heading: Makes the first line of the log of a child that starts.
            pause_seconds: Pause before a child that died is restarted; it doubles with
                each death within a minute of the start.
            check_seconds: How often to check a child that is ready.
        """
        self._logs = logs
        self._pause_seconds = pause_seconds
        self._check_seconds = check_seconds
        self._record = ChildrenRecord(record, report)
        self._report = report
        self._heading = heading
        self.on_death: Callable[[str, str], None] = lambda name, how: None  # noqa: ARG005  named for the caller
        self.on_return: Callable[[str], None] = lambda name: None  # noqa: ARG005  likewise
        self._watched: dict[str, WatchedChild] = {}
        self._files_due_at = 0.0
        self._stepped_at = time.monotonic()

    def __enter__(self) -> "Supervisor":
        """Create the folders, and stop the leftovers of a killed supervisor."""
        self._logs.mkdir(parents=True, exist_ok=True)
        self._record.stop_leftovers()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def names(self) -> list[str]:
        """The children, in the order of their start."""
        return list(self._watched)

    def start(self, child: Child) -> None:
        """Start a child, now or as soon as the children it needs are ready."""
        log = self._logs / f"{child.name.replace(' ', '_')}.log"
        self._watched[child.name] = WatchedChild(child, log)
        self.step()

    def is_ready(self, name: str) -> bool:
        """Whether a child runs and is healthy."""
        return self._watched[name].ready

    def pid(self, name: str) -> int | None:
        """Process id of a running child; None if it does not run."""
        process = self._watched[name].process
        return process.pid if process else None

    def log(self, name: str) -> Path:
        """The child's log file."""
        return self._watched[name].log.path

    def step(self) -> None:
        """Check every child once, and start or restart it if necessary.

        Raises:
            StartError: A child that was never ready died repeatedly, or did not become
                ready in time.
        """
        if time.monotonic() - self._stepped_at > _SUSPENDED_SECONDS:
            for watched in self._watched.values():
                watched.checkup.forgive()
        for watched in self._watched.values():
            if watched.process is None:
                self._start_when_due(watched)
            elif (code := watched.process.poll()) is not None:
                self._bury(watched, how_it_ended(code))
            elif not watched.ready:
                self._look_whether_ready(watched, watched.process)
            else:
                self._look_whether_well(watched)
        if time.monotonic() >= self._files_due_at:
            self._files_due_at = time.monotonic() + _FILES_SECONDS
            self._look_after_files()
        self._stepped_at = time.monotonic()

    def stop(self) -> None:
        """Stop all children; those that others need come last."""
        remaining = {name: w.child for name, w in self._watched.items()}
        while remaining:
            needed = {name for c in remaining.values() for name in c.after}
            wave = [name for name in remaining if name not in needed]
            with ThreadPoolExecutor(max_workers=len(wave)) as executor:
                list(executor.map(lambda name: self._watched[name].end(), wave))
            for name in wave:
                del remaining[name]
        self._watched.clear()
        self._record.remove()

    def _start_when_due(self, watched: WatchedChild) -> None:
        waits_for = [n for n in watched.child.after if not self._watched[n].ready]
        if waits_for or time.monotonic() < watched.due_at:
            return
        try:
            command = watched.child.command()
            watched.spawn(
                command, self._record.marker, self._heading(watched.child.name)
            )
        except OSError as error:
            fault = f"could not be started ({error.strerror}: {error.filename})"
            if not watched.was_ready:
                raise StartError(f"{watched.child.name} {fault}") from error
            self._put_off(watched, fault)
            return
        except ApexError as error:
            if not watched.was_ready:
                raise
            self._put_off(watched, str(error))
            return
        watched.started_at = time.monotonic()
        watched.checkup = Checkup(watched.child.ready)
        self._remember()

    def _look_whether_ready(
        self, watched: WatchedChild, process: subprocess.Popen[bytes]
    ) -> None:
        watched.checkup.step(every=0.0)
        if watched.checkup.is_well:
            if watched.was_ready:
                self._report(f"{watched.child.name} runs again (pid {process.pid})")
                self.on_return(watched.child.name)
            watched.ready = watched.was_ready = True
        elif time.monotonic() > watched.started_at + watched.child.ready_within:
            too_late = f"was not ready within {watched.child.ready_within:.0f} s"
            self._bury(watched, too_late, tries=1)

    def _look_whether_well(self, watched: WatchedChild) -> None:
        watched.checkup.step(every=self._check_seconds)
        if watched.checkup.seconds_unwell > watched.child.sick_after:
            self._bury(
                watched,
                f"has not answered for {watched.child.sick_after:.0f} s and was stopped",
            )

    def _bury(self, watched: WatchedChild, how: str, tries: int = _FIRST_TRIES) -> None:
        """Clean up after a child, and schedule its restart."""
        watched.end()
        self._put_off(watched, how)
        watched.process, watched.ready = None, False
        self._remember()
        if watched.was_ready:
            self.on_death(watched.child.name, how)
        if not watched.was_ready and watched.deaths_in_a_row >= tries:
            raise StartError(
                f"{watched.child.name} {how}. The end of {watched.log.path}:\n"
                f"{watched.log.tail()}"
            )

    def _put_off(self, watched: WatchedChild, why: str) -> None:
        """Schedule the next start: the more deaths in a row, the later."""
        now = time.monotonic()
        lasted = watched.ready and now - watched.started_at > _LASTING_SECONDS
        watched.deaths_in_a_row = 1 if lasted else watched.deaths_in_a_row + 1
        deaths = watched.deaths_in_a_row
        hopeless = deaths >= _MANY_DEATHS
        pause = _SLOW_SECONDS if hopeless else self._pause_seconds * 2 ** (deaths - 1)
        watched.due_at = now + pause
        again = f", {deaths} times in a row" if hopeless else ""
        self._report(
            f"{watched.child.name} {why}{again}; restarting it in {pause:g} s "
            f"(log: {watched.log.path})"
        )

    def _look_after_files(self) -> None:
        """Limit the logs' size, and retry writing the record of children."""
        for watched in self._watched.values():
            if fault := watched.log.bound():
                self._report(f"{watched.child.name}: {fault}")
        if self._record.is_old:
            self._remember()

    def _remember(self) -> None:
        children = []
        for watched in self._watched.values():
            process = watched.process and processes.find(watched.process.pid)
            if process:
                child = watched.child
                children.append(
                    RecordedChild(
                        name=child.name,
                        pid=process.pid,
                        started=process.started,
                        stop_signal=int(child.stop_signal),
                        stop_everyone=child.stop_everyone,
                    )
                )
        self._record.write(children)
