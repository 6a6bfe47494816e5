"""The panel over real HTTP, between a real Postgres and the served emulator."""

import csv
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import StringIO
from uuid import uuid4

import httpx
import psycopg
import pytest

from apex_pipeline.analytics.forecast.cost_forecast import train
from apex_pipeline.analytics.rollups.periods import DAILY, Periods
from apex_pipeline.analytics.rollups.refresh import refresh
from apex_pipeline.emulator import ServedEmulator
from apex_pipeline.panel.cache import CacheTiming
from apex_pipeline.panel.source_values import Timings
from apex_pipeline.postgres import stored_pacing
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.run_ledger import RunRecord, RunStatus
from apex_pipeline.postgres.store import Store
from apex_pipeline.settings import load_analysis_settings
from apex_pipeline.sync.pacing_memory import pacing_key
from apex_pipeline.web_gate.rate_limit import Rate
from apex_pipeline_tests.support.ends import (
    campaign_row,
    emulator_settings,
    environment,
    execute,
    insert,
    query,
)
from apex_pipeline_tests.support.panel_server import (
    ago,
    deliver,
    figures,
    reads,
    served,
)
from apex_pipeline_tests.support.rollup_reference import metric
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

SAMPLE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r'(?P<labels>\{[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*"'
    r'(?:,[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*")*\})?'
    r" (?P<value>\S+)"
)


@pytest.fixture
def variables(emulator: ServedEmulator, database_url: str, tmp_path) -> dict[str, str]:
    return environment(emulator, database_url, tmp_path)


@pytest.fixture
def panel(variables: dict[str, str]) -> Iterator[httpx.Client]:
    with (
        served(variables) as url,
        httpx.Client(base_url=url, timeout=SECONDS) as client,
    ):
        yield client


@pytest.fixture
def restless(variables: dict[str, str]) -> Iterator[httpx.Client]:
    """A panel that reads again for each request."""
    always = CacheTiming(fresh=0, stale=1000, first_pause=0)
    timings = Timings(always, always, always)
    with (
        served(variables, timings=timings) as url,
        httpx.Client(base_url=url, timeout=SECONDS) as client,
    ):
        yield client


def test_the_tiles_tell_the_last_24_hours_beside_the_24_before(emulator, panel):
    deliver(
        emulator,
        {
            "apex_campaignid": "a",
            "apex_costusd": 1.5,
            "apex_agentstotal": 4,
            "apex_agentssuccessful": 1,
            "apex_assetsgenerated": 10,
            "apex_tokensin": 100,
            "apex_tokensout": 7,
            "apex_latencyp95ms": 900,
        },
        {
            "apex_campaignid": "a",
            "apex_costusd": 0.5,
            "apex_agentstotal": 1,
            "apex_agentssuccessful": 1,
            "apex_assetsgenerated": 5,
            "apex_tokensin": 50,
            "apex_tokensout": 3,
            "apex_latencyp95ms": 100,
        },
        {
            "apex_campaignid": "b",
            "apex_createdat": ago(hours=30),
            "apex_costusd": 1,
            "apex_agentstotal": 2,
            "apex_agentssuccessful": 1,
            "apex_assetsgenerated": 6,
            "apex_tokensin": 300,
            "apex_tokensout": 20,
            "apex_latencyp95ms": 450,
        },
        {"apex_createdat": ago(hours=49), "apex_costusd": 1000},
    )
    answer = panel.get("/api/kpis")
    assert answer.status_code == 200
    assert figures(answer) == {
        "cost_per_campaign_usd": (2, 1),
        "latency_p95_worst_ms": (900, 450),
        "latency_p95_median_ms": (500, 450),
        "success_rate_pct": (40, 50),
        "assets_per_run": (7.5, 6),
        "tokens_in": (150, 300),
        "tokens_out": (10, 20),
    }
    assert answer.json()["runs"] == {"current": 2, "previous": 1}
    assert answer.json()["state"] == "fresh"


def test_no_data_is_null_and_never_0(panel):
    answer = panel.get("/api/kpis")
    assert set(figures(answer).values()) == {(None, None)}
    assert answer.json()["state"] == "empty"


