"""The proxy of the chaos tests does what it says, or they would prove nothing."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from apex_pipeline_tests.support.faulty_network import FaultyNetwork
from apex_pipeline_tests.support.waiting import SECONDS


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(connection: socket.socket) -> None:
            with connection:
                try:
                    while piece := connection.recv(1024):
                        connection.sendall(piece)
                except OSError:
                    return

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def network(echo: int) -> Iterator[FaultyNetwork]:
    with FaultyNetwork(echo) as faulty:
        yield faulty


def connect(network: FaultyNetwork) -> socket.socket:
    return socket.create_connection(("127.0.0.1", network.port), timeout=SECONDS)


def ask(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    answer = b""
    while len(answer) < len(text) and (piece := client.recv(1024)):
        answer += piece
    return answer


def test_without_a_fault_it_carries_both_ways_and_closes_as_the_ends_do(network):
    with connect(network) as client:
        assert ask(client, b"hello") == b"hello"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert network.accepted == 1


def test_a_delay_holds_for_each_direction(network):
    network.delay = 0.1
    with connect(network) as client:
        began = time.monotonic()
        assert ask(client, b"hello") == b"hello"
        assert time.monotonic() - began >= 0.2


def test_a_trickle_is_slow_and_loses_nothing(network):
    network.bytes_per_second = 50
    with connect(network) as client:
        began = time.monotonic()
        assert ask(client, b"0123456789") == b"0123456789"
        assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("answers_only", [True, False])
def test_what_is_frozen_stays_open_and_goes_on_when_it_is_mended(network, answers_only):
    with connect(network) as client:
        assert ask(client, b"before") == b"before"
        network.freeze(answers_only=answers_only)
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ask(client, b"lost?")
        network.mend()
        client.settimeout(30)
        assert client.recv(5) == b"lost?"


def test_a_cut_resets_what_is_open_and_refuses_what_comes(network):
    with connect(network) as client:
        assert ask(client, b"before") == b"before"
        network.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(network)
    port = network.port
    network.mend()
    assert network.port == port
    with connect(network) as client:
        assert ask(client, b"after") == b"after"


def test_a_reset_ends_what_is_open_and_serves_what_comes(network):
    with connect(network) as client, connect(network) as other:
        assert ask(client, b"1") == ask(other, b"1")
        network.reset()
        for each in (client, other):
            with pytest.raises(ConnectionResetError):
                each.recv(1)
    with connect(network) as client:
        assert ask(client, b"after") == b"after"


def test_a_forgotten_connection_stays_open_for_good_and_new_ones_are_served(network):
    with connect(network) as client:
        assert ask(client, b"before") == b"before"
        network.forget()
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ask(client, b"lost")
        network.mend()
        with connect(network) as other:
            assert ask(other, b"after") == b"after"
        with pytest.raises(TimeoutError):
            client.recv(1)
