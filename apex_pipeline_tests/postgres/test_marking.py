"""Marks, while rows change between reading and marking."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import combinations_with_replacement
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import make_url

from apex_pipeline.errors import DatabaseError
from apex_pipeline.monitoring.doctor.check_results import CheckState, ok
from apex_pipeline.monitoring.doctor.trial_mark import marks_take
from apex_pipeline.postgres import migrations, pending_rows, resent_rows
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.resent_rows import Slice
from apex_pipeline.postgres.row_marks import Marks, mark_exported
from apex_pipeline.postgres.store import connect
from apex_pipeline_tests.support.ends import campaign_row, execute, insert, query

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
RESOURCE = "https://org.crm.dynamics.com"


@pytest.fixture
def rows(store, database_url):
    """Four pending rows, as they were read."""
    insert(database_url, [campaign_row() for _ in range(4)])
    return store.ask(pending_rows.page, None, 10)


def marked(url):
    found = query(
        url, "SELECT id::text FROM campaign_metrics WHERE exported_at IS NOT NULL"
    )
    return {one for (one,) in found}


def change(url, *rows, assignment="tokens_in = tokens_in + 1"):
    ids = ", ".join(f"'{row.id}'" for row in rows)
    execute(url, f"UPDATE campaign_metrics SET {assignment} WHERE id IN ({ids})")


@contextmanager
def held(url, *rows, statement="SELECT FROM campaign_metrics WHERE {} FOR UPDATE"):
    """Another transaction that locks rows."""
    ids = ", ".join(f"'{row.id}'" for row in rows)
    with psycopg.connect(url) as connection:
        connection.execute(statement.format(f"id IN ({ids})").encode())
        yield
        connection.rollback()


def test_only_the_version_that_was_sent_is_marked(store, database_url, rows):
    change(database_url, rows[0], rows[2])
    assert store.mark_exported(rows, NOW) == Marks(marked=2, changed=2)
    assert marked(database_url) == {rows[1].id, rows[3].id}
    assert {row.id for row in store.ask(pending_rows.page, None, 10)} == {
        rows[0].id,
        rows[2].id,
    }


def test_an_update_that_changes_no_value_makes_another_version(
    store, database_url, rows
):
    change(database_url, rows[0], assignment="tokens_in = tokens_in")
    assert store.mark_exported(rows, NOW) == Marks(marked=3, changed=1)


def test_locks_and_vacuum_leave_the_version_as_it_is(store, database_url, rows):
    with held(database_url, *rows):
        pass
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("VACUUM (FREEZE) campaign_metrics")
    assert store.mark_exported(rows, NOW) == Marks(marked=4)


def test_the_record_of_a_row_that_was_deleted_is_kept_for_reconcile(
    store, database_url, rows
):
    execute(database_url, f"DELETE FROM campaign_metrics WHERE id = '{rows[0].id}'")
    told = store.mark_exported(rows, NOW, resource=RESOURCE)
    assert told == Marks(marked=3, deleted=1)
    assert query(
        database_url, "SELECT resource, kind, record_id FROM dataverse_finding"
    ) == [(RESOURCE, "unknown", rows[0].id)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT FROM campaign_metrics WHERE {} FOR UPDATE",
        "UPDATE campaign_metrics SET tokens_in = 7 WHERE {}",
        "DELETE FROM campaign_metrics WHERE {}",
    ],
)
def test_rows_that_somebody_holds_are_passed_over_and_marked_the_next_time(
    store, database_url, rows, statement
):
    with held(database_url, rows[0], rows[1], statement=statement):
        assert store.mark_exported(rows, NOW) == Marks(marked=2, locked=2)
    assert store.mark_exported(store.ask(pending_rows.page, None, 10), NOW) == Marks(
        marked=2
    )


MOST_STATEMENTS = 7
"""More than a mark takes, so that every place between two of them is tried."""

FREE = "id IN (SELECT id FROM campaign_metrics WHERE {} FOR UPDATE SKIP LOCKED)"
CHANGE = f"UPDATE campaign_metrics SET tokens_in = tokens_in + 1 WHERE {FREE}"
DELETE = f"DELETE FROM campaign_metrics WHERE {FREE}"
LOCK = "SELECT FROM campaign_metrics WHERE {} FOR UPDATE SKIP LOCKED"
REPLACE = f"""
    WITH gone AS (DELETE FROM campaign_metrics WHERE {FREE}
        RETURNING campaign_metrics AS row)
    INSERT INTO campaign_metrics
    SELECT (jsonb_populate_record(row, jsonb_build_object(
        'tokens_in', (row).tokens_in + 1, 'exported_at', null))).*
    FROM gone
