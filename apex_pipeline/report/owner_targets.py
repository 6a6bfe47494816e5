"""Measure the owner's targets for the report."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from apex_pipeline.errors import ApexError
from apex_pipeline.postgres import dataverse_targets, run_ledger
from apex_pipeline.report.chromium import Visit
from apex_pipeline.report.delivery_statistics import (
    DELAY_PERIOD,
    Delays,
    read_delays,
)
from apex_pipeline.report.document import ReportLine
from apex_pipeline.report.latencies import (
    QUERIES,
    TOKENS,
    time_queries,
    time_tokens,
)
from apex_pipeline.report.measured_lines import (
    Seen,
    measure,
    met,
    not_measured,
    not_met,
    percentile,
    seconds,
)
from apex_pipeline.report.report_subject import Subject
from apex_pipeline.report.served_panel import percentile_bound

REQUESTS = 50
VISITS = 3

_API_SECONDS = 2.5
_TOKEN_SECONDS = 1.0
_QUERY_SECONDS = 2.0
_PAINT_SECONDS = 1.8
_DELAY_SECONDS = 300.0
_HIT_RATE_PCT = 95.0

_API_PATHS = ("/api/kpis", "/api/metrics/recent?limit=10")


@dataclass(frozen=True, slots=True)
class Paints:
    """Visits of the panel's page, or the reason why there are none."""

    visits: tuple[Visit, ...] = ()
    reason: str = ""


def targets(
    subject: Subject, paints: Callable[[], Paints], now: datetime
) -> Iterator[ReportLine]:
    """Measure every target, one after another."""
    for path in _API_PATHS:
        yield measure(
            f"API response, P95: GET {path.partition('?')[0]}",
            f"< {_API_SECONDS:g} s",
            f"{REQUESTS} requests to the panel, one after another, by this report",
            partial(_answers, subject, path),
        )
    yield measure(
        "API response, P95: all requests to the panel",
        f"< {_API_SECONDS:g} s",
        "histogram in the panel's /metrics, since its start",
        lambda: _histogram(subject),
    )
    yield measure(
        "token from the authority",
        f"< {_TOKEN_SECONDS:g} s",
        f"the slowest of {TOKENS} requests, each with an empty cache",
        lambda: _tokens(subject),
    )
    yield measure(
        "Dataverse query, P95",
        f"< {_QUERY_SECONDS:g} s",
        f"{QUERIES} reads of the five newest records, one after another",
        lambda: _below(
            time_queries(subject.dataverse(), subject.token_cache), 95, _QUERY_SECONDS
        ),
    )
    yield measure(
        "largest paint of the panel's page",
        f"< {_PAINT_SECONDS:g} s",
        f"the slowest of {VISITS} visits in headless Chromium, each with an empty "
        "profile (Largest Contentful Paint)",
        lambda: _paint(paints()),
    )
    yield from _of_the_sync(subject, now)


def _of_the_sync(subject: Subject, now: datetime) -> Iterator[ReportLine]:
    yield measure(
        "delay of the sync, P95",
        f"< {_DELAY_SECONDS / 60:.0f} min",
        f"created_at to exported_at of rows of the last {DELAY_PERIOD.days} days, since "
        "the first delivery; waiting rows count with their age",
        lambda: _delay(sync_delays(subject, now)),
    )
    yield measure(
        "token cache hit rate",
        f"> {_HIT_RATE_PCT:g} %",
        "requests that found a cached token; all runs of the sync, in sync_run",
        lambda: _hit_rate(subject),
    )


def sync_delays(subject: Subject, now: datetime) -> Delays:
    """Read how long rows of the last days waited, since the first delivery.

    Raises:
        ApexError: Nothing was delivered yet.
        DatabaseError: Postgres does not answer, or lacks the pipeline's tables.
    """
    with subject.open_database() as database:
        target = database.ask(dataverse_targets.target, subject.dataverse().resource)
        if target is None or target.first_delivered_at is None:
            raise ApexError("Nothing was delivered to this environment yet.")
        # Older rows are a backlog; their age says nothing about the sync.
        since = max(target.first_delivered_at, now - DELAY_PERIOD)
        return read_delays(database, since)


def _answers(subject: Subject, path: str) -> Seen:
    return _below(subject.panel().time_answers(path, REQUESTS), 95, _API_SECONDS)


def _histogram(subject: Subject) -> Seen:
    found = percentile_bound(subject.panel().text("/metrics"), 95)
    if found is None:
        return not_measured("the panel has answered no request yet")
    bound, answers = found
    seen = f"at most {seconds(bound)}, of {answers:,} answers"
    return met(seen) if bound <= _API_SECONDS else not_met(seen)


def _tokens(subject: Subject) -> Seen:
    return _below(time_tokens(subject.dataverse()), 100, _TOKEN_SECONDS)


def _paint(found: Paints) -> Seen:
    paints = [
        visit.largest_paint_seconds
        for visit in found.visits
        if visit.largest_paint_seconds is not None
    ]
    if not paints:
        return not_measured(found.reason or "Chromium did not report it")
    return _below(paints, 100, _PAINT_SECONDS)


def _below(taken: Sequence[float], percent: float, limit: float) -> Seen:
    worst = percentile(taken, percent)
    seen = f"{seconds(worst)} (median {seconds(percentile(taken, 50))})"
    return met(seen) if worst < limit else not_met(seen)


def _delay(found: Delays) -> Seen:
    if found.median is None or found.p95 is None or found.longest is None:
        return not_measured("no row was created since the first delivery")
    seen = (
        f"{seconds(found.p95)} (median {seconds(found.median)}, longest "
        f"{seconds(found.longest)}) of {found.count:,} rows, {found.waiting:,} of which "
        "are still waiting"
    )
    return met(seen) if found.p95 < _DELAY_SECONDS else not_met(seen)


def _hit_rate(subject: Subject) -> Seen:
    with subject.open_database() as database:
        totals = database.ask(run_ledger.totals)
    rate = totals.token_hit_rate_pct
    if rate is None:
        return not_measured("no run has sent a request to Dataverse yet")
    every = totals.token_cache_hits + totals.token_cache_misses
    seen = f"{rate:.2f} % of {every:,} requests"
    return met(seen) if rate > _HIT_RATE_PCT else not_met(seen)
