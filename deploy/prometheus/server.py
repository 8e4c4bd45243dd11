"""One Prometheus beside the local run: what it is told, and how it is started."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

HERE = Path(__file__).parent
CONFIG = HERE / "prometheus.yaml"
RULES = HERE / "rules"
CONSOLES = HERE / "consoles"
KEPT = "2d"


def executable(name: str = "prometheus") -> str:
    """``prometheus`` or ``promtool``. Raises ``FileNotFoundError`` with what to do about it."""
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: run deploy/setup/setup.sh demo prometheus")
    return found


def write(into: Path, targets: Mapping[str, str], seconds: int | None = None) -> Path:
    """The configuration with its rules and ``targets`` (address by process) under ``into``; returns its file.

    ``seconds`` between two looks, instead of what the configuration says.
    """
    config = yaml.safe_load(CONFIG.read_text("utf-8"))
    if seconds is not None:
        config["global"] = {"scrape_interval": f"{seconds}s", "evaluation_interval": f"{seconds}s"}
    shutil.copytree(RULES, into / "rules", dirs_exist_ok=True)
    (into / "targets").mkdir(parents=True, exist_ok=True)
    found = [{"targets": [address], "labels": {"process": name}} for name, address in targets.items()]
    (into / "targets" / "local.json").write_text(json.dumps(found, indent=1), "utf-8")
    path = into / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    return path


def command(config: Path, host: str, port: int) -> list[str]:
    """In the foreground, on ``host`` alone, its data beside the configuration."""
    return [
        executable(),
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'data'}",
        f"--storage.tsdb.retention.time={KEPT}",
        f"--web.listen-address={host}:{port}",
        f"--web.console.templates={CONSOLES}",
        f"--web.console.libraries={CONSOLES}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]
