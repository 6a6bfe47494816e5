"""How long one tenant's rows wait while another tenant is in trouble.

    python -m benchmarks.neighbours [--rows 24]

Starts `apex up --tenants` with two tenants, local ends and `APEX_SYNC_ON_ARRIVAL=5s`.
Writes a row every five seconds for the first one, and prints how long they waited from
`created_at` to `exported_at`, for each state of the second: idle; throttled, with a dozen
runs in the queue; without a Dataverse.
"""

import argparse
import json
import os
import signal
import ssl
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg

from apex_pipeline.local.graphql_client import start_sync
from benchmarks.arrival import ROW, settle
from benchmarks.idle import APEX, environment, free_port

_PAUSE_SECONDS = 5.0
_WAITING_RUNS = 12
_PATIENCE_SECONDS = 600
_FAULTS: dict[str, dict[str, object] | None] = {
    "idle": None,
    "throttled": {"kind": "status", "status": 429, "retry_after": "120", "count": None},
    "gone": {"kind": "drop_before", "count": None},
}
_WAITS = """
    SELECT extract(epoch FROM exported_at - created_at)::float8 FROM campaign_metrics
    WHERE created_at >= %s ORDER BY 1
"""
_PENDING = "SELECT count(*) FROM campaign_metrics WHERE exported_at IS NULL"


@dataclass(frozen=True, slots=True)
class Tenant:
    """One of the two, from outside."""

    state: Path

    @property
    def served(self) -> dict[str, str]:
        """Addresses of its ends; empty before they are there."""
        try:
            found: dict[str, str] = json.loads((self.state / "local.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def connect(self) -> psycopg.Connection:
        """Open its metrics database."""
        return psycopg.connect(self.served["DATABASE_URL"], autocommit=True)

    def fail(self, fault: dict[str, object]) -> None:
        """Make each request to its Dataverse fail so, and no longer otherwise."""
        secret = (self.state / "emulator" / "control_secret").read_text().strip()
        authority = self.state / "tls" / "authority.pem"
        with httpx.Client(
            base_url=f"{self.served['DATAVERSE_RESOURCE']}/_emulator",
            headers={"Authorization": f"Bearer {secret}"},
            verify=ssl.create_default_context(cafile=authority),
        ) as client:
            client.delete("/faults").raise_for_status()
            client.post("/faults", json=fault).raise_for_status()


def main() -> None:
    """Start, settle, and measure in each state of the neighbour."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=24)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="apex-neighbours-") as name:
        folder, port = Path(name), free_port()
        good, bad = (Tenant(folder / "state" / "tenants" / each) for each in "ab")
        up = _start(folder, port)
        try:
            _await(lambda: "DAGSTER_POSTGRES_URL" in good.served | bad.served)
            _await(lambda: "Everything runs" in (folder / "output").read_text())
            settle(good.served["DAGSTER_POSTGRES_URL"])
            for state, fault in _FAULTS.items():
                if fault:
                    bad.fail(fault)
                    _queue_runs(bad, folder / "state", port)
                _print(state, _waits(good, rows))
        finally:
            up.send_signal(signal.SIGINT)
            up.wait()


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    for name in "ab":
        (folder / f"{name}.env").write_text("APEX_SYNC_ON_ARRIVAL=5s\n")
    listed = folder / "tenants.toml"
    listed.write_text('[tenants]\na = "a.env"\nb = "b.env"\n')
    return subprocess.Popen(
        [str(APEX), "up", "--port", str(port), "--tenants", str(listed)],
        env=environment(folder / "state"),
        stdout=(folder / "output").open("w"),
        stderr=subprocess.STDOUT,
    )


def _await(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.5)


def _queue_runs(tenant: Tenant, state: Path, port: int) -> None:
    """Give it a row that it cannot deliver, and more runs than there are places."""
    with tenant.connect() as connection:
        connection.execute(ROW)
    secret = (state / "webserver.secret").read_text()
    for _ in range(_WAITING_RUNS):
        start_sync(f"http://127.0.0.1:{port}", secret, "apex_pipeline-b")


def _waits(tenant: Tenant, rows: int) -> list[float]:
    """Write rows one by one; how long each waited, in ascending order."""
    with tenant.connect() as connection:
        (since,) = connection.execute("SELECT now()").fetchone() or (None,)
        for _ in range(rows):
            connection.execute(ROW)
            time.sleep(_PAUSE_SECONDS)
        _await(lambda: connection.execute(_PENDING).fetchone() == (0,))
        return [float(wait) for (wait,) in connection.execute(_WAITS, [since])]


def _print(state: str, waits: list[float]) -> None:
    print(
        f"neighbour {state}: {len(waits)} rows waited {statistics.median(waits):.1f} s in "
        f"the median, {waits[-1]:.1f} s at most; load average {os.getloadavg()[1]:.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
