"""A secret where a path belongs is neither shown nor sent, and the remedy is named."""

from pathlib import Path

import pytest

from apex_pipeline import settings
from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import VARIABLES, find_mistakes, read_secrets
from apex_pipeline.settings.named_paths import FILES, FOLDERS
from apex_pipeline.settings.tenants_file import read_tenants, tenants_file
from apex_pipeline.texts.redaction import OURS, redact
from apex_pipeline_tests.support.apex_command import apex, variables
from apex_pipeline_tests.support.complete_settings import REAL

__all__ = ["apex", "variables"]

KEY = (
    "-----BEGIN PRIVATE KEY-----\n"
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7\n"
    "kGsVw2xTopSecretLine9Zq0Yp3n8fR5bL1cDdEeFfGgHh\n"
    "-----END PRIVATE KEY-----"
)
VALUES = {
    "a key": KEY,
    "a key on one line": KEY.replace("\n", " "),
    "a client secret": "Kx8Q~TopSecret_q3Vw7.zR1-bN5tY9mLp",
    "a storage key": "Ab3/TopSecret9x+Kd82/jWq7Zr5Tn1Lm4==",
    "a storage key that begins as a path": "/b3TopSecret9xKd82/jWq7Zr5Tn1Lm4Vc6Hs",
    "a URL": "postgresql://u:TopSecretPw@h/d",
    "libpq's pairs": "host=h dbname=d password=TopSecretPw",
    "a token": "eyJhbGciOiJSUzI1NiJ9.eyJUopSecretIjoxfQ.dG9wTopSecret" + "aB3x" * 80,
    "a long token": "TopSecret" + "aB3x" * 2_000,
    "a user who is none": "~TopSecret9xKd82/jWq7Zr5Tn1Lm4Vc6Hs",
}
BY_FILE = tuple(f"{each.name}_FILE" for each in VARIABLES if each.is_secret)


@pytest.fixture(autouse=True)
def nothing_remembered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    OURS.forget()
    yield
    OURS.forget()


def given(name, value):
    unset = {name.removesuffix("_FILE")}
    if name.startswith("AZURE_"):
        unset.add("AZURE_CLIENT_SECRET")
    if name == "AZURE_CLIENTS_FILE":
        unset.add("AZURE_CLIENT_ID")
    return {k: v for k, v in REAL.items() if k not in unset} | {name: value}


def mistakes(name, value):
    environment = given(name, value)
    found = list(find_mistakes(environment))
    loaders = (tenants_file, settings.state_dir, settings.record_dir)
    stem = name.removesuffix("_FILE")
    for load in (*loaders, lambda e: settings.read_variable(e, stem)):
        try:
            load(environment)
        except ConfigError as error:
            found += error.problems
    return found


def leaks(text):
    return "TopSecret" in text or any(line in text for line in KEY.splitlines()[1:3])


@pytest.mark.parametrize("name", [*FILES, *FOLDERS, *BY_FILE])
def test_a_value_where_a_path_belongs_is_hidden_and_the_remedy_named(name):
    for kind, value in VALUES.items():
        if name == "APEX_EXPORT_DIR" and kind == "a URL":
            continue
        OURS.forget()
        own = [each for each in mistakes(name, value) if name in each]
        assert own, kind
        assert not any(map(leaks, own)), kind
        told = ("holds a value, not a path", "Write the whole path")
        assert all(any(each in problem for each in told) for problem in own)
        assert not leaks(redact(f"…/{value} is none")), kind


@pytest.mark.parametrize("name", [*FILES, *FOLDERS, *BY_FILE])
def test_a_value_where_a_path_belongs_is_hidden_from_the_start(name):
    read_secrets(given(name, KEY))
    for line in KEY.splitlines():
        assert not leaks(redact(f"| {line}"))


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere/client.pem",
        "/var/run/secrets/azure/tokens/azure-identity-token",
        "/mnt/k8s-secrets/x9/client_2.pem",
        "~/certs/apex prod/client.pem",
        "./TopSecret.pem",
        "client.pem",
        "/Users/müller/Zertifikate/apex.pem",
    ],
)
def test_the_path_of_a_file_that_is_missing_is_shown(path):
    name = "AZURE_CLIENT_CERTIFICATE_PATH"
    (problem,) = mistakes(name, path)
    shown = Path.cwd() / Path(path).expanduser()
    assert problem == f"{name} is {shown}, which is not a file."