"""


@pytest.mark.parametrize("again", [False, True], ids=["pending", "slice"])
@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize(
    "statement",
    [CHANGE, DELETE, REPLACE, LOCK, LOCK.replace("UPDATE", "KEY SHARE")],
    ids=["change", "delete", "replace", "lock", "share"],
)
def test_whenever_a_writer_begins_and_ends_no_row_is_marked_in_another_version(
    store, database_url, statement, ending, again
):
    """Before each statement of a mark a writer begins, and before each later one ends."""
    with (
        Database(database_url, application_name="test") as database,
        psycopg.connect(database_url) as writer,
    ):
        for begins, ends in combinations_with_replacement(range(MOST_STATEMENTS), 2):
            rows = _rows_to_mark(store, writer, again=again)
            free = f"id <> '{rows[0].id}'"
            acts = {begins: [statement.format(free)], ends: [ending]}
            if begins == ends:
                acts = {begins: [statement.format(free), ending]}
            told = database.transact(
                lambda c: _interrupted(c, rows, LATER, writer, acts, again=again)  # noqa: B023  called at once
            )
            writer.execute(ending.encode())
            counted = (told.marked, told.changed, told.deleted, told.locked)
            assert not told.swallowed, (begins, ends, told)
            assert sum(counted) == len(rows), (begins, ends, told)
            marked = writer.execute(
                "SELECT tokens_in FROM campaign_metrics WHERE exported_at = %s", [LATER]
            ).fetchall()
            assert marked == [(1500,)] * told.marked, (begins, ends, told)


def _rows_to_mark(store, writer, *, again):
    """Three rows as they were read; what there was before is gone."""
    writer.execute("TRUNCATE campaign_metrics")
    writer.execute(
        """
        INSERT INTO campaign_metrics (campaign_id, run_id, agents_total,
            agents_successful, assets_generated, tokens_in, tokens_out, cost_usd,
            latency_p95_ms, latency_avg_ms, success_rate_pct, exported_at)
        SELECT gen_random_uuid(), gen_random_uuid(), 5, 4, 12, 1500, 3000, 0.1, 5, 4, 80,
            CASE WHEN %s THEN CAST(%s AS timestamptz) END
        FROM generate_series(1, 3)
        """,
        [again, NOW],
    )
    writer.commit()
    return _slice(store) if again else store.ask(pending_rows.page, None, 10)


def _interrupted(connection, rows, at, writer, acts, *, again):
    step = iter(range(99))

    def act(*_):
        for statement in acts.get(next(step), ()):
            writer.execute(statement.encode())

    event.listen(connection, "before_cursor_execute", act)
    told = mark_exported(connection, rows, at, again=again)
    event.remove(connection, "before_cursor_execute", act)
    return told


def test_a_mark_whose_answer_was_lost_counts_when_it_is_repeated(
    store, database_url, rows
):
    store.mark_exported(rows, NOW)
    assert store.mark_exported(rows, NOW) == Marks(marked=4)


def test_a_row_that_somebody_else_marked_keeps_that_mark(store, database_url, rows):
    change(database_url, rows[0], assignment="exported_at = '2020-01-01Z'")
    assert store.mark_exported(rows, NOW) == Marks(marked=3, changed=1)
    assert query(database_url, "SELECT min(exported_at) FROM campaign_metrics") == [
        (datetime(2020, 1, 1, tzinfo=UTC),)
    ]


def test_a_row_of_a_slice_that_changed_on_the_way_loses_its_mark(
    store, database_url, rows
):
    store.mark_exported(rows, NOW)
    again = _slice(store)
    change(database_url, rows[0])
    with held(database_url, rows[1]):
        told = store.mark_exported(again, NOW + timedelta(hours=1), again=True)
    assert told == Marks(marked=2, changed=1, locked=1)
    assert marked(database_url) == {row.id for row in rows[1:]}


def _slice(store):
    return store.ask(
        resent_rows.page, Slice(until=NOW + timedelta(days=9999)), None, 10
    )


FUNCTION = """
    CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN {} END $$
