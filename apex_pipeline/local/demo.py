"""Realistic demo campaigns: ninety days of history, then a live writer.

The history is a pure function of the date: a day's runs are always the same. So a later
start fills only the gap since the last one.

`python -m apex_pipeline.local.demo URL SECRET_FILE LOCATION` is the live writer, on DATABASE_URL.
Every minute it asks the Dagster web server at URL for a sync, in addition to the schedule,
so figures move while you watch. SECRET_FILE holds what opens that server.
"""

import logging
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from uuid import UUID

import psycopg

from apex_pipeline import log_lines
from apex_pipeline.local.graphql_client import start_sync
from apex_pipeline.settings import read_secrets
from apex_pipeline.texts import redaction

_DAYS = 90
_EPOCH = date(2024, 1, 1)
_DAYS_BETWEEN_CAMPAIGNS = 15
_LONGEST_CAMPAIGN = timedelta(days=75)

_PHASES = ((0.15, "1"), (0.65, "2-3"), (0.9, "4"), (1.0, "5"))
_RUNS_PER_DAY = 20
_NAMES = (
    "Spring launch", "Trade fair", "Partner programme", "Summer sale", "New website",
    "Loyalty cards", "Back to school", "City tour", "Autumn collection", "Customer stories",
    "Year in review", "Winter sale", "Newsletter relaunch", "Product films",
    "Open house", "Free trial", "Price match", "Store openings", "Gift guide",
    "Recruiting drive", "Regional radio", "App release", "Webinar series", "Referral bonus",
)  # fmt: skip
_WEEKDAYS = (1.0, 1.15, 1.2, 1.1, 0.95, 0.4, 0.3)
_HOURS = (1, 1, 1, 1, 1, 2, 4, 8, 12, 15, 16, 15, 12, 13, 15, 15, 13, 10, 7, 5, 4, 3, 2, 1)  # fmt: skip
_GROWTH_PER_DAY = 0.008
_USD_PER_TOKEN_IN = Decimal("0.000003")
_USD_PER_TOKEN_OUT = Decimal("0.000015")

SECONDS_BETWEEN_RUNS = (10.0, 30.0)
"""Bounds of the pause between two live runs."""

_SECONDS_BETWEEN_SYNCS = 60.0
# At this rate there are fifty times as many runs as in the history, so they are small.
# Otherwise a day would cost far more than usual and cause a warning, above all on a quiet
# Sunday.
_LIVE_TOKENS = 1 / 250

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Campaign:
    """The parameters of one demo campaign."""

    id: UUID
    name: str
    starts: date
    days: int
    agents: int
    runs_per_day: float
    tokens_per_agent: float
    latency_ms: float


@dataclass(frozen=True, slots=True)
class DemoRun:
    """A row of `campaign_metrics`; the fields are its columns."""

    id: UUID
    campaign_id: UUID
    run_id: UUID
    phase: str
    agents_total: int
    agents_successful: int
    assets_generated: int
    tokens_in: int
    tokens_out: int
    cost_usd: Decimal
    latency_p95_ms: int
    latency_avg_ms: int
    success_rate_pct: Decimal
    created_at: datetime


_COLUMNS = ", ".join(field.name for field in fields(DemoRun))
_NAME = "INSERT INTO campaign_name VALUES (%s, %s) ON CONFLICT DO NOTHING"


def campaigns(first: date, last: date) -> list[Campaign]:
    """The campaigns that run on any of these days."""
    oldest = (first - _LONGEST_CAMPAIGN - _EPOCH).days // _DAYS_BETWEEN_CAMPAIGNS
    newest = (last - _EPOCH).days // _DAYS_BETWEEN_CAMPAIGNS
    planned = [_campaign(number) for number in range(oldest, newest + 1)]
    return [c for c in planned if _age(c, first) < 1 and _age(c, last) >= 0]


def history(since: datetime, until: datetime) -> list[DemoRun]:
    """The runs recorded after `since` and before `until`, oldest first."""
    days = [
        since.date() + timedelta(days=number)
        for number in range((until.date() - since.date()).days + 1)
    ]
    runs = [
        run
        for campaign in campaigns(days[0], days[-1])
        for day in days
        if 0 <= _age(campaign, day) < 1
        for run in _runs_of_day(campaign, day)
        if since < run.created_at < until
    ]
    return sorted(runs, key=lambda run: run.created_at)


def live_run(now: datetime) -> DemoRun:
    """A run that has just ended, of one of today's campaigns."""
    rng = _rng(os.urandom(16).hex())
    today = now.date()
    campaign = rng.choice(campaigns(today, today))
    return _run(rng, campaign, now, token_share=_LIVE_TOKENS)


def fill(database_url: str, *, now: datetime | None = None) -> int:
    """Write the history up to now, or the part since the newest demo run.

    Campaigns that have no name yet get one, also those that begin soon.

    Returns:
        How many rows were written.
    """
    now = now or datetime.now(UTC)
    since = now - timedelta(days=_DAYS)
    ids = [campaign.id for campaign in campaigns(since.date(), now.date())]
    soon = now.date() + timedelta(days=_DAYS)
    names = [(str(each.id), each.name) for each in campaigns(since.date(), soon)]
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT max(created_at) FROM campaign_metrics WHERE campaign_id = ANY(%s)",
            [ids],
        ).fetchone()
        newest = row[0] if row else None
        missing = history(max(since, newest) if newest else since, now)
        copy = f"COPY campaign_metrics ({_COLUMNS}) FROM STDIN"
        with connection.cursor() as cursor, cursor.copy(copy.encode()) as rows:
            for run in missing:
                rows.write_row(astuple(run))
        with connection.cursor() as cursor:
            cursor.executemany(_NAME, names)
    return len(missing)


