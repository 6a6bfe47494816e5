"""The panel over real HTTP, between a real Postgres and the served emulator."""

from collections.abc import Iterator

import httpx
import pytest

from apex_pipeline.emulator import ServedEmulator
from apex_pipeline_tests.ends import environment
from apex_pipeline_tests.panel_server import ago, deliver, figures, served


@pytest.fixture
def variables(emulator: ServedEmulator, database_url: str, tmp_path) -> dict[str, str]:
    return environment(emulator, database_url, tmp_path)


@pytest.fixture
def panel(variables: dict[str, str]) -> Iterator[httpx.Client]:
    with served(variables) as url, httpx.Client(base_url=url, timeout=30) as client:
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


@pytest.mark.parametrize("limit", ["0", "501", "-1", "x", "", "1.5", "1&limit=2", "٣"])
def test_a_limit_that_is_none_is_named(panel, limit):
    answer = panel.get(f"/api/metrics/recent?limit={limit}")
    assert answer.status_code == 400
    assert answer.json() == {
        "ok": False,
        "error": "invalid_request",
        "message": "limit must be a whole number from 1 to 500, once.",
    }


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
    assert "12345" in page.text
    assert panel.get("/static/panel.css").status_code == 200


def test_unknown_addresses_and_methods_are_told_in_json(panel):
    assert panel.get("/api/nothing").json()["ok"] is False
    answer = panel.post("/api/kpis")
    assert (answer.status_code, answer.json()["ok"]) == (405, False)
