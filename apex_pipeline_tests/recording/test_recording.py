"""Records written one by one, into tables made by our migrations and by others."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest

import apex_pipeline
from apex_pipeline.errors import (
    ConfigError,
    InvalidRecordError,
    RecordConflictError,
    SchemaMissingError,
)
from apex_pipeline.metrics import CampaignMetric, read_metric
from apex_pipeline.postgres import migrations, pending_rows
from apex_pipeline.postgres.store import connect
from apex_pipeline.recording import record_campaign_metrics
from apex_pipeline_tests.support.campaign_runs import metrics
from apex_pipeline_tests.support.ends import execute, query

COUNT = "SELECT count(*) FROM campaign_metrics"


@pytest.fixture
def write(database_url):
    def call(**overrides):
        return record_campaign_metrics(
            **metrics(**overrides), database_url=database_url
        )

    return call


def at_once(count, call):
    """What each of several threads returned, or the conflict that it met."""
    start = threading.Barrier(count)

    def one(number):
        start.wait()
        try:
            return call(number)
        except RecordConflictError as conflict:
            return conflict

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_a_record_is_a_pending_row_with_its_success_rate_and_the_time(
    write, database_url
):
    recorded = write()
    assert recorded.created
    ((key, rate, cost, exported, age),) = query(
        database_url,
        "SELECT id, success_rate_pct, cost_usd, exported_at, now() - created_at"
        " FROM campaign_metrics",
    )
    assert (key, rate, cost) == (recorded.id, Decimal("80.00"), Decimal("0.00348"))
    assert exported is None
    assert timedelta(0) <= age < timedelta(minutes=1)


def test_without_id_or_key_each_call_is_a_new_row(write, database_url):
    assert write().id != write().id
    assert query(database_url, COUNT) == [(2,)]


@pytest.mark.parametrize(
    "identity",
    [
        {"id": "3F2B0000-0000-4000-8000-00000000000A"},
        {"id": UUID(int=99)},
        {"id": "run 7, phase 2"},
        {"idempotency_key": "run 7, phase 2"},
        {"idempotency_key": str(UUID(int=99))},
    ],
)
def test_a_repeat_writes_nothing_and_has_the_same_id(write, database_url, identity):
    first, again = write(**identity), write(**identity)
    assert (first.created, again.created) == (True, False)
    assert first.id == again.id
    assert query(database_url, COUNT) == [(1,)]


def test_the_same_key_with_other_values_is_a_conflict_that_names_them(
    write, database_url
):
    write(idempotency_key="k", created_at="2026-01-01T00:00:00Z")
    with pytest.raises(RecordConflictError) as conflict:
        write(
            idempotency_key="k",
            tokens_in=1501,
            cost_usd=0.00349,
            created_at="2026-01-01T00:00:00.000001Z",
        )
    assert conflict.value.fields == ("tokens_in", "cost_usd", "created_at")
    assert "tokens_in, cost_usd, created_at" in str(conflict.value)
    assert query(database_url, "SELECT tokens_in FROM campaign_metrics") == [(1500,)]


def test_a_repeat_may_leave_out_what_was_computed(write):
    write(id="k", success_rate_pct=80)
    assert not write(id="k").created
    assert not write(id="k", cost_usd=Decimal("0.0034800")).created


def test_a_repeat_of_a_delivered_row_is_still_a_repeat(write, database_url):
    write(id="k")
    execute(database_url, "UPDATE campaign_metrics SET exported_at = now()")
    assert not write(id="k").created
    assert query(
        database_url, "SELECT exported_at IS NOT NULL FROM campaign_metrics"
    ) == [(True,)]


def test_of_writers_at_once_with_one_key_one_writes(write, database_url):
    outcomes = at_once(6, lambda _: write(idempotency_key="k"))
    assert sum(o.created for o in outcomes) == 1
    assert len({o.id for o in outcomes}) == 1
    assert query(database_url, COUNT) == [(1,)]


def test_of_writers_at_once_with_other_values_all_but_one_are_told(write, database_url):
    outcomes = at_once(4, lambda n: write(idempotency_key="k", tokens_in=n))
    told = [o.fields for o in outcomes if isinstance(o, RecordConflictError)]
    assert told == [("tokens_in",)] * 3


def test_of_writers_at_once_one_writes_where_the_table_has_no_key(write, database_url):
    execute(
        database_url,
        "ALTER TABLE campaign_metrics DROP CONSTRAINT campaign_metrics_pkey",
    )
    outcomes = at_once(6, lambda _: write(idempotency_key="k"))
    assert sum(o.created for o in outcomes) == 1
    assert query(database_url, COUNT) == [(1,)]


def test_nothing_is_written_when_anything_is_wrong(write, database_url):
    with pytest.raises(InvalidRecordError) as error:
        write(phase="x" * 17, tokens_in=-1, cost_usd=float("nan"), agents_total=3)
    assert error.value.problems == (
        "phase is 17 characters long; the column holds 16",
        "tokens_in is -1; the column holds 0 to 2147483647",
        "cost_usd is NaN; the column holds finite numbers",
        "agents_successful is 4, more than agents_total, 3",
    )
    assert query(database_url, COUNT) == [(0,)]


def test_the_limits_are_those_of_the_table_too(write):
    with pytest.raises(InvalidRecordError) as error:
        write(campaign_id="c-1", cost_usd=100_000)
    assert error.value.problems == (
        "campaign_id is not a UUID, which the table's column requires",
        "cost_usd is 100000; the column holds 0 to 99999.99999",
    )


@pytest.mark.parametrize(
    ("constraint", "told"),
    [
        ("CHECK (tokens_in < 1000)", "violates check constraint"),
        ("FOREIGN KEY (campaign_id) REFERENCES campaign", "is not present in table"),
    ],
)
def test_a_constraint_of_somebody_elses_is_told_like_any_other_problem(
    write, database_url, constraint, told
):
    execute(database_url, "CREATE TABLE campaign (id uuid PRIMARY KEY)")
    execute(
        database_url, f"ALTER TABLE campaign_metrics ADD CONSTRAINT theirs {constraint}"
    )
    with pytest.raises(InvalidRecordError, match=told):
        write()


def test_a_row_that_another_unique_constraint_keeps_out_is_no_repeat(
    write, database_url
):
    execute(database_url, "ALTER TABLE campaign_metrics ADD UNIQUE (run_id, phase)")
    write(id="one")
    with pytest.raises(RecordConflictError, match="unique constraint") as conflict:
        write(id="two")
    assert conflict.value.fields == ()


def test_an_adopted_table_takes_records_that_the_sync_can_read(migrated_adopted_url):
    """Text for uuid, floats for numerics, times without zone: read as they were meant."""
    execute(migrated_adopted_url, "DELETE FROM campaign_metrics")
    created = datetime(2026, 1, 1, 3, 4, 5, 678901, timezone(timedelta(hours=9)))
    values = metrics(
        cost_usd=Decimal("99999.99999"), success_rate_pct=66.67, created_at=created
    )
    record_campaign_metrics(**values, id="k", database_url=migrated_adopted_url)
    recorded = record_campaign_metrics(
        **values, idempotency_key="k", database_url=migrated_adopted_url
    )
    assert not recorded.created
    with pytest.raises(RecordConflictError) as conflict:
        record_campaign_metrics(
            **values | {"tokens_in": 7}, id="k", database_url=migrated_adopted_url
        )
    assert conflict.value.fields == ("tokens_in",)
    with connect(migrated_adopted_url) as store:
        (row,) = store.ask(pending_rows.page, None, 10)
    metric = read_metric(row.values)
    assert isinstance(metric, CampaignMetric), metric
    assert metric.key == str(recorded.id)
    assert '"apex_costusd":99999.99999,' in metric.fields
    assert '"apex_successrate":66.67,' in metric.fields
    assert '"apex_createdat":"2025-12-31T18:04:05Z"' in metric.fields


def test_the_present_is_the_same_instant_in_a_column_without_zone(migrated_adopted_url):
    name = query(migrated_adopted_url, "SELECT current_database()")[0][0]
    execute(migrated_adopted_url, f"ALTER DATABASE {name} SET TimeZone = 'Asia/Tokyo'")
    recorded = record_campaign_metrics(**metrics(), database_url=migrated_adopted_url)
    ((age,),) = query(
        migrated_adopted_url,
        "SELECT extract(epoch FROM now()) - extract(epoch FROM created_at)"
        f" FROM campaign_metrics WHERE id::text = '{recorded.id}'",
    )
    assert 0 <= age < 60


def test_an_id_that_stands_there_in_capitals_is_there(empty_database_url):
    execute(
        empty_database_url,
        "CREATE TABLE campaign_metrics (id text PRIMARY KEY, campaign_id text)",
    )
    migrations.apply(empty_database_url)
    key = "0b3c8f4e-6f0a-4a3c-9a55-00000000000a"
    values = metrics(id=key, campaign_id="c-1", created_at="2026-01-01T00:00:00Z")
    record_campaign_metrics(**values, database_url=empty_database_url)
    execute(empty_database_url, "UPDATE campaign_metrics SET id = upper(id)")
    again = record_campaign_metrics(**values, database_url=empty_database_url)
    assert (again.id, again.created) == (UUID(key), False)
    assert query(empty_database_url, COUNT) == [(1,)]


def test_a_clock_that_runs_a_little_ahead_is_no_reason_to_refuse(write):
    now = datetime.now(UTC)
    assert write(created_at=now + timedelta(minutes=4)).created
    with pytest.raises(InvalidRecordError, match="created_at lies in the future"):
        write(created_at=now + timedelta(minutes=6))


def test_without_a_database_the_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("APEX_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(ConfigError, match="apex up"):
        record_campaign_metrics(**metrics())


def test_without_the_schema_the_error_says_what_to_run(empty_database_url):
    with pytest.raises(SchemaMissingError, match="apex provision database"):
        record_campaign_metrics(**metrics(), database_url=empty_database_url)


def test_importing_the_package_loads_no_database_driver():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, apex_pipeline; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {"sqlalchemy", "psycopg", "decimal"}.isdisjoint(loaded)
    assert apex_pipeline.record_campaign_metrics is record_campaign_metrics
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(apex_pipeline, "nonsense")  # noqa: B009  mypy knows that it is not there
