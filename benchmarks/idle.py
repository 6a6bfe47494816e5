"""What `apex up` costs while nothing happens, and in production's rhythm.

    python -m benchmarks.idle [--minutes 10] [--demo]

Prints processor seconds an hour by process, connections to Dagster's database a second,
and how much the event log grows. With `--demo`, rows come all the time. Processor time
is cumulative for each process and what it has waited for, so runs that have ended count.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

APEX = Path(sys.executable).with_name("apex")
_SETTLING_SECONDS = 60
_STATISTICS = """
    SELECT (SELECT sum(sessions)::bigint FROM pg_stat_database),
        (SELECT count(*) FROM event_logs), pg_total_relation_size('event_logs'),
        pg_database_size(current_database()), (SELECT count(*) FROM runs)
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters at one instant."""

    at: float
    cpu: Mapping[str, float]
    sessions: int
    events: int
    event_bytes: int
    storage_bytes: int
    runs: int


def main() -> None:
    """Start, settle, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--demo", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="apex-idle-") as folder:
        command = [str(APEX), "up", "--port", str(free_port())]
        up = subprocess.Popen(
            [*command, *(["--demo"] if given.demo else [])],
            env=environment(Path(folder)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            url = storage(Path(folder))
            time.sleep(_SETTLING_SECONDS)
            before = sample(up.pid, url)
            time.sleep(60 * given.minutes)
            after = sample(up.pid, url)
            print_difference(before, after)
        finally:
            up.send_signal(signal.SIGINT)
            up.wait()


def sample(pid: int, url: str) -> Sample:
    """Read all counters."""
    with psycopg.connect(url) as connection:
        row = connection.execute(_STATISTICS).fetchone() or (0,) * 5
    return Sample(time.monotonic(), _cpu(pid), *row)


def print_difference(before: Sample, after: Sample) -> None:
    """Print what passed between two samples, by the hour or the second."""
    seconds = after.at - before.at
    hourly = 3600 / seconds
    total = 0.0
    for name in sorted(after.cpu):
        used = (after.cpu[name] - before.cpu.get(name, 0.0)) * hourly
        total += used
        print(f"{name}: {used:.0f} CPU s/h")
    print(f"all: {total:.0f} CPU s/h")
    print(f"connections: {(after.sessions - before.sessions) / seconds:.1f}/s")
    print(f"runs: {(after.runs - before.runs) * hourly:.0f}/h")
    print(f"event-log rows: {(after.events - before.events) * hourly:.0f}/h")
    grown = (after.event_bytes - before.event_bytes) * hourly / 1024**2
    print(f"event log: {grown:.2f} MiB/h")
    grown = (after.storage_bytes - before.storage_bytes) * hourly / 1024**2
    print(f"Dagster's storage: {grown:.2f} MiB/h")
    print(f"load average: {os.getloadavg()[1]:.1f}")


def _cpu(pid: int) -> dict[str, float]:
    used: dict[str, float] = {}
    for process in psutil.Process(pid).children(recursive=True):
        try:
            times, name = process.cpu_times(), _name(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        spent = times.user + times.system + times.children_user + times.children_system
        # A parent's figure holds its ended children only, so nothing counts twice.
        used[name] = used.get(name, 0.0) + spent
    return used


def _name(command: list[str]) -> str:
    line = " ".join(command)
    for sign, name in (
        ("postgres", "Postgres"),
        ("emulator", "emulator"),
        ("daemon", "daemon"),
        ("webserver", "web server"),
        ("panel", "panel"),
        ("code-server", "code server and runs"),
        ("grpc", "code server and runs"),
        ("execute_run", "code server and runs"),
        ("multiprocessing", "code server and runs"),
    ):
        if sign in line:
            return name
    return "others"


def environment(folder: Path) -> dict[str, str]:
    """Variables for a new `apex up` that keeps its state in the folder."""
    ours = ("APEX_", "DATABASE_URL", "DATAVERSE_", "AZURE_", "DAGSTER_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    panel = str(free_port())
    return kept | {"APEX_STATE_DIR": str(folder), "APEX_PANEL_PORT": panel}


def storage(folder: Path) -> str:
    """URL of Dagster's database, once everything runs."""
    for _ in range(600):
        try:
            served = json.loads((folder / "local.json").read_text())
            with psycopg.connect(served["DAGSTER_POSTGRES_URL"]) as connection:
                connection.execute("SELECT 1 FROM runs LIMIT 1")
        except (OSError, KeyError, psycopg.Error):
            time.sleep(0.5)
        else:
            return str(served["DAGSTER_POSTGRES_URL"])
    raise TimeoutError("apex up has not started")


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
