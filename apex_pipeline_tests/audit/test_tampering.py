"""What a superuser changes with the triggers off is found."""

import json
import random
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import errors, sql
from psycopg.types.json import Jsonb

from apex_pipeline.audit import trail
from apex_pipeline.audit.anchors import keep_anchor
from apex_pipeline.audit.chain import COVERED, digest, digest_as_stored, document
from apex_pipeline.audit.chain_walk import Anchor, Walk
from apex_pipeline.audit.events import Action, Author, Event, rows
from apex_pipeline.audit.settings_changes import note_settings
from apex_pipeline.audit.trail import EVENTS
from apex_pipeline.audit.verification import verify
from apex_pipeline.cli.audit import audit
from apex_pipeline.postgres.database import Database

AUTHOR = Author("ada@host", "run-1")
COLUMNS = (*COVERED, "hash")
EVENT_COUNT = 40


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="test") as opened:
        yield opened


@pytest.fixture
def tampering(database, database_url):
    """A superuser's connection, with triggers and constraints off; rolled back."""
    fill(database)
    with psycopg.connect(database_url) as connection:
        disarm(connection)
        yield connection
        connection.rollback()


def fill(database, count=EVENT_COUNT):
    """A trail of some events, of which all but the last are anchored by the last."""
    for n in range(count - 1):
        event = Event(
            list(Action)[n % len(Action)] if n % 3 else Action.SYNC,
            AUTHOR if n % 2 else Author("schedule x"),
            rows([f"row-{n}"]) if n % 3 else {"sync_run": n + 1},
            {"rows": n},
            {"A": "1f"} if n % 5 == 0 else {},
            {"A": None} if n % 5 == 0 else {},
            reason="why" if n % 4 == 0 else None,
        )
        act = uuid4()
        if event.action not in {Action.PRUNE, Action.ANCHOR}:
            database.transact(lambda c: trail.append(c, event, act))  # noqa: B023  run at once
    database.transact(lambda c: keep_anchor(c, trail.head(c), AUTHOR, uuid4()))


def disarm(connection):
    connection.execute("SET LOCAL session_replication_role = replica")
    found = connection.execute(
        "SELECT conname FROM pg_constraint WHERE conrelid = 'audit_event'::regclass "
        "AND contype IN ('c', 'p', 'u')"
    ).fetchall()
    for (name,) in found:
        statement = sql.SQL("ALTER TABLE audit_event DROP CONSTRAINT {}")
        connection.execute(statement.format(sql.Identifier(name)))
    for column in COLUMNS:
        statement = sql.SQL("ALTER TABLE audit_event ALTER {} DROP NOT NULL")
        connection.execute(statement.format(sql.Identifier(column)))


def problems_of(rows, anchors=(), last_closed_run=None):
    walk = Walk(anchors)
    for row in rows:
        walk.see(row)
    walk.finish(last_closed_run)
    return walk.problems


def found_in(connection):
    stored = connection.execute(f"{EVENTS} ORDER BY sequence").fetchall()
    anchors = [
        Anchor(sequence, hash_)
        for sequence, hash_ in connection.execute(
            "SELECT sequence, encode(hash, 'hex') FROM audit_anchor"
        )
    ]
    return problems_of(stored, anchors)


def any_sequence(connection, dice):
    stored = connection.execute(
        "SELECT sequence FROM audit_event ORDER BY 1"
    ).fetchall()
    return dice.choice(stored)[0]


def change_a_byte(connection, dice):
    """One byte of one column, as Postgres prints it; True if it is stored otherwise."""
    sequence, column = any_sequence(connection, dice), dice.choice(COLUMNS)
    named = sql.Identifier(column)
    before, kind = connection.execute(
        sql.SQL(
            "SELECT CAST({0} AS text), CAST(pg_typeof({0}) AS text) FROM audit_event "
            "WHERE sequence = %s"
        ).format(named),
        (sequence,),
    ).fetchone()
    if not before:
        return False
    place = dice.randrange(len(before))
    byte = chr(dice.randrange(1, 128))
    after = before[:place] + byte + before[place + 1 :]
    try:
        with connection.transaction():
            (stored,) = connection.execute(
                sql.SQL(
                    "UPDATE audit_event SET {0} = CAST(%s AS {1}) WHERE sequence = %s "
                    "RETURNING CAST({0} AS text)"
                ).format(named, sql.SQL(kind)),
                (after, sequence),
            ).fetchone()
    except (errors.DataError, errors.ProgrammingError):
        return False
    return stored != before


