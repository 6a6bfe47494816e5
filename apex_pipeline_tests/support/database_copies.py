"""Databases that are copies of another one, whose tables take seconds to make."""

import os

import psycopg
from psycopg import sql

from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline_tests.support.other_servers import SERVER_VARIABLE


def create_copy(postgres: EmbeddedPostgres, template: str, name: str) -> None:
    """Create a database; nobody may be connected to its template."""
    administer(
        postgres,
        sql.SQL("CREATE DATABASE {} TEMPLATE {} {}").format(
            sql.Identifier(name), sql.Identifier(template), _strategy()
        ),
    )


def drop(postgres: EmbeddedPostgres, name: str) -> None:
    """Drop a database, and end its sessions."""
    administer(
        postgres,
        sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)),
    )


def administer(postgres: EmbeddedPostgres, statement: sql.Composed) -> None:
    """Carry out a statement about the server.

    The connection is kept, until `stop_administering`: tests make and drop a thousand
    databases, and to connect takes half as long as either.
    """
    kept = _administration(postgres)
    try:
        kept.execute(statement)
    except psycopg.OperationalError:
        # A test may have ended all sessions of the server; then nothing was done yet.
        if not kept.closed:
            raise
        _administration(postgres).execute(statement)


_kept: dict[str, psycopg.Connection] = {}


def _administration(postgres: EmbeddedPostgres) -> psycopg.Connection:
    url = postgres.url("postgres")
    found = _kept.get(url)
    if found is None or found.closed:
        found = _kept[url] = psycopg.connect(url, autocommit=True)
    return found


def stop_administering(postgres: EmbeddedPostgres) -> None:
    """Close the connection, before the server ends."""
    kept = _kept.pop(postgres.url("postgres"), None)
    if kept is not None:
        kept.close()


def _strategy() -> sql.SQL:
    """How to copy a template: in a third of the default's time, which logs each page.

    Before version 15 there is nothing to choose.
    """
    return sql.SQL("" if os.environ.get(SERVER_VARIABLE) else "STRATEGY file_copy")
