"""What a tenant costs: processor, memory and connections of each process.

    python -m benchmarks.tenants [--tenants 2] [--minutes 3]

Starts `apex up --tenants` with local ends and no rows, lets it settle, and prints for
each process what it uses: processor seconds an hour with all that it has started, and
proportional memory and connections to Postgres at the end. Postgres and emulators are
left out; in production they run elsewhere.
"""

import argparse
import json
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.idle import APEX, environment, free_port

_SETTLING_SECONDS = 60
_START_SECONDS = 600
_OURS = ("Dagster", "panel")


@dataclass(frozen=True, slots=True)
class Use:
    """What a process and its descendants use at one instant."""

    cpu: float
    mebibytes: float
    connections: int


def main() -> None:
    """Start, settle, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=3.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="apex-tenants-") as name:
        folder = Path(name)
        up = subprocess.Popen(
            [
                *(str(APEX), "up", "--port", str(free_port())),
                *("--tenants", str(_listed(folder, given.tenants))),
            ],
            env=environment(folder / "state"),
            stdout=(folder / "output").open("w"),
            stderr=subprocess.STDOUT,
        )
        try:
            _await(folder / "output", "Everything runs")
            time.sleep(_SETTLING_SECONDS)
            before = _uses(folder / "state")
            time.sleep(60 * given.minutes)
            _print(before, _uses(folder / "state"), 60 / given.minutes)
        finally:
            up.send_signal(signal.SIGINT)
            up.wait()


def _listed(folder: Path, count: int) -> Path:
    lines = ["[tenants]"]
    for number in range(count):
        (folder / f"t{number}.env").write_text("")
        lines.append(f't{number} = "t{number}.env"')
    path = folder / "tenants.toml"
    path.write_text("\n".join(lines))
    return path


def _await(output: Path, text: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while text not in output.read_text():
        if time.monotonic() > deadline:
            raise TimeoutError(output.read_text())
        time.sleep(0.5)


def _uses(state: Path) -> dict[str, Use]:
    recorded = json.loads((state / "processes.json").read_text())["children"]
    return {
        each["name"]: _use(psutil.Process(each["pid"]))
        for each in recorded
        if each["name"].startswith(_OURS)
    }


def _use(process: psutil.Process) -> Use:
    cpu, memory, connections = 0.0, 0.0, 0
    for each in (process, *process.children(recursive=True)):
        try:
            times = each.cpu_times()
            memory += each.memory_full_info().pss / 1024**2
            connections += sum(
                found.status == psutil.CONN_ESTABLISHED and bool(found.raddr)
                for found in each.net_connections("inet4")
            )
        except psutil.NoSuchProcess:
            continue
        cpu += times.user + times.system + times.children_user + times.children_system
    return Use(cpu, memory, connections)


def _print(before: dict[str, Use], after: dict[str, Use], hourly: float) -> None:
    for name, use in sorted(after.items()):
        cpu = (use.cpu - before[name].cpu) * hourly if name in before else float("nan")
        print(
            f"{name}: {cpu:.0f} CPU s/h, {use.mebibytes:.0f} MiB, "
            f"{use.connections} connections"
        )


if __name__ == "__main__":
    main()
