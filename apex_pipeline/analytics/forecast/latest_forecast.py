"""The newest cost forecast of a time zone, read back as analysts see it."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection

from apex_pipeline.postgres.database import Database

_TRAINING = """
    SELECT made_on, made_at, model, reason, note, days_known, days_missing
    FROM cost_forecast_training
    WHERE time_zone = %(zone)s ORDER BY made_on DESC LIMIT 1
"""
_DAYS = """
    SELECT day, cost_usd, low_50_usd, high_50_usd, low_80_usd, high_80_usd
    FROM cost_forecast WHERE time_zone = %(zone)s ORDER BY day
"""
_TOTALS = """
    SELECT horizon, first_day, last_day, spent_usd, cost_usd, low_50_usd, high_50_usd,
        low_80_usd, high_80_usd
    FROM cost_forecast_horizon WHERE time_zone = %(zone)s
    ORDER BY horizon = 'month_end', last_day
"""
_CAMPAIGNS = """
    SELECT campaign_id, campaign_name, horizon, last_28d_usd, spent_usd, cost_usd,
        low_80_usd, high_80_usd, model, note, difference_usd
    FROM cost_forecast_campaign WHERE time_zone = %(zone)s
    ORDER BY campaign_id = '(others)', last_28d_usd DESC, campaign_id,
        horizon = 'month_end', last_day
"""
_SCORES = """
    SELECT model, is_used, trials, mase, sum_days, sum_error_pct, pinball_usd,
        days_tested, coverage_50_pct, coverage_80_pct, sums_tested,
        sum_coverage_50_pct, sum_coverage_80_pct
    FROM cost_forecast_score WHERE time_zone = %(zone)s AND made_on = %(made_on)s
    ORDER BY is_used DESC, model
"""


@dataclass(frozen=True, slots=True)
class OutlookDay:
    """A day to come, US dollars; ends of intervals are None where there is none."""

    day: date
    cost_usd: Decimal
    low_50_usd: Decimal | None
    high_50_usd: Decimal | None
    low_80_usd: Decimal | None
    high_80_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class OutlookTotal:
    """A sum over days to come, US dollars; of a month, with what was spent already."""

    horizon: str
    first_day: date
    last_day: date
    spent_usd: Decimal
    cost_usd: Decimal
    low_50_usd: Decimal | None
    high_50_usd: Decimal | None
    low_80_usd: Decimal | None
    high_80_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class OutlookCampaign:
    """A sum that is expected of one campaign, or of all the others as `(others)`.

    Attributes:
        last_28d_usd: What it cost in the 28 days before.
        difference_usd: The sum over all campaigns less the forecast of the whole; they
            are made each by itself.
    """

    campaign_id: str
    campaign_name: str | None
    horizon: str
    last_28d_usd: Decimal
    spent_usd: Decimal
    cost_usd: Decimal
    low_80_usd: Decimal | None
    high_80_usd: Decimal | None
    model: str | None
    note: str
    difference_usd: Decimal


@dataclass(frozen=True, slots=True)
class OutlookScore:
    """How a model did in the backtest; figures are None where too little is known."""

    model: str
    is_used: bool
    trials: int
    mase: Decimal | None
    sum_days: int | None
    sum_error_pct: Decimal | None
    pinball_usd: Decimal | None
    days_tested: int
    coverage_50_pct: Decimal | None
    coverage_80_pct: Decimal | None
    sums_tested: int
    sum_coverage_50_pct: Decimal | None
    sum_coverage_80_pct: Decimal | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """The newest training: how it was made, and what it says.

    Attributes:
        model: None where no day's cost was known.
        campaigns: The same sums for each campaign that carries much of the cost, the
            dearest first, and for the others together.
        scores: That of the model in use first; none where too few days were known.
    """

    made_on: date
    made_at: datetime
    model: str | None
    reason: str
    note: str
    days_known: int
    days_missing: int
    days: tuple[OutlookDay, ...]
    totals: tuple[OutlookTotal, ...]
    scores: tuple[OutlookScore, ...]
    campaigns: tuple[OutlookCampaign, ...] = ()


def outlook(database: Database, zone: str) -> Outlook | None:
    """Read the newest forecast of a time zone; None if none was ever made.

    Raises:
        DatabaseError: One of its kinds.
    """

    def read(connection: Connection) -> Outlook | None:
        # One snapshot: a training may be replaced between two statements.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        found = connection.exec_driver_sql(_TRAINING, {"zone": zone}).one_or_none()
        if found is None:
            return None
        values = {"zone": zone, "made_on": found.made_on}
        days = connection.exec_driver_sql(_DAYS, values)
        totals = connection.exec_driver_sql(_TOTALS, values)
        scores = connection.exec_driver_sql(_SCORES, values)
        campaigns = connection.exec_driver_sql(_CAMPAIGNS, values)
        return Outlook(
            **found._asdict(),
            days=tuple(OutlookDay(*row) for row in days),
            totals=tuple(OutlookTotal(*row) for row in totals),
            scores=tuple(OutlookScore(*row) for row in scores),
            campaigns=tuple(OutlookCampaign(*row) for row in campaigns),
        )

    return database.transact(read, repeatable=True)
