"""`GET /metrics`: Prometheus's text format, version 0.0.4; pure.

Unknown values are left out, so that an alert on absent series notices; they are never
reported as 0.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from apex_pipeline.panel.cache import Reading
from apex_pipeline.panel.cached_sources import DataverseUse, Health
from apex_pipeline.panel.kpis import Comparison
from apex_pipeline.panel.measurement import BUCKETS, Latencies
from apex_pipeline.postgres.run_ledger import Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[str, Mapping[str, str], float]
"""Suffix of the name, labels, value."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family: name, type, help text, and samples."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]

    def lines(self) -> Iterator[str]:
        """The lines of its exposition; none without a sample."""
        if not self.samples:
            return
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {self.kind}"
        for suffix, labels, value in self.samples:
            listed = ",".join(
                f'{key}="{_escaped(text)}"' for key, text in labels.items()
            )
            yield (
                f"{self.name}{suffix}{{{listed}}} {value!r}"
                if listed
                else (f"{self.name}{suffix} {value!r}")
            )


def expose(families: Iterable[Family]) -> bytes:
    """The whole document."""
    lines = [line for family in families for line in family.lines()]
    return "".join(f"{line}\n" for line in lines).encode()


def sync_families(health: Health | None, totals: Totals | None) -> Iterator[Family]:
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


def token_families(totals: Totals | None, use: DataverseUse) -> Iterator[Family]:
    """Hits and misses of the token cache, in the sync and in this process."""
    by_process = {"panel": (use.token_hits, use.token_misses)}
    if totals is not None:
        by_process["sync"] = (totals.token_cache_hits, totals.token_cache_misses)
    for place, name, help_text in (
        (0, "hits", "Requests to Dataverse that found an access token in the cache."),
        (1, "misses", "Requests to Dataverse that needed a new access token."),
    ):
        yield Family(
            f"apex_token_cache_{name}_total",
            "counter",
            help_text,
            tuple(
                ("", {"process": process}, float(counts[place]))
                for process, counts in sorted(by_process.items())
            ),
        )


def dataverse_families(
    reading: Reading[Comparison], use: DataverseUse
) -> Iterator[Family]:
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


def latency_family(latencies: Latencies) -> Family:
    """The histogram of answer times."""
    samples: list[Sample] = []
    for (method, route, status), counts, total in latencies.series():
        labels = {"method": method, "route": route, "status": status}
        passed = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
            passed += count
            samples.append(("_bucket", {**labels, "le": bound}, float(passed)))
        samples.append(("_sum", labels, total))
        samples.append(("_count", labels, float(passed)))
    return Family(
        "apex_http_request_duration_seconds",
        "histogram",
        "Time from a request's arrival to the end of its answer.",
        tuple(samples),
    )


def _gauge(name: str, help_text: str, value: float | None) -> Family:
    samples: tuple[Sample, ...] = () if value is None else (("", {}, float(value)),)
    return Family(name, "gauge", help_text, samples)


def _counter(name: str, help_text: str, value: float) -> Family:
    return Family(f"{name}_total", "counter", help_text, (("", {}, float(value)),))


def _unix(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
