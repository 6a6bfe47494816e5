"""The files in `deploy/` agree with the program, and with the formats they are written in."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from apex_pipeline.emulator.instance import CLIENT_ID, TENANT_ID
from apex_pipeline.monitoring import code_server
from apex_pipeline.settings import FILE_SUFFIX, VARIABLES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = {
    name: service for name, service in COMPOSE["services"].items() if "build" in service
}
# What each process may know; a run needs everything, and all runs are the code server's.
SECRETS = {
    "migrate": {"database_url"},
    "code-server": {"dagster_postgres_url", "database_url", "azure_client_secret"},
    "daemon": {"dagster_postgres_url"},
    "webserver": {"dagster_postgres_url", "panel_token"},
    "panel": {"database_url", "azure_client_secret", "panel_token"},
    "emulator": {"azure_client_secret"},
}


OF_THE_ENTRYPOINT = {"APEX_CODE_SOCKET"}
# Who runs code for whoever reaches it, and who has to reach it.
OF_DAGSTER = {"code-server", "daemon", "webserver"}


def pins(text: str) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


def test_the_compose_file_follows_the_specification():
    schema = Path(__file__).parent / "compose_schema" / "compose-spec.json"
    Draft7Validator(json.loads(schema.read_text())).validate(COMPOSE)


def overrides() -> list[dict[str, Any]]:
    """The files in docs/deploy.md that Compose merges into ours."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    return [
        yaml.safe_load(each)
        for each in re.findall(r"```yaml\n(services:\n.*?)```", page, re.DOTALL)
    ]


def test_the_documented_overrides_follow_the_specification_and_mount_what_they_name():
    schema = Path(__file__).parent / "compose_schema" / "compose-spec.json"
    validator = Draft7Validator(json.loads(schema.read_text()))
    assert len(overrides()) == 2
    for override in overrides():
        validator.validate(override)
        for name, service in override["services"].items():
            assert name in OURS
            assert set(service["secrets"]) <= set(override["secrets"])
            for variable, value in service["environment"].items():
                assert variable.endswith(FILE_SUFFIX)
                assert value.removeprefix("/run/secrets/") in service["secrets"]


def test_the_override_for_roles_changes_the_url_of_those_that_may_do_more():
    """Compose adds to a list of secrets: who may do more sees the panel's URL as well."""
    changed = {
        name: service["environment"]["DATABASE_URL_FILE"].rpartition("/")[2]
        for name, service in overrides()[1]["services"].items()
    }
    users = {name for name in OURS if "database_url" in SECRETS[name]}
    assert users - changed.keys() == {"panel"}
    assert changed == {
        "migrate": "owner_database_url",
        "code-server": "runs_database_url",
    }


def test_each_process_gets_its_own_secrets_alone():
    assert {name: set(service["secrets"]) for name, service in OURS.items()} == SECRETS


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_process_may_change_nothing_but_its_state(name):
    service = OURS[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["user"] == "10001:10001"


@pytest.mark.parametrize("name", sorted(OURS))
def test_secrets_come_by_variables_that_the_program_reads(name):
    ours = {variable.name for variable in VARIABLES}
    secret = {variable.name for variable in VARIABLES if variable.is_secret}
    for variable, value in OURS[name].get("environment", {}).items():
        if variable in ours:
            assert variable not in secret
        elif variable in OF_THE_ENTRYPOINT:
            assert f"${{{variable}:-" in (DEPLOY / "entrypoint").read_text()
        else:
            assert variable.removesuffix(FILE_SUFFIX) in secret
            assert value.removeprefix("/run/secrets/") in OURS[name]["secrets"]


def test_the_code_server_listens_where_those_alone_reach_it_that_must():
    """Who reaches it can run code there; a network would let in its whole neighbourhood."""
    (server,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    socket = server["grpc_server"]["socket"]
    assert OURS["code-server"]["environment"]["APEX_CODE_SOCKET"] == socket
    mounted = {
        name
        for name, service in COMPOSE["services"].items()
        if any(each.startswith("code:") for each in service.get("volumes", []))
    }
    assert mounted == OF_DAGSTER
    folder = socket.rpartition("/")[0]
    assert f"code:{folder}" in OURS["code-server"]["volumes"]
    for name in OF_DAGSTER - {"code-server"}:
        assert f"code:{folder}:ro" in OURS[name]["volumes"]


def test_dagsters_database_is_reached_by_dagster_alone():
    networks = {
        name: set(service["networks"]) for name, service in COMPOSE["services"].items()
    }
    assert {name for name, of in networks.items() if "storage" in of} == {
        *OF_DAGSTER,
        "postgres",
    }
    assert networks["panel"] == networks["metrics"] == networks["emulator"] == {"ends"}
    assert networks["webserver"] == networks["daemon"] == {"storage"}


def test_each_process_is_a_role_of_the_image():
    entrypoint = (DEPLOY / "entrypoint").read_text()
    for service in OURS.values():
        (role,) = service["command"]
        assert re.search(rf"^  {role}\)", entrypoint, re.MULTILINE)


def test_a_code_server_s_container_is_well_while_it_serves_definitions():
    """As under `apex up`; Dagster's own check asks only whether it answers."""
    entrypoint = (DEPLOY / "entrypoint").read_text()
    (check,) = re.findall(
        r"python3 -m (apex_pipeline\.\S+) .*127.0.0.1:4000", entrypoint
    )
    assert check == code_server.__name__


def test_the_demo_names_the_emulator_s_own_application():
    lines = (DEPLOY / "demo.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert given["AZURE_TENANT_ID"] == TENANT_ID
    assert given["AZURE_CLIENT_ID"] == CLIENT_ID
    assert set(given) <= {variable.name for variable in VARIABLES}


@pytest.mark.parametrize(
    ("file", "extras"),
    [
        ("requirements.txt", ["emulator"]),
        ("requirements-kubernetes.txt", ["emulator", "kubernetes"]),
    ],
)
def test_an_image_installs_what_the_project_needs_in_the_pinned_versions(file, extras):
    constraints = pins((ROOT / "constraints.txt").read_text())
    image = pins((DEPLOY / file).read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = list(project["dependencies"])
    for extra in extras:
        needed += project["optional-dependencies"][extra]
    assert {re.split(r"[^\w.-]", each)[0].lower() for each in needed} <= set(image)
    # uv pins these for other systems than the constraints were made on.
    assert {name for name in image if name not in constraints} <= {
        "colorama",
        "pyreadline3",
        "pywin32",
        "tzdata",
    }
    assert {
        name
        for name, version in image.items()
        if constraints.get(name, version) != version
    } <= {"numpy"}
