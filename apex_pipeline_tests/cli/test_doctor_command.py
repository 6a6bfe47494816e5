"""`apex doctor` at a terminal, and its reading of a real Dagster instance."""

import json
import os
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import (
    InstigatorStatus,
    ScheduleInstigatorData,
    TickStatus,
)
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from apex_pipeline.defs.operations.instance_state import look_at_instance, read_instance
from apex_pipeline.errors import ApexError
from apex_pipeline.monitoring.doctor import dagster_health
from apex_pipeline.monitoring.doctor.check_results import CheckState
from apex_pipeline_tests.support.apex_command import INHERITED
from apex_pipeline_tests.support.ends import environment
from apex_pipeline_tests.support.instigators import instigator, keep_tick, sensor
from apex_pipeline_tests.support.receivers import mail_server

APEX = Path(sys.executable).with_name("apex")


@pytest.fixture
def instance(tmp_path):
    with dg.instance_for_test(temp_dir=str(tmp_path)) as found:
        yield found


def beat(instance, at):
    for kind in instance.get_required_daemon_types():
        instance.add_daemon_heartbeat(DaemonHeartbeat(at, kind, "test"))


def schedule_state():
    data = ScheduleInstigatorData("*/5 * * * *", time.time())
    return instigator(dagster_health.SCHEDULE, InstigatorType.SCHEDULE, data)


def lines(instance):
    found, now = read_instance(instance), datetime.now(UTC)
    return (
        dagster_health.daemon(found, now),
        dagster_health.schedule(found, now),
    )


def test_a_daemon_that_stops_and_starts_again(instance):
    daemon, schedule = lines(instance)
    assert (daemon.state, schedule.state) == (CheckState.FAILED, CheckState.FAILED)
    assert "SCHEDULER (never)" in daemon.measured
    beat(instance, time.time() - 100)
    assert re.search(r"SENSOR \(1\d\d s ago\)", lines(instance)[0].measured)
    beat(instance, time.time())
    assert lines(instance)[0].state is CheckState.OK


def test_a_schedule_whose_first_tick_is_to_come_is_no_fault(instance):
    beat(instance, time.time())
    instance.add_instigator_state(sensor("watch_sync_health"))
    found = lines(instance)[1]
    assert (found.state, found.measured) == (CheckState.WARNING, "has not ticked yet")


def test_a_schedule_that_is_switched_off_stalls_or_fails(instance):
    beat(instance, time.time())
    state = instance.add_instigator_state(schedule_state())
    assert lines(instance)[1].state is CheckState.OK
    assert "no tick yet" in lines(instance)[1].measured

    keep_tick(instance, state, time.time() - 3600)
    assert re.search(r"last tick was 3,[67]\d\d s ago", lines(instance)[1].measured)
    assert "Restart" in lines(instance)[1].remedy

    fault = SerializableErrorInfo("it was the moon\n", [], "Moon")
    keep_tick(instance, state, time.time() - 10, TickStatus.FAILURE, fault)
    assert lines(instance)[1].state is CheckState.FAILED
    assert "it was the moon" in lines(instance)[1].measured

    keep_tick(instance, state, time.time())
    assert lines(instance)[1].state is CheckState.OK

    instance.update_instigator_state(state.with_status(InstigatorStatus.STOPPED))
    assert lines(instance)[1].measured == "switched off"
    instance.update_instigator_state(state.with_status(InstigatorStatus.RUNNING))
    assert lines(instance)[1].state is CheckState.OK


def test_an_instance_that_is_not_named_or_cannot_be_read(tmp_path, monkeypatch):
    assert look_at_instance({}) is None
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text(
        "storage:\n  postgres:\n    postgres_url:\n      env: THE_URL_OF_NOWHERE\n"
    )
    with pytest.raises(ApexError, match="DAGSTER_POSTGRES_URL"):
        look_at_instance(os.environ)
    (tmp_path / "dagster.yaml").write_text("")
    found = look_at_instance(os.environ)
    assert found is not None
    assert set(found.heartbeats.values()) == {None}


@pytest.mark.parametrize(
    "text",
    [
        "storage: [",
        "- storage",
        "storage: 5",
        "run_monitoring: {on: true}",
        "\0",
        "storage: {custom: {module: no.such.module, class: Any, config: {}}}",
    ],
)
def test_a_malformed_file_of_the_instance_is_named(tmp_path, monkeypatch, text):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text(text)
    named = re.escape(str(tmp_path / "dagster.yaml"))
    with pytest.raises(ApexError, match=f"{named} is not usable: .*apex_pipeline's"):
        look_at_instance(os.environ)


def test_the_command_for_people_and_for_machines(
    emulator, database_url, tmp_path, authority, forked_apex
):
    def apex(*arguments, **changes):
        served = environment(emulator, database_url, tmp_path / "state")
        present = INHERITED | served | changes
        return forked_apex.run(("doctor", *arguments), env=present, cwd=tmp_path)

    with mail_server(authority, "plain") as relay:
        ended = apex(
            "--json",
            "--send-test",
            APEX_ALERT_EMAIL_TO="ops@example.com",
            APEX_ALERT_EMAIL_FROM="apex@example.com",
            APEX_SMTP_URL=f"smtp://localhost:{relay.port}",
        )
        assert len(relay.envelopes) == 1
    assert (ended.returncode, ended.stderr) == (0, "")
    document = json.loads(ended.stdout)
    assert document["healthy"] is True
    found = {line["name"]: line for line in document["lines"]}
    assert found["token"].keys() == {
        *("name", "state", "measured", "target", "remedy", "seconds")
    }
    assert found["alerts by email"]["measured"] == "accepted a test message"
    assert found["Dagster daemon"]["state"] == "warning"
    assert "DAGSTER_HOME" in found["Dagster daemon"]["remedy"]

    # For its patience; a busy machine loads Dagster slowly.
    ended = apex("--send-test", AZURE_CLIENT_SECRET="[wrong]")
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "✗  token" in ended.stdout
    assert "not checked: because of: token" in ended.stdout
    assert "[wrong]" not in ended.stdout
    assert ended.stdout.rstrip().endswith("not checked")
    assert "1 failed" in ended.stdout.splitlines()[-1]

    ended = apex(AZURE_CLIENT_SECRET="", DATABASE_URL="nonsense")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "AZURE_CLIENT_SECRET" in ended.stderr
    assert "DATABASE_URL" in ended.stderr
