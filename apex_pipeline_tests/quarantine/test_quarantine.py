"""What you see of the rows in quarantine, and can do with them."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.metrics import Rejection
from apex_pipeline.postgres import migrations, pending_rows
from apex_pipeline.postgres.store import connect
from apex_pipeline.quarantine import decisions, listing
from apex_pipeline.quarantine.decisions import Decision, QuarantineSelection
from apex_pipeline_tests.support.ends import campaign_row, execute, insert, query

pytestmark = pytest.mark.any_server

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALL = QuarantineSelection(everything=True)
DROPPED = QuarantineSelection(everything=True, dropped=True)
DECISION = Decision("a test campaign", "ann")


@pytest.fixture
def put_aside(store, database_url):
    """Write a row and put it aside, so that it is not due; returns its id."""

    def put(code="invalid", message="phase is missing", at=None, **columns):
        row = campaign_row(**columns)
        insert(database_url, [row])
        rejection = Rejection(str(row["id"]), code, message)
        store.quarantine([rejection], at or datetime.now(UTC))
        return str(row["id"])

    return put


@pytest.fixture
def text_store(empty_database_url):
    """A store on a table whose ids are text."""
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("CREATE TABLE campaign_metrics (id text PRIMARY KEY)")
    migrations.apply(empty_database_url)
    with connect(empty_database_url) as opened:
        yield opened


def ids(rows):
    return {row.id for row in rows}


def pending(store):
    return ids(store.ask(pending_rows.page, None, 100))


def listed(store, selection=ALL):
    return ids(store.ask(listing.rows, selection, 100))


@pytest.mark.parametrize("spell", [str, lambda i: i.upper(), lambda i: f"{{{i}}}"])
def test_a_released_row_goes_with_the_next_sync_and_keeps_its_attempts(
    store, put_aside, spell
):
    released, waiting = put_aside(), put_aside()

    assert store.release(QuarantineSelection(ids=(spell(released), released))) == 1

    assert pending(store) == {released}
    assert listed(store) == {released, waiting}
    store.quarantine([Rejection(released, "invalid", "again")], datetime.now(UTC))
    ((row, _),) = store.quarantined_row(released)
    assert row.attempts == 2


def test_a_dropped_row_is_never_due_and_alarms_nobody(store, put_aside):
    dropped, waiting = put_aside(), put_aside()

    assert store.drop(QuarantineSelection(ids=(dropped,)), DECISION) == 1

    assert store.ask(decisions.count) == (1, 1)
    assert listed(store) == {waiting}
    (row,) = store.ask(listing.rows, DROPPED, 100)
    assert (row.id, row.next_attempt_at) == (dropped, None)
    assert (row.drop_reason, row.dropped_by) == ("a test campaign", "ann")
    assert row.dropped_at is not None
    store.release(QuarantineSelection(ids=(waiting,)))
    assert pending(store) == {waiting}


def test_a_dropped_row_can_be_brought_back(store, put_aside):
    dropped = put_aside()
    store.drop(QuarantineSelection(ids=(dropped,)), DECISION)

    assert store.release(QuarantineSelection(ids=(dropped,))) == 1

    assert pending(store) == {dropped}
    assert store.ask(decisions.count) == (1, 0)
    ((row, _),) = store.quarantined_row(dropped)
    assert (row.dropped_at, row.dropped_by, row.drop_reason) == (None, None, None)


def test_a_row_that_is_dropped_while_it_is_on_its_way_stays_dropped(store, put_aside):
    dropped = put_aside()
    store.drop(QuarantineSelection(ids=(dropped,)), DECISION)

    store.quarantine([Rejection(dropped, "invalid", "again")], datetime.now(UTC))

    assert store.ask(decisions.count)[1] == 1
    assert pending(store) == set()


def test_a_dropped_row_that_was_delivered_all_the_same_is_gone(store, put_aside):
    dropped = put_aside()
    store.release(QuarantineSelection(everything=True))
    (row,) = store.ask(pending_rows.page, None, 10)
    store.quarantine([Rejection(dropped, "invalid", "again")], datetime.now(UTC))
    store.drop(QuarantineSelection(ids=(dropped,)), DECISION)

    store.mark_exported([row], NOW)

    assert store.ask(decisions.count) == (0, 0)


@pytest.mark.parametrize("unknown", ["nonsense", "", "' OR 1=1 --", str(UUID(int=9))])
@pytest.mark.parametrize("dropping", [False, True])
def test_with_one_unknown_id_nothing_is_done_and_it_is_named(
    store, put_aside, unknown, dropping
):
    known = put_aside()
    selection = QuarantineSelection(ids=(known, unknown))

    with pytest.raises(ApexError) as caught:
        store.drop(selection, DECISION) if dropping else store.release(selection)

    assert repr(unknown) in str(caught.value)
    assert known not in str(caught.value)
    assert pending(store) == set()
    assert store.ask(decisions.count)[1] == 0


def test_all_rows_of_a_cause_are_released_and_no_others(store, put_aside):
    long = {put_aside(message=f"phase is {n} characters long") for n in (17, 30)}
    large = put_aside(message="tokens_in is 5000000000")
    refused = put_aside(code="0x80044331")

    assert store.release(QuarantineSelection(code="INVALID", matching="PHASE is")) == 2
    assert pending(store) == long
    assert store.release(QuarantineSelection(code="0x80044331")) == 1
    assert pending(store) == {*long, refused}
    assert store.release(ALL) == 4
    assert pending(store) == {*long, refused, large}


def test_a_cause_that_no_row_has_is_an_error_for_it_is_mistyped(store, put_aside):
    put_aside(message="phase is 17 characters long")
    for selection in (
        QuarantineSelection(code="inval"),
        QuarantineSelection(matching="%phase%"),
    ):
        with pytest.raises(ApexError, match="No quarantined row"):
            store.release(selection)


def test_releasing_all_brings_back_what_was_dropped_only_if_told(store, put_aside):
    dropped, waiting = put_aside(), put_aside()
    store.drop(QuarantineSelection(ids=(dropped,)), DECISION)

    assert store.release(ALL) == 1
    assert pending(store) == {waiting}
    assert store.release(DROPPED) == 1
    assert pending(store) == {dropped, waiting}


def test_causes_are_told_apart_by_what_is_wrong_and_not_by_how_much(store, put_aside):
    long = [
        put_aside(
            message=f"phase is {n} characters long; the column holds 16",
            at=NOW + timedelta(minutes=n),
        )
        for n in (20, 17, 31, 18)
    ]
    put_aside(message="cost_usd is -1.5; the column holds 0 to 100000", at=NOW)
    key = uuid4()
    for code in ("0x80040265", "0x80040266"):
        put_aside(code=code, message=f"record {key} of 2026-10-30", at=NOW)

    first, *others = store.ask(listing.causes, ALL, 10)

    assert (first.code, first.count) == ("invalid", 4)
    assert first.message == "phase is … characters long; the column holds …"
    assert first.oldest_rejected_at == NOW + timedelta(minutes=17)
    assert first.next_attempt_at == NOW + timedelta(minutes=22)
    assert first.example_ids == (long[1], long[3], long[0])
    assert [(cause.code, cause.message) for cause in others] == [
        ("0x80040265", "record … of …"),
        ("0x80040266", "record … of …"),
        ("invalid", "cost_usd is …; the column holds … to …"),
    ]
    assert store.ask(listing.causes, ALL, 2, 1) == others[:2]
    assert len(store.ask(listing.causes, QuarantineSelection(code="invalid"), 10)) == 2
    assert store.ask(listing.causes, DROPPED, 10) == []


def test_pages_of_the_list_cover_each_row_once_the_oldest_first(store, put_aside):
    rows = [put_aside(at=NOW + timedelta(minutes=n // 3)) for n in range(7)]

    found = [
        row for n in range(0, 8, 2) for row in store.ask(listing.rows, ALL, 2, offset=n)
    ]

    assert sorted(row.id for row in found) == sorted(rows)
    assert [row.first_rejected_at for row in found] == sorted(
        row.first_rejected_at for row in found
    )


def test_what_was_mended_by_hand_is_in_quarantine_no_more(
    store, put_aside, database_url
):
    """A row that was deleted, or marked, must not alarm for ever."""
    deleted, marked, waiting = put_aside(), put_aside(), put_aside()
    execute(database_url, f"DELETE FROM campaign_metrics WHERE id = '{deleted}'")
    execute(
        database_url,
        f"UPDATE campaign_metrics SET exported_at = now() WHERE id = '{marked}'",
    )

    assert store.ask(decisions.count)[0] == 1
    assert listed(store) == {waiting}
    with pytest.raises(ApexError, match="Not in quarantine"):
        store.release(QuarantineSelection(ids=(deleted,)))


def test_times_are_utc_whatever_the_zone_of_the_server(store, put_aside, database_url):
    (name,) = query(database_url, "SELECT current_database()")[0]
    execute(database_url, f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
    row_id = put_aside(at=NOW)
    with connect(database_url) as opened:
        ((row, _),) = opened.quarantined_row(row_id)
    assert (row.first_rejected_at, row.first_rejected_at.tzinfo) == (NOW, UTC)


def test_ids_of_text_are_found_though_they_are_no_uuids(text_store):
    small = str(uuid4())
    with text_store.database.connect() as connection:
        for one in (small, small.upper(), "run 7", "Run 8"):
            connection.execute("INSERT INTO campaign_metrics (id) VALUES (%s)", [one])
    text_store.quarantine(
        [Rejection(i, "invalid", "") for i in (small, small.upper(), "run 7", "Run 8")],
        datetime.now(UTC),
    )

    assert text_store.release(QuarantineSelection(ids=("run 7", "RUN 8"))) == 2
    assert pending(text_store) == {"run 7", "Run 8"}
    # As it is written, where that is one of them; else whatever is the same UUID.
    assert text_store.release(QuarantineSelection(ids=(small.upper(),))) == 1
    assert pending(text_store) == {"run 7", "Run 8", small.upper()}
    assert len(text_store.quarantined_row(f"{{{small}}}")) == 2
    assert text_store.release(QuarantineSelection(ids=(f"{{{small}}}",))) == 2
    assert len(pending(text_store)) == 4


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"ids": ("a",), "code": "invalid"},
        {"ids": ("a",), "everything": True},
        {"code": "invalid", "everything": True},
        {"ids": ("a",), "dropped": True},
        {"ids": ("a\0",)},
        {"code": "\udcff"},
        {"matching": "a\0b"},
    ],
)
def test_a_choice_that_means_nothing_is_refused(choice):
    with pytest.raises(ConfigError):
        QuarantineSelection(**choice)


@pytest.mark.parametrize(("reason", "by"), [("", "ann"), (" \n", "ann"), ("why", "")])
def test_nothing_is_dropped_without_a_reason_and_a_name(reason, by):
    with pytest.raises(ConfigError, match="it is stored with"):
        Decision(reason, by)
