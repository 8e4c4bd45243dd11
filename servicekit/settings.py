"""Settings every process shares. Read from the environment once, at start; nothing else looks there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import ClassVar, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.subjects import AFTERCARE_SERVICES, JOURNEY_SERVICES

PREFIX = "TOUBAO_"
OTHERS: Final = (*JOURNEY_SERVICES, *AFTERCARE_SERVICES, "gateway", "sandbox", "simulator", "port")
"""Whose settings may stand in the same environment: a variable that begins so is for its owner to judge."""
_PASSWORD_IN_URL: Final = re.compile(r"(?<=://)[^/@\s]+@")
_SECRET: Final = re.compile(r"(secret|password|token|seed|pepper|_key|api_v3)$")


class UnknownSetting(ValueError):
    """A variable with our prefix that nobody reads: most likely a misspelt one."""


class Settings(BaseSettings):
    """``TOUBAO_…``. A service subclasses and adds fields that begin with its own name, so that
    ``identity_platform_url`` is ``TOUBAO_IDENTITY_PLATFORM_URL``.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    service: ClassVar[str] = ""

    nats_url: str = "nats://127.0.0.1:4222"
    nats_seed_file: Path | None = None
    """nkey seed of the services' user; none for a server without accounts."""
    store: Literal["sqlite", "mongodb"] = "sqlite"
    mongodb_uri: str = "mongodb://127.0.0.1:27017"
    data_dir: Path = Path("var/data")
    blobs_dir: Path = Path("var/blobs")
    vault_keys_dir: Path = Path("var/vault")
    master_key_file: Path = Path("var/master.key")
    releases_dir: Path = Path("var/releases")
    fonts_dir: Path = Path("var/fonts")
    ops_host: str = "127.0.0.1"
    ops_port: int = 0
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    traces_file: Path | None = None
    sandboxed: bool = False
    """Permits what must never be set elsewhere; chooses no behaviour."""
    sweep_seconds: float = Field(default=1.0, gt=0)
    """How often what was left behind (unpublished facts, due work) is looked for."""
    crash_points_dir: Path | None = None
    """Where tests say at which places this process is killed (``servicekit.crash_points``). Refused outside the
    sandbox."""

    @model_validator(mode="after")
    def _alive(self) -> Self:
        if self.crash_points_dir is not None and not self.sandboxed:
            raise ValueError("crash_points_dir is for the sandbox")
        return self

    @classmethod
    def read(cls) -> Self:
        """From the environment. Raises ``UnknownSetting`` for a variable of ours that nobody declares."""
        known = {PREFIX + name.upper() for name in cls.model_fields}
        elsewhere = tuple(f"{PREFIX}{owner.upper()}_" for owner in OTHERS if owner != cls.service)
        for name in sorted(os.environ):
            if name.startswith(PREFIX) and name not in known and not name.startswith(elsewhere):
                raise UnknownSetting(name)
        return cls()

    def shown(self) -> dict[str, str]:
        """What may be printed at start: every setting, secrets and passwords in addresses masked."""
        return {
            name: "***" if _SECRET.search(name) and value else _PASSWORD_IN_URL.sub("***@", str(value))
            for name, value in ((name, getattr(self, name)) for name in type(self).model_fields)
        }
