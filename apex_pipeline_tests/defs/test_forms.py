"""The Dagster UI can do what the commands can: each option has its field."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import dagster as dg
import pytest

from apex_pipeline.cli import main
from apex_pipeline.definitions import defs
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.monitoring.alerts.journal import Journal
from apex_pipeline.monitoring.alerts.notice import Observation
from apex_pipeline_tests.support.dagster_runs import failure, output
from apex_pipeline_tests.support.ends import campaign_row, environment, execute, query
from apex_pipeline_tests.support.rule_findings import finding

# Options for printing and confirmation at a terminal.
PRINTING = {"as_json", "yes", "check"}
# Services, which a job cannot be; they are started with what a form would need.
SERVICES = {"up", "panel", "emulator", "webserver"}
ON_FILES = {"powerbi build", "powerbi check", "record campaigns", "audit export"}
"""They read or write files on the machine of the caller."""

OF_SETTINGS = {"powerbi time-zone", "tenants"}
"""They print what the caller's variables come to."""

FORMS = {
    "sync": "sync_campaign_metrics",
    "reconcile": "reconcile_dataverse",
    "quarantine list": "release_quarantine",
    "quarantine show": "release_quarantine",
    "quarantine release": "release_quarantine",
    "quarantine drop": "release_quarantine",
    "alerts list": "list_alerts",
    "alerts silence": "silence_alert",
    "alerts test": "send_test_alert",
    "provision": "provision_dataverse",
    "provision database": "provision_database",
    "provision dataverse": "provision_dataverse",
    "export": "export_csv",
    "doctor": "run_doctor",
    "status": "show_status",
    "report": "write_completion_report",
    "audit list": "list_audit_trail",
    "audit show": "list_audit_trail",
    "audit verify": "anchor_audit_trail",
    "audit prune": "anchor_audit_trail",
    "record": "record_campaign_metrics",
}


def commands(
    command: click.Command, name: str = ""
) -> Iterator[tuple[str, click.Command]]:
    """All commands with the words that they are called by."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for word in command.list_commands(context):
            found = command.get_command(context, word)
            assert found is not None
            yield from commands(found, f"{name} {word}".strip())
    if name and (not isinstance(command, click.Group) or command.params):
        yield name, command


def fields(job: str) -> dict[str, dg.Field]:
    """The fields of a job's form."""
    schema: Any = defs().resolve_job_def(job).run_config_schema.config_type
    steps = schema.fields["ops"].config_type.fields
    return {
        name: field
        for step in steps.values()
        for name, field in getattr(
            step.config_type.fields["config"].config_type, "fields", {}
        ).items()
    }


def test_each_option_of_each_command_is_in_a_form():
    found = dict(commands(main))
    assert set(found) == set(FORMS) | SERVICES | ON_FILES | OF_SETTINGS
    for name, job in FORMS.items():
        given = {str(param.name) for param in found[name].params} - PRINTING
        if name == "export":
            # The job chooses the name, in a folder of its own.
            given -= {"output"}
        if name == "record":
            # Its values are what the field `record` holds.
            given -= {"id", *(column.postgres for column in COLUMNS)}
        if name == "quarantine show":
            # One of what the form calls `ids`.
            given -= {"row_id"}
        assert given <= set(fields(job)), name


@pytest.mark.parametrize("job", sorted(set(FORMS.values())))
def test_a_form_shows_and_describes_each_field(job):
    for name, field in fields(job).items():
        assert field.description, name
        # The launchpad shows what has a default, and hides it where that is null.
        assert field.default_provided, name
        assert field.default_value is not None, name


@pytest.fixture
def variables(monkeypatch, emulator, database_url, tmp_path):
    """The environment of a code server, whose alerts are kept beside the metrics."""
    found = environment(emulator, database_url, tmp_path / "state") | {
        "DAGSTER_POSTGRES_URL": database_url
    }
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def inbox(variables, tmp_path):
    """The folder for files of records, where no variable names another."""
    folder = tmp_path / "state" / "inbox"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def launch(variables, emptied_instance):
    """Launches a job by its form; a job has one step."""

    def run(name, **config):
        job = defs().resolve_job_def(name)
        (step,) = job.nodes
        return job.execute_in_process(
            instance=emptied_instance,
            run_config={"ops": {step.name: {"config": config}}} if config else {},
            raise_on_error=False,
        )

    return run


