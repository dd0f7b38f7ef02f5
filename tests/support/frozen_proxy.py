"""Stands between a client and a server, on loopback, and freezes: it takes what is said, and nobody answers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from sqlalchemy.engine import URL, make_url

_CHUNK = 65_536


class FrozenProxy:
    """Passes on what client and server say until it is frozen.

    Attributes:
        url: Of the database behind it.
        open: How many connections of clients are open.
    """

    def __init__(self, url: str) -> None:
        self._real = make_url(url)
        self.url = self._real
        self.open = 0
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._unanswered: set[asyncio.StreamReader] = set()
        self._has_asked = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def freeze(self) -> None:
        """Answer nothing from now on."""
        self._thawed.clear()
        self._unanswered.clear()

    async def asked(self, connections: int = 1) -> None:
        """Wait until this many connections have sent something since the last `freeze()`."""
        while len(self._unanswered) < connections:
            self._has_asked.clear()
            await self._has_asked.wait()

    def thaw(self) -> None:
        """Pass everything on that was said meanwhile."""
        self._thawed.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it hangs up."""
        self.open += 1
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        passing = asyncio.create_task(self._pass_on(queue, writer))
        self._tasks.add(passing)
        try:
            with suppress(OSError):
                while said := await reader.read(_CHUNK):
                    queue.put_nowait(said)
                    if not self._thawed.is_set():
                        self._unanswered.add(reader)
                        self._has_asked.set()
        finally:
            self.open -= 1
            passing.cancel()
            self._tasks.discard(passing)
            writer.transport.abort()

    async def _pass_on(self, queue: asyncio.Queue[bytes], client: asyncio.StreamWriter) -> None:
        await self._thawed.wait()
        answers, server = await asyncio.open_connection(self._real.host, self._real.port)
        answering = asyncio.create_task(self._answer(answers, client))
        try:
            while True:
                said = await queue.get()
                await self._thawed.wait()
                server.write(said)
        finally:
            answering.cancel()
            server.transport.abort()

    async def _answer(self, answers: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while said := await answers.read(_CHUNK):
            await self._thawed.wait()
            client.write(said)
        client.close()


@asynccontextmanager
async def frozen_proxy(url: str | URL) -> AsyncGenerator[FrozenProxy]:
    """Give a proxy in front of a server, which is thawed in the end."""
    text = url if isinstance(url, str) else url.render_as_string(hide_password=False)
    between = FrozenProxy(text)
    server = await asyncio.start_server(between.serve, "127.0.0.1", 0)
    between.url = make_url(text).set(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    try:
        yield between
    finally:
        between.thaw()
        server.close()