def test_recent_metrics_come_newest_first_with_the_columns_of_ours_alone(
    emulator, panel
):
    deliver(
        emulator,
        *({"apex_phase": str(n), "apex_createdat": ago(hours=n)} for n in (3, 1, 2)),
    )
    answer = panel.get("/api/metrics/recent", params={"limit": 2}).json()
    assert (answer["ok"], answer["count"]) == (True, 2)
    assert [metric["apex_phase"] for metric in answer["metrics"]] == ["1", "2"]
    assert answer["metrics"][0]["apex_costusd"] == 0.00348
    assert not [name for name in answer["metrics"][0] if not name.startswith("apex_")]


def test_parameters_that_are_none_are_named(panel):
    for limit in ("0", "501", "-1", "x", "", "1.5", "1&limit=2", "٣", "1" * 5000):
        answer = panel.get(f"/api/metrics/recent?limit={limit}")
        assert answer.status_code == 400
        assert answer.json() == {
            "ok": False,
            "error": "invalid_request",
            "message": "limit must be a whole number from 1 to 500, once.",
        }
    for days in ("31", "0", "x", "30&days=30"):
        answer = panel.get(f"/api/history?days={days}")
        assert answer.status_code == 400
        assert answer.json()["message"] == "days must be one of 30, 60, 90, once."


def test_the_history_is_told_in_each_time_zone_that_is_computed_and_in_no_other(
    database_url, variables
):
    """A run late in the evening of UTC belongs to the next day in Berlin."""
    now = datetime.now(UTC)
    day = now.date() - timedelta(days=3)
    late = datetime(day.year, day.month, day.day, 23, 30, tzinfo=UTC)
    insert(database_url, [metric(late)])
    zones = {"APEX_TIME_ZONE": "Europe/Berlin"}
    with Database(database_url, application_name="tests") as database:
        periods = Periods(DAILY, now.date() - timedelta(days=40), now.date())
        refresh(database, load_analysis_settings(zones), periods)
    with served(variables | zones) as url:

        def ran_on(query):
            told = httpx.get(f"{url}/api/history?days=30{query}").json()
            return told["time_zone"], [d["day"] for d in told["days"] if d["runs"]]

        berlin = ("Europe/Berlin", [str(day + timedelta(days=1))])
        assert ran_on("") == ran_on("&zone=Europe/Berlin") == berlin
        assert ran_on("&zone=UTC") == ("UTC", [str(day)])
        for zone in ("America/New_York", "", "UTC&zone=UTC"):
            answer = httpx.get(f"{url}/api/history?zone={zone}")
            assert answer.status_code == 400
            assert "zone must be UTC or Europe/Berlin" in answer.json()["message"]


def test_without_configuration_the_api_says_what_to_set(database_url, tmp_path):
    variables = {"DATABASE_URL": database_url, "APEX_STATE_DIR": str(tmp_path)}
    with served(variables) as url:
        answer = httpx.get(f"{url}/api/metrics/recent")
    assert answer.status_code == 503
    assert answer.json()["error"] == "not_configured"
    assert "DATAVERSE_RESOURCE" in answer.json()["message"]


def test_a_failing_dataverse_is_told_as_a_bad_gateway(emulator, panel):
    emulator.fault("status", status=400, path="apex_campaignmetricses", count=100)
    answer = panel.get("/api/metrics/recent")
    assert answer.status_code == 502
    assert answer.json()["ok"] is False
    assert answer.json()["error"] == "dataverse_failed"


def test_the_page_shows_the_figures_without_javascript(emulator, panel):
    deliver(emulator, {"apex_latencyp95ms": 12345})
    page = panel.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "12,345 ms" in page.text
    assert panel.get("/static/panel.css").status_code == 200


def test_unknown_addresses_and_methods_are_told_in_json(panel):
    assert panel.get("/api/nothing").json()["ok"] is False
    answer = panel.post("/api/kpis")
    assert (answer.status_code, answer.json()["ok"]) == (405, False)


def test_fifty_viewers_at_once_cost_dataverse_one_read(emulator, panel):
    deliver(emulator, {})
    with ThreadPoolExecutor(50) as executor:
        answers = list(executor.map(panel.get, ["/api/kpis"] * 50 + ["/"] * 50))
    assert {answer.status_code for answer in answers} == {200}
    assert len(reads(emulator)) == 1


def test_nothing_is_read_before_somebody_looks(emulator, panel):
    emulator.clear_requests()
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert panel.get(path).is_success
    assert emulator.requests() == []


