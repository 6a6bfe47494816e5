"""The role that analysts read as: what it sees, and that it sees nothing else."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import errors, sql

from apex_pipeline.cli.provision import provision
from apex_pipeline.postgres import migrations
from apex_pipeline.postgres.database import Database
from apex_pipeline.provisioning import analyst_role
from apex_pipeline_tests.support.analyst_logins import named, powerless_url
from apex_pipeline_tests.support.ends import execute, query

__all__ = ["powerless_url"]

pytestmark = pytest.mark.any_server

READABLE = {
    "daily_campaign_rollup",
    "daily_rollup_total",
    "weekly_campaign_rollup",
    "weekly_rollup_total",
    "campaign_history_30d",
    "campaign_history_60d",
    "campaign_history_90d",
    "cost_forecast",
    "cost_forecast_horizon",
    "cost_forecast_outcome",
    "cost_forecast_training",
    "cost_forecast_day",
    "cost_forecast_total",
    "cost_forecast_score",
    "cost_forecast_campaign",
    "cost_forecast_part",
    "business_time_zone",
    "campaign_name",
    "campaign_daily",
    "campaign_weekly",
    "totals_daily",
    "totals_weekly",
}

_RELATIONS = """
    SELECT relname, has_table_privilege('apex_analyst', oid, 'SELECT'),
        has_any_column_privilege('apex_analyst', oid, 'INSERT, UPDATE, REFERENCES')
            OR has_table_privilege('apex_analyst', oid, 'DELETE, TRUNCATE, TRIGGER')
    FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'p')
