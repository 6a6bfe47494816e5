"""The cost forecast in Postgres: learnt from daily rollups, kept for each day it is made.

One transaction reads the days, trains and stores, for every time zone. Made again on the
same day, a forecast replaces that day's; those of other days stay, so what came of
them can be seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from sqlalchemy import Connection

from apex_pipeline.analytics.forecast import (
    MAX_DAYS,
    Forecast,
    ForecastTotal,
    Interval,
    ModelScore,
    daily_series,
    forecast,
    is_cost,
)
from apex_pipeline.analytics.forecast.campaign_forecast import forecast_campaigns
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.local_days import dates_at
from apex_pipeline.settings import AnalysisSettings

# A day that was not over when its rollup was made is not known yet.
_KNOWN = """
    SELECT day, cost_usd, runs FROM daily_rollup_total
    WHERE time_zone = %(zone)s AND day >= %(since)s AND day < %(until)s
        AND computed_at >= (day + 1)::timestamp AT TIME ZONE %(zone)s
    ORDER BY day
"""

# What was forecast last before a day was over.
_FORECAST_OF = """
    SELECT cost_usd, low_80_usd, high_80_usd FROM cost_forecast_day
    WHERE time_zone = %(zone)s AND day = %(day)s AND made_on <= %(day)s
    ORDER BY made_on DESC LIMIT 1
"""

# One that seems to come from a later day was made while a clock was wrong.
_CLEAR = """
    DELETE FROM cost_forecast_training
    WHERE time_zone = %(zone)s AND made_on >= %(made_on)s
"""
# As with rollups: what is kept up to date no longer would lie.
_CLEAR_ZONES = "DELETE FROM cost_forecast_training WHERE time_zone <> ALL(%(zones)s)"

_TRAINING = """
    INSERT INTO cost_forecast_training (
        time_zone, made_on, made_at, model, reason, note, learnt_from, days_known,
        days_missing
    )
    VALUES (
        %(zone)s, %(made_on)s, %(made_at)s, %(model)s, %(reason)s, %(note)s,
        %(learnt_from)s, %(days_known)s, %(days_missing)s
    )
"""
_BOUNDS = "low_50_usd, high_50_usd, low_80_usd, high_80_usd"
_DAYS = f"""
    INSERT INTO cost_forecast_day (time_zone, made_on, day, cost_usd, {_BOUNDS})
    SELECT %(zone)s, %(made_on)s, given.*
    FROM unnest(
        %(c0)s::date[], %(c1)s::numeric[], %(c2)s::numeric[], %(c3)s::numeric[],
        %(c4)s::numeric[], %(c5)s::numeric[]
    ) AS given
"""  # noqa: S608  constants
_TOTALS = f"""
    INSERT INTO cost_forecast_total (
        time_zone, made_on, horizon, first_day, last_day, spent_usd, cost_usd, {_BOUNDS}
    )
    SELECT %(zone)s, %(made_on)s, given.*
    FROM unnest(
        %(c0)s::text[], %(c1)s::date[], %(c2)s::date[], %(c3)s::numeric[],
        %(c4)s::numeric[], %(c5)s::numeric[], %(c6)s::numeric[], %(c7)s::numeric[],
        %(c8)s::numeric[]
    ) AS given
"""  # noqa: S608  constants
_PARTS = f"""
    INSERT INTO cost_forecast_part (
        time_zone, made_on, campaign_id, last_28d_usd, model, note, horizon, first_day,
        last_day, spent_usd, cost_usd, {_BOUNDS}
    )
    SELECT %(zone)s, %(made_on)s, given.*
    FROM unnest(
        %(c0)s::text[], %(c1)s::numeric[], %(c2)s::text[], %(c3)s::text[],
        %(c4)s::text[], %(c5)s::date[], %(c6)s::date[], %(c7)s::numeric[],
        %(c8)s::numeric[], %(c9)s::numeric[], %(c10)s::numeric[], %(c11)s::numeric[],
        %(c12)s::numeric[]
    ) AS given
"""  # noqa: S608  constants
_SCORES = """
    INSERT INTO cost_forecast_score (
        time_zone, made_on, model, is_used, trials, mase, sum_days, sum_error_pct,
        pinball_usd, days_tested, coverage_50_pct, coverage_80_pct, sums_tested,
        sum_coverage_50_pct, sum_coverage_80_pct
    )
    SELECT %(zone)s, %(made_on)s, given.*
    FROM unnest(
        %(c0)s::text[], %(c1)s::boolean[], %(c2)s::integer[], %(c3)s::numeric[],
        %(c4)s::integer[], %(c5)s::numeric[], %(c6)s::numeric[], %(c7)s::integer[],
        %(c8)s::numeric[], %(c9)s::numeric[], %(c10)s::integer[], %(c11)s::numeric[],
        %(c12)s::numeric[]
    ) AS given
