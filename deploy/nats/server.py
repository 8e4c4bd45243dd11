"""One nats-server of our own, for as long as something needs it."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 10.0
STOP_SECONDS = 5.0


def executable() -> str:
    """Raises ``FileNotFoundError`` with what to do about it."""
    # Debian keeps it in /usr/sbin, which an ordinary user's PATH lacks.
    found = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise FileNotFoundError("nats-server is not installed: run deploy/setup/setup.sh")
    return found


def dying_with_parent(*command: str) -> list[str]:
    """The command, ended by SIGTERM when the one that started it ends, however it ends."""
    return ["setpriv", "--pdeathsig", "TERM", "--", *command]


class NatsServer:
    """``async with NatsServer(folder) as server: server.url``.

    Without a configuration: no accounts, JetStream in the folder, a port of the system's choosing. With one
    (``deploy.nats.generate``) the port stands there.
    """

    def __init__(self, folder: Path, config: Path | None = None) -> None:
        self._folder = folder
        self._config = config
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> Path:
        return self._folder / "nats.log"

    async def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [executable(), "--ports_file_dir", str(self._folder), "--log", str(self.log)]
        if self._config is not None:
            command += ["--config", str(self._config)]
        else:
            command += ["--addr", "127.0.0.1", "--port", "-1"]
            command += ["--jetstream", "--store_dir", str(self._folder)]
        self._process = await asyncio.create_subprocess_exec(
            *dying_with_parent(*command), start_new_session=True, stdin=asyncio.subprocess.DEVNULL
        )
        self.url = await asyncio.wait_for(self._answers(), START_SECONDS)

    async def _answers(self) -> str:
        """The server writes where it listens once it does; JetStream is restored before that."""
        assert self._process is not None
        ports = self._folder / f"nats-server_{self._process.pid}.ports"
        while True:
            if self._process.returncode is not None:
                raise RuntimeError(f"nats-server ended at once, see {self.log}")
            with suppress(FileNotFoundError, json.JSONDecodeError):
                return json.loads(ports.read_text())["nats"][0]
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def kill(self) -> None:
        """As a power cut would."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
