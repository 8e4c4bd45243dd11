"""What every fact has, and the registry of all of them."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from contracts.values import Attestation, Contract, Instant, Slug


class Fact(Contract):
    """Something that happened in a journey. Past tense, versioned, never changed once published.

    Serialised once: those bytes are stored, published, hashed and exported (DESIGN §3).
    """

    service: ClassVar[str]
    name: ClassVar[str]
    version: ClassVar[int] = 1

    at: Instant

    @classmethod
    def type(cls) -> str:
        return f"toubao.{cls.service}.{cls.name}.v{cls.version}"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "service" in cls.__dict__ or "name" in cls.__dict__:
            registered = _registry.setdefault(cls.type(), cls)
            if registered.__qualname__ != cls.__qualname__ or registered.__module__ != cls.__module__:
                raise TypeError(f"two facts call themselves {cls.type()}")


class HeardFact(Fact):
    """A fact of a type this reader does not know; its order still counts."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Refusal(Fact):
    """A refusal is a fact too; after twenty of one code in a journey only the count is kept (DESIGN §2)."""

    command: Slug
    code: Slug
    occurrence: Annotated[int, Field(ge=1)]


class Attested(Fact):
    """A fact that was accepted only after evidence attested the chain it rests on (I19, I33)."""

    attestation: Attestation


_registry: dict[str, type[Fact]] = {}


def fact_types() -> dict[str, type[Fact]]:
    """All facts by their CloudEvents type."""
    import_module("contracts.facts")  # the registry fills as the modules load
    return dict(sorted(_registry.items()))


def read_fact(fact_type: str, data: str | bytes) -> Fact:
    """The fact in these bytes. Unknown fields are ignored; an unknown type gives a ``HeardFact``.

    Raises ``pydantic.ValidationError`` when a known fact lacks what it must have.
    """
    known = _registry.get(fact_type, HeardFact)
    return known.model_validate_json(data, extra="ignore")
