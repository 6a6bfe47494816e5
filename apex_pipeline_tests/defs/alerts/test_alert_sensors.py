"""Alerts as Dagster raises them: a real instance, real receivers, real faults."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.scheduler.instigation import (
    InstigatorType,
    ScheduleInstigatorData,
    TickStatus,
)
from dagster_shared.error import SerializableErrorInfo

from apex_pipeline.definitions import defs
from apex_pipeline.defs.alerts import alert_sensors
from apex_pipeline.defs.alerts.instance_events import EventReader
from apex_pipeline.defs.alerts.known_definitions import KnownDefinitions
from apex_pipeline.defs.code_location import OURS
from apex_pipeline.defs.services import Services
from apex_pipeline.monitoring.alerts.journal import Journal
from apex_pipeline.monitoring.rules.unfinished_selections import UnfinishedSelections
from apex_pipeline_tests.support.dagster_storage import stored_at
from apex_pipeline_tests.support.ends import (
    campaign_row,
    environment,
    execute,
    insert,
    insert_many,
)
from apex_pipeline_tests.support.http_server import serving
from apex_pipeline_tests.support.instigators import instigator, keep_tick, sensor
from apex_pipeline_tests.support.receivers import (
    Authority,
    MailServer,
    Workflow,
    challenging_mail_server,
    mail_server,
    make_authority,
    workflow,
)

SYNC = "sync_campaign_metrics"


@pytest.fixture
def storage(emptied_storage):
    return emptied_storage


@pytest.fixture(scope="module")
def shared_instance(shared_storage):
    with dg.instance_for_test(
        overrides=stored_at(shared_storage)
        | {
            "run_retries": {
                "enabled": True,
                "max_retries": 0,
                "retry_on_asset_or_op_failure": False,
            },
        },
    ) as found:
        yield found


@pytest.fixture
def instance(emptied_instance):
    return emptied_instance


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def teams(authority):
    with workflow(authority) as served:
        yield served


@pytest.fixture
def mailbox(authority):
    with mail_server(authority, "plain") as served:
        yield served


@dataclass
class Heartbeat:
    """A dead man's switch."""

    url: str = ""
    pings: int = 0


@pytest.fixture
def heartbeat():
    found = Heartbeat()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            found.pings += 1
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Handler) as address:
        found.url = f"{address}/ping/token"
        yield found


@pytest.fixture
def variables(
    monkeypatch, emulator, database_url, storage, tmp_path, authority, teams, mailbox
):
    """The environment of a configured code server."""
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(emulator.ca_bundle.read_text() + authority.ca_bundle.read_text())
    found = environment(emulator, database_url, tmp_path) | {
        "APEX_CA_BUNDLE": str(trusted),
        "DAGSTER_POSTGRES_URL": storage,
        "APEX_TEAMS_WEBHOOK_URL": teams.url,
        "APEX_ALERT_EMAIL_TO": "ops@example.com",
        "APEX_ALERT_EMAIL_FROM": "apex@example.com",
        "APEX_SMTP_URL": f"smtp://127.0.0.1:{mailbox.port}",
        "APEX_DAGSTER_URL": "https://dagster.example",
    }
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def journal(storage):
    with Journal(storage) as opened:
        yield opened


@pytest.fixture
def tick(instance):
    sensors = defs().get_repository_def()
    ours = repository_with()

    def run(name: str, repository: dg.RepositoryDefinition = ours) -> str:
        with dg.build_sensor_context(
            instance=instance,
            repository_def=repository,
            resources={"services": Services()},
        ) as context:
            data = sensors.get_sensor_def(name).evaluate_tick(context)
        assert data.skip_message
        return data.skip_message

    return run


def repository_with(*more: dg.Definitions) -> dg.RepositoryDefinition:
    """Our definitions, and the job and assets that tests run."""
    added = dg.Definitions(
        assets=[make_sums(passed=True)], jobs=[nightly_report(succeed=True)]
    )
    return dg.Definitions.merge(defs(), added, *more).get_repository_def()


