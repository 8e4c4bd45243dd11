"""A real nats-server with JetStream on a free port, for as long as a block lasts."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nats

from deploy.nats.server import dying_with_parent, executable


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class NatsServer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = executable()
        self._process = subprocess.Popen(
            dying_with_parent(program, "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self.folder)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if time.monotonic() > deadline:
                raise TimeoutError("nats-server did not start")
            time.sleep(0.01)

    def kill(self) -> None:
        """As a power cut would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None

    async def wipe(self) -> None:
        """Removes every stream, so that a test begins on an empty bus without paying for a new server."""
        client = await nats.connect(self.url)
        try:
            js = client.jetstream()
            await asyncio.gather(*(js.delete_stream(info.config.name or "") for info in await js.streams_info()))
        finally:
            await client.close()


@contextmanager
def nats_server(folder: Path) -> Iterator[NatsServer]:
    server = NatsServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
