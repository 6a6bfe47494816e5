"""Provisioning, purging and silencing, killed between any two of their steps.

Each attempt gets one step further than the one before, and goes on from what that left.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from unittest import mock

import dagster as dg
import pytest

from apex_pipeline.audit import trail
from apex_pipeline.audit.events import Action, Author
from apex_pipeline.audit.intents import close_abandoned
from apex_pipeline.audit.migrations_noted import note_migrations
from apex_pipeline.audit.verification import verify
from apex_pipeline.monitoring.alerts.audit_relay import relay
from apex_pipeline.monitoring.alerts.journal import Journal
from apex_pipeline.postgres import migrations
from apex_pipeline.postgres.database import Database
from apex_pipeline.provisioning import database_roles
from apex_pipeline.provisioning.databases import provision_database
from apex_pipeline_tests.support.crashing import Death, resolve_job
from apex_pipeline_tests.support.dagster_runs import age
from apex_pipeline_tests.support.dagster_storage import stored_at
from apex_pipeline_tests.support.ends import environment, execute, query
from apex_pipeline_tests.support.waiting import SECONDS

ADA = Author("ada@host")


def stepping(death: Death, owner: object, name: str) -> None:
    """Make a step before and one after each call of a function."""
    real = getattr(owner, name)

    def stepped(*given, **named):
        death.at("step")
        result = real(*given, **named)
        death.at("step")
        return result

    mock.patch.object(owner, name, stepped).start()


def stepping_at_commits(death: Death) -> None:
    once = vars(Database)["_once"]

    def stepped(self, work):
        def dying(connection):
            result = work(connection)
            death.at("step")
            return result

        result = once(self, dying)
        death.at("step")
        return result

    mock.patch.object(Database, "_once", stepped).start()


def die(act: Callable[..., None], count: int, variables: Mapping[str, str], given):
    os.environ.update(variables)
    act(Death("step", count), *given)


def killed(act, count, *given, variables=None) -> bool:
    """Do it in a process that dies at its n-th step; say whether it came to that."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    process = processes.Process(target=die, args=(act, count, variables or {}, given))
    process.start()
    process.join(timeout=SECONDS)
    assert process.exitcode in {0, -signal.SIGKILL}
    return process.exitcode != 0


def settled_events(url, action):
    """The trail, after the next run has closed what a dead process left."""
    execute(url, "UPDATE audit_intent SET ends_by = now()")
    with Database(url, application_name="tests") as database:
        for _ in range(2):
            database.ask(close_abandoned)
        assert database.transact(verify).problems == ()
        return database.ask(trail.newest, limit=1000, action=action)[::-1]


def silencing(death: Death, url: str, incident: str) -> None:
    """As the command does it: the journal first, then the trail."""
    stepping_at_commits(death)
    with Journal(url) as journal:
        end = datetime.now(UTC) + timedelta(hours=1)
        journal.silences.put(incident, end, "planned", ADA)
        relay(journal, {"DATABASE_URL": url})


@pytest.fixture
def both_url(database_url):
    """A database with the tables of the metrics and those of the alerts."""
    migrations.apply(database_url, migrations.MigrationFolder.ALERTS)
    return database_url


@pytest.mark.slow
def test_each_silence_has_one_event_wherever_its_process_was_killed(both_url):
    count = 1
    while killed(silencing, count, both_url, f"incident-{count}"):
        with Journal(both_url) as journal:
            for _ in range(2):
                assert relay(journal, {"DATABASE_URL": both_url}) is None
            assert journal.silences.unaudited() == []
            silenced = {silence.scope for silence, _ in journal.silences.in_force()}
        events = settled_events(both_url, Action.SILENCE)
        told = [event["subject"]["incident"] for event in events]
        assert sorted(told) == sorted(silenced)
        count += 1
    assert count > 6


def provisioning(death: Death, url: str) -> None:
    stepping_at_commits(death)
    stepping(death, migrations, "apply_one")
    stepping(death, database_roles, "_tried")
    provision_database(url, None, plan_only=False, author=ADA)


@pytest.mark.slow
def test_each_migration_and_grant_is_told_once_wherever_provisioning_was_killed(
    empty_database_url,
):
    url, count = empty_database_url, 1
    while killed(provisioning, count, url):
        count += 1
    assert count > 12
    # As the daily job does it.
    settled_events(url, Action.PROVISION)
    with Database(url, application_name="tests") as database:
        note_migrations(database, ADA)
    events = settled_events(url, Action.PROVISION)
    told = [name for e in events for name in e["subject"].get("migrations", [])]
    assert sorted(told) == sorted(
        name for (name,) in query(url, "SELECT migration_id FROM _yoyo_migration")
    )
    assert provision_database(url, None, plan_only=False).by_hand is None
    assert settled_events(url, Action.PROVISION) == events


def purging(death: Death, storage: str, folder: str) -> None:
    with dg.instance_for_test(
        temp_dir=folder, overrides=stored_at(storage)
    ) as instance:
        stepping_at_commits(death)
        stepping(death, dg.DagsterInstance, "delete_run")
        resolve_job("purge_event_log").execute_in_process(instance=instance)


@pytest.mark.slow
def test_each_purge_that_deletes_has_one_event_wherever_it_was_killed(
    emulator, database_url, dagster_storage, tmp_path
):
    job = resolve_job("show_status")
    with dg.instance_for_test(
        temp_dir=str(tmp_path), overrides=stored_at(dagster_storage)
    ) as instance:
        for _ in range(8):
            old = instance.create_run_for_job(job, tags=job.tags)
            instance.report_run_canceled(old)
            age(instance, old.run_id)

        def left():
            return instance.get_runs_count(dg.RunsFilter(job_name="show_status"))

        variables = environment(emulator, database_url, tmp_path)
        given = (dagster_storage, str(tmp_path))
        count, deleted_by = 1, 0
        while True:
            before, told = left(), len(settled_events(database_url, Action.PURGE))
            was_killed = killed(purging, count, *given, variables=variables)
            events = settled_events(database_url, Action.PURGE)
            assert len(events) - told in {0, 1}
            if left() < before:
                deleted_by += 1
                assert len(events) == told + 1
            if not was_killed:
                break
            count += 1
        assert (left(), deleted_by > 2) == (0, True)
    assert {event["outcome"] for event in events} >= {"interrupted"}
