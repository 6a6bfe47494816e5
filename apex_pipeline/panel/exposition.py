"""`GET /metrics`: Prometheus's text format, version 0.0.4.

Unknown values are left out, so an alert on absent series notices; they are never
reported as 0.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from apex_pipeline.panel.cache import Reading
from apex_pipeline.panel.kpis import PeriodComparison
from apex_pipeline.panel.source_values import DataverseUse, Health
from apex_pipeline.postgres.run_ledger import Totals

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


@dataclass(frozen=True, slots=True)
class _Collected(Collector):
    families: tuple[Metric, ...]

    def collect(self) -> Iterable[Metric]:
        return self.families


def expose(families: Iterable[Metric], labels: Mapping[str, str]) -> bytes:
    """The whole document; a family without a sample is left out.

    Args:
        families: All metrics.
        labels: Added to every sample.
    """
    found = tuple(each for each in families if each.samples)
    for family in found:
        family.samples = [
            each._replace(labels={**labels, **each.labels}) for each in family.samples
        ]
    return generate_latest(_Collected(found))


def sync_families(health: Health | None, totals: Totals | None) -> Iterator[Metric]:
    """The sync's metrics from Postgres; pass None for values not available now."""
    status = health.status if health else None
    yield _gauge(
        "apex_database_up", "Whether Postgres answers.", float(status is not None)
    )
    if status is not None:
        yield _gauge(
            "apex_pending_rows",
            "Rows that are due and not in Dataverse.",
            status.pending,
        )
        yield _gauge(
            "apex_oldest_pending_age_seconds",
            "Age of the oldest pending row that was never rejected; 0 without one.",
            status.oldest_pending_seconds or 0.0,
        )
        yield _gauge(
            "apex_quarantined_rows",
            "Rows in quarantine because Dataverse rejects them.",
            status.quarantined,
        )
        yield _gauge(
            "apex_last_success_timestamp_seconds",
            "End of the last run of the sync that did not fail, Unix time.",
            _unix(status.last_success_at),
        )
        yield _gauge(
            "apex_audit_trail_unbroken",
            "Whether the last verification of the audit trail found nothing wrong.",
            status.audit_unbroken,
        )
        yield _gauge(
            "apex_audit_anchor_age_seconds",
            "Time since the head of the audit trail was anchored.",
            status.audit_anchor_seconds,
        )
    if totals is not None:
        yield _counter(
            "apex_delivered_rows", "Rows that Dataverse acknowledged.", totals.delivered
        )
        yield _counter(
            "apex_rejected_rows", "Rows that went into quarantine.", totals.rejected
        )
        yield _counter(
            "apex_throttled_seconds",
            "Time that the sync waited because Dataverse throttled it.",
            totals.throttled_seconds,
        )


def token_families(totals: Totals | None, use: DataverseUse) -> Iterator[Metric]:
    """Hits and misses of the token cache, in the sync and in this process."""
    by_process = {"panel": (use.token_hits, use.token_misses)}
    if totals is not None:
        by_process["sync"] = (totals.token_cache_hits, totals.token_cache_misses)
    for place, name, help_text in (
        (0, "hits", "Requests to Dataverse that found an access token in the cache."),
        (1, "misses", "Requests to Dataverse that needed a new access token."),
    ):
        family = CounterMetricFamily(
            f"apex_token_cache_{name}", help_text, labels=["process"]
        )
        for process, counts in by_process.items():
            family.add_metric([process], counts[place])
        yield family


def dataverse_families(
    reading: Reading[PeriodComparison], use: DataverseUse
) -> Iterator[Metric]:
    """This process's requests to Dataverse; no state before the first request."""
    yield _counter(
        "apex_panel_dataverse_requests",
        "Requests that the panel sent to Dataverse.",
        use.requests,
    )
    was_asked = reading.value is not None or reading.failure is not None
    yield _gauge(
        "apex_dataverse_up",
        "Whether the panel's last read of Dataverse succeeded.",
        float(reading.failure is None) if was_asked else None,
    )


def _gauge(name: str, help_text: str, value: float | None) -> Metric:
    return GaugeMetricFamily(name, help_text, value=value)


def _counter(name: str, help_text: str, value: float) -> Metric:
    return CounterMetricFamily(name, help_text, value=value)


def _unix(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
