"""Stands between workers and a server, on loopback, and cuts their connections: at once, or in place of an answer."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy.engine import make_url

_CHUNK = 65_536


@dataclass(eq=False)
class _Wire:
    """One connection of a client, and the one to the server behind it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    swallows: bool = False

    def cut(self) -> None:
        """Break both ends at once, without a word."""
        self.client.transport.abort()
        self.server.transport.abort()


@dataclass
class Proxy:
    """Passes on what clients and server say."""

    host: str
    port: int
    dice: random.Random
    cuts: int = 0
    swallowed: int = 0
    _wires: set[_Wire] = field(default_factory=set)
    _own_port: int = 0

    def url(self, behind: str) -> str:
        """Return the URL of a database behind this proxy."""
        return make_url(behind).set(host="127.0.0.1", port=self._own_port).render_as_string(hide_password=False)

    def cut_one(self) -> None:
        """Cut one connection: at once, or when the server answers next, so that the answer is lost and no more."""
        if not self._wires:
            return
        wire = self.dice.choice(sorted(self._wires, key=id))
        self.cuts += 1
        if self.dice.random() < 0.5:
            wire.cut()
        else:
            wire.swallows = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.transport.abort()  # the server is away
            return
        wire = _Wire(writer, to_server)
        self._wires.add(wire)
        try:
            await asyncio.gather(self._ask(reader, wire), self._answer(from_server, wire))
        finally:
            self._wires.discard(wire)
            wire.cut()

    async def _ask(self, reader: asyncio.StreamReader, wire: _Wire) -> None:
        with suppress(OSError):
            while said := await reader.read(_CHUNK):
                wire.server.write(said)
                await wire.server.drain()
        wire.cut()

    async def _answer(self, reader: asyncio.StreamReader, wire: _Wire) -> None:
        with suppress(OSError):
            while said := await reader.read(_CHUNK):
                if wire.swallows:
                    self.swallowed += 1
                    break
                wire.client.write(said)
                await wire.client.drain()
        wire.cut()


@asynccontextmanager
async def proxy(host: str, port: int, seed: int) -> AsyncIterator[Proxy]:
    """Give a proxy in front of a server."""
    between = Proxy(host, port, random.Random(seed))
    server = await asyncio.start_server(between._serve, "127.0.0.1", 0)
    between._own_port = server.sockets[0].getsockname()[1]
    try:
        yield between
    finally:
        server.close()
        for wire in tuple(between._wires):
            wire.cut()
        while between._wires:
            await asyncio.sleep(0.01)
