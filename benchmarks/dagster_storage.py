"""How fast Dagster's storage grows in production's rhythm, and how large it stays.

    python -m benchmarks.dagster_storage [--minutes 5]

`apex up --demo` runs for so long, with every sensor and schedule ticking. Then two
refreshes of today run, as `refresh_today` asks for them, and each nightly job. A run's
bytes are those of its rows: as stored, with the part of each index that a row takes. The
latest run of a job counts, because the first makes two years of days. A day is a sync at
each tick, a refresh of today every fifteen minutes, and the nightly jobs once. Skipped
ticks do not add up, since each is deleted after a day.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg

from apex_pipeline.defs.analytics.rollup_jobs import range_tags
from apex_pipeline.defs.analytics.rollup_sensors import TODAY_CHANGES

APEX = Path(sys.executable).with_name("apex")
RUNS_A_DAY = {
    "sync_campaign_metrics": 288.0,
    "refresh of today": 95.0,
    # The first one after midnight, and the nightly schedule.
    "refresh_daily_rollups": 2.0,
    "refresh_weekly_rollups": 1 / 7,
    "reconcile_dataverse": 1.0,
}
_CATCHING_UP_MINUTES = 2
"""The first sync and the first refreshes, which do not count."""
_JOB = "refresh_daily_rollups"
RUNS_KEPT_DAYS = 30
# `retention` in dagster.yaml.
TICKS_KEPT_DAYS = {"SENSOR SKIPPED": 1, "SENSOR SUCCESS": 7, "SCHEDULE SKIPPED": 3}
TICKS_KEPT_DAYS |= {"SCHEDULE SUCCESS": 30}

# The latest run of each job, a refresh of some of its assets apart from one of all.
_LATEST = """
    SELECT DISTINCT ON (name) CASE WHEN run_body::json ->> 'asset_selection' IS NOT NULL
        THEN 'refresh of today' ELSE pipeline_name END AS name, run_id
    FROM runs WHERE status = 'SUCCESS' ORDER BY name, id DESC
"""
_TABLES = {
    "event_logs": "run_id = %(run)s",
    "asset_check_executions": "run_id = %(run)s",
    "run_tags": "run_id = %(run)s",
    "runs": "run_id = %(run)s",
    "asset_event_tags": "event_id IN (SELECT id FROM event_logs WHERE run_id = %(run)s)",
}
_ROWS = "SELECT count(*), coalesce(sum(pg_column_size(t.*)), 0) FROM {table} t WHERE "
_TICKS = """
    SELECT type || ' ' || status, count(*), sum(pg_column_size(t.*)) FROM job_ticks t
    WHERE create_timestamp > (now() AT TIME ZONE 'UTC') - %s * interval '1 minute'
    GROUP BY 1 ORDER BY 1
"""
_POINTER_BYTES = 4
# A table of few rows has nearly empty pages; its entries are reckoned at this size.
_INDEX = """
    SELECT CASE WHEN (SELECT count(*) FROM {table}) < 500 THEN 60.0 * count(*)
        ELSE pg_indexes_size('{table}')::float8 / (SELECT count(*) FROM {table}) END
    FROM pg_index WHERE indrelid = '{table}'::regclass
"""
_TEXT = """
    SELECT coalesce(dagster_event_type, 'log line'), count(*), sum(length(event))
    FROM event_logs WHERE run_id = %s GROUP BY 1 ORDER BY 3 DESC
"""
_ENDED = """
    SELECT count(*) FROM runs
    WHERE pipeline_name = %s AND status IN ('SUCCESS', 'FAILURE', 'CANCELED')
