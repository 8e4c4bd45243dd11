"""Issuance at its desk, with the stand-in authority's keys and timestamps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from deploy.sandbox.process import running
from deploy.sandbox.settings import Party, SandboxSettings
from services.issuance.service import Issuance
from tests.desk import Desk, desk
from tests.nats_server import NatsServer
from tests.prepared import sandbox_keys
from tests.purchase import published
from tests.servicekit.documents.prepared import fonts_folder

VERIFY = "https://toubao.test/verify"
Opening = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture
async def issuance_settings(tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    published(tmp_path / "releases")
    keys = sandbox_keys(tmp_path / "sandbox")
    async with running(SandboxSettings(data_dir=keys, port=0)) as sandbox:
        yield {
            "issuance_seal_key": str(keys / "keys/seal.key.pem"),
            "issuance_seal_chain_file": keys / "certs/seal.chain.pem",
            "issuance_tsa_url": sandbox.urls[Party.AUTHORITY] + "/sandbox/tsa/tsa",
            "issuance_verify_url": VERIFY,
            "fonts_dir": fonts_folder(),
        }


@pytest.fixture
def opening(nats: NatsServer, tmp_path: Path, issuance_settings: dict[str, Any]) -> Opening:
    """Opens the desk, as often as a test wants, on the same folder: each time as after a restart."""
    return lambda **more: desk(Issuance, tmp_path, nats, **{**issuance_settings, **more})


@pytest.fixture
async def at(opening: Opening) -> AsyncIterator[Desk]:
    async with opening() as opened:
        yield opened