def delete(connection, dice):
    sequence = any_sequence(connection, dice)
    connection.execute("DELETE FROM audit_event WHERE sequence = %s", (sequence,))
    if dice.random() < 0.5:
        connection.execute(
            "UPDATE audit_event SET sequence = sequence - 1 WHERE sequence > %s",
            (sequence,),
        )
    return True


def reorder(connection, dice):
    one, other = any_sequence(connection, dice), any_sequence(connection, dice)
    connection.execute(
        "UPDATE audit_event SET sequence = CASE sequence WHEN %(one)s THEN %(other)s "
        "ELSE %(one)s END WHERE sequence IN (%(one)s, %(other)s)",
        {"one": one, "other": other},
    )
    return one != other


def insert(connection, dice):
    """A forged event before another one, whose own hash fits in half of the cases."""
    sequence = any_sequence(connection, dice)
    connection.execute(
        "UPDATE audit_event SET sequence = sequence + 1 WHERE sequence >= %s",
        (sequence,),
    )
    row = connection.execute(
        f"{EVENTS} WHERE sequence = %s", (sequence + 1,)
    ).fetchone()
    forged = document(row[:-1]) | {"sequence": sequence, "act": str(uuid4())}
    hash_ = digest(forged) if dice.random() < 0.5 else row[-1]
    connection.execute(
        "INSERT INTO audit_event SELECT %s, %s, at, actor, action, outcome, subject, "
        "counts, before, after, reason, run_id, version, previous_hash, "
        "decode(%s, 'hex') FROM audit_event WHERE sequence = %s",
        (sequence, forged["act"], hash_, sequence + 1),
    )
    return True


@pytest.mark.slow
@pytest.mark.parametrize("tamper", [change_a_byte, delete, reorder, insert])
def test_random_tampering_is_always_found(tampering, tamper):
    dice = random.Random(tamper.__name__)
    assert found_in(tampering) == []
    done = 0
    while done < 250:
        tampering.execute("SAVEPOINT untouched")
        if tamper(tampering, dice):
            done += 1
            assert found_in(tampering), f"{tamper.__name__} {done} went unnoticed"
        tampering.execute("ROLLBACK TO SAVEPOINT untouched")


def test_the_first_event_that_does_not_fit_is_named(tampering):
    tampering.execute("UPDATE audit_event SET actor = 'x' WHERE sequence = 7")
    assert found_in(tampering)[0].startswith("Event 7 was changed")


def test_missing_events_are_named(tampering):
    tampering.execute("DELETE FROM audit_event WHERE sequence IN (5, 6)")
    assert found_in(tampering)[0].startswith("Events 5 to 6 are missing")


def test_a_moved_event_is_named_with_its_former_place(tampering):
    reordered = (
        "UPDATE audit_event SET sequence = 50 - sequence WHERE sequence IN (20, 30)"
    )
    tampering.execute(reordered)
    problems = found_in(tampering)
    assert "Event 20 was event 30 before: it was moved." in problems
    assert problems[0].startswith("Event 20 does not follow event 19")


def test_a_beginning_that_was_cut_off_is_found(tampering):
    tampering.execute("DELETE FROM audit_event WHERE sequence <= 3")
    assert found_in(tampering)[0].startswith("Events 1 to 3 are missing")


def rewrite(connection, first):
    """Change an event and make every hash from there on fit again."""
    connection.execute(
        "UPDATE audit_event SET reason = 'forged' WHERE sequence = %s", (first,)
    )
    stored = connection.execute(f"{EVENTS} ORDER BY sequence").fetchall()
    previous = stored[first - 2][-1]
    for row in stored[first - 1 :]:
        forged = document(row[:-1]) | {"previous_hash": previous}
        hash_ = digest(forged)
        connection.execute(
            "UPDATE audit_event SET previous_hash = decode(%s, 'hex'), "
            "hash = decode(%s, 'hex') WHERE sequence = %s",
            (previous, hash_, row[0]),
        )
        previous = hash_


def test_a_trail_that_was_written_anew_does_not_fit_its_anchor(tampering):
    rewrite(tampering, 10)
    problems = found_in(tampering)
    assert "not the one that was anchored" in problems[0]


