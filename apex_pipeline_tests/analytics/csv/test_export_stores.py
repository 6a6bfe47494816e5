"""Exports in an object store: what a reader meets, and what the next run makes again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from uuid import uuid4

import fsspec
import pandas as pd
import pytest
from fsspec.registry import known_implementations

from apex_pipeline.analytics.csv.csv_datasets import select
from apex_pipeline.analytics.csv.export_folder import export_files
from apex_pipeline.analytics.csv.export_stores import ExportStore, LocalStore, store_at
from apex_pipeline.analytics.csv.object_store import ObjectStore
from apex_pipeline.analytics.csv.on_request import (
    export_months_on_request,
    export_on_request,
)
from apex_pipeline.analytics.rollups.periods import DAILY, WEEKLY, Periods
from apex_pipeline.analytics.rollups.refresh import refresh
from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import load_analysis_settings
from apex_pipeline_tests.support.csv_reading import rows
from apex_pipeline_tests.support.ends import execute, insert
from apex_pipeline_tests.support.rollup_reference import metric, mondays

MONDAY = datetime.now(UTC).date() - timedelta(
    days=14 + datetime.now(UTC).date().weekday()
)
DAYS = [MONDAY + timedelta(days=n) for n in range(7)]
CURRENT = {
    *("history_30d.csv", "history_60d.csv", "history_90d.csv"),
    *("forecast.csv", "forecast_totals.csv", "forecast_campaigns.csv"),
}
EVERYTHING = {f"daily/{day}.csv" for day in DAYS} | {f"weekly/{MONDAY}.csv"} | CURRENT
MEMORY = fsspec.filesystem("memory")


@pytest.fixture
def url():
    """A folder in a store of this process; no two tests share one."""
    bucket = f"memory://bucket-{uuid4().hex}"
    yield f"{bucket}/exports"
    if MEMORY.exists(bucket):
        MEMORY.rm(bucket, recursive=True)


@pytest.fixture
def settings(url):
    return load_analysis_settings({"APEX_EXPORT_DIR": url})


@pytest.fixture
def database(database_url, settings):
    """A week of rollups, a row for each day."""
    noon = [datetime(d.year, d.month, d.day, 12, tzinfo=UTC) for d in DAYS]
    insert(database_url, [metric(at) for at in noon])
    with Database(database_url, application_name="test") as opened:
        refresh(opened, settings, Periods(DAILY, DAYS[0], DAYS[-1]))
        refresh(opened, settings, Periods(WEEKLY, *mondays(DAYS[0], DAYS[-1])[:1] * 2))
        yield opened


def export(database, settings, day=DAYS[-1]):
    files = export_files(database, settings, Periods(DAILY, day, day)).files
    assert all(file.is_right for file in files)
    return {file.name for file in files}


def present(url):
    return {path.partition("/exports/")[2] for path in MEMORY.find(url)}


def test_all_files_go_to_the_object_store_and_the_next_run_writes_its_days_alone(
    database, settings, url
):
    assert export(database, settings) == EVERYTHING
    assert present(url) == EVERYTHING | {"schema.json", "exported.json"}
    (row,) = rows(MEMORY.cat_file(f"{url}/daily/{DAYS[0]}.csv"))
    assert row["day"] == str(DAYS[0])
    assert export(database, settings) == CURRENT | {f"daily/{DAYS[-1]}.csv"}


def test_what_is_gone_changed_or_computed_since_is_written_again(
    database, database_url, settings, url
):
    export(database, settings)
    gone, other, newer = (f"daily/{day}.csv" for day in DAYS[:3])
    MEMORY.rm_file(f"{url}/{gone}")
    MEMORY.pipe_file(f"{url}/{other}", b"what?")
    insert(database_url, [metric(datetime(*DAYS[2].timetuple()[:3], 9, tzinfo=UTC))])
    refresh(database, settings, Periods(DAILY, DAYS[2], DAYS[2]))
    assert export(database, settings) >= {gone, other, newer}
    (row,) = rows(MEMORY.cat_file(f"{url}/{newer}"))
    assert row["runs"] == "2"
    assert export(database, settings) == CURRENT | {f"daily/{DAYS[-1]}.csv"}


def test_a_day_whose_runs_are_gone_loses_its_object(
    database, database_url, settings, url
):
    export(database, settings)
    execute(
        database_url,
        f"DELETE FROM campaign_metrics WHERE created_at::date = '{DAYS[-1]}'",
    )
    refresh(database, settings, Periods(DAILY, DAYS[-1], DAYS[-1]))
    export(database, settings)
    assert f"daily/{DAYS[-1]}.csv" not in present(url)


@pytest.mark.parametrize("lost", ["exported.json", "schema.json"])
def test_what_a_killed_run_left_unfinished_is_made_again(database, settings, url, lost):
    export(database, settings)
    MEMORY.rm_file(f"{url}/{lost}")
    assert export(database, settings) == EVERYTHING
    assert export(database, settings) == CURRENT | {f"daily/{DAYS[-1]}.csv"}


def test_rubbish_in_the_description_makes_each_file_again(database, settings, url):
    export(database, settings)
    for text in (b"", b"[]", b'{"files": {"daily/x.csv": 1}}'):
        MEMORY.pipe_file(f"{url}/exported.json", text)
        assert export(database, settings) == EVERYTHING


def test_a_folder_says_whether_a_run_had_written_there(database, settings):
    day = Periods(DAILY, DAYS[0], DAYS[0])
    assert export_files(database, settings, day).was_empty
    assert not export_files(database, settings, day).was_empty


@pytest.fixture(params=["a local folder", "an object store"])
def store(request, tmp_path, url) -> ExportStore:
    is_local = request.param == "a local folder"
    return store_at(None if is_local else url, tmp_path / "exports")


def put(store, name, data):
    with store.replacing(name) as file:
        file.write(data)


def get(store, name):
    with store.reading(name) as file:
        return file.read()


def test_a_reader_meets_the_old_file_until_the_new_one_is_whole(store):
    put(store, "daily/one.csv", b"old")
    with store.replacing("daily/one.csv") as file:
        file.write(b"half")
        file.flush()
        assert get(store, "daily/one.csv") == b"old"
    assert get(store, "daily/one.csv") == b"half"


def test_a_file_that_fails_halfway_changes_nothing(store):
    put(store, "daily/one.csv", b"old")
    with pytest.raises(TypeError), store.replacing("daily/one.csv") as file:
        file.writelines([b"half", None])
    assert get(store, "daily/one.csv") == b"old"
    with pytest.raises(KeyError), store.replacing("daily/two.csv"):
        raise KeyError
    with pytest.raises(FileNotFoundError):
        get(store, "daily/two.csv")


def test_a_store_knows_when_a_file_was_computed(store):
    at = datetime(2026, 11, 25, 9, 30, 0, 250_001, tzinfo=UTC)
    assert store.computed_at("daily/one.csv") is None
    with store.replacing("daily/one.csv", at) as file:
        file.write(b"1")
    store.finish()
    assert store.computed_at("daily/one.csv") == at
    store.remove("daily/one.csv")
    assert store.computed_at("daily/one.csv") is None
    store.remove("daily/one.csv")


def test_a_run_forgets_nothing_that_another_noted_meanwhile(url):
    at = datetime(2026, 11, 25, tzinfo=UTC)
    one, other = ObjectStore(url), ObjectStore(url)
    for store, name in ((one, "daily/1.csv"), (other, "daily/2.csv")):
        assert store.computed_at(name) is None
        with store.replacing(name, at) as file:
            file.write(b"1")
    one.finish()
    other.finish()
    later = ObjectStore(url)
    assert later.computed_at("daily/1.csv") == later.computed_at("daily/2.csv") == at


def test_any_range_goes_to_the_object_store_as_csv_or_parquet(
    database, database_url, settings, url
):
    selection = select(settings, "raw")
    place, written = export_on_request(database, settings, selection, compress=True)
    assert place == f"{url}/on_request/raw_oldest_newest_UTC.csv.gz"
    assert written.rows == 7
    assert MEMORY.size(place) == written.size
    months = export_months_on_request(database, settings, select(settings, "daily"))
    frames = [pd.read_parquet(BytesIO(MEMORY.cat_file(m.place))) for m in months]
    assert pd.concat(frames)["runs"].sum() == 7


def test_months_in_the_object_store_are_kept_up_to_date(database, settings, url):
    settings = replace(settings, export_parquet=True)
    months = {name for name in export(database, settings) if "parquet" in name}
    assert months == {name for name in present(url) if "parquet" in name} != set()
    MEMORY.rm_file(f"{url}/{max(months)}")
    again = {name for name in export(database, settings) if "parquet" in name}
    assert again == {max(months)}


def test_a_url_of_files_is_a_folder_of_this_machine(database, tmp_path):
    folder = tmp_path / "with space"
    settings = load_analysis_settings({"APEX_EXPORT_DIR": folder.as_uri()})
    assert (settings.export_dir, settings.export_url) == (folder, None)
    assert isinstance(store_at(None, settings.export_dir), LocalStore)
    export(database, settings)
    assert (folder / "schema.json").is_file()


def test_an_adapter_that_is_not_installed_is_named(monkeypatch):
    absent = {"class": "apex_absent.Store", "err": "not there"}
    for scheme, words in (("s3", r"extra s3: .*\[s3\]"), ("lost", "beside fsspec")):
        monkeypatch.setitem(known_implementations, scheme, absent)
        with pytest.raises(ConfigError, match=words):
            ObjectStore(f"{scheme}://bucket/folder")
    with pytest.raises(ConfigError, match="nothing:// is unknown"):
        ObjectStore("nothing://bucket")


class Refusing(fsspec.AbstractFileSystem):  # type: ignore[misc]  # ships no types
    """A store that takes nothing."""

    protocol = "refusing"

    def put_file(self, *_, **__):
        raise RuntimeError("The account is disabled.")

    def _open(self, path, *_, **__):
        raise FileNotFoundError(path)

    def ls(self, path, *_, **__):
        raise PermissionError("Forbidden")


@pytest.fixture
def refusing():
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    return "refusing://bucket/exports"


def test_a_store_that_refuses_is_one_failure_with_its_remedy(database, refusing):
    store = ObjectStore(refusing)
    with pytest.raises(
        ApexError, match=r"daily/1.csv cannot be used: The account is disabled\. Check"
    ):
        put(store, "daily/1.csv", b"1")
    settings = load_analysis_settings({"APEX_EXPORT_DIR": refusing})
    with pytest.raises(ApexError, match="cannot be used"):
        export(database, settings)


def test_a_full_disk_under_the_temporary_files_is_named(url):
    store = ObjectStore(url)
    with (
        pytest.raises(ApexError, match="No space left on device"),
        store.replacing("a"),
    ):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "text",
    [
        "s3://",
        "s3:///folder",
        "s3://key:secret@bucket/folder",
        "abfs://container/folder?sv=2026&sig=secret",
        "file://other-host/exports",
    ],
)
def test_a_url_that_names_no_folder_is_refused_without_its_secret(text):
    with pytest.raises(ConfigError, match="APEX_EXPORT_DIR must look like") as caught:
        load_analysis_settings({"APEX_EXPORT_DIR": text})
    assert "secret" not in str(caught.value)


def test_tenants_share_no_folder_of_an_object_store(url):
    found = load_analysis_settings({"APEX_EXPORT_DIR": url, "APEX_TENANT": "acme"})
    assert found.export_url == f"{url}/tenants/acme"
