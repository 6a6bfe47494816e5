"""The report of a demo environment: complete, and true."""

import subprocess
import sys

import pytest

from apex_pipeline_tests.support.apex_command import APEX, INHERITED
from apex_pipeline_tests.support.apex_up import apex_up, wait_until
from apex_pipeline_tests.support.ends import query
from apex_pipeline_tests.support.report_reading import PASSING, told

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(400)]

ASSETS = """{ assetNodes {
    assetKey { path } isMaterializable assetMaterializations(limit: 1) { timestamp }
    assetChecksOrError { ... on AssetChecks { checks {
        name executionForLatestMaterialization { status }
    } } }
} }"""
# What a command or a nightly job makes, and the lines of the report about it.
NOT_MADE = {
    "completion_report",
    "audit_trail",
    "audit_trail: audit_trail_unbroken",
    "audit trail",
}


def exported(url):
    ((count,),) = query(url, "SELECT count(exported_at) FROM campaign_metrics")
    return count


def was_written_since_the_first_delivery(url):
    """Whether the demo's writer is at work, whose rows tell the delay."""
    ((found,),) = query(
        url,
        "SELECT EXISTS (SELECT FROM campaign_metrics WHERE created_at >"
        " (SELECT min(first_delivered_at) FROM dataverse_target))",
    )
    return found


def was_made(node):
    """Whether an asset has been made by itself, and checked: that comes after it."""
    checks = [
        each["executionForLatestMaterialization"]
        for each in node["assetChecksOrError"].get("checks", ())
    ]
    ended = all(each and each["status"] in ("SUCCEEDED", "FAILED") for each in checks)
    return node["assetMaterializations"] and ended


def all_made(running):
    """Whether all assets but those of the commands have been made and checked."""
    waiting = {
        node["assetKey"]["path"][0]
        for node in running.ask(ASSETS)["assetNodes"]
        if node["isMaterializable"] and not was_made(node)
    }
    return waiting <= NOT_MADE


def run_tests(results, folder):
    folder.mkdir()
    (folder / "test_good.py").write_text(PASSING)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--rootdir", str(folder), "-c", "/dev/null"]
    command += ["--junit-xml", str(results), str(folder)]
    subprocess.run(command, capture_output=True, check=True)


def test_the_report_of_a_demo_environment_is_complete_and_true(tmp_path):
    state = tmp_path / "state"

    def apex(*arguments):
        ended = subprocess.run(
            [APEX, *arguments],
            env=INHERITED | {"APEX_STATE_DIR": str(state)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    with apex_up(state, "--demo") as running:
        wait_until(running.says("requests, throttled"), running)
        url = running.served["DATABASE_URL"]
        run_tests(state / "test-results.xml", tmp_path / "tests")
        wait_until(lambda: was_written_since_the_first_delivery(url), running)
        apex("sync")
        apex("reconcile")
        wait_until(lambda: all_made(running), running)
        before = exported(url)
        apex("report", "-o", "report.md")
        after = exported(url)
        found = told(tmp_path / "report.md")
    dark = {
        name: why for name, (state, why) in found.items() if state == "not measured"
    }
    assert set(dark) <= NOT_MADE, dark
    text = (tmp_path / "report.md").read_text()
    for picture in ("the-kpi-panel", "the-run-history-in-dagster"):
        assert (tmp_path / f"report-{picture}.png").stat().st_size > 20_000
        assert f"(report-{picture}.png)" in text
    state, seen = found["no row lost or duplicated"]
    assert state == "met"
    rows, records = (int(word) for word in seen.split() if word.isdigit())
    assert before <= records == rows <= after
    assert found["records equal their rows"][0] == "met"
    assert found["tests"] == ("met", found["tests"][1])
    assert found["tests"][1].startswith("1 passed, 0 failed")
