"""The replaced flow's records are adopted for their rows, and no row is sent twice."""

import os

import pytest

from apex_pipeline.audit import trail
from apex_pipeline.audit.intents import close_abandoned
from apex_pipeline.audit.verification import verify
from apex_pipeline.errors import CutoverError
from apex_pipeline.postgres.database import Database
from apex_pipeline.reconcile.comparison_run import run_reconciliation
from apex_pipeline.reconcile.findings import FindingKind
from apex_pipeline.reconcile.run_report import ReconcileOptions
from apex_pipeline.settings import load_settings
from apex_pipeline_tests.support.crashing import Death, crash
from apex_pipeline_tests.support.emulator_server import SET
from apex_pipeline_tests.support.ends import (
    campaign_row,
    environment,
    execute,
    insert,
    insert_many,
    marked,
    query,
)
from apex_pipeline_tests.support.reconciling import (
    api,
    as_record,
    database,
    found,
    ids,
    numbered,
    old_flow,
    reconcile,
    report,
    sync,
)

__all__ = ["api", "database", "reconcile", "report", "sync"]


def rows(count):
    """Rows that no two records match, oldest first."""
    return [
        campaign_row(
            id=numbered(number),
            run_id=numbered(1000 + number),
            created_at=f"2026-10-30 13:00:{number:02}.75+00",
        )
        for number in range(1, count + 1)
    ]


def adopted(database_url):
    return {
        str(metric): str(record)
        for metric, record in query(
            database_url, "SELECT metric_id, record_id FROM adopted_record"
        )
    }


def test_records_of_the_old_flow_are_adopted_and_the_rest_is_sent(
    sync, reconcile, emulator, api, database_url
):
    """Marked by that flow or not, rounded or truncated: each record matches its row."""
    insert(database_url, rows(5))
    first, second, third, fourth, fifth = ids(database_url)
    made = {
        first: old_flow(api, database_url, first),
        second: old_flow(
            api, database_url, second, apex_createdat="2026-10-30T13:00:03Z"
        ),
        third: old_flow(api, database_url, third),
        fourth: old_flow(api, database_url, fourth, apex_costusd=99),
    }
    execute(
        database_url,
        f"UPDATE campaign_metrics SET exported_at = now() WHERE id = '{first}'",
    )
    refused = sync()
    assert isinstance(refused.failure, CutoverError)
    assert "apex reconcile --adopt" in str(refused.failure)
    _, standing = reconcile()
    assert found(standing) == {(FindingKind.OTHER_FLOW, key) for key in made.values()}

    run, standing = reconcile(adopt=True)
    assert (run.adopted, run.note) == (4, None)
    assert adopted(database_url) == made
    # The others' records differ from them in a value, so the sync writes those.
    assert marked(database_url) == {first, third}
    assert found(standing) == set()
    assert sync().delivered == 3
    assert len(emulator.records()) == 5
    again, _ = reconcile(adopt=True, repair=True)
    assert (again.adopted, again.repaired) == (0, 0)
    assert reconcile(full=True)[1].is_settled
    assert marked(database_url) == {first, second, third, fourth, fifth}


def test_what_fits_more_than_once_is_listed_and_nothing_is_sent(
    sync, reconcile, emulator, api, database_url
):
    insert(database_url, rows(2))
    insert(
        database_url,
        [campaign_row(run_id=numbered(7)), campaign_row(run_id=numbered(7))],
    )
    twice, once, *alike = ids(database_url)
    # Ordered by time, the rows that are alike come first.
    alike, (twice, once) = [twice, once], alike
    copies = [old_flow(api, database_url, twice) for _ in range(2)]
    for_either = old_flow(api, database_url, alike[0])
    settled = old_flow(api, database_url, once)
    run, standing = reconcile(adopt=True)
    assert run.adopted == 1
    assert "not finished" in run.note
    assert adopted(database_url) == {once: settled}
    assert found(standing) == {
        (FindingKind.AMBIGUOUS, key) for key in [*copies, for_either]
    }
    assert isinstance(sync().failure, CutoverError)

    api.delete(f"{SET}({copies[0]})")
    api.delete(f"{SET}({for_either})")
    run, standing = reconcile(adopt=True)
    assert (run.adopted, run.note, standing.is_settled) == (1, None, True)
    assert sync().delivered == 2
    assert len(emulator.records()) == 4


