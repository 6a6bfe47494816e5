"""Roles of analysts."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import conninfo, sql


def named(database_url: str, user: str) -> str:
    """The same database as another user, whose password is `secret`."""
    return conninfo.make_conninfo(database_url, user=user, password="secret")


@pytest.fixture
def powerless_url(database_url) -> Iterator[str]:
    """URL for a role that owns the database and may not create roles."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = conninfo.conninfo_to_dict(database_url)["dbname"]
        connection.execute("CREATE ROLE powerless LOGIN PASSWORD 'secret'")
        connection.execute(
            sql.SQL("GRANT ALL ON DATABASE {} TO powerless").format(
                sql.Identifier(str(name))
            )
        )
        connection.execute("CREATE SCHEMA theirs AUTHORIZATION powerless")
        connection.execute("ALTER ROLE powerless SET search_path = theirs")
    yield as_url(named(database_url, "powerless"))
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP OWNED BY powerless CASCADE")
        connection.execute("DROP ROLE powerless")


def as_url(dsn: str) -> str:
    parts = conninfo.conninfo_to_dict(dsn)
    return (
        f"postgresql://{parts['user']}:{parts['password']}@{parts['host']}:"
        f"{parts['port']}/{parts['dbname']}"
    )
