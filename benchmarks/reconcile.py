"""Comparing a hundred thousand rows with their records: speed, requests and memory.

    python -m benchmarks.reconcile [--rows 100000]

Postgres is the embedded one, Dataverse the emulator without simulated latency; both
share this machine. First everything is compared, then what changed: nothing, and one
record in a thousand. The memory is that of the comparing process, as the operating
system accounts for it.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from benchmarks.million_rows import deliver, pending_rows

_RECONCILE = (
    "import os, resource, sys, time;"
    "from apex_pipeline.postgres.database import Database;"
    "from apex_pipeline.reconcile.run_report import ReconcileOptions;"
    "from apex_pipeline.reconcile.comparison_run import run_reconciliation;"
    "from apex_pipeline.settings import load_settings;"
    "settings = load_settings(os.environ);"
    "database = Database(settings.database_url, application_name='benchmark');"
    "begun = time.monotonic();"
    "report = run_reconciliation(database, settings.dataverse,"
    " settings.token_cache_path, ReconcileOptions(requests=10**9));"
    "seconds = time.monotonic() - begun;"
    "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
    "run = report.run;"
    "print(run.rows_compared, run.changes_read, run.requests, sum(run.counts.values()),"
    " seconds, peak, report.failure or '', sep='|')"
)
_AGE = """
    UPDATE campaign_metrics SET exported_at = exported_at - interval '1 day'
"""
# What a run looks at by key: rows that were marked shortly before the last, or since.
_TOUCH = """
    UPDATE campaign_metrics SET exported_at = now() - interval '1 minute'
    WHERE id IN (SELECT id FROM campaign_metrics LIMIT %s)
"""


def main() -> None:
    """Fill, sync, compare all, compare what changed, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    with (
        tempfile.TemporaryDirectory() as folder,
        pending_rows(Path(folder), rows) as environment,
    ):
        deliver(environment)
        url = environment["DATABASE_URL"]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_AGE)
            connection.execute("VACUUM ANALYZE campaign_metrics")
            _measure("everything", environment)
            _measure("nothing changed", environment)
            connection.execute(_TOUCH, (rows // 1000,))
            _measure(f"{rows // 1000} rows marked anew", environment)


def _measure(what: str, environment: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _RECONCILE],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    compared, changes, requests, wrong, seconds, peak, failure = (
        ended.stdout.strip().split("|")
    )
    if failure or wrong != "0":
        sys.exit(failure or f"{wrong} findings")
    unit = 1024 if sys.platform == "linux" else 1024 * 1024
    speed = int(compared) / float(seconds)
    print(
        f"{what}: {compared} rows and {changes} changes in {float(seconds):.1f} s "
        f"({speed:.0f} rows/s), {requests} requests, "
        f"peak {int(peak) / unit:.0f} MB resident"
    )


if __name__ == "__main__":
    main()
