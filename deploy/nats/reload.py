"""Has a running nats-server read its configuration again. Who is connected stays connected.

    python -m deploy.nats.reload --into DIR

It is asked twice: an account that a first reload brings in finds the core account's exports only at the next one
(seen on 2.9.10; nats-server#8560 tells of a cousin on 2.14). Each time the server's own word is awaited
(``config_load_time``), for signals that come too close together count as one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
import urllib.request
from pathlib import Path

from deploy.nats.generate import CONFIG, PID_FILE

TIMES = 2
SECONDS = 10.0


def reload(into: Path) -> None:
    """Raises ``TimeoutError`` when the server doesn't take the configuration; its log says why."""
    config = json.loads((into / CONFIG).read_text(encoding="utf-8").split("\n", 1)[1])
    pid = int((into / PID_FILE).read_text(encoding="ascii"))
    for _ in range(TIMES):
        before = _loaded(config["http"])
        os.kill(pid, signal.SIGHUP)
        deadline = time.monotonic() + SECONDS
        while _loaded(config["http"]) == before:
            if time.monotonic() > deadline:
                raise TimeoutError("nats-server did not take the configuration, see its log")
            time.sleep(0.02)


def _loaded(monitor: str) -> str:
    """When the server last read its configuration."""
    with urllib.request.urlopen(f"http://{monitor}/varz", timeout=SECONDS) as answer:
        return json.load(answer)["config_load_time"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Have nats-server read its configuration again.")
    parser.add_argument("--into", type=Path, required=True, help="where deploy.nats.generate wrote it")
    reload(parser.parse_args().into)
    print("reloaded")


if __name__ == "__main__":
    main()
