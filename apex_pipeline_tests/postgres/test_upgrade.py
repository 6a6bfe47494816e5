"""The first release's database, upgraded; and the first release's program on the newest.

`first_release/database.sql` is a dump of a database that release 0.1.0 made and filled;
`statements.sql` is what Postgres logged while its sync, rollups, watch, panel and export ran.
"""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from apex_pipeline.postgres import migrations

RELEASE = Path(__file__).parent / "first_release"
STATEMENTS = [
    each.strip()
    for each in (RELEASE / "statements.sql").read_text().split(";\n")
    if each.strip()
]
_OURS = "table_schema = 'public' AND table_name NOT LIKE '%%yoyo%%'"
_COLUMNS = f"""
    SELECT table_name, column_name, data_type FROM information_schema.columns
    JOIN information_schema.tables USING (table_schema, table_name)
    WHERE {_OURS} AND table_type = %s
"""
# Names of objects that may be made again, in another order.
_NOT_DATA = {"analyst_object"}
_MORE = """
    INSERT INTO campaign_metrics_quarantine
    SELECT id, 'invalid', 'phase is too long', 2, now(), now(), now()
    FROM campaign_metrics WHERE exported_at IS NULL ORDER BY id LIMIT 2;
    INSERT INTO adopted_record
    SELECT id, gen_random_uuid(), 'https://org.crm.dynamics.com', now()
    FROM campaign_metrics WHERE exported_at IS NOT NULL ORDER BY id LIMIT 2;
"""

Contents = dict[str, list[Any]]


@pytest.fixture
def connection(empty_database_url):
    with psycopg.connect(empty_database_url, autocommit=True) as opened:
        # Functions come before the tables that they read.
        opened.execute("SET check_function_bodies = off")
        opened.execute((RELEASE / "database.sql").read_bytes())
        opened.execute(_MORE)
        yield opened


def columns(connection, kind: str = "BASE TABLE") -> dict[str, dict[str, str]]:
    """The type of each column of each table, or view."""
    found: dict[str, dict[str, str]] = {}
    for table, column, type_ in connection.execute(_COLUMNS, (kind,)):
        found.setdefault(table, {})[column] = type_
    return found


def contents(connection, known: dict[str, dict[str, str]]) -> Contents:
    """All rows of these tables, in these columns."""
    found = {}
    for table, kinds in known.items():
        names = sql.SQL(", ").join(map(sql.Identifier, sorted(kinds)))
        rows = sql.SQL("SELECT ({})::text FROM {} ORDER BY 1").format(
            sql.SQL("ROW({})").format(names), sql.Identifier(table)
        )
        found[table] = connection.execute(rows).fetchall()
    return found


def test_an_upgrade_from_the_first_release_changes_no_row(
    connection, empty_database_url
):
    known = columns(connection)
    before = contents(connection, known)
    filled = {table for table, rows in before.items() if rows}
    assert filled >= {
        *("campaign_metrics", "campaign_metrics_quarantine", "adopted_record"),
        *("sync_run", "dataverse_target", "dataverse_pacing", "weekly_campaign_rollup"),
        *("daily_campaign_rollup", "cost_forecast_day", "rollup_source"),
    }
    applied = migrations.apply(empty_database_url)
    assert applied[0] == "0012_marks"
    after = contents(connection, known)
    for table in before.keys() - _NOT_DATA:
        assert after[table] == before[table], table
    assert migrations.apply(empty_database_url) == []


def test_every_view_tells_the_same_figures_after_the_upgrade(
    connection, empty_database_url
):
    views = columns(connection, "VIEW")
    before = contents(connection, views)
    assert {view for view, rows in before.items() if rows} >= {
        *("cost_forecast", "campaign_metrics_pending"),
    }
    migrations.apply(empty_database_url)
    assert contents(connection, views) == before


@pytest.fixture
def upgraded(connection, empty_database_url):
    migrations.apply(empty_database_url)
    return connection


def test_the_release_before_finds_all_that_its_statements_name(upgraded):
    assert len(STATEMENTS) > 50
    for statement in STATEMENTS:
        upgraded.execute(f"PREPARE before AS {statement}".encode())
        upgraded.execute("DEALLOCATE before")


def test_what_the_release_before_inserts_lacks_nothing(connection, empty_database_url):
    """A new column without a default would refuse the rows of the program before."""
    before = columns(connection)
    migrations.apply(empty_database_url)
    after = columns(connection)
    # Nothing is dropped, renamed, or of another type.
    assert {t: after[t] | kinds for t, kinds in before.items()} == {
        t: after[t] for t in before
    }
    demanding = connection.execute(
        f"""
        SELECT table_name, column_name FROM information_schema.columns
        WHERE {_OURS} AND is_nullable = 'NO' AND column_default IS NULL
            AND is_identity = 'NO'
        """
    ).fetchall()
    new = {
        (table, column)
        for table, column in demanding
        if table in before and column not in before[table]
    }
    assert new == set()


def recorded(begins: str) -> bytes:
    (found,) = [each for each in STATEMENTS if each.startswith(begins)]
    return found.encode()


def test_the_release_before_begins_a_run_marks_rows_and_releases_them(upgraded):
    """Its own statements, with rows of its own database."""
    ids = upgraded.execute(
        "SELECT array_agg(metric_id) FROM campaign_metrics_quarantine"
    ).fetchone()
    for name, begins in {
        "begin": "INSERT INTO sync_run",
        "mark": "UPDATE campaign_metrics",
        "leave": "DELETE FROM campaign_metrics_quarantine",
    }.items():
        upgraded.execute(b"PREPARE %b AS %b" % (name.encode(), recorded(begins)))
    upgraded.execute("EXECUTE begin (now(), 'a-host', NULL)")
    with psycopg.ClientCursor(upgraded) as cursor:
        cursor.execute("EXECUTE mark (now(), %s, false)", ids)
        assert cursor.rowcount == len(ids[0]) == 2
        cursor.execute("EXECUTE leave (%s)", ids)
        assert cursor.rowcount == 2
