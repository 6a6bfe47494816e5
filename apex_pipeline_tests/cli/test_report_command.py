"""`apex report` between a real Postgres and the emulator, with and without the rest."""

import re
import stat

import pytest

from apex_pipeline_tests.support.apex_command import apex
from apex_pipeline_tests.support.ends import (
    campaign_row,
    environment,
    free_port,
    insert,
    insert_many,
    query,
)
from apex_pipeline_tests.support.panel_server import served
from apex_pipeline_tests.support.planted_secrets import (
    sentinels,
    tokens,
    variables as variables_with_sentinels,
)
from apex_pipeline_tests.support.report_reading import as_github_shows, cells, told

__all__ = ["apex", "sentinels", "variables_with_sentinels"]


@pytest.fixture
def variables(emulator, database_url, tmp_path):
    return environment(emulator, database_url, tmp_path / "state") | {
        "APEX_PANEL_PORT": str(free_port()),
    }


@pytest.mark.slow
def test_the_report_is_of_what_is_there_and_says_what_is_not(
    apex, emulator, database_url, variables, tmp_path
):
    insert_many(database_url, 120)
    assert apex("sync").returncode == 0
    with served(variables) as url:
        variables["APEX_PANEL_PORT"] = url.rpartition(":")[2]
        ended = apex("report", "--no-screenshots", "-o", "report.md")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("report.md: ")
    found = told(tmp_path / "report.md")
    # Of so few requests the one for a token is too many.
    missed = [name for name, (state, _) in found.items() if state == "not met"]
    assert missed == ["token cache hit rate"]
    assert found["no row lost or duplicated"] == (
        "met",
        "120 rows are exported, 120 records exist",
    )
    for name in (
        "API response, P95: GET /api/kpis",
        "API response, P95: GET /api/metrics/recent",
        "token from the authority",
        "Dataverse query, P95",
        "panel: access",
        "this report",
    ):
        assert found[name][0] == "met", (name, found[name])
    for name, why in {
        "largest paint of the panel's page": "Not requested",
        "The KPI panel": "Not requested",
        "tests": "pytest --junit-xml",
        "incidents": "DAGSTER_POSTGRES_URL",
        "completion_report": "DAGSTER_HOME",
        # They are older than the first delivery.
        "delay of the sync, P95": "no row was created",
    }.items():
        assert found[name][0] == "not measured", (name, found[name])
        assert why in found[name][1]
    text = (tmp_path / "report.md").read_text()
    newest = query(
        database_url,
        "SELECT id::text FROM campaign_metrics ORDER BY created_at DESC LIMIT 1",
    )
    assert newest[0][0] in text
    assert "| compared with its row | the same | the same | the same |" in text


@pytest.mark.slow
def test_rows_cannot_break_out_of_the_report(apex, database_url, tmp_path):
    phase = "|<b>`x`\n# h"
    insert(database_url, [campaign_row(phase=phase)])
    assert apex("sync").returncode == 0
    for options in (["-o", "r.md"], ["--html", "-o", "r.html"]):
        assert apex("report", "--no-screenshots", *options).returncode == 0
    expected = "|<b>x # h"
    assert expected in cells(as_github_shows((tmp_path / "r.md").read_text()))
    assert expected in cells((tmp_path / "r.html").read_text())


@pytest.mark.slow
def test_a_secret_that_a_row_holds_is_hidden_and_told(apex, database_url, tmp_path):
    secret = "sixteen-letters-"
    insert(database_url, [campaign_row(phase=secret)])
    assert apex("sync").returncode == 0
    options = ("--no-screenshots", "-o", "r.md")
    assert apex("report", *options, APEX_PANEL_TOKEN=secret).returncode == 0
    assert secret not in (tmp_path / "r.md").read_text()
    state, seen = told(tmp_path / "r.md")["this report"]
    assert state == "not met"
    assert "1 of its texts contained a secret" in seen
    assert r"| apex_phase | \*\*\* |" in (tmp_path / "r.md").read_text()


def test_without_configuration_there_is_nothing_to_report(apex):
    ended = apex("report", DATABASE_URL=None, DATAVERSE_RESOURCE=None)
    assert ended.returncode == 2
    assert "apex up" in ended.stderr
    assert ended.stdout == ""


def test_dead_ends_are_lines_of_the_report(apex, tmp_path, unusable_url):
    ended = apex(
        *("report", "--no-screenshots", "-o", "report.md"),
        DATABASE_URL=unusable_url,
        DATAVERSE_RESOURCE="https://127.0.0.1:1",
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    found = told(tmp_path / "report.md")
    assert found["database"][0] == found["Dataverse"][0] == "not met"
    for name in ("rows arrive", "delay of the sync, P95", "Dataverse query, P95"):
        assert found[name][0] == "not measured", name
    assert found["configuration"][0] == "met"


def test_a_place_that_cannot_be_written_is_told(apex, tmp_path):
    (tmp_path / "file").touch()
    ended = apex("report", "--no-screenshots", "-o", "nowhere/report.md")
    assert ended.returncode == 1
    assert "Its folder does not exist" in ended.stderr
    assert not (tmp_path / "nowhere").exists()
    ended = apex("report", "--no-screenshots", "-o", "file/report.md")
    assert ended.returncode == 1
    assert ended.stderr.startswith("apex: ")
    assert "cannot be written" in ended.stderr


def test_by_itself_it_goes_into_the_state_folder(apex, tmp_path):
    assert apex("report", "--html", "--no-screenshots").returncode == 0
    (path,) = (tmp_path / "state" / "reports").iterdir()
    assert re.fullmatch(r"completion-\d{4}-\d\d-\d\d-\d{4}\.html", path.name)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


@pytest.mark.slow
def test_no_secret_is_in_the_report(
    apex, variables_with_sentinels, sentinels, database_url, tmp_path
):
    given = variables_with_sentinels | {"APEX_PANEL_PORT": str(free_port())}
    insert(database_url, [campaign_row(phase="sentinel")])
    told = []
    for changes, options in (
        ({}, ["-o", "a.md"]),
        ({"AZURE_CLIENT_SECRET": "sentinel-client~secret-wrong"}, ["-o", "b.md"]),
        ({}, ["--html", "-o", "c.html"]),
    ):
        ended = apex("report", "--no-screenshots", *options, **(given | changes))
        assert ended.returncode == 0, ended.stderr
        told += [ended.stdout, ended.stderr, (tmp_path / options[-1]).read_text()]
        assert "no secret was found" in told[-1]
    values = sentinels | tokens(tmp_path / "state")
    for text in told:
        assert not [value for value in values if value in text]
