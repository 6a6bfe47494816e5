"""A whole `apex up` whose disk is full."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from apex_pipeline.local import child_commands
from apex_pipeline_tests.support.apex_up import apex_up, wait_until
from apex_pipeline_tests.support.receivers import (
    MailServer,
    mail_server,
    make_authority,
)
from apex_pipeline_tests.support.unattended import CHILDREN, delivers, watched_since

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


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