def test_only_an_anchor_elsewhere_finds_a_rewrite_that_removed_the_anchors_here(
    tampering,
):
    stored = tampering.execute(f"{EVENTS} ORDER BY sequence").fetchall()
    tampering.execute("DELETE FROM audit_anchor")
    tampering.execute("DELETE FROM audit_event WHERE sequence = %s", (len(stored),))
    rewrite(tampering, 10)
    rest = tampering.execute(f"{EVENTS} ORDER BY sequence").fetchall()
    assert problems_of(rest) == []
    noted = Anchor(12, stored[11][-1], is_kept_here=False)
    assert "Event 12 is not the one" in problems_of(rest, [noted])[0]
    end = Anchor(len(stored), stored[-1][-1], is_kept_here=False)
    assert "the end of the trail was removed" in problems_of(rest, [end])[0]


def test_the_ledger_of_runs_tells_that_the_end_is_missing(tampering):
    stored = tampering.execute(f"{EVENTS} ORDER BY sequence").fetchall()
    tampering.execute("DELETE FROM audit_anchor")
    ((last, sequence),) = tampering.execute(
        "SELECT (subject ->> 'sync_run')::int, sequence FROM audit_event "
        "WHERE action = 'sync' ORDER BY sequence DESC LIMIT 1"
    ).fetchall()
    cut = stored[: sequence - 1]
    assert problems_of(cut) == []
    assert f"Run {last} of the sync has ended" in problems_of(cut, [], last)[0]


def test_an_anchor_that_was_removed_or_changed_is_found(tampering):
    tampering.execute("SAVEPOINT here")
    tampering.execute("DELETE FROM audit_anchor")
    assert "audit_anchor does not hold" in found_in(tampering)[0]
    tampering.execute("ROLLBACK TO SAVEPOINT here")
    tampering.execute("UPDATE audit_anchor SET sequence = 3")
    assert found_in(tampering)


@pytest.mark.parametrize("table", ["audit_event", "audit_anchor"])
def test_each_trigger_of_the_trail_is_missed(database, database_url, table):
    with psycopg.connect(database_url) as connection:
        names = connection.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass "
            "AND NOT tgisinternal",
            (table,),
        ).fetchall()
        for (name,) in names:
            statement = sql.SQL("ALTER TABLE {} DISABLE TRIGGER {}")
            connection.execute(
                statement.format(sql.Identifier(table), sql.Identifier(name))
            )
    problems = " ".join(database.ask(verify).problems)
    assert names
    assert all(name in problems for (name,) in names)


def test_disabled_and_missing_triggers_are_found(database, database_url):
    fill(database)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "ALTER TABLE audit_event DISABLE TRIGGER audit_event_is_append_only"
        )
        connection.execute("DROP TRIGGER audit_anchor_is_append_only ON audit_anchor")
    found = database.transact(verify)
    assert "audit_anchor_is_append_only" in found.problems[0]
    assert "audit_event_is_append_only" in found.problems[1]
    assert len(found.problems) == 2


def test_an_event_without_a_sequence_is_found(tampering):
    tampering.execute("UPDATE audit_event SET sequence = NULL WHERE sequence = 9")
    problems = found_in(tampering)
    assert "An event has no sequence: it was changed or inserted." in problems


def test_what_is_not_an_event_is_reported_and_not_raised(tampering):
    tampering.execute(
        "UPDATE audit_event SET subject = '[1.5]', counts = '{\"é\": 1e300}', "
        "at = 'infinity', actor = NULL WHERE sequence = 9"
    )
    assert found_in(tampering)[0].startswith("Event 9 was changed")


LAST = 2**63 - 1
SHADOW = f"""
    CREATE TEMPORARY TABLE audit_event AS
    SELECT {LAST - 1}::bigint AS sequence, decode(repeat('00', 32), 'hex') AS hash,
        'prune' AS action, '{{"through": {LAST}}}'::jsonb AS subject
"""
FORGED = f"""
    INSERT INTO public.audit_event (
        sequence, act, at, actor, action, outcome, subject, counts, before, after,
        version, previous_hash, hash
    ) VALUES (
        {LAST}, gen_random_uuid(), now(), 'boss@corp', 'drop', 'done', '{{}}', '{{}}',
        '{{}}', '{{}}', '1', decode(repeat('00', 32), 'hex'),
        decode(repeat('00', 32), 'hex')
    )
"""


def test_no_temporary_table_gets_round_the_checks_of_the_trail(database, database_url):
    """Who may append may create one, and would stop every other writer for good."""
    fill(database)
    with psycopg.connect(database_url) as connection:
        connection.execute(SHADOW)
        with pytest.raises(errors.SerializationFailure), connection.transaction():
            connection.execute(FORGED)
        connection.execute("GRANT DELETE ON public.audit_event TO CURRENT_USER")
        with pytest.raises(errors.InsufficientPrivilege), connection.transaction():
            connection.execute("DELETE FROM public.audit_event")
        connection.rollback()
    database.transact(lambda c: keep_anchor(c, trail.head(c), AUTHOR, uuid4()))
    assert database.ask(verify).problems == ()


