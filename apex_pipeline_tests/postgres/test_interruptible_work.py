"""A signal ends work, whatever the process is doing when it comes."""

import asyncio
import os
import signal
import threading

import pytest

from apex_pipeline.postgres.interruptible_work import run_interruptible
from apex_pipeline_tests.support.waiting import SECONDS

SIGNALS = [signal.SIGTERM, signal.SIGINT]


class Ended(BaseException):
    """What the handler raises, as Dagster's does."""


@pytest.fixture
def handled():
    """Handlers that raise, as during a step of Dagster."""

    def end(*_: object) -> None:
        raise Ended

    before = {number: signal.signal(number, end) for number in SIGNALS}
    yield end
    for number, handler in before.items():
        signal.signal(number, handler)


class Finalized:
    """Python ignores what is raised while one of these goes."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        os.kill(os.getpid(), self.number)
        for _ in range(1000):
            pass


async def in_a_finalizer(number):
    Finalized(number)
    await asyncio.sleep(SECONDS)


async def in_a_callback(number):
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
    await asyncio.sleep(SECONDS)


async def at_the_end(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("work", [in_a_finalizer, in_a_callback, at_the_end])
def test_a_signal_ends_the_work_wherever_it_comes(handled, work, number):
    given_up = []
    with pytest.raises(Ended):
        run_interruptible(work(number), lambda: given_up.append(number))
    assert len(given_up) == (work is not at_the_end)
    assert [signal.getsignal(each) for each in SIGNALS] == [handled, handled]


def test_pythons_own_handler_ends_the_work():
    given_up = []
    with pytest.raises(KeyboardInterrupt):
        run_interruptible(in_a_callback(signal.SIGINT), lambda: given_up.append(1))
    assert given_up


def test_work_in_another_thread_has_no_signals(handled):
    async def work():
        return threading.current_thread().name

    found = []
    thread = threading.Thread(
        target=lambda: found.append(run_interruptible(work(), lambda: None)),
        name="other",
    )
    thread.start()
    thread.join(SECONDS)
    assert found == ["other"]
