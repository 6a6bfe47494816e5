"""An `apex up` left to itself, with the emulator beside it."""

import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from apex_pipeline.local import child_commands
from apex_pipeline_tests.support.apex_up import Running, apex_up
from apex_pipeline_tests.support.ends import insert_many, marked
from apex_pipeline_tests.support.waiting import SECONDS

APEX = Path(sys.executable).with_name("apex")


def emulator(running: Running) -> httpx.Client:
    served = running.served
    secret = (running.state / "emulator" / "control_secret").read_text()
    trust = ssl.create_default_context(cafile=served["APEX_CA_BUNDLE"])
    return httpx.Client(
        base_url=served["DATAVERSE_RESOURCE"],
        headers={"Authorization": f"Bearer {secret}"},
        verify=trust,
        timeout=SECONDS,
    )


def command(running: Running, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [APEX, *arguments],
        env=os.environ | {"APEX_STATE_DIR": str(running.state)},
        cwd=running.state,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sync(running: Running) -> None:
    with command(running, "sync") as process:
        told, complaint = process.communicate(timeout=4 * SECONDS)
        assert process.returncode == 0, (told, complaint)


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
    """One for all tests of a file; each leaves it well."""
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