"""


@pytest.mark.parametrize(
    ("body", "when"),
    [
        ("RETURN NULL;", "BEFORE UPDATE ON campaign_metrics FOR EACH ROW"),
        (
            "NEW.exported_at = NULL; RETURN NEW;",
            "BEFORE UPDATE ON campaign_metrics FOR EACH ROW",
        ),
        (
            """UPDATE campaign_metrics SET exported_at = NULL
            WHERE id = NEW.id AND exported_at IS NOT NULL; RETURN NULL;""",
            "AFTER UPDATE ON campaign_metrics FOR EACH ROW",
        ),
    ],
)
def test_a_trigger_that_swallows_the_mark_is_named(
    store, database_url, rows, body, when
):
    execute(database_url, FUNCTION.format(body))
    execute(
        database_url, f"CREATE TRIGGER freeze_rows {when} EXECUTE FUNCTION swallow()"
    )
    told = store.mark_exported(rows, NOW)
    assert told == Marks(swallowed=4, obstacles=("trigger freeze_rows",))


@pytest.mark.parametrize(
    "action",
    [
        "DO INSTEAD NOTHING",
        "WHERE NEW.exported_at IS NOT NULL DO INSTEAD NOTHING",
        "DO INSTEAD DELETE FROM campaign_metrics_quarantine",
        "DO ALSO NOTIFY hello",
    ],
)
def test_a_rule_in_the_place_of_the_mark_is_told_and_how_to_find_it(
    store, database_url, rows, action
):
    execute(
        database_url, f"CREATE RULE aside AS ON UPDATE TO campaign_metrics {action}"
    )
    with pytest.raises(DatabaseError, match=r"A rule at .* pg_rules"):
        store.mark_exported(rows, NOW)
    assert marked(database_url) == set()
    with pytest.raises(DatabaseError, match="A rule at"):
        marks_take(store, NOW)


@pytest.fixture
def guest(database_url):
    """A store of a role that is not the owner, and may do all but bypass policies."""
    name, password = f"guest_{uuid4().hex}", "of-no-use-elsewhere"
    execute(database_url, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    execute(database_url, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    url = make_url(database_url).set(username=name, password=password)
    with connect(url.render_as_string(hide_password=False)) as opened:
        yield opened
    execute(database_url, f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_policy_that_hides_half_the_rows_from_updates_is_named(
    guest, store, database_url, rows
):
    hidden = ", ".join(f"'{row.id}'" for row in rows[:2])
    execute(
        database_url,
        f"""
        ALTER TABLE campaign_metrics ENABLE ROW LEVEL SECURITY;
        CREATE POLICY see ON campaign_metrics FOR SELECT USING (true);
        CREATE POLICY change ON campaign_metrics FOR UPDATE
        USING (id NOT IN ({hidden}));
        """,
    )
    told = guest.mark_exported(rows, NOW)
    assert (told.marked, told.swallowed) == (2, 2)
    assert told.obstacles == ("row-level security policy change, see",)


def test_a_policy_is_not_taken_for_a_lock_nor_a_lock_for_a_policy(
    guest, store, database_url, rows
):
    execute(database_url, "ALTER TABLE campaign_metrics ENABLE ROW LEVEL SECURITY")
    execute(database_url, "CREATE POLICY everything ON campaign_metrics USING (true)")
    with held(database_url, *rows[:2]):
        assert guest.mark_exported(rows, NOW) == Marks(marked=2, locked=2)


VIEW = """
    ALTER TABLE campaign_metrics RENAME TO stored_metrics;
    CREATE VIEW campaign_metrics AS SELECT * FROM stored_metrics;
    CREATE FUNCTION write_through() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE stored_metrics
        SET exported_at = NEW.exported_at, tokens_in = NEW.tokens_in
        WHERE id = NEW.id;
        RETURN {};
    END $$;
    CREATE TRIGGER through INSTEAD OF UPDATE ON campaign_metrics
    FOR EACH ROW EXECUTE FUNCTION write_through();