def records(metadata):
    return [dict(record.data) for record in metadata.records]


def test_the_status_says_whether_all_is_well_and_why_not(launch, database_url):
    with Journal(database_url) as journal:
        journal.record("w", _found("database-unusable"), [], datetime.now(UTC))
    told = output(launch("show_status"))
    assert told["pending"].value == 0
    assert told["is_well"].value is False
    assert "database-unusable is wrong. it broke" in told["why_not"].value
    assert told["open_incidents"].value == "database-unusable is wrong"


def test_the_doctor_shows_each_line_and_fails_no_run(launch, monkeypatch, emulator):
    lines = {
        line["line"]: line for line in records(output(launch("run_doctor"))["lines"])
    }
    assert lines["columns"]["state"] == "ok"
    assert lines["alert channels"]["remedy"]

    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong")
    result = launch("run_doctor", send_test=False)
    assert result.success
    lines = {line["line"]: line for line in records(output(result)["lines"])}
    assert lines["token"]["state"] == "failed"
    assert "AZURE_CLIENT_SECRET is wrong" in lines["token"]["measured"]


def test_alerts_are_listed_with_silences_and_what_was_resolved(launch, database_url):
    with Journal(database_url) as journal:
        now = datetime.now(UTC)
        journal.record("w", _found("run-failed/a"), ["teams"], now)
        journal.record("w", lambda _: ([Observation("run-failed")], {}), [], now)
        journal.record("w", _found("run-failed/b"), ["teams"], now)
        journal.silences.put("throttled", now + timedelta(hours=1), "known")
    told = output(launch("list_alerts"))
    (incident,) = records(told["incidents"])
    assert (incident["incident"], incident["resolved"]) == ("run-failed/b", "")
    ((silence,),) = (records(told["silences"]),)
    assert (silence["incident"], silence["reason"]) == ("throttled", "known")
    told = output(launch("list_alerts", days=1))
    assert len(records(told["incidents"])) == 2
    assert told["open"].value == 1
    assert failure(launch("list_alerts", days=91)) == "`days` must be 0 to 90."


def _found(fingerprint):
    return lambda _: ([Observation(fingerprint, (finding(fingerprint),))], {})


def test_a_database_is_made_ready_or_the_plan_is_shown(launch, database_url):
    execute(database_url, "DROP VIEW campaign_metrics_pending CASCADE")
    planned = _lists(launch("provision_database", plan_only=True), "would_be_made")
    assert planned
    assert _lists(launch("provision_database"), "made") == planned
    assert query(database_url, "SELECT count(*) FROM campaign_metrics_pending") == [
        (0,)
    ]
    assert _lists(launch("provision_database"), "made") == []


def _lists(result, name):
    told = output(result).get(name)
    return [] if told is None else [n[2:] for n in told.value.splitlines()]


def test_a_record_and_a_file_of_them_are_written_once(launch, database_url, inbox):
    row = campaign_row(
        cost_usd=0.5, success_rate_pct=80, created_at="2026-10-30T13:00:00Z"
    )
    del row["id"]
    record = json.dumps(row, default=str)
    count = "SELECT count(*) FROM campaign_metrics"
    assert failure(launch("record_campaign_metrics")) == "Set either record or file."

    dry = launch("record_campaign_metrics", record=record, dry_run=True)
    assert output(dry)["created"].value is True
    assert query(database_url, count) == [(0,)]
    for created in (True, False):
        config = {"record": record, "idempotency_key": "nightly"}
        told = output(launch("record_campaign_metrics", **config))
        assert told["created"].value is created
    assert query(database_url, count) == [(1,)]

    path = inbox / "rows.jsonl"
    path.write_text(f"{record}\nrubbish\n")
    assert "line 2" in failure(launch("record_campaign_metrics", file=str(path)))
    told = output(launch("record_campaign_metrics", file=str(path), skip_bad=True))
    assert (told["created"].value, told["rejected"].value) == (1, 1)
    assert (
        json.loads(path.with_name("rows.jsonl.rejects.jsonl").read_text())["line"] == 2
    )
    odd = launch("record_campaign_metrics", file=str(inbox / "rows.txt"))
    assert "set format to jsonl or csv" in failure(odd)
    gone = launch("record_campaign_metrics", file="gone.csv")
    assert "No such file" in failure(gone)