"""


@dataclass(frozen=True, slots=True)
class DayOutcome:
    """What a day cost, and what was forecast for it last, US dollars."""

    day: date
    actual: float
    cost: float
    low_80: float | None
    high_80: float | None


@dataclass(frozen=True, slots=True)
class Training:
    """A forecast of one time zone.

    Attributes:
        note: What limits it, in words; empty where nothing does.
        yesterday: The last day that is over; None where it is not known, or was not
            forecast.
        parts: Campaign, its cost of the last 28 days, and its forecast.
    """

    time_zone: str
    forecast: Forecast
    note: str
    yesterday: DayOutcome | None = None
    parts: Sequence[tuple[str, float, Forecast]] = ()


def train(
    database: Database, settings: AnalysisSettings, now: datetime
) -> list[Training]:
    """Forecast each time zone's cost from the days that are over, and keep that.

    Args:
        database: Where the rollups are.
        settings: The time zones.
        now: An aware datetime.

    Returns:
        UTC first, then the business time zone.

    Raises:
        DatabaseError: One of its kinds. Nothing is changed then.
    """

    def work(connection: Connection) -> list[Training]:
        # A second one waits here, and replaces what the first has made.
        connection.exec_driver_sql(
            "LOCK TABLE cost_forecast_training IN SHARE ROW EXCLUSIVE MODE"
        )
        connection.exec_driver_sql(_CLEAR_ZONES, {"zones": list(settings.time_zones)})
        trainings = []
        todays = dates_at(connection, now, settings.time_zones)
        for zone, today in zip(settings.time_zones, todays, strict=True):
            training = _learn(connection, zone, today)
            _store(connection, training, now)
            trainings.append(training)
        return trainings

    return database.transact(work, repeatable=True)


def _learn(connection: Connection, zone: str, today: date) -> Training:
    since = today - timedelta(days=MAX_DAYS)
    rows = connection.exec_driver_sql(
        _KNOWN, {"zone": zone, "since": since, "until": today}
    ).all()
    known = {day: float(cost) for day, cost, _ in rows}
    free = [day for day, cost, runs in rows if runs and not cost]
    made = forecast(daily_series(known, today, free))
    absurd = ", ".join(str(day) for day, cost in known.items() if not is_cost(cost))
    notes = [made.note] if made.note else []
    if absurd:
        notes.append(
            f"These days have impossible costs and count as missing: {absurd}."
        )
    yesterday = _outcome(connection, zone, today - timedelta(days=1), known)
    parts = forecast_campaigns(connection, zone, known, today)
    return Training(zone, made, " ".join(notes), yesterday, parts)


def _outcome(
    connection: Connection, zone: str, day: date, known: Mapping[date, float]
) -> DayOutcome | None:
    row = connection.exec_driver_sql(
        _FORECAST_OF, {"zone": zone, "day": day}
    ).one_or_none()
    if row is None or day not in known:
        return None
    cost, low, high = (None if value is None else float(value) for value in row)
    return DayOutcome(day, known[day], cost or 0.0, low, high)


def _store(connection: Connection, training: Training, now: datetime) -> None:
    made = training.forecast
    key = {"zone": training.time_zone, "made_on": made.made_on}
    connection.exec_driver_sql(_CLEAR, key)
    connection.exec_driver_sql(
        _TRAINING,
        key
        | {
            "made_at": now,
            "model": made.model,
            "reason": made.reason,
            "note": training.note,
            "learnt_from": made.series.first_day,
            "days_known": made.series.known,
            "days_missing": len(made.series.values) - made.series.known,
        },
    )
    for statement, rows in (
        (_DAYS, [(d.day, _usd(d.cost), *_bounds(d.intervals)) for d in made.days]),
        (_TOTALS, [_total(total) for total in made.totals]),
        (
            _PARTS,
            [
                (campaign, _usd(lately), part.model, part.note, *_total(total))
                for campaign, lately, part in training.parts
                for total in part.totals
            ],
        ),
        (_SCORES, [_score(score) for score in made.scores]),
    ):
        if rows:
            columns = {f"c{n}": list(c) for n, c in enumerate(zip(*rows, strict=True))}
            connection.exec_driver_sql(statement, key | columns)


def _total(total: ForecastTotal) -> tuple[object, ...]:
    return (
        *(total.horizon, total.first_day, total.last_day),
        *(_usd(total.spent), _usd(total.cost)),
        *_bounds(total.intervals),
    )


def _bounds(intervals: Sequence[Interval | None]) -> list[Decimal | None]:
    ends: list[Decimal | None] = []
    for interval in intervals:
        ends += (_usd(interval.low), _usd(interval.high)) if interval else (None, None)
    return ends


def _score(scored: ModelScore) -> tuple[object, ...]:
    score = scored.score
    return (
        scored.model,
        scored.chosen,
        score.trials,
        _rounded(score.mase),
        score.sum_days,
        _percent(score.sum_error),
        _rounded(score.pinball),
        score.tested,
        *map(_percent, score.coverage),
        score.sums_tested,
        *map(_percent, score.sum_coverage),
    )


def _usd(value: float) -> Decimal:
    # Rounding keeps what is less or equal in its order.
    return round(Decimal(value), 5)


def _rounded(value: float | None) -> Decimal | None:
    return None if value is None else round(Decimal(value), 5)


def _percent(share: float | None) -> Decimal | None:
    return None if share is None else round(Decimal(100 * share), 2)
