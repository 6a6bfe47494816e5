"""Key figures of the last 24 hours, compared with the 24 hours before; pure.

A figure without data is None, never 0. Rates are sums over sums. Percentiles cannot be
averaged, so the worst and the median of the runs' 95th percentiles are reported.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import Any

from apex_pipeline.errors import DataverseError

PERIOD = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Run:
    """The values of a campaign run that the key figures need; None if missing."""

    campaign_id: str | None
    created_at: datetime
    agents_total: int | None
    agents_successful: int | None
    assets_generated: int | None
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: Decimal | None
    latency_p95_ms: int | None


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """The key figures of one period; None if there are no data for them.

    Attributes:
        runs: Campaign runs.
        cost_per_campaign_usd: Cost of all runs, divided by the number of campaigns.
        latency_p95_worst_ms: Largest of the runs' 95th percentiles of latency.
        latency_p95_median_ms: Median of the runs' 95th percentiles of latency.
        success_rate_pct: Successful agents in percent of all agents.
        assets_per_run: Assets generated per run.
        tokens_in: Prompt tokens.
        tokens_out: Completion tokens.
    """

    runs: int
    cost_per_campaign_usd: Decimal | None
    latency_p95_worst_ms: int | None
    latency_p95_median_ms: Decimal | None
    success_rate_pct: Decimal | None
    assets_per_run: Decimal | None
    tokens_in: int | None
    tokens_out: int | None


@dataclass(frozen=True, slots=True)
class PeriodComparison:
    """Two consecutive periods of 24 hours; the later one ends at `as_of`."""

    as_of: datetime
    current: KeyFigures
    previous: KeyFigures


def compare(runs: Iterable[Run], as_of: datetime) -> PeriodComparison:
    """Compute the figures of the 24 hours before *as_of*, and of the 24 before those.

    A run dated later than *as_of* counts as current, because clocks differ.
    """
    split, begin = as_of - PERIOD, as_of - 2 * PERIOD
    kept = [run for run in runs if run.created_at > begin]
    return PeriodComparison(
        as_of,
        key_figures([run for run in kept if run.created_at > split]),
        key_figures([run for run in kept if run.created_at <= split]),
    )


def key_figures(runs: Sequence[Run]) -> KeyFigures:
    """Compute the key figures of the given runs."""
    campaigns = {run.campaign_id for run in runs if run.campaign_id is not None}
    costs = [run.cost_usd for run in runs if run.cost_usd is not None]
    p95s = [run.latency_p95_ms for run in runs if run.latency_p95_ms is not None]
    agents = [
        (run.agents_total, run.agents_successful)
        for run in runs
        if run.agents_total is not None and run.agents_successful is not None
    ]
    assets = [run.assets_generated for run in runs if run.assets_generated is not None]
    return KeyFigures(
        runs=len(runs),
        cost_per_campaign_usd=(
            _ratio(sum(costs, Decimal(0)), len(campaigns), 5) if costs else None
        ),
        latency_p95_worst_ms=max(p95s, default=None),
        latency_p95_median_ms=_rounded(Decimal(median(p95s)), 1) if p95s else None,
        success_rate_pct=_ratio(
            100 * sum(successful for _, successful in agents),
            sum(total for total, _ in agents),
            2,
        ),
        assets_per_run=_ratio(sum(assets), len(assets), 2),
        tokens_in=_sum(run.tokens_in for run in runs),
        tokens_out=_sum(run.tokens_out for run in runs),
    )


def read_run(record: Mapping[str, Any]) -> Run:
    """Turn a record of Dataverse into a run.

    Raises:
        DataverseError: A value is of a type that its column does not have.
    """
    with understood():
        return Run(
            campaign_id=_text(record.get("apex_campaignid")),
            created_at=instant(record["apex_createdat"]),
            agents_total=_whole(record.get("apex_agentstotal")),
            agents_successful=_whole(record.get("apex_agentssuccessful")),
            assets_generated=_whole(record.get("apex_assetsgenerated")),
            tokens_in=_whole(record.get("apex_tokensin")),
            tokens_out=_whole(record.get("apex_tokensout")),
            cost_usd=_cost(record.get("apex_costusd")),
            latency_p95_ms=_whole(record.get("apex_latencyp95ms")),
        )


@contextmanager
def understood() -> Iterator[None]:
    """Translate errors of the block, which reads a record.

    Raises:
        DataverseError: A value is missing or has a wrong type.
    """
    try:
        yield
    except (KeyError, ValueError, TypeError, ArithmeticError) as error:
        raise DataverseError(
            "A Dataverse record has a missing or invalid value: "
            f"{type(error).__name__}. Check the table with `apex doctor`."
        ) from error


def instant(text: str) -> datetime:
    """Parse an instant of Dataverse.

    Raises:
        ValueError: The text is not an instant, or lacks a time zone.
    """
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("no time zone")
    return found.astimezone(UTC)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _whole(value: int | None) -> int | None:
    if value is not None and not isinstance(value, int):
        raise TypeError("not a whole number")
    return value


def _cost(value: Decimal | int | None) -> Decimal | None:
    if value is None:
        return None
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError("not finite")
    return number


def _sum(values: Iterable[int | None]) -> int | None:
    present = [value for value in values if value is not None]
    return sum(present) if present else None


def _ratio(whole: Decimal | int, by: int, places: int) -> Decimal | None:
    return _rounded(Decimal(whole) / by, places) if by else None


def _rounded(value: Decimal, places: int) -> Decimal:
    return round(value, places)
