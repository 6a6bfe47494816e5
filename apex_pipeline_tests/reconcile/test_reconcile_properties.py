"""All damage is found and nothing else; no answer does harm."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.defs.reconcile.reconciliation import findings_table
from apex_pipeline.errors import ApexError
from apex_pipeline.metrics import PRIMARY_KEY
from apex_pipeline.postgres import stored_pacing
from apex_pipeline.reconcile.comparison_run import run_reconciliation
from apex_pipeline.reconcile.findings import Finding, FindingKind
from apex_pipeline.reconcile.run_report import ReconcileOptions
from apex_pipeline_tests.support.emulator_server import SET
from apex_pipeline_tests.support.ends import (
    campaign_row,
    differences,
    execute,
    insert,
    insert_many,
    query,
)
from apex_pipeline_tests.support.examples import examples
from apex_pipeline_tests.support.hostile import TOKEN, answer
from apex_pipeline_tests.support.hostile_environment import (
    JSON,
    JSON_VERSION,
    elsewhere,
    hostile,
)
from apex_pipeline_tests.support.injected_text import SPITEFUL, TEXT, text_columns
from apex_pipeline_tests.support.reconciling import (
    api,
    database,
    numbered,
    old_flow,
    reconcile,
    report,
    sync,
)

__all__ = [
    "api",
    "database",
    "elsewhere",
    "hostile",
    "reconcile",
    "report",
    "sync",
    "text_columns",
]

UNHURRIED = examples(6)

EXACT = [
    ("cost_usd", "apex_costusd", 2),
    ("tokens_in", "apex_tokensin", 7),
    ("phase", "apex_phase", "changed"),
    ("created_at", "apex_createdat", "2020-01-01T00:00:00Z"),
]
ROW = st.fixed_dictionaries(
    {
        "tokens_in": st.integers(8, 2**31 - 1),
        "cost_usd": st.decimals(3, 99999, places=5),
        "success_rate_pct": st.decimals(0, 100, places=2),
        "phase": st.text("ab'\"%;", min_size=1, max_size=6),
        "created_at": st.timedeltas(timedelta(), timedelta(days=365)).map(
            lambda since: str(datetime(2025, 1, 1, tzinfo=UTC) + since)
        )
        | st.sampled_from(["2025-06-01 12:00:00.9+00", "2025-06-01 12:00:00.1+00"]),
    }
)
DAMAGE = st.sampled_from(["none", "none", "delete", "double", *EXACT])


@pytest.mark.slow
@given(
    plan=st.lists(st.tuples(ROW, DAMAGE), min_size=1, max_size=25),
    unknown=st.integers(0, 3),
    per_window=st.integers(1, 8),
    is_tracked=st.booleans(),
)
@UNHURRIED
def test_the_damage_is_found_exactly_and_repair_and_sync_make_all_equal(
    sync,
    reconcile,
    emulator,
    api,
    database_url,
    plan,
    unknown,
    per_window,
    is_tracked,
):
    clear(database_url)
    for record in emulator.records():
        api.delete(f"{SET}({record[PRIMARY_KEY]})")
    keys = [str(uuid4()) for _ in plan]
    insert(
        database_url,
        [
            campaign_row(id=key, run_id=uuid4(), **row)
            for key, (row, _) in zip(keys, plan, strict=True)
        ],
    )
    assert sync(accept_duplicates=True).failure is None
    if is_tracked:
        _, standing = reconcile(rows_per_window=per_window)
        assert standing.is_settled
    expected: set[tuple[str, str | None, tuple[str, ...]]] = set()
    for key, (_, damage) in zip(keys, plan, strict=True):
        match damage:
            case "delete":
                api.delete(f"{SET}({key})")
                expected.add((FindingKind.MISSING, key, ()))
            case "double":
                other = old_flow(api, database_url, key)
                expected.add((FindingKind.DOUBLE, other, ()))
            case (column, name, value):
                api.patch(f"{SET}({key})", json={name: value})
                expected.add((FindingKind.DIFFERENT, key, (column,)))
    strangers = [
        old_flow(api, database_url, keys[0], apex_runid="x") for _ in range(unknown)
    ]
    expected |= {(FindingKind.UNKNOWN, key, ()) for key in strangers}

    _, standing = reconcile(rows_per_window=per_window)
    assert {
        (each.kind, each.record_id or each.metric_id, each.columns)
        for each in standing.examples
    } == expected

    reconcile(repair=True, rows_per_window=per_window)
    assert sync().failure is None
    assert differences(emulator, database_url) == []
    _, standing = reconcile(full=True, rows_per_window=per_window)
    left = {(each.kind, each.record_id, ()) for each in standing.examples}
    assert left == {
        one for one in expected if one[0] in {FindingKind.DOUBLE, FindingKind.UNKNOWN}
    }


def clear(database_url):
    execute(
        database_url,
        "TRUNCATE campaign_metrics, campaign_metrics_quarantine, adopted_record,"
        " foreign_record, reconciliation_finding, reconciliation_progress",
    )


@given(texts=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=8))
@UNHURRIED
def test_spiteful_text_is_matched_as_text_and_shown_as_such(
    sync, reconcile, emulator, api, database_url, text_columns, texts
):
    clear(database_url)
    execute(database_url, "DELETE FROM dataverse_target")
    emulator.reset()
    insert(
        database_url,
        [
            campaign_row(
                campaign_id=tsv(campaign),
                run_id=tsv(run),
                phase=tsv(phase)[:8],
                created_at=f"2026-10-30 13:00:{number:02}+00",
            )
            for number, (campaign, run, phase) in enumerate(texts)
        ],
    )
    rows = query(database_url, "SELECT id::text FROM campaign_metrics")
    for (row,) in rows:
        old_flow(api, database_url, row)
    run, standing = reconcile(adopt=True)
    assert (run.adopted, standing.is_settled) == (len(texts), True)
    assert sync().delivered == 0
    assert query(database_url, "SELECT count(*) FROM campaign_metrics") == [
        (len(texts),)
    ]
    assert all(
        "$filter=apex_phase" not in each["query"] for each in emulator.requests()
    )


def tsv(text):
    """As COPY takes it: on one line, nothing escaped."""
    return "".join(each for each in text if each.isprintable() and each != "\\").strip()


@pytest.mark.parametrize("text", SPITEFUL)
def test_a_finding_is_shown_without_anything_that_markdown_acts_on(text):
    """A row's id may be any text in a table created by others."""
    now = datetime.now(UTC)
    table = findings_table([Finding(FindingKind.MISSING, f"|{text}|", None, (), now)])
    assert text not in table
    assert table.splitlines()[-1].count("|") == 5


