"""A Postgres whose answers to some statements are odd, on the wire.

It stands between a client and a real server and speaks the protocol of Postgres'
documentation, "Frontend/Backend Protocol", version 3.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from apex_pipeline_tests.support.waiting import SECONDS

Message = tuple[bytes, bytes]
"""One message of the server: its kind and its content."""

Oddity = Callable[[list[Message]], list[Message]]
"""What becomes of the answer to one statement."""

TYPES = {"boolean": 16, "bigint": 20, "text": 25, "double": 701, "timestamptz": 1184}
TYPES |= {
    "jsonb": 3802,
    "text[]": 1009,
    "numeric": 1700,
    "uuid": 2950,
    "interval": 1186,
}


def refuses(state: str) -> Oddity:
    """The statement fails with this SQLSTATE."""

    def odd(_: list[Message]) -> list[Message]:
        told = f"SERROR\0VERROR\0C{state}\0Modd answer\0\0".encode()
        return [(b"E", told)]

    return odd


def is_empty(answer: list[Message]) -> list[Message]:
    """No row comes back."""
    return [message for message in answer if message[0] != b"D"]


def comes_twice(answer: list[Message]) -> list[Message]:
    """Each row comes back twice."""
    return [m for message in answer for m in [message] * (1 + (message[0] == b"D"))]


def holds(kind: str, value: str | None) -> Oddity:
    """Every column is of another type and holds this value, or NULL."""

    def odd(answer: list[Message]) -> list[Message]:
        return [
            (b"T", _described(content, TYPES[kind]))
            if letter == b"T"
            else (b"D", _row(content, value))
            if letter == b"D"
            else (letter, content)
            for letter, content in answer
        ]

    return odd


def _described(content: bytes, kind: int) -> bytes:
    (count,) = struct.unpack_from("!h", content)
    found, at = content[:2], 2
    for _ in range(count):
        end = content.index(b"\0", at) + 1
        table = content[end : end + 6]
        found += content[at:end] + table + struct.pack("!ihih", kind, -1, -1, 0)
        at = end + 18
    return found


def _row(content: bytes, value: str | None) -> bytes:
    (count,) = struct.unpack_from("!h", content)
    raw = None if value is None else value.encode()
    one: bytes = struct.pack("!i", -1 if raw is None else len(raw)) + (raw or b"")
    return content[:2] + one * int(count)


@dataclass
class OddPostgres:
    """Listens on `127.0.0.1:port` in place of the server behind it.

    Attributes:
        odd: Statement to what becomes of its answer; all others are left alone.
        asked: Statements that have come in.
    """

    port: int
    odd: Mapping[str, Oddity] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


def past_tls(url: str, served: OddPostgres) -> str:
    """The URL of a database through it."""
    parts = urlsplit(url)
    netloc = parts.netloc.replace(f":{parts.port}", f":{served.port}")
    return urlunsplit(
        parts._replace(netloc=netloc, query="sslmode=disable&gssencmode=disable")
    )


@contextmanager
def odd_postgres(port: int) -> Iterator[OddPostgres]:
    """Stand before the server at a port of this machine; clients speak without TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = OddPostgres(listener.getsockname()[1])
        ends: list[socket.socket] = []
        threads = [
            threading.Thread(target=_accept, args=(listener, ends, port, served))
        ]
        threads[0].start()
        try:
            yield served
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for end in ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            threads[0].join(SECONDS)


def _accept(
    listener: socket.socket, ends: list[socket.socket], port: int, served: OddPostgres
) -> None:
    threads = []
    while True:
        try:
            near = listener.accept()[0]
        except OSError:
            break
        ends.append(near)
        threads.append(threading.Thread(target=_carry, args=(near, port, served)))
        threads[-1].start()
    for thread in threads:
        thread.join(SECONDS)


def _carry(near: socket.socket, port: int, served: OddPostgres) -> None:
    """Carry one connection to its end."""
    statements: list[str] = []
    with near, socket.create_connection(("127.0.0.1", port)) as far:
        asking = threading.Thread(target=_ask, args=(near, far, statements, served))
        asking.start()
        with suppress(OSError), far.makefile("rb") as answers:
            _answer(near, answers.read, statements, served)
        for end in (near, far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        asking.join(SECONDS)


def _ask(
    near: socket.socket, far: socket.socket, statements: list[str], served: OddPostgres
) -> None:
    with suppress(OSError), near.makefile("rb") as requests:
        # The first message has no kind.
        kind = b""
        while head := requests.read(4):
            content = requests.read(struct.unpack("!i", head)[0] - 4)
            if kind in {b"Q", b"P"}:
                skipped = content.index(b"\0") + 1 if kind == b"P" else 0
                text = content[skipped : content.index(b"\0", skipped)].decode()
                statements.append(text)
                served.asked.append(text)
            far.sendall(kind + head + content)
            kind = requests.read(1)
    with suppress(OSError):
        far.shutdown(socket.SHUT_WR)


def _answer(
    near: socket.socket,
    read: Callable[[int], bytes],
    statements: list[str],
    served: OddPostgres,
) -> None:
    answer: list[Message] = []
    while letter := read(1):
        answer.append((letter, read(struct.unpack("!i", read(4))[0] - 4)))
        # "Ready for query" ends the answer to a statement; signing in has no such end.
        if letter == b"Z" or not statements:
            odd = served.odd.get(statements[-1]) if statements else None
            near.sendall(_packed(answer if odd is None else _made_odd(answer, odd)))
            answer = []
    near.sendall(_packed(answer))


def _made_odd(answer: list[Message], odd: Oddity) -> list[Message]:
    *before, (kind, ready) = answer
    found = odd(before)
    if found and found[-1][0] == b"E" and ready == b"T":
        # What fails within a transaction ends it.
        ready = b"E"
    return [*found, (kind, ready)]


def _packed(answer: list[Message]) -> bytes:
    return b"".join(
        kind + struct.pack("!i", len(content) + 4) + content for kind, content in answer
    )
