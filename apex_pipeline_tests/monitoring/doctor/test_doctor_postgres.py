"""However odd an answer of Postgres is, it costs its own line of the doctor, no other."""

import re
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import given, strategies as st
from psycopg import sql

from apex_pipeline.monitoring.doctor.check_results import CheckState
from apex_pipeline.monitoring.doctor.database_checks import database_checks
from apex_pipeline.monitoring.doctor.runner import examine
from apex_pipeline.monitoring.doctor.surroundings import Surroundings
from apex_pipeline.postgres.database import Database
from apex_pipeline_tests.support.aged_trail import daily
from apex_pipeline_tests.support.ends import campaign_row, execute, insert
from apex_pipeline_tests.support.examples import examples
from apex_pipeline_tests.support.odd_postgres import (
    TYPES,
    comes_twice,
    holds,
    is_empty,
    odd_postgres,
    past_tls,
    refuses,
)

# Of Postgres' documentation, appendix A: privilege, table, column, time, lock, disk,
# value, type, replica, internal.
STATES = ["42501", "42P01", "42703", "57014", "55P03", "53100", "22P02", "42804"]
STATES += ["25006", "XX000"]
VALUES = {
    "boolean": "t",
    "bigint": "-7",
    "text": "odd",
    "double": "NaN",
    "timestamptz": "infinity",
    "jsonb": '{"a": [null]}',
    "text[]": "{a,NULL}",
    "numeric": "Infinity",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "interval": "-1 days",
}
REFUSALS = st.sampled_from(STATES).map(refuses)
ODD = st.sampled_from(
    [is_empty, comes_twice, *(holds(kind, None) for kind in TYPES)]
    + [holds(kind, value) for kind, value in VALUES.items()]
)


def fill(url):
    """One row of what the lines look at."""
    insert(url, [campaign_row()])
    execute(
        url,
        "INSERT INTO sync_run (started_at, finished_at, status, host) "
        "VALUES (now(), now(), 'success', 'here')",
    )
    with Database(url, application_name="tests") as database:
        daily(database)


@pytest.fixture(scope="module")
def odd(postgres, migrated_database):
    """A database whose answers can be odd, its URL, and each line's statements."""
    name = "odd_answers"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_database}".encode())
    url = postgres.url(name)
    fill(url)
    with odd_postgres(urlsplit(url).port) as served:
        through = past_tls(url, served)
        yield served, through, statements(served, through)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def checks(url):
    return list(database_checks(url, Surroundings(lambda _: None)))


def statements(served, url):
    """What each line asks, by itself."""
    found = {}
    for check in checks(url):
        served.asked.clear()
        assert check.probe().state is CheckState.OK, check.name
        found[check.name] = set(served.asked)
    return found


def look(served, url, odd):
    served.odd = odd
    try:
        return {line.name: line for line in examine(checks(url), seconds=120)}
    finally:
        served.odd = {}


def spared(url, asked, odd):
    """Lines that neither ask one of these statements nor need a line that does."""
    hit: set[str] = set()
    for check in checks(url):
        if asked[check.name] & odd or hit & set(check.needs):
            hit.add(check.name)
    return asked.keys() - hit


FEW = examples(5)


def one_of(asked, data):
    every = sorted(set.union(*asked.values()))
    return data.draw(st.sampled_from(every))


@given(data=st.data())
@FEW
def test_a_statement_that_fails_costs_the_lines_that_ask_it(odd, data):
    served, url, asked = odd
    statement = one_of(asked, data)
    lines = look(served, url, {statement: data.draw(REFUSALS)})
    assert list(lines) == list(asked)
    assert [each for each in lines.values() if "a bug in" in each.measured] == []
    for name in spared(url, asked, {statement}):
        assert lines[name].state is CheckState.OK, (statement, lines[name])


@given(data=st.data())
@FEW
def test_a_value_of_another_kind_costs_the_lines_that_read_it(odd, data):
    served, url, asked = odd
    statement = one_of(asked, data)
    lines = look(served, url, {statement: data.draw(ODD)})
    assert list(lines) == list(asked)
    for name in spared(url, asked, {statement}):
        assert lines[name].state is CheckState.OK, (statement, lines[name])


READ = [
    "campaign_metrics",
    "campaign_metrics_quarantine",
    "sync_run",
    "pg_catalog.pg_index",
    "pg_catalog.pg_attribute",
    "_yoyo_migration",
]


@pytest.mark.parametrize("relation", READ)
def test_a_privilege_that_is_missing_is_named(postgres, database_url, relation):
    fill(database_url)
    database = urlsplit(database_url).path[1:]
    reader = sql.Identifier(f"reader_{database}")
    grant = sql.SQL(
        "CREATE ROLE {0} LOGIN PASSWORD 'p';"
        "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {0};"
        "REVOKE SELECT ON {1} FROM PUBLIC, {0}"
    ).format(reader, sql.SQL(relation))
    with psycopg.connect(database_url) as owner:
        owner.execute(grant)
    url = re.sub("//.*@", f"//reader_{database}:p@", database_url)
    try:
        lines = {line.name: line for line in examine(checks(url), seconds=120)}
    finally:
        with psycopg.connect(database_url) as owner:
            owner.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(reader))
    assert lines["database"].state is CheckState.OK
    refused = [line for line in lines.values() if line.state is CheckState.FAILED]
    name = relation.rpartition(".")[2]
    assert [line.measured for line in refused if f"for table {name}" in line.measured]
    assert all("for table" in line.measured for line in refused), refused
    assert not any("a bug in" in line.measured for line in lines.values())
