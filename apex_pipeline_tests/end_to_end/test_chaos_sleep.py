"""A whole `apex up` on a machine that sleeps."""

import signal
import time
from contextlib import suppress

import psutil
import pytest

from apex_pipeline_tests.support.apex_up import wait_until
from apex_pipeline_tests.support.unattended import (
    CHILDREN,
    delivers,
    running,
    watched_since,
)

__all__ = ["running"]

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


def send(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def test_a_machine_that_slept_goes_on_without_a_restart(running, record_property):
    """As a laptop that was closed: nothing runs, and time goes on.

    On a machine that is not busy, it is back within a minute.
    """
    leader = psutil.Process(running.process.pid)
    before = {name: running.pid(name) for name in CHILDREN}
    send([leader, *leader.children(recursive=True)], signal.SIGSTOP)
    time.sleep(70)
    send([leader, *leader.children(recursive=True)], signal.SIGCONT)
    awake = time.time()

    wait_until(watched_since(running, awake), running)
    record_property("seconds_to_recover", round(time.time() - awake, 1))
    assert {name: running.pid(name) for name in CHILDREN} == before
    delivers(running)
