"""Where Python and Postgres disagree about a time zone, the doctor names the dates."""

import zoneinfo
from datetime import UTC, date, datetime
from importlib.resources import files
from zoneinfo import ZoneInfo

import pytest

from apex_pipeline.analytics.forecast.cost_forecast import train
from apex_pipeline.errors import DatabaseError
from apex_pipeline.monitoring.doctor import time_zones
from apex_pipeline.monitoring.doctor.check_results import CheckState
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import AnalysisSettings

FIRST, TODAY = date(2024, 11, 1), date(2025, 6, 1)


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="test") as opened:
        yield opened


@pytest.fixture
def zones(tmp_path):
    """Take Python's time-zone data from this folder first."""
    zoneinfo.reset_tzpath([str(tmp_path), *zoneinfo.TZPATH])
    ZoneInfo.clear_cache()
    yield tmp_path
    zoneinfo.reset_tzpath()
    ZoneInfo.clear_cache()


def put(folder, name, other):
    """Have Python take *other*'s data for the zone *name*."""
    source = files("tzdata.zoneinfo")
    for part in other.split("/"):
        source /= part
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(source.read_bytes())


# Midnight comes twice, and never, on some days of all but the first two.
@pytest.mark.parametrize(
    "zone",
    [
        *("UTC", "Europe/Berlin", "America/Havana", "Atlantic/Azores", "Asia/Beirut"),
        *("America/Santiago", "Africa/Cairo"),
    ],
)
def test_the_same_data_agree_on_every_day(database, zone):
    with_changes_known_to_all = date(2024, 5, 1)
    found = time_zones.compare(
        database, [zone], date(2023, 11, 1), with_changes_known_to_all
    )
    assert found.state is CheckState.OK
    assert zone in found.measured


def test_a_zone_whose_clock_changes_for_one_of_the_two_is_named_with_its_days(
    database, zones
):
    put(zones, "Europe/Berlin", "Africa/Algiers")
    found = time_zones.compare(database, ["UTC", "Europe/Berlin"], FIRST, TODAY)
    assert found.state is CheckState.WARNING
    assert "UTC" not in found.measured
    assert "Europe/Berlin from 2025-03-31 to 2025-10-26" in found.measured
    assert "2026-03-30 to 2026-06-02" in found.measured
    assert "tzdata" in found.remedy


def test_more_than_three_stretches_are_counted(database, zones):
    put(zones, "Europe/Berlin", "Africa/Algiers")
    found = time_zones.compare(
        database, ["Europe/Berlin"], date(2020, 1, 1), date(2024, 1, 1)
    )
    assert "and 2 more periods" in found.measured


def test_an_abbreviation_that_is_a_fixed_offset_for_postgres_is_named(database):
    found = time_zones.compare(database, ["CET"], FIRST, TODAY)
    assert "CET from 2025-03-31 to 2025-10-26" in found.measured
    assert "name a city" in found.remedy


def test_a_zone_that_postgres_does_not_know_fails(database):
    with pytest.raises(DatabaseError, match='time zone "Mars/Base" not recognized'):
        time_zones.compare(database, ["Mars/Base"], FIRST, TODAY)


def test_forecasts_begin_on_the_day_that_postgres_has(database, database_url, zones):
    """Half past eleven at night in Berlin is tomorrow in Tokyo."""
    put(zones, "Europe/Berlin", "Asia/Tokyo")
    settings = AnalysisSettings(None, "Europe/Berlin", None, zones)
    trained = train(database, settings, datetime(2026, 1, 10, 22, 30, tzinfo=UTC))
    assert {each.forecast.made_on for each in trained} == {date(2026, 1, 10)}