def test_a_new_record_a_changed_one_and_one_that_has_gone_too_old_are_noticed(
    emulator, restless
):
    key = str(uuid4())
    deliver(
        emulator,
        {"apex_campaignmetricsid": key, "apex_tokensin": 1},
        {"apex_tokensin": 10, "apex_createdat": ago(hours=47, minutes=59, seconds=58)},
    )
    assert figures(restless.get("/api/kpis"))["tokens_in"] == (1, 10)
    deliver(
        emulator,
        {"apex_campaignmetricsid": key, "apex_tokensin": 2},
        {"apex_tokensin": 100},
    )

    def seen() -> tuple[float | None, float | None]:
        return figures(restless.get("/api/kpis"))["tokens_in"]

    wait_until(lambda: seen() == (102, None))
    assert all("modifiedon%20ge" in path for path in reads(emulator)[1:])


def test_a_dead_dataverse_leaves_the_last_values_and_says_so(emulator, restless):
    deliver(emulator, {"apex_latencyp95ms": 777})
    first = restless.get("/api/kpis").json()
    emulator.fault("status", status=503, message="<b>gone</b>", count=None)
    wait_until(lambda: restless.get("/api/kpis").json()["state"] == "error")
    answer = restless.get("/api/kpis")
    told = answer.json()
    assert (answer.status_code, told["ok"], told["error"]) == (
        *(200, True),
        "dataverse_failed",
    )
    assert told["as_of"] >= first["as_of"]
    assert told["generated_at"] >= told["as_of"]
    assert figures(answer)["latency_p95_worst_ms"] == (777, None)
    page = restless.get("/").text
    assert "777" in page
    assert "<b>gone" not in page
    assert restless.get("/readyz").json() == {
        "ok": True,
        "database": "ok",
        "dataverse": "failed",
        "message": None,
    }
    emulator.clear_faults()
    wait_until(lambda: restless.get("/api/kpis").json()["state"] == "fresh")


def test_a_dataverse_that_never_answered_is_told_with_the_syncs_own_health(
    emulator, panel, database_url
):
    insert(database_url, [campaign_row()])
    emulator.fault("status", status=403, count=None)
    answer = panel.get("/api/kpis")
    assert answer.status_code == 502
    assert (answer.json()["ok"], answer.json()["state"]) == (False, "error")
    assert set(figures(answer).values()) == {(None, None)}
    assert answer.json()["sync"]["pending"] == 1


def test_while_dataverse_has_asked_the_sync_to_wait_the_panel_waits_too(
    emulator, panel, store: Store
):
    until_then = datetime(2100, 1, 1, tzinfo=UTC)
    store.ask(
        stored_pacing.save_pacing,
        pacing_key(emulator_settings(emulator)),
        {},
        until_then,
    )
    emulator.clear_requests()
    answer = panel.get("/api/metrics/recent")
    assert answer.status_code == 502
    assert "accepts requests again" in answer.json()["message"]
    assert emulator.requests() == []


def test_a_database_that_is_down_hides_no_figure_of_dataverse(emulator, variables):
    deliver(emulator, {"apex_tokensin": 5})
    gone = variables["DATABASE_URL"].rpartition("/")[0] + "/nothing"
    with served(variables | {"DATABASE_URL": gone}) as url:
        kpis = httpx.get(f"{url}/api/kpis", timeout=SECONDS)
        history = httpx.get(f"{url}/api/history")
        file = httpx.get(f"{url}/api/rollups/daily.csv")
        ready = httpx.get(f"{url}/readyz")
        metrics = httpx.get(f"{url}/metrics")
    assert figures(kpis)["tokens_in"] == (5, None)
    # Old figures must not pass for the newest.
    assert kpis.json()["state"] == "stale"
    assert kpis.json()["sync"]["error"] == "database_failed"
    assert kpis.json()["sync"]["pending"] is None
    assert (history.status_code, history.json()["error"]) == (503, "database_failed")
    assert (file.status_code, file.json()["error"]) == (503, "database_failed")
    assert (ready.status_code, ready.json()["database"]) == (503, "failed")
    assert "apex_database_up 0.0" in metrics.text
    assert "apex_pending_rows" not in metrics.text


def test_rows_that_wait_too_long_make_the_figures_stale(emulator, panel, database_url):
    deliver(emulator, {})
    insert(database_url, [campaign_row(created_at=ago(minutes=11))])
    told = panel.get("/api/kpis").json()
    assert told["state"] == "stale"
    assert "11 min" in told["message"]


def test_a_record_that_holds_what_its_column_is_not_for_is_a_failure_not_a_zero(
    emulator, panel
):
    emulator.fault("html", status=200, path="apex_campaignmetricses", count=None)
    assert panel.get("/api/kpis").status_code == 502


