"""A whole `apex up` whose processes are ended, killed and suspended."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import psutil
import psycopg
import pytest

from apex_pipeline.local import child_commands
from apex_pipeline_tests.end_to_end.test_told_unattended import sync
from apex_pipeline_tests.local.test_up import Running, apex_up, wait_until
from apex_pipeline_tests.support.ends import insert_many, marked

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

CHILDREN = (
    child_commands.DATABASE,
    child_commands.EMULATOR,
    child_commands.PANEL,
    child_commands.CODE_SERVER,
    child_commands.WEB_SERVER,
    child_commands.DAEMON,
)
TICKS = """{ sensorsOrError(repositorySelector: {
    repositoryLocationName: "apex_pipeline", repositoryName: "__repository__"
}) { ... on Sensors { results { name sensorState { ticks(limit: 1) {
    timestamp status
} } } } } }"""
WATCH = "watch_sync_health"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One for all tests here; each leaves it well."""
    with apex_up(tmp_path_factory.mktemp("up") / "state") as started:
        yield started


def watched_since(running: Running, instant: float) -> Callable[[], bool]:
    """Whether the watch has looked, by a tick that began and ended well since then.

    For that, daemon, code server and both databases have to work together.
    """

    def looked() -> bool:
        with suppress(httpx.HTTPError, ValueError, LookupError, TypeError):
            for sensor in running.ask(TICKS)["sensorsOrError"]["results"]:
                for tick in sensor["sensorState"]["ticks"]:
                    if sensor["name"] == WATCH and tick["timestamp"] > instant:
                        return bool(tick["status"] in ("SKIPPED", "SUCCESS"))
        return False

    return looked


def delivers(running: Running) -> None:
    """New rows get through."""
    url = running.served["DATABASE_URL"]
    insert_many(url, 20)
    sync(running)
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT id::text FROM campaign_metrics").fetchall()
    assert marked(url) == {row for (row,) in rows}


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
