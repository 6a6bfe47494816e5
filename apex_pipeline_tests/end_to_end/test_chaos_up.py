"""A whole `apex up` whose processes are ended, killed and suspended."""

import os
import signal
import time

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP])
def test_whatever_is_ended_killed_or_suspended_is_restarted(running, number):
    before = {name: running.pid(name) for name in CHILDREN}
    said = running.output.read_text().count
    told = {name: said(f"{name} runs again") for name in CHILDREN}
    began = time.time()
    for pid in before.values():
        assert pid
        os.kill(pid, number)

    def all_back() -> bool:
        text = running.output.read_text()
        return all(text.count(f"{n} runs again") > told[n] for n in CHILDREN)

    wait_until(all_back, running, seconds=400)
    after = {name: running.pid(name) for name in CHILDREN}
    assert not set(before.values()) & set(after.values())
    wait_until(watched_since(running, began), running)
    delivers(running)
