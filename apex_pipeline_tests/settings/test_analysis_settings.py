from datetime import date
from pathlib import Path

import pytest

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import load_analysis_settings


def test_without_variables_everything_is_in_utc_and_below_the_state_folder(tmp_path):
    settings = load_analysis_settings({"APEX_STATE_DIR": str(tmp_path)})
    assert settings.history_start is None
    assert settings.time_zones == ("UTC",)
    assert settings.slo_p95_ms is None
    assert settings.export_dir == tmp_path / "exports"


def test_what_is_set_is_taken(tmp_path):
    settings = load_analysis_settings(
        {
            "APEX_HISTORY_START": "2025-03-01",
            "APEX_TIME_ZONE": " Europe/Berlin ",
            "APEX_SLO_P95_MS": "45000",
            "APEX_EXPORT_DIR": str(tmp_path / "csv"),
            "APEX_EXPORT_FORMATS": "csv, parquet",
        }
    )
    assert settings.export_parquet
    assert settings.history_start == date(2025, 3, 1)
    assert settings.time_zones == ("UTC", "Europe/Berlin")
    assert settings.slo_p95_ms == 45_000
    assert settings.export_dir == tmp_path / "csv"


def test_utc_as_the_business_time_zone_is_not_made_twice():
    assert load_analysis_settings({"APEX_TIME_ZONE": "UTC"}).time_zones == ("UTC",)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("APEX_HISTORY_START", "01.11.2024", "a date like"),
        ("APEX_HISTORY_START", "1999-12-31", "between 2000-01-01 and today"),
        ("APEX_HISTORY_START", "2999-01-01", "and today"),
        ("APEX_TIME_ZONE", "Berlin", "IANA name"),
        ("APEX_TIME_ZONE", "../etc/passwd", "IANA name"),
        ("APEX_TIME_ZONE", "Europe", "IANA name"),
        ("APEX_TIME_ZONE", "right/Europe/Berlin", "IANA name"),
        ("APEX_TIME_ZONE", "posix/Europe/Berlin", "IANA name"),
        ("APEX_TIME_ZONE", "localtime", "IANA name"),
        ("APEX_SLO_P95_MS", "0", "milliseconds"),
        ("APEX_SLO_P95_MS", "1.5", "milliseconds"),
        ("APEX_SLO_P95_MS", "-3", "milliseconds"),
        ("APEX_SLO_P95_MS", "9999999999", "milliseconds"),
        ("APEX_EXPORT_DIR", __file__, "not a folder"),
        ("APEX_EXPORT_DIR", "s3://[bucket/x", "s3://bucket/folder"),
        ("APEX_EXPORT_DIR", "s3://[bucket]/exports", "s3://bucket/folder"),
        ("APEX_EXPORT_DIR", "s3://bucket:abc/exports", "s3://bucket/folder"),
        ("APEX_EXPORT_DIR", "s3://bucket:99999/exports", "s3://bucket/folder"),
        ("APEX_EXPORT_DIR", "s3:/bucket", "s3://bucket/folder"),
        ("APEX_EXPORT_DIR", "s3:bucket", "s3://bucket/folder"),
        ("APEX_EXPORT_DIR", "file:/srv/x", "s3://bucket/folder"),
        ("APEX_EXPORT_DIR", "file:///srv/%00x", "holds a value, not a path"),
        ("APEX_EXPORT_FORMATS", "parquet", "csv or csv,parquet"),
        ("APEX_EXPORT_FORMATS", "csv,xlsx", "csv or csv,parquet"),
    ],
)
def test_what_is_malformed_is_named(name, value, text):
    with pytest.raises(ConfigError, match=text) as caught:
        load_analysis_settings({name: value})
    assert name in str(caught.value)


def test_an_access_point_of_s3_is_a_bucket():
    url = "s3://arn:aws:s3:us-west-2:123456789012:accesspoint/point/exports"
    assert load_analysis_settings({"APEX_EXPORT_DIR": url}).export_url == url


def test_all_that_is_wrong_is_named_at_once():
    with pytest.raises(ConfigError) as caught:
        load_analysis_settings(
            {
                "APEX_HISTORY_START": "x",
                "APEX_TIME_ZONE": "x",
                "APEX_SLO_P95_MS": "x",
                "APEX_EXPORT_DIR": str(Path(__file__)),
            }
        )
    assert str(caught.value).count("APEX_") == 4
