"""Acts in commands and jobs: each leaves exactly one event, also after a kill."""

import json
import multiprocessing
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from click.testing import CliRunner

from apex_pipeline.audit import trail
from apex_pipeline.audit.authors import ACTOR_TAG, panel_author, run_author
from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.audit.intents import close_abandoned, intended
from apex_pipeline.audit.migrations_noted import note_migrations
from apex_pipeline.audit.verification import verify
from apex_pipeline.cli.alerts import alerts
from apex_pipeline.cli.audit import audit
from apex_pipeline.cli.export import export
from apex_pipeline.cli.record import record
from apex_pipeline.monitoring.alerts.audit_relay import relay
from apex_pipeline.monitoring.alerts.journal import Journal
from apex_pipeline.monitoring.facts import read_audit_facts
from apex_pipeline.monitoring.rules.sync_health import observe, read_health
from apex_pipeline.postgres.database import Database
from apex_pipeline.recording import record_all_campaign_metrics, record_campaign_metrics
from apex_pipeline_tests.support.campaign_runs import metrics
from apex_pipeline_tests.support.ends import execute
from apex_pipeline_tests.support.waiting import SECONDS

AUTHOR = Author("ada@host", "run-1")
RECORD = (
    '{"campaignId": "2f1c3e4a-0000-4000-8000-000000000001", "runId": '
    '"2f1c3e4a-0000-4000-8000-000000000002", "phase": "2-3", "agentsTotal": 2, '
    '"agentsSuccessful": 2, "assetsGenerated": 1, "tokensIn": 1, "tokensOut": 1, '
    '"costUSD": 1, "latencyP95Ms": 1, "latencyAvgMs": 1}'
)


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="test") as opened:
        yield opened


