"""How long `apex up --demo` takes, and what a run costs before its first row.

Run it as `python -m benchmarks.startup`, in an environment with the extra `local`.
Everything happens in a folder of its own, from nothing; then once more with its data.
"""

import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

_LIMIT = 120.0
APEX = Path(sys.executable).with_name("apex")
PROBE = (
    "import os, sys, time; begun = float(sys.argv[1]);"
    "from apex_pipeline.definitions import defs; defs();"
    "from apex_pipeline.settings import load_settings;"
    "from apex_pipeline.postgres import pending_rows;"
    "from apex_pipeline.postgres.store import connect;"
    "store = connect(load_settings(os.environ).database_url);"
    "store.ask(pending_rows.page, None, 1);"
    "print(time.time() - begun)"
)


def main() -> None:
    """Start twice, print."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("APEX_", "AZURE_", "DAGSTER_", "DATA"))
        } | {"APEX_STATE_DIR": folder, "PYTHONUNBUFFERED": "1"}
        for label in ("first start", "next start"):
            _start(label, environment)


def _start(label: str, environment: dict[str, str]) -> None:
    begun = time.monotonic()
    process = subprocess.Popen(
        [APEX, "up", "--demo", "--port", str(_free_port())],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    # Ends the loop, too, should the line that it waits for not come.
    limit = threading.Timer(_LIMIT, process.terminate)
    limit.start()
    for line in process.stdout or ():
        if line.startswith("Everything runs"):
            print(f"{label}: everything answers after {time.monotonic() - begun:.1f} s")
        if re.match(r"Synced: \d+ delivered", line):
            print(f"{label}: {line.strip()} after {time.monotonic() - begun:.1f} s")
            break
    else:
        sys.exit(f"`apex up --demo` delivered nothing within {_LIMIT:g} s.")
    limit.cancel()
    if label == "next start":
        _measure_overhead(environment)
    process.send_signal(signal.SIGTERM)
    process.communicate()


def _measure_overhead(environment: dict[str, str]) -> None:
    seconds = [
        float(
            subprocess.run(
                [sys.executable, "-c", PROBE, str(time.time())],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for _ in range(5)
    ]
    print(
        f"process start to first page read: median {statistics.median(seconds):.2f} s"
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
