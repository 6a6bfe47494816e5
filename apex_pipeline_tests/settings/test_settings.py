import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import (
    dagster_environment,
    load_database_url,
    load_settings,
    local_file,
    normal_origin,
    served_pages,
)
from apex_pipeline_tests.support.complete_settings import REAL

SERVED = {
    "DATABASE_URL": "postgresql://apex:pw@127.0.0.1:5433/apex",
    "DATAVERSE_RESOURCE": "https://localhost:8443",
    "AZURE_TENANT_ID": "t",
    "AZURE_CLIENT_ID": "c",
    "AZURE_CLIENT_SECRET": "s",
    "AZURE_AUTHORITY_HOST": "https://localhost:8443",
    "APEX_CA_BUNDLE": __file__,
    "DAGSTER_HOME": "/somewhere",
    "DAGSTER_POSTGRES_URL": "postgresql://apex:pw@127.0.0.1:5433/dagster",
}


def problems(**changes):
    environment = {k: v for k, v in (REAL | changes).items() if v is not None}
    with pytest.raises(ConfigError) as caught:
        load_settings(environment)
    assert "pass-word" not in str(caught.value)
    assert "secret-value" not in str(caught.value)
    return str(caught.value)


def test_real_services_are_taken_as_they_are_given():
    settings = load_settings(REAL)
    assert settings.dataverse.resource == "https://org.crm.dynamics.com"
    assert settings.dataverse.authority == (
        "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47"
    )


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"]
)
def test_whatever_driver_a_url_names_ours_is_used(scheme):
    url = REAL["DATABASE_URL"].replace("postgresql", scheme, 1)
    assert load_settings(REAL | {"DATABASE_URL": url}).database_url == (
        "postgresql+psycopg://user:pass-word@neon.example/db?sslmode=require"
    )


def test_a_trailing_slash_is_no_mistake():
    resource = REAL["DATAVERSE_RESOURCE"] + "/"
    settings = load_settings(REAL | {"DATAVERSE_RESOURCE": resource})
    assert settings.dataverse.resource == "https://org.crm.dynamics.com"


@pytest.mark.parametrize(
    "spelled",
    [
        "https://ORG.crm.dynamics.com",
        "HTTPS://org.crm.dynamics.com:443/",
        "https://org.crm.dynamics.com.",
        " https://org.crm.dynamics.com.:443\r\n",
    ],
)
def test_an_origin_has_one_spelling(spelled):
    settings = load_settings(REAL | {"DATAVERSE_RESOURCE": spelled})
    assert settings.dataverse.resource == "https://org.crm.dynamics.com"
    assert normal_origin(f"{spelled.strip().rstrip('/')}/api?x=y") == (
        "https://org.crm.dynamics.com"
    )


@pytest.mark.parametrize(
    "other",
    [
        "http://org.crm.dynamics.com",
        "https://org.crm.dynamics.com:8443",
        "https://org.crm.dynamics.com.evil.example",
        "https://org.crm.dynamics.com@evil.example",
        "https://evil@org.crm.dynamics.com",
        "https://org.crm.dynamics.com..",
        "https://[",
        "org.crm.dynamics.com",
        "",
    ],
)
def test_another_origin_stays_another(other):
    assert normal_origin(other) != "https://org.crm.dynamics.com"


@pytest.mark.parametrize("absent", ["DATABASE_URL", "DATAVERSE_RESOURCE"])
@pytest.mark.parametrize("value", [None, "", " \t\r\n"])
def test_one_end_without_the_other_is_an_error(absent, value):
    message = problems(**{absent: value})
    assert f"but {absent} is not" in message
    assert f"{absent}=em" in message


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("DATABASE_URL", "nonsense", "must look like postgresql://"),
        ("DATABASE_URL", "mysql://user:pass-word@h/db", "begins with mysql://"),
        ("DATABASE_URL", "postgresql://user:pass-word@host", "database is missing"),
        (
            "DATABASE_URL",
            "postgresql://u:pass-word@host:port/db",
            "the port in the current value",
        ),
        ("DATABASE_URL", "postgresql://u:pass-word@x/y@h/db", "percent-encoded"),
        ("DATABASE_URL", "postgresql://u:pass-word@x@h/db", "percent-encoded"),
        ("DATAVERSE_RESOURCE", "http://org.crm.dynamics.com", "begin with https://"),
        ("DATAVERSE_RESOURCE", "http://h.example/", "to it: https://h.example"),
        ("DATAVERSE_RESOURCE", "org.example", "with https://, because tokens"),
        ("DATAVERSE_RESOURCE", "Org.example/main.aspx?a=b", ": https://org.example"),
        ("DATAVERSE_RESOURCE", "nonsense", "not a URL"),
        ("DATAVERSE_RESOURCE", "ftp://org.example", "not a URL"),
        (
            "DATAVERSE_RESOURCE",
            "https://org.example/api/data/v9.2/",
            "must not contain a path or query: https://org.example",
        ),
        ("DATAVERSE_RESOURCE", "https://u:p@org.example", "user or a password"),
        ("DATAVERSE_RESOURCE", "https://org.example:port", "not a URL"),
        ("AZURE_AUTHORITY_HOST", "http://localhost", "begin with https://"),
        ("AZURE_TENANT_ID", "", "AZURE_TENANT_ID must be"),
        ("AZURE_TENANT_ID", "../x", "AZURE_TENANT_ID must be"),
        ("AZURE_TENANT_ID", "common", "which gives applications no token"),
        ("AZURE_TENANT_ID", "Organizations", "directory (tenant) id from"),
        ("AZURE_CLIENT_ID", None, "AZURE_CLIENT_ID must be"),
        ("AZURE_CLIENT_SECRET", None, "Set AZURE_CLIENT_SECRET, or"),
        ("AZURE_CLIENT_CERTIFICATE_PATH", "/no/file.pem", "not a file"),
        ("AZURE_CLIENT_CERTIFICATE_PATH", __file__, "Both AZURE_CLIENT_SECRET and"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/no/token", "not a file"),
        ("AZURE_FEDERATED_TOKEN_FILE", __file__, "AZURE_FEDERATED_TOKEN_FILE are set"),
        ("APEX_MANAGED_IDENTITY", "system", "APEX_MANAGED_IDENTITY are set; keep only"),
        ("APEX_MANAGED_IDENTITY", "yes", "Set it to `user` or `system`"),
        ("APEX_CA_BUNDLE", "/no/ca.pem", "not a file"),
    ],
)
def test_a_mistake_is_named_with_what_is_expected(name, value, text):
    assert text in problems(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "proof"),
    [
        (
            "AZURE_FEDERATED_TOKEN_FILE",
            __file__,
            f"workload identity, token from {__file__}",
        ),
        ("APEX_MANAGED_IDENTITY", "user", "user-assigned managed identity"),
        ("APEX_MANAGED_IDENTITY", "system", "system-assigned managed identity"),
        ("AZURE_CLIENT_CERTIFICATE_PATH", __file__, "certificate"),
    ],
)
def test_one_other_proof_takes_the_place_of_the_secret(name, value, proof):
    given = {key: text for key, text in REAL.items() if key != "AZURE_CLIENT_SECRET"}
    settings = load_settings(given | {name: value}).dataverse
    assert (settings.proof, settings.client_secret) == (proof, None)


