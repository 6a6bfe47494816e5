"""An act in many transactions leaves one event that names what was committed."""

import pytest

from apex_pipeline.audit import trail
from apex_pipeline.audit.batches import Batch, BatchedAct, chained_digest
from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.audit.intents import close_abandoned
from apex_pipeline.audit.verification import verify
from apex_pipeline.errors import ApexError
from apex_pipeline.postgres.database import Database

ADA = Author("ada@host", "run-1")


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="tests") as opened:
        yield opened


def repairing(seconds=60.0):
    return BatchedAct(Event(Action.REPAIR, ADA, {"environment": "e"}), seconds=seconds)


def do(database, act, *ids):
    """One batch that does nothing but to name these rows."""
    return act.carry_out(database, lambda _: list(ids), Batch)


def end(database, act, **more):
    database.ask(lambda c: act.end(c, **more))


def events(database):
    return database.ask(trail.newest, limit=100)[::-1]


def test_all_batches_are_one_event_which_comes_at_the_end(database):
    act = repairing()
    do(database, act, "b", "a")
    do(database, act, "c")
    assert events(database) == []
    end(database, act)
    end(database, act)
    (event,) = events(database)
    assert event["subject"] == {"environment": "e", "rows": ["b", "a", "c"]}
    assert event["counts"] == {"rows": 3}
    assert (event["outcome"], event["run_id"]) == ("done", "run-1")
    assert database.transact(verify).problems == ()


def test_no_batch_is_no_event(database):
    act = repairing()
    do(database, act)
    end(database, act)
    assert events(database) == []


def test_an_act_that_fails_says_so_and_names_what_it_did(database):
    act = repairing()
    do(database, act, "a")
    end(database, act, error=ApexError("the lock is lost"))
    (event,) = events(database)
    assert event["outcome"] == "failed"
    assert event["subject"]["rows"] == ["a"]
    assert event["subject"]["error"] == "the lock is lost"


def test_a_batch_that_is_undone_is_not_named(database):
    act = repairing()
    do(database, act, "a")

    def fail(_):
        raise ApexError("refused")

    with pytest.raises(ApexError):
        act.carry_out(database, fail, Batch)
    end(database, act)
    assert events(database)[0]["counts"] == {"rows": 1}


def test_of_many_rows_the_first_and_a_digest_are_kept_whatever_the_batches(database):
    ids = [f"{n:05}" for n in range(1500)]
    for sizes in ((250,) * 6, (999, 2, 499), (1500,)):
        act, start = repairing(), 0
        for size in sizes:
            do(database, act, *ids[start : start + size])
            start += size
        end(database, act)
        event = events(database)[-1]
        assert event["counts"] == {"rows": 1500}
        assert event["subject"]["rows"] == ids[:1000]
        assert event["subject"]["rows_chained_sha256"] == chained_digest(ids)


def test_an_act_that_was_taken_for_dead_does_no_more(database):
    act = repairing(seconds=0)
    do(database, act, "a")
    assert database.ask(close_abandoned) == 1
    with pytest.raises(ApexError, match="has it as interrupted"):
        do(database, act, "b")
    end(database, act)
    (event,) = events(database)
    assert event["outcome"] == "interrupted"
    assert event["subject"]["rows"] == ["a"]


@pytest.mark.parametrize("batches", [0, 1])
@pytest.mark.parametrize("is_dead", [False, True])
def test_what_ends_an_act_is_told_with_it_or_alone(database, batches, is_dead):
    act = repairing(seconds=0)
    for _ in range(batches):
        do(database, act, "a")
    if is_dead:
        database.ask(close_abandoned)
    for _ in range(2):
        database.ask(
            lambda c: act.end_or_append(c, Action.ALLOW_DELIVERY, {"allowed": True})
        )
    found = [(e["action"], e["outcome"], e["after"]) for e in events(database)]
    alone = ("allow_delivery", "done", {"allowed": True})
    if not batches:
        assert found == [alone]
    elif is_dead:
        assert found[0][:2] == ("repair", "interrupted")
        assert found[1:] == [alone]
    else:
        assert found == [("repair", "done", {"allowed": True})]
