"""The quarantine in Dagster: its asset, its check, and the job with the form."""

from datetime import UTC, datetime

import dagster as dg
import pytest

from apex_pipeline.definitions import defs
from apex_pipeline.errors import ConfigError
from apex_pipeline.flags_and_launchpad_forms.quarantine_form import QuarantineForm
from apex_pipeline.flags_and_launchpad_forms.sync_form import SyncForm
from apex_pipeline.metrics import Rejection
from apex_pipeline_tests.support.dagster_runs import failure, output
from apex_pipeline_tests.support.ends import (
    campaign_row,
    delivered,
    environment,
    execute,
    insert,
    marked,
    query,
)
from apex_pipeline_tests.support.spiteful_text import SPITEFUL, shown_in_dagster


@pytest.fixture
def instance(monkeypatch, emulator, database_url, emptied_instance, tmp_path):
    """An instance, in the environment of a configured process."""
    for name, value in environment(emulator, database_url, tmp_path).items():
        monkeypatch.setenv(name, value)
    return emptied_instance


@pytest.fixture
def run(instance):
    def start(job, op, **config):
        return (
            defs()
            .resolve_job_def(job)
            .execute_in_process(
                instance=instance,
                run_config={"ops": {op: {"config": config}}},
                raise_on_error=False,
            )
        )

    return start


@pytest.fixture
def tend(run):
    return lambda **config: run("release_quarantine", "quarantine", **config)


@pytest.fixture
def sync(run):
    return lambda **config: run("sync_campaign_metrics", "sync", **config)


@pytest.fixture
def rows(store, database_url):
    """Two rows that are too long, and one that was refused for something else."""
    written = [campaign_row(phase="x" * n) for n in (17, 18)] + [campaign_row()]
    insert(database_url, written)
    ids = [str(row["id"]) for row in written]
    store.quarantine(
        [
            Rejection(
                one, "invalid", f"phase is {n} characters long; the column holds 16"
            )
            for n, one in enumerate(ids[:2], 17)
        ]
        + [
            Rejection(ids[2], "0x80044330", "apex_costusd is outside the valid range"),
        ],
        datetime.now(UTC),
    )
    return ids


def test_a_sync_shows_the_quarantine_as_an_asset_with_a_table(
    sync, instance, rows, database_url
):
    insert(database_url, [campaign_row(phase="x" * 30)])
    assert sync().success
    check, metadata = shown_in_dagster(instance)
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert metadata["dagster/row_count"].value == 4
    first, second = (record.data for record in metadata["causes"].records)
    assert (first["code"], first["rows"]) == ("invalid", 3)
    assert first["cause"].startswith("phase is … characters long")
    assert set(rows[:2]) <= set(first["such_as"].split(", "))
    assert first["next_attempt"].endswith("UTC")
    assert second["code"] == "0x80044330"


def test_a_launch_without_a_word_lists_and_changes_nothing(
    tend, rows, instance, database_url
):
    before = query(database_url, "SELECT * FROM campaign_metrics_quarantine")
    records = output(tend())["rows"].records
    assert {record.data["id"] for record in records} == set(rows)
    assert query(database_url, "SELECT * FROM campaign_metrics_quarantine") == before
    check, _ = shown_in_dagster(instance)
    assert check.metadata["rows_quarantined"].value == 3


def test_the_list_is_by_row_or_by_cause_and_in_pages(tend, rows):
    (cause, other) = output(tend(by_cause=True))["causes"].records
    assert (cause.data["rows"], cause.data["code"]) == (2, "invalid")
    assert other.data["code"] == "0x80044330"
    pages = [output(tend(limit=2, offset=at)) for at in (0, 2, 4)]
    listed = [r.data["id"] for page in pages[:2] for r in page["rows"].records]
    assert sorted(listed) == sorted(rows)
    assert pages[2]["rows_found"].value == 0
    assert failure(tend(limit=0)).startswith("`limit` must be 1 to 1000")


def test_one_row_is_shown_column_by_column(tend, rows):
    shown = output(tend(action="show", ids=[rows[1]]))
    wrong = {
        record.data["column"]: record.data["wrong"]
        for record in shown["row_1_columns"].records
        if record.data["wrong"]
    }
    assert wrong == {"phase": "is 18 characters long; the column holds 16"}


def test_a_cause_is_mended_released_and_delivered(
    tend, sync, rows, emulator, database_url, instance
):
    execute(database_url, "UPDATE campaign_metrics SET phase = '5'")
    result = tend(action="release", code="invalid", matching="phase")
    assert output(result)["rows_released"].value == 2
    assert sync().success
    assert delivered(emulator) == marked(database_url) == set(rows[:2])
    assert not shown_in_dagster(instance)[0].passed


