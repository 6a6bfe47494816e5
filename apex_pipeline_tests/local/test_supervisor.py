import dataclasses
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from apex_pipeline.errors import ConfigError
from apex_pipeline.local import processes
from apex_pipeline.local.supervisor import StartError, Supervisor
from apex_pipeline.local.watched_child import Child
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

SLEEP = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('deaf', flush=True)\n"
    "time.sleep(60)\n"
)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux's own")


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, reports: list[str]) -> Iterator[Supervisor]:
    with make_supervisor(tmp_path, reports) as started:
        yield started


def make_supervisor(folder: Path, reports: list[str]) -> Supervisor:
    return Supervisor(
        logs=folder / "logs",
        record=folder / "processes.json",
        report=reports.append,
        pause_seconds=0.01,
        check_seconds=0.01,
    )


def child(
    name: str,
    program: str,
    *,
    ready: Callable[[], bool | None] = lambda: True,
    after: tuple[str, ...] = (),
    stop_within: float = 8,
    ready_within: float = 60,
    sick_after: float = 60,
    stop_everyone: bool = False,
    environment: dict[str, str] | None = None,
) -> Child:
    return Child(
        name=name,
        command=lambda: [sys.executable, "-c", program],
        environment={**os.environ, **(environment or {})},
        ready=ready,
        after=after,
        stop_within=stop_within,
        ready_within=ready_within,
        sick_after=sick_after,
        stop_everyone=stop_everyone,
    )


def step_until(supervisor: Supervisor, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        supervisor.step()
        time.sleep(0.01)


def said(supervisor: Supervisor, name: str, text: str) -> Callable[[], bool]:
    return lambda: text in supervisor.log(name).read_text()


def find(pid: int | None) -> processes.Process:
    found = processes.find(pid or 0)
    assert found
    return found


def test_the_child_is_the_program_itself_with_nothing_in_between(supervisor):
    supervisor.start(child("one", "import os, sys; print(os.getpid(), sys.argv)"))
    pid = supervisor.pid("one")

    step_until(supervisor, said(supervisor, "one", f"{pid} ['-c']"))


def test_a_child_starts_when_those_before_it_are_ready(supervisor):
    open_now = False
    supervisor.start(child("first", SLEEP, ready=lambda: open_now))
    supervisor.start(child("second", SLEEP, after=("first",)))

    supervisor.step()
    assert supervisor.pid("first")
    assert supervisor.pid("second") is None

    open_now = True
    step_until(supervisor, lambda: supervisor.is_ready("second"))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (SLEEP, "was killed by SIGKILL"),
        ("import sys, pathlib; sys.exit(3)", "exited with code 3"),
    ],
)
def test_a_death_is_reported_and_the_child_started_again(
    supervisor, reports, tmp_path, how, told
):
    first_time = tmp_path / "first_time"
    first_time.touch()
    program = (
        "import pathlib\n"
        f"go = pathlib.Path({str(first_time)!r})\n"
        f"if go.exists():\n exec({how!r})\n"
        f"{SLEEP}\n"
    )
    supervisor.start(child("one", program))
    step_until(supervisor, lambda: supervisor.is_ready("one") or reports)
    died = supervisor.pid("one")
    if died and how == SLEEP:
        os.kill(died, signal.SIGKILL)
    step_until(supervisor, lambda: reports)
    first_time.unlink()

    step_until(supervisor, lambda: supervisor.is_ready("one"))

    assert supervisor.pid("one") != died
    assert told in reports[0]
    assert str(supervisor.log("one")) in reports[0]