"""
_LAUNCH = """
mutation($job: String!, $tags: [ExecutionTag!]!, $assets: [AssetKeyInput!]) {
  launchRun(executionParams: {
    selector: {
      repositoryLocationName: "apex_pipeline"
      repositoryName: "__repository__"
      jobName: $job
      assetSelection: $assets
    }
    runConfigData: {}
    executionMetadata: { tags: $tags }
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
        ticks = _ticks(storage, minutes)
        secret = (Path(folder) / "webserver.secret").read_text()
        dagster = _Dagster(url, secret, storage)
        today = str(datetime.now(UTC).date())
        tags = range_tags(today, today)
        _run(dagster, _JOB, tags)
        for _ in range(2):
            _run(dagster, _JOB, tags, [key.path for key in TODAY_CHANGES])
        _run(dagster, "reconcile_dataverse")
        report(storage, minutes, ticks)


def _ticks(storage: str, minutes: float) -> list[tuple[str, int, int]]:
    with psycopg.connect(storage) as connection:
        return connection.execute(_TICKS, (minutes,)).fetchall()


def report(storage: str, minutes: float, ticks: list[tuple[str, int, int]]) -> None:
    """Print what each run and a day bring.

    Args:
        storage: URL of Dagster's storage.
        minutes: How long ticks were counted.
        ticks: Rows and bytes of each kind of tick in that time.
    """
    with psycopg.connect(storage) as connection:
        latest: dict[str, str] = dict(connection.execute(_LATEST).fetchall())
        together = 0.0
        for name, run in latest.items():
            rows, size = _print_run(connection, name, run)
            a_day = RUNS_A_DAY.get(name, 0.0)
            together += a_day * size
            print(
                f"{name}: {rows} rows, {size / 1e3:.1f} kB; {a_day:.1f} runs a day, "
                f"{a_day * size / 1e6:.2f} MB"
            )
        for kind, count, size in ticks:
            each = size / count + _POINTER_BYTES + _index_bytes(connection, "job_ticks")
            a_day, kept = count * 1440 / minutes, TICKS_KEPT_DAYS.get(kind, 7)
            print(
                f"ticks, {kind.lower()}: {a_day:,.0f} a day of {each:,.0f} B, "
                f"{a_day * each / 1e6:.2f} MB, kept for {kept} days"
            )
            if kept > 1:
                together += a_day * each
        print(f"growth a day: {together / 1e6:.1f} MB")
        print(f"kept: {RUNS_KEPT_DAYS * together / 1e6:,.0f} MB")


def _print_run(
    connection: psycopg.Connection, name: str, run: str
) -> tuple[int, float]:
    """Print a run's text by type of event and bytes by table; return both sums."""
    print(f"\n{name}, text of its events:")
    for kind, count, size in connection.execute(_TEXT, (run,)).fetchall():
        print(f"  {kind:32} {count:4} {size:8,} B")
    rows, together = 0, 0.0
    for table, condition in _TABLES.items():
        statement = (_ROWS.format(table=table) + condition).encode()
        row = connection.execute(statement, {"run": run}).fetchone()
        count, size = row or (0, 0)
        with_index = size + count * (_POINTER_BYTES + _index_bytes(connection, table))
        print(f"  {table:32} {count:4} {with_index:8,.0f} B stored, with indexes")
        rows, together = rows + count, together + with_index
    return rows, together


def _index_bytes(connection: psycopg.Connection, table: str) -> float:
    row = connection.execute(_INDEX.format(table=table).encode()).fetchone()
    return float(row[0]) if row else 0.0


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


@dataclass(frozen=True, slots=True)
class _Dagster:
    """Where Dagster answers, the secret that it asks for, and its storage."""

    url: str
    secret: str
    storage: str


def _run(
    dagster: _Dagster,
    job: str,
    tags: Mapping[str, str] | None = None,
    assets: Sequence[Sequence[str]] | None = None,
) -> None:
    """Run a job as the UI does, and wait for its end."""
    variables = {
        "job": job,
        "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()],
        "assets": [{"path": path} for path in assets] if assets else None,
    }
    with psycopg.connect(dagster.storage, autocommit=True) as connection:
        before = connection.execute(_ENDED, (job,)).fetchone()
        answer = httpx.post(
            f"{dagster.url}/graphql",
            json={"query": _LAUNCH, "variables": variables},
            headers={"Authorization": f"Bearer {dagster.secret}"},
            timeout=60,
        ).json()
        if answer["data"]["launchRun"]["__typename"] != "LaunchRunSuccess":
            raise SystemExit(f"{job} was not launched: {answer}")
        while connection.execute(_ENDED, (job,)).fetchone() == before:
            time.sleep(1)


if __name__ == "__main__":
    main()