def run_job(instance, name=SYNC, **config):
    return (
        defs()
        .resolve_job_def(name)
        .execute_in_process(
            instance=instance, run_config=config or None, raise_on_error=False
        )
    )


def headings(teams: Workflow) -> list[str]:
    return [card["body"][0]["inlines"][0]["text"] for card in teams.cards]


def subjects(mailbox: MailServer) -> list[str]:
    return [m["Subject"].removeprefix("[Apex] ") for _, _, m in mailbox.envelopes]


def test_a_failed_run_is_told_once_by_each_way_and_called_off_once(
    instance, variables, tick, teams, mailbox, emulator, database_url
):
    insert_many(database_url, 3)
    tick("alert_on_failure")
    emulator.fault("status", status=403, count=1000, path="UpsertMultiple")
    failed = run_job(instance)
    assert not failed.success
    told = tick("alert_on_failure")
    assert "1 sent by teams. 1 sent by email." in told
    for _ in range(2):
        tick("alert_on_failure")
        tick("watch_sync_health")
    assert headings(teams) == [f"Error: A run of {SYNC} failed"]
    (card,) = teams.cards
    assert "Give its application user a role" in str(card)
    assert f"https://dagster.example/runs/{failed.run_id}" in str(card)

    emulator.clear_faults()
    assert run_job(instance).success
    tick("alert_on_failure")
    tick("alert_on_failure")
    expected = [
        f"Error: A run of {SYNC} failed",
        f"Resolved: A run of {SYNC} failed",
    ]
    assert headings(teams) == expected
    assert subjects(mailbox) == expected


def nightly_report(*, succeed=False, tags=None, error="broken"):
    @dg.op
    def work():
        if not succeed:
            raise ValueError(error)

    @dg.job(
        name="nightly_report",
        executor_def=dg.in_process_executor,
        tags=OURS | (tags or {}),
    )
    def report():
        work()

    return report


def fail_op(instance, **how):
    """Run a job of its own, whose op fails with what may quote a row."""
    job = nightly_report(**how)
    return job.execute_in_process(instance=instance, raise_on_error=False)


def test_any_jobs_failure_is_told_and_what_may_quote_data_is_not(
    instance, variables, tick, teams
):
    fail_op(instance, error="row 4711 of sentinel-customer")
    tick("alert_on_failure")
    (card,) = teams.cards
    assert "A run of nightly_report failed" in str(card)
    assert (
        "ValueError. See the Dagster UI for its message, which may quote data"
        in str(card)
    )
    assert "sentinel-customer" not in str(card)


@pytest.mark.parametrize(
    "config",
    [
        {"record": '{"sentinel-name": 1}'},
        {"record": "sentinel-text"},
        {"file": "sentinel-file.jsonl"},
        {"file": "rows.jsonl"},
        {"file": "rows.jsonl", "skip_bad": True, "rejects": "sentinel-rejects"},
    ],
)
def test_no_name_that_a_caller_chose_is_in_a_notice(
    instance, variables, tick, teams, tmp_path, monkeypatch, config
):
    monkeypatch.setenv("APEX_RECORD_DIR", str(tmp_path))
    (tmp_path / "rows.jsonl").write_text('{"sentinel-name": "sentinel-value"}\n')
    (tmp_path / "sentinel-rejects").touch()
    result = (
        defs()
        .resolve_job_def("record_campaign_metrics")
        .execute_in_process(
            run_config={"ops": {"write_records": {"config": config}}},
            instance=instance,
            raise_on_error=False,
        )
    )
    assert not result.success
    tick("alert_on_failure")
    (card,) = teams.cards
    assert "A run of record_campaign_metrics failed" in str(card)
    assert "sentinel" not in str(card)


