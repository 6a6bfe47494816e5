"""`apex tenants` and `apex --tenant`, each as a process of its own."""

import json
import os

import pytest

from apex_pipeline_tests.support.ends import environment
from apex_pipeline_tests.support.tenants_files import folder, write

__all__ = ["folder"]


@pytest.fixture
def apex(forked_apex, folder):
    def run(*arguments, **variables):
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder)} | variables
        return forked_apex.run(arguments, env=environment, cwd=folder)

    return run


def test_the_list_shows_each_tenants_ends_and_no_secret(apex, folder):
    write(folder)
    done = apex("tenants")
    assert (done.returncode, done.stderr) == (0, "")
    acme, globex = done.stdout.splitlines()[1:]
    assert acme.split()[:4] == [
        *("acme", "apex_pipeline-acme", "neon.example:5432/db"),
        "https://org.crm.dynamics.com",
    ]
    assert globex.split()[:3] == [
        *("globex", "apex_pipeline-globex", "db.example:5432/globex"),
    ]
    assert "pass-word" not in done.stdout


def test_a_mistake_is_told_with_its_tenant_and_the_others_are_still_listed(
    apex, folder
):
    (folder / "acme.env").write_text("DATABASE_URL=postgresql://u:p@h/db")
    named = write(folder).rename(folder / "others.toml")
    done = apex("--tenants", str(named), "tenants", "--json")
    assert done.returncode == 2
    acme, globex = json.loads(done.stdout)["tenants"]
    assert "DATAVERSE_RESOURCE is not" in acme["problems"][0]
    assert globex["problems"] == []


def test_a_command_for_a_tenant_sees_its_variables_alone(apex, folder):
    write(folder)
    # Only one of the two ends: a mistake, if the command saw it.
    (folder / ".env").write_text("DATAVERSE_RESOURCE=\nDATABASE_URL=nonsense\n")
    done = apex("--tenant", "acme", "tenants", "--json", AZURE_CLIENT_ID="x")
    assert json.loads(done.stdout)["tenants"][0]["problems"] == []
    done = apex("--tenant", "umbrella", "status")
    assert done.returncode == 2
    assert "names no tenant 'umbrella'" in done.stderr


def test_status_of_a_tenant_speaks_of_its_own_database(apex, folder):
    write(folder)
    for tenant, host in (("acme", "neon.example"), ("globex", "db.example")):
        done = apex("--tenant", tenant, "status")
        assert done.returncode == 1
        assert host in done.stderr


@pytest.mark.slow
def test_a_commands_definitions_are_named_after_the_tenant_it_works_for(
    apex, folder, emulator, database_url
):
    """They get their names when they are imported, which the variables must precede."""
    given = environment(emulator, database_url, folder / "state")
    (folder / "acme.env").write_text("\n".join(map("=".join, given.items())))
    write(folder)
    done = apex("--tenant", "acme", "report", "--no-screenshots", "-o", "r.md")
    assert done.returncode == 0, done.stderr
    report = (folder / "r.md").read_text()
    assert "acme/dataverse_campaign_metrics" in report
