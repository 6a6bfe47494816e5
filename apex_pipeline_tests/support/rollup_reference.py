"""Rollups computed by pandas from the raw rows: independent of the SQL, and compared."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID

import pandas as pd
import psycopg
from psycopg.rows import dict_row

from apex_pipeline.analytics.rollups.columns import ADDITIVE, MEASURES
from apex_pipeline.analytics.rollups.periods import Grain
from apex_pipeline.analytics.rollups.weekly_changes import CHANGES
from apex_pipeline_tests.support.ends import campaign_row

NAMES = [column.name for column in MEASURES]


def metric(created_at: datetime, **overrides: object) -> dict[str, Any]:
    """A raw row, its cost a number and its time an instant."""
    return campaign_row(
        **{
            "campaign_id": UUID(int=1),
            "cost_usd": Decimal("0.00348"),
            "created_at": created_at,
        }
        | overrides
    )


def rollup(
    rows: Sequence[Mapping[str, Any]], zone: str, days: int, slo: int | None
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Measures by (first day, campaign, phase), and by (first day,) for all."""
    if not rows:
        return {}
    frame = pd.DataFrame(list(rows))
    at = pd.to_datetime(frame["created_at"], utc=True)
    local = at.dt.tz_convert(zone)
    label = [
        day - timedelta(days=int(number) if days == 7 else 0)
        for day, number in zip(local.dt.date, local.dt.day_of_week, strict=True)
    ]
    frame = frame.assign(created_at=at.astype(object), label=label)
    frame["campaign_id"] = frame["campaign_id"].astype(str)
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for keys in (["label", "campaign_id", "phase"], ["label"]):
        for key, group in frame.groupby(keys):
            found[key] = _measures(group, slo)
    return found


def _measures(group: pd.DataFrame, slo: int | None) -> dict[str, Any]:
    runs = len(group)
    sums = {
        name: Decimal(sum(int(v) for v in group[name]))
        for name in (
            "agents_total",
            "agents_successful",
            "assets_generated",
            "tokens_in",
            "tokens_out",
        )
    }
    cost = sum((Decimal(v) for v in group["cost_usd"]), Decimal(0))
    weighted = sum(
        int(a) * int(n)
        for a, n in zip(group["latency_avg_ms"], group["agents_total"], strict=True)
    )
    p95 = group["latency_p95_ms"]
    above = sum(int(v) > slo for v in p95) if slo is not None else None
    return sums | {
        "runs": runs,
        "success_rate_pct": _ratio(
            100 * sums["agents_successful"], sums["agents_total"], 4
        ),
        "assets_per_run": _ratio(sums["assets_generated"], runs, 4),
        "cost_usd": cost,
        "cost_per_run_usd": _ratio(cost, runs, 8),
        "cost_per_asset_usd": _ratio(cost, sums["assets_generated"], 8),
        "latency_avg_ms": _ratio(weighted, sums["agents_total"], 3),
        "latency_p95_worst_ms": Decimal(int(p95.max())),
        "latency_p95_median_ms": Decimal(str(float(p95.median()))),
        "slo_p95_ms": slo,
        "slo_breach_pct": None if above is None else _ratio(100 * above, runs, 4),
        "first_run_at": min(group["created_at"]),
        "last_run_at": max(group["created_at"]),
    }


def changes(
    weeks: Mapping[tuple[Any, ...], Mapping[str, Any]], computed: Sequence[date]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """What became of each figure of `weeks` since the week before."""
    found = {}
    nothing: Mapping[str, Any] = dict.fromkeys(ADDITIVE, 0)
    # What a campaign no longer has is missed in the week after.
    missed = {(key[0] + timedelta(days=7), *key[1:]) for key in weeks if len(key) > 1}
    stopped = {key: nothing for key in missed - set(weeks) if key[0] in computed}
    for key, now in {**weeks, **stopped}.items():
        monday = key[0] - timedelta(days=7)
        before = weeks.get((monday, *key[1:]), {})
        counted = {
            name: before.get(name, 0) if monday in computed else None
            for name in (
                "runs",
                "assets_generated",
                "tokens_in",
                "tokens_out",
                "cost_usd",
            )
        }
        row = {
            f"{name}_change": None if was is None else now[name] - was
            for name, was in counted.items()
        }
        cost = before.get("cost_usd")
        row["cost_usd_change_pct"] = (
            _ratio(100 * (now["cost_usd"] - cost), cost, 4) if cost else None
        )
        for name, figure in (
            ("success_rate_change_points", "success_rate_pct"),
            ("latency_avg_change_ms", "latency_avg_ms"),
            ("latency_p95_worst_change_ms", "latency_p95_worst_ms"),
            ("latency_p95_median_change_ms", "latency_p95_median_ms"),
        ):
            was, is_now = before.get(figure), now.get(figure)
            row[name] = None if was is None or is_now is None else is_now - was
        found[key] = row
    return found


def _ratio(above: Decimal | int, below: Decimal | int, places: int) -> Decimal | None:
    if not below:
        return None
    quotient = Decimal(above) / Decimal(below)
    return quotient.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def stored(
    database_url: str, grain: Grain, zone: str
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The same out of the tables; of days without runs, nothing."""
    return {
        key: {name: row[name] for name in NAMES}
        for key, row in _stored(database_url, grain, zone)
        if row["runs"]
    }


def stored_changes(
    database_url: str, grain: Grain, zone: str
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """What the weekly tables say of the week before."""
    return {
        key: {change.name: row[change.name] for change in CHANGES}
        for key, row in _stored(database_url, grain, zone)
    }


def _stored(
    database_url: str, grain: Grain, zone: str
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        for table, keys in (
            (grain.rollup, (grain.label, "campaign_id", "phase")),
            (grain.total, (grain.label,)),
        ):
            found = connection.execute(
                f"SELECT * FROM {table} WHERE time_zone = %s".encode(), (zone,)
            )
            for row in found:
                yield tuple(row[key] for key in keys), row


def mondays(first: date, last: date) -> list[date]:
    """The Mondays from the one on or before `first` to the one on or before `last`."""
    monday = first - timedelta(days=first.weekday())
    return [
        monday + timedelta(days=7 * number)
        for number in range((last - monday).days // 7 + 1)
    ]
