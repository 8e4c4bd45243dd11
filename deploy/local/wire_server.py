"""A MongoDB wire server in one process for machines without MongoDB: the PyPI package ``nx-27017``.

It keeps one SQLite file a database in its data folder. Good for the local run and for tests; production runs
MongoDB. ``python -m deploy.local.wire_server --data-dir DIR --port N`` stays in the foreground.
"""

import argparse
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class WireServer:
    uri: str
    process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """As a power cut would: no chance to tidy up."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


def command(data_dir: Path, port: int) -> list[str]:
    """The command line of a server on ``port``; run it in the project's root (or with it on the path)."""
    arguments = ["--data-dir", str(data_dir.resolve()), "--port", str(port)]
    return [sys.executable, "-m", "deploy.local.wire_server", *arguments]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def start_wire_server(data_dir: Path, port: int | None = None) -> WireServer:
    """Start a server and wait until it answers. Raises RuntimeError when it doesn't come up."""
    data_dir.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    with (data_dir / "server.out").open("ab") as out:
        process = subprocess.Popen(command(data_dir, port), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT)
    server = WireServer(f"mongodb://{HOST}:{port}", process)
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return server
    server.kill()
    raise RuntimeError(f"the wire server did not come up, see {data_dir / 'server.out'}")


@contextmanager
def wire_server(data_dir: Path, port: int | None = None) -> Iterator[str]:
    """The URI of a server over ``data_dir`` that is stopped at the end."""
    server = start_wire_server(data_dir, port)
    try:
        yield server.uri
    finally:
        server.stop()


def serve(data_dir: Path, port: int) -> None:
    """Run the server in this process until it is told to stop."""
    from neosqlite.collection import datetime_utils
    from nx_27017.nx_27017 import main as run

    # It takes any text that begins like a date for a time and compares it to the second. MongoDB compares
    # text as text.
    datetime_utils.COMPILED_DATETIME_PATTERNS.clear()

    data_dir = data_dir.resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    # By default every server of a machine shares one pid file and one log. The pid file of a server that was
    # killed would keep its successor from starting.
    pid_file = data_dir / "server.pid"
    pid_file.unlink(missing_ok=True)
    arguments = ["--data-dir", str(data_dir), "--host", HOST, "--port", str(port)]
    sys.argv = [
        "nx-27017",
        *arguments,
        "--pid-file",
        str(pid_file),
        "--log-file",
        str(data_dir / "server.log"),
    ]
    run()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=27017)
    arguments = parser.parse_args()
    serve(arguments.data_dir, arguments.port)


if __name__ == "__main__":
    main()