def test_the_history_tells_whole_days_and_which_are_not_computed(panel, database_url):
    execute(
        database_url,
        """
        INSERT INTO daily_rollup_total (time_zone, day, runs, agents_total,
            agents_successful, assets_generated, tokens_in, tokens_out, cost_usd)
        VALUES ('UTC', (now() AT TIME ZONE 'UTC')::date - 1, 3, 4, 3, 5, 6, 7, 1.5)
        """,
    )
    for days in (30, 60, 90):
        told = panel.get(f"/api/history?days={days}").json()
        assert len(told["days"]) == days
    assert [day["is_computed"] for day in told["days"]] == [False] * 89 + [True]
    assert told["days"][-1]["cost_usd"] == 1.5
    assert told["days"][0]["cost_usd"] is None


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_sum_that_is_not_finite_is_not_known_and_hides_no_other(
    panel, database_url, value
):
    execute(
        database_url,
        f"""
        INSERT INTO daily_rollup_total (time_zone, day, runs, agents_total,
            agents_successful, assets_generated, tokens_in, tokens_out, cost_usd,
            latency_p95_worst_ms)
        SELECT 'UTC', (now() AT TIME ZONE 'UTC')::date - n, 3, 4, 3, 5, 6, 7,
            CASE n WHEN 2 THEN '{value}' ELSE 1.5 END, '{value}'
        FROM generate_series(1, 9) AS n
        """,
    )

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    answer = panel.get("/api/history?days=30")
    days = json.loads(answer.text, parse_constant=refuse)["days"]
    assert [day["cost_usd"] for day in days[-3:]] == [1.5, None, 1.5]
    assert days[-1]["latency_p95_worst_ms"] is None
    page = panel.get("/")
    assert page.status_code == 200
    assert not {"nan", "infinity"} & set(re.findall(r"\w+", page.text.lower()))


def test_the_forecast_is_told_with_its_intervals_or_why_there_is_none(
    restless, database_url
):
    told = restless.get("/api/forecast").json()
    assert (told["ok"], told["available"], told["days"]) == (True, False, [])
    assert "every night" in told["reason"]
    execute(
        database_url,
        """
        INSERT INTO daily_rollup_total (time_zone, day, runs, agents_total,
            agents_successful, assets_generated, tokens_in, tokens_out, cost_usd)
        SELECT 'UTC', (now() AT TIME ZONE 'UTC')::date - n, 3, 4, 3, 5, 6, 7, 10 + n % 7
        FROM generate_series(1, 80) AS n
        """,
    )
    with Database(database_url, application_name="test") as database:
        train(database, load_analysis_settings({}), datetime.now(UTC))
    wait_until(lambda: restless.get("/api/forecast").json()["available"])
    told = restless.get("/api/forecast").json()
    assert len(told["days"]) == 90
    for day in told["days"][:7]:
        assert day["low_80_usd"] <= day["cost_usd"] <= day["high_80_usd"]
    assert {total["horizon"] for total in told["totals"]} >= {"7d", "30d", "90d"}
    assert told["accuracy"]["sum_error_pct"] is not None


def test_the_daily_rollups_are_a_file_that_runs_nothing(panel, database_url):
    execute(
        database_url,
        """
        INSERT INTO daily_campaign_rollup (time_zone, day, campaign_id, phase, runs,
            agents_total, agents_successful, assets_generated, tokens_in, tokens_out,
            cost_usd)
        SELECT 'UTC', '2026-11-24', '=cmd', n::text, 3, 4, 3, 5, 6, 7, 1.5
        FROM generate_series(1, 3000) AS n
        """,
    )
    answer = panel.get("/api/rollups/daily.csv")
    assert answer.headers["content-type"].startswith("text/csv; charset=utf-8")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(StringIO(answer.text, newline="")))
    assert len(rows) == 3000
    assert {row["campaign_id"] for row in rows} == {"'=cmd"}
    tag = {"If-None-Match": answer.headers["etag"]}
    assert panel.get("/api/rollups/daily.csv", headers=tag).status_code == 304