def test_what_a_dead_child_leaves_behind_is_ended_before_it_starts_again(supervisor):
    program = (
        "import subprocess, sys, time\n"
        f"print(subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    supervisor.start(child("one", program))
    pid = supervisor.pid("one")
    step_until(supervisor, lambda: len(processes.family(pid)) == 2)
    left = processes.family(pid)

    os.kill(pid, signal.SIGKILL)
    step_until(supervisor, lambda: supervisor.pid("one") not in (pid, None))

    assert processes.survivors(left) == set()


def test_a_child_that_never_lasts_is_tried_seldom_and_said_so(supervisor, reports):
    supervisor.start(child("one", SLEEP))

    for deaths in range(1, 6):
        step_until(supervisor, lambda: supervisor.is_ready("one"))
        os.kill(supervisor.pid("one"), signal.SIGKILL)
        step_until(supervisor, lambda: supervisor.pid("one") is None)
        assert ("times in a row" in reports[-1]) == (deaths == 5)

    assert "5 times in a row; restarting it in 30 s" in reports[-1]


def test_a_first_start_that_fails_thrice_shows_the_end_of_the_log(supervisor):
    supervisor.start(
        child("one", "raise SystemExit('no such port')", ready=lambda: False)
    )

    with pytest.raises(StartError, match=r"exited with code 1(.|\n)*no such port"):
        step_until(supervisor, lambda: False)


def test_a_program_that_does_not_exist_fails_the_start(supervisor):
    absent = Child("one", lambda: ["/no/such"], {}, ready=lambda: False)
    supervisor.start(absent)

    with pytest.raises(StartError, match="/no/such cannot be started: No such file"):
        step_until(supervisor, lambda: False)


def test_a_first_start_that_is_not_ready_in_time_fails_and_is_ended(supervisor):
    supervisor.start(child("one", SLEEP, ready=lambda: False, ready_within=0.2))
    started = find(supervisor.pid("one"))

    with pytest.raises(StartError, match="was not ready within 0 s"):
        step_until(supervisor, lambda: False)
    assert processes.survivors([started]) == set()


def test_a_command_that_cannot_be_made_fails_the_first_start(supervisor):
    def command() -> list[str]:
        raise ConfigError("no binaries")

    with pytest.raises(ConfigError, match="no binaries"):
        supervisor.start(Child("one", command, {}))


def test_children_stop_in_reverse_of_what_they_need(tmp_path, reports):
    order = tmp_path / "order"

    def program(name: str) -> str:
        return (
            "import signal, sys, time\n"
            "def end(*_):\n"
            "    time.sleep(0.1)\n"
            f"    open({str(order)!r}, 'a').write('{name} ')\n"
            "    sys.exit()\n"
            "signal.signal(signal.SIGTERM, end)\n"
            "print('ready', flush=True)\n"
            "time.sleep(60)\n"
        )

    with make_supervisor(tmp_path, reports) as supervisor:
        supervisor.start(child("database", program("database")))
        supervisor.start(child("server", program("server"), after=("database",)))
        supervisor.start(child("daemon", program("daemon"), after=("server",)))
        step_until(supervisor, lambda: supervisor.is_ready("daemon"))
        for name in supervisor.names:
            step_until(supervisor, said(supervisor, name, "ready"))

    assert order.read_text() == "daemon server database "
    assert not (tmp_path / "processes.json").exists()


def test_a_stubborn_child_is_killed_with_all_that_it_started(tmp_path, reports):
    program = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', {STUBBORN!r}])\n"
        f"subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], start_new_session=1)\n"
        f"{STUBBORN}"
    )
    with make_supervisor(tmp_path, reports) as supervisor:
        supervisor.start(child("one", program, stop_within=0.2))
        log = supervisor.log("one")
        step_until(supervisor, lambda: log.read_text().count("deaf") == 3)
        everybody = processes.family(supervisor.pid("one") or 0)
        assert len(everybody) == 3

    assert processes.survivors(everybody) == set()


