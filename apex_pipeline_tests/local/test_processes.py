import os
import subprocess
import sys
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest

from apex_pipeline.local import processes
from apex_pipeline.local.processes import Process
from apex_pipeline_tests.support.waiting import wait_until

SLEEP = "import time; time.sleep(60)"
HAS_PROC = Path("/proc/self/stat").is_file()


@pytest.fixture
def start():
    started = []

    def run(program: str, **environment: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            start_new_session=True,
            env={**os.environ, **environment},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        for member in processes.family(process.pid):
            os.kill(member.pid, SIGKILL)
        process.kill()
        process.wait()


READERS = [
    pytest.param(
        processes.from_proc, marks=pytest.mark.skipif(not HAS_PROC, reason="no /proc")
    ),
    pytest.param(
        processes.from_ps,
        marks=pytest.mark.skipif(not Path("/bin/ps").exists(), reason="no ps"),
    ),
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("everything", [True, False])
def test_a_process_is_found_with_its_parent_and_session(start, read, everything):
    child = start(SLEEP)

    found = read(None if everything else [child.pid, os.getpid()])

    assert found[child.pid].parent == os.getpid()
    assert found[child.pid].session == child.pid
    assert found[os.getpid()].session == os.getsid(0)
    assert found[child.pid].started == read(None)[child.pid].started


@pytest.mark.parametrize("read", READERS)
def test_a_process_that_has_ended_is_not_there(start, read):
    child = start("")
    # A zombie until it is waited for.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert child.pid not in read(None)
    assert read([child.pid]) == {}
    assert read([]) == {}


def test_a_process_with_the_same_id_but_another_start_is_another(start):
    child = start(SLEEP)
    found = processes.find(child.pid)
    assert found
    earlier = Process(found.pid, found.parent, found.session, "long ago")

    assert processes.survivors([found]) == {found}
    assert processes.survivors([earlier]) == set()


def test_a_family_holds_descendants_and_orphans_of_the_session(start, tmp_path):
    orphan = tmp_path / "orphan"
    leader = start(
        "import os, subprocess, sys, time\n"
        f"sleep = [sys.executable, '-c', {SLEEP!r}]\n"
        "subprocess.Popen(sleep, start_new_session=True)\n"
        "if os.fork() == 0:\n"
        f"    open({str(orphan)!r}, 'w').write(str(subprocess.Popen(sleep).pid))\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        f"open({str(orphan) + '.done'!r}, 'w')\n"
        "time.sleep(60)\n"
    )

    wait_until(orphan.with_suffix(".done").exists)
    orphan_pid = int(orphan.read_text())
    found = {p.pid: p for p in processes.family(leader.pid)}
    assert len(found) == 3
    assert found[orphan_pid].parent != leader.pid

    processes.end(leader.pid, request=SIGTERM, patience=5)

    assert processes.survivors(found.values()) == set()


def test_ending_asks_the_leader_first_and_the_others_after_it(start, tmp_path):
    told = tmp_path / "told"
    program = (
        "import os, signal, subprocess, sys, time\n"
        # It ends at once: Python drops an exception in a finalizer, and a second signal
        # may come while the first one's SystemExit is on its way.
        "def tell(who):\n"
        f"    with open({str(told)!r}, 'a') as file: file.write(who)\n"
        "    os._exit(0)\n"
        "who = 'leader ' if os.fork() else 'other '\n"
        "signal.signal(signal.SIGTERM, lambda *_: tell(who))\n"
        f"open({str(tmp_path)!r} + '/' + who.strip(), 'w')\n"
        "time.sleep(60)\n"
    )
    leader = start(program)
    wait_until(lambda: all((tmp_path / w).exists() for w in ("leader", "other")))

    processes.end(leader.pid, request=SIGTERM, patience=5)

    assert told.read_text() == "leader other "


def test_what_is_left_of_a_family_whose_leader_ended_is_ended(start, tmp_path):
    leader = start(
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}])"
    )
    leader.wait()
    left = processes.family(leader.pid)
    assert len(left) == 1

    processes.end(leader.pid, request=SIGTERM, patience=5)

    assert processes.survivors(left) == set()


@pytest.mark.skipif(not HAS_PROC, reason="another's environment is not readable")
def test_a_process_carries_what_its_environment_holds(start):
    child = processes.find(start(SLEEP, APEX_TEST_MARKER="b52c").pid)
    assert child

    wait_until(lambda: processes.carries(child, "b52c"))
    assert not processes.carries(child, "0bad")