"""


@pytest.mark.parametrize("returned", ["NEW", "NULL"])
def test_of_a_view_the_values_are_compared(store, database_url, rows, returned):
    execute(database_url, VIEW.format(returned))
    rows = store.ask(pending_rows.page, None, 10)
    change(database_url, rows[0])
    change(database_url, rows[1], assignment="exported_at = exported_at")
    with held(database_url, rows[2]):
        told = store.mark_exported(rows, NOW)
    assert told == Marks(marked=2, changed=1, locked=1)
    assert marked(database_url) == {rows[1].id, rows[3].id}


def test_a_view_that_swallows_the_mark_is_named(store, database_url, rows):
    deaf = VIEW.format("NEW").replace("NEW.exported_at", "OLD.exported_at")
    execute(database_url, deaf)
    told = store.mark_exported(store.ask(pending_rows.page, None, 10), NOW)
    assert told == Marks(swallowed=4, obstacles=("trigger through",))


def test_a_mark_may_be_text(empty_database_url):
    execute(
        empty_database_url,
        "CREATE TABLE campaign_metrics (id text PRIMARY KEY, exported_at text)",
    )
    migrations.apply(empty_database_url)
    insert(empty_database_url, [campaign_row() for _ in range(3)])
    with connect(empty_database_url) as store:
        rows = store.ask(pending_rows.page, None, 10)
        change(empty_database_url, rows[0])
        assert store.mark_exported(rows, NOW) == Marks(marked=2, changed=1)
        assert store.mark_exported(rows[1:], NOW) == Marks(marked=2)
        assert len(_slice(store)) == 3
        told = store.mark_exported(_slice(store), NOW, again=True)
        assert told.marked == 3
        assert not store.ask(pending_rows.exists)


def test_the_doctor_tries_a_mark_and_takes_it_back(store, database_url, rows):
    assert marks_take(store, NOW) == ok("tested and rolled back")
    assert marked(database_url) == set()
    store.mark_exported(rows, NOW)
    assert marks_take(store, NOW + timedelta(hours=1)).state is CheckState.OK
    assert query(database_url, "SELECT DISTINCT exported_at FROM campaign_metrics") == [
        (NOW,)
    ]


def test_the_doctor_names_what_swallows_marks(store, database_url, rows):
    execute(database_url, FUNCTION.format("RETURN NULL;"))
    execute(
        database_url,
        "CREATE TRIGGER freeze_rows BEFORE UPDATE ON campaign_metrics"
        " FOR EACH ROW EXECUTE FUNCTION swallow()",
    )
    found = marks_take(store, NOW)
    assert found.state is CheckState.FAILED
    assert "trigger freeze_rows" in found.measured
    execute(database_url, "DELETE FROM campaign_metrics")
    assert marks_take(store, NOW).state is CheckState.WARNING


def test_the_doctor_does_not_wait_for_rows_that_somebody_holds(
    store, database_url, rows
):
    with held(database_url, *rows):
        assert marks_take(store, NOW).state is CheckState.NOT_CHECKED
    execute(database_url, "DELETE FROM campaign_metrics")
    assert marks_take(store, NOW).state is CheckState.OK
