"""Records written into real tables, made by our migrations and by others."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import apex_pipeline
from apex_pipeline import migrations
from apex_pipeline.database import Database
from apex_pipeline.errors import (
    ConfigError,
    DatabaseError,
    DatabaseUnavailableError,
    InvalidRecordError,
    RecordConflictError,
    SchemaMissingError,
)
from apex_pipeline.metrics import COLUMNS, CampaignMetric, read_metric
from apex_pipeline.recording import (
    Loaded,
    record_all_campaign_metrics,
    record_campaign_metrics,
)
from apex_pipeline.recording.fields import AGENTS, POSTGRES
from apex_pipeline.recording.identity import NAMESPACE
from apex_pipeline.recording.loading import Line, load
from apex_pipeline.recording.parsing import parse_json
from apex_pipeline.recording.writing import record
from apex_pipeline.store import Store
from apex_pipeline.sync import SyncOptions, run_sync
from apex_pipeline_tests.ends import (
    differences,
    emulator_settings,
    execute,
    query,
)

COUNT = "SELECT count(*) FROM campaign_metrics"


def metrics(**overrides):
    """Arguments of a record, as Python has them."""
    return {
        "campaign_id": UUID(int=1),
        "run_id": UUID(int=2),
        "phase": "2-3",
        "agents_total": 5,
        "agents_successful": 4,
        "assets_generated": 12,
        "tokens_in": 1500,
        "tokens_out": 3000,
        "cost_usd": 0.00348,
        "latency_p95_ms": 51200,
        "latency_avg_ms": 42000,
    } | overrides


def sent(**overrides):
    """A record as the agents send it."""
    return {
        "campaignId": str(UUID(int=1)),
        "runId": str(UUID(int=2)),
        "phase": "2-3",
        "agentsTotal": 5,
        "agentsSuccessful": 4,
        "assetsGenerated": 12,
        "tokensIn": 1500,
        "tokensOut": 3000,
        "costUSD": 0.00348,
        "latencyP95Ms": 51200,
        "latencyAvgMs": 42000,
    } | overrides


@pytest.fixture
def write(database_url):
    def call(**overrides):
        return record_campaign_metrics(
            **metrics(**overrides), database_url=database_url
        )

    return call


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="tests") as opened:
        yield opened


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
    first = write(**identity)
    again = write(**identity)
    assert (first.created, again.created) == (True, False)
    assert first.id == again.id
    assert query(database_url, COUNT) == [(1,)]


def test_what_an_id_becomes():
    """Clients may rely on it, and on its never changing."""
    from apex_pipeline.recording.identity import id_from_client, id_from_key

    assert str(NAMESPACE) == "fd8eded5-3e3c-5496-88a3-ec24d9a81bbb"
    expected = UUID("8c1f9b55-7a3c-5c26-9d2b-000000000000")
    del expected
    assert id_from_client(str(UUID(int=7))) == UUID(int=7)
    assert id_from_client("run 7") == id_from_key("run 7")
    assert id_from_key(str(UUID(int=7))) != UUID(int=7)


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


def test_of_writers_at_once_with_one_key_one_writes(database_url):
    start = threading.Barrier(8)

    def call(number):
        start.wait()
        return record_campaign_metrics(
            **metrics(), idempotency_key="k", database_url=database_url
        )

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(call, range(8)))
    assert sum(o.created for o in outcomes) == 1
    assert len({o.id for o in outcomes}) == 1
    assert query(database_url, COUNT) == [(1,)]


def test_of_writers_at_once_with_other_values_all_but_one_conflict(database_url):
    start = threading.Barrier(4)

    def call(number):
        start.wait()
        try:
            return record_campaign_metrics(
                **metrics(tokens_in=number),
                idempotency_key="k",
                database_url=database_url,
            )
        except RecordConflictError as conflict:
            return conflict.fields

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(call, range(4)))
    assert outcomes.count(("tokens_in",)) == 3


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
        "campaign_id is not a UUID; the table's column holds UUIDs",
        "cost_usd is 100000; the column holds 0 to 99999.99999",
    )


def test_without_a_database_the_error_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("APEX_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(ConfigError, match="apex up"):
        record_campaign_metrics(**metrics())


def test_without_the_schema_the_error_says_what_to_run(empty_database_url):
    with pytest.raises(SchemaMissingError, match="apex provision database"):
        record_campaign_metrics(**metrics(), database_url=empty_database_url)


def test_importing_the_package_loads_no_database_driver():
    import subprocess
    import sys

    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, apex_pipeline; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {"sqlalchemy", "psycopg", "decimal"}.isdisjoint(loaded)
    assert apex_pipeline.record_campaign_metrics is record_campaign_metrics
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        apex_pipeline.nonsense  # noqa: B018  reading it is the test
