"""The acceptance lines: each fails for its own fault."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from apex_pipeline.errors import DatabaseError
from apex_pipeline.monitoring.alerts.journal import Journal
from apex_pipeline.monitoring.alerts.notice import Observation, Severity
from apex_pipeline.postgres import migrations, store as stores
from apex_pipeline.report.acceptance import delivery
from apex_pipeline.report.dagster_facts import (
    AssetCheckState,
    AssetState,
    AutomationState,
    Orchestration,
)
from apex_pipeline.report.deliverables import in_alerts_postgres, in_dagster
from apex_pipeline.report.document import Lines, LineState, ReportTable
from apex_pipeline.report.known_issues import incidents, quarantine
from apex_pipeline.report.report_subject import read_subject
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import SyncOptions
from apex_pipeline_tests.support.ends import campaign_row, environment, execute, insert
from apex_pipeline_tests.support.panel_server import deliver
from apex_pipeline_tests.support.rule_findings import finding

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def variables(emulator, database_url, empty_database_url, tmp_path):
    return environment(emulator, database_url, tmp_path) | {
        "DAGSTER_POSTGRES_URL": empty_database_url
    }


@pytest.fixture
def subject(variables, database_url):
    """Twenty rows, all delivered."""
    insert(database_url, [campaign_row() for _ in range(20)])
    found = read_subject(variables)
    with stores.connect(database_url) as store:
        report = run_sync(store, found.dataverse(), found.token_cache, SyncOptions())
    assert report.delivered == 20
    return found


def states(subject):
    return {line.name: line.state for line in delivery(subject, datetime.now(UTC))}


def open_incident(url, severity):
    look: tuple[list[Observation], dict[str, object]] = (
        [Observation("rule", (finding("rule", severity=severity),))],
        {},
    )
    with Journal(url) as journal:
        journal.record("tests", lambda _: look, (), datetime.now(UTC))


def test_the_migrations_beside_dagsters_storage_are_told(subject, empty_database_url):
    with pytest.raises(DatabaseError, match="apex provision database"):
        list(in_alerts_postgres(subject))
    migrations.apply(empty_database_url, migrations.MigrationFolder.ALERTS)
    (block,) = in_alerts_postgres(subject)
    assert isinstance(block, Lines)
    assert {line.name: line.state for line in block.lines} == {
        "alerts_0001_incidents": LineState.MET,
        "alerts_0002_locations": LineState.MET,
        "alerts_0003_unaudited": LineState.MET,
    }


WELL = {
    "rows arrive": LineState.MET,
    "no row lost or duplicated": LineState.MET,
    # Nothing has compared them yet.
    "records equal their rows": LineState.NOT_MEASURED,
    "quarantine": LineState.MET,
    "incidents": LineState.MET,
}


def test_where_all_is_well_all_is_met(subject):
    assert states(subject) == WELL


def test_a_row_that_waits_too_long_is_told(subject, database_url):
    insert(database_url, [campaign_row(created_at=datetime.now(UTC))])
    assert states(subject) == WELL
    old = datetime.now(UTC) - timedelta(minutes=6)
    insert(database_url, [campaign_row(created_at=old)])
    # It came late: nothing was pending when the last run ended.
    assert states(subject) == WELL
    execute(
        database_url,
        "UPDATE sync_run SET started_at = started_at - interval '1 hour', "
        "finished_at = finished_at - interval '1 hour'",
    )
    assert states(subject) == WELL | {"rows arrive": LineState.NOT_MET}


def test_a_record_too_many_or_too_few_is_told(subject, emulator, database_url):
    deliver(emulator, {})
    assert states(subject)["no row lost or duplicated"] is LineState.NOT_MET
    lost = campaign_row()
    insert(database_url, [lost, campaign_row()])
    execute(database_url, "UPDATE campaign_metrics SET exported_at = now()")
    assert states(subject)["no row lost or duplicated"] is LineState.NOT_MET


def test_what_comparing_found_is_told(subject, database_url):
    resource = subject.dataverse().resource
    execute(
        database_url,
        "INSERT INTO foreign_record (resource, record_id, campaign_id, run_id, phase,"
        f" candidates, first_seen_at, last_seen_at) VALUES ('{resource}', '{uuid4()}',"
        " 'c', 'r', 'p', 0, now(), now())",
    )
    found = states(subject)
    assert found["records equal their rows"] is LineState.NOT_MET


def test_rows_in_quarantine_warn_and_their_causes_are_known_issues(
    subject, database_url
):
    insert(database_url, [campaign_row(phase="x" * 17)])
    with stores.connect(database_url) as store:
        run_sync(store, subject.dataverse(), subject.token_cache, SyncOptions())
    assert states(subject)["quarantine"] is LineState.WARNING
    (table,) = quarantine(subject)
    assert isinstance(table, ReportTable)
    assert table.rows[0][0] == "invalid"
    assert "phase" in table.rows[0][1]


@pytest.mark.parametrize(
    ("severity", "state"),
    [(Severity.ERROR, LineState.NOT_MET), (Severity.WARNING, LineState.WARNING)],
)
def test_an_open_incident_is_told_and_is_a_known_issue(
    subject, empty_database_url, severity, state
):
    open_incident(empty_database_url, severity)
    assert states(subject) == WELL | {"incidents": state}
    (table,) = incidents(subject, datetime.now(UTC))
    assert isinstance(table, ReportTable)
    ((name, told, *_),) = table.rows
    assert "rule" in name
    assert told == severity.value


def orchestration(check=(True, False), is_on=True, error=None, made_at=NOW):
    passed, is_warning = check
    return Orchestration(
        "storage",
        (AssetState("an_asset", "sync", "Something.", True, made_at),),
        (AssetCheckState("an_asset", "is_right", "It is.", passed, is_warning, NOW),),
        (),
        (AutomationState("ticking", "schedule", "* * * * *", is_on, NOW, error),),
        (),
    )


@pytest.mark.parametrize(
    ("found", "asset", "check", "automation"),
    [
        (orchestration(), LineState.MET, LineState.MET, LineState.MET),
        (
            orchestration((False, False)),
            LineState.NOT_MET,
            LineState.NOT_MET,
            LineState.MET,
        ),
        (
            orchestration((False, True)),
            LineState.WARNING,
            LineState.WARNING,
            LineState.MET,
        ),
        (
            orchestration((None, False)),
            LineState.MET,
            LineState.NOT_MEASURED,
            LineState.MET,
        ),
        (orchestration(is_on=False), LineState.MET, LineState.MET, LineState.NOT_MET),
        (
            orchestration(is_on=None),
            LineState.MET,
            LineState.MET,
            LineState.NOT_MEASURED,
        ),
        (
            orchestration(error="it broke"),
            LineState.MET,
            LineState.MET,
            LineState.NOT_MET,
        ),
        (
            orchestration(made_at=None),
            LineState.NOT_MEASURED,
            LineState.MET,
            LineState.MET,
        ),
    ],
)
def test_what_dagster_tells_is_judged(found, asset, check, automation):
    lines = [
        line
        for block in in_dagster(found)
        if isinstance(block, Lines)
        for line in block.lines
    ]
    assert [line.state for line in lines] == [asset, check, automation]
