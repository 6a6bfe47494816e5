"""`apex quarantine` at a terminal and in scripts."""

import json
import os
import pty
import subprocess
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from click.testing import CliRunner

from apex_pipeline.cli import main
from apex_pipeline.metrics import Rejection
from apex_pipeline.postgres import pending_rows
from apex_pipeline_tests.support.apex_command import APEX, INHERITED
from apex_pipeline_tests.support.ends import (
    campaign_row,
    delivered,
    environment,
    execute,
    insert,
    marked,
    query,
)
from apex_pipeline_tests.support.spiteful_text import SPITEFUL, shown_in_dagster
from apex_pipeline_tests.support.waiting import SECONDS


@pytest.fixture
def variables(emulator, database_url, tmp_path):
    return environment(emulator, database_url, tmp_path / "state")


@pytest.fixture
def apex(variables, monkeypatch, tmp_path):
    """Call the command in this process, without a terminal."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, **changes):
        return CliRunner().invoke(main, arguments, env=INHERITED | variables | changes)

    return call


@pytest.fixture
def row(store, database_url):
    """A row that Dataverse minds for its phase, refused an hour ago."""
    written = campaign_row(phase="x" * 17)
    insert(database_url, [written])
    message = "phase is 17 characters long; the column holds 16"
    rejection = Rejection(str(written["id"]), "invalid", message)
    store.quarantine([rejection], datetime.now(UTC) - timedelta(minutes=1))
    return str(written["id"])


@pytest.fixture
def refused(store, database_url):
    """A row that Dataverse itself refused."""
    written = campaign_row()
    insert(database_url, [written])
    message = "The length of the 'apex_phase' attribute exceeded '16'. \x1b[31m\u202e"
    rejection = Rejection(str(written["id"]), "0x80044331", message)
    store.quarantine([rejection], datetime.now(UTC))
    return str(written["id"])


def test_the_list_shows_each_row_and_each_cause(apex, row, refused):
    told = apex("quarantine", "list")
    assert told.exit_code == 0
    for text in (row, refused, "phase is 17 characters long", "0x80044331"):
        assert text in told.stdout
    assert told.stdout.endswith("2 in quarantine, 0 dropped.\n")
    assert (
        "There may be more: --offset 1"
        in apex("quarantine", "list", "--limit", "1").stdout
    )

    found = json.loads(apex("quarantine", "list", "--json", "--code", "invalid").stdout)
    assert (found["quarantined"], found["dropped"]) == (2, 0)
    assert [one["id"] for one in found["rows"]] == [row]
    found = json.loads(apex("quarantine", "list", "--by-cause", "--json").stdout)
    assert [(one["code"], one["count"]) for one in found["causes"]] == [
        ("0x80044331", 1),
        ("invalid", 1),
    ]
    assert (
        "phase is … characters long" in apex("quarantine", "list", "--by-cause").stdout
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--code", "X"], "No matching rows.\n"),
        (["--matching", "X", "--by-cause"], "No matching rows.\n"),
        (["--offset", "99"], "No matching rows after the first 99.\n"),
        (["--dropped"], ""),
    ],
)
def test_a_list_that_nothing_fits_says_so(apex, row, arguments, told):
    shown = apex("quarantine", "list", *arguments).stdout
    assert shown == f"{told}1 in quarantine, 0 dropped.\n"


def test_one_row_is_shown_with_all_its_columns_and_what_is_wrong(apex, row, refused):
    (shown,) = json.loads(apex("quarantine", "show", row.upper(), "--json").stdout)[
        "rows"
    ]
    assert shown["attempts"] == 1
    columns = {column["name"]: column for column in shown["columns"]}
    assert len(columns) == 14
    assert columns["id"]["sent"] == f'"{row}"'
    assert columns["tokens_in"] == {
        "name": "tokens_in",
        "value": "1500",
        "dataverse": "apex_tokensin",
        "sent": "1500",
        "problem": None,
    }
    assert columns["phase"]["sent"] is None
    assert columns["phase"]["problem"] == "is 17 characters long; the column holds 16"
    assert [c["name"] for c in shown["columns"] if c["problem"]] == ["phase"]

    (shown,) = json.loads(apex("quarantine", "show", refused, "--json").stdout)["rows"]
    (named,) = [c for c in shown["columns"] if c["problem"]]
    assert (named["name"], named["sent"]) == ("phase", '"2-3"')
    assert "is 17 characters long" in apex("quarantine", "show", row).stdout


def test_nothing_that_a_row_holds_steers_the_terminal(apex, refused):
    for command in (["list"], ["list", "--by-cause"], ["show", refused]):
        told = apex("quarantine", *command).stdout
        assert "\\u001b" in told
        assert "\x1b" not in told
        assert "\u202e" not in told


def test_the_rows_of_a_cause_are_mended_released_and_delivered(
    apex, row, refused, emulator, database_url
):
    execute(database_url, "UPDATE campaign_metrics SET phase = '5'")
    told = apex("quarantine", "release", "--code", "invalid", "--matching", "phase is")
    assert told.stdout == "1 row released. The next sync delivers it.\n"
    assert apex("sync").exit_code == 0
    assert delivered(emulator) == marked(database_url) == {row}
    found = json.loads(apex("quarantine", "list", "--json").stdout)
    assert [one["id"] for one in found["rows"]] == [refused]


def test_a_row_is_dropped_with_a_reason_and_brought_back(apex, row):
    told = apex("quarantine", "drop", row)
    assert (told.exit_code, "--reason" in told.stderr) == (2, True)
    told = apex("quarantine", "drop", row, "--reason", "a test")
    assert (told.exit_code, "This affects 1 row. Pass --yes" in told.stderr) == (
        2,
        True,
    )

    told = apex("quarantine", "drop", row, "--reason", "a test", "--by", "ann", "--yes")
    assert told.stdout.startswith("1 row dropped.")
    status = json.loads(apex("status", "--json").stdout)
    assert (status["quarantined"], status["dropped"]) == (0, 1)
    assert "1 dropped (--dropped shows them)" in apex("quarantine", "list").stdout
    told = apex("quarantine", "list", "--dropped").stdout
    assert "a test" in told
    assert "ann" in told

    none = "No matching rows; none released.\n"
    assert apex("quarantine", "release", "--all").stdout == none
    told = apex("quarantine", "release", "--all", "--yes", "--json").stdout
    assert json.loads(told) == {"released": 0}
    told = apex("quarantine", "release", "--all", "--dropped", "--yes", "--json").stdout
    assert json.loads(told) == {"released": 1}
    assert json.loads(apex("status", "--json").stdout)["pending"] == 1


def test_an_unknown_row_is_named_and_nothing_is_done(apex, row):
    for command in (["release"], ["drop", "--reason", "a test", "--yes"], ["show"]):
        ids = ["nobody"] if command == ["show"] else [row, "nobody"]
        told = apex("quarantine", *command, *ids)
        assert told.exit_code == 1
        assert "Not in quarantine: 'nobody'." in told.stderr
    found = json.loads(apex("status", "--json").stdout)
    assert (found["quarantined"], found["dropped"], found["pending"]) == (1, 0, 0)


@pytest.mark.parametrize("text", SPITEFUL)
def test_arguments_are_values(apex, row, database_url, text):
    for command in (
        ["show", text],
        ["release", text],
        ["release", "--code", text],
        ["release", "--matching", text],
        ["drop", "--code", text, "--reason", text, "--yes"],
    ):
        assert apex("quarantine", *command).exit_code == 1, command
    for option in ("--code", "--matching"):
        told = apex("quarantine", "list", option, text, "--json").stdout
        assert json.loads(told)["rows"] == []
    for option in ("--limit", "--offset"):
        assert apex("quarantine", "list", option, text).exit_code == 2
    told = apex("quarantine", "drop", row, "--reason", text, "--by", text, "--yes")
    assert told.exit_code == 0
    kept = query(
        database_url, "SELECT dropped_by, drop_reason FROM campaign_metrics_quarantine"
    )
    assert kept == [(text, text)]
    for option in ("--since", "--until", "--exported-before"):
        assert apex("sync", option, text).exit_code == 2
    told = apex("sync", "--campaign", text, "--dry-run")
    assert (told.exit_code, "0 would be sent" in told.stdout) == (0, True)
    assert query(database_url, "SELECT count(*) FROM campaign_metrics") == [(1,)]


@pytest.mark.parametrize("arguments", [[], ["--all", "--code", "x"], ["a", "--all"]])
def test_a_choice_that_means_nothing_is_a_mistake(apex, row, arguments):
    told = apex("quarantine", "release", *arguments)
    assert told.exit_code == 2
    assert "Select rows in one way" in told.stderr


@pytest.mark.parametrize(("said", "code", "pending"), [(b"n\n", 1, 0), (b"y\n", 0, 1)])
def test_a_person_at_a_terminal_is_asked(variables, row, store, said, code, pending):
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [APEX, "quarantine", "release", "--all"],
        env=INHERITED | variables,
        stdin=end,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(terminal, said)
    _, asked = process.communicate(timeout=SECONDS)
    os.close(end)
    os.close(terminal)
    assert "Release 1 row?" in asked
    assert process.returncode == code
    assert store.ask(pending_rows.summary).count == pending


def test_dagster_shows_at_once_what_was_settled(
    apex, row, tmp_path, monkeypatch, variables
):
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    monkeypatch.setenv("DAGSTER_HOME", str(home))

    told = apex("quarantine", "drop", row, "--reason", "a test", "--yes")

    assert (told.exit_code, told.stderr) == (0, "")
    with dg.DagsterInstance.get() as instance:
        check, metadata = shown_in_dagster(instance)
    assert check.passed
    assert metadata["rows_dropped"].value == 1
    assert metadata["dropped"].records[0].data["reason"] == "a test"


def test_an_instance_that_cannot_be_told_undoes_nothing(apex, row, tmp_path, store):
    told = apex("quarantine", "release", row, DAGSTER_HOME=str(tmp_path / "nowhere"))
    assert told.exit_code == 0
    assert told.stdout.startswith("1 row released.")
    assert told.stderr.startswith("note: Cannot write to the Dagster instance")
    assert store.ask(pending_rows.summary).count == 1