def test_ambiguous_records_keep_their_marked_row_from_being_repaired(
    sync, reconcile, emulator, api, database_url
):
    insert(database_url, rows(1))
    (row,) = ids(database_url)
    copies = [old_flow(api, database_url, row) for _ in range(2)]
    execute(database_url, "UPDATE campaign_metrics SET exported_at = now()")
    run, standing = reconcile(repair=True)
    assert run.repaired == 0
    assert found(standing) == {(FindingKind.AMBIGUOUS, key) for key in copies}
    assert marked(database_url) == {row}


def test_records_that_fit_no_row_are_no_obstacle_once_adopting_has_looked(
    sync, reconcile, emulator, api, database_url
):
    insert(database_url, rows(1))
    stranger = old_flow(api, database_url, ids(database_url)[0], apex_phase="other")
    assert isinstance(sync().failure, CutoverError)
    run, standing = reconcile(adopt=True)
    assert found(standing) == {(FindingKind.UNKNOWN, stranger)}
    assert run.note is None
    assert sync().delivered == 1


def test_a_row_that_has_a_record_of_its_own_keeps_it(
    sync, reconcile, emulator, api, database_url
):
    """The row was sent, but the sync was killed before it marked it."""
    insert(database_url, rows(1))
    (row,) = ids(database_url)
    api.patch(f"{SET}({row})", json=as_record(database_url, row))
    double = old_flow(api, database_url, row)
    run, _ = reconcile(adopt=True)
    assert run.adopted == 0
    assert adopted(database_url) == {}
    assert sync(accept_duplicates=True).delivered == 1
    assert found(reconcile()[1]) == {(FindingKind.DOUBLE, double)}


def test_a_row_whose_adopted_record_is_deleted_gets_one_of_its_own(
    sync, reconcile, emulator, api, database_url
):
    insert(database_url, rows(1))
    (row,) = ids(database_url)
    record = old_flow(api, database_url, row)
    reconcile(adopt=True)
    assert reconcile()[1].is_settled
    api.delete(f"{SET}({record})")
    assert found(reconcile()[1]) == {(FindingKind.MISSING, row)}
    reconcile(repair=True)
    assert adopted(database_url) == {}
    assert sync().delivered == 1
    assert [each["apex_campaignmetricsid"] for each in emulator.records()] == [row]


def test_adopting_takes_rows_out_of_quarantine(reconcile, api, sync, database_url):
    insert(database_url, rows(1))
    (row,) = ids(database_url)
    old_flow(api, database_url, row)
    execute(
        database_url,
        "INSERT INTO campaign_metrics_quarantine VALUES"
        f" ('{row}', 'x', 'x', 1, now(), now(), now())",
    )
    reconcile(adopt=True)
    assert query(database_url, "SELECT * FROM campaign_metrics_quarantine") == []


def test_a_dropped_row_whose_record_differs_stays_dropped(
    reconcile, api, sync, database_url
):
    insert(database_url, rows(1))
    (row,) = ids(database_url)
    record = old_flow(api, database_url, row, apex_costusd=99)
    execute(
        database_url,
        "INSERT INTO campaign_metrics_quarantine (metric_id, code, message, attempts,"
        " first_rejected_at, last_rejected_at, next_attempt_at, dropped_at, dropped_by,"
        f" drop_reason) VALUES ('{row}', 'x', 'x', 1, now(), now(), 'infinity', now(),"
        " 'maria', 'a test')",
    )
    reconcile(adopt=True)
    assert adopted(database_url) == {row: record}
    assert query(
        database_url, "SELECT dropped_by FROM campaign_metrics_quarantine"
    ) == [("maria",)]
    assert sync().delivered == 0
    assert marked(database_url) == set()


class DyingDatabase(Database):
    """A database whose process dies before or after a transaction is committed."""

    def __init__(self, url: str, death: Death) -> None:
        super().__init__(url, application_name="tests")
        self._death = death

    def transact(self, work, *, repeatable=False):
        def dying(connection):
            result = work(connection)
            self._death.at("before_commit")
            return result

        result = super().transact(dying, repeatable=repeatable)
        self._death.at("after_commit")
        return result


def adopt_and_repair(death: Death) -> None:
    settings = load_settings(os.environ)
    with DyingDatabase(settings.database_url, death) as dying:
        run_reconciliation(
            dying,
            settings.dataverse,
            settings.token_cache_path,
            ReconcileOptions(adopt=True, repair=True, rows_per_window=20),
        )