def test_all_mistakes_are_named_at_once():
    message = problems(AZURE_CLIENT_ID="", AZURE_CLIENT_SECRET="", DATABASE_URL="x")
    assert message.count("\n") == 2


def test_secrets_are_in_no_representation():
    text = repr(load_settings(REAL))
    assert "pass-word" not in text
    assert "secret-value" not in text


def serve(tmp_path, **changes):
    pid = {"PID": str(os.getpid())}
    local_file(tmp_path).write_text(json.dumps(SERVED | pid | changes))


def test_without_configuration_the_running_apex_up_is_used(tmp_path):
    serve(tmp_path)
    settings = load_settings({"APEX_STATE_DIR": str(tmp_path)})
    assert settings.dataverse.resource == "https://localhost:8443"
    assert settings.dataverse.ca_bundle == Path(__file__)
    assert settings.state_dir == tmp_path


def test_without_configuration_and_without_apex_up_there_is_no_fallback(tmp_path):
    with pytest.raises(ConfigError, match="Start them with `apex up`"):
        load_settings({"APEX_STATE_DIR": str(tmp_path)})


def test_what_a_killed_apex_up_left_behind_is_not_taken_for_it(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    serve(tmp_path, PID=str(ended.pid))
    with pytest.raises(ConfigError, match="Start them with `apex up`"):
        load_settings({"APEX_STATE_DIR": str(tmp_path)})
    assert dagster_environment({"APEX_STATE_DIR": str(tmp_path)}) == {}


def test_mixing_on_purpose_takes_one_end_from_apex_up(tmp_path):
    serve(tmp_path)
    environment = REAL | {
        "DATAVERSE_RESOURCE": "emulator",
        "APEX_STATE_DIR": str(tmp_path),
    }
    settings = load_settings(environment)
    assert "neon.example" in settings.database_url
    assert settings.dataverse.resource == "https://localhost:8443"
    assert settings.dataverse.client_secret == "s"


def test_a_damaged_note_of_apex_up_is_an_error(tmp_path):
    local_file(tmp_path).write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        load_settings({"APEX_STATE_DIR": str(tmp_path)})


def test_dagster_of_apex_up_is_used_only_for_the_same_two_ends(tmp_path):
    serve(tmp_path)
    state = {"APEX_STATE_DIR": str(tmp_path)}
    assert dagster_environment(state)["DAGSTER_HOME"] == "/somewhere"
    assert dagster_environment(REAL | state) == {}
    assert dagster_environment(state | {"DAGSTER_HOME": "/own"}) == {}
    pages = {"APEX_PANEL_PORT": "3101", "APEX_DAGSTER_URL": "http://127.0.0.1:3000"}
    serve(tmp_path, **pages)
    assert served_pages(state) == pages
    assert served_pages(state | {"DAGSTER_HOME": "/own"}) == pages
    assert served_pages(REAL | state) == {}


def test_the_database_alone_needs_no_dataverse(tmp_path):
    alone = {"DATABASE_URL": REAL["DATABASE_URL"], "APEX_STATE_DIR": str(tmp_path)}
    assert "neon.example" in load_database_url(alone)
    with pytest.raises(ConfigError, match="must look like"):
        load_database_url({"DATABASE_URL": "nonsense"})
    with pytest.raises(ConfigError, match="apex up"):
        load_database_url({"APEX_STATE_DIR": str(tmp_path)})
    serve(tmp_path)
    assert "5433" in load_database_url({"APEX_STATE_DIR": str(tmp_path)})
