"""Check rollups in the transaction that computed them.

Raw rows that arrive meanwhile therefore cannot make a correct rollup look wrong. Each
check reads only the computed periods, or an index.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from apex_pipeline.analytics.rollups.columns import ADDITIVE, NUMBERS, is_usable
from apex_pipeline.analytics.rollups.late_days import first_day_in
from apex_pipeline.analytics.rollups.periods import WEEKLY, Periods
from apex_pipeline.analytics.rollups.refresh import RAW_ROWS, Refreshed, refresh_in
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import AnalysisSettings


@dataclass(frozen=True, slots=True)
class RollupMismatch:
    """The outcome of one check.

    Attributes:
        wrong: How many things are wrong; of rows, at most a hundred are counted.
        examples: The first of them, in words.
    """

    check: str
    wrong: int
    examples: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong


_EXAMPLES = 5

# From the first instant of the range in any time zone to the last one; with two hours
# more at either end, in which the clock may be changed. The date decides.
_NEARBY = """
    created_at >= (
        SELECT min(%(first)s::timestamp AT TIME ZONE name) - interval '2 hours'
        FROM unnest(%(zones)s::text[]) AS name
    )
    AND created_at < (
        SELECT max((%(last)s::timestamp + make_interval(days => %(step)s))
            AT TIME ZONE name) + interval '2 hours'
        FROM unnest(%(zones)s::text[]) AS name
    )
"""

# The date is worked out from the instant, where the rollup goes by ranges of instants;
# once for each quarter of an hour, since every time zone's offset is a multiple of one.
# The sums of campaigns and those of all are looked at each apart.
_RAW_LABEL = {
    "day": "(quarter AT TIME ZONE zone.name)::date",
    "week": "date_trunc('week', quarter AT TIME ZONE zone.name)::date",
}
_SUMS = ", ".join(f"sum({name})::numeric AS {name}" for name in ADDITIVE)
# As in `rollup_columns`.
_SUMS = _SUMS.replace("sum(cost_usd)::numeric", "sum(cost_usd::numeric)")
_RAW_SUMS = _SUMS.replace("sum(runs)", "count(*)")


def _row(alias: str) -> str:
    return ", ".join(f"coalesce({alias}.{name}, 0)" for name in ADDITIVE)


_AS_MADE = f"""
    WITH quarters AS MATERIALIZED (
        SELECT date_bin('15 minutes', created_at, timestamptz '2000-01-01 00:00+00')
            AS quarter, {_RAW_SUMS}
        FROM ({RAW_ROWS} WHERE {_NEARBY}) AS raw GROUP BY 1
    ),
    raw AS (
        SELECT zone.name AS time_zone, {{raw_label}} AS label, {_SUMS}
        FROM quarters CROSS JOIN unnest(%(zones)s::text[]) AS zone (name)
        WHERE {{raw_label}} BETWEEN %(first)s AND %(last)s
        GROUP BY 1, 2
    ),
    parts AS (
        SELECT time_zone, {{label}} AS label, {_SUMS} FROM {{rollup}}
        WHERE {{label}} BETWEEN %(first)s AND %(last)s GROUP BY 1, 2
    ),
    whole AS (
        SELECT time_zone, {{label}} AS label, {", ".join(ADDITIVE)} FROM {{total}}
        WHERE {{label}} BETWEEN %(first)s AND %(last)s
    )
    SELECT label, time_zone, coalesce(raw.runs, 0), parts.runs, whole.runs
    FROM raw FULL JOIN parts USING (time_zone, label)
    FULL JOIN whole USING (time_zone, label)
    WHERE whole.runs IS NULL
        OR ({_row("raw")}) IS DISTINCT FROM ({_row("parts")})
        OR ({_row("raw")}) IS DISTINCT FROM ({_row("whole")})
    ORDER BY label, time_zone
"""  # noqa: S608  constants

_GAPS = """
    SELECT time_zone, earlier, later FROM (
        SELECT time_zone, {label} AS later,
            lag({label}) OVER (PARTITION BY time_zone ORDER BY {label}) AS earlier
        FROM {total}
    ) AS followed
    WHERE later - earlier > %(step)s
    ORDER BY later DESC, time_zone
"""

_IMPOSSIBLE = f"""
    SELECT created_at, id::text FROM campaign_metrics
    WHERE {_NEARBY}
        AND (agents_successful > agents_total
            OR {" OR ".join(f"{n} < 0 OR NOT {is_usable(n)}" for n in NUMBERS)})
    ORDER BY created_at LIMIT {{limit}}
"""  # noqa: S608  constants
# As text: Postgres has times that Python has not, such as infinity.
_OUTSIDE = """
    (SELECT 'before the history' AS wrong, id::text, created_at::text
     FROM campaign_metrics
     WHERE created_at < (%(start)s::date - 1)::timestamp AT TIME ZONE 'UTC' LIMIT {limit})
    UNION ALL
    (SELECT 'in the future', id::text, created_at::text FROM campaign_metrics
     WHERE created_at > now() + interval '5 minutes' LIMIT {limit})
    UNION ALL
    (SELECT 'without a time', id::text, created_at::text FROM campaign_metrics
     WHERE created_at IS NULL LIMIT {limit})
