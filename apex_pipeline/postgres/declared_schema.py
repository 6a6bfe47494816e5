"""Check that tables, views and indexes exist, by reading what the migrations declare."""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

import psycopg
from psycopg import errors

_RELATION = re.compile(
    r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:TABLE|VIEW|MATERIALIZED\s+VIEW)\s+"
    r"(?:IF\s+NOT\s+EXISTS\s+)?([a-z][\w.]*)"
)
_ALTERED = re.compile(r"ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?([a-z][\w.]*)")
# An index is named without a schema; it is in the schema of its table.
_INDEX = re.compile(
    r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+(?:CONCURRENTLY\s+)?(?:IF\s+NOT\s+EXISTS\s+)?"
    r"([a-z]\w*)\s+ON\s+([a-z]\w*\.)?"
)
# A migration's check before it builds an index that may exist under another name.
_GUARD = re.compile(r"\bDO \$\$(?:(?!\$\$).)*RAISE duplicate_table.*?\$\$;", re.DOTALL)
_COMMENT = re.compile(r"--.*")

_IS_RELATION = "SELECT to_regclass(%s) IS NOT NULL"
_IS_VALID_INDEX = """
    SELECT EXISTS (
        SELECT FROM pg_index WHERE indexrelid = to_regclass(%s) AND indisvalid
    )
"""
_LACKING = """
    SELECT array_agg(name ORDER BY place)
    FROM unnest(%(columns)s::text[]) WITH ORDINALITY AS wanted (name, place)
    WHERE to_regclass(%(table)s) IS NOT NULL AND NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass(%(table)s) AND attname = name
            AND attnum > 0 AND NOT attisdropped
    )
    HAVING count(*) > 0
"""


class ObjectKind(StrEnum):
    """The kinds of objects that a migration creates."""

    RELATION = "relation"
    INDEX = "index"


def missing(
    connection: psycopg.Connection, sources: Mapping[str, str], kind: ObjectKind
) -> dict[str, list[str]]:
    """Name the missing objects, under the migration that creates them.

    Args:
        connection: In autocommit; it changes nothing.
        sources: Name of each migration, to its SQL.
        kind: What to look for. An index may exist under another name, if the migration
            says so; an invalid index counts as missing.
    """
    found: dict[str, list[str]] = {}
    for migration, source in sources.items():
        text = _COMMENT.sub("", source)
        is_relation = kind is ObjectKind.RELATION
        statement = _IS_RELATION if is_relation else _IS_VALID_INDEX
        made = _RELATION.findall(text) if is_relation else _indexes(text)
        names = [
            name
            for name in dict.fromkeys(made)
            if connection.execute(statement, (name,)).fetchone() != (True,)
        ]
        if names and not (kind is ObjectKind.INDEX and _has_another(connection, text)):
            found[migration] = names
    return found


def lacking(
    connection: psycopg.Connection, table: str, columns: Sequence[str]
) -> list[str]:
    """Name the columns that a table lacks; empty if the table does not exist."""
    row = connection.execute(
        _LACKING, {"table": table, "columns": list(columns)}
    ).fetchone()
    return row[0] if row else []


def altered(source: str) -> set[str]:
    """Names of the tables that a migration alters."""
    return set(_ALTERED.findall(_COMMENT.sub("", source)))


def leaves_objects(source: str) -> bool:
    """Whether a migration creates something that `missing` looks for."""
    return bool(relations({"": source}) or _indexes(_COMMENT.sub("", source)))


def relations(sources: Mapping[str, str]) -> list[str]:
    """Names of the tables and views that the migrations create, in order."""
    made = (_RELATION.findall(_COMMENT.sub("", text)) for text in sources.values())
    return list(dict.fromkeys(name for names in made for name in names))


def _indexes(text: str) -> list[str]:
    return [schema + name for name, schema in _INDEX.findall(text)]


def _has_another(connection: psycopg.Connection, text: str) -> bool:
    """Whether the migration would find its index under another name."""
    guard = _GUARD.search(text)
    if guard is None:
        return False
    try:
        with connection.transaction():
            connection.execute(guard[0].encode())
    except errors.DuplicateTable:
        return True
    except errors.UndefinedTable:
        return False
    return False
