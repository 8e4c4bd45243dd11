"""Who the partners are, and which part of the bus is theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from contracts.subjects import PARTNER
from contracts.values import Token

PARTNERS_FILE = Path(__file__).with_name("partners.yaml")

API_PREFIX = "feed.api"
"""Where a partner's account has the two JetStream requests it may make.

Under ``$JS.API`` its own account would answer, and say that it has no JetStream.
"""


class Partner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    channel_id: Token
    name: Annotated[str, Field(min_length=1, max_length=100)]
    public_key: Annotated[str, Field(pattern=r"^U[A-Z2-7]{55}$")] | None = None
    """Of a partner who made its own key: then its seed never leaves it. Else one is made here for it."""

    @property
    def account(self) -> str:
        return f"PARTNER-{self.channel_id}"

    @property
    def durable(self) -> str:
        return durable(self.channel_id)

    @property
    def next_subject(self) -> str:
        return f"CONSUMER.MSG.NEXT.{PARTNER.name}.{self.durable}"

    @property
    def info_subject(self) -> str:
        return f"CONSUMER.INFO.{PARTNER.name}.{self.durable}"

    @property
    def ack_subjects(self) -> str:
        return f"$JS.ACK.{PARTNER.name}.{self.durable}.>"


class Partners(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    partners: tuple[Partner, ...]

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        # Accounts and durables are told apart by servers and people alike: never by capitals alone.
        ids = [partner.channel_id.lower() for partner in self.partners]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"listed twice: {', '.join(twice)}")
        return self


def durable(channel_id: str) -> str:
    """The consumer on stream PARTNER that is this channel's."""
    return f"partner-{channel_id}"


def read(path: Path = PARTNERS_FILE) -> tuple[Partner, ...]:
    """Raises ``pydantic.ValidationError`` or ``yaml.YAMLError`` for a file that isn't right."""
    return Partners.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).partners
