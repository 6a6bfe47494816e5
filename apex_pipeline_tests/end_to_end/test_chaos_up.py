"""A whole `apex up` whose processes are suspended, ended and deprived of their disk."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from apex_pipeline.local import child_commands
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline_tests.end_to_end.test_told_unattended import sync
from apex_pipeline_tests.local.test_up import Running, apex_up, wait_until
from apex_pipeline_tests.support.ends import insert_many, marked
from apex_pipeline_tests.support.receivers import (
    MailServer,
    mail_server,
    make_authority,
)

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSTOP])
def test_whatever_is_ended_or_suspended_is_restarted(running, number):
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


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own that is soon full."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    subprocess.run(["mount", *options], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mailing_to(mailbox: MailServer) -> dict[str, str]:
    return {
        "APEX_ALERT_EMAIL_TO": "ops@example.com",
        "APEX_ALERT_EMAIL_FROM": "apex@example.com",
        "APEX_SMTP_URL": f"smtp://127.0.0.1:{mailbox.port}",
    }


def fill(filler: Path) -> None:
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 65_536)


def test_a_full_disk_ends_nothing_for_good_and_is_mailed_all_the_same(tmp_path):
    authority = make_authority(tmp_path)
    with (
        mail_server(authority, "plain") as mailbox,
        small_disk(tmp_path / "disk", 400) as disk,
        apex_up(disk / "state", variables=mailing_to(mailbox)) as running,
    ):

        def mailed(text: str) -> Callable[[], bool]:
            return lambda: any(text in str(m["Subject"]) for *_, m in mailbox.envelopes)

        filler, more = disk / "filler", disk / "more"
        fill(filler)
        ended = (
            child_commands.PANEL,
            child_commands.CODE_SERVER,
            child_commands.DATABASE,
        )
        for name in ended:
            pid = running.pid(name)
            assert pid
            os.kill(pid, signal.SIGKILL)
            wait_until(partial(is_gone, pid), running)
            fill(more)
        # The journal is on that disk too.
        wait_until(mailed(f"The {child_commands.DATABASE} died"), running)
        fill(more)
        for each in (filler, more):
            each.unlink(missing_ok=True)
        wait_until(watched_since(running, time.time()), running, seconds=240)
        for name in ended:
            wait_until(running.says(f"{name} was killed by SIGKILL"), running)
        wait_until(running.says("processes.json can be written again"), running)
        assert "Traceback" not in running.output.read_text()
        record = json.loads((disk / "state" / "processes.json").read_text())
        assert {child["name"] for child in record["children"]} == set(CHILDREN)
        for name in ended:
            wait_until(mailed(f"Resolved: The {name} died"), running)
        delivers(running)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A Postgres of the test's own for Dagster's storage."""
    server = EmbeddedPostgres(tmp_path / "storage")
    server.start()
    yield server
    server.stop()


def test_dagsters_storage_may_be_down_and_may_be_wiped(tmp_path, storage):
    url = storage.url("postgres")
    with apex_up(tmp_path / "state", storage=url) as running:
        before = {n: running.pid(n) for n in CHILDREN}
        storage.stop()
        time.sleep(180)
        storage.start()
        began = time.time()
        wait_until(watched_since(running, began), running, seconds=180)
        delivers(running)
        # Those who wait for a storage are not restarted for it.
        assert {n: running.pid(n) for n in CHILDREN} == before

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("DROP SCHEMA apex_alerts CASCADE")
            connection.execute("CREATE SCHEMA public")
        began = time.time()
        wait_until(watched_since(running, began), running, seconds=240)
        delivers(running)
