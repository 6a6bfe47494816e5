"""Build the API's JSON documents from the cached values; pure.

The package's docstring and `openapi` describe their shapes.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from apex_pipeline.errors import (
    ApexError,
    AuthError,
    ConfigError,
    DatabaseError,
    OutOfTimeError,
    SchemaMissingError,
    TransientError,
)
from apex_pipeline.panel.cache import Reading
from apex_pipeline.panel.kpis import PeriodComparison
from apex_pipeline.panel.source_values import CostOutlook, Health, History, Recent
from apex_pipeline.panel.tiles import tiles
from apex_pipeline.texts.durations import words

Document = dict[str, Any]

MAX_AGE_SECONDS = 60
"""Values older than this are stale."""

POLL_SECONDS = 10.0
"""The longest time between two polls of a viewer."""

POLL_SOON_SECONDS = 0.4
"""Time to the next poll if the read of a new value has just started."""

ACCURACY = ("sum_days", "sum_error_pct", "coverage_50_pct", "coverage_80_pct")
"""The backtest figures of the chosen model; see `latest_forecast.OutlookScore`."""


def failed(failure: ApexError) -> tuple[int, Document]:
    """The status and the document for a failure that leaves nothing to show."""
    match failure:
        case ConfigError():
            status, code = 503, "not_configured"
        case DatabaseError():
            status, code = 503, "database_failed"
        case _:
            status, code = 502, "dataverse_failed"
    return status, {"ok": False, "error": code, "message": public_words(failure)}


def public_words(failure: ApexError) -> str:
    """A failure's text for viewers; hosts and addresses go to the log only."""
    match failure:
        case ConfigError() | OutOfTimeError():
            return str(failure)
        case SchemaMissingError():
            return "The metrics database lacks a table. Run `apex provision database`."
        case DatabaseError():
            return "The metrics database is not available. See the panel's log."
        case AuthError():
            return "Dataverse rejects the pipeline's credentials. See the panel's log."
        case _:
            return "Dataverse is not available. See the panel's log."


def recent_document(reading: Reading[Recent], limit: int) -> tuple[int, Document]:
    """`GET /api/metrics/recent`."""
    if reading.value is None:
        return failed(_failure(reading))
    metrics = reading.value.records[:limit]
    return 200, {
        "ok": True,
        "count": len(metrics),
        "metrics": metrics,
        "as_of": reading.value.as_of,
        "stale": reading.failure is not None or (reading.age or 0) > MAX_AGE_SECONDS,
    }


def kpis_document(
    reading: Reading[PeriodComparison], health: Reading[Health], now: datetime
) -> tuple[int, Document]:
    """`GET /api/kpis`: the tiles and the health of the sync."""
    value = reading.value
    status: int = 200
    outcome: Document = {"ok": True, "error": None, "message": None}
    if reading.failure is not None or value is None:
        status, outcome = failed(_failure(reading))
    if value is not None:
        status = 200
        outcome["ok"] = True
    state, words = _state(reading, health)
    return status, {
        **outcome,
        "state": state,
        "message": outcome["message"] or words,
        "as_of": value.as_of if value else None,
        "generated_at": now,
        "max_age_s": MAX_AGE_SECONDS,
        "poll_after_s": poll_after(reading),
        "window_hours": 24,
        "runs": value
        and {"current": value.current.runs, "previous": value.previous.runs},
        "tiles": tiles(value),
        "sync": _sync(health),
    }


def history_document(reading: Reading[History]) -> tuple[int, Document]:
    """`GET /api/history`."""
    if reading.value is None:
        return failed(_failure(reading))
    value = reading.value
    return 200, {
        "ok": True,
        "time_zone": value.time_zone,
        "as_of": value.as_of,
        "stale": reading.failure is not None,
        "days": [asdict(day) for day in value.days],
    }


