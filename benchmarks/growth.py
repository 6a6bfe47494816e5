"""Whether the daily work follows what is new: `python -m benchmarks.growth [--rows N …]`.

For each size of `campaign_metrics`, a thousand rows are pending and all others exported.
Prints how long the pending page, the mark and the refresh of today take, each beside the
plan of its query.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from apex_pipeline.analytics.rollups.periods import DAILY, Periods
from apex_pipeline.analytics.rollups.rollup_checks import refresh_and_check
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.postgres import migrations, pending_rows
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.pending_rows import FIRST_PAGE
from apex_pipeline.postgres.store import connect
from apex_pipeline.settings import load_analysis_settings

_PENDING = 1000
_REPEATS = 5
_FILL = """
    INSERT INTO campaign_metrics (
        id, campaign_id, run_id, phase, agents_total, agents_successful,
        assets_generated, tokens_in, tokens_out, cost_usd, latency_p95_ms,
        latency_avg_ms, success_rate_pct, created_at, exported_at
    )
    SELECT gen_random_uuid(),
        ('00000000-0000-0000-0000-' || lpad((n %% 50)::text, 12, '0'))::uuid,
        gen_random_uuid(), '2-3', 5, 4,
        n %% 40, 1500 + n %% 1000, 3000, n %% 1000 / 1000.0, 51200, 42000, 80,
        now() - interval '730 days' * n / %(rows)s,
        CASE WHEN n > %(pending)s THEN now() END
    FROM generate_series(1, %(rows)s) AS n
"""


def main() -> None:
    """Fill each size, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="apex-growth-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", settings={"fsync": "off"})
        server.start()
        try:
            for number, rows in enumerate(given.rows):
                server.create_database(f"growth_{number}")
                measure(server.url(f"growth_{number}"), rows)
        finally:
            server.stop()


def measure(url: str, rows: int) -> None:
    """Fill one database and print its figures."""
    migrations.apply(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_FILL, {"rows": rows, "pending": _PENDING})
        connection.execute("VACUUM ANALYZE campaign_metrics")
    print(f"\n{rows:,} rows, {_PENDING:,} of them pending")
    with connect(url) as store:
        page = store.pending_page(None, _PENDING)
        seconds = _median(lambda: store.pending_page(None, _PENDING))
        print(f"pending page: {1000 * seconds:.1f} ms")
        _explain(url, FIRST_PAGE)
        began = time.perf_counter()
        marks = store.mark_exported(page, datetime.now(UTC))
        print(f"mark {marks.marked:,}: {1000 * (time.perf_counter() - began):.1f} ms")
        print(
            f"nothing pending: {1000 * _median(lambda: store.ask(pending_rows.exists)):.1f} ms"
        )
    today = datetime.now(UTC).date()
    with Database(url, application_name="benchmark") as database:
        settings = load_analysis_settings({})
        seconds = _median(
            lambda: refresh_and_check(database, settings, Periods(DAILY, today, today))
        )
    print(f"refresh of today: {1000 * seconds:.1f} ms")


def _median(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _explain(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        plan = connection.execute(
            f"EXPLAIN {statement}".encode(), {"limit": _PENDING}
        ).fetchall()
    nodes = [line for (line,) in plan if "campaign_metrics" in line]
    print("\n".join(f"    {node.strip()}" for node in nodes))


if __name__ == "__main__":
    main()
