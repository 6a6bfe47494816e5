"""How fast Dagster's storage grows in production's rhythm, and how large it stays.

    python -m benchmarks.dagster_storage [--minutes 5]

`apex up --demo` runs for so long, with every sensor and schedule ticking, and then each
nightly job once. What one run of a job and one minute of ticks leave in each table gives
a day: a sync at each tick, a refresh of today every fifteen minutes, the nightly jobs
once. With the days for which each is kept, that is the size at which the storage stays.
The run of a job that counts is the median one; the first makes two years of days. Bytes
include indexes, except those of tables with few rows, whose pages are nearly empty.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg

APEX = Path(sys.executable).with_name("apex")
RUNS_A_DAY = {
    "sync_campaign_metrics": 288,
    # `refresh_today` asks for one every fifteen minutes, the schedule for one a night.
    "refresh_daily_rollups": 97,
    "refresh_weekly_rollups": 1 / 7,
    "reconcile_dataverse": 1,
}
_CATCHING_UP_MINUTES = 2
"""The first sync and the first refreshes, which do not count."""
NIGHTLY = ("refresh_weekly_rollups", "reconcile_dataverse")
RUNS_KEPT_DAYS = 30
# `retention` in dagster.yaml.
TICKS_KEPT_DAYS = {"SENSOR SKIPPED": 1, "SENSOR SUCCESS": 7, "SCHEDULE SKIPPED": 3}
TICKS_KEPT_DAYS |= {"SCHEDULE SUCCESS": 30}

# How many rows of a table belong to the median run of each job.
_PER_RUN = """
    SELECT pipeline_name, percentile_disc(0.5) WITHIN GROUP (ORDER BY rows)
    FROM (
        SELECT pipeline_name, (SELECT count(*) FROM {table} t WHERE t.run_id = r.run_id)
            AS rows
        FROM runs r WHERE status = 'SUCCESS'
    ) AS run
    GROUP BY 1 ORDER BY 1
"""
_EVENT_TAGS = (
    "(SELECT e.run_id FROM asset_event_tags JOIN event_logs e ON e.id = event_id)"
)
_TABLES = {
    "event_logs": "event_logs",
    "asset_check_executions": "asset_check_executions",
    "run_tags": "run_tags",
    "runs": "runs",
    "asset_event_tags": _EVENT_TAGS,
}
_TICKS = """
    SELECT type || ' ' || status, count(*) FROM job_ticks
    WHERE create_timestamp > (now() AT TIME ZONE 'UTC') - %s * interval '1 minute'
    GROUP BY 1 ORDER BY 1
"""
_BYTES = """
    SELECT CASE WHEN count(*) < 500 THEN avg(pg_column_size(t.*))
        ELSE pg_total_relation_size('{table}') / count(*) END
    FROM {table} t
"""
_ENDED = """
    SELECT count(*) FROM runs
    WHERE pipeline_name = %s AND status IN ('SUCCESS', 'FAILURE', 'CANCELED')
"""
_LAUNCH = """
mutation($job: String!) {
  launchRun(executionParams: {
    selector: {
      repositoryLocationName: "apex_pipeline"
      repositoryName: "__repository__"
      jobName: $job
    }
    runConfigData: {}
  }) { __typename }
}
"""


def main() -> None:
    """Run, wait, count, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder, _up(Path(folder)) as url:
        served = json.loads((Path(folder) / "local.json").read_text())
        storage = served["DAGSTER_POSTGRES_URL"]
        time.sleep(60 * (_CATCHING_UP_MINUTES + minutes))
        report(storage, minutes)
        secret = (Path(folder) / "webserver.secret").read_text()
        for job in NIGHTLY:
            _run(url, secret, storage, job)
        report(storage, minutes)


def report(storage: str, minutes: float) -> None:
    """Print what a day brings.

    Args:
        storage: URL of Dagster's storage.
        minutes: The last minutes, whose ticks count.
    """
    with psycopg.connect(storage) as connection:
        print(
            f"\n{'table':24} {'rows/day':>9} {'B/row':>7} {'MB/day':>7} {'MB kept':>8}"
        )
        together = 0.0
        for table, source in _TABLES.items():
            statement = _PER_RUN.format(table=source).encode()
            found: dict[str, int] = dict(connection.execute(statement).fetchall())
            a_day = sum(RUNS_A_DAY[job] * found.get(job, 0) for job in RUNS_A_DAY)
            together += _line(connection, table, a_day, RUNS_KEPT_DAYS)
            print("  a run:", ", ".join(f"{job} {rows}" for job, rows in found.items()))
        for kind, count in connection.execute(_TICKS, (minutes,)).fetchall():
            a_day, kept = count * 1440 / minutes, TICKS_KEPT_DAYS.get(kind, 7)
            together += _line(connection, "job_ticks", a_day, kept, kind.lower())
        print(f"together, MB kept: {together:.0f}")


def _line(
    connection: psycopg.Connection, table: str, a_day: float, kept: int, kind: str = ""
) -> float:
    row = connection.execute(_BYTES.format(table=table).encode()).fetchone()
    each = float(row[0] or 0) if row else 0.0
    grown = a_day * each / 1e6
    print(
        f"{kind or table:24} {a_day:9,.0f} {each:7,.0f} {grown:7.1f} {kept * grown:8.0f}"
    )
    return kept * grown


@contextmanager
def _up(folder: Path) -> Iterator[str]:
    """Everything runs; the address of Dagster."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("APEX_", "AZURE_", "DAGSTER_", "DATA"))
    } | {"APEX_STATE_DIR": str(folder), "PYTHONUNBUFFERED": "1"}
    with (folder / "output").open("w+") as output:
        process = subprocess.Popen(
            [APEX, "up", "--demo", "--port", str(port)], env=environment, stdout=output
        )
        try:
            while "Everything runs" not in (folder / "output").read_text():
                if process.poll() is not None:
                    raise SystemExit((folder / "output").read_text())
                time.sleep(1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _run(url: str, secret: str, storage: str, job: str) -> None:
    """Run a job as the UI does, and wait for its end."""
    with psycopg.connect(storage, autocommit=True) as connection:
        before = connection.execute(_ENDED, (job,)).fetchone()
        answer = httpx.post(
            f"{url}/graphql",
            json={"query": _LAUNCH, "variables": {"job": job}},
            headers={"Authorization": f"Bearer {secret}"},
            timeout=60,
        ).json()
        if answer["data"]["launchRun"]["__typename"] != "LaunchRunSuccess":
            raise SystemExit(f"{job} was not launched: {answer}")
        while connection.execute(_ENDED, (job,)).fetchone() == before:
            time.sleep(1)


if __name__ == "__main__":
    main()
