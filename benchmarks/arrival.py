"""How long rows wait with `APEX_SYNC_ON_ARRIVAL`: `python -m benchmarks.arrival`.

`apex up` runs with the emulator, and a row is written every second. Prints the time from
`created_at` to `exported_at`, and what it cost.
"""

import argparse
import json
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from benchmarks.idle import (
    APEX,
    environment,
    free_port,
    print_difference,
    sample,
    storage,
)

ROW = """
    INSERT INTO campaign_metrics (
        campaign_id, run_id, agents_total, agents_successful, assets_generated,
        tokens_in, tokens_out, cost_usd, latency_p95_ms, latency_avg_ms, success_rate_pct
    ) VALUES (gen_random_uuid(), gen_random_uuid(), 5, 4, 12, 1500, 3000, 0.01, 900, 500, 80)
"""
_WAITS = """
    SELECT extract(epoch FROM exported_at - created_at)::float8 FROM campaign_metrics
    WHERE exported_at IS NOT NULL
"""
_RUNS = """
    SELECT pipeline_name, count(*), avg(rows)::float8
    FROM (
        SELECT pipeline_name, run_id, count(*) AS rows
        FROM runs JOIN event_logs USING (run_id)
        WHERE status = 'SUCCESS' AND runs.start_time >= %s
        GROUP BY pipeline_name, run_id
    ) AS each_run
    GROUP BY pipeline_name ORDER BY pipeline_name
"""
_BUSY = """
    SELECT count(*),
        count(*) FILTER (WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED'))
    FROM runs
"""
_TRAIL_SECONDS = 40
_SETTLING_SECONDS = 300
_CALM_SECONDS = 5


def main() -> None:
    """Start, write a row a second, wait for the last, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--interval", default="15s")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="apex-arrival-") as name:
        folder = Path(name)
        variables = environment(folder) | {"APEX_SYNC_ON_ARRIVAL": given.interval}
        up = subprocess.Popen(
            [str(APEX), "up", "--port", str(free_port())],
            env=variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            url = storage(folder)
            settle(url)
            before = sample(up.pid, url)
            began = time.time()
            waits = write_and_wait(folder, given.minutes)
            after = sample(up.pid, url)
            runs = rows_of_runs(url, began)
        finally:
            up.send_signal(signal.SIGINT)
            up.wait()
    waits.sort()
    print(
        f"{len(waits)} rows, created to exported: median {statistics.median(waits):.1f} s, "
        f"P95 {waits[int(0.95 * (len(waits) - 1))]:.1f} s, longest {waits[-1]:.1f} s"
    )
    print_difference(before, after)
    for job, number, rows in runs:
        print(f"{job}: {number} runs, {rows:.0f} event-log rows a run")


def settle(url: str) -> None:
    """Wait until the runs that follow a first start have ended."""
    for _ in range(_SETTLING_SECONDS):
        time.sleep(1)
        with psycopg.connect(url) as connection:
            row = connection.execute(_BUSY).fetchone() or (0, 1)
        if row[0] and not row[1]:
            time.sleep(_CALM_SECONDS)
            return
    raise TimeoutError("the first runs have not ended")


def rows_of_runs(url: str, since: float) -> list[tuple[str, int, float]]:
    """By job: successful runs that started since then, and event-log rows of each."""
    with psycopg.connect(url) as connection:
        return [(str(j), n, r) for j, n, r in connection.execute(_RUNS, [since])]


def write_and_wait(folder: Path, minutes: float) -> list[float]:
    """Write a row a second; return how long each waited."""
    database_url = json.loads((folder / "local.json").read_text())["DATABASE_URL"]
    began = time.monotonic()
    with psycopg.connect(database_url, autocommit=True) as connection:
        for number in range(int(60 * minutes)):
            time.sleep(max(began + number - time.monotonic(), 0.0))
            connection.execute(ROW)
        time.sleep(_TRAIL_SECONDS)
        return [float(seconds) for (seconds,) in connection.execute(_WAITS)]


if __name__ == "__main__":
    main()
