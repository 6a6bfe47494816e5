"""Who listens where Postgres did learns no password, and is not believed."""

import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg
import pytest
from dagster_postgres.utils import DagsterPostgresException

from apex_pipeline.defs.operations.dagster_storage import PostgresOfVariable
from apex_pipeline.errors import DatabaseError
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.loopback import (
    embedded_guards,
    guards,
    with_parameters,
)
from apex_pipeline_tests.support.waiting import SECONDS

_REQUESTS_OF_ENCRYPTION = {80877103, 80877104}
_CLEAR_TEXT = b"R" + struct.pack("!II", 8, 3)
_MD5 = b"R" + struct.pack("!II", 12, 5) + b"salt"
_COME_IN = b"R" + struct.pack("!II", 8, 0) + b"Z" + struct.pack("!I", 5) + b"I"


class Impostor:
    """Answers at a port as a Postgres that wants the password in clear text.

    Attributes:
        answer: What it says to who wants to come in.
    """

    def __init__(self, listening: socket.socket) -> None:
        self.answer = _CLEAR_TEXT
        self._listening = listening
        self._clients: list[socket.socket] = []
        self.port = listening.getsockname()[1]
        self.asked = threading.Event()
        self.told = b""

    def run(self) -> None:
        # A client that gave up may keep its connection open, so nobody waits for another.
        with ThreadPoolExecutor() as each:
            while True:
                try:
                    client, _ = self._listening.accept()
                except OSError:
                    return
                self._clients.append(client)
                each.submit(self._serve, client)

    def hang_up(self) -> None:
        for each in [self._listening, *self._clients]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _serve(self, client: socket.socket) -> None:
        # Who is asked for the password hangs up.
        with client, suppress(ConnectionError):
            self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        while head := client.recv(4):
            (length,) = struct.unpack("!I", head)
            (code,) = struct.unpack("!I", client.recv(length - 4)[:4])
            if code not in _REQUESTS_OF_ENCRYPTION:
                break
            client.sendall(b"N")
        client.sendall(self.answer)
        self.told += client.recv(1000)
        self.asked.set()


@pytest.fixture
def impostor() -> Iterator[Impostor]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = Impostor(listening)
        thread = threading.Thread(target=found.run)
        thread.start()
        yield found
        found.hang_up()
        thread.join(SECONDS)


def ask(impostor: Impostor, url: str, match: str | None = None) -> None:
    """Connect, which fails with those words, and only after the impostor has answered."""
    with (
        Database(url, wait_seconds=0, application_name="tests") as database,
        pytest.raises(DatabaseError, match=match),
    ):
        database.ask(lambda _: None)
    assert impostor.asked.wait(SECONDS)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_password_is_sent_in_clear_text_on_this_machine(impostor, host):
    url = f"postgresql://u:geheim-geheim@{host}:{impostor.port}/apex"
    ask(impostor, url, "cleartext")
    assert impostor.told == b""


def test_the_operator_may_allow_it(impostor):
    url = f"postgresql://u:geheim@127.0.0.1:{impostor.port}/apex?require_auth=password"
    ask(impostor, url)
    assert b"geheim" in impostor.told


@pytest.mark.parametrize("answer", [_COME_IN, _CLEAR_TEXT, _MD5])
def test_at_the_embedded_servers_port_only_that_server_is_believed(impostor, answer):
    impostor.answer = answer
    url = with_parameters(
        f"postgresql://u:geheim-geheim@127.0.0.1:{impostor.port}/apex",
        embedded_guards(psycopg.pq.version()),
    )
    ask(impostor, url, "scram-sha-256")
    assert impostor.told == b""


def test_another_server_of_this_machine_may_trust_its_clients():
    """As on developers' machines: it cannot be told from a stranger."""
    assert guards({"host": "127.0.0.1"}, 180_000) == {"require_auth": "!password"}
    assert embedded_guards(150_000) == {}


def test_dagsters_storage_sends_none_either(impostor, monkeypatch, caplog):
    monkeypatch.setenv(
        "DAGSTER_POSTGRES_URL", f"postgresql://u:geheim@127.0.0.1:{impostor.port}/d"
    )
    # It tries again for a while, but each attempt ends like the first.
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(DagsterPostgresException):
        PostgresOfVariable.from_config_value(None, {})
    assert "server requested a cleartext password" in caplog.text
    assert impostor.told == b""


@pytest.mark.parametrize(
    ("parameters", "version"),
    [
        ({"host": "db.example.com"}, 180_000),
        ({"host": "127.0.0.1", "sslmode": "verify-full"}, 180_000),
        ({"host": "127.0.0.1"}, 150_000),
    ],
)
def test_elsewhere_and_with_an_old_library_nothing_changes(parameters, version):
    assert guards(parameters, version) == {}
