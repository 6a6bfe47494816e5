"""Rows a second that the emulator upserts on one core, over HTTPS.

Run it as `python benchmarks/emulator_upserts.py [rows]`.
"""

import json
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import httpx

BATCH = 1000
SECRET = "benchmark"  # noqa: S105 # made up


def target(number: int) -> dict[str, object]:
    """A record with all 13 columns."""
    return {
        "@odata.type": "Microsoft.Dynamics.CRM.apex_campaignmetrics",
        "apex_campaignmetricsid": str(uuid4()),
        "apex_campaignid": str(uuid4()),
        "apex_runid": f"r-{number}",
        "apex_phase": "2-3",
        "apex_agentstotal": 5,
        "apex_agentssuccessful": 5,
        "apex_assetsgenerated": 12,
        "apex_tokensin": 1500 + number,
        "apex_tokensout": 3000,
        "apex_costusd": 0.00348,
        "apex_latencyp95ms": 51200,
        "apex_latencyavgms": 42000,
        "apex_successrate": 99.5,
        "apex_createdat": "2025-10-30T13:00:00Z",
    }


def main() -> None:
    """Start the emulator, send rows twice, print both rates."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "apex_pipeline.emulator", "--port", "0"),
                *("--port-file", str(port_file), "--state-dir", folder),
            ],
            env={"EMULATOR_CLIENT_SECRET": SECRET, "PYTHONPATH": ":".join(sys.path)},
            stdout=subprocess.DEVNULL,
        )
        try:
            while not port_file.is_file():
                time.sleep(0.05)
            measure(f"https://localhost:{port_file.read_text().strip()}", folder, rows)
        finally:
            process.terminate()
            process.wait()


def measure(url: str, folder: str, rows: int) -> None:
    """Send all rows, then the same ones again."""
    context = ssl.create_default_context(cafile=f"{folder}/ca.pem")
    with httpx.Client(verify=context, timeout=60) as client:
        control = (Path(folder) / "control_secret").read_text()
        health = client.get(
            f"{url}/_emulator/health", headers={"Authorization": f"Bearer {control}"}
        ).json()
        token = client.post(
            f"{url}/{health['tenant_id']}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": health["client_id"],
                "client_secret": SECRET,
                "scope": f"{url}/.default",
            },
        ).json()["access_token"]
        bodies = [
            json.dumps({"Targets": [target(n) for n in range(start, start + BATCH)]})
            for start in range(0, rows, BATCH)
        ]
        path = "apex_campaignmetricses/Microsoft.Dynamics.CRM.UpsertMultiple"
        for what in ("created", "updated"):
            began = time.perf_counter()
            for body in bodies:
                answer = client.post(
                    f"{url}/api/data/v9.2/{path}",
                    content=body,
                    headers={"Authorization": f"Bearer {token}"},
                )
                answer.raise_for_status()
            print(f"{what} {rows / (time.perf_counter() - began):,.0f} rows/s")


if __name__ == "__main__":
    main()
