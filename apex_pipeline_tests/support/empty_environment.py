"""An environment that holds nothing of ours, and what provisioning makes of it."""

import pytest

from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.emulator import Options, serve
from apex_pipeline.metrics import TABLE
from apex_pipeline.provisioning.dataverse import Patience, provision
from apex_pipeline.provisioning.existing_state import ROLE
from apex_pipeline_tests.support.emulator_server import web_api
from apex_pipeline_tests.support.ends import emulator_settings

APPLICATION = "dddddddd-0000-4000-8000-00000000a9e0"
SECRET = "application-secret"
CRM = "Microsoft.Dynamics.CRM."
PATH = f"EntityDefinitions(LogicalName='{TABLE}')"
PATIENCE = Patience(
    effect=2.0, lost=0.1, retry=RetryPolicy(attempts=3, first_wait=0.01)
)


@pytest.fixture(scope="module")
def empty_emulator():
    with serve(Options("emulator-secret", empty=True)) as served:
        yield served


@pytest.fixture
def emulator(empty_emulator):
    """An environment without anything of ours, and an application without a user."""
    empty_emulator.reset()
    empty_emulator.register(APPLICATION, client_secret=SECRET, user=False)
    return empty_emulator


@pytest.fixture
def api(emulator):
    """The administrator's Web API."""
    with web_api(emulator) as client:
        yield client


@pytest.fixture
def application(emulator):
    return emulator_settings(emulator, client_id=APPLICATION, client_secret=SECRET)


@pytest.fixture
def make(emulator, application, tmp_path):
    def run(administrator="emulator", **more):
        return provision(
            application,
            emulator_settings(emulator) if administrator else None,
            tmp_path / "tokens.json",
            **({"patience": PATIENCE} | more),
        )

    return run


@pytest.fixture(scope="module")
def made_once(empty_emulator, tmp_path_factory):
    """Name of a snapshot in which everything is made."""
    empty_emulator.reset()
    empty_emulator.register(APPLICATION, client_secret=SECRET, user=False)
    make_everything(empty_emulator, tmp_path_factory.mktemp("tokens") / "tokens.json")
    empty_emulator.snapshot("made")
    return "made"


@pytest.fixture
def made(made_once, emulator):
    """An environment in which everything is made."""
    emulator.restore(made_once)
    emulator.clear_requests()


def make_everything(served, tokens):
    return provision(
        emulator_settings(served, client_id=APPLICATION, client_secret=SECRET),
        emulator_settings(served),
        tokens,
        patience=PATIENCE,
    )


def writes(emulator):
    """Requests that change something, but for the test record."""
    return [each for each in all_writes(emulator) if "metricses(" not in each]


def all_writes(emulator):
    return [
        f"{r['method']} {r['path']}"
        for r in emulator.requests()
        if r["method"] != "GET" and "/api/data" in r["path"]
    ]


def everything(api):
    """All that provisioning could touch, as the administrator reads it."""
    sets = "publishers", "solutions", "solutioncomponents", "roles", "systemusers"
    found = {name: api.get(name).json()["value"] for name in sets}
    found["tables"] = api.get("EntityDefinitions?$expand=Attributes").json()["value"]
    for role in found["roles"]:
        held = api.get(f"RetrieveRolePrivilegesRole(RoleId={role['roleid']})").json()
        role["privileges"] = held["RolePrivileges"]
    return found


def role_of(api):
    rows = api.get(f"roles?$filter=name eq '{ROLE}'").json()["value"]
    assert len(rows) == 1
    return rows[0]["roleid"]


def held(api):
    answer = api.get(f"RetrieveRolePrivilegesRole(RoleId={role_of(api)})").json()
    return {p["PrivilegeName"]: p["Depth"] for p in answer["RolePrivileges"]}


def replace_column(api, kind, name, **facets):
    """Have a column that is not as we would make it."""
    api.delete(f"{PATH}/Attributes(LogicalName='{name}')").raise_for_status()
    api.post(f"{PATH}/Attributes", json=column(kind, name, **facets)).raise_for_status()


def column(kind, name, **facets):
    label = {"LocalizedLabels": [{"Label": name, "LanguageCode": 1033}]}
    return {
        "@odata.type": f"{CRM}{kind}AttributeMetadata",
        "SchemaName": name,
        "DisplayName": label,
        **facets,
    }
