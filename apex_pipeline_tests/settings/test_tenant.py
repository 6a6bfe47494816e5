"""A tenant's name, and what follows from it."""

from pathlib import Path

import pytest

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import (
    NO_TENANT,
    find_mistakes,
    load_analysis_settings,
    load_code_location,
    load_journal_name,
    load_settings,
    load_tenant,
    record_dir,
    state_dir,
    state_root,
)
from apex_pipeline_tests.support.complete_settings import REAL

ACME = REAL | {"APEX_TENANT": "acme"}


@pytest.mark.parametrize("name", ["a", "acme", "acme-eu-2", "7", "a" * 40])
def test_a_name_of_letters_digits_and_hyphens_is_taken(name):
    assert load_tenant({"APEX_TENANT": name}).name == name


@pytest.mark.parametrize(
    "name",
    ["Acme", "ac_me", "ac me", "-acme", "acme-", "acme/x", "..", "ä", "a" * 41, "a\nb"],
)
def test_another_name_is_refused_before_anything_is_named_after_it(name):
    environment = REAL | {"APEX_TENANT": name}
    for load in (load_tenant, load_code_location, load_settings, state_dir):
        with pytest.raises(ConfigError, match="APEX_TENANT"):
            load(environment)
    assert sum("APEX_TENANT" in each for each in find_mistakes(environment)) == 1


@pytest.mark.parametrize("unset", [{}, {"APEX_TENANT": "  "}])
def test_without_a_tenant_every_name_is_the_plain_one(unset):
    environment = {"APEX_STATE_DIR": "/state", "APEX_EXPORT_DIR": "/exports"} | unset
    assert load_tenant(environment) is NO_TENANT
    assert load_code_location(environment) == "apex_pipeline"
    assert load_journal_name(environment) == "apex_pipeline"
    assert state_dir(environment) == state_root(environment) == Path("/state")
    assert record_dir(environment) == Path("/state/inbox")
    assert load_analysis_settings(environment).export_dir == Path("/exports")
    assert NO_TENANT.title("Campaign metrics") == "Campaign metrics"
    assert (NO_TENANT.key_prefix, NO_TENANT.labels, NO_TENANT.run_tags) == ((), {}, {})


def places(tenant: str) -> set[Path]:
    """Folders and files in which a tenant keeps something, in shared folders."""
    environment = REAL | {
        "APEX_TENANT": tenant,
        "APEX_STATE_DIR": "/state",
        "APEX_EXPORT_DIR": "/exports",
        "APEX_RECORD_DIR": "/inbox",
    }
    return {
        state_dir(environment),
        load_settings(environment).token_cache_path,
        load_analysis_settings(environment).export_dir,
        record_dir(environment),
    }


def test_two_tenants_share_no_file_in_shared_folders():
    assert not places("acme") & places("globex")
    for place in places("acme"):
        assert not any(place.is_relative_to(other) for other in places("globex"))


def test_two_tenants_have_different_locations_and_journals():
    assert load_code_location(ACME) == "apex_pipeline-acme"
    assert load_code_location(ACME | {"DAGSTER_LOCATION_NAME": "eu"}) == "eu"
    # Even where both were given one location's name, their incidents stay apart.
    same = {"DAGSTER_LOCATION_NAME": "eu"}
    globex = ACME | {"APEX_TENANT": "globex"}
    assert load_journal_name(ACME | same) != load_journal_name(globex | same)
