"""Whether the daily work follows what is new, at several sizes of `campaign_metrics`.

A thousand rows are pending and all others exported. The pending page, its mark and the
refresh of today are timed, and the plan of the query is kept beside them.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import psycopg

from apex_pipeline.analytics.rollups.periods import DAILY, Periods
from apex_pipeline.analytics.rollups.rollup_checks import refresh_and_check
from apex_pipeline.postgres import pending_rows
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
        now() - interval '730 days' * (n::float8 / %(rows)s),
        CASE WHEN n > %(pending)s THEN now() END
    FROM generate_series(1, %(rows)s) AS n
"""

_TWINS = (
    "The scan of `twin` is planned and never executed. It looks for ids that differ in case "
    "alone, which only a table with text ids can hold. There, Postgres looks each id up in "
    "the primary key instead: "
    "`apex_pipeline_tests/postgres/test_store.py` counts no scan of a text-id table of "
    "100 000 rows."
)


def growth_table(
    url_of: Callable[[], str], sizes: Sequence[int]
) -> tuple[list[str], dict[str, float]]:
    """Fill a database of each size and measure in it.

    Args:
        url_of: Makes a new database with our schema, and returns its address.
        sizes: Rows of `campaign_metrics`.

    Returns:
        Lines of Markdown: a table, and the plan of the pending page at the largest size.
        Milliseconds of a page, a mark and a refresh, at the smallest and the largest size.
    """
    lines = [
        "| rows | pending page | mark of 1 000 | nothing pending | refresh of today, its rows |",
        "|---|---|---|---|---|",
    ]
    plan: list[str] = []
    figures: dict[str, float] = {}
    for rows in sizes:
        url = url_of()
        _fill(url, rows)
        plan = _plan(url)
        line, taken = _measured(url, rows)
        lines.append(line)
        place = "smallest" if rows == sizes[0] else "largest"
        figures |= {f"{what}_{place}": 1000 * took for what, took in taken.items()}
    lines += [
        "",
        f"The plan of the pending page at {sizes[-1]:,} rows:",
        "",
        *plan,
        "",
        _TWINS,
    ]
    return lines, figures


def _fill(url: str, rows: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_FILL, {"rows": rows, "pending": _PENDING})
        connection.execute("VACUUM ANALYZE campaign_metrics")


def _measured(url: str, rows: int) -> tuple[str, dict[str, float]]:
    with connect(url) as store:
        page = store.ask(pending_rows.page, None, _PENDING)
        reading = _median(lambda: store.ask(pending_rows.page, None, _PENDING))
        began = time.perf_counter()
        marks = store.mark_exported(page, datetime.now(UTC))
        marking = time.perf_counter() - began
        if marks.marked != _PENDING:
            raise RuntimeError(f"{marks.marked} of {_PENDING} rows were marked")
        looking = _median(lambda: store.ask(pending_rows.exists))
    now = datetime.now(UTC)
    today = now.date()
    with Database(url, application_name="benchmark") as database:
        settings = load_analysis_settings({})
        refreshing = _median(
            lambda: refresh_and_check(database, settings, Periods(DAILY, today, today))
        )
    passed = (now - now.replace(hour=0, minute=0)).total_seconds() / 86_400
    of_today = int(rows / 730 * passed)
    times = " | ".join(f"{1000 * s:.1f} ms" for s in (reading, marking, looking))
    line = f"| {rows:,} | {times} | {1000 * refreshing:.0f} ms, {of_today:,} |"
    return line, {"page": reading, "mark": marking, "refresh": refreshing}


def _median(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _plan(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            f"EXPLAIN (ANALYZE, TIMING OFF, BUFFERS OFF) {FIRST_PAGE}".encode(),
            {"limit": _PENDING},
        ).fetchall()
    nodes = [line.strip() for (line,) in found if " on campaign_metrics" in line]
    return ["```", *nodes, "```"]