def test_a_spreadsheet_with_decimal_commas_needs_its_dialect(
    launch, database_url, inbox
):
    row = campaign_row(cost_usd="0,5", success_rate_pct="80,00")
    del row["id"]
    written = "\n".join(";".join(map(str, part)) for part in (row, row.values()))
    (inbox / "rows.csv").write_text(written)
    job = "record_campaign_metrics"
    assert "dialect" in failure(launch(job, file="rows.csv"))
    unknown = launch(job, file="rows.csv", dialect="lotus")
    assert failure(unknown) == "Unknown dialect; choose excel or excel-eu."
    told = output(launch(job, file="rows.csv", dialect="excel-eu"))
    assert told["created"].value == 1
    assert query(database_url, "SELECT cost_usd::text FROM campaign_metrics") == [
        ("0.50000",)
    ]


def test_the_form_reads_and_writes_below_the_operators_folder_alone(
    launch, inbox, tmp_path
):
    secret = tmp_path / "database.url"
    secret.write_text("postgresql://apex:hidden@host/db")
    (inbox / "link.jsonl").symlink_to(secret)
    for name in (str(secret), "../../database.url", "link.jsonl", "\0"):
        run = launch("record_campaign_metrics", file=name, format="jsonl")
        assert "APEX_RECORD_DIR" in failure(run)
        assert "hidden" not in "".join(map(str, run.all_events))
    os.mkfifo(inbox / "pipe.jsonl")
    pipe = launch("record_campaign_metrics", file="pipe.jsonl")
    assert "ordinary files alone" in failure(pipe)
    (inbox / "rows.jsonl").write_text("rubbish\n")
    for name, told in (
        (str(tmp_path / "new"), "APEX_RECORD_DIR"),
        (str(secret), "APEX_RECORD_DIR"),
        ("rows.jsonl", "replaces no file"),
    ):
        config = {"file": "rows.jsonl", "skip_bad": True, "rejects": name}
        assert told in failure(launch("record_campaign_metrics", **config))
    assert not (tmp_path / "new").exists()
    assert secret.read_text() == "postgresql://apex:hidden@host/db"
    assert (inbox / "rows.jsonl").read_text() == "rubbish\n"


def test_a_refused_file_is_not_quoted(launch, inbox):
    """Who starts the job may not be who may read the machine's files."""
    row = json.dumps({"hidden-name": "hidden-value", "phase": "hidden-phase" * 9})
    (inbox / "lines.jsonl").write_text(f"{row}\nhidden-rubbish\n")
    (inbox / "header.csv").write_text("hidden-name,hidden-other\n1,2\n")
    (inbox / "odd.csv").write_text('hidden-name;"hidden\n')
    for name in ("lines.jsonl", "header.csv", "odd.csv"):
        run = launch("record_campaign_metrics", file=name)
        assert "Its content is not shown here" in failure(run)
        assert "hidden-" not in "".join(map(str, run.all_events))
    assert "line 1, line 2" in failure(
        launch("record_campaign_metrics", file="lines.jsonl")
    )
    # The one who put it there finds beside it what is wrong.
    launch("record_campaign_metrics", file="lines.jsonl", skip_bad=True)
    assert "hidden-name" in (inbox / "lines.jsonl.rejects.jsonl").read_text()


def test_the_operator_names_the_folder(launch, variables, monkeypatch, tmp_path):
    monkeypatch.setenv("APEX_RECORD_DIR", str(tmp_path))
    (tmp_path / "rows.jsonl").write_text("rubbish\n")
    told = output(launch("record_campaign_metrics", file="rows.jsonl", skip_bad=True))
    assert told["rejected"].value == 1