def test_the_file_of_the_history_is_what_the_table_shows(panel, database_url):
    execute(
        database_url,
        """
        INSERT INTO daily_rollup_total (time_zone, day, runs, agents_total,
            agents_successful, assets_generated, tokens_in, tokens_out, cost_usd)
        SELECT 'UTC', (now() AT TIME ZONE 'UTC')::date - n, 3, 4, 3, 5, 6, 7, n
        FROM generate_series(1, 80) AS n
        """,
    )
    answer = panel.get("/api/history.csv?days=60")
    assert "history_60d.csv" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(StringIO(answer.text, newline="")))
    assert [float(row["cost_usd"]) for row in rows] == list(range(60, 0, -1))
    assert {row["time_zone"] for row in rows} == {"UTC"}
    assert panel.get("/api/history.csv?days=5").status_code == 400


def test_the_file_of_campaigns_is_what_the_table_shows(panel, database_url):
    execute(
        database_url,
        """
        INSERT INTO daily_campaign_rollup (time_zone, day, campaign_id, phase, runs,
            agents_total, agents_successful, assets_generated, tokens_in, tokens_out,
            cost_usd)
        SELECT 'UTC', (now() AT TIME ZONE 'UTC')::date - 1 - 30 * (c % 2),
            lpad(c::text, 3, '0'), '1', 3, 4, 3, 5, 6, 7, c
        FROM generate_series(1, 24) AS c
        """,
    )
    answer = panel.get("/api/campaigns.csv?days=30")
    assert "campaigns_30d.csv" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(StringIO(answer.text, newline="")))
    costs = [float(row["cost_usd"]) for row in rows]
    assert costs == [24, 22, 20, 18, 16, 14, 12, 10, 8, 6]
    assert {row["time_zone"] for row in rows} == {"UTC"}
    assert {(row["before_usd"], row["success_rate_pct"]) for row in rows} == {
        ("0", "75.0000")
    }
    page = panel.get("/?days=30").text
    assert [page.index(f'title="{row["campaign_id"]}"') for row in rows]
    assert 'href="/api/campaigns.csv?days=30"' in page
    tag = {"If-None-Match": answer.headers["etag"]}
    assert panel.get("/api/campaigns.csv?days=30", headers=tag).status_code == 304


def test_what_has_not_changed_is_not_sent_again(emulator, panel):
    deliver(emulator, {})
    for path in ("/api/kpis", "/api/metrics/recent", "/api/history", "/openapi.json"):
        first = panel.get(path)
        tag = first.headers["etag"]
        again = panel.get(path, headers={"If-None-Match": f'"other", {tag}'})
        assert (again.status_code, again.content) == (304, b""), path
        assert again.headers["etag"] == tag
        assert panel.get(path, headers={"If-None-Match": '"other"'}).is_success
        head = panel.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["etag"] == tag


