"""`apex alerts` and `apex status --check`, as people and scripts call them."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner, Result

from apex_pipeline.cli import main
from apex_pipeline.monitoring.alerts.incidents import FLAPPING
from apex_pipeline.monitoring.alerts.journal import Journal
from apex_pipeline.monitoring.alerts.notice import Observation
from apex_pipeline.monitoring.rules.catalogue import RULES
from apex_pipeline.monitoring.rules.health_watch import WATCHER
from apex_pipeline_tests.support.ends import campaign_row, environment, execute, insert
from apex_pipeline_tests.support.receivers import mail_server, make_authority

OVERDUE = (
    "Rows have been pending for more than ten minutes. The last run of the sync "
    "reported no error."
)
FAILED = RULES["run-failed"].finding("it broke", where="nightly")


@pytest.fixture
def mailbox(tmp_path):
    with mail_server(make_authority(tmp_path), "plain") as served:
        yield served


@pytest.fixture
def variables(monkeypatch, emulator, database_url, empty_database_url, tmp_path):
    found = environment(emulator, database_url, tmp_path)
    found["DAGSTER_POSTGRES_URL"] = empty_database_url
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def mail(monkeypatch, mailbox):
    monkeypatch.setenv("APEX_ALERT_EMAIL_TO", "ops@example.com")
    monkeypatch.setenv("APEX_ALERT_EMAIL_FROM", "apex@example.com")
    monkeypatch.setenv("APEX_SMTP_URL", f"smtp://127.0.0.1:{mailbox.port}")
    return mailbox


@pytest.fixture
def journal(variables):
    with Journal(variables["DAGSTER_POSTGRES_URL"]) as opened:
        yield opened


def apex(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def look(journal: Journal, *findings, now: datetime | None = None) -> None:
    scope = Observation("run-failed", findings)
    watched: tuple[list[Observation], dict[str, object]] = ([scope], {})
    journal.record(WATCHER, lambda _: watched, ["email"], now or datetime.now(UTC))


def test_the_list_shows_what_is_wrong_what_is_silenced_and_what_waits(journal, mail):
    look(journal, FAILED)
    silenced = apex(
        "alerts", "silence", "rows-quarantined", "--for", "2d", "--reason", "known"
    )
    assert silenced.exit_code == 0, silenced.output
    told = apex("alerts", "list").output
    assert "error: A run of nightly failed (open for " in told
    assert "incident  run-failed/nightly" in told
    assert f"remedy    {RULES['run-failed'].remedy}" in told
    assert "rows-quarantined  known" in told
    assert "email: 1 notices undelivered: being sent" in told

    document = json.loads(apex("alerts", "list", "--json").output)
    (incident,) = document["incidents"]
    assert incident["fingerprint"] == "run-failed/nightly"
    assert incident["resolved_at"] is None
    assert document["silences"][0]["incident"] == "rows-quarantined"
    assert document["undelivered"] == {"email": 1}

    look(journal)
    assert "nightly" not in apex("alerts", "list").output
    assert "resolved, lasted" in apex("alerts", "list", "--days", "1").output
    for _ in range(FLAPPING - 1):
        look(journal, FAILED)
        look(journal)
    assert "but it keeps coming back" in apex("alerts", "list").output


def test_a_silence_without_an_end_is_refused(variables):
    for end, told in (
        ([], "either --until or --for"),
        (["--for", "1h", "--until", "2030-01-01"], "either --until or --for"),
        (["--until", "2020-01-01"], "must end in the future"),
        (["--until", "Monday"], "--until must be a time like"),
        (["--for", "soon"], "--for must be a length like"),
    ):
        result = apex("alerts", "silence", "run-failed", *end)
        assert result.exit_code == 2, result.output
        assert told in result.output
    assert apex("alerts", "silence", "nonsense", "--for", "1h").exit_code == 2


def test_a_test_message_goes_through_each_channel(variables, mail):
    assert apex("alerts", "test").output == "email: accepted the message\n"
    assert len(mail.envelopes) == 1
    mail.refuses["DATA"] = "554 no"
    refused = apex("alerts", "test", "--json")
    assert refused.exit_code == 1
    assert "554" in json.loads(refused.output)["email"]


def test_what_alerts_need_is_named(variables, monkeypatch):
    without_channel = apex("alerts", "test")
    assert without_channel.exit_code == 2
    assert "APEX_TEAMS_WEBHOOK_URL" in without_channel.output
    monkeypatch.delenv("DAGSTER_POSTGRES_URL")
    without_journal = apex("alerts", "list")
    assert without_journal.exit_code == 2
    assert "Alerts need DAGSTER_POSTGRES_URL" in without_journal.output
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("DATAVERSE_RESOURCE")
    beside_nothing = apex("alerts", "list")
    assert beside_nothing.exit_code == 2
    assert "local services are not running" in beside_nothing.output
    monkeypatch.setenv("DATABASE_URL", "postgresql://apex@db.example/apex")
    monkeypatch.setenv("DATAVERSE_RESOURCE", "emulator")
    half_local = apex("alerts", "list")
    assert "DATAVERSE_RESOURCE=emulator asks for a service" in half_local.output


def test_the_check_says_why_it_is_not_well_one_line_each(
    journal, variables, database_url
):
    look(journal)
    well = apex("status", "--check")
    assert (well.exit_code, well.output) == (0, "")

    look(journal, FAILED, RULES["throttled"].finding("a little"))
    insert(database_url, [campaign_row()])
    ill = apex("status", "--check")
    assert ill.exit_code == 1
    assert ill.output.splitlines() == [
        "A run of nightly failed. it broke",
        OVERDUE,
    ]
    found = json.loads(apex("status", "--check", "--json").output)
    assert (found["healthy"], len(found["reasons"])) == (False, 2)

    for scope in ("run-failed", "rows-overdue"):
        journal.silences.put(scope, datetime.now(UTC) + timedelta(hours=1), "")
    assert apex("status", "--check").exit_code == 0


def test_the_check_sees_that_nobody_watches(journal, variables):
    look(journal, now=datetime.now(UTC) - timedelta(minutes=4))
    unwatched = apex("status", "--check")
    assert unwatched.exit_code == 1
    assert (
        "The sync is not monitored. The health watch last ran 4 min" in unwatched.output
    )


def test_the_check_goes_without_a_journal(variables, monkeypatch, database_url):
    monkeypatch.delenv("DAGSTER_POSTGRES_URL")
    assert apex("status", "--check").exit_code == 0
    execute(database_url, "DROP VIEW campaign_metrics_pending")
    unusable = apex("status", "--check")
    assert unusable.exit_code == 1
    assert unusable.output.startswith("The metrics database cannot be used. ")


def test_the_check_names_a_wrong_configuration(variables, monkeypatch):
    wrong = {
        "APEX_TIME_ZONE": "Mars/X",
        "APEX_SLO_P95_MS": "-1",
        "APEX_HISTORY_START": "nope",
        "APEX_PANEL_TOKEN": "short",
        "APEX_PANEL_PORT": "99999",
        "APEX_TEAMS_WEBHOOK_URL": "nope",
        "APEX_HEARTBEAT_URL": "nope",
        "APEX_DAGSTER_URL": "nope",
        "APEX_CLIENT_SECRET_EXPIRES_ON": "soon",
    }
    for name, text in wrong.items():
        monkeypatch.setenv(name, text)
    monkeypatch.delenv("AZURE_TENANT_ID")
    told = apex("status", "--check")
    assert told.exit_code == 2
    for name in (*wrong, "AZURE_TENANT_ID"):
        assert told.output.count(f"{name} must be") == 1, name


def test_the_status_shows_what_is_open(journal, variables):
    look(journal, FAILED)
    assert "open incidents          A run of nightly failed" in apex("status").output
    document = json.loads(apex("status", "--json").output)
    assert document["open_incidents"] == ["A run of nightly failed"]


def test_provisioning_makes_the_alerts_tables_too(variables):
    planned = apex("provision", "database", "--plan")
    applied = [line for line in planned.output.splitlines() if "applied" in line]
    assert applied == [
        "would be applied: alerts_0001_incidents",
        "would be applied: alerts_0002_locations",
        "would be applied: alerts_0003_unaudited",
    ]
    assert apex("provision", "database").exit_code == 0
    with Journal(variables["DAGSTER_POSTGRES_URL"]) as journal:
        assert journal.incidents() == []
