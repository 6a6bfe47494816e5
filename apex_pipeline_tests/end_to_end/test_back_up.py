"""Dump and restore as docs/back-up.md says, onto another server; then go on there."""

import json
import os
import re
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from apex_pipeline.local.data_directory import find_installation
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline_tests.support.apex_command import apex
from apex_pipeline_tests.support.emulator_server import api
from apex_pipeline_tests.support.ends import campaign_row, environment, insert, query

__all__ = ["apex", "api"]
pytestmark = pytest.mark.slow

_PAGE = (Path(__file__).parents[2] / "docs" / "back-up.md").read_text()
_OF_THE_DATABASES = (
    *("database", "migrations", "tables and views", "indexes", "pending query"),
    *("key of campaign_metrics", "marks", "database role", "database schema"),
    *("last success", "Dagster storage"),
)
_HELD = "SELECT count(*) FROM campaign_metrics_quarantine"


def commands_of(heading: str) -> str:
    """The block of commands below a heading of the page."""
    (block,) = re.findall(
        rf"\n## {heading}\n(?:(?!\n## ).)*?```sh\n(.*?)```", _PAGE, re.DOTALL
    )
    return str(block)


@pytest.fixture
def other_server(tmp_path):
    server = EmbeddedPostgres(tmp_path / "other" / "postgres")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def variables(
    emulator, empty_database_url, create_database, dagster_database, tmp_path
):
    return environment(emulator, empty_database_url, tmp_path / "state") | {
        "DAGSTER_POSTGRES_URL": create_database(dagster_database)
    }


@pytest.fixture
def shell(variables, tmp_path):
    """With the programs of the same Postgres in front."""
    programs = str(find_installation() / "bin")
    path = f"{programs}:{os.environ['PATH']}"

    def run(script, **changes):
        subprocess.run(
            ["bash", "-euc", script],
            env={**os.environ, **variables, "PATH": path, **changes},
            cwd=tmp_path,
            check=True,
        )

    return run


def test_a_restored_copy_is_sound_and_goes_on_where_the_dump_was_made(
    apex, shell, variables, other_server, api
):
    def records():
        """Ids of what Dataverse holds of our rows."""
        found = api.get("apex_campaignmetricses?$select=apex_campaignmetricsid")
        ids = {each["apex_campaignmetricsid"] for each in found.json()["value"]}
        return ids & {str(row["id"]) for row in rows}

    def succeeds(*command, **changes):
        done = apex(*command, **changes)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    url = variables["DATABASE_URL"]
    rows = [campaign_row(run_id=uuid4()) for _ in range(20)]
    succeeds("provision", "database")
    insert(url, [*rows, campaign_row(phase="x" * 400)])
    assert succeeds("sync").startswith("20 delivered, 1 quarantined")
    verified = json.loads(succeeds("audit", "verify", "--json"))
    pending, later = campaign_row(run_id=uuid4()), campaign_row(run_id=uuid4())
    rows += [pending, later]
    insert(url, [pending])
    shell(commands_of("Back up"))
    insert(url, [later])
    assert succeeds("sync").startswith("2 delivered")
    delivered = records()
    assert len(delivered) == 22

    there = {
        "DATABASE_URL": other_server.url("restored"),
        "DAGSTER_POSTGRES_URL": other_server.url("dagster"),
    }
    shell(
        commands_of("Restore"),
        SERVER_URL=other_server.url("postgres"),
        RESTORED_URL=there["DATABASE_URL"],
        RESTORED_DAGSTER_URL=there["DAGSTER_POSTGRES_URL"],
    )

    assert "created: role apex_sync" in succeeds("provision", "database", **there)
    lines = json.loads(succeeds("doctor", "--json", **there))["lines"]
    states = {line["name"]: line["state"] for line in lines}
    assert {states[name] for name in _OF_THE_DATABASES} == {"ok"}
    trail = ("audit", "verify", "--anchor", verified["head"])
    succeeds(*trail, **there)
    # What was delivered after the dump is sent again, under the same id.
    assert succeeds("sync", **there).startswith("1 delivered, 0 quarantined")
    assert query(there["DATABASE_URL"], _HELD) == [(1,)]
    assert records() == delivered
    # And what was recorded after it is a record without a row.
    found = apex("reconcile", "--json", **there)
    (finding,) = json.loads(found.stdout)["standing"]["examples"]
    assert (finding["kind"], finding["record_id"]) == ("unknown", str(later["id"]))
