"""Requests to services/evidence."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.commands.base import Command, Query
from contracts.values import Attestation, Contract, Heads, Sha256


class Attest(Query):
    """Do you hold every fact of this journey up to these heads? Answered with the signed, timestamped head
    (DESIGN §3).
    """

    service = "evidence"
    verb = "attest"
    reply = Attestation

    heads: Heads


class BuildPack(Command):
    """The sealed pack of a journey or of one policy. Unmasked content by right only: ``reason`` is kept."""

    service = "evidence"
    verb = "build_pack"

    scope: Literal["journey", "policy"] = "journey"
    policy_no: str | None = None
    masked: bool = True
    reason: Annotated[str, Field(min_length=4, max_length=200)]


class Pack(Contract):
    """The pack lies in the blobs as one sealed file under the journey's key."""

    commitment: Sha256
    blob: Sha256
    size: int
    file_name: str
    complete: bool


BuildPack.reply = Pack


class ViewChain(Query):
    service = "evidence"
    verb = "view"


class ChainView(Contract):
    count: int
    head: Sha256 | None
    heads: Heads
    anchored: int
    """How many facts the last timestamp covers."""


ViewChain.reply = ChainView
