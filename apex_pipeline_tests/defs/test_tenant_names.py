"""The names that a code location gives to what Dagster stores, by tenant."""

import json
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import dagster as dg
import pytest

from apex_pipeline.defs.code_location import asset_key, asset_name
from apex_pipeline_tests.support.forked_apex import ForkedApex

PLAIN_ASSETS = {
    *("campaign_metrics", "pending_campaign_metrics", "dataverse_campaign_metrics"),
    *("exported_campaign_metrics", "quarantined_campaign_metrics"),
    *("dataverse_reconciliation", "daily_campaign_rollup", "weekly_campaign_rollup"),
    *("campaign_history", "cost_forecast", "campaign_csv_exports"),
    *("completion_report", "audit_trail"),
}

_SCRIPT = """
import json
from apex_pipeline.definitions import defs
from apex_pipeline.defs.code_location import LOCATION
from apex_pipeline.defs.pool_limits import POOL_LIMITS
repository = defs().get_repository_def()
graph = repository.asset_graph
jobs = repository.get_all_jobs()
print(json.dumps({
    "location": LOCATION,
    "assets": [key.to_user_string() for key in graph.get_all_asset_keys()],
    "checks": [key.to_user_string() for key in graph.asset_check_keys],
    "parents": [parent.to_user_string() for key in graph.get_all_asset_keys()
                for parent in graph.get(key).parent_keys],
    "lineage": [dep.asset_key.to_user_string()
                for key in graph.get_all_asset_keys()
                if (found := graph.get(key).metadata.get("dagster/column_lineage"))
                for deps in found.deps_by_column.values() for dep in deps],
    "selected": [key.to_user_string() for job in jobs
                 for key in job.asset_layer.selected_asset_keys],
    "tags": {job.name: dict(job.tags) for job in jobs},
    "pools": list(POOL_LIMITS),
    "steps": sorted({node.name for job in jobs for node in job.nodes}),
}))
"""


@pytest.fixture(scope="module")
def names(forked_apex: ForkedApex) -> Callable[[str], dict[str, Any]]:
    """What a process of a tenant's defines."""

    @cache
    def of(tenant: str) -> dict[str, Any]:
        environment = {**os.environ, "APEX_TENANT": tenant}
        environment.pop("DAGSTER_LOCATION_NAME", None)
        done = forked_apex.run_code(_SCRIPT, env=environment)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return of


@pytest.mark.slow
def test_without_a_tenant_every_name_is_the_plain_one(names):
    plain = names("")
    assert plain["location"] == "apex_pipeline"
    assert set(plain["assets"]) == PLAIN_ASSETS
    assert plain["pools"] == ["apex_pipeline/writer", "apex_pipeline/analysis"]
    assert not any("apex/tenant" in tags for tags in plain["tags"].values())
    assert {"sync", "dataverse_reconciliation", "audit_trail"} <= set(plain["steps"])


def test_a_tenants_assets_and_checks_have_its_prefix_wherever_they_are_named(names):
    acme, plain = names("acme"), names("")
    assert set(acme["assets"]) == {f"acme/{name}" for name in PLAIN_ASSETS}
    for kind in ("checks", "parents", "lineage", "selected"):
        assert plain[kind]
        assert sorted(acme[kind]) == sorted(f"acme/{name}" for name in plain[kind])


def test_a_tenants_jobs_carry_its_name_and_its_location(names):
    acme = names("acme")
    assert acme["location"] == "apex_pipeline-acme"
    assert acme["pools"] == ["apex_pipeline-acme/writer", "apex_pipeline-acme/analysis"]
    for job, tags in acme["tags"].items():
        if not job.startswith("__"):
            assert tags["apex/tenant"] == "acme"
            assert tags["dagster/code_location"] == "apex_pipeline-acme"


def test_the_steps_whose_options_are_written_by_hand_have_one_name_for_all_tenants(
    names,
):
    by_hand = {"sync", "dataverse_reconciliation", "audit_trail", "quarantine"}
    assert by_hand <= set(names("acme")["steps"])


def test_a_malformed_tenant_stops_the_code_location_with_a_sentence(forked_apex):
    done = forked_apex.run_code(
        "import apex_pipeline.definitions", env={**os.environ, "APEX_TENANT": "Acme"}
    )
    assert done.returncode != 0
    assert "ConfigError: APEX_TENANT: 'Acme' cannot be" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["campaign_metrics", "cost_forecast"])
def test_a_notice_names_an_asset_of_ours_without_a_prefix(name):
    assert asset_name(asset_key(name)) == name
    assert asset_name(dg.AssetKey(["other", name])) == f"other/{name}"