"""
_COST_JUMPS = """
    SELECT made.day, made.time_zone, made.cost_usd, usual.cost
    FROM daily_rollup_total AS made
    CROSS JOIN LATERAL (
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY earlier.cost_usd)::numeric
            AS cost, count(*) AS days
        FROM daily_rollup_total AS earlier
        WHERE earlier.time_zone = made.time_zone AND earlier.runs > 0
            AND earlier.day IN (
                SELECT made.day - 7 * number FROM generate_series(1, 8) AS number
            )
    ) AS usual
    WHERE made.day BETWEEN greatest(%(first)s::date, %(last)s::date - 6) AND %(last)s
        AND usual.days >= 3 AND made.cost_usd > 2 * usual.cost
    ORDER BY made.day, made.time_zone
"""
_WEEKS = f"""
    WITH days AS (
        SELECT total.time_zone, date_trunc('week', total.day)::date AS week,
            max(latency_p95_worst_ms) AS worst, min(first_run_at) AS first_run_at,
            max(last_run_at) AS last_run_at, {_SUMS.replace("sum(", "sum(total.")}
        FROM daily_rollup_total AS total
        WHERE total.day >= %(first)s AND total.day < %(last)s::date + 7
        GROUP BY 1, 2 HAVING count(*) = 7
    )
    SELECT weeks.week, weeks.time_zone, weeks.runs, days.runs, weeks.cost_usd,
        days.cost_usd
    FROM weekly_rollup_total AS weeks
    JOIN days ON days.time_zone = weeks.time_zone AND days.week = weeks.week
    WHERE ({_row("weeks")}, weeks.latency_p95_worst_ms,
            weeks.first_run_at, weeks.last_run_at)
        IS DISTINCT FROM ({_row("days")}, days.worst,
            days.first_run_at, days.last_run_at)
    ORDER BY 1, 2
"""  # noqa: S608  constants


MATCHES_RAW_ROWS = "matches_raw_rows"
NO_GAP = "no_gap"
NO_IMPOSSIBLE_VALUE = "no_impossible_value"
NO_ROW_OUTSIDE_HISTORY = "no_row_outside_history"
NO_COST_JUMP = "no_cost_jump"
WEEKS_EQUAL_DAYS = "weeks_equal_days"

_ROW_LIMIT = 100


@dataclass(frozen=True, slots=True)
class _RollupCheck:
    statement: str
    words: Callable[..., str]


_ALWAYS = {
    MATCHES_RAW_ROWS: _RollupCheck(
        _AS_MADE,
        lambda label, zone, raw, parts, whole: (
            f"{label} {zone}: {raw} raw rows, {parts} in campaigns, {whole} in total"
        ),
    ),
    NO_GAP: _RollupCheck(
        _GAPS, lambda zone, before, after: f"{zone}: nothing from {before} to {after}"
    ),
}
_DAILY = {
    NO_IMPOSSIBLE_VALUE: _RollupCheck(
        _IMPOSSIBLE, lambda at, key: f"row {key} of {at:%F %T}"
    ),
    NO_ROW_OUTSIDE_HISTORY: _RollupCheck(
        _OUTSIDE, lambda wrong, key, at: f"row {key} of {at}: {wrong}"
    ),
    NO_COST_JUMP: _RollupCheck(
        _COST_JUMPS,
        lambda day, zone, cost, usual: (
            f"{day} {zone}: {cost:,.2f} US dollars; such weekdays mostly cost "
            f"{usual:,.2f}"
        ),
    ),
}
_WEEKLY = {
    WEEKS_EQUAL_DAYS: _RollupCheck(
        _WEEKS,
        lambda week, zone, runs, days, cost, days_cost: (
            f"{week} {zone}: {runs} runs and {cost:,.2f} US dollars, its days {days} and "
            f"{days_cost:,.2f}"
        ),
    )
}
DAILY_CHECKS = (*_ALWAYS, *_DAILY)
WEEKLY_CHECKS = (*_ALWAYS, *_WEEKLY)


@dataclass(frozen=True, slots=True)
class Made:
    """A refresh, and the results of its checks."""

    refreshed: Refreshed
    findings: tuple[RollupMismatch, ...]


def refresh_and_check(
    database: Database, settings: AnalysisSettings, periods: Periods
) -> Made:
    """Recompute the periods, and check them before they become visible.

    A failed check does not undo the refresh: the figures are those of the raw rows.

    Raises:
        DatabaseError: One of its kinds; nothing was changed.
    """

    def work(connection: Connection) -> Made:
        refreshed = refresh_in(connection, settings, periods)
        return Made(refreshed, tuple(check(connection, settings, periods)))

    return database.transact(work, repeatable=True)


def check(
    connection: Connection, settings: AnalysisSettings, periods: Periods
) -> list[RollupMismatch]:
    """Run the checks for these periods."""
    grain = periods.grain
    values = {
        "first": periods.first,
        "last": periods.last,
        "step": grain.days,
        "zones": list(settings.time_zones),
        "start": first_day_in(connection, settings),
    }
    names = {
        "label": grain.label,
        "rollup": grain.rollup,
        "total": grain.total,
        "raw_label": _RAW_LABEL[grain.name],
        "limit": _ROW_LIMIT,
    }
    findings = []
    for name, one in (_ALWAYS | (_WEEKLY if grain is WEEKLY else _DAILY)).items():
        rows: Sequence[Sequence[object]] = connection.exec_driver_sql(
            one.statement.format(**names), values
        ).all()
        examples = tuple(one.words(*row) for row in rows[:_EXAMPLES])
        findings.append(RollupMismatch(name, len(rows), examples))
    return findings