def forecast_document(reading: Reading[CostOutlook]) -> tuple[int, Document]:
    """`GET /api/forecast`."""
    if reading.value is None:
        return failed(_failure(reading))
    made = reading.value.outlook
    used = (
        next((score for score in made.scores if score.is_used), None) if made else None
    )
    return 200, {
        "ok": True,
        "available": made is not None and made.model is not None,
        "reason": made.reason
        if made
        else "There is no forecast yet; it is computed every night.",
        "note": made.note if made else "",
        "as_of": made.made_at if made else None,
        "made_on": made.made_on if made else None,
        "model": made.model if made else None,
        "time_zone": reading.value.time_zone,
        "stale": reading.failure is not None,
        "days": [asdict(day) for day in made.days] if made else [],
        "totals": [asdict(total) for total in made.totals] if made else [],
        "campaigns": [asdict(each) for each in made.campaigns] if made else [],
        "accuracy": used and {name: getattr(used, name) for name in ACCURACY},
    }


def readiness_document(
    health: Reading[Health], comparison: Reading[PeriodComparison]
) -> tuple[int, Document]:
    """`GET /readyz`: whether the panel can serve requests.

    This does not ask Dataverse, which may be down: the panel then serves old values.
    """
    failure = health.failure
    dataverse = "not_asked" if comparison.value is None else "ok"
    if comparison.failure is not None:
        dataverse = "failed"
    if isinstance(failure, ConfigError):
        dataverse = "not_configured"
    is_ready = failure is None and health.value is not None
    return 200 if is_ready else 503, {
        "ok": is_ready,
        "database": "ok" if is_ready else "failed",
        "dataverse": dataverse,
        "message": None if failure is None else public_words(failure),
    }


def plain(value: object) -> object:
    """Encode for JSON: instants and days as ISO 8601, decimals as numbers.

    A number that is not finite, as in sums of earlier versions, becomes null.
    """
    match value:
        case datetime():
            return f"{value:%Y-%m-%dT%H:%M:%SZ}"
        case date():
            return value.isoformat()
        case Decimal():
            if not value.is_finite():
                return None
            return int(value) if value == value.to_integral_value() else float(value)
        case _:
            raise TypeError(type(value).__name__)


def poll_after(reading: Reading[Any]) -> float:
    """Seconds until the next value is due; an earlier poll would get the old one.

    While a read is running: as long again as it has taken so far.
    """
    wait = reading.due_in if reading.under_way is None else reading.under_way
    return round(min(max(wait, POLL_SOON_SECONDS), POLL_SECONDS), 1)


def _failure(reading: Reading[Any]) -> ApexError:
    return reading.failure or TransientError("Nothing has been read yet.")


def _state(
    reading: Reading[PeriodComparison], health: Reading[Health]
) -> tuple[str, str]:
    """The state, and a sentence that explains it."""
    if reading.failure is not None or reading.value is None:
        return "error", "Dataverse does not answer."
    if reading.age is not None and reading.age > MAX_AGE_SECONDS:
        return "stale", "These figures are old; new ones are being read."
    if health.failure is not None:
        return "stale", "The state of the sync is not available."
    if health.value and health.value.status.is_overdue:
        waiting = health.value.status.waiting_seconds or 0
        return "stale", (
            "The sync is late: a run has been waiting for "
            f"{words(timedelta(seconds=waiting))}."
        )
    if not (reading.value.current.runs or reading.value.previous.runs):
        return "empty", "No campaign ran in the last 48 hours."
    return "fresh", "Everything is up to date."


def _sync(health: Reading[Health]) -> Document:
    outcome: Mapping[str, Any] = {"ok": True, "error": None, "message": None}
    if health.failure is not None:
        outcome = failed(health.failure)[1]
    value = health.value
    known = asdict(value.status) if value else {}
    return {
        **outcome,
        "as_of": value.as_of if value else None,
        **{
            name: known.get(name)
            for name in (
                "pending",
                "oldest_pending_seconds",
                "quarantined",
                "last_success_at",
                "last_failure",
                "delivered_24h",
                "throttled_until",
            )
        },
    }
