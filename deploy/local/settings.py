"""What a person may set for the local run; the one place in deploy/local that looks at the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.local.ports import BASE

ROOT = Path(__file__).resolve().parents[2]


class LocalSettings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="TOUBAO_")

    port_base: Annotated[int, Field(ge=0, le=65000)] = BASE
    """First of a row of ports; 0 takes free ones."""
    store: Literal["sqlite", "mongodb"] = "sqlite"
    log_level: str = "INFO"
    nats_url: str | None = Field(default=None, validation_alias=AliasChoices("NATS_URL"))
    """A bus of yours; none is started then."""
    nats_seed_file: Path | None = Field(default=None, validation_alias=AliasChoices("NATS_SEED_FILE"))
    """nkey seed of a user of that bus who may do everything; none for a server without accounts."""
    mongodb_uri: str | None = Field(default=None, validation_alias=AliasChoices("MONGODB_URI"))
    """A MongoDB of yours, for ``TOUBAO_STORE=mongodb``; otherwise a wire server is started."""
    once: Annotated[bool, Field(validation_alias=AliasChoices("ONCE"))] = False
    """The demo ends after its customer."""
    prometheus: Annotated[bool, Field(validation_alias=AliasChoices("PROMETHEUS"))] = False
    """A Prometheus runs beside it, with rules and a page of the main figures."""
    out: Annotated[Path, Field(validation_alias=AliasChoices("OUT"))] = ROOT / "out"
    """Where the demo leaves policies and evidence."""

    @property
    def folder(self) -> Path:
        """Runs at other ports have files of their own: their certificates and links carry the ports."""
        if self.port_base == BASE:
            return ROOT / "var"
        # Free ports come but once, so such runs share nothing.
        return ROOT / "var" / (f"at-{self.port_base}" if self.port_base else f"run-{os.getpid()}")


def inherited() -> dict[str, str]:
    """What children get of our environment: everything but settings of the platform, which the run decides."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TOUBAO_")}
