"""What the model's parameter says of a time zone is what the time zone is."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from apex_pipeline.cli.powerbi import powerbi
from apex_pipeline.powerbi.utc_offsets import utc_changes
from apex_pipeline_tests.powerbi.dax import to_zone_of

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
]


@pytest.mark.parametrize("zone", ZONES)
def test_each_hour_is_where_the_time_zone_has_it(zone):
    to_zone = to_zone_of(utc_changes(zone, 2025, 2027))
    at = datetime(2025, 1, 1, tzinfo=UTC)
    while at.year < 2028:
        local = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        assert to_zone(at.replace(tzinfo=None)) == local
        at += timedelta(minutes=30)


def test_a_change_is_listed_to_the_minute():
    assert utc_changes("Europe/Berlin", 2026, 2026) == (
        "Europe/Berlin; 0001-01-01T00:00 60; 2026-03-29T01:00 120; 2026-10-25T01:00 60"
    )
    assert utc_changes("UTC", 2026, 2036) == "UTC; 0001-01-01T00:00 0"


def test_the_command_prints_the_configured_zone_from_the_first_day_of_the_rollups(
    monkeypatch,
):
    monkeypatch.setenv("APEX_TIME_ZONE", "Europe/Berlin")
    monkeypatch.setenv("APEX_HISTORY_START", "2025-06-01")
    done = CliRunner().invoke(powerbi, ["time-zone"])
    assert done.exit_code == 0
    assert done.output.startswith(
        "Europe/Berlin; 0001-01-01T00:00 60; 2025-03-30T01:00"
    )
    assert done.output.count("\n") == 1
