"""Other logins of the same server."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg


@contextmanager
def login(database_url: str, *grants: str) -> Iterator[str]:
    """The URL of a role of its own, with these privileges."""
    name = f"role_{uuid4().hex}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pass'".encode())
        for grant in grants:
            connection.execute(f"GRANT {grant} TO {name}".encode())
        parts = urlsplit(database_url)
        netloc = f"{name}:pass@{parts.hostname}:{parts.port}"
        try:
            yield urlunsplit(parts._replace(netloc=netloc))
        finally:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE usename = %s",
                (name,),
            )
            connection.execute(f"DROP OWNED BY {name}".encode())
            connection.execute(f"DROP ROLE {name}".encode())
