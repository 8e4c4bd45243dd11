"""A wire between one process and the bus on which everything takes its time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

from deploy.local.environment import HOST


class SlowWire:
    """Listens on ``url`` and passes every byte on to ``target``, in order, ``seconds`` later."""

    def __init__(self, target: str) -> None:
        self.seconds = 0.0
        self._target = urlsplit(target)
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None, "not started"
        return f"nats://{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, HOST, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there_reader, there_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
            for source, sink in ((reader, there_writer), (there_reader, writer)):
                task = asyncio.create_task(self._pass(source, sink))
                self._passing.add(task)
                task.add_done_callback(self._passing.discard)
            return
        writer.close()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def arrive() -> None:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    return
                sink.write(data)
                await sink.drain()

        arriving = asyncio.create_task(arrive())
        try:
            while not arriving.done():
                data = await source.read(65536)
                under_way.put_nowait((loop.time() + self.seconds, data))
                if not data:
                    break
            await arriving
        except OSError:
            pass
        finally:
            arriving.cancel()
            sink.close()
