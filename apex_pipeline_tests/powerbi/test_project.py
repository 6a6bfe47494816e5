"""The committed project is what the code generates, and `apex powerbi` says so."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from apex_pipeline.cli import main
from apex_pipeline.powerbi.checks import NOT_CHECKED, check_project
from apex_pipeline.powerbi.project import project_files, read_project, write_project

COMMITTED = Path(__file__).parents[2] / "powerbi"
METRICS = "ApexCampaign.SemanticModel/definition/tables/Campaign Metrics.tmdl"
DATE = "ApexCampaign.SemanticModel/definition/tables/Date.tmdl"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("powerbi")
    write_project(folder)
    return folder


def states(folder: Path) -> dict[str, str]:
    return {checked.name: checked.state for checked in check_project(folder)}


def test_what_is_committed_is_what_is_generated():
    assert read_project(COMMITTED) == project_files()


def test_generating_twice_changes_nothing(whole):
    assert write_project(whole) == []
    assert project_files() == project_files()


def test_all_offline_checks_pass(whole):
    found = states(whole)
    for by_npm in ("Microsoft's validator", "M syntax"):
        assert found.pop(by_npm) == "skipped"
    assert set(found.values()) == {"passed"}


def test_a_changed_file_is_found_and_written_again(tmp_path):
    write_project(tmp_path)
    (tmp_path / DATE).write_text("table Date\n")
    (tmp_path / "ApexCampaign.Report" / "old.json").write_text("{}")
    assert states(tmp_path)["generated files"] == "failed"
    assert write_project(tmp_path) == [DATE, "ApexCampaign.Report/old.json"]
    assert states(tmp_path)["generated files"] == "passed"


def test_the_folder_of_a_visual_that_is_no_longer_generated_goes_with_it(tmp_path):
    write_project(tmp_path)
    pages = tmp_path / "ApexCampaign.Report" / "definition" / "pages"
    old = pages / ("0" * 20) / "visuals" / ("1" * 20) / "visual.json"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"\xff")
    assert write_project(tmp_path) == [old.relative_to(tmp_path).as_posix()]
    assert not (pages / ("0" * 20)).exists()


@pytest.mark.parametrize(
    ("module", "check"), [("jsonschema", "JSON schemas"), ("pbi_parsers", "DAX syntax")]
)
def test_a_check_whose_tool_is_not_installed_is_skipped_and_says_so(
    whole, monkeypatch, module, check
):
    monkeypatch.setitem(sys.modules, module, None)
    found = {checked.name: checked for checked in check_project(whole)}
    assert found[check].state == "skipped"
    assert found[check].problems == (f"install {module}: the extra dev has it",)


def test_dax_that_does_not_parse_is_found(tmp_path):
    write_project(tmp_path)
    table = tmp_path / METRICS
    text = table.read_text().replace(
        "DIVIDE([Assets], [Runs])", "DIVIDE([Assets] [Runs])"
    )
    table.write_text(text)
    assert states(tmp_path)["DAX syntax"] == "failed"


def test_what_desktop_keeps_for_itself_is_left_alone(tmp_path):
    write_project(tmp_path)
    cache = tmp_path / "ApexCampaign.SemanticModel" / ".pbi" / "cache.abf"
    cache.parent.mkdir()
    cache.write_bytes(b"\xff\xfe")
    assert write_project(tmp_path) == []
    assert cache.exists()


def test_a_file_that_is_no_json_fails_its_check_and_no_other(tmp_path):
    write_project(tmp_path)
    (tmp_path / "ApexCampaign.Report" / "definition.pbir").write_text("{")
    found = states(tmp_path)
    assert found["JSON schemas"] == "failed"
    assert found["report"] == "skipped"
    assert found["semantic model"] == "passed"


def test_the_command_says_what_it_cannot_check(whole):
    result = CliRunner().invoke(main, ["powerbi", "check", "--folder", str(whole)])
    assert result.exit_code == 0, result.output
    assert all(text in result.output for text in NOT_CHECKED)


def test_the_command_fails_where_a_check_does(tmp_path):
    runner = CliRunner()
    built = runner.invoke(main, ["powerbi", "build", "--folder", str(tmp_path)])
    assert built.exit_code == 0
    (tmp_path / DATE).unlink()
    result = runner.invoke(main, ["powerbi", "check", "--folder", str(tmp_path)])
    assert result.exit_code == 1
    assert f"{DATE} is missing" in result.output


def test_a_folder_that_is_not_there_is_a_configuration_error(tmp_path):
    missing = str(tmp_path / "x")
    result = CliRunner().invoke(main, ["powerbi", "check", "--folder", missing])
    assert result.exit_code == 2