def test_descendants_end_in_order_where_they_are_to_be_asked_too(tmp_path, reports):
    worker = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('tidied up')))\n"
        "print('at work', flush=True)\n"
        "time.sleep(60)\n"
    )
    # Waits for its worker, as a server waits for a run.
    server = (
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: None)\n"
        f"subprocess.run([sys.executable, '-c', {worker!r}])\n"
    )
    with make_supervisor(tmp_path, reports) as supervisor:
        supervisor.start(child("server", server, stop_everyone=True))
        log = supervisor.log("server")
        step_until(supervisor, said(supervisor, "server", "at work"))

    assert "tidied up" in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_child_takes_signals_though_its_parent_ignores_them(supervisor, number):
    program = (
        "import signal, time\n"
        f"assert signal.getsignal({number}) is not signal.SIG_IGN\n"
        "assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())\n"
        "print('listening', flush=True)\n"
        "time.sleep(60)\n"
    )
    before = signal.signal(number, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        supervisor.start(child("one", program, ready=lambda: False))
        step_until(supervisor, said(supervisor, "one", "listening"))
    finally:
        signal.signal(number, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def test_a_log_that_has_grown_is_moved_aside_and_written_on(supervisor):
    program = (
        "import sys, time\n"
        "print('x' * 9_000_000, flush=True)\n"
        "while True:\n"
        "    print('still here', flush=True)\n"
        "    time.sleep(0.01)\n"
    )
    supervisor.start(child("one", program))
    log = supervisor.log("one")
    step_until(supervisor, lambda: log.with_suffix(".log.1").exists())
    step_until(supervisor, said(supervisor, "one", "still here"))

    assert log.stat().st_size < 1_000_000
    assert log.with_suffix(".log.1").stat().st_size > 9_000_000


KILLED_SUPERVISOR = """
import sys, time
from pathlib import Path
from apex_pipeline.local.supervisor import Supervisor
from apex_pipeline.local.watched_child import Child

folder = Path(sys.argv[1])
command = [sys.executable, "-c", sys.argv[2]]
with Supervisor(
    logs=folder / "logs", record=folder / "processes.json", report=print
) as supervisor:
    supervisor.start(Child("one", lambda: command, {}, (folder / "up").exists))
    while not supervisor.is_ready("one"):
        supervisor.step()
    print("ready", flush=True)
    time.sleep(60)
"""


def kill_a_supervisor_of(folder: Path, prelude: str) -> int:
    """Kill a supervisor whose child has run `prelude`; return the child's id."""
    program = f"{prelude}\nopen({str(folder / 'up')!r}, 'w')\n{SLEEP}\n"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_SUPERVISOR, str(folder), program],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.kill()
    [entry] = json.loads((folder / "processes.json").read_text())["children"]
    pid: int = entry["pid"]
    return pid


@LINUX
def test_a_child_ends_when_its_supervisor_is_killed(tmp_path):
    pid = kill_a_supervisor_of(tmp_path, "pass")
    wait_until(lambda: not processes.find(pid))


def test_what_a_killed_supervisor_left_running_is_stopped(tmp_path, reports):
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    survivor = find(kill_a_supervisor_of(tmp_path, deaf))

    with make_supervisor(tmp_path, reports):
        assert processes.survivors([survivor]) == set()
    assert reports == ["stopping one, left behind by an earlier start"]
    assert not (tmp_path / "processes.json").exists()


@LINUX
def test_a_descendant_is_found_though_the_recorded_child_is_gone(tmp_path, reports):
    worker = f"import subprocess; subprocess.Popen({[sys.executable, '-c', SLEEP]!r})"
    pid = kill_a_supervisor_of(tmp_path, worker)
    wait_until(lambda: not processes.find(pid))
    [left] = processes.family(pid)

    with make_supervisor(tmp_path, reports):
        assert processes.survivors([left]) == set()


@pytest.mark.parametrize("leader_lives", [True, False])
def test_a_stranger_that_has_got_a_recorded_id_is_left_alone(
    tmp_path, reports, leader_lives
):
    """Ids are reused: the recorded one may belong to any process now."""
    program = (
        SLEEP
        if leader_lives
        else f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}])"
    )
    stranger = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    if not leader_lives:
        stranger.wait()
    strangers = processes.family(stranger.pid)
    entry = {
        "name": "one",
        "pid": stranger.pid,
        "started": "long ago",
        "stop_signal": int(signal.SIGTERM),
        "stop_everyone": False,
    }
    (tmp_path / "processes.json").write_text(
        json.dumps({"marker": secrets.token_hex(16), "children": [entry]})
    )
    try:
        with make_supervisor(tmp_path, reports):
            pass
        assert len(strangers) == 1
        assert processes.survivors(strangers) == strangers
        assert reports == []
    finally:
        processes.end(stranger.pid, request=signal.SIGKILL, patience=5)
        stranger.wait()


@pytest.mark.parametrize("damage", ["", "{"])
def test_a_damaged_record_does_not_prevent_the_start(tmp_path, reports, damage):
    (tmp_path / "processes.json").write_text(damage)

    with make_supervisor(tmp_path, reports) as supervisor:
        supervisor.start(child("one", SLEEP))
        step_until(supervisor, lambda: supervisor.is_ready("one"))


class Health:
    """A child's health check with its answers and the number of calls."""

    def __init__(self) -> None:
        self.answer: bool | None = True
        self.asked = 0
        self.hangs = threading.Event()
        self.hangs.set()

    def __call__(self) -> bool | None:
        self.asked += 1
        self.hangs.wait(SECONDS)
        return self.answer


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def told(supervisor: Supervisor) -> list[str]:
    heard: list[str] = []
    supervisor.on_death = lambda name, how: heard.append(f"{name} {how}")
    supervisor.on_return = lambda name: heard.append(f"{name} is back")
    return heard


@pytest.mark.parametrize("sickness", ["bad answers", "no answer"])
def test_a_child_that_lives_and_does_not_serve_is_restarted_and_told_once(
    supervisor, health, told, sickness
):
    supervisor.start(child("one", SLEEP, ready=health, sick_after=0.2))
    step_until(supervisor, lambda: supervisor.is_ready("one"))
    first = find(supervisor.pid("one"))

    if sickness == "bad answers":
        health.answer = False
    else:
        health.hangs.clear()
    step_until(supervisor, lambda: told)
    assert processes.survivors([first]) == set()

    health.answer = True
    health.hangs.set()
    step_until(supervisor, lambda: supervisor.is_ready("one"))
    assert supervisor.pid("one") != first.pid
    assert told == [
        "one has not answered for 0 s and was stopped",
        "one is back",
    ]


