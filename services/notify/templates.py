"""The words of the messages, from ``templates.yaml``. Read and checked once, at start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from contracts.values import Slug

FILE: Final = Path(__file__).with_name("templates.yaml")
LONGEST: Final = 500
"""Characters of a finished message; providers cut a long SMS into parts and bill each."""


class Unfit(Exception):
    """These values do not fill this template. Says nothing of the values."""


class Template(BaseModel):
    """One message. Every place-holder of ``text`` is a plain name out of ``values``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    values: tuple[Slug, ...]
    text: Annotated[str, Field(min_length=10, max_length=LONGEST)]

    @model_validator(mode="after")
    def _known_places(self) -> Template:
        for _, name, form, conversion in Formatter().parse(self.text):
            if name is None:
                continue
            if name not in self.values or form or conversion:
                raise ValueError(f"no such place-holder: {name}")
        return self

    def filled(self, values: Mapping[str, str]) -> str:
        """The message as it is sent. Raises ``Unfit``: a value is wanting, or could break the line."""
        wanting = [name for name in self.values if not values.get(name)]
        if wanting or not all(value.isprintable() for value in values.values()):
            raise Unfit
        text = Formatter().vformat(self.text, (), {name: values[name] for name in self.values})
        if len(text) > LONGEST:
            raise Unfit
        return text


Templates = Mapping[str, Template]


def read_templates(text: str) -> Templates:
    """Raises ``pydantic.ValidationError`` for a template that could not be filled."""
    loaded: Any = yaml.safe_load(text)
    return TypeAdapter(dict[Slug, Template]).validate_python(loaded)


def load_templates(path: Path = FILE) -> Templates:
    return read_templates(path.read_text("utf-8"))