def test_what_is_long_travels_compressed_where_it_is_understood(emulator, panel):
    deliver(emulator, *[{}] * 20)
    compressed = panel.get("/api/metrics/recent")
    assert compressed.headers["content-encoding"] == "gzip"
    plain = panel.get("/api/metrics/recent", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.json() == compressed.json()


def test_a_request_that_is_too_large_is_not_read(panel):
    announced = panel.post("/sign-in", content=b"x" * 1024 * 1025)
    assert (announced.status_code, announced.json()["error"]) == (413, "too_large")
    streamed = panel.post("/sign-in", content=(b"x" * 1024 for _ in range(1100)))
    assert (streamed.status_code, streamed.json()["error"]) == (413, "too_large")


def test_a_client_that_asks_too_often_is_told_when_to_come_back(variables):
    # So slow that no machine earns another request meanwhile.
    rate = Rate(per_second=0.001, burst=3)
    with (
        served(variables, requests=rate) as url,
        httpx.Client(base_url=url, timeout=SECONDS) as client,
    ):
        answers = [
            client.get("/openapi.json", headers={"X-Forwarded-For": str(number)})
            for number in range(4)
        ]
        assert [answer.status_code for answer in answers] == [200] * 3 + [429]
        assert answers[-1].json()["error"] == "too_many_requests"
        assert 500 < int(answers[-1].headers["retry-after"]) <= 1000
        assert client.get("/healthz").status_code == 200


def test_a_run_is_recorded_over_http_and_by_no_other_sites_page(panel, database_url):
    run = {
        "campaignId": str(uuid4()),
        "runId": str(uuid4()),
        "phase": "2-3",
        "agentsTotal": 4,
        "agentsSuccessful": 3,
        "assetsGenerated": 9,
        "tokensIn": 10,
        "tokensOut": 20,
        "costUSD": 0.5,
        "latencyP95Ms": 900,
        "latencyAvgMs": 300,
    }
    foreign = {"Origin": "https://evil.example.com"}
    path = "/api/metrics/campaign"
    assert panel.post(path, json=run, headers=foreign).status_code == 403
    assert panel.post(path, json=run).status_code == 201
    assert panel.get(path).status_code == 405
    written = "SELECT success_rate_pct FROM campaign_metrics"
    assert query(database_url, written) == [(75,)]


def test_html_in_a_record_stays_text(emulator, panel):
    deliver(emulator, {"apex_phase": "<script>1", "apex_campaignid": "</script><b>"})
    answer = panel.get("/api/metrics/recent")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["metrics"][0]["apex_phase"] == "<script>1"
    assert "<script>1" not in panel.get("/").text


def test_prometheus_is_told_what_the_ledger_holds(panel, store: Store, database_url):
    for _ in range(2):
        run_id = store.start_run(at=datetime.now(UTC), dagster_run_id=None)
        store.finish_run(
            run_id,
            RunRecord(
                status=RunStatus.SUCCESS,
                finished_at=datetime(2026, 11, 25, tzinfo=UTC),
                delivered=5,
                rejected=1,
                throttled_seconds=1.5,
                token_cache_hits=9,
                token_cache_misses=2,
            ),
        )
    insert(database_url, [campaign_row()])
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO audit_verification (events, anchors, problems) "
            "VALUES (2, 0, '{broken}')"
        )
        connection.execute(
            "INSERT INTO audit_anchor (sequence, hash, anchored_at) "
            "SELECT sequence, hash, now() - interval '1 hour' FROM audit_event LIMIT 1"
        )
    panel.get("/api/nothing-such")
    answer = panel.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    told = prometheus(answer.text)
    assert told["apex_pending_rows"] == 1
    assert told["apex_oldest_pending_age_seconds"] > 0
    assert told["apex_delivered_rows_total"] == 10
    assert told["apex_rejected_rows_total"] == 2
    assert told["apex_throttled_seconds_total"] == 3
    assert told['apex_token_cache_hits_total{process="sync"}'] == 18
    assert told['apex_token_cache_misses_total{process="sync"}'] == 4
    assert told['apex_token_cache_hits_total{process="panel"}'] == 0
    assert told["apex_last_success_timestamp_seconds"] == 1795564800
    assert told["apex_audit_trail_unbroken"] == 0
    assert told["apex_audit_anchor_age_seconds"] >= 3600
    labels = 'method="GET",route="other",status="404"'
    name = "apex_http_request_duration_seconds"
    assert told[f"{name}_count{{{labels}}}"] == 1
    assert told[f'{name}_bucket{{le="+Inf",{labels}}}'] == 1
    assert told[f"{name}_sum{{{labels}}}"] > 0


def prometheus(text: str) -> dict[str, float]:
    """The samples, after a strict check of the format (exposition formats, 0.0.4)."""
    assert text.endswith("\n")
    told: dict[str, float] = {}
    kinds: dict[str, str] = {}
    helped: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped.add(line.split()[2])
        elif line.startswith("# TYPE "):
            _, _, family, kind = line.split()
            assert family not in kinds
            kinds[family] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            sample, labels, value = match["name"], match["labels"] or "", match["value"]
            family = family_of(sample, kinds)
            assert kinds[family] == "counter" if family.endswith("_total") else True
            assert family in helped
            assert f"{sample}{labels}" not in told
            told[f"{sample}{labels}"] = float(value)
    return told


def family_of(sample: str, kinds: dict[str, str]) -> str:
    """The family that a sample belongs to, which its lines must follow."""
    if sample in kinds:
        return sample
    family = next(
        sample.removesuffix(suffix)
        for suffix in ("_bucket", "_sum", "_count")
        if sample.endswith(suffix)
    )
    assert kinds[family] == "histogram"
    return family


def test_viewers_read_what_is_wrong_and_not_where(variables):
    """A host name, a port and a database name would help an attacker."""
    hidden = "postgresql://someone@127.0.0.1:1/secret_database"
    with (
        served(variables | {"DATABASE_URL": hidden}) as url,
        httpx.Client(base_url=url, timeout=SECONDS) as client,
    ):
        for path in ("/", "/api/kpis", "/api/history", "/readyz", "/api/forecast"):
            text = client.get(path).text
            assert "127.0.0.1:1/" not in text
            assert "secret_database" not in text
            assert "port 1" not in text
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["message"].startswith("The metrics database is not available.")
