"""Read the rollups: totals of days and weeks, and the history."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from apex_pipeline.analytics.rollups.periods import Grain, Periods
from apex_pipeline.postgres.database import Database

_TOTALS = """
    SELECT {label}, runs, success_rate_pct, assets_generated, tokens_in, tokens_out,
        cost_usd, latency_p95_median_ms
    FROM {total}
    WHERE time_zone = %(zone)s AND {label} BETWEEN %(first)s AND %(last)s
    ORDER BY {label}
"""

_HISTORY = """
    SELECT day, is_computed, runs, success_rate_pct, assets_generated, tokens_in,
        tokens_out, cost_usd, latency_p95_worst_ms, latency_p95_median_ms, runs_avg_7d,
        cost_avg_7d_usd, cost_before_usd, (
            SELECT count(DISTINCT campaign_id) FROM daily_campaign_rollup AS part
            WHERE part.time_zone = %(zone)s AND part.day = history.day
        )
    FROM campaign_history(%(days)s, %(zone)s) AS history
"""

_COLUMNS = """
    SELECT attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum)
    FROM pg_attribute
    WHERE attrelid = to_regclass(%(relation)s) AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
"""


@dataclass(frozen=True, slots=True)
class PeriodTotal:
    """Figures of a day or week over all campaigns, in one time zone."""

    label: date
    runs: int
    success_rate_pct: Decimal | None
    assets_generated: Decimal
    tokens_in: Decimal
    tokens_out: Decimal
    cost_usd: Decimal
    latency_p95_median_ms: Decimal | None


@dataclass(frozen=True, slots=True)
class HistoryDay:
    """A day of the history; figures are None until it is computed.

    Attributes:
        campaigns: Number of campaigns that ran.
    """

    day: date
    is_computed: bool
    runs: int | None
    success_rate_pct: Decimal | None
    assets_generated: Decimal | None
    tokens_in: Decimal | None
    tokens_out: Decimal | None
    cost_usd: Decimal | None
    latency_p95_worst_ms: Decimal | None
    latency_p95_median_ms: Decimal | None
    runs_avg_7d: Decimal | None
    cost_avg_7d_usd: Decimal | None
    cost_before_usd: Decimal | None
    campaigns: int


@dataclass(frozen=True, slots=True)
class DescribedColumn:
    """A column of a table or view, as its comment describes it."""

    name: str
    type: str
    description: str


def totals(
    database: Database, grain: Grain, zone: str, periods: Periods
) -> list[PeriodTotal]:
    """Read the totals of computed days or weeks, oldest first.

    Raises:
        DatabaseError: One of its kinds.
    """
    statement = _TOTALS.format(label=grain.label, total=grain.total)
    values = {"zone": zone, "first": periods.first, "last": periods.last}

    def read(connection: Connection) -> list[PeriodTotal]:
        rows = connection.exec_driver_sql(statement, values)
        return [PeriodTotal(*row) for row in rows]

    return database.transact(read, repeatable=True)


def history(database: Database, days: int, zone: str) -> list[HistoryDay]:
    """Read the last whole days of a time zone, oldest first.

    Raises:
        DatabaseError: One of its kinds.
    """
    values = {"days": days, "zone": zone}

    def read(connection: Connection) -> list[HistoryDay]:
        rows = connection.exec_driver_sql(_HISTORY, values)
        return [HistoryDay(*map(_known, row)) for row in rows]

    return database.transact(read, repeatable=True)


def _known(value: Any) -> Any:
    """None for a sum that is not finite, which earlier versions could store."""
    is_unknown = isinstance(value, Decimal) and not value.is_finite()
    return None if is_unknown else value


def described_columns(database: Database, relation: str) -> list[DescribedColumn]:
    """Read the columns of a table or view, with their comments.

    Raises:
        DatabaseError: One of its kinds.
    """

    def read(connection: Connection) -> list[DescribedColumn]:
        rows = connection.exec_driver_sql(_COLUMNS, {"relation": relation})
        return [DescribedColumn(*row) for row in rows]

    return database.transact(read, repeatable=True)
