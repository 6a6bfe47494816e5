"""What analysts read, in Dagster: runs of ranges, schedules, sensors, checks, metadata."""

import json
import os
import re
from base64 import b64decode
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

import dagster as dg
import psycopg
import pytest

from apex_pipeline.analytics.rollups.columns import FINGERPRINT, MEASURES
from apex_pipeline.analytics.rollups.history import described_columns
from apex_pipeline.analytics.rollups.periods import DAILY, WEEKLY, Periods
from apex_pipeline.analytics.rollups.refresh import refresh
from apex_pipeline.definitions import defs
from apex_pipeline.defs.analytics import rollup_sensors
from apex_pipeline.defs.analytics.rollup_specs import (
    DAILY_KEY,
    DAILY_METADATA,
    DAYS,
    HISTORY_LINEAGE,
    WEEKLY_KEY,
    WEEKS,
    cut,
)
from apex_pipeline.defs.code_location import LOCATION
from apex_pipeline.defs.metadata import numbers, table
from apex_pipeline.defs.pool_limits import ANALYSIS_POOL, POOL_LIMITS
from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync_specs import SYNC_ASSETS
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.run_ledger import RunRecord, RunStatus
from apex_pipeline_tests.support.cost_series import weekly
from apex_pipeline_tests.support.database_copies import create_copy, drop
from apex_pipeline_tests.support.ends import insert, query
from apex_pipeline_tests.support.rollup_reference import metric

ANALYSIS = {
    "daily_campaign_rollup",
    "weekly_campaign_rollup",
    "campaign_history",
    "cost_forecast",
}
TODAY = datetime.now(UTC).date()
FIRST = TODAY - timedelta(days=20)


def configured(database_url, state):
    """A process's variables; of Dataverse nothing is asked."""
    return {
        "DATABASE_URL": database_url,
        "DATAVERSE_RESOURCE": "https://org.example",
        "AZURE_TENANT_ID": "t",
        "AZURE_CLIENT_ID": "c",
        "AZURE_CLIENT_SECRET": "s",
        "APEX_STATE_DIR": str(state),
        "APEX_HISTORY_START": FIRST.isoformat(),
    }.items()


@pytest.fixture
def variables(monkeypatch, database_url, tmp_path):
    """A configured process."""
    for name, value in configured(database_url, tmp_path):
        monkeypatch.setenv(name, value)


