"""A connection ends with its block, whatever the server answers."""

from urllib.parse import urlsplit

import psycopg
import pytest

from apex_pipeline.postgres.database import Database
from apex_pipeline_tests.support.odd_postgres import (
    odd_postgres,
    past_tls,
    refuses,
)


def test_a_connection_is_closed_though_the_end_of_its_transaction_fails(database_url):
    with (
        odd_postgres(urlsplit(database_url).port or 0) as served,
        Database(past_tls(database_url, served), application_name="test") as database,
    ):
        connection = database.connect()
        connection.execute("SELECT 1")
        served.odd = {"COMMIT": refuses("53100")}
        with pytest.raises(psycopg.OperationalError), connection:
            pass
        assert connection.closed
