"""A running apex up."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import psycopg

from apex_pipeline.local import processes
from apex_pipeline.settings import PAGES
from apex_pipeline_tests.support.ends import free_port
from apex_pipeline_tests.support.waiting import SECONDS

# Under nohup we ignore SIGHUP, and a child inherits that.
_APEX = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from apex_pipeline.cli import main
main()
"""


@dataclass
class Running:
    """An `apex up` in its own process."""

    process: subprocess.Popen[bytes]
    state: Path
    url: str
    output: Path

    @property
    def served(self) -> dict[str, str]:
        served: dict[str, str] = json.loads((self.state / "local.json").read_text())
        assert served.pop("PID") == str(self.process.pid)
        return served

    @property
    def ends(self) -> dict[str, str]:
        """The served addresses except the pages; each start may choose new ports."""
        return {k: v for k, v in self.served.items() if k not in PAGES}

    @property
    def own_secret(self) -> str:
        """What opens the Dagster UI to this machine's own commands."""
        return (self.state / "webserver.secret").read_text()

    def says(self, text: str) -> Callable[[], bool]:
        return lambda: text in self.output.read_text()

    def ask(self, query: str, **variables: object) -> Any:
        answer = httpx.post(
            f"{self.url}/graphql",
            json={"query": query, "variables": variables},
            timeout=SECONDS,
            headers={"Authorization": f"Bearer {self.own_secret}"},
            # Plain HTTP; else each question would load all authorities.
            verify=False,  # noqa: S501
        )
        return answer.json()["data"]

    def pid(self, name: str) -> int | None:
        record = json.loads((self.state / "processes.json").read_text())
        pids = {entry["name"]: entry["pid"] for entry in record["children"]}
        return pids.get(name)

    def rows(self) -> int:
        with psycopg.connect(self.served["DATABASE_URL"]) as connection:
            row = connection.execute("SELECT count(*) FROM campaign_metrics").fetchone()
        assert row
        return int(row[0])

    def family(self) -> set[processes.Process]:
        return processes.descendants(self.process.pid)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


def wait_until(
    condition: Callable[[], object], running: Running, *, seconds: float = 2 * SECONDS
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        output = running.output.read_text()
        assert running.process.poll() is None, output
        assert time.monotonic() < deadline, output
        time.sleep(0.1)


@contextmanager
def starting(
    state: Path,
    *options: str,
    prefix: tuple[str, ...] = (),
    storage: str = "",
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Running]:
    port = free_port()
    output = state.parent / "output"
    ends = ("DATABASE_URL", "DATAVERSE_RESOURCE", "DAGSTER_POSTGRES_URL")
    environment = {k: v for k, v in os.environ.items() if k not in ends}
    with output.open("w") as file:
        process = subprocess.Popen(
            [
                *prefix,
                *(sys.executable, "-c", _APEX),
                *("up", "--port", str(port), *options),
            ],
            env={
                **environment,
                "APEX_STATE_DIR": str(state),
                "DAGSTER_POSTGRES_URL": storage,
                **variables,
            },
            cwd=state.parent,
            stdout=file,
            stderr=file,
        )
    try:
        yield Running(process, state, f"http://127.0.0.1:{port}", output)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(SECONDS)


@contextmanager
def apex_up(
    state: Path,
    *options: str,
    prefix: tuple[str, ...] = (),
    storage: str = "",
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Running]:
    """Everything, ready.

    Args:
        state: Its folder.
        options: Of the command.
        prefix: Words before it.
        storage: URL of a Postgres for Dagster's storage; empty: its own.
        variables: Of its environment.
    """
    with starting(
        state, *options, prefix=prefix, storage=storage, variables=variables
    ) as running:
        wait_until(running.says("Everything runs"), running)
        yield running


def variables_of(pid: int) -> dict[str, str]:
    """The variables that a process was started with; none if it has ended."""
    try:
        text = Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return {}
    pairs = (entry.partition("=") for entry in text.split("\0") if entry)
    return {name: value for name, _, value in pairs}