def test_a_run_that_dagster_tries_again_does_not_count_until_it_is_given_up(
    instance, variables, tick, teams
):
    tags = {"dagster/max_retries": "1", "dagster/retry_on_asset_or_op_failure": "true"}
    first = fail_op(instance, tags=tags)
    assert instance.get_run_by_id(first.run_id).tags["dagster/will_retry"] == "true"
    tick("alert_on_failure")
    assert teams.cards == []
    fail_op(instance)
    tick("alert_on_failure")
    assert len(teams.cards) == 1


def test_what_failed_and_succeeded_between_two_ticks_is_told(
    instance, variables, tick, teams
):
    fail_op(instance)
    fail_op(instance, succeed=True)
    tick("alert_on_failure")
    assert headings(teams) == [
        "Error: A run of nightly_report failed",
        "Resolved: A run of nightly_report failed",
    ]


def make_sums(*, passed, blocking=False):
    @dg.asset(
        check_specs=[dg.AssetCheckSpec("sums_match", asset="sums", blocking=blocking)]
    )
    def sums():
        return dg.MaterializeResult(
            check_results=[
                dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.ERROR)
            ]
        )

    return sums


def check_run(instance, *, passed, blocking=False, tags=OURS):
    sums = make_sums(passed=passed, blocking=blocking)

    @dg.asset(deps=[sums])
    def later() -> None:
        pass

    job = dg.Definitions(
        assets=[sums, later], jobs=[dg.define_asset_job("make_sums", tags=tags)]
    ).resolve_job_def("make_sums")
    return job.execute_in_process(instance=instance, raise_on_error=False)


@pytest.mark.parametrize("blocking", [False, True])
def test_a_failing_check_is_told_once_whether_or_not_it_fails_the_run(
    instance, variables, tick, teams, blocking
):
    assert check_run(instance, passed=False, blocking=blocking).success is not blocking
    tick("alert_on_failure")
    tick("alert_on_failure")
    assert headings(teams) == ["Error: The check sums_match of sums failed"]
    check_run(instance, passed=True)
    tick("alert_on_failure")
    assert headings(teams)[1:] == ["Resolved: The check sums_match of sums failed"]


def test_what_another_team_does_on_the_same_instance_opens_nothing(
    instance, variables, tick, teams
):
    theirs = {"dagster/code_location": "another_team"}
    assert not fail_op(instance, tags=theirs).success
    check_run(instance, passed=False, tags=theirs)
    tick("alert_on_failure")
    fail_op(instance)
    fail_op(instance, succeed=True, tags=theirs)
    tick("alert_on_failure")
    assert headings(teams) == ["Error: A run of nightly_report failed"]


def materialize(instance, *selected, fail=""):
    """Click *Materialize* on some of three assets; one of them may fail."""

    def made(name):
        @dg.asset(name=name)
        def body() -> None:
            if name == fail:
                raise ValueError(name)

        return body

    repository = dg.Definitions(
        assets=[made(name) for name in ("first", "second", "third")],
        jobs=[dg.define_asset_job("make_two", ["first", "second"], tags=OURS)],
        executor=dg.in_process_executor,
    ).get_repository_def()
    repository.get_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in selected],
        tags=OURS,
        raise_on_error=False,
    )
    return repository


def test_a_run_from_an_assets_page_is_known_by_what_was_selected(instance):
    repository = materialize(instance, "first", fail="first")
    materialize(instance, "second")
    materialize(instance, "second", "first", fail="second")
    materialize(instance, "first", "second", "third")
    reader = EventReader(instance, KnownDefinitions(repository), lambda _: None)
    later = datetime.now(UTC) + timedelta(minutes=1)
    observed, _ = reader.read(None, later, UnfinishedSelections([], {}))
    of_jobs = [
        (each.scope.removeprefix("run-failed/"), bool(each.findings))
        for each in observed
        if each.scope.startswith("run-failed/")
    ]
    assert of_jobs == [
        ("first", True),
        ("second", False),
        ("make_two", True),
        ("first, second, third", False),
        *((name, False) for name in ("first", "make_two", "second", "third")),
    ]


