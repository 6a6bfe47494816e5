"""Rules and dashboard in `deploy/observability/` read what the panel's /metrics tells."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families

from apex_pipeline.monitoring.facts import LATE, OVERDUE
from apex_pipeline.monitoring.rules import catalogue
from apex_pipeline.monitoring.rules.alert_rule import Rule
from apex_pipeline.postgres.run_ledger import RunRecord, RunStatus
from apex_pipeline.settings.tenant import load_tenant
from apex_pipeline_tests.support.ends import (
    campaign_row,
    environment,
    execute,
    insert,
)
from apex_pipeline_tests.support.panel_server import served
from apex_pipeline_tests.support.waiting import SECONDS

FOLDER = Path(__file__).parents[2] / "deploy" / "observability"
RULES: dict[str, Any] = yaml.safe_load(
    (FOLDER / "prometheus-rules.yaml").read_text(encoding="utf-8")
)
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
DASHBOARD: dict[str, Any] = json.loads(
    (FOLDER / "grafana-dashboard.json").read_text(encoding="utf-8")
)
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"]}
# Prometheus adds these to each series that it scrapes.
ADDED = {"job", "instance"}


@pytest.fixture
def told(emulator, store, database_url, tmp_path) -> dict[str, set[str]]:
    """Names of a tenant's samples, with the names of their labels."""
    run = store.start_run(at=datetime.now(UTC), dagster_run_id=None)
    ended = RunRecord(status=RunStatus.SUCCESS, finished_at=datetime.now(UTC))
    store.finish_run(run, ended)
    insert(database_url, [campaign_row()])
    execute(
        database_url,
        "INSERT INTO audit_verification (events, anchors, problems) VALUES (1, 0, '{}');"
        "INSERT INTO audit_anchor (sequence, hash, anchored_at) "
        "SELECT sequence, hash, now() FROM audit_event LIMIT 1",
    )
    given = environment(emulator, database_url, tmp_path)
    with (
        served(given, tenant=load_tenant({"APEX_TENANT": "acme"})) as url,
        httpx.Client(base_url=url, timeout=SECONDS) as panel,
    ):
        assert panel.get("/api/kpis").status_code == 200
        families = list(text_string_to_metric_families(panel.get("/metrics").text))
    samples = [sample for family in families for sample in family.samples]
    labels: dict[str, set[str]] = {}
    for sample in samples:
        labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def expressions() -> Iterator[tuple[str, str]]:
    """Each expression with what it belongs to; Grafana's own variable replaced."""
    for name, rule in ALERTS.items():
        yield name, rule["expr"]
    for title, panel in PANELS.items():
        for target in panel["targets"]:
            yield title, target["expr"].replace("$__rate_interval", "5m")


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    found = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def test_every_expression_reads_series_that_the_panel_tells(told):
    used = set()
    for place, expression in expressions():
        for selector in selectors(expression):
            assert selector.name in told, (place, selector.name)
            labels = {each.name for each in selector.matchers.matchers}
            assert labels <= told[selector.name] | ADDED, (place, selector.name)
            used.add(selector.name)
    unused = {name for name in told if not name.endswith(("_sum", "_count", "_bucket"))}
    assert unused - used == set()


def test_every_label_in_a_text_is_on_the_alerts_series(told):
    for name, rule in ALERTS.items():
        texts = " ".join(rule["annotations"].values())
        labels = {
            label
            for selector in selectors(rule["expr"])
            for label in told[selector.name]
        }
        assert set(re.findall(r"\$labels\.(\w+)", texts)) <= labels | ADDED, name


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_a_rule_has_the_form_that_prometheus_reads(name):
    rule = ALERTS[name]
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    promql_parser.parse(rule["expr"])
    promql_parser.parse_duration(rule.get("for", "1s"))
    assert set(rule["annotations"]) == {"summary", "remedy"}
    assert rule["labels"]["severity"] in {"warning", "error"}


def test_rules_are_named_and_judged_as_the_pipelines_own():
    own = {
        rule.name: rule for rule in vars(catalogue).values() if isinstance(rule, Rule)
    }
    for rule in ALERTS.values():
        if (name := rule["labels"].get("rule")) is not None:
            assert own[name].severity.value == rule["labels"]["severity"]
    overdue = ALERTS["ApexRowsOverdue"]["expr"]
    assert overdue.endswith(f"> {OVERDUE.total_seconds():.0f}")
    late = ALERTS["ApexNoSuccess"]["expr"]
    assert f"> {LATE.total_seconds():.0f} and" in late


def test_grafana_reads_every_word_of_the_dashboard():
    """By Grafana's own models, which drop what their schema lacks."""
    register_default_plugins()
    understood = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    assert lost(DASHBOARD, understood) == []


def lost(given: Any, understood: Any, path: str = "") -> list[str]:
    """Paths of what is missing or differs."""
    if isinstance(given, dict) and isinstance(understood, dict):
        return [
            found
            for key, value in given.items()
            for found in lost(value, understood.get(key), f"{path}/{key}")
        ]
    if isinstance(given, list) and isinstance(understood, list):
        pairs = enumerate(zip_longest(given, understood))
        return [found for at, pair in pairs for found in lost(*pair, f"{path}/{at}")]
    return [] if given == understood else [path]


def test_no_panel_of_the_dashboard_covers_another():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(PANELS)