def test_dropped_rows_alarm_no_more_and_come_back(tend, rows, instance):
    told = failure(tend(action="drop", all_rows=True))
    assert told.startswith("Give a reason")
    result = tend(action="drop", all_rows=True, reason="a test")
    assert output(result)["rows_dropped"].value == 3
    check, metadata = shown_in_dagster(instance)
    assert check.passed
    assert metadata["rows_dropped"].value == 3
    by = {record.data["dropped_by"] for record in metadata["dropped"].records}
    assert by == {f"Dagster run {result.run_id[:8]}"}

    assert output(tend(action="release", ids=rows[:1]))["rows_released"].value == 1
    assert not shown_in_dagster(instance)[0].passed
    result = tend(action="release", all_rows=True, dropped=True)
    assert output(result)["rows_released"].value == 2


def test_rubbish_in_the_launchpad_fails_the_run_with_one_sentence(tend, rows):
    assert failure(tend(action="release")).startswith("Select rows in one way")
    told = failure(tend(action="release", ids=[rows[0], "nobody"]))
    assert told.startswith("Not in quarantine: 'nobody'.")


def test_a_slice_without_a_row_says_so(sync, instance):
    """A campaign with a typing error, perhaps."""
    result = sync(campaign="nope")
    note = instance.get_run_by_id(result.run_id).tags["apex/slice"]
    assert note.startswith("no row is in the slice (campaign nope")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"action": "delete"}, "`action` must be list, show, release, drop."),
        ({"action": "show"}, "show needs the `ids`"),
        ({"action": "release", "ids": ["a"], "all_rows": True}, "Select rows"),
        ({"action": "release", "ids": ["a\0"]}, "'a\\x00' contains a character"),
    ],
)
def test_what_the_form_asks_for_has_to_make_sense(config, told):
    with pytest.raises(ConfigError) as caught:
        QuarantineForm(**config).selection()
    assert str(caught.value).startswith(told)


def test_what_is_typed_into_the_form_is_a_value(tend, rows, database_url):
    text = SPITEFUL[0]
    assert "rows_found" in output(tend(code=text, matching=text))
    tend(action="drop", ids=rows[:1], reason=text, decided_by=text)
    kept = query(
        database_url,
        "SELECT drop_reason, dropped_by FROM campaign_metrics_quarantine"
        " WHERE dropped_at IS NOT NULL",
    )
    assert kept == [(text, text)]


def test_a_slice_is_sent_again_from_the_form(sync, instance, emulator, database_url):
    insert(database_url, [campaign_row(created_at=f"2026-10-0{n}") for n in (1, 2, 3)])
    sync()
    execute(database_url, "UPDATE campaign_metrics SET tokens_in = 7777")
    part = {"since": "2026-10-02", "until": "2026-10-03T00:00:00Z"}

    result = sync(**part, dry_run=True)
    note = instance.get_run_by_id(result.run_id).tags["apex/skipped"]
    assert "1 rows are exported, 0 pending, 0 in quarantine, 0 dropped" in note
    assert "1 would be sent, 0 of them invalid" in note

    result = sync(**part)
    assert [r["apex_tokensin"] for r in emulator.records()].count(7777) == 1
    tags = instance.get_run_by_id(result.run_id).tags
    assert tags["apex/slice"].endswith("is done")
    keys = {
        e.asset_key.to_user_string() for e in result.get_asset_materialization_events()
    }
    assert "pending_campaign_metrics" not in keys
    assert "dataverse_campaign_metrics" in keys


def test_a_slice_that_is_not_done_says_how_to_go_on(sync, instance, database_url):
    insert(database_url, [campaign_row() for _ in range(3)])
    result = sync(since="2026-10-01", limit=1)
    told = instance.get_run_by_id(result.run_id).tags["apex/slice"]
    assert "2 rows are left; to continue, set exported_before to 2" in told
    before = told.split()[-1]
    result = sync(since="2026-10-01", exported_before=before)
    assert instance.get_run_by_id(result.run_id).tags["apex/slice"].endswith("is done")
    assert len(marked(database_url)) == 3


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"since": "yesterday"}, "`since` must be a date like"),
        ({"until": "'; DROP TABLE x--"}, "`until` must be a date like"),
        (
            {"since": "2026-10-02", "until": "2026-10-01"},
            "`since` must be before `until`.",
        ),
        ({"exported_before": "2026-10-01"}, "`exported_before` continues a slice"),
        ({"campaign": " "}, "`campaign` must not be blank."),
    ],
)
def test_a_slice_in_the_form_has_to_make_sense(config, told):
    with pytest.raises(ConfigError) as caught:
        SyncForm(**config).options()
    assert str(caught.value).startswith(told)
