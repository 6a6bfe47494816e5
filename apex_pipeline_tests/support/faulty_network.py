"""A TCP proxy that does to connections what networks do to them."""

import asyncio
import math
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Self

from apex_pipeline_tests.support.waiting import SECONDS

_PIECE = 16_384
_DROP_SECONDS = 0.01
# Closing with this sends a reset, as a peer that has lost the connection does.
_RESET = struct.pack("ii", 1, 0)


class FaultyNetwork:
    """Forwards `127.0.0.1:port` to a server; faults take effect at once.

    Attributes:
        port: Where it listens; the same from the beginning to the end.
        delay: Seconds that each piece is held back, in both directions.
        bytes_per_second: The most that a connection carries each way; None: no limit.
        replaced: Bytes in answers, and what arrives in their place; equally long.
        accepted: How many connections have come.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = host, port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._requests_flow, self._answers_flow = asyncio.Event(), asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._listener: asyncio.Server | None = None
        self.port = 0
        self.delay = 0.0
        self.bytes_per_second: float | None = None
        self.replaced: tuple[bytes, bytes] | None = None
        self.accepted = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def freeze(self, *, answers_only: bool = False) -> None:
        """Carry nothing more, and close nothing: a half-open connection.

        Args:
            answers_only: Go on carrying what clients send.
        """

        async def stop() -> None:
            self._answers_flow.clear()
            if not answers_only:
                self._requests_flow.clear()

        self._run(stop())

    def forget(self) -> None:
        """Carry nothing more on open connections, for good; new ones are served.

        So does a router that has lost its table: both ends believe in the connection.
        """

        async def swap() -> None:
            self._answers_flow.clear()
            self._requests_flow.clear()
            self._requests_flow, self._answers_flow = asyncio.Event(), asyncio.Event()
            self._requests_flow.set()
            self._answers_flow.set()

        self._run(swap())

    def reset(self) -> None:
        """Reset every connection; new ones are served."""
        self._run(self._reset())

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""

        async def refuse() -> None:
            if self._listener is not None:
                self._listener.close()
                self._listener = None
            await self._reset()

        self._run(refuse())

    def mend(self) -> None:
        """End every fault."""

        async def serve() -> None:
            self.delay, self.bytes_per_second = 0.0, None
            self._requests_flow.set()
            self._answers_flow.set()
            if self._listener is None:
                self._listener = await asyncio.start_server(
                    self._serve, "127.0.0.1", self.port
                )
                self.port = self._listener.sockets[0].getsockname()[1]

        self._run(serve())

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.accepted += 1
        self._writers.add(writer)
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            self._writers.discard(writer)
            return
        self._writers.add(there_writer)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, there_writer, self._requests_flow))
                both.create_task(self._carry(there_reader, writer, self._answers_flow))
        except* OSError:
            _reset(writer)
            _reset(there_writer)
        finally:
            for each in (writer, there_writer):
                self._writers.discard(each)
                each.close()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        flows: asyncio.Event,
    ) -> None:
        while piece := await reader.read(_PIECE):
            await asyncio.sleep(self.delay)
            if self.replaced is not None and flows is self._answers_flow:
                piece = piece.replace(*self.replaced)
            if self.bytes_per_second is not None:
                await self._trickle(piece, writer, flows)
                continue
            await flows.wait()
            writer.write(piece)
            await writer.drain()
        await flows.wait()
        writer.write_eof() if writer.can_write_eof() else writer.close()

    async def _trickle(
        self, piece: bytes, writer: asyncio.StreamWriter, flows: asyncio.Event
    ) -> None:
        while piece:
            speed = self.bytes_per_second or math.inf
            # Drops that are not too small: each costs a turn of the loop.
            drop = max(int(min(speed * _DROP_SECONDS, len(piece))), 1)
            await asyncio.sleep(drop / speed)
            await flows.wait()
            writer.write(piece[:drop])
            await writer.drain()
            piece = piece[drop:]

    async def _reset(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def _finish(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
