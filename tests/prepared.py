"""What many tests stand on, made once by each process that runs tests and laid down wherever one wants it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from deploy.sandbox import authority
from deploy.sandbox.credentials import make_credentials
from deploy.sandbox.settings import SandboxSettings
from products import Release, load_release
from products.publish import publish
from tests.desk import Clock

PRODUCTS = Path(__file__).resolve().parents[1] / "products"


@dataclass(frozen=True)
class Laid:
    """The files of a folder, kept in memory: path → bytes and mode."""

    files: dict[Path, tuple[bytes, int]]

    @classmethod
    def out_of(cls, make: Callable[[Path], object]) -> Laid:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            make(folder)
            paths = [path for path in folder.rglob("*") if path.is_file()]
            return cls({p.relative_to(folder): (p.read_bytes(), p.stat().st_mode & 0o777) for p in paths})

    def down(self, into: Path) -> None:
        """Puts each file that is not there yet."""
        for name, (content, mode) in self.files.items():
            path = into / name
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(mode)
                path.chmod(0o600)
                path.write_bytes(content)
                path.chmod(mode)


@cache
def _release() -> tuple[str, Laid]:
    made: list[Release] = []
    laid = Laid.out_of(lambda folder: made.append(publish(PRODUCTS, folder)))
    return made[0].hash, laid


@cache
def _keys() -> Laid:
    def make(folder: Path) -> None:
        # In force by the clock the desks begin with, whatever the day of the run.
        make_credentials(folder, SandboxSettings(data_dir=folder), Clock().now)
        authority.make_authority(folder, "http://127.0.0.1:9104", datetime.now(UTC))

    return Laid.out_of(make)


def release(into: Path) -> Release:
    """The house's products as a release under ``into``, read from there."""
    name, laid = _release()
    laid.down(into)
    return load_release(name, into)


def sandbox_keys(into: Path) -> Path:
    """Keys and certificates of the outside parties' stand-ins under ``into``, which is also returned."""
    _keys().down(into)
    return into
