"""A server that is too old is refused before anything is sent to it."""

from urllib.parse import urlsplit

import psycopg
import pytest

from apex_pipeline.errors import ConfigError
from apex_pipeline.monitoring.doctor.postgres_state import Postgres
from apex_pipeline.postgres import migrations
from apex_pipeline_tests.support.faulty_network import FaultyNetwork
from apex_pipeline_tests.support.other_servers import through

TOO_OLD = r"Postgres 13\.4 is too old: apex_pipeline needs 14 or later"


@pytest.fixture
def claiming(empty_database_url):
    """The URL of a server that says that it is of another version."""
    parts = urlsplit(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        true = str(connection.info.parameter_status("server_version"))
    with FaultyNetwork(parts.port or 0) as network:

        def claim(version: str) -> str:
            told = version.ljust(len(true)).encode()
            network.replaced = (
                f"server_version\0{true}".encode(),
                b"server_version\0" + told,
            )
            return through(empty_database_url, network.port)

        yield claim


def test_a_server_older_than_14_is_refused_in_a_sentence(claiming, empty_database_url):
    url = claiming("13.4")
    for ask in (migrations.apply, migrations.pending, migrations.unapplied):
        with pytest.raises(ConfigError, match=TOO_OLD):
            ask(url)
    with pytest.raises(ConfigError, match=TOO_OLD):
        Postgres(url).reachable()
    with psycopg.connect(empty_database_url) as connection:
        tables = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone()
    assert tables == (0,)


def test_the_oldest_that_is_supported_is_not(claiming):
    url = claiming("14.0")
    assert "Postgres 14.0 at" in Postgres(url).reachable().measured
    assert migrations.apply(url)
