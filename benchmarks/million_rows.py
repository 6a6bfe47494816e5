"""A million pending rows through one sync process: rows per second and memory.

    python -m benchmarks.million_rows [--rows 1000000]

Postgres is the embedded one, Dataverse the emulator without simulated latency; both
share this machine with the sync, so the speed is a lower bound. The memory is the sync
process's own, as the operating system accounts for it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.postgres import migrations

_FILL = """
    INSERT INTO campaign_metrics (
        id, campaign_id, run_id, phase, agents_total, agents_successful,
        assets_generated, tokens_in, tokens_out, cost_usd, latency_p95_ms,
        latency_avg_ms, success_rate_pct, created_at
    )
    SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), '2-3', 5, 4,
        n % 40, 1500 + n % 1000, 3000, n % 1000 / 1000.0, 51200, 42000, 80,
        now() - interval '1 second' * n
    FROM generate_series(1, {rows}) AS n
"""
_SYNC = (
    "import os, resource, sys;"
    "from pathlib import Path;"
    "from apex_pipeline.settings import load_settings;"
    "from apex_pipeline.postgres.store import connect;"
    "from apex_pipeline.sync.run import run_sync;"
    "from apex_pipeline.sync.run_options import SyncOptions;"
    "settings = load_settings(os.environ);"
    "store = connect(settings.database_url);"
    "report = run_sync(store, settings.dataverse, settings.token_cache_path,"
    " SyncOptions());"
    "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
    "print(report.delivered, report.remaining, report.requests, peak,"
    " report.failure or report.skipped or '', sep='|')"
)


def main() -> None:
    """Fill, sync until nothing remains, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), rows)


def run(folder: Path, rows: int) -> None:
    """Measure once, in a folder of its own."""
    with pending_rows(folder, rows) as environment:
        print(f"{rows} rows pending")
        deliver(environment)


@contextmanager
def pending_rows(folder: Path, rows: int) -> Iterator[dict[str, str]]:
    """Both ends, with so many rows pending; yields the environment of a sync."""
    postgres = EmbeddedPostgres(folder / "postgres")
    postgres.start()
    emulator = _start_emulator(folder / "emulator")
    try:
        postgres.create_database("apex")
        url = postgres.url("apex")
        migrations.apply(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_FILL.format(rows=int(rows)).encode())
            connection.execute("VACUUM ANALYZE campaign_metrics")
        yield _environment(folder, url)
    finally:
        emulator.terminate()
        emulator.wait()
        postgres.stop()


def deliver(environment: dict[str, str]) -> None:
    """Sync until nothing remains, and print what it took."""
    begun = time.monotonic()
    delivered = requests = peak = runs = 0
    remaining = "1"
    while remaining != "0":
        ended = subprocess.run(
            [sys.executable, "-c", _SYNC],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        fields = ended.stdout.strip().split("|")
        remaining = fields[1]
        if fields[4]:
            sys.exit(fields[4])
        delivered += int(fields[0])
        requests += int(fields[2])
        peak = max(peak, int(fields[3]))
        runs += 1
    seconds = time.monotonic() - begun
    unit = 1024 if sys.platform == "linux" else 1024 * 1024
    print(
        f"{delivered} rows in {seconds:.0f} s ({delivered / seconds:.0f} rows/s), "
        f"{requests} requests, {runs} runs, peak {peak / unit:.0f} MB resident"
    )


def _start_emulator(folder: Path) -> subprocess.Popen[bytes]:
    port_file = folder / "port"
    folder.mkdir()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "apex_pipeline.emulator", "--port", "0"),
            # The limits of the service would be what is measured.
            *(
                "--limit-requests",
                "100000000",
                "--limit-execution-seconds",
                "100000000",
            ),
            *("--state-dir", str(folder), "--port-file", str(port_file)),
        ],
        env=os.environ | {"EMULATOR_CLIENT_SECRET": "benchmark"},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not port_file.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


def _environment(folder: Path, url: str) -> dict[str, str]:
    port = (folder / "emulator" / "port").read_text().strip()
    return os.environ | {
        "DATABASE_URL": url,
        "DATAVERSE_RESOURCE": f"https://localhost:{port}",
        "AZURE_AUTHORITY_HOST": f"https://localhost:{port}",
        "AZURE_TENANT_ID": "7e1a5c2e-0000-4000-8000-00000000a9e0",
        "AZURE_CLIENT_ID": "c11e0000-0000-4000-8000-00000000a9e0",
        "AZURE_CLIENT_SECRET": "benchmark",
        "APEX_CA_BUNDLE": str(folder / "emulator" / "ca.pem"),
        "APEX_STATE_DIR": str(folder / "state"),
    }


if __name__ == "__main__":
    main()