def test_the_home_folder_is_meant_by_a_tilde_in_every_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "there.pem").touch()
    environment = {
        "APEX_STATE_DIR": "~/apex",
        "APEX_RECORD_DIR": "~/apex/in",
        "APEX_EXPORT_DIR": "~/apex/out",
        "APEX_TENANTS_FILE": "~/tenants.toml",
        "APEX_CA_BUNDLE": "~/there.pem",
        "DAGSTER_HOME": "~/dagster",
    }
    assert settings.state_dir(environment) == tmp_path / "apex"
    assert settings.record_dir(environment) == tmp_path / "apex" / "in"
    analysis = settings.load_analysis_settings(environment)
    assert analysis.export_dir == tmp_path / "apex" / "out"
    assert tenants_file(environment) == tmp_path / "tenants.toml"
    assert settings.dagster_home(environment) == tmp_path / "dagster"
    bundle = settings.load_alert_settings(environment).ca_bundle
    assert bundle == tmp_path / "there.pem"


def test_a_whole_path_needs_no_current_folder(monkeypatch, tmp_path):
    url = tmp_path / "url"
    url.write_text("postgresql://u:p@h/d")
    gone = tmp_path / "release"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert settings.read_variable({"DATABASE_URL_FILE": str(url)}, "DATABASE_URL")
    with pytest.raises(ConfigError, match="current folder no longer exists"):
        settings.read_variable({"DATABASE_URL_FILE": "url/of"}, "DATABASE_URL")


def test_a_strange_name_is_shown_in_a_folder_that_exists(tmp_path):
    (tmp_path / "s").mkdir()
    path = tmp_path / "s" / "Kx8Q~q3Vw7@zR1=.pem"
    (problem,) = mistakes("APEX_CA_BUNDLE", str(path))
    assert problem == f"APEX_CA_BUNDLE is {path}, which is not a file."
    (problem,) = mistakes("APEX_CA_BUNDLE", "s/Kx8Q~q3Vw7@zR1=.pem")
    assert str(path) in problem


def test_a_file_of_any_name_is_taken(tmp_path):
    odd = tmp_path / "Kx8Q~q3Vw7@zR1="
    odd.write_text(REAL["AZURE_CLIENT_SECRET"])
    assert mistakes("AZURE_CLIENT_SECRET_FILE", odd.name) == []
    assert mistakes("APEX_CA_BUNDLE", odd.name) == []


def test_a_file_in_a_closed_folder_is_told_from_a_missing_one(monkeypatch, tmp_path):
    too_many = tmp_path / "a"
    too_many.symlink_to(too_many)
    (problem,) = mistakes("APEX_CA_BUNDLE", str(too_many / "ca.pem"))
    assert problem == f"APEX_CA_BUNDLE is {too_many}/ca.pem, which is not a file."


def test_values_in_the_file_of_tenants_are_hidden(tmp_path):
    path = tmp_path / "tenants.toml"
    path.write_text(
        f'[tenants]\nacme = "{VALUES["a URL"]}"\nx = """{KEY}"""\ny = "gone.env"'
    )
    with pytest.raises(ConfigError) as caught:
        read_tenants(path)
    acme, x, y = caught.value.problems
    assert acme.startswith(f"{path}: acme holds a value, not a path.")
    assert x.startswith(f"{path}: x holds a value, not a path.")
    assert not leaks(str(caught.value))
    assert "gone.env, which does not exist" in y


@pytest.mark.parametrize("key", ["certificate", "token_file", "secret_variable"])
def test_values_in_the_file_of_application_users_are_hidden(tmp_path, key):
    path = tmp_path / "clients.toml"
    others = {k: v for k, v in REAL.items() if not k.startswith("AZURE_CLIENT_")}
    for kind, value in VALUES.items():
        path.write_text(
            f'[[client]]\nclient_id = "{REAL["AZURE_CLIENT_ID"]}"\n'
            f'{key} = """{value}"""'
        )
        OURS.forget()
        with pytest.raises(ConfigError) as caught:
            settings.load_settings(others | {"AZURE_CLIENTS_FILE": str(path)})
        assert not leaks(str(caught.value)), kind
        assert f"[[client]] 1: {key} " in str(caught.value)


def test_every_variable_that_takes_a_path_is_listed():
    ends = ("_PATH", "_FILE", "_DIR", "_HOME", "_BUNDLE", "_CERTIFICATES")
    named = {each.name for each in VARIABLES if each.name.endswith(ends)}
    assert named - {"APEX_PANEL_ROOT_PATH"} == {*FILES, *FOLDERS}


def test_the_command_does_not_print_a_key_that_was_set_in_place_of_its_path(apex):
    for name, value in (
        ("AZURE_CLIENT_CERTIFICATE_PATH", KEY),
        ("AZURE_CLIENT_SECRET_FILE", VALUES["a client secret"]),
        ("DATABASE_URL_FILE", VALUES["a URL"]),
        ("APEX_STATE_DIR", KEY),
    ):
        changes = {name.removesuffix("_FILE"): None, "AZURE_CLIENT_SECRET": None}
        ended = apex("status", **changes | {name: value})
        assert ended.returncode == 2
        assert f"{name} holds a value, not a path." in ended.stderr
        assert not leaks(ended.stdout + ended.stderr)