@pytest.fixture
def instance(emptied_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    return emptied_instance


@pytest.fixture(scope="module")
def repository():
    return defs().get_repository_def()


def noon(day):
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def run(instance, request):
    """Carry out what a schedule or a sensor asked for."""
    return (
        defs()
        .resolve_job_def(request.job_name or "refresh_daily_rollups")
        .execute_in_process(
            instance=instance,
            tags=request.tags,
            asset_selection=request.asset_selection,
            raise_on_error=False,
        )
    )


def ask(repository, instance, sensor, cursor=None):
    with dg.build_sensor_context(
        instance=instance,
        repository_def=repository,
        cursor=cursor,
        resources={"services": Services()},
    ) as context:
        return repository.get_sensor_def(sensor).evaluate_tick(context)


def tick(repository, instance, schedule, at):
    with dg.build_schedule_context(
        instance=instance, scheduled_execution_time=at, repository_def=repository
    ) as context:
        return repository.get_schedule_def(schedule).evaluate_tick(context)


def spans(data):
    """What was asked for: the job if it is named, first and last partition."""
    return {
        (
            request.job_name,
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in data.run_requests
    }


def partition_metadata(result, key):
    return {
        event.materialization.partition: {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(key)
    }


def test_a_history_that_was_never_made_is_made_in_one_run_of_days_and_one_of_weeks(
    repository, instance, variables, database_url
):
    rows = [metric(noon(FIRST + timedelta(days=n))) for n in (0, 3, 3, 19)]
    insert(database_url, rows)
    data = ask(repository, instance, "remake_late_days")
    yesterday = TODAY - timedelta(days=1)
    monday = FIRST + timedelta(days=-FIRST.weekday() % 7)
    last_monday = TODAY - timedelta(days=7 + TODAY.weekday())
    assert spans(data) == {
        ("refresh_daily_rollups", str(FIRST), str(yesterday)),
        ("refresh_weekly_rollups", str(monday), str(last_monday)),
    }
    results = [run(instance, request) for request in data.run_requests]
    assert all(result.success for result in results)
    days = partition_metadata(results[0], "daily_campaign_rollup")
    assert len(days) == 20
    third = days[str(FIRST + timedelta(days=3))]
    assert third["dagster/partition_row_count"] == 1
    assert third["runs"] == 2
    assert days[str(FIRST + timedelta(days=1))]["dagster/partition_row_count"] == 0
    assert "preview" not in third
    preview = days[str(yesterday)]["preview"]
    assert preview.count("\n") == 8
    assert len(preview) < 1000
    checks = [c for r in results for c in r.get_asset_check_evaluations()]
    assert [c.check_name for c in checks if not c.passed] == []
    assert len(checks) == 14

    again = ask(repository, instance, "remake_late_days", data.cursor)
    assert again.run_requests == []
    assert "is up to date" in again.skip_message


def made(repository, instance):
    data = ask(repository, instance, "remake_late_days")
    make(data.run_requests)
    return data.cursor


def make(requests):
    """Compute what the requested runs would, without their files and events."""
    services = Services()
    settings = services.analysis_settings()
    grains = {"refresh_daily_rollups": DAILY, "refresh_weekly_rollups": WEEKLY}
    with services.open_database() as database:
        for request in requests:
            first, last = (
                date.fromisoformat(request.tags[f"dagster/asset_partition_range_{end}"])
                for end in ("start", "end")
            )
            periods = Periods(grains[request.job_name], first, last)
            refresh(database, settings, periods)


def test_late_deleted_and_changed_rows_bring_back_exactly_their_days(
    repository, instance, variables, database_url
):
    insert(
        database_url,
        [metric(noon(FIRST + timedelta(days=n)), tokens_in=n) for n in range(20)],
    )
    cursor = made(repository, instance)
    insert(database_url, [metric(noon(FIRST + timedelta(days=5)))])
    query(database_url, "DELETE FROM campaign_metrics WHERE tokens_in = 9 RETURNING 1")
    data = ask(repository, instance, "remake_late_days", cursor)
    days = {span for span in spans(data) if span[0] == "refresh_daily_rollups"}
    assert days == {
        ("refresh_daily_rollups", str(day), str(day))
        for day in (FIRST + timedelta(days=5), FIRST + timedelta(days=9))
    }
    make(data.run_requests)
    query(
        database_url,
        "UPDATE campaign_metrics SET campaign_id = gen_random_uuid() "
        "WHERE tokens_in IN (11, 12) RETURNING 1",
    )
    changed = ask(repository, instance, "remake_late_days")
    days = {span for span in spans(changed) if span[0] == "refresh_daily_rollups"}
    assert days == {
        (
            "refresh_daily_rollups",
            str(FIRST + timedelta(days=11)),
            str(FIRST + timedelta(days=12)),
        )
    }


def test_the_comparison_goes_through_history_once_a_day_in_parts(
    repository, instance, variables, database_url
):
    cursor = made(repository, instance)
    data = ask(repository, instance, "remake_late_days", cursor)
    kept = json.loads(data.cursor)
    assert (kept["begun"], kept["next"]) == (str(TODAY), None)
    yesterday = json.dumps({"begun": str(TODAY - timedelta(days=1)), "next": None})
    data = ask(repository, instance, "remake_late_days", yesterday)
    assert json.loads(data.cursor)["begun"] == str(TODAY)


def test_a_changed_row_is_found_however_many_are_late(
    repository, instance, variables, database_url, monkeypatch
):
    """A late row at each tick used to put the comparison off for ever."""
    start = TODAY - timedelta(days=100)
    monkeypatch.setenv("APEX_HISTORY_START", start.isoformat())
    changed = TODAY - timedelta(days=50)
    insert(database_url, [metric(noon(changed), tokens_in=7)])
    cursor = made(repository, instance)
    query(
        database_url,
        "UPDATE campaign_metrics SET cost_usd = cost_usd + 100 WHERE tokens_in = 7 "
        "RETURNING 1",
    )
    asked = set()
    for number in range(1, 5):
        insert(database_url, [metric(noon(start + timedelta(days=number)))])
        data = ask(repository, instance, "remake_late_days", cursor)
        cursor = data.cursor
        asked |= spans(data)
    assert ("refresh_daily_rollups", str(changed), str(changed)) in asked
    ((next_day, seconds),) = query(
        database_url, "SELECT next_day, lap_seconds FROM rollup_comparison"
    )
    assert next_day is None
    assert seconds >= 0


def test_a_changed_row_is_found_while_more_days_are_late_than_one_tick_asks_for(
    repository, instance, variables, database_url, monkeypatch
):
    """Whatever counting finds takes nothing from what comparing may ask for."""
    start = TODAY - timedelta(days=50)
    monkeypatch.setenv("APEX_HISTORY_START", start.isoformat())
    changed = start + timedelta(days=1)
    insert(database_url, [metric(noon(changed), tokens_in=7)])
    made(repository, instance)
    query(
        database_url,
        "UPDATE campaign_metrics SET cost_usd = cost_usd + 100 WHERE tokens_in = 7 "
        "RETURNING 1",
    )
    late = [start + timedelta(days=number) for number in range(4, 44, 2)]
    insert(database_url, [metric(noon(day)) for day in late])
    data = ask(repository, instance, "remake_late_days")
    days = {span for span in spans(data) if span[0] == "refresh_daily_rollups"}
    assert ("refresh_daily_rollups", str(changed), str(changed)) in days
    assert len(days) == 11
    assert json.loads(data.cursor)["next"] == str(start + timedelta(days=30))


def test_a_part_of_which_too_much_is_out_of_date_is_compared_again(
    repository, instance, variables, database_url, monkeypatch
):
    start = TODAY - timedelta(days=50)
    monkeypatch.setenv("APEX_HISTORY_START", start.isoformat())
    days = [start + timedelta(days=number) for number in range(0, 26, 2)]
    insert(database_url, [metric(noon(day)) for day in days])
    made(repository, instance)
    query(database_url, "UPDATE campaign_metrics SET tokens_in = 8 RETURNING 1")
    data = ask(repository, instance, "remake_late_days")
    assert json.loads(data.cursor)["next"] == str(start)


def test_marking_rows_as_exported_makes_no_day_late(
    repository, instance, variables, database_url
):
    insert(database_url, [metric(noon(FIRST))])
    made(repository, instance)
    query(database_url, "UPDATE campaign_metrics SET exported_at = now() RETURNING 1")
    assert ask(repository, instance, "remake_late_days").run_requests == []
    assert "exported_at" not in FINGERPRINT


def test_a_new_time_zone_has_its_days_made(
    repository, instance, variables, database_url, monkeypatch
):
    made(repository, instance)
    monkeypatch.setenv("APEX_TIME_ZONE", "Asia/Kathmandu")
    data = ask(repository, instance, "remake_late_days")
    assert len(spans(data)) == 2
    for request in data.run_requests:
        assert run(instance, request).success
    assert ask(repository, instance, "remake_late_days").run_requests == []


def test_nothing_is_asked_for_while_a_refresh_is_under_way(
    repository, instance, variables
):
    job = defs().resolve_job_def("refresh_weekly_rollups")
    active = instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, tags=job.tags
    )
    data = ask(repository, instance, "remake_late_days")
    assert data.run_requests == []
    assert "refresh_weekly_rollups" in data.skip_message
    instance.delete_run(active.run_id)


@pytest.mark.parametrize(
    ("selected", "location", "counts"),
    [
        (DAILY_KEY, LOCATION, True),
        (WEEKLY_KEY, LOCATION, True),
        (SYNC_ASSETS[0], LOCATION, False),
        (DAILY_KEY, "another_apex", False),
    ],
)
def test_a_refresh_is_known_by_its_assets_and_code_location(
    repository, instance, variables, selected, location, counts
):
    """A backfill from an asset's page starts Dagster's implicit job, not ours."""
    instance.create_run_for_job(
        repository.get_implicit_global_asset_job_def(),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/code_location": location},
        asset_selection=frozenset({selected}),
    )
    data = ask(repository, instance, "remake_late_days")
    assert (data.run_requests == []) is counts
    if counts:
        assert selected.to_user_string() in data.skip_message


def deliver(store, delivered):
    number = store.start_run(at=datetime.now(UTC), dagster_run_id=None)
    store.finish_run(
        number,
        RunRecord(
            status=RunStatus.SUCCESS,
            finished_at=datetime.now(UTC),
            delivered=delivered,
        ),
    )
    return number


def test_today_is_made_after_a_sync_that_delivered_and_not_more_often_than_it_may(
    repository, instance, variables, store, database_url
):
    assert ask(repository, instance, "refresh_today").run_requests == []
    deliver(store, 0)
    assert ask(repository, instance, "refresh_today").run_requests == []
    number = deliver(store, 3)
    data = ask(repository, instance, "refresh_today")
    assert spans(data) == {(None, str(TODAY), str(TODAY))}
    (request,) = data.run_requests
    assert request.run_key == f"sync-{number}"
    insert(database_url, [metric(datetime.now(UTC) - timedelta(seconds=1))])
    result = run(instance, request)
    assert result.success
    assert list(partition_metadata(result, "daily_campaign_rollup")) == [str(TODAY)]
    (history,) = partition_metadata(result, "campaign_history").values()
    assert history["dagster/row_count"] == 90
    assert history["days_computed"] == 0
    assert history["last_days"].count("\n") == 8
    assert len(history["last_days"]) < 1000

    assert ask(repository, instance, "refresh_today", data.cursor).run_requests == []
    deliver(store, 1)
    again = ask(repository, instance, "refresh_today", data.cursor)
    assert again.run_requests == []
    assert "minutes ago" in again.skip_message
    kept = json.loads(data.cursor)
    kept["at"] = (datetime.now(UTC) - timedelta(minutes=16)).isoformat()
    assert ask(repository, instance, "refresh_today", json.dumps(kept)).run_requests


def test_while_no_day_ends_only_what_a_day_that_goes_on_changes_is_made(
    repository, instance, variables, store, database_url, monkeypatch
):
    # Fifteen minutes ago may have been yesterday.
    monkeypatch.setattr(rollup_sensors, "_TODAY_INTERVAL", timedelta(0))
    deliver(store, 1)
    (first,) = ask(repository, instance, "refresh_today").run_requests
    assert first.asset_selection is None
    assert run(instance, first).success
    since = {"run": 0, "at": datetime.now(UTC).isoformat()}
    (request,) = ask(
        repository, instance, "refresh_today", json.dumps(since)
    ).run_requests
    insert(database_url, [metric(datetime.now(UTC) - timedelta(seconds=1))])
    result = run(instance, request)
    assert result.success
    made = {
        event.asset_key.to_user_string()
        for event in result.get_asset_materialization_events()
    }
    assert made == {"daily_campaign_rollup", "campaign_csv_exports"}


def test_a_day_that_went_on_after_it_was_made_is_made_once_more(
    repository, instance, variables, store
):
    deliver(store, 1)
    cursor = {"run": 0, "at": (datetime.now(UTC) - timedelta(days=1)).isoformat()}
    data = ask(repository, instance, "refresh_today", json.dumps(cursor))
    yesterday = TODAY - timedelta(days=1)
    assert spans(data) == {(None, str(yesterday), str(TODAY))}
    (request,) = data.run_requests
    assert request.asset_selection is None, "a day has ended; its forecast is due"


def test_every_night_the_trailing_days_are_made_in_one_run(repository, instance):
    schedule = repository.get_schedule_def("refresh_daily_rollups_nightly")
    assert schedule.cron_schedule == "30 2 * * *"
    data = tick(
        repository,
        instance,
        "refresh_daily_rollups_nightly",
        datetime(2026, 11, 24, 2, 30, tzinfo=UTC),
    )
    assert spans(data) == {(None, "2026-11-17", "2026-11-24")}


def test_on_mondays_the_week_that_has_ended_is_made(repository, instance):
    schedule = repository.get_schedule_def("refresh_weekly_rollups_mondays")
    assert schedule.cron_schedule == "30 3 * * 1"
    data = tick(
        repository,
        instance,
        "refresh_weekly_rollups_mondays",
        datetime(2026, 11, 23, 3, 30, tzinfo=UTC),
    )
    assert spans(data) == {(None, "2026-11-09", "2026-11-16")}


def test_no_run_for_analysts_takes_the_place_of_a_sync(repository):
    for name in ("refresh_daily_rollups", "refresh_weekly_rollups", "export_csv"):
        steps = repository.get_job(name).graph.node_defs
        assert {step.pool for step in steps} == {ANALYSIS_POOL}
    settings = (Path(__file__).parents[3] / "dagster.yaml").read_text()
    (places,) = re.findall(r"max_concurrent_runs: (\d+)", settings)
    assert POOL_LIMITS[ANALYSIS_POOL] < int(places)


def test_partitions_include_today_and_only_weeks_that_are_over():
    now = datetime(2026, 11, 24, 0, 5, tzinfo=UTC)
    assert DAYS.get_partition_keys(current_time=now)[-1] == "2026-11-24"
    assert WEEKS.get_partition_keys(current_time=now)[-1] == "2026-11-16"
    assert (
        date.fromisoformat(WEEKS.get_partition_keys(current_time=now)[0]).weekday() == 0
    )


@pytest.mark.parametrize(
    ("zone", "first", "last"),
    [
        ("Asia/Kathmandu", "Asia/Kathmandu", "UTC"),
        ("America/New_York", "UTC", "America/New_York"),
        # In summer alone they are ahead, and they are never behind.
        ("Europe/London", "Europe/London", "UTC"),
        ("Pacific/Auckland", "Pacific/Auckland", "UTC"),
        # In summer they are level.
        ("Atlantic/Azores", "UTC", "Atlantic/Azores"),
    ],
)
def test_partitions_begin_with_the_history_where_days_begin_first_and_end_last(
    zone, first, last
):
    days, weeks = cut({"APEX_HISTORY_START": "2025-03-05", "APEX_TIME_ZONE": zone})
    assert (days.timezone, days.get_partition_keys()[0]) == (first, "2025-03-05")
    assert (weeks.timezone, weeks.get_partition_keys()[0]) == (last, "2025-03-10")


def test_a_malformed_variable_leaves_the_code_location_its_partitions():
    days, _ = cut({"APEX_HISTORY_START": "x", "APEX_TIME_ZONE": "Europe/London"})
    assert (days.timezone, days.get_partition_keys()[0]) == ("UTC", "2024-11-01")


RUNS = """
import sys
import dagster as dg
from apex_pipeline.definitions import defs
from apex_pipeline.defs.analytics import rollup_sensors
from apex_pipeline.defs.analytics.rollup_jobs import range_tags
from apex_pipeline.defs.analytics.rollup_specs import DAYS, WEEKS
quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
with dg.DagsterInstance.ephemeral() as instance:
    for grain, cut in (("weekly", WEEKS), ("daily", DAYS), ("daily", DAYS)):
        keys = cut.get_partition_keys()
        result = defs().resolve_job_def(f"refresh_{grain}_rollups").execute_in_process(
            instance=instance,
            tags=range_tags(keys[-2], keys[-1]),
            run_config=quiet,
            raise_on_error=False,
        )
        failed = [event.message for event in result.all_events if event.is_failure]
        print(result.success, *failed)
"""


def test_where_days_and_weeks_are_cut_in_two_time_zones_every_asset_is_made(
    variables, forked_apex
):
    """In a process of its own: it cuts them when it starts."""
    ended = forked_apex.run_code(
        RUNS, env=os.environ | {"APEX_TIME_ZONE": "Asia/Kathmandu"}
    )
    assert ended.stdout.splitlines() == ["True"] * 3


def test_a_backfill_of_any_range_is_one_run(repository):
    keys = "daily_campaign_rollup", "weekly_campaign_rollup", "campaign_csv_exports"
    for key in keys:
        policy = repository.asset_graph.get(dg.AssetKey(key)).backfill_policy
        assert policy == dg.BackfillPolicy.single_run(), key


def test_what_is_wrong_with_the_rows_is_said_by_the_checks(
    repository, instance, variables, database_url
):
    now = datetime.now(UTC)
    cheap = [metric(noon(TODAY - timedelta(days=7 * n))) for n in (1, 2)]
    insert(
        database_url,
        [
            *cheap,
            metric(noon(FIRST + timedelta(days=2)), agents_successful=6),
            metric(noon(FIRST + timedelta(days=2)), cost_usd=Decimal("NaN")),
            metric(now + timedelta(days=3)),
            metric(noon(FIRST - timedelta(days=9))),
        ],
    )
    data = ask(repository, instance, "remake_late_days")
    result = run(instance, data.run_requests[0])
    assert result.success
    checks = {c.check_name: c for c in result.get_asset_check_evaluations()}
    failed = {name for name, c in checks.items() if not c.passed}
    assert failed == {"no_impossible_value", "no_row_outside_history"}
    errors = {n for n, c in checks.items() if c.severity is dg.AssetCheckSeverity.ERROR}
    assert errors == {
        *("matches_raw_rows", "no_gap", "files_match_rollups", "within_reason"),
    }
    wrong = {name: checks[name].metadata["wrong"].value for name in failed}
    assert wrong == {"no_impossible_value": 2, "no_row_outside_history": 2}
    examples = checks["no_row_outside_history"].metadata["examples"].value
    assert "in the future" in examples
    assert "before the history" in examples


def test_a_wrong_variable_fails_the_run_with_one_sentence(
    instance, variables, monkeypatch, repository
):
    monkeypatch.setenv("APEX_TIME_ZONE", "Berlin")
    request = dg.RunRequest(
        tags={
            "dagster/asset_partition_range_start": str(FIRST),
            "dagster/asset_partition_range_end": str(FIRST),
        }
    )
    result = run(instance, request)
    (failure, *_) = [event for event in result.all_events if event.is_step_failure]
    described = failure.step_failure_data.user_failure_data
    assert described.description.startswith("APEX_TIME_ZONE must be")


def test_lineage_names_columns_that_there_are(database_url, repository):
    with psycopg.connect(database_url) as connection:
        raw = {
            name
            for (name,) in connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = "
                "'campaign_metrics'::regclass AND attnum > 0"
            )
        }
    assert {source for column in MEASURES for source in column.sources} <= raw
    with Database(database_url, application_name="test") as database:
        columns = described_columns(database, "campaign_history_90d")
    assert {column.name for column in columns} == set(HISTORY_LINEAGE)
    assert all(column.description for column in columns)
    daily = {c.name for c in DAILY_METADATA["dagster/column_schema"].columns}
    assert {
        source for sources in HISTORY_LINEAGE.values() for source in sources
    } <= daily


def metadata_of(result, key):
    """All metadata of the last materialization, and the length of its text."""
    materialization = [
        event.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(key)
    ][-1]
    found = {name: value.value for name, value in materialization.metadata.items()}
    return found, len(str(found))


@pytest.fixture(scope="module")
def refreshed(
    postgres, migrated_database, shared_instance, repository, tmp_path_factory
):
    """URL of a database with 20 days, and the runs that made its days and weeks."""
    name = f"refreshed_{uuid4().hex}"
    create_copy(postgres, migrated_database, name)
    url = postgres.url(name)
    insert(
        url,
        [
            metric(noon(FIRST + timedelta(days=n)), cost_usd=round(Decimal(cost), 5))
            for n, cost in enumerate(weekly(20, 1))
        ],
    )
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in configured(url, tmp_path_factory.mktemp("state")):
            patch.setenv(variable, value)
        requests = ask(repository, shared_instance, "remake_late_days").run_requests
        days, weeks = (run(shared_instance, request) for request in requests)
    yield url, days, weeks
    drop(postgres, name)


def test_the_forecast_is_made_with_the_days_and_shown(refreshed):
    database_url, result, _ = refreshed
    found, length = metadata_of(result, "cost_forecast")
    assert length < 50_000
    assert (found["dagster/row_count"], found["days_known"]) == (90, 20)
    assert found["model"] == "weekday_mean"
    assert found["why"] == "Too few days are known to compare models."
    assert "No interval for" in found["limits"]
    for name in ("totals", "backtest", "coverage", "next_days", "trend"):
        assert len(found[name]) < 1000, name
    assert found["totals"].count("\n") == 5
    assert "**weekday_mean**" in found["backtest"]
    ((month, spent),) = query(
        database_url,
        "SELECT cost_usd, spent_usd FROM cost_forecast_horizon "
        "WHERE horizon = 'month_end'",
    )
    assert found["month_usd"] == pytest.approx(float(month))
    assert found["month_spent_usd"] == pytest.approx(float(spent))
    columns = found["dagster/column_schema"].columns
    assert all(column.description for column in columns)
    checks = {
        c.check_name: c
        for c in result.get_asset_check_evaluations()
        if c.asset_key == dg.AssetKey("cost_forecast")
    }
    assert set(checks) == {
        *("learnt_up_to_yesterday", "coverage_in_band"),
        *("within_reason", "yesterday_as_forecast"),
    }
    assert all(check.passed for check in checks.values())


def test_before_any_day_is_over_there_is_no_forecast_and_a_check_says_so(
    repository, instance, variables, database_url, store
):
    deliver(store, 3)
    (request,) = ask(repository, instance, "refresh_today").run_requests
    result = run(instance, request)
    assert result.success
    found, _ = metadata_of(result, "cost_forecast")
    assert (found["dagster/row_count"], found["model"]) == (0, "none")
    assert found["limits"] == "No day's cost is known yet."
    checks = {c.check_name: c for c in result.get_asset_check_evaluations()}
    late = checks["learnt_up_to_yesterday"]
    assert (late.passed, late.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_without_a_single_row_everything_is_made_and_nothing_is_wrong(
    repository, instance, variables
):
    for request in ask(repository, instance, "remake_late_days").run_requests:
        result = run(instance, request)
        assert result.success
        assert [c for c in result.get_asset_check_evaluations() if not c.passed] == []
    assert ask(repository, instance, "remake_late_days").run_requests == []


def test_pages_have_a_picture_and_a_line_small_enough_to_stand_in_the_table(refreshed):
    _, days, weeks = refreshed
    for key in (*ANALYSIS, "campaign_csv_exports"):
        found, length = metadata_of(weeks if "weekly" in key else days, key)
        assert length < 50_000
        alt, _, data = found["trend"].partition("](data:image/svg+xml;base64,")
        assert b64decode(data.removesuffix(")")).startswith(b"<svg ")
        assert alt.startswith("![Cost")
        alt, _, data = found["picture"].partition("](data:image/svg+xml,")
        assert not {*data.removesuffix(")")} & {*' ()<>"'}
        assert unquote(data.removesuffix(")")).startswith("<svg ")
        assert alt.startswith("![Cost")
        assert len(found["trend"]) < 1000


def test_what_an_asset_shows_is_stored_once(
    repository, instance, variables, database_url
):
    insert(database_url, [metric(noon(FIRST))])
    requests = ask(repository, instance, "remake_late_days").run_requests
    days, weeks = (run(instance, request) for request in requests)
    for event in (*days.all_events, *weeks.all_events):
        if event.event_type is dg.DagsterEventType.STEP_OUTPUT:
            assert event.event_specific_data.metadata == {}, event.step_key


def test_what_is_no_number_is_shown_and_not_plotted():
    values = {"a": Decimal("NaN"), "b": None, "c": Decimal("1.5"), "d": 2}
    assert numbers(values) == {"c": 1.5, "d": 2}
    shown = table(("day", "a", "b", "c"), [(TODAY, *values.values())]).value
    assert shown.endswith("| NaN | - | 1.50 | 2 |")


def test_every_asset_of_analysts_is_described_and_expected_to_be_fresh(repository):
    """Its columns are described here, or by the database with each materialization."""
    graph = repository.asset_graph
    keys = {key for key in graph.get_all_asset_keys() if key.path[0] in ANALYSIS}
    assert len(keys) == len(ANALYSIS)
    for key in keys:
        spec = graph.get(key)
        assert spec.group_name == "analysis"
        assert spec.description
        assert spec.freshness_policy_or_from_metadata is not None
        assert spec.metadata["dagster/table_name"]
        assert spec.metadata["dagster/column_lineage"].deps_by_column


def test_the_forecasts_lineage_leads_through_the_daily_rollup_to_the_raw_cost(
    repository, database_url
):
    graph = repository.asset_graph
    deps = graph.get(dg.AssetKey("cost_forecast")).metadata["dagster/column_lineage"]
    daily = graph.get(dg.AssetKey("daily_campaign_rollup")).metadata
    upstream = {dep.column_name for one in deps.deps_by_column.values() for dep in one}
    described = {column.name for column in daily["dagster/column_schema"].columns}
    assert upstream <= described
    with Database(database_url, application_name="test") as database:
        columns = {c.name for c in described_columns(database, "cost_forecast")}
    assert set(deps.deps_by_column) <= columns
    raw = daily["dagster/column_lineage"].deps_by_column["cost_usd"]
    assert [dep.column_name for dep in raw] == ["cost_usd"]