def fingerprints(journal) -> list[str]:
    return sorted(incident.fingerprint for incident in journal.incidents())


@pytest.mark.parametrize("by_an_older_version", [False, True])
def test_a_failed_selection_is_made_good_by_whatever_makes_each_of_its_assets(
    instance, variables, tick, teams, journal, storage, by_an_older_version
):
    repository = materialize(instance, "second", "third", fail="third")
    tick("alert_on_failure", repository)
    assert fingerprints(journal) == ["run-failed/second, third"]
    if by_an_older_version:
        execute(
            storage,
            "UPDATE apex_alerts.progress SET state = state - 'owed'",
        )
    materialize(instance, "third")
    tick("alert_on_failure", repository)
    materialize(instance, "first", "second", fail="second")
    tick("alert_on_failure", repository)
    assert "run-failed/second, third" in fingerprints(journal)
    # Of a job, beside an asset that the failed run had not selected.
    materialize(instance, "first", "second")
    tick("alert_on_failure", repository)
    assert fingerprints(journal) == []
    assert [each for each in headings(teams) if "second, third" in each] == [
        "Error: A run of second, third failed",
        "Resolved: A run of second, third failed",
    ]


def test_what_made_an_asset_before_its_run_failed_makes_nothing_good(
    instance, variables, tick, journal
):
    materialize(instance, "second")
    repository = materialize(instance, "second", "third", fail="third")
    materialize(instance, "third")
    tick("alert_on_failure", repository)
    materialize(instance, "second", "third", fail="third")
    materialize(instance, "second")
    tick("alert_on_failure", repository)
    assert fingerprints(journal) == ["run-failed/second, third"]
    materialize(instance, "third")
    tick("alert_on_failure", repository)
    assert fingerprints(journal) == []


def test_a_failed_run_of_checks_is_made_good_by_whatever_evaluates_them(
    instance, variables, tick, journal
):
    """Whether they pass is another matter."""
    check = dg.AssetCheckKey(dg.AssetKey("sums"), "sums_match")
    run = dg.DagsterRun(
        "__ASSET_JOB",
        run_id=str(uuid4()),
        asset_selection=frozenset(),
        asset_check_selection=frozenset({check}),
        status=dg.DagsterRunStatus.STARTED,
        tags=OURS | {"dagster/will_retry": "false"},
    )
    instance.add_run(run)
    instance.report_run_failed(run)
    tick("alert_on_failure")
    assert fingerprints(journal) == ["run-failed/sums:sums_match"]
    check_run(instance, passed=False)
    tick("alert_on_failure")
    assert fingerprints(journal) == ["check-failed/sums/sums_match"]


def test_what_the_code_location_no_longer_has_is_called_off(
    instance, variables, tick, journal
):
    """A renamed job, an asset, a check: nothing would ever say that they are well."""
    with_more = materialize(instance, "second", "third", fail="second")
    fail_op(instance)
    check_run(instance, passed=False)
    tick("alert_on_failure", repository_with())
    tick("alert_on_failure", repository_with())
    assert fingerprints(journal) == [
        "check-failed/sums/sums_match",
        "run-failed/nightly_report",
    ]
    tick("alert_on_failure", with_more)
    tick("alert_on_failure", with_more)
    assert fingerprints(journal) == []


