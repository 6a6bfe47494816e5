"""Lineage of real runs: a real instance, Postgres, the emulator and a local receiver."""

import os
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from apex_pipeline.definitions import defs
from apex_pipeline.defs.code_location import OURS
from apex_pipeline.defs.operations.lineage_sensor import send_lineage
from apex_pipeline_tests.support.ends import campaign_row, environment, insert
from apex_pipeline_tests.support.lineage_receiver import lineage_receiver

SYNC = "sync_campaign_metrics"


@pytest.fixture
def receiver():
    with lineage_receiver() as served:
        yield served


@pytest.fixture
def instance(emptied_instance):
    return emptied_instance


@pytest.fixture
def variables(monkeypatch, emulator, database_url, tmp_path, receiver):
    given = environment(emulator, database_url, tmp_path)
    for name, value in (given | {"OPENLINEAGE_URL": receiver.url}).items():
        monkeypatch.setenv(name, value)
    return given


def tick(instance, cursor):
    """One evaluation; what it says, and the cursor after it."""
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"definitions": defs}
    ) as context:
        result = send_lineage(context)
        assert isinstance(result, dg.SkipReason)
        return result.skip_message or "", context.cursor


def run(instance, job, **options):
    return (
        defs()
        .resolve_job_def(job)
        .execute_in_process(instance=instance, raise_on_error=False, **options)
    )


def before():
    return (datetime.now(UTC) - timedelta(minutes=1)).isoformat()


def outputs(event):
    return {each["name"].rpartition(".")[2]: each for each in event["outputs"]}


def test_a_sync_tells_which_columns_went_where(
    variables, instance, receiver, database_url
):
    insert(database_url, [campaign_row() for _ in range(3)])
    ended = run(instance, SYNC)
    assert ended.success
    said, cursor = tick(instance, before())
    assert said == "lineage of 1 runs sent"
    assert receiver.faults == []
    started, done = receiver.events
    assert (started["eventType"], done["eventType"]) == ("START", "COMPLETE")
    assert done["run"]["runId"] == ended.run_id
    assert done["job"]["namespace"] == OURS["dagster/code_location"]
    written = outputs(done)["apex_campaignmetrics"]
    assert written["namespace"] == variables["DATAVERSE_RESOURCE"]
    assert written["outputFacets"]["outputStatistics"]["rowCount"] == 3
    columns = written["facets"]["columnLineage"]["fields"]
    (source,) = columns["apex_costusd"]["inputFields"]
    assert source["field"] == "cost_usd"
    assert source["name"].endswith(".public.campaign_metrics")
    assert source["namespace"].startswith("postgres://")
    assert "campaign_metrics" in {
        each["name"].rpartition(".")[2] for each in done["inputs"]
    }
    text = str(receiver.events)
    assert variables["AZURE_CLIENT_SECRET"] not in text
    tick(instance, cursor)
    assert len(receiver.events) == 2


def test_rollups_tell_their_columns_too(variables, instance, receiver, database_url):
    insert(database_url, [campaign_row()])
    assert run(instance, "refresh_daily_rollups", partition_key="2026-10-30").success
    tick(instance, before())
    assert receiver.faults == []
    columns = outputs(receiver.events[1])["daily_campaign_rollup"]["facets"]
    fields = columns["columnLineage"]["fields"]
    assert {each["field"] for each in fields["cost_usd"]["inputFields"]} == {"cost_usd"}


def test_a_failed_run_tells_why_without_secrets(
    variables, instance, receiver, database_url, monkeypatch
):
    insert(database_url, [campaign_row()])
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "sentinel-of-the-secret")
    assert not run(instance, SYNC).success
    tick(instance, before())
    assert receiver.faults == []
    failed = receiver.events[-1]
    assert failed["eventType"] == "FAIL"
    assert "AZURE_CLIENT_SECRET" in failed["run"]["facets"]["errorMessage"]["message"]
    assert "sentinel-of-the-secret" not in str(receiver.events)


def test_a_receiver_that_is_down_fails_no_run_and_gets_the_events_later(
    variables, instance, receiver, database_url
):
    insert(database_url, [campaign_row()])
    receiver.statuses = [503]
    assert run(instance, SYNC).success
    since = before()
    said, cursor = tick(instance, since)
    assert "does not take the lineage of run" in said
    assert cursor == since
    tick(instance, cursor)
    assert [event["eventType"] for event in receiver.events] == ["START", "COMPLETE"]


def test_runs_that_ended_before_it_was_turned_on_are_not_told(
    variables, instance, receiver
):
    run(instance, SYNC)
    _, cursor = tick(instance, None)
    tick(instance, cursor)
    assert receiver.events == []


SENSORS = "from apex_pipeline.definitions import defs; import sys; print(*(s.name for s in defs().sensors), 'openlineage' in sys.modules)"


@pytest.mark.parametrize("is_set", [False, True])
def test_the_sensor_is_there_only_while_an_address_is_set(is_set, forked_apex):
    address = {"OPENLINEAGE_URL": "http://127.0.0.1:1" if is_set else ""}
    found = forked_apex.run_code(SENSORS, env=os.environ | address).stdout.split()
    assert ("send_lineage" in found) == is_set
    assert found[-1] == "False"