@pytest.fixture
def apex(database_url, monkeypatch, tmp_path):
    """Run a command as Ada, on the database of this test."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATAVERSE_RESOURCE", "https://org.crm.dynamics.com")
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", database_url)
    monkeypatch.setenv("APEX_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("APEX_ACTOR", "ada@example.org")
    monkeypatch.chdir(tmp_path)

    def run(command, *arguments, code=0, **more):
        found = CliRunner().invoke(command, arguments, **more)
        assert found.exit_code == code, (found.output, found.exception)
        return found.output

    return run


def events(database, action=None):
    return database.ask(trail.newest, limit=1000, action=action)[::-1]


def test_recording_by_hand_leaves_one_event_and_a_repeat_none(apex, database, tmp_path):
    lines = tmp_path / "rows.jsonl"
    lines.write_text(f"{RECORD}\n")
    apex(record, "--file", str(lines), "--dry-run")
    assert events(database) == []
    apex(record, "--file", str(lines))
    apex(record, "--file", str(lines))
    apex(record, "--json", RECORD, "--idempotency-key", "k")
    apex(record, "--json", RECORD, "--idempotency-key", "k")
    by_file, by_hand = events(database)
    assert by_file["action"] == by_hand["action"] == "record"
    assert by_file["subject"] == {"file": "rows.jsonl"}
    assert by_file["counts"] == {"created": 1, "repeated": 0, "rejected": 0}
    assert by_file["actor"] == "ada@example.org"
    assert len(by_hand["subject"]["rows"]) == 1


def test_recording_in_python_leaves_one_event_a_call(
    database, database_url, monkeypatch
):
    monkeypatch.setenv("APEX_ACTOR", "agent-7")
    given = metrics(idempotency_key="k", database_url=database_url)
    key = record_campaign_metrics(**given).id
    record_campaign_metrics(**given)
    many = [metrics(id=str(n)) for n in range(3)]
    record_all_campaign_metrics(many, database_url=database_url)
    record_all_campaign_metrics(many, database_url=database_url)
    one, all_three = events(database)
    grown = [*many, metrics(id="3")]
    record_all_campaign_metrics(grown, database_url=database_url)
    assert events(database)[-1]["counts"] == {
        "created": 1,
        "repeated": 3,
        "rejected": 0,
    }
    assert one["subject"] == {"rows": [str(key)]}
    assert one["counts"] == {"created": 1}
    assert all_three["counts"] == {"created": 3, "repeated": 0, "rejected": 0}
    assert {one["actor"], all_three["actor"]} == {"agent-7"}
    assert {one["action"], all_three["action"]} == {"record"}


def test_campaign_names_leave_one_event(apex, database, tmp_path):
    names = tmp_path / "names.csv"
    names.write_text("campaign_id,name\nc-1,Spring\n")
    apex(record, "campaigns", str(names))
    apex(record, "campaigns", str(names))
    (event,) = events(database)
    assert event["action"] == "name_campaigns"
    assert event["counts"] == {"campaigns": 1}


def test_an_export_leaves_one_event_without_the_folder(apex, database, tmp_path):
    apex(export, "daily", "-o", str(tmp_path / "out.csv"))
    (event,) = events(database)
    assert event["action"] == "export"
    assert event["subject"]["dataset"] == "daily"
    assert event["subject"]["to"] == "out.csv"
    assert event["counts"] == {"rows": 0}


def test_a_failed_export_says_so(apex, database, tmp_path):
    apex(export, "daily", "-o", str(tmp_path / "no" / "out.csv"), code=1)
    (event,) = events(database)
    assert event["outcome"] == "failed"
    assert "out.csv" in event["subject"]["error"]


def test_nothing_is_exported_if_the_intent_cannot_be_written(
    apex, database_url, tmp_path
):
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP TABLE audit_intent")
    apex(export, "daily", "-o", str(tmp_path / "out.csv"), code=1)
    assert not (tmp_path / "out.csv").exists()


def test_a_silence_reaches_the_trail_with_its_reason(apex, database):
    apex(alerts, "silence", "ticks-failing", "--for", "2h", "--reason", "planned")
    (event,) = events(database)
    assert event["action"] == "silence"
    assert event["subject"]["incident"] == "ticks-failing"
    assert event["reason"] == "planned"


def test_a_silence_works_while_the_trail_does_not_and_is_told_later(
    apex, database, database_url, monkeypatch, unusable_url
):
    monkeypatch.setenv("DATABASE_URL", unusable_url)
    apex(alerts, "silence", "ticks-failing", "--for", "2h")
    monkeypatch.setenv("DATABASE_URL", database_url)
    with Journal(database_url) as journal:
        assert len(journal.silences.in_force()) == 1
        for _ in range(2):
            assert relay(journal, os.environ) is None
        assert journal.silences.unaudited() == []
    assert len(events(database, Action.SILENCE)) == 1


def test_a_hand_over_that_is_killed_in_between_is_repeated_without_a_double(
    database, database_url
):
    with Journal(database_url) as journal:
        journal.silences.put("x", datetime.now(UTC) + timedelta(hours=1), "", AUTHOR)
        ((act, event),) = journal.silences.unaudited()
        database.transact(lambda c: trail.append(c, event, act))
        assert relay(journal, {"DATABASE_URL": database_url}) is None
        assert journal.silences.unaudited() == []
    assert len(events(database)) == 1


def die_within(url: str, step: str, folder: str) -> None:
    """Export something outside the database, and be killed at a step."""

    def at(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    with Database(url, application_name="test") as database:
        at("before")
        event = Event(Action.EXPORT, AUTHOR, {"to": "file"})
        with intended(database, event, seconds=0) as ending:
            at("intended")
            Path(folder, "file").touch()
            at("acted")
            ending.counts["rows"] = 1
        at("after")


@pytest.mark.slow
@pytest.mark.parametrize("step", ["before", "intended", "acted", "after"])
def test_an_act_elsewhere_killed_at_a_step_leaves_exactly_one_event(
    step, database, database_url, tmp_path
):
    processes = multiprocessing.get_context("spawn")
    process = processes.Process(target=die_within, args=(database_url, step, tmp_path))
    process.start()
    process.join(timeout=SECONDS)
    assert process.exitcode == -signal.SIGKILL
    database.transact(close_abandoned)
    database.transact(close_abandoned)
    found = events(database)
    has_acted = (tmp_path / "file").exists()
    assert [e["outcome"] for e in found] == {
        "before": [],
        "intended": ["interrupted"],
        "acted": ["interrupted"],
        "after": ["done"],
    }[step]
    assert has_acted == (step in {"acted", "after"})
    assert database.transact(verify).problems == ()


def test_an_act_that_ends_after_it_was_taken_for_dead_leaves_one_event(database):
    with intended(database, Event(Action.EXPORT, AUTHOR), seconds=0):
        assert database.transact(close_abandoned) == 1
    (event,) = events(database)
    assert event["outcome"] == "interrupted"


WHOLE: dict[str, object] = {
    "action": "drop",
    "actor": "a",
    "run_id": None,
    "reason": None,
    "subject": {},
    "counts": {},
    "before": {},
    "after": {},
}


@pytest.mark.parametrize(
    "forged",
    [
        [1],
        "x",
        {},
        {"action": "nonsense"},
        WHOLE | {"actor": ""},
        WHOLE | {"run_id": 7},
        WHOLE | {"subject": []},
    ],
)
def test_an_intent_that_is_none_of_ours_holds_up_no_other(
    database, database_url, caplog, forged
):
    """Any role that may begin an act may write one."""
    kept = json.dumps(forged)
    execute(
        database_url,
        "INSERT INTO audit_intent (act, event, ends_by) VALUES"
        f" (gen_random_uuid(), '{kept}', now() - interval '1 day'),"
        f" (gen_random_uuid(), '{kept}', 'infinity')",
    )
    with intended(database, Event(Action.EXPORT, AUTHOR), seconds=0):
        assert database.transact(close_abandoned) == 1
    assert "1 rows of audit_intent do not come from the pipeline" in caplog.text
    assert [each["outcome"] for each in events(database)] == ["interrupted"]
    assert database.transact(close_abandoned) == 0


def test_what_changed_nothing_leaves_no_event(database):
    with intended(database, Event(Action.PROVISION, AUTHOR)) as ending:
        ending.is_void = True
    assert events(database) == []
    assert database.transact(close_abandoned) == 0


def test_migrations_without_an_event_get_one(database):
    note_migrations(database, AUTHOR)
    note_migrations(database, AUTHOR)
    (event,) = events(database)
    assert event["action"] == "provision"
    assert "0023_audit" in event["subject"]["migrations"]
    note_migrations(database, AUTHOR, ["0001_campaign_metrics"])
    assert events(database)[1]["subject"]["migrations"] == ["0001_campaign_metrics"]


def test_a_run_acts_for_whom_its_tags_name():
    here = {"APEX_ACTOR": "daemon"}
    schedule = {"dagster/schedule_name": "nightly"}
    assert run_author(here, "r", {ACTOR_TAG: "ada"} | schedule) == Author("ada", "r")
    assert run_author(here, "r", {"user": "bob"}) == Author("bob", "r")
    assert run_author(here, "r", schedule) == Author("schedule nightly", "r")
    assert run_author(here, "r", {}) == Author("daemon", "r")


def test_a_visitor_of_the_panel_is_named_by_a_fingerprint():
    token = "a-secret-token-of-the-panel"
    found = panel_author({}, token)
    assert found == panel_author({}, token) != panel_author({}, token + "x")
    assert token not in found.actor
    assert panel_author({"APEX_ACTOR": "ada"}, None).actor == "panel of ada"


def tamper(database_url):
    with psycopg.connect(database_url) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("UPDATE audit_event SET reason = 'x' WHERE sequence = 1")


def test_the_command_verifies_names_the_event_and_exits_1(apex, database, database_url):
    act = uuid4()
    database.transact(lambda c: trail.append(c, Event(Action.PURGE, AUTHOR), act))
    head = database.ask(trail.head)
    assert "Unbroken: 1 events" in apex(audit, "verify")
    assert f"head  {head}" in apex(audit, "verify", "--anchor", str(head))
    gone = f"2:{'ab' * 32}"
    text = apex(audit, "verify", "--anchor", gone, code=1)
    assert "the end of the trail was removed" in text
    tamper(database_url)
    assert "Event 1 was changed" in apex(audit, "verify", code=1)
    assert '"unbroken": false' in apex(audit, "verify", "--json", code=1)
    apex(audit, "verify", "--anchor", "nonsense", code=1)


def test_the_command_lists_shows_and_exports(apex, database, tmp_path):
    act = uuid4()
    event = Event(Action.DROP, AUTHOR, {"rows": ["r-1"]}, reason="test data")
    database.transact(lambda c: trail.append(c, event, act))
    assert "test data" in apex(audit, "list", "--action", "drop")
    assert "No events" in apex(audit, "list", "--action", "sync")
    assert "No events" in apex(audit, "list", "--to", "2020-01-01")
    assert str(act) in apex(audit, "show", "1")
    assert "no event 7" in str(CliRunner().invoke(audit, ["show", "7"]).exception)
    days = ("--from", "2020-01-01", "--to", "2199-12-31")
    assert "1 events" in apex(audit, "export", *days, "-o", str(tmp_path / "pack"))
    assert events(database)[-1]["subject"]["dataset"] == "audit_event"


def test_an_incident_opens_when_it_breaks_and_resolves_when_it_verifies(
    apex, database, database_url
):
    act = uuid4()
    database.transact(lambda c: trail.append(c, Event(Action.PURGE, AUTHOR), act))

    def found():
        now = datetime.now(UTC)
        seen = observe(read_health(database, now), now, now)
        (one,) = (each for each in seen if each.scope == "audit-broken")
        return one.findings

    assert found() == ()
    apex(audit, "verify")
    assert found() == ()
    tamper(database_url)
    apex(audit, "verify", code=1)
    (finding,) = found()
    assert finding.cause.startswith("Event 1 was changed")
    assert database.ask(read_audit_facts).is_unbroken is False


def test_pruning_needs_its_setting_and_a_confirmation(apex, monkeypatch):
    monkeypatch.delenv("APEX_AUDIT_KEEP", raising=False)
    found = CliRunner().invoke(audit, ["prune"])
    assert "not set" in str(found.exception)
    monkeypatch.setenv("APEX_AUDIT_KEEP", "30d")
    assert "No event is that old" in apex(audit, "prune")
