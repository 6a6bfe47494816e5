"""The KPI panel and its JSON API.

The documents (`null` is no data, never 0; instants are ISO 8601 in UTC, ending in Z):

`GET /api/kpis`, 200; 502 or 503 with the same members if nothing was ever read:

    {"ok": true, "error": null, "message": "Everything is up to date.",
     "state": "fresh" | "stale" | "empty" | "error",      explained by `message`
     "as_of": when Dataverse was read, "generated_at": the time of this answer,
     "max_age_s": values older than this are stale,
     "poll_after_s": seconds until the next poll,
     "window_hours": 24, "runs": {"current": 49, "previous": 51} | null,
     "tiles": [{"key": "latency_p95", "label": "P95 latency",
                "better": "lower" | "higher" | "neither",
                "figures": [{"key": "latency_p95_worst_ms", "label": "Worst run",
                             "unit": "USD" | "ms" | "%" | "assets" | "tokens",
                             "value": 51200 | null, "previous": 48000 | null,
                             "change": 6.7 | null, "change_unit": "%" | "points"}]}],
     "sync": {"ok": true, "error": null, "message": null, "as_of": …, "pending": 0,
              "oldest_pending_seconds": null, "quarantined": 0, "last_success_at": …,
              "last_failure": null, "delivered_24h": 49, "throttled_until": null}}

There are always five tiles, in this order: `cost_per_campaign`, `latency_p95` (worst run,
median of runs), `success_rate`, `assets_per_run`, `tokens` (in, out).

`GET /api/metrics/recent?limit=`:

    {"ok": true, "count": 2, "metrics": [{"apex_campaignmetricsid": …, "apex_…": …}],
     "as_of": …, "stale": false}

`GET /api/history?days=30|60|90`, whole days, oldest first:

    {"ok": true, "time_zone": "UTC", "as_of": …, "stale": false,
     "days": [{"day": "2026-11-24", "is_computed": true, "runs": 49,
               "success_rate_pct": 93.2, "assets_generated": …, "tokens_in": …,
               "tokens_out": …, "cost_usd": …, "latency_p95_worst_ms": …,
               "latency_p95_median_ms": …, "runs_avg_7d": …, "cost_avg_7d_usd": …,
               "cost_before_usd": …}]}

`GET /api/forecast`, of the daily cost; `days` and `totals` are empty while `available`
is false, and ends of intervals are null if there are too few data for them:

    {"ok": true, "available": true, "reason": why this model, or why there is none,
     "note": its limits, "as_of": when it was computed, "made_on": "2026-11-25",
     "model": "weekday_level" | … | null, "time_zone": "UTC", "stale": false,
     "days": [{"day": "2026-11-25", "cost_usd": …, "low_50_usd": …, "high_50_usd": …,
               "low_80_usd": …, "high_80_usd": …}],
     "totals": [{"horizon": "7d" | "30d" | "90d" | "month_end", "first_day": …,
                 "last_day": …, "spent_usd": …, "cost_usd": …, "low_50_usd": …, …}],
     "accuracy": {"sum_days": 30, "sum_error_pct": …, "coverage_50_pct": …,
                  "coverage_80_pct": …} | null}

`recording` describes `POST /api/metrics/campaign`; `/openapi.json` describes everything.

Any failure: `{"ok": false, "error": "a_code", "message": "what to do"}`.
"""