IMPATIENT = ReconcileOptions(
    time_budget=2.0, retry=RetryPolicy(attempts=2, first_wait=0.001, grace=0.2)
)


@pytest.fixture
def against(hostile, store, database, database_url, tmp_path):
    """Runs a reconciliation of thirty rows against the given answers of the server."""
    insert_many(database_url, 30)
    execute(database_url, "UPDATE campaign_metrics SET exported_at = now()")

    def run(says, **options):
        hostile.says = says
        hostile.asked.clear()
        execute(database_url, "DELETE FROM reconciliation_progress")
        store.ask(stored_pacing.save_pacing, f"{hostile.url} client", {}, None)
        return run_reconciliation(
            database, hostile.settings(), tmp_path / "tokens.json", IMPATIENT
        )

    return run


RECORD = st.dictionaries(
    st.sampled_from(
        [PRIMARY_KEY, "apex_phase", "apex_costusd", "apex_createdat", "id"]
    ),
    JSON
    | st.sampled_from(
        [str(numbered(1)), "\ud800\0", 1e300, "9999-12-31T23:59:59-23:59", "0001-01-01"]
    ),
    max_size=5,
)
PAGES = st.fixed_dictionaries(
    {"value": st.lists(RECORD, max_size=3)},
    optional={
        "@odata.nextLink": JSON | st.just("https://["),
        "@odata.deltaLink": JSON | st.just("https://["),
    },
)


@given(document=PAGES | JSON)
@examples(12)
def test_rubbish_ends_in_a_report(against, document):
    ended = against(lambda _: answer(200, JSON_VERSION, json.dumps(document).encode()))
    assert ended.failure is None or isinstance(ended.failure, ApexError)
    assert TOKEN not in repr(ended)


@pytest.mark.parametrize("link", ["@odata.nextLink", "@odata.deltaLink"])
def test_a_link_to_another_host_is_not_followed(against, hostile, elsewhere, link):
    page = {"value": [], link: f"{elsewhere.url}/api/data/v9.2/{SET}?$deltatoken=1"}
    ended = against(lambda _: answer(200, JSON_VERSION, json.dumps(page).encode()))
    assert "leads to another host" in str(ended.failure)
    assert elsewhere.asked == []


def test_a_link_that_was_tampered_with_where_it_is_kept_is_not_followed(
    report, reconcile, elsewhere, emulator, database_url
):
    reconcile()
    execute(
        database_url,
        f"UPDATE reconciliation_progress SET tracking_link = '{elsewhere.url}/x'",
    )
    assert "leads to another host" in str(report().failure)
    assert elsewhere.asked == []


def test_a_link_that_spells_our_host_in_another_way_is_followed(
    report, reconcile, emulator, database_url
):
    reconcile()
    capitals = emulator.url.upper().replace("HTTPS", "https")
    execute(
        database_url,
        "UPDATE reconciliation_progress SET tracking_link = "
        f"replace(tracking_link, '{emulator.url}', '{capitals}')",
    )
    ended = report()
    assert ended.failure is None
    assert ended.run is not None


def test_a_table_that_is_not_tracked_is_compared_as_a_whole_each_time(
    sync, reconcile, emulator, database_url
):
    insert_many(database_url, 50)
    sync()
    for _ in range(2):
        # The first request is the one that asks for tracking.
        emulator.fault("status", status=400, message="It isn't enabled for tracking.")
        run, standing = reconcile(rows_per_window=10)
        assert (run.rows_compared, run.is_complete) == (50, True)
        assert "isn't enabled" in str(run.note)
        assert standing.is_settled
