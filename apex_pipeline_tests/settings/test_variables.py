"""Every variable is read in one way: blank is not set, white space around it is not meant."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from apex_pipeline import settings
from apex_pipeline.audit.authors import process_author
from apex_pipeline.errors import ConfigError
from apex_pipeline.provisioning.administrator import load_administrator
from apex_pipeline.settings import VARIABLES
from apex_pipeline_tests.support.complete_settings import REAL
from apex_pipeline_tests.support.source_tree import nodes, offenders, within

WHOLE = REAL | {
    "AZURE_AUTHORITY_HOST": "https://login.example",
    "APEX_CA_BUNDLE": __file__,
    "APEX_CLIENT_SECRET_EXPIRES_ON": "2027-01-31",
    "APEX_ADMIN_TENANT_ID": "t.example",
    "APEX_ADMIN_CLIENT_ID": "c",
    "APEX_ADMIN_CLIENT_SECRET": "s",
    "APEX_TEAMS_WEBHOOK_URL": "https://teams.example/x?sig=y",
    "APEX_ALERT_EMAIL_TO": "a@example.com",
    "APEX_ALERT_EMAIL_FROM": "b@example.com",
    "APEX_SMTP_URL": "smtp://relay.example",
    "APEX_HEARTBEAT_URL": "https://beat.example/x",
    "APEX_TENANT": "acme",
    "APEX_TENANTS_FILE": "/tmp/tenants.toml",
    "DAGSTER_HOME": "/home",
    "DAGSTER_POSTGRES_URL": "postgresql://u:p@h/dagster",
    "DAGSTER_LOCATION_NAME": "another_location",
    "APEX_SYNC_ON_ARRIVAL": "15s",
    "APEX_DAGSTER_URL": "https://dagster.example",
    "APEX_EXPORT_DIR": "/tmp",
    "APEX_EXPORT_FORMATS": "csv",
    "APEX_TIME_ZONE": "Europe/Berlin",
    "APEX_HISTORY_START": "2024-11-01",
    "APEX_SLO_P95_MS": "60000",
    "APEX_PANEL_HOST": "0.0.0.0",  # noqa: S104  nothing listens
    "APEX_PANEL_PORT": "3101",
    "APEX_PANEL_TOKEN": "a-token-that-is-long-enough",
    "APEX_PANEL_CORS": "https://intranet.example",
    "APEX_PANEL_ROOT_PATH": "/apex",
    "APEX_PANEL_FRAME_ANCESTORS": "https://studio.example",
    "APEX_ACTOR": "ada@example.com",
    "APEX_AUDIT_KEEP": "7y",
    "APEX_AUDIT_NOTICE": "off",
    "APEX_TSA_URL": "https://tsa.example",
    "APEX_TSA_CERTIFICATES": __file__,
    "OPENLINEAGE_URL": "https://lineage.example",
    "OPENLINEAGE_API_KEY": "a-key-of-the-receiver",
    "APEX_RECORD_DIR": "/tmp/inbox",
    "APEX_LOG_FORMAT": "json",
    "APEX_STATE_DIR": "/tmp/state",
}
LOADERS: tuple[Callable[[dict[str, str]], object], ...] = (
    settings.load_settings,
    settings.load_database_url,
    settings.load_alert_settings,
    settings.load_noted_end,
    settings.load_dagster_url,
    settings.load_tenant,
    settings.load_code_location,
    settings.load_arrival_interval,
    settings.load_analysis_settings,
    settings.load_panel_settings,
    settings.load_audit_settings,
    settings.load_lineage_settings,
    process_author,
    settings.find_mistakes,
    settings.state_dir,
    settings.record_dir,
    settings.dagster_environment,
    lambda e: load_administrator(e, settings.load_dataverse(e)),
)
INSTEAD = {
    *("AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE"),
    *("APEX_MANAGED_IDENTITY", "AZURE_CLIENTS_FILE"),
}
NAMES = sorted({*WHOLE, *INSTEAD})


def loaded(environment):
    """What everything that reads variables makes of them."""
    found = []
    for load in LOADERS:
        try:
            found.append(load(environment))
        except ConfigError as error:
            found.append(error.problems)
    return found


def test_the_variables_here_are_all_there_are():
    assert set(NAMES) == {variable.name for variable in VARIABLES}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("blank", ["", "  ", "\t", "\n", "\r\n"])
def test_blank_is_not_set(name, blank):
    without = {k: v for k, v in WHOLE.items() if k != name}
    assert loaded(without | {name: blank}) == loaded(without)


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_white_space_around_a_value_is_not_meant(name):
    assert loaded(WHOLE | {name: f" {WHOLE[name]}\r"}) == loaded(WHOLE)


SECRETS = sorted(v.name for v in VARIABLES if v.is_secret)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_can_lie_in_a_file(name, tmp_path):
    (tmp_path / "secret").write_text(f"\ufeff{WHOLE[name]}\r\n", encoding="utf-8")
    by_file = {k: v for k, v in WHOLE.items() if k != name}
    by_file[f"{name}_FILE"] = str(tmp_path / "secret")
    assert loaded(by_file) == loaded(WHOLE)
    assert settings.with_secrets(by_file) == WHOLE


def test_a_rotated_secret_is_read_again(tmp_path):
    secret = tmp_path / "secret"
    by_file = {"AZURE_CLIENT_SECRET_FILE": str(secret)}
    for value in ("old", "new"):
        secret.write_text(value)
        assert settings.read_variable(by_file, "AZURE_CLIENT_SECRET") == value


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "which cannot be read: No such file or directory. Check the mount"),
        (b" \n", "which is empty. Write the value."),
        (b"\xff\xfe\x00s", "which is not UTF-8 text."),
        ("s\r\n".encode("utf-16-le"), "which is not UTF-8 text."),
        ("s\r\n".encode("utf-16-be"), "which is not UTF-8 text."),
    ],
)
def test_a_secret_file_without_a_value_is_named(name, content, problem, tmp_path):
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{name}_FILE names {secret}, {problem}"):
        settings.read_variable({f"{name}_FILE": str(secret)}, name)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_set_in_one_place_alone(name, tmp_path):
    (tmp_path / "secret").write_text("s")
    twice = {name: "s", f"{name}_FILE": str(tmp_path / "secret")}
    with pytest.raises(ConfigError, match=f"Both {name} and {name}_FILE are set"):
        settings.read_variable(twice, name)


def test_what_is_no_secret_has_no_file(tmp_path):
    (tmp_path / "file").write_text("x")
    by_file = {"APEX_TIME_ZONE_FILE": str(tmp_path / "file")}
    assert settings.read_variable(by_file, "APEX_TIME_ZONE") == ""


@pytest.mark.parametrize("blank", ["  ", "\t", "\n"])
def test_a_blank_token_lets_nobody_else_in(blank):
    with pytest.raises(ConfigError, match="set APEX_PANEL_TOKEN"):
        settings.load_panel_settings(
            {"APEX_PANEL_HOST": WHOLE["APEX_PANEL_HOST"], "APEX_PANEL_TOKEN": blank}
        )


def test_nothing_reads_a_variable_of_ours_in_another_way():
    names = {variable.name for variable in VARIABLES} | {"VARIABLE"}

    def reads_one(node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"get", "getenv"}
            and ast.unparse(node.func.value).endswith(("environ", "environment", "os"))
            and bool(node.args)
            and ast.unparse(node.args[0]).strip("'") in names
        )

    def is_one(path: Path) -> bool:
        elsewhere = not within(path, "emulator", "settings/variable_reading.py")
        return elsewhere and any(map(reads_one, nodes(path)))

    assert offenders(is_one) == []