def test_every_function_of_the_trail_has_a_search_path_of_its_own(database):
    found = database.ask(
        lambda connection: connection.exec_driver_sql(
            "SELECT proname, proconfig FROM pg_proc WHERE proname LIKE 'audit%%'"
        ).fetchall()
    )
    assert len(found) >= 4
    for name, config in found:
        assert config == ["search_path=public, pg_temp"], name


def test_an_event_that_nobody_can_read_is_listed_and_hides_no_change(
    database, database_url, monkeypatch
):
    """With the triggers off, numbers get in that are beyond JSON's readers."""
    database.transact(lambda c: note_settings(c, {"A": "1f"}, AUTHOR, uuid4()))
    with psycopg.connect(database_url) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(
            """
            INSERT INTO audit_event (
                sequence, act, at, actor, action, outcome, subject, counts, before,
                after, version, previous_hash, hash
            )
            SELECT sequence + 1, gen_random_uuid(), now(), 'boss', 'change_settings',
                'done', '{"settings": 1e400}', '{"n": 1e131000}', '{}', '{}', '1', hash,
                hash
            FROM audit_event ORDER BY sequence DESC LIMIT 1
            """
        )
    monkeypatch.setenv("DATABASE_URL", database_url)
    told = CliRunner().invoke(audit, ["list"], catch_exceptions=False)
    assert told.exit_code == 0
    assert "unreadable" in told.output
    database.transact(lambda c: note_settings(c, {"A": "2f"}, AUTHOR, uuid4()))
    assert "event 2 was changed" in str(database.ask(verify).problems).lower()


NOT_TAKEN: dict[str, dict[str, Any]] = {
    "another hash": {"hash": "ff" * 32},
    "a number with a fraction": {"counts": {"rows": 1.5}},
    "a number beyond 2^53": {"counts": {"rows": 2**53}},
    "a name that is not ASCII": {"subject": {"é": 1}},
    "objects within objects": {"subject": json.loads('{"a":' * 99 + "{}" + "}" * 99)},
    "lists within lists": {"after": {"a": json.loads("[" * 99 + "]" * 99)}},
    "a time long past": {"at": "2020-01-01T00:00:00Z"},
    "a time that never comes": {"at": "infinityZ"},
}

_APPEND_AS_IT_IS = f"""
    INSERT INTO audit_event ({", ".join(COLUMNS)})
    SELECT sequence, act, CAST(rtrim(at, 'Z') AS timestamp) AT TIME ZONE 'UTC', actor,
        action, outcome, subject, counts, before, after, reason, run_id, version,
        decode(previous_hash, 'hex'), decode(hash, 'hex')
    FROM jsonb_to_record(%s) AS event (
        sequence bigint, act uuid, at text, actor text, action text, outcome text,
        subject jsonb, counts jsonb, before jsonb, after jsonb, reason text, run_id text,
        version text, previous_hash text, hash text
    )
"""


def following(connection, **forged: object) -> dict[str, Any]:
    """The next event, with a hash that fits what is forged in it."""
    *covered, hash_ = connection.execute(
        f"{EVENTS} ORDER BY sequence DESC LIMIT 1"
    ).fetchone()
    (now,) = connection.execute(
        "SELECT (to_json(clock_timestamp() AT TIME ZONE 'UTC') #>> '{}') || 'Z'"
    ).fetchone()
    event: dict[str, Any] = document(covered)
    event |= {"sequence": event["sequence"] + 1, "act": str(uuid4()), "at": now}
    event |= {"previous_hash": hash_} | forged
    return {"hash": digest_as_stored(event)} | event


@pytest.mark.parametrize("kind", NOT_TAKEN)
def test_an_event_that_verification_would_refuse_is_not_taken(
    database, database_url, kind
):
    """Not from somebody who may append and computes the hash for it either."""
    database.transact(lambda c: note_settings(c, {"A": "1f"}, AUTHOR, uuid4()))
    with psycopg.connect(database_url) as connection:
        forged = following(connection, **NOT_TAKEN[kind])
        with pytest.raises(errors.CheckViolation), connection.transaction():
            connection.execute(_APPEND_AS_IT_IS, (Jsonb(forged),))
        connection.execute(_APPEND_AS_IT_IS, (Jsonb(following(connection)),))
    assert database.ask(verify).problems == ()