def keep_writing(
    database_url: str,
    *,
    sync: Callable[[], bool],
    seconds_between: tuple[float, float] = SECONDS_BETWEEN_RUNS,
    seconds_between_syncs: float = _SECONDS_BETWEEN_SYNCS,
) -> None:
    """Insert runs one after another, even if the database fails in between.

    Args:
        database_url: The database.
        sync: Starts a sync; returns whether it was started.
        seconds_between: Bounds of the pause between two runs.
        seconds_between_syncs: The shortest time between two calls of `sync`.
    """
    due = time.monotonic() + seconds_between_syncs
    values = ", ".join(f"%({field.name})s" for field in fields(DemoRun))
    insert = f"INSERT INTO campaign_metrics ({_COLUMNS}) VALUES ({values})"  # noqa: S608 - constant
    while True:
        run = live_run(datetime.now(UTC))
        row = {field.name: getattr(run, field.name) for field in fields(DemoRun)}
        try:
            with psycopg.connect(database_url, connect_timeout=5) as connection:
                connection.execute(insert.encode(), row)
        except psycopg.OperationalError as error:
            log.warning("the database does not answer: %s", error)
        else:
            log.info("campaign %s: one more run", run.campaign_id)
        if time.monotonic() >= due:
            log.info("started a sync" if sync() else "could not start a sync now")
            due = time.monotonic() + seconds_between_syncs
        time.sleep(random.uniform(*seconds_between))  # noqa: S311 - a pause


def _rng(*key: object) -> random.Random:
    return random.Random(repr(key))  # noqa: S311 - made-up figures, the same each time


def _campaign(number: int) -> Campaign:
    rng = _rng("campaign", number)
    starts = _EPOCH + timedelta(days=number * _DAYS_BETWEEN_CAMPAIGNS)
    return Campaign(
        id=_uuid(rng),
        name=f"{_NAMES[number % len(_NAMES)]} {starts.year}",
        starts=starts + timedelta(days=rng.randint(0, 8)),
        days=rng.randint(35, 65),
        agents=rng.randint(10, 32),
        runs_per_day=_RUNS_PER_DAY * rng.uniform(0.7, 1.3),
        tokens_per_agent=rng.uniform(5_000, 11_000),
        latency_ms=rng.uniform(700, 2_600),
    )


def _age(campaign: Campaign, day: date) -> float:
    """Share of the campaign's duration that is over; 0 to below 1 while it runs."""
    return (day - campaign.starts).days / campaign.days


def _runs_of_day(campaign: Campaign, day: date) -> Iterator[DemoRun]:
    rng = _rng(campaign.id, day)
    # A campaign ramps up for a week.
    ramp = min(1.0, (1 + (day - campaign.starts).days) / 7)
    expected = campaign.runs_per_day * ramp * _WEEKDAYS[day.weekday()]
    reliability = rng.uniform(0.55, 0.8) if rng.random() < 0.04 else 0.97
    for _ in range(max(0, round(rng.gauss(expected, math.sqrt(expected))))):
        hour = rng.choices(range(24), _HOURS)[0]
        at = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
        at += timedelta(microseconds=rng.randrange(3_600_000_000))
        yield _run(rng, campaign, at, reliability)


def _run(
    rng: random.Random,
    campaign: Campaign,
    at: datetime,
    reliability: float = 0.97,
    *,
    token_share: float = 1.0,
) -> DemoRun:
    age = _age(campaign, at.date())
    growth = (1 + _GROWTH_PER_DAY) ** (at.date() - campaign.starts).days
    agents = max(1, round(rng.gauss(campaign.agents, campaign.agents / 6)))
    works = rng.uniform(0, 0.4) if rng.random() < 0.006 else reliability
    successful = sum(rng.random() < works for _ in range(agents))
    tokens_per_agent = campaign.tokens_per_agent * token_share
    tokens_in = round(agents * tokens_per_agent * growth * rng.lognormvariate(0, 0.25))
    tokens_out = round(tokens_in * rng.uniform(0.12, 0.28))
    cost = tokens_in * _USD_PER_TOKEN_IN + tokens_out * _USD_PER_TOKEN_OUT
    latency = campaign.latency_ms * rng.lognormvariate(0, 0.2) / max(works, 0.5)
    return DemoRun(
        id=_uuid(rng),
        campaign_id=campaign.id,
        run_id=_uuid(rng),
        phase=next(name for until, name in _PHASES if age < until),
        agents_total=agents,
        agents_successful=successful,
        assets_generated=sum(rng.randint(1, 4) for _ in range(successful)),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost_usd=cost.quantize(Decimal("0.00001")),
        latency_p95_ms=round(latency * rng.uniform(1.5, 3.0)),
        latency_avg_ms=round(latency),
        success_rate_pct=round(Decimal(100 * successful) / agents, 2),
        created_at=at,
    )


def _uuid(rng: random.Random) -> UUID:
    return UUID(int=rng.getrandbits(128), version=4)


if __name__ == "__main__":
    log_lines.install(os.environ, level=logging.INFO)
    read_secrets(os.environ)
    redaction.install()
    ui_url, secret_file, location = sys.argv[1:]
    keep_writing(
        os.environ["DATABASE_URL"],
        sync=partial(start_sync, ui_url, Path(secret_file).read_text(), location),
    )
