"""The job that verifies and anchors the audit trail, and who acts in runs."""

import os
from uuid import uuid4

import dagster as dg
import psycopg
import pytest

from apex_pipeline.audit import trail
from apex_pipeline.audit.anchors import read_anchors
from apex_pipeline.audit.authors import ACTOR_TAG
from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.definitions import defs
from apex_pipeline.monitoring.alerts.channels import open_alerts
from apex_pipeline.postgres.database import Database
from apex_pipeline_tests.support.ends import campaign_row, environment, insert


@pytest.fixture
def variables(monkeypatch, emulator, database_url, tmp_path):
    found = environment(emulator, database_url, tmp_path)
    found |= {
        "DAGSTER_POSTGRES_URL": database_url,
        "APEX_TEAMS_WEBHOOK_URL": "https://example.invalid/workflow",
        "APEX_ACTOR": "daemon@host",
    }
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="test") as opened:
        yield opened


def run(job, tags=None, **config):
    with dg.DagsterInstance.ephemeral() as instance:
        return (
            defs()
            .resolve_job_def(job)
            .execute_in_process(
                instance=instance,
                run_config=config,
                raise_on_error=False,
                tags=tags or {},
            )
        )


def append(database):
    act, event = uuid4(), Event(Action.EXPORT, Author("ada"))
    database.transact(lambda c: trail.append(c, event, act))


def check(result):
    (event,) = result.get_asset_check_evaluations()
    return event


def test_the_job_anchors_the_head_and_tells_the_channels_in_one_line(
    variables, database
):
    append(database)
    result = run("anchor_audit_trail")
    assert result.success
    assert check(result).passed
    (anchor,) = database.ask(read_anchors)
    event = database.ask(trail.newest, limit=1)[0]
    assert event["action"] == "anchor"
    assert event["actor"] == "daemon@host"
    assert event["run_id"] == result.run_id
    with open_alerts(os.environ) as alerts:
        waiting = alerts.journal.outbox.claim("teams")
        assert alerts.journal.outbox.claim("teams") is None
    assert waiting is not None
    assert waiting.kind == "anchor"
    assert dict(waiting.facts) == {"Anchor": str(anchor.head)}


def test_the_line_can_be_switched_off(variables, database, monkeypatch):
    monkeypatch.setenv("APEX_AUDIT_NOTICE", "off")
    append(database)
    assert run("anchor_audit_trail").success
    assert len(database.ask(read_anchors)) == 1
    with open_alerts(os.environ) as alerts:
        assert alerts.journal.outbox.claim("teams") is None


def test_a_broken_trail_fails_the_check_and_names_the_event(
    variables, database, database_url
):
    append(database)
    with psycopg.connect(database_url) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("UPDATE audit_event SET actor = 'x'")
    result = run("anchor_audit_trail")
    assert result.success
    assert not check(result).passed
    problems = check(result).metadata["problems"].value
    assert problems.startswith("Event 1 was changed")


def test_an_anchor_from_elsewhere_is_held_against_the_trail(variables, database):
    append(database)
    config = {"audit_trail": {"config": {"anchors": [f"9:{'ab' * 32}"]}}}
    found = check(run("anchor_audit_trail", ops=config))
    assert not found.passed
    assert "the end of the trail was removed" in found.metadata["problems"].value


def test_the_trail_is_listed_in_the_ui(variables, database):
    append(database)
    config = {"list_events": {"config": {"action": "export", "first": "2026-01-01"}}}
    result = run("list_audit_trail", ops=config)
    assert result.success
    (event,) = result.filter_events(lambda e: e.is_successful_output)
    (record,) = event.step_output_data.metadata["events"].records
    assert record.data["actor"] == "ada"
    wrong = {"list_events": {"config": {"action": "no such"}}}
    assert not run("list_audit_trail", ops=wrong).success


def test_a_wrong_setting_fails_the_run_with_its_name(variables, monkeypatch):
    monkeypatch.setenv("APEX_AUDIT_KEEP", "soon")
    result = run("anchor_audit_trail")
    assert not result.success


def test_a_sync_leaves_one_event_of_whom_its_tags_name(
    variables, database, database_url
):
    insert(database_url, [campaign_row()])
    result = run("sync_campaign_metrics", {ACTOR_TAG: "ada@example.org"})
    assert result.success
    found = {e["action"]: e for e in database.ask(trail.newest, limit=10)}
    assert found.keys() == {"sync", "change_settings"}
    event = found["sync"]
    assert event["actor"] == "ada@example.org"
    assert event["run_id"] == result.run_id
    assert event["counts"]["delivered"] == 1
    names = found["change_settings"]["subject"]["settings"]
    assert {"DATABASE_URL", "APEX_TEAMS_WEBHOOK_URL"} <= names.keys()
