"""Events: one for each act, in its transaction, in one chain."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from apex_pipeline.audit import intents, trail
from apex_pipeline.audit.events import Action, Author, Event, rows
from apex_pipeline.audit.settings_changes import fingerprints
from apex_pipeline.audit.verification import verify
from apex_pipeline.errors import ApexError, SystemicRejectionError
from apex_pipeline.metrics import Rejection
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.run_ledger import RunRecord, RunStatus
from apex_pipeline.quarantine import decisions
from apex_pipeline.quarantine.decisions import Decision, QuarantineSelection

AUTHOR = Author("ada@host", "run-1")
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="test") as opened:
        yield opened


def append(database, action=Action.EXPORT, **given):
    event = Event(action, AUTHOR, **given)
    act = uuid4()
    database.transact(lambda c: trail.append(c, event, act))


def events(database):
    return database.transact(lambda c: trail.newest(c, limit=1000))[::-1]


def test_each_hash_is_the_sha256_of_the_event_as_canonical_json(database):
    append(database, reason='naïve "quoted" \n text', counts={"rows": 2})
    append(database, subject=rows(["b", "a"]))
    first, second = events(database)
    for event, previous in ((first, "00" * 32), (second, first["hash"])):
        assert event["previous_hash"] == previous
        covered = {name: value for name, value in event.items() if name != "hash"}
        text = json.dumps(
            covered, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        assert event["hash"] == sha256(text.encode()).hexdigest()
    assert second["subject"] == {"rows": ["a", "b"]}
    assert first["actor"] == "ada@host"
    assert first["run_id"] == "run-1"


def test_text_that_looks_like_a_place_in_the_trail_is_taken_as_it_is(database):
    odd = {"at": None, "sequence": None, "x": '","at":null,"previous_hash":null'}
    append(database, subject=odd, before=odd, reason='"sequence":null}')
    append(database, subject=odd)
    assert database.transact(verify).problems == ()
    assert events(database)[0]["subject"] == odd


@pytest.mark.parametrize("said", ["a\0b", "\ud800", "\\u0000"])
def test_an_act_is_kept_whatever_others_said_of_it(database, said):
    append(database, subject={"error": said, "all": [said]}, reason=said)
    with (
        pytest.raises(ApexError),
        intents.intended(database, Event(Action.EXPORT, AUTHOR, {"error": said})),
    ):
        raise ApexError(said)
    assert len(events(database)) == 2
    assert database.transact(verify).problems == ()


def test_many_row_ids_are_kept_as_the_first_and_a_digest():
    ids = [f"{n:05}" for n in range(1500)]
    named = rows(ids[::-1])
    assert named["rows"] == ids[:1000]
    assert (
        named["rows_sha256"]
        == sha256("".join(f"{i}\n" for i in ids).encode()).hexdigest()
    )


def test_an_act_that_is_repeated_leaves_one_event(database):
    act = uuid4()
    for _ in range(2):
        database.transact(lambda c: trail.append(c, Event(Action.PURGE, AUTHOR), act))
    assert len(events(database)) == 1


def test_many_writers_at_once_keep_one_chain(database):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: append(database), range(40)))
    found = database.transact(verify)
    assert found.events == 40
    assert found.problems == ()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_event SET actor = 'me'",
        "DELETE FROM audit_event",
        "TRUNCATE audit_event",
        "UPDATE audit_anchor SET authority = 'me', time_stamp = ''",
        "DELETE FROM audit_anchor",
        "TRUNCATE audit_anchor",
    ],
)
def test_not_even_a_superuser_changes_the_trail_while_its_triggers_are_on(
    database, database_url, statement
):
    append(database)
    with (
        psycopg.connect(database_url) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


def test_the_owner_itself_has_no_privilege_to_change_the_trail(database_url):
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE ROLE trail_owner")
        try:
            connection.execute("GRANT USAGE, CREATE ON SCHEMA public TO trail_owner")
            connection.execute("ALTER TABLE audit_event OWNER TO trail_owner")
            for privilege in ("UPDATE", "DELETE", "TRUNCATE"):
                found = connection.execute(
                    "SELECT has_table_privilege('trail_owner', 'audit_event', %s)",
                    (privilege,),
                ).fetchone()
                assert found == (False,)
        finally:
            connection.rollback()


def test_an_event_that_does_not_follow_the_head_is_refused(database, database_url):
    append(database)
    with (
        psycopg.connect(database_url) as connection,
        pytest.raises(errors.SerializationFailure),
    ):
        connection.execute(
            "INSERT INTO audit_event SELECT 3, gen_random_uuid(), at, actor, action, "
            "outcome, subject, counts, before, after, reason, run_id, version, hash, hash "
            "FROM audit_event"
        )


def test_the_table_allows_exactly_the_actions_that_the_code_knows(database_url):
    with psycopg.connect(database_url) as connection:
        ((text,),) = connection.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conrelid = 'audit_event'::regclass AND contype = 'c' AND conname LIKE '%action%'"
        ).fetchall()
    assert set(text.split("'")[1::2]) == set(Action)


def put_rows_aside(store, database_url, count):
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            """
            INSERT INTO campaign_metrics (campaign_id, run_id, phase, agents_total,
                agents_successful, assets_generated, tokens_in, tokens_out, cost_usd,
                latency_p95_ms, latency_avg_ms, success_rate_pct)
            SELECT gen_random_uuid(), gen_random_uuid(), '2-3', 1, 1, 1, 1, 1, 1, 1, 1, 1
            FROM generate_series(1, %s) RETURNING CAST(id AS text)
            """,
            (count,),
        ).fetchall()
    ids = [row[0] for row in found]
    store.quarantine([Rejection(i, "0x1", "bad") for i in ids], NOW)
    return sorted(ids)


def test_releasing_and_dropping_leave_an_event_with_the_rows_and_the_reason(
    store, database, database_url
):
    ids = put_rows_aside(store, database_url, 2)
    store.drop(QuarantineSelection(everything=True), Decision("test data", "ada"))
    store.release(QuarantineSelection(tuple(ids)))
    dropped, released = events(database)
    assert dropped["action"] == "drop"
    assert dropped["reason"] == "test data"
    assert dropped["subject"] == {"rows": ids, "decided_by": "ada"}
    assert released["action"] == "release"
    assert released["subject"] == {"rows": ids}
    assert released["counts"] == {"rows": 2}
    assert released["actor"] == store.author.actor


def test_an_act_without_effect_and_one_that_fails_leave_no_event(store, database):
    assert store.release(QuarantineSelection(everything=True)) == 0
    with pytest.raises(ApexError):
        store.release(QuarantineSelection(("x",)))
    assert events(database) == []


def test_an_act_is_undone_if_its_event_cannot_be_written(store, database_url):
    put_rows_aside(store, database_url, 1)
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP FUNCTION audit_append")
    with pytest.raises(ApexError):
        store.drop(QuarantineSelection(everything=True), Decision("x", "y"))
    assert store.ask(decisions.count)[1] == 0


def test_a_run_of_the_sync_leaves_one_event_with_its_counts(store, database):
    run = store.start_run(at=NOW, dagster_run_id="d-1", part="2026-11")
    record = RunRecord(
        status=RunStatus.FAILURE, finished_at=NOW, delivered=5, rejected=1, error="bad"
    )
    store.finish_run(run, record)
    store.finish_run(run, record)
    (event,) = events(database)
    assert event["action"] == "resend"
    assert event["outcome"] == "failed"
    assert event["subject"] == {"sync_run": run, "slice": "2026-11", "error": "bad"}
    assert event["counts"]["delivered"] == 5
    assert event["run_id"] == "d-1"


def test_an_event_never_quotes_a_row(store, database):
    run = store.start_run(at=NOW, dagster_run_id=None)
    error = f"All rows failed.{SystemicRejectionError.OF_A_ROW}cost 12.34"
    record = RunRecord(status=RunStatus.FAILURE, finished_at=NOW, error=error)
    store.finish_run(run, record)
    (event,) = events(database)
    assert event["subject"]["error"] == "All rows failed."


def test_the_run_of_a_dead_process_gets_its_event_from_the_next_one(store, database):
    dead = store.start_run(at=NOW, dagster_run_id=None)
    store.start_run(at=NOW + timedelta(minutes=5), dagster_run_id=None)
    (event,) = events(database)
    assert event["outcome"] == "interrupted"
    assert event["subject"]["sync_run"] == dead


def test_an_act_elsewhere_leaves_its_event_when_it_ends(database):
    event = Event(Action.EXPORT, AUTHOR, {"dataset": "daily"})
    with intents.intended(database, event) as ending:
        assert events(database) == []
        ending.counts["rows"] = 7
    (found,) = events(database)
    assert found["outcome"] == "done"
    assert found["counts"] == {"rows": 7}
    assert database.transact(intents.close_abandoned) == 0


def test_an_act_elsewhere_that_fails_says_so(database):
    with (
        pytest.raises(ApexError),
        intents.intended(database, Event(Action.EXPORT, AUTHOR)),
    ):
        raise ApexError("disk full")
    (found,) = events(database)
    assert found["outcome"] == "failed"
    assert found["subject"] == {"error": "disk full"}


def test_an_act_elsewhere_whose_process_died_is_closed_by_the_next_run(store, database):
    with pytest.raises(SystemExit):
        # What a kill leaves behind: the intent, and nothing after it.
        _leave_an_intent(database)
    store.start_run(at=NOW, dagster_run_id=None)
    (found,) = events(database)
    assert found["outcome"] == "interrupted"
    assert found["action"] == "provision"
    assert found["actor"] == AUTHOR.actor


def _leave_an_intent(database):
    class Dying:
        calls = 0

        def transact(self, work, *, repeatable=False):
            self.calls += 1
            if self.calls > 1:
                raise SystemExit
            return database.transact(work, repeatable=repeatable)

    with intents.intended(Dying(), Event(Action.PROVISION, AUTHOR), seconds=-1):
        pass


def test_a_changed_setting_is_noted_once_by_fingerprint_and_never_by_value(
    store, database
):
    before = {"DATABASE_URL": "postgresql://u:geheim@h/d", "APEX_TIME_ZONE": "UTC"}
    after = before | {"AZURE_CLIENT_SECRET": "hunter2-hunter2", "APEX_ACTOR": "bob"}
    for environment in (before, before, after):
        store.start_run(at=NOW, dagster_run_id=None, settings=fingerprints(environment))
    first, second = (e for e in events(database) if e["action"] == "change_settings")
    assert first["subject"]["settings"] == fingerprints(before)
    assert set(second["after"]) == {"AZURE_CLIENT_SECRET", "DATABASE_URL"}
    assert second["before"]["AZURE_CLIENT_SECRET"] is None
    text = json.dumps([first, second])
    assert "geheim" not in text
    assert "hunter2" not in text
    assert "bob" not in text