def kill_adopting(step, first, every, emulator, api, database_url, tmp_path):
    """Forty rows; the old flow delivered half of them and marked ten."""
    insert(database_url, rows(40))
    for row in ids(database_url)[:20]:
        old_flow(api, database_url, row)
    execute(
        database_url,
        "UPDATE campaign_metrics SET exported_at = now()"
        " WHERE created_at < '2026-10-30 13:00:11+00'"
        " OR created_at >= '2026-10-30 13:00:31+00'",
    )
    variables = environment(emulator, database_url, tmp_path)
    count = first
    while crash(variables, step, count, adopt_and_repair):
        assert set(adopted(database_url)) <= set(ids(database_url)[:20])
        every_act_has_its_event(database_url)
        count += every
    every_act_has_its_event(database_url)
    return count


def every_act_has_its_event(url):
    """One for each kind of act of a run; together they name all that was done, once."""
    execute(url, "UPDATE audit_intent SET ends_by = now()")
    with Database(url, application_name="tests") as database:
        database.ask(close_abandoned)
        found = database.ask(trail.newest, limit=1000)
        assert database.transact(verify).problems == ()
    rows = [row for each in of_kind(found, "adopt") for row in each["subject"]["rows"]]
    assert sorted(rows) == sorted(adopted(url))
    records = [
        record
        for each in of_kind(found, "adopt")
        for record in each["subject"]["records"]
    ]
    pairs = dict(zip(rows, records, strict=True))
    assert pairs == {row: str(record) for row, record in adopted(url).items()}
    cleared = [
        row for each in of_kind(found, "repair") for row in each["subject"]["rows"]
    ]
    assert len(cleared) == len(set(cleared))
    unmarked = "SELECT CAST(id AS text) FROM campaign_metrics WHERE exported_at IS NULL"
    assert set(cleared) <= {row for (row,) in query(url, unmarked)} | set(rows)
    for each in of_kind(found, "adopt") + of_kind(found, "repair"):
        assert each["counts"]["rows"] == len(each["subject"]["rows"])
        assert each["outcome"] in {"done", "interrupted"}


def of_kind(found, action):
    return [each for each in found if each["action"] == action]


@pytest.mark.slow
@pytest.mark.parametrize("step", ["before_commit", "after_commit"])
def test_adopting_and_repairing_that_is_killed_is_made_good_by_the_next_run(
    step, sync, reconcile, emulator, api, database_url, tmp_path
):
    """Each run is killed a little later than the one before, until one finishes."""
    died_at = kill_adopting(step, 4, 7, emulator, api, database_url, tmp_path)
    assert died_at > 11
    reconcile(adopt=True, repair=True)
    assert len(adopted(database_url)) == 20
    assert sync().failure is None
    assert len(emulator.records()) == 40
    assert marked(database_url) == set(ids(database_url))
    assert reconcile(full=True)[1].is_settled


@pytest.mark.slow
@pytest.mark.parametrize("step", ["before_commit", "after_commit"])
def test_killed_at_each_transaction_it_still_ends_with_every_row_once(
    step, sync, reconcile, emulator, api, database_url, tmp_path
):
    kill_adopting(step, 1, 1, emulator, api, database_url, tmp_path)
    reconcile(adopt=True, repair=True)
    assert sync().failure is None
    assert len(emulator.records()) == 40
    assert reconcile(full=True)[1].is_settled


def test_many_records_are_adopted_in_batches(sync, reconcile, api, database_url):
    insert_many(database_url, 600)
    sync()
    # The same records, as if another flow had made them: the rows have other ids now.
    execute(
        database_url,
        "UPDATE campaign_metrics SET id = gen_random_uuid(), exported_at = NULL;"
        "DELETE FROM dataverse_target",
    )
    run, standing = reconcile(adopt=True)
    assert (run.adopted, standing.is_settled) == (600, True)
    with Database(database_url, application_name="tests") as database:
        (event,) = of_kind(database.ask(trail.newest, limit=100), "adopt")
    assert event["counts"] == {"rows": 600}
    assert event["after"] == {"delivery_allowed": True}
    assert event["outcome"] == "done"
    assert dict(
        zip(event["subject"]["rows"], event["subject"]["records"], strict=True)
    ) == {row: str(record) for row, record in adopted(database_url).items()}
    # Adopted records are no obstacle, even if the decision were forgotten.
    execute(database_url, "DELETE FROM dataverse_target")
    insert(database_url, rows(1))
    assert sync().delivered == 1
