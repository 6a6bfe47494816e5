"""Compute daily and weekly rollups in Postgres, one range of periods at a time.

One transaction replaces a range. One statement fills it and reads each raw row once for
each time zone, through the index on `created_at`, so the cost is proportional to the
range. Readers see the old rows until the commit. A second refresh waits at `LOCK TABLE`,
before its snapshot is taken, and then sees everything that the first one wrote.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import Connection

from apex_pipeline.analytics.rollups.columns import (
    ADDITIVE,
    CAMPAIGN,
    FINGERPRINT,
    MEASURES,
    NUMBERS,
    PHASE,
    is_usable,
)
from apex_pipeline.analytics.rollups.periods import (
    DAILY,
    WEEKLY,
    Periods,
    period_rows,
)
from apex_pipeline.analytics.rollups.weekly_changes import CHANGES, WeeklyChange
from apex_pipeline.errors import NoProgressError
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import AnalysisSettings

_NUMBERS = ", ".join(
    f"CASE WHEN {is_usable(name)} THEN {name} END AS {name}" for name in NUMBERS
)

RAW_ROWS = f"""
    SELECT {CAMPAIGN.expression} AS campaign_id, {PHASE.expression} AS phase,
        {_NUMBERS}, created_at
    FROM campaign_metrics
"""  # noqa: S608  constants
"""SQL for the raw rows, as rollups group and fingerprint them.

Numbers that sums cannot take become null, so sums leave them out; a check names the row."""

CHECKSUM = f"coalesce(sum(hash_record_extended(ROW({', '.join(FINGERPRINT)}), 0)), 0)"
"""SQL for a fingerprint of raw rows that does not depend on their order. Fingerprints
of parts add up to that of the whole."""

_MEASURE_NAMES = ", ".join(column.name for column in MEASURES)
_MEASURES = ",\n".join(f"{c.expression} AS {c.name}" for c in MEASURES)

# The second grouping set has a row even if there are no raw rows.
_FILL = f"""
    WITH period AS MATERIALIZED ({period_rows()}),
    measured AS MATERIALIZED (
        SELECT period.time_zone, period.starts_on, made.*
        FROM period CROSS JOIN LATERAL (
            SELECT campaign_id, phase, grouping(campaign_id) = 1 AS is_total,
                {CHECKSUM} AS raw_checksum,
                {_MEASURES}
            FROM ({RAW_ROWS}
                WHERE created_at >= period.starts_at AND created_at < period.ends_at
            ) AS raw
            GROUP BY GROUPING SETS ((campaign_id, phase), ())
        ) AS made
    ),
    total AS (
        INSERT INTO {{total}} (time_zone, {{label}}, {_MEASURE_NAMES})
        SELECT time_zone, starts_on, {_MEASURE_NAMES} FROM measured WHERE is_total
    ),
    source AS (
        INSERT INTO rollup_source
            (grain, time_zone, starts_on, raw_rows, raw_checksum)
        SELECT '{{grain}}', time_zone, starts_on, runs, raw_checksum
        FROM measured WHERE is_total
    )
    INSERT INTO {{rollup}} (time_zone, {{label}}, campaign_id, phase, {_MEASURE_NAMES})
    SELECT time_zone, starts_on, campaign_id, phase, {_MEASURE_NAMES}
    FROM measured WHERE NOT is_total
"""  # noqa: S608  constants

# Rows of a time zone that is no longer configured would become outdated.
_CLEAR = """
    DELETE FROM {table}
    WHERE {label} BETWEEN %(first)s AND %(last)s OR time_zone <> ALL(%(zones)s)
"""
_CLEAR_SOURCE = """
    DELETE FROM rollup_source
    WHERE grain = '{grain}'
        AND (starts_on BETWEEN %(first)s AND %(last)s OR time_zone <> ALL(%(zones)s))
"""

_MADE_WEEKS = """
    SELECT DISTINCT week FROM weekly_rollup_total
    WHERE week BETWEEN %(first)s AND %(last)s AND time_zone = ANY(%(zones)s)
    ORDER BY week
"""
_KEEP_ZONE = """
    UPDATE business_time_zone SET name = %(zone)s WHERE name <> %(zone)s
"""

_ROWS = "SELECT {label}, count(*) FROM {rollup} WHERE {label} BETWEEN %(first)s AND "
_ROWS += "%(last)s GROUP BY {label}"

_TOTALS = "SELECT count(*) FROM {total} WHERE {label} BETWEEN %(first)s AND %(last)s"


def _change(change: WeeklyChange) -> str:
    now, before = f"this.{change.of}", f"before.{change.of}"
    if change.kind == "figure":
        return f"{change.name} = {now} - {before}"
    # A campaign that did not run in a computed week counts as zero in it.
    counted = f"CASE WHEN known.week IS NOT NULL THEN coalesce({before}, 0) END"
    if change.kind == "count":
        return f"{change.name} = {now} - {counted}"
    return f"{change.name} = round(100 * ({now} - {before}) / nullif({before}, 0), 4)"


# When a campaign stops, the fall to zero belongs to the first week without it.
_CLEAR_STOPPED = """
    DELETE FROM weekly_campaign_rollup
    WHERE runs = 0 AND week BETWEEN %(first)s AND %(last)s::date + 7
"""
_ADD_STOPPED = f"""
    INSERT INTO weekly_campaign_rollup
        (time_zone, week, campaign_id, phase, slo_p95_ms, {", ".join(ADDITIVE)})
    SELECT known.time_zone, known.week, before.campaign_id, before.phase,
        known.slo_p95_ms, {", ".join("0" for _ in ADDITIVE)}
    FROM weekly_rollup_total AS known
    JOIN weekly_campaign_rollup AS before
        ON before.time_zone = known.time_zone AND before.week = known.week - 7
            AND before.runs > 0
    WHERE known.week BETWEEN %(first)s AND %(last)s::date + 7
    ON CONFLICT (time_zone, week, campaign_id, phase) DO NOTHING