@pytest.mark.parametrize("name", ["sync_on_arrival", "sync_every_five_minutes"])
def test_a_schedule_or_sensor_that_is_gone_is_called_off(
    instance, variables, tick, journal, name
):
    kept = (
        sensor(name)
        if name == "sync_on_arrival"
        else instigator(
            name,
            InstigatorType.SCHEDULE,
            ScheduleInstigatorData("*/5 * * * *", time.time()),
        )
    )
    state = instance.add_instigator_state(kept)
    error = SerializableErrorInfo("ValueError: no\n", [], "ValueError")
    for at in (1, 2):
        keep_tick(instance, state, time.time() + at, TickStatus.FAILURE, error)
    for _ in range(2):
        tick("watch_sync_health")
        assert fingerprints(journal) == [f"ticks-failing/{name}"]
    gone = dg.Definitions(
        sensors=[alert_sensors.alert_on_failure, alert_sensors.watch_sync_health],
        resources={"services": Services()},
    )
    tick("watch_sync_health", gone.get_repository_def())
    assert fingerprints(journal) == []


def time_out_at_start(instance, job=SYNC):
    definition = defs().resolve_job_def(job)
    run = instance.create_run_for_job(
        definition,
        status=dg.DagsterRunStatus.STARTING,
        tags=OURS | {"dagster/will_retry": "false"},
    )
    instance.report_run_failed(
        run,
        "Run timed out due to taking longer than 120 seconds to start.",
        JobFailureData(error=None, failure_reason=RunFailureReason.START_TIMEOUT),
    )


def test_a_run_that_could_not_start_is_told_only_if_the_next_cannot_either(
    instance, variables, tick, teams, journal
):
    time_out_at_start(instance, "refresh_weekly_rollups")
    tick("alert_on_failure")
    (incident,) = journal.incidents()
    assert incident.fingerprint == "run-not-started"
    assert teams.cards == []
    assert run_job(instance).success
    tick("alert_on_failure")
    assert journal.incidents() == []
    assert teams.cards == []


def test_a_run_that_was_marked_as_failed_from_outside_is_told(
    instance, variables, tick, teams
):
    """As Dagster marks one whose process died, or could not load its job."""
    run = instance.create_run_for_job(
        defs().resolve_job_def(SYNC),
        status=dg.DagsterRunStatus.STARTED,
        tags=OURS | {"dagster/will_retry": "false"},
    )
    instance.report_run_failed(run)
    tick("alert_on_failure")
    assert headings(teams) == [f"Error: A run of {SYNC} failed"]
    assert "marked as failed from outside" in str(teams.cards)


def test_a_job_that_cannot_start_twice_in_a_row_is_told(
    instance, variables, tick, teams
):
    time_out_at_start(instance, "refresh_weekly_rollups")
    assert run_job(instance).success
    time_out_at_start(instance, "refresh_weekly_rollups")
    tick("alert_on_failure")
    assert headings(teams) == ["Error: A run of refresh_weekly_rollups failed"]


def test_a_run_that_left_the_work_to_another_calls_nothing_off(
    instance, variables, tick, teams, store, emulator, database_url
):
    insert_many(database_url, 1)
    emulator.fault("status", status=403, count=1000, path="UpsertMultiple")
    run_job(instance)
    with store.writer_lock():
        assert run_job(instance).success
    tick("alert_on_failure")
    assert len(teams.cards) == 1


def test_rows_in_quarantine_are_told_without_what_is_in_them(
    instance, variables, tick, teams, mailbox, database_url
):
    insert(
        database_url, [campaign_row(), campaign_row(phase="sentinel-phase-too-long")]
    )
    assert run_job(instance).success
    for name in ("alert_on_failure", "watch_sync_health") * 2:
        tick(name)
    assert headings(teams) == ["Warning: Rows are in quarantine"]
    assert "invalid: 1." in str(teams.cards)
    everything = str(teams.cards) + str([str(m) for *_, m in mailbox.envelopes])
    assert "sentinel-phase" not in everything

    execute(
        database_url,
        "UPDATE campaign_metrics_quarantine SET next_attempt_at = 'infinity'",
    )
    tick("watch_sync_health")
    assert headings(teams)[1:] == ["Resolved: Rows are in quarantine"]


