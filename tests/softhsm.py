"""A PKCS#11 module to keep keys in: SoftHSM, as Debian has it, with one token a test process.

The module reads where its tokens lie once, when it is loaded; so the token is made before anybody loads it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "2468"
TOKEN = "toubao-tests"


@cache
def token() -> str:
    """PKCS#11 URI of the token, without an object."""
    folder = Path(tempfile.mkdtemp(prefix="softhsm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "tokens").mkdir()
    (folder / "pin").write_text(PIN)
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    _tool("--init-token", "--free", "--label", TOKEN, "--pin", PIN, "--so-pin", PIN)
    return f"pkcs11:token={TOKEN}?module-path={MODULE}&pin-source=file:{folder / 'pin'}"


def imported(key: Path, label: str, number: str) -> str:
    """URI of a key of a PEM file (PKCS#8), brought into the token."""
    where = token()
    _tool("--import", str(key), "--token", TOKEN, "--label", label, "--id", number, "--pin", PIN)
    return where.replace("?", f";object={label}?")


def _tool(*arguments: str) -> None:
    subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True, timeout=30)