"""  # noqa: S608  constants

_COMPARE = f"""
    UPDATE {{table}} AS changed
    SET {", ".join(_change(c).replace("this.", "changed.") for c in CHANGES)}
    FROM {{table}} AS this
    LEFT JOIN weekly_rollup_total AS known
        ON known.time_zone = this.time_zone AND known.week = this.week - 7
    LEFT JOIN {{table}} AS before
        ON before.time_zone = this.time_zone AND before.week = this.week - 7
            {{same}}
    WHERE this.ctid = changed.ctid
        AND changed.week BETWEEN %(first)s AND %(last)s::date + 7
"""  # noqa: S608  constants


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh wrote.

    Attributes:
        rows: Rows of campaigns and phases, in all time zones, by the period's first day.
    """

    periods: Periods
    rows: dict[date, int]


def refresh(
    database: Database, settings: AnalysisSettings, periods: Periods
) -> Refreshed:
    """Recompute the periods from the raw rows, in all configured time zones.

    Raises:
        NoProgressError: Postgres discarded the new rows; nothing was changed.
        DatabaseError: One of its kinds; nothing was changed.
    """
    return database.transact(
        lambda connection: refresh_in(connection, settings, periods), repeatable=True
    )


def refresh_in(
    connection: Connection, settings: AnalysisSettings, periods: Periods
) -> Refreshed:
    """Do the same at the start of the caller's transaction.

    Later reads in the transaction see the same raw rows as the refresh.
    """
    # Not an advisory lock: requesting one is a query, which takes the snapshot before
    # the wait, so the changes that it waited for would be invisible.
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    # Enough to sort the rows of a week in memory.
    connection.exec_driver_sql("SET LOCAL work_mem = '64MB'")
    connection.exec_driver_sql(
        f"LOCK TABLE {DAILY.total}, {WEEKLY.total} IN SHARE ROW EXCLUSIVE MODE"
    )
    connection.exec_driver_sql(_KEEP_ZONE, {"zone": settings.time_zone})
    for made in _together(connection, settings, periods):
        _replace(connection, settings, made)
    grain = periods.grain
    found = connection.exec_driver_sql(
        _ROWS.format(label=grain.label, rollup=grain.rollup),
        {"first": periods.first, "last": periods.last},
    )
    rows = dict.fromkeys(periods.labels(), 0) | dict(found.tuples().all())
    return Refreshed(periods, rows)


def _together(
    connection: Connection, settings: AnalysisSettings, periods: Periods
) -> list[Periods]:
    """The periods, and those that must be computed from the same snapshot.

    A week is the sum of its days, so a day is computed together with its week, if that
    exists, and a week with all its days.
    """
    first = periods.first - timedelta(days=periods.first.weekday())
    last = periods.last - timedelta(days=periods.last.weekday())
    weeks = Periods(WEEKLY, first, last)
    if periods.grain is WEEKLY:
        return [Periods(DAILY, first, last + timedelta(days=6)), weeks]
    made = connection.exec_driver_sql(
        _MADE_WEEKS,
        {"first": first, "last": last, "zones": list(settings.time_zones)},
    )
    known = [week for (week,) in made]
    if not known:
        return [periods]
    days = Periods(
        DAILY,
        min(periods.first, known[0]),
        max(periods.last, known[-1] + timedelta(days=6)),
    )
    return [days, Periods(WEEKLY, known[0], known[-1])]


def _replace(
    connection: Connection, settings: AnalysisSettings, periods: Periods
) -> None:
    grain = periods.grain
    values = {
        "first": periods.first,
        "last": periods.last,
        "step": grain.days,
        "zones": list(settings.time_zones),
        "slo": settings.slo_p95_ms,
    }
    names = {
        "grain": grain.name,
        "label": grain.label,
        "rollup": grain.rollup,
        "total": grain.total,
    }
    for table in (grain.rollup, grain.total):
        connection.exec_driver_sql(
            _CLEAR.format(table=table, label=grain.label), values
        )
    connection.exec_driver_sql(_CLEAR_SOURCE.format(grain=grain.name), values)
    connection.exec_driver_sql(_FILL.format(**names), values)
    if grain is WEEKLY:
        _compare_weeks(connection, values)
    _require_totals(connection, periods, values)


def _require_totals(
    connection: Connection, periods: Periods, values: dict[str, object]
) -> None:
    """Check that Postgres kept the totals; each period has one, even without raw rows.

    Raises:
        NoProgressError: It kept none; roll the transaction back.
    """
    grain = periods.grain
    kept = connection.exec_driver_sql(
        _TOTALS.format(total=grain.total, label=grain.label), values
    ).scalar_one()
    if not kept:
        raise NoProgressError(
            f"Postgres accepted the totals of {periods.first} to {periods.last}, but "
            f"{grain.total} holds none of them. Check the triggers, rules and policies of "
            "that table. The previous totals are unchanged."
        )


def _compare_weeks(connection: Connection, values: dict[str, object]) -> None:
    for statement in (_CLEAR_STOPPED, _ADD_STOPPED):
        connection.exec_driver_sql(statement, values)
    same = "AND before.campaign_id = this.campaign_id AND before.phase = this.phase"
    for table, condition in ((WEEKLY.rollup, same), (WEEKLY.total, "")):
        connection.exec_driver_sql(_COMPARE.format(table=table, same=condition), values)