def test_a_database_that_refuses_us_is_told_and_what_follows_from_it_is_not(
    instance, variables, tick, teams, journal, monkeypatch, database_url
):
    insert_many(database_url, 1)
    tick("watch_sync_health")
    # A refusal comes at once; a server that is gone is given time to come back.
    monkeypatch.setenv(
        "DATABASE_URL", database_url.replace("@", "-sentinel-password@") + "-gone"
    )
    tick("watch_sync_health")
    assert headings(teams) == ["Error: The metrics database cannot be used"]
    assert "sentinel-password" not in str(teams.cards)
    assert not run_job(instance).success
    tick("alert_on_failure")
    assert len(teams.cards) == 1
    assert {i.fingerprint for i in journal.incidents()} == {
        "database-unusable",
        f"run-failed/{SYNC}",
    }

    monkeypatch.setenv("DATABASE_URL", database_url)
    tick("watch_sync_health")
    assert run_job(instance).success
    tick("alert_on_failure")
    assert headings(teams)[1:] == ["Resolved: The metrics database cannot be used"]
    assert journal.incidents() == []


def test_a_wrong_configuration_is_told(instance, variables, tick, teams, monkeypatch):
    monkeypatch.delenv("AZURE_TENANT_ID")
    tick("watch_sync_health")
    assert headings(teams) == ["Error: The configuration is wrong"]
    assert "AZURE_TENANT_ID" in str(teams.cards)


def test_without_a_journal_the_tick_says_so(instance, variables, tick, monkeypatch):
    monkeypatch.delenv("DAGSTER_POSTGRES_URL")
    for name in ("alert_on_failure", "watch_sync_health"):
        assert "Alerts need DAGSTER_POSTGRES_URL" in tick(name)


def test_without_a_channel_the_tick_says_so(instance, variables, tick, monkeypatch):
    for name in ("APEX_TEAMS_WEBHOOK_URL", "APEX_ALERT_EMAIL_TO"):
        monkeypatch.delenv(name)
    for name in ("APEX_ALERT_EMAIL_FROM", "APEX_SMTP_URL"):
        monkeypatch.delenv(name)
    assert "No alert channel is configured" in tick("watch_sync_health")


def test_a_channel_that_is_dead_is_told_by_the_other(
    instance, variables, tick, teams, mailbox, storage
):
    teams.answers += [(400, {})] * 2
    fail_op(instance)
    assert "Not sent by teams" in tick("alert_on_failure")
    execute(
        storage,
        "UPDATE apex_alerts.outbox SET at = at - interval '10 minutes'",
    )
    tick("watch_sync_health")
    assert subjects(mailbox) == [
        "Error: A run of nightly_report failed",
        "Warning: Notices are not delivered by teams",
    ]
    execute(storage, "UPDATE apex_alerts.outbox SET next_attempt_at = now()")
    teams.answers.clear()
    tick("alert_on_failure")
    assert headings(teams) == ["Error: A run of nightly_report failed"]
    tick("watch_sync_health")
    assert subjects(mailbox)[2:] == ["Resolved: Notices are not delivered by teams"]


def test_the_heartbeat_says_that_the_watch_lives_and_is_heard(
    instance, variables, tick, teams, storage, monkeypatch, heartbeat
):
    monkeypatch.setenv("APEX_HEARTBEAT_URL", heartbeat.url)
    for name in ("APEX_ALERT_EMAIL_TO", "APEX_ALERT_EMAIL_FROM", "APEX_SMTP_URL"):
        monkeypatch.delenv(name)
    tick("watch_sync_health")
    assert heartbeat.pings == 1
    # An error that people have heard of is no reason to be silent.
    fail_op(instance)
    tick("alert_on_failure")
    tick("watch_sync_health")
    assert heartbeat.pings == 2
    # One that they have not heard of is.
    fail_op(instance, succeed=True)
    tick("alert_on_failure")
    teams.answers += [(400, {})] * 3
    fail_op(instance)
    tick("alert_on_failure")
    execute(
        storage,
        "UPDATE apex_alerts.outbox SET at = at - interval '10 minutes'",
    )
    assert "No heartbeat" in tick("watch_sync_health")
    assert heartbeat.pings == 2