"""


@pytest.fixture
def analyst(database_url) -> Iterator[psycopg.Connection]:
    """A session of an analyst, as the documentation says how to have one."""
    query(database_url, "SELECT 1")
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("ALTER ROLE apex_analyst LOGIN PASSWORD 'secret'")
        try:
            with psycopg.connect(
                named(database_url, "apex_analyst"), autocommit=True
            ) as connection:
                yield connection
        finally:
            owner.execute("ALTER ROLE apex_analyst NOLOGIN PASSWORD NULL")


def test_an_analyst_reads_what_is_made_for_analysts_and_nothing_else(database_url):
    found = {
        name: (reads, writes) for name, reads, writes in query(database_url, _RELATIONS)
    }
    assert {name for name, (reads, _) in found.items() if reads} >= READABLE
    listed = {
        name for (name,) in query(database_url, "SELECT name FROM analyst_object")
    }
    assert {name for name, (reads, _) in found.items() if reads} == listed
    assert not any(writes for _, writes in found.values())
    assert found["campaign_metrics"] == (False, False)


def test_every_relation_and_column_that_an_analyst_reads_is_explained(database_url):
    silent = query(
        database_url,
        """
        SELECT relname, attname FROM analyst_object
        JOIN pg_class ON pg_class.oid = to_regclass(name)
        JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
        WHERE obj_description(pg_class.oid) IS NULL
            OR col_description(attrelid, attnum) IS NULL
        """,
    )
    assert silent == []


def test_psql_shows_an_analyst_every_column_with_its_words(
    analyst, database_url, postgres
):
    server = next(part for part in postgres.command() if part.endswith("bin/postgres"))
    psql = Path(server).with_name("psql")
    shown = subprocess.run(
        [
            *(psql, "--no-psqlrc", "--quiet", "--no-align"),
            *(named(database_url, "apex_analyst"), "--file", "-"),
        ],
        input="".join(f"\\d+ {name}\n" for name in sorted(READABLE)),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    words = query(
        database_url,
        """
        SELECT col_description(attrelid, attnum) FROM analyst_object
        JOIN pg_attribute ON attrelid = to_regclass(name) AND attnum > 0
            AND NOT attisdropped
        """,
    )
    assert len(words) > 200
    assert [said for (said,) in words if f"|{said}" not in shown] == []


def test_the_documented_statement_gives_the_words_to_clients_that_show_no_comments(
    analyst,
):
    page = Path(__file__).parents[2] / "docs" / "analysts.md"
    (statement,) = re.findall(
        r"```sql\n(SELECT table_name.*?)```", page.read_text(), re.DOTALL
    )
    found = analyst.execute(statement).fetchall()
    assert {table for table, *_ in found} == READABLE
    assert len(found) > 200
    assert [column for _, column, _, words in found if not words] == []


def test_one_who_may_act_as_an_analyst_sees_what_an_analyst_sees(database_url):
    with psycopg.connect(database_url) as connection:
        connection.execute("SET ROLE apex_analyst")
        connection.execute("SELECT * FROM cost_forecast")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM campaign_metrics")


def test_provisioning_gives_back_what_was_revoked(database_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert CliRunner().invoke(provision, ["database"]).exit_code == 0
    execute(database_url, "REVOKE SELECT ON cost_forecast FROM apex_analyst")
    plan = CliRunner().invoke(provision, ["database", "--plan"]).output
    assert plan == "would be granted: SELECT on cost_forecast to apex_analyst\n"
    made = CliRunner().invoke(provision, ["database", "--json"])
    assert json.loads(made.output) == {
        "applied": [],
        "created": [],
        "granted": ["SELECT on cost_forecast to apex_analyst"],
    }
    again = CliRunner().invoke(provision, ["database", "--plan"]).output
    assert again.endswith("The database is up to date.\n")


@pytest.mark.parametrize("name", sorted(READABLE))
def test_an_analyst_can_read(analyst, name):
    analyst.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name)))


def test_an_analyst_can_ask_for_any_length(analyst):
    for arguments in ("14", "14, 'UTC'"):
        rows = analyst.execute(f"SELECT * FROM campaign_history({arguments})".encode())
        assert len(rows.fetchall()) == 14


def test_a_time_zone_that_is_not_computed_is_an_error_that_names_those_that_are(
    analyst, database_url
):
    wrong = "SELECT * FROM campaign_history(14, 'America/New_York')"
    with pytest.raises(
        errors.InvalidParameterValue,
        match="Rollups are made for UTC, not for America/New_York",
    ):
        analyst.execute(wrong)
    execute(database_url, "UPDATE business_time_zone SET name = 'Europe/Berlin'")
    with pytest.raises(
        errors.InvalidParameterValue, match="made for UTC and Europe/Berlin, not for Am"
    ):
        analyst.execute(wrong)
    execute(database_url, "UPDATE business_time_zone SET name = 'America/New_York'")
    assert len(analyst.execute(wrong).fetchall()) == 14


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM campaign_metrics",
        "SELECT * FROM campaign_metrics_pending",
        "SELECT * FROM campaign_metrics_quarantine",
        "SELECT * FROM sync_run",
        "SELECT * FROM rollup_source",
        "SELECT * FROM analyst_object",
        "SELECT grant_analyst_access()",
        "DELETE FROM daily_campaign_rollup",
        "DELETE FROM cost_forecast_training",
        "UPDATE daily_rollup_total SET runs = 0",
        "INSERT INTO rollup_history VALUES (true, now())",
        "CREATE TABLE mine (a int)",
        "TRUNCATE weekly_campaign_rollup",
    ],
)
def test_what_an_analyst_may_not_do_is_refused_also_without_the_guard_rails(
    analyst, statement
):
    analyst.execute("SET default_transaction_read_only = off")
    with pytest.raises(errors.InsufficientPrivilege):
        analyst.execute(statement)


def test_a_session_of_an_analyst_is_read_only_and_ends_what_takes_too_long(analyst):
    assert analyst.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
    assert analyst.execute("SHOW statement_timeout").fetchone() == ("1min",)


def test_without_the_right_to_make_roles_the_migration_passes_and_says_what_to_do(
    powerless_url, database_url
):
    """Whoever owns the tables lets the role read them as soon as somebody makes it."""
    url = powerless_url
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("DROP OWNED BY apex_analyst")
        owner.execute("ALTER ROLE apex_analyst RENAME TO set_aside")
        try:
            assert "0008_campaign_history" in migrations.apply(url)
            with Database(url, application_name="test") as database:
                problem = analyst_role.grant(database)
                assert problem is not None
                assert "CREATE ROLE apex_analyst" in problem
                missing = analyst_role.missing_access(database)
                assert missing is not None
                assert "CREATE ROLE apex_analyst NOLOGIN" in missing
                owner.execute("CREATE ROLE apex_analyst NOLOGIN")
                missing = analyst_role.missing_access(database)
                assert missing is not None
                assert "campaign_history_30d" in missing
                assert analyst_role.grant(database) is None
                assert analyst_role.missing_access(database) is None
        finally:
            owner.execute("DROP OWNED BY apex_analyst")
            owner.execute("DROP ROLE IF EXISTS apex_analyst")
            owner.execute("ALTER ROLE set_aside RENAME TO apex_analyst")
