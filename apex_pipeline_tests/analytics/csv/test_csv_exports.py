"""The folder of CSV files: which are there, in which time zone, and when they are made."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import duckdb
import pandas as pd
import pytest

from apex_pipeline.analytics.csv.csv_datasets import select
from apex_pipeline.analytics.csv.export_folder import export_files
from apex_pipeline.analytics.csv.export_stores import LocalStore
from apex_pipeline.analytics.csv.on_request import export_on_request
from apex_pipeline.analytics.csv.parquet_files import export_months
from apex_pipeline.analytics.forecast.cost_forecast import train
from apex_pipeline.analytics.rollups.periods import DAILY, WEEKLY, Periods
from apex_pipeline.analytics.rollups.refresh import refresh
from apex_pipeline.definitions import defs
from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import load_analysis_settings
from apex_pipeline_tests.support.csv_reading import rows
from apex_pipeline_tests.support.ends import execute, insert, query
from apex_pipeline_tests.support.rollup_reference import metric, mondays

pytestmark = pytest.mark.any_server

TODAY = datetime.now(UTC).date()
MONDAY = TODAY - timedelta(days=21 + TODAY.weekday())
FIRST, LAST = MONDAY, MONDAY + timedelta(days=20)
ZONE = "Asia/Kathmandu"
CURRENT = {
    *("history_30d.csv", "history_60d.csv", "history_90d.csv"),
    *("forecast.csv", "forecast_totals.csv", "forecast_campaigns.csv"),
}
SCHEMA = {"schema.json"}


def noon(day):
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path):
    return load_analysis_settings(
        {"APEX_TIME_ZONE": ZONE, "APEX_EXPORT_DIR": str(tmp_path / "exports")}
    )


@pytest.fixture
def database(database_url, settings):
    """Three weeks of rollups, a row for each day."""
    insert(database_url, [metric(noon(FIRST + timedelta(days=n))) for n in range(21)])
    weeks = mondays(FIRST, LAST)
    with Database(database_url, application_name="test") as opened:
        refresh(opened, settings, Periods(DAILY, FIRST, LAST))
        refresh(opened, settings, Periods(WEEKLY, weeks[0], weeks[-1]))
        yield opened


def export(database, settings, first=LAST, last=LAST):
    """Names of the files that were written, below the folder."""
    files = export_files(database, settings, Periods(DAILY, first, last)).files
    assert all(file.is_right for file in files)
    return {file.name for file in files}


def present(settings):
    return {
        path.relative_to(settings.export_dir).as_posix()
        for path in settings.export_dir.rglob("*")
        if path.is_file()
    }


def daily(*days):
    return {f"daily/{day}.csv" for day in days}


def weekly(*weeks):
    return {f"weekly/{week}.csv" for week in weeks}


def read(settings, name):
    return rows((settings.export_dir / name).read_bytes())


ALL_DAYS = [FIRST + timedelta(days=n) for n in range(21)]
ALL_WEEKS = [FIRST + timedelta(days=7 * n) for n in range(3)]


def test_the_first_run_writes_everything_in_the_business_time_zone_alone(
    database, database_url, settings
):
    expected = daily(*ALL_DAYS) | weekly(*ALL_WEEKS) | CURRENT
    assert export(database, settings) == expected
    assert present(settings) == expected | SCHEMA
    for grain, labels in (("daily", ALL_DAYS), ("weekly", ALL_WEEKS)):
        for label in labels:
            (row,) = read(settings, f"{grain}/{label}.csv")
            assert row["time_zone"] == ZONE
            assert row["day" if grain == "daily" else "week"] == str(label)
            assert row["runs"] == ("1" if grain == "daily" else "7")
    history = read(settings, "history_30d.csv")
    today = datetime.now(ZoneInfo(ZONE)).date()
    assert [row["day"] for row in history] == [
        str(today - timedelta(days=30 - n)) for n in range(30)
    ]


def test_the_next_run_writes_its_days_and_the_current_files(database, settings):
    export(database, settings)
    day = FIRST + timedelta(days=4)
    assert export(database, settings, day, day + timedelta(days=1)) == (
        daily(day, day + timedelta(days=1)) | CURRENT
    )


def test_what_was_computed_since_is_written_and_so_is_the_week_after_it(
    database, database_url, settings
):
    """A week says what changed since the one before, and so changes with it."""
    export(database, settings)
    insert(database_url, [metric(noon(ALL_DAYS[2])) for _ in range(4)])
    refresh(database, settings, Periods(DAILY, ALL_DAYS[2], ALL_DAYS[2]))
    refresh(database, settings, Periods(WEEKLY, ALL_WEEKS[0], ALL_WEEKS[0]))
    assert export(database, settings) == (
        daily(*ALL_DAYS[:7], LAST) | weekly(*ALL_WEEKS[:2]) | CURRENT
    )
    (day,) = read(settings, f"daily/{ALL_DAYS[2]}.csv")
    (first,), (second,) = (read(settings, f"weekly/{w}.csv") for w in ALL_WEEKS[:2])
    assert (day["runs"], first["runs"], second["runs_change"]) == ("5", "11", "-4")


def test_every_reader_finds_the_same_types_in_all_files(
    database, database_url, settings
):
    """Files of a header alone, of days without runs, had readers guess."""
    quiet = FIRST + timedelta(days=30)
    refresh(database, settings, Periods(DAILY, LAST, quiet))
    train(database, settings, noon(quiet))
    export(database, settings, FIRST, quiet)
    files = sorted((settings.export_dir / "daily").glob("*.csv"))
    assert len(files) == 21
    frame = pd.concat(pd.read_csv(path) for path in files)
    assert frame["cost_usd"].dtype == float
    described = json.loads((settings.export_dir / "schema.json").read_text())
    assert described["time_zone"] == ZONE
    for resource in described["resources"]:
        pattern = str(settings.export_dir / resource["path"])
        types = {f["name"]: f["type"] for f in resource["schema"]["fields"]}
        found = duckdb.execute(
            f"DESCRIBE SELECT * FROM read_csv('{pattern}')"
        ).fetchall()
        assert [name for name, *_ in found] == list(types)
        for name, kind, *_ in found:
            if kind == "DOUBLE":
                assert types[name] == "number"
        assert all(f["description"] for f in resource["schema"]["fields"])
    daily_files = settings.export_dir / "daily/*.csv"
    costs = duckdb.execute(f"SELECT sum(cost_usd) FROM read_csv('{daily_files}')")
    ((expected,),) = query(
        database_url,
        f"SELECT sum(cost_usd) FROM daily_rollup_total WHERE time_zone = '{ZONE}'",
    )
    assert costs.fetchall()[0][0] == pytest.approx(float(expected))


def test_a_day_whose_runs_are_gone_loses_its_file(database, database_url, settings):
    export(database, settings)
    execute(
        database_url, f"DELETE FROM campaign_metrics WHERE created_at = '{noon(LAST)}'"
    )
    refresh(database, settings, Periods(DAILY, LAST, LAST))
    assert not daily(LAST) & export(database, settings)
    assert not daily(LAST) & present(settings)


def test_a_new_name_of_a_campaign_is_in_every_file(database, database_url, settings):
    export(database, settings)
    campaign = read(settings, f"daily/{FIRST}.csv")[0]["campaign_id"]
    for name in ("Spring sale", "Summer sale"):
        execute(
            database_url,
            f"INSERT INTO campaign_name VALUES ('{campaign}', '{name}') "
            f"ON CONFLICT (campaign_id) DO UPDATE SET name = excluded.name",
        )
        written = daily(*ALL_DAYS) | weekly(*ALL_WEEKS) | CURRENT
        assert export(database, settings) == written
        (row,) = read(settings, f"daily/{FIRST}.csv")
        assert row["campaign_name"] == name
    assert export(database, settings) == daily(LAST) | CURRENT


def test_today_is_marked_as_not_complete(database, database_url, settings):
    insert(database_url, [metric(datetime.now(UTC) - timedelta(seconds=1))])
    here = datetime.now(ZoneInfo(ZONE)).date()
    refresh(database, settings, Periods(DAILY, here - timedelta(days=1), here))
    export(database, settings, here, here)
    (row,) = read(settings, f"daily/{here}.csv")
    assert row["is_complete"] == "false"
    (before,) = read(settings, f"daily/{LAST}.csv")
    assert before["is_complete"] == "true"


def test_parquet_has_a_typed_file_for_each_month(database, settings, tmp_path):
    selection = select(settings, "daily")
    files = export_months(database, selection, LocalStore(tmp_path / "months"))
    months = sorted({f"{day:%Y-%m}" for day in ALL_DAYS})
    assert [file.name for file in files] == [f"daily-{m}.parquet" for m in months]
    assert sum(file.rows for file in files) == 21
    frame = pd.read_parquet(tmp_path / "months")
    assert frame["cost_usd"].dtype == float
    assert frame["runs"].sum() == 21
    assert set(frame["time_zone"]) == {ZONE}
    assert str(frame["first_run_at"].dtype).endswith("UTC]")
    kinds = duckdb.execute(f"DESCRIBE SELECT * FROM '{tmp_path}/months/*.parquet'")
    found = {name: kind for name, kind, *_ in kinds.fetchall()}
    assert (found["day"], found["cost_usd"], found["is_complete"]) == (
        *("DATE", "DOUBLE"),
        "BOOLEAN",
    )


def parquet(name, days):
    return {f"parquet/{name}-{day:%Y-%m}.parquet" for day in days}


def runs_in_parquet(settings, name):
    return duckdb.execute(
        f"SELECT sum(runs) FROM '{settings.export_dir}/parquet/{name}-*.parquet'"
    ).fetchall()


def test_where_it_is_configured_months_are_kept_up_to_date_as_parquet(
    database, database_url, settings
):
    settings = replace(settings, export_parquet=True)
    months = parquet("daily", ALL_DAYS) | parquet("weekly", ALL_WEEKS)
    assert export(database, settings) >= months
    assert runs_in_parquet(settings, "daily") == [(21,)]
    assert runs_in_parquet(settings, "weekly") == [(21,)]
    assert export(database, settings) == daily(LAST) | CURRENT

    (settings.export_dir / min(months)).unlink()
    assert export(database, settings) == daily(LAST) | CURRENT | {min(months)}

    insert(database_url, [metric(noon(FIRST))])
    refresh(database, settings, Periods(DAILY, FIRST, FIRST))
    # Its week is made with it, and the week after is compared with that one.
    late = parquet("daily", ALL_DAYS[:7]) | parquet("weekly", ALL_WEEKS[:2])
    written = export(database, settings)
    assert {name for name in written if name.startswith("parquet/")} == late
    assert runs_in_parquet(settings, "daily") == [(22,)]

    query(database_url, "DELETE FROM campaign_metrics RETURNING 1")
    refresh(database, settings, Periods(DAILY, FIRST, LAST))
    export(database, settings)
    assert not parquet("daily", ALL_DAYS) & present(settings)


@pytest.mark.parametrize("name", ["weekly", "history", "raw", "forecast"])
def test_parquet_holds_each_dataset(database, settings, tmp_path, name):
    train(database, settings, noon(LAST + timedelta(days=1)))
    store = LocalStore(tmp_path / name)
    files = export_months(database, select(settings, name), store)
    counts = {"weekly": 3, "history": 90, "raw": 21, "forecast": 90}
    assert sum(file.rows for file in files) == counts[name]


def test_the_newest_forecast_has_its_files(database, database_url, settings):
    train(database, settings, noon(LAST + timedelta(days=1)))
    export(database, settings)
    for name, view in (("", "cost_forecast"), ("_totals", "cost_forecast_horizon")):
        found = read(settings, f"forecast{name}.csv")
        costs = query(
            database_url,
            f"SELECT cost_usd FROM {view} WHERE time_zone = '{ZONE}' "
            f"ORDER BY {'last_day, horizon' if name else 'day'}",
        )
        assert [(Decimal(row["cost_usd"]),) for row in found] == costs
        assert len(found) == (4 if name else 90)
        assert {row["time_zone"] for row in found} == {ZONE}


def test_a_file_or_a_folder_that_is_gone_comes_back(database, settings):
    expected = export(database, settings)
    (settings.export_dir / f"daily/{ALL_DAYS[5]}.csv").unlink()
    for path in (settings.export_dir / "weekly").iterdir():
        path.unlink()
    (settings.export_dir / "weekly").rmdir()
    export(database, settings)
    assert present(settings) == expected | SCHEMA


def test_a_day_that_has_no_rollup_has_no_file_that_claims_it_was_quiet(
    database, settings
):
    late = LAST + timedelta(days=2)
    with pytest.raises(
        ApexError, match=rf"not been computed for .* to {late} in {ZONE} \(2"
    ):
        export(database, settings, LAST, late)
    assert not settings.export_dir.exists()


@contextmanager
def powerless(folder) -> Iterator[None]:
    """A process that may not write there, also where the tests run as root."""
    folder.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(0)
        folder.chmod(0o755)


def test_a_folder_that_cannot_be_written_is_one_failure_with_its_remedy(
    database, settings, tmp_path
):
    tmp_path.chmod(0o755)
    settings.export_dir.mkdir()
    with (
        powerless(settings.export_dir),
        pytest.raises(ApexError, match=r"Permission denied\. Let this user"),
    ):
        export(database, settings)


def test_a_file_in_the_place_of_a_folder_is_one_failure(database, settings):
    settings.export_dir.mkdir()
    (settings.export_dir / "daily").write_text("what?")
    with pytest.raises(ApexError, match="daily cannot be written"):
        export(database, settings)


@pytest.mark.parametrize("zone", ["UTC", "Atlantic/Azores", "America/Havana", ZONE])
def test_raw_rows_are_chosen_by_the_day_on_which_they_were_recorded(
    database, database_url, settings, zone
):
    """Midnight comes twice on 2025-10-26 in the Azores, on 2025-11-02 in Havana.

    In the past: Python decides what is right here, and of later clock changes it may
    know more or less than Postgres.
    """
    execute(database_url, "DELETE FROM campaign_metrics")
    start = datetime(2025, 10, 24, tzinfo=UTC)
    made = [metric(start + timedelta(minutes=30 * n)) for n in range(12 * 48)]
    insert(database_url, made)
    first, last = date(2025, 10, 26), date(2025, 11, 2)
    selection = select(settings, "raw", zone=zone, first=first, last=last)
    place, written = export_on_request(database, settings, selection, compress=False)
    path = Path(place)
    assert path.name == f"raw_{first}_{last}_{zone.replace('/', '-')}.csv"
    expected = [
        str(row["id"])
        for row in made
        if first <= row["created_at"].astimezone(ZoneInfo(zone)).date() <= last
    ]
    found = rows(path.read_bytes())
    assert [row["id"] for row in found] == expected
    assert written.rows == len(expected)


@pytest.mark.parametrize(
    ("name", "chosen", "labels"),
    [
        ("daily", {}, ALL_DAYS),
        ("daily", {"first": ALL_DAYS[3]}, ALL_DAYS[3:]),
        ("daily", {"last": ALL_DAYS[3], "zone": "UTC"}, ALL_DAYS[:4]),
        ("daily", {"first": ALL_DAYS[3], "last": ALL_DAYS[3]}, ALL_DAYS[3:4]),
        ("weekly", {"first": ALL_DAYS[1]}, ALL_WEEKS[1:]),
        ("weekly", {"first": ALL_WEEKS[1], "last": ALL_DAYS[20]}, ALL_WEEKS[1:]),
        (
            "history",
            {"days": 40, "first": ALL_DAYS[3], "last": ALL_DAYS[5]},
            ALL_DAYS[3:6],
        ),
        ("history", {"last": FIRST - timedelta(days=365)}, []),
    ],
)
def test_any_range_can_be_chosen_in_one_time_zone(
    database, settings, name, chosen, labels
):
    selection = select(settings, name, **chosen)
    place, _ = export_on_request(database, settings, selection, compress=False)
    found = rows(Path(place).read_bytes())
    column = "week" if name == "weekly" else "day"
    assert [row[column] for row in found] == [str(label) for label in labels]
    if name != "history":
        assert {row["time_zone"] for row in found} == {chosen.get("zone", ZONE)}


@pytest.mark.parametrize(
    ("name", "chosen", "text"),
    [
        ("hourly", {}, "Choose from: daily, weekly"),
        ("daily", {"zone": "Europe/Berlin"}, "exist for UTC and Asia/Kathmandu, not"),
        ("raw", {"zone": "../../etc/passwd"}, "is not an IANA time zone"),
        (
            "raw",
            {"zone": "UTC'; DROP TABLE campaign_metrics; --"},
            "is not an IANA time zone",
        ),
        ("daily", {"first": LAST, "last": FIRST}, "is after"),
        ("daily", {"days": 5}, "applies only to history"),
        ("history", {"days": 0}, "`days` must be 1 to 3660, not 0"),
        ("history", {"days": 10**6}, "`days` must be 1 to 3660"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, name, chosen, text):
    with pytest.raises(ConfigError, match=text):
        select(settings, name, **chosen)


@pytest.fixture
def variables(monkeypatch, database, database_url, settings):
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("APEX_TIME_ZONE", ZONE)
    monkeypatch.setenv("APEX_EXPORT_DIR", str(settings.export_dir))
    monkeypatch.delenv("DATAVERSE_RESOURCE", raising=False)


@pytest.fixture
def instance(emptied_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    return emptied_instance


def run(instance, first, last):
    """Days in one run, as a backfill starts it."""
    return (
        defs()
        .resolve_job_def("refresh_daily_rollups")
        .execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey("campaign_csv_exports")],
            tags={
                "dagster/asset_partition_range_start": str(first),
                "dagster/asset_partition_range_end": str(last),
            },
            raise_on_error=False,
        )
    )


def materialized(result):
    return {
        event.materialization.partition: {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
    }


def test_a_range_of_days_is_one_run_that_tells_of_each_file(
    instance, variables, settings
):
    result = run(instance, ALL_DAYS[19], LAST)
    assert result.success
    found = materialized(result)
    assert set(found) == {str(day) for day in ALL_DAYS}
    for day, metadata in found.items():
        path = settings.export_dir / "daily" / f"{day}.csv"
        assert metadata["path"] == str(path)
        assert metadata["dagster/partition_row_count"] == 1
        assert metadata["bytes"] == path.stat().st_size
        assert len(metadata["sha256"]) == 64
    last = found[str(LAST)]
    assert (last["files_written"], last["rows_written"]) == (30, 21 + 3 + 180)
    assert "| weekly/" in last["last_files"]
    assert len(last["last_files"]) < 1000
    assert "last_files" not in found[str(ALL_DAYS[19])]
    assert checks(result) == {"files_match_rollups": True, "files_outlast_runs": True}
    assert set(materialized(run(instance, LAST, LAST))) == {str(LAST)}


def checks(result):
    found = result.get_asset_check_evaluations()
    return {check.check_name: check.passed for check in found}


def test_files_that_were_lost_with_the_run_that_wrote_them_are_told(
    instance, variables, settings
):
    """A folder in the file system of a run's own container is empty each time."""
    run(instance, LAST, LAST)
    assert checks(run(instance, LAST, LAST))["files_outlast_runs"]
    shutil.rmtree(settings.export_dir)
    assert checks(run(instance, LAST, LAST)) == {
        "files_match_rollups": True,
        "files_outlast_runs": False,
    }
    assert checks(run(instance, LAST, LAST))["files_outlast_runs"]