def test_a_bad_answer_among_good_ones_restarts_nothing(supervisor, health, told):
    supervisor.start(child("one", SLEEP, ready=health))
    step_until(supervisor, lambda: supervisor.is_ready("one"))
    first = supervisor.pid("one")
    health.answer = False
    asked = health.asked
    step_until(supervisor, lambda: health.asked > asked + 2)
    health.answer = True
    asked = health.asked
    step_until(supervisor, lambda: health.asked > asked + 2)

    assert supervisor.pid("one") == first
    assert told == []


def test_a_child_that_cannot_be_asked_is_not_blamed_for_it(supervisor, health, told):
    """Like a daemon whose heartbeats are in a database that is down."""
    supervisor.start(child("one", SLEEP, ready=health, sick_after=0.05))
    step_until(supervisor, lambda: supervisor.is_ready("one"))
    health.answer = None
    asked = health.asked
    step_until(supervisor, lambda: health.asked > asked + 20)

    assert supervisor.is_ready("one")
    assert told == []


def test_after_a_suspension_children_get_time_to_answer(
    supervisor, health, told, monkeypatch
):
    supervisor.start(child("one", SLEEP, ready=health, sick_after=5))
    step_until(supervisor, lambda: supervisor.is_ready("one"))
    health.answer = False
    asked = health.asked
    step_until(supervisor, lambda: health.asked > asked)
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 70)
    supervisor.step()

    assert supervisor.is_ready("one")
    assert told == []


def test_a_suspended_child_is_restarted_without_a_kill(supervisor, told):
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('in order')))\n"
        "print('listening', flush=True)\n"
        "time.sleep(60)\n"
    )

    def is_running() -> bool:
        pid = supervisor.pid("one")
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_STOPPED

    supervisor.start(child("one", program, ready=is_running, sick_after=0.1))
    step_until(supervisor, said(supervisor, "one", "listening"))
    step_until(supervisor, lambda: supervisor.is_ready("one"))
    os.kill(find(supervisor.pid("one")).pid, signal.SIGSTOP)
    # On a busy machine it may have been restarted before, while it began.
    step_until(supervisor, said(supervisor, "one", "in order"))
    step_until(supervisor, lambda: told)


def test_a_child_serves_on_the_socket_that_was_opened_for_it(supervisor):
    program = (
        "import socket\n"
        "with socket.socket(fileno=3) as server:\n"
        "    while True:\n"
        "        with server.accept()[0] as visitor:\n"
        "            visitor.sendall(b'served')\n"
    )
    places: list[tuple[str, int]] = []

    def listener() -> socket.socket:
        opened = socket.create_server(("127.0.0.1", 0))
        places.append(opened.getsockname())
        return opened

    def answer(place: tuple[str, int]) -> bytes:
        with socket.create_connection(place, 60) as visitor:
            return visitor.recv(6)

    supervisor.start(dataclasses.replace(child("one", program), listener=listener))
    assert answer(places[0]) == b"served"
    os.kill(find(supervisor.pid("one")).pid, signal.SIGKILL)
    step_until(supervisor, lambda: len(places) == 2)
    assert answer(places[1]) == b"served"
    # Of the first, nothing is left.
    with pytest.raises(ConnectionRefusedError):
        answer(places[0])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@LINUX
@pytest.mark.chaos
def test_a_full_disk_stops_nothing_and_is_told_when_and_while_it_lasts(
    small_disk, reports
):
    with make_supervisor(small_disk, reports) as supervisor:
        supervisor.start(child("one", SLEEP))
        step_until(supervisor, lambda: supervisor.is_ready("one"))
        filler = small_disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        died = supervisor.pid("one")
        os.kill(find(died).pid, signal.SIGKILL)
        step_until(supervisor, lambda: supervisor.pid("one") not in (died, None))
        step_until(supervisor, lambda: supervisor.is_ready("one"))
        full = [r for r in reports if "No space left on device" in r]
        assert len(full) == 1
        assert "processes.json cannot be written" in full[0]

        supervisor.start(child("two", SLEEP))
        step_until(supervisor, lambda: supervisor.is_ready("two"))

        filler.unlink()
        step_until(supervisor, lambda: "can be written again" in reports[-1])
        record = json.loads((small_disk / "processes.json").read_text())
        assert [entry["pid"] for entry in record["children"]] == [
            supervisor.pid("one"),
            supervisor.pid("two"),
        ]


def test_a_log_that_cannot_be_copied_is_emptied_and_that_is_said(supervisor, reports):
    program = "import time; print('x' * 9_000_000, flush=True); time.sleep(60)"
    supervisor.start(child("one", program))
    log = supervisor.log("one")
    # Stands for whatever prevents the copy.
    log.with_suffix(".log.1").mkdir()
    step_until(supervisor, lambda: any("emptied without a copy" in r for r in reports))

    assert log.stat().st_size < 1_000_000
