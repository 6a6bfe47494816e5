"""Days and weeks: a range of them, and its instants in SQL."""

from dataclasses import dataclass
from datetime import date, timedelta

from apex_pipeline.errors import ConfigError
from apex_pipeline.postgres.local_days import first_instant


@dataclass(frozen=True, slots=True)
class Grain:
    """Days or weeks.

    Attributes:
        label: The column that names the period by its first day.
        days: Length of a period.
    """

    name: str
    label: str
    rollup: str
    total: str
    days: int


DAILY = Grain("day", "day", "daily_campaign_rollup", "daily_rollup_total", 1)
WEEKLY = Grain("week", "week", "weekly_campaign_rollup", "weekly_rollup_total", 7)


@dataclass(frozen=True, slots=True)
class Periods:
    """Consecutive days or weeks, each identified by its first day."""

    grain: Grain
    first: date
    last: date

    def __post_init__(self) -> None:
        """Check that this is a range of whole periods."""
        if self.first > self.last:
            raise ConfigError(f"{self.first} is after {self.last}.")
        if self.grain is WEEKLY and (self.first.weekday() or self.last.weekday()):
            raise ConfigError("A week must be given by its Monday.")

    def labels(self) -> list[date]:
        """First day of each period."""
        count = (self.last - self.first).days // self.grain.days
        step = timedelta(days=self.grain.days)
        return [self.first + step * number for number in range(count + 1)]


def period_rows(
    first: str = "%(first)s", step: str = "%(step)s", slo: str = "%(slo)s"
) -> str:
    """SQL for the periods of a range in all time zones, with their instants."""
    length = f"make_interval(days => {step})"
    return f"""
        SELECT zone.name AS time_zone, label::date AS starts_on,
            {first_instant("label", "zone.name")} AS starts_at,
            {first_instant(f"label + {length}", "zone.name")} AS ends_at,
            {slo}::integer AS slo_p95_ms
        FROM unnest(%(zones)s::text[]) AS zone (name)
        CROSS JOIN generate_series(
            {first}::timestamp, %(last)s::timestamp, {length}
        ) AS label
    """  # noqa: S608  constants