def failure(result):
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return event.step_failure_data.user_failure_data.description


def test_a_run_that_cannot_write_fails_with_one_sentence(instance, variables, settings):
    settings.export_dir.mkdir()
    (settings.export_dir / "daily").write_text("what?")
    assert "daily cannot be written" in failure(run(instance, LAST, LAST))


def on_request(instance, **config):
    return (
        defs()
        .resolve_job_def("export_csv")
        .execute_in_process(
            instance=instance,
            run_config={"ops": {"write_requested_csv": {"config": config}}},
            raise_on_error=False,
        )
    )


def test_the_launchpad_does_what_the_command_does(instance, variables, settings):
    result = on_request(
        instance, dataset="daily", first=str(LAST), zone="UTC", compress=True
    )
    assert result.success
    name = f"on_request/daily_{LAST}_newest_UTC.csv.gz"
    assert present(settings) == {name}
    assert (settings.export_dir / name).read_bytes().startswith(b"\x1f\x8b")


def test_the_launchpad_writes_months_as_parquet(instance, variables, settings):
    assert on_request(instance, written_as="parquet", zone="UTC").success
    folder = settings.export_dir / "on_request" / "daily_oldest_newest_UTC"
    assert pd.read_parquet(folder)["runs"].sum() == 21


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"written_as": "xlsx"}, "must be csv or parquet"),
        ({"written_as": "parquet", "compress": True}, "leave `compress` out"),
        ({"dataset": "../etc"}, "Unknown dataset"),
        ({"first": "yesterday"}, "`first` must be a date"),
        ({"zone": "Mars"}, "not for Mars"),
    ],
)
def test_rubbish_in_the_launchpad_fails_the_run_with_one_sentence(
    instance, variables, config, text
):
    assert text in failure(on_request(instance, **config))


def test_the_nightly_job_writes_the_files_of_what_it_makes(
    instance, variables, settings
):
    job = defs().resolve_job_def("refresh_daily_rollups")
    assert dg.AssetKey("campaign_csv_exports") in job.asset_layer.selected_asset_keys