def test_a_mail_server_that_talks_nonsense_stops_neither_teams_nor_the_heartbeat(
    instance, variables, tick, teams, authority, monkeypatch, heartbeat
):
    monkeypatch.setenv("APEX_HEARTBEAT_URL", heartbeat.url)
    with challenging_mail_server(authority, "334 abc") as port:
        monkeypatch.setenv("APEX_SMTP_URL", f"smtps://user:passw0rd@127.0.0.1:{port}")
        fail_op(instance)
        assert "Not sent by email" in tick("alert_on_failure")
        tick("watch_sync_health")
    assert headings(teams) == ["Error: A run of nightly_report failed"]
    assert heartbeat.pings == 1


def test_a_heartbeat_that_is_not_taken_is_seen_on_the_tick(
    instance, variables, tick, monkeypatch
):
    monkeypatch.setenv("APEX_HEARTBEAT_URL", "http://127.0.0.1:1/sentinel-token")
    told = tick("watch_sync_health")
    assert "The heartbeat failed" in told
    assert "sentinel-token" not in told


def test_a_silence_from_the_launchpad_holds(instance, variables, tick, teams, journal):
    def silence(**config):
        return run_job(
            instance, "silence_alert", ops={"set_silence": {"config": config}}
        )

    assert not silence(incident="run-failed/nightly_report").success
    assert not silence(incident="nonsense", duration="1h").success
    assert silence(incident="run-failed/nightly_report", duration="1h").success
    fail_op(instance)
    tick("alert_on_failure")
    assert [h for h in headings(teams) if "nightly" in h] == []
    ((kept, _),) = journal.silences.in_force()
    left = kept.until - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)


def test_a_test_message_from_the_launchpad_arrives_and_its_refusal_fails_the_run(
    instance, variables, teams, mailbox
):
    assert run_job(instance, "send_test_alert").success
    assert headings(teams) == subjects(mailbox) == ["Test: this channel works"]
    teams.answers += [(404, {})]
    assert not run_job(instance, "send_test_alert").success


def test_events_that_become_visible_late_are_seen(instance, variables, tick, teams):
    """A lower id may be committed after a higher one."""
    fail_op(instance)
    (record,) = instance.event_log_storage.get_event_records(
        dg.EventRecordsFilter(dg.DagsterEventType.RUN_FAILURE), limit=1
    )
    with instance.event_log_storage.index_connection() as connection:
        connection.exec_driver_sql(
            f"UPDATE event_logs SET id = -id WHERE id = {record.storage_id}"
        )
    fail_op(instance, succeed=True)
    tick("alert_on_failure")
    assert teams.cards == []
    with instance.event_log_storage.index_connection() as connection:
        connection.exec_driver_sql("UPDATE event_logs SET id = -id WHERE id < 0")
    tick("alert_on_failure")
    assert headings(teams) == ["Error: A run of nightly_report failed"]


def test_a_check_of_ours_says_what_should_be(instance, variables, tick, teams):
    @dg.asset(
        key="daily_campaign_rollup",
        check_specs=[dg.AssetCheckSpec("no_gap", asset="daily_campaign_rollup")],
    )
    def rollup():
        found: dict[str, Any] = {"wrong": 3, "examples": "sentinel-row"}
        return dg.MaterializeResult(
            check_results=[dg.AssetCheckResult(passed=False, metadata=found)]
        )

    dg.materialize([rollup], instance=instance, tags=OURS)
    tick("alert_on_failure")
    (card,) = teams.cards
    assert "Expected: No day or week is missing" in str(card)
    assert "'Found: '" in str(card)
    assert "sentinel-row" not in str(card)
