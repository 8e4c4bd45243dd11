"""JSON bodies read as models: one reading for gateway and services, and no second one for anybody else."""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from contracts.problems import MOST_FAULTS, FieldFault, Refuse, pointer

BodyT = TypeVar("BodyT", bound=BaseModel)


def read_body(kind: type[BodyT], body: bytes) -> BodyT:
    """``body`` as ``kind``; an empty one is an empty object.

    Raises ``Refuse``: ``malformed`` for what is no JSON (RFC 8259) or gives one name twice, of which two readers may
    take different ones (RFC 7493 §2.3); ``invalid_fields`` naming each fault by its field.
    """
    check_unambiguous(body or b"{}")
    try:
        return kind.model_validate_json(body or b"{}")
    except ValidationError as error:
        faults = field_faults(error)
        if any(fault.code == "not_json" for fault in faults):
            raise Refuse("malformed") from None
        raise Refuse("invalid_fields", errors=faults) from None


def check_unambiguous(body: bytes) -> Any:
    """The value of a JSON text that everybody reads alike. Raises ``Refuse("malformed")``."""
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_none)
    except (ValueError, RecursionError):
        # "from None": the cause may quote the body.
        raise Refuse("malformed") from None


def field_faults(error: ValidationError) -> tuple[FieldFault, ...]:
    """What is wrong, field by field, without a single value."""
    return tuple(
        FieldFault(
            pointer=pointer(*fault["loc"]),
            code=_SLUGS.get(fault["type"], "invalid"),
            detail=_SENTENCES.get(_SLUGS.get(fault["type"], "invalid"), "内容不符合要求。"),
        )
        for fault in error.errors(include_url=False, include_context=False, include_input=False)[:MOST_FAULTS]
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _none(_: str) -> NoReturn:
    raise ValueError("not JSON")


_SLUGS: Final = {
    "missing": "missing",
    "extra_forbidden": "unknown_field",
    "string_too_short": "too_short",
    "string_too_long": "too_long",
    "string_pattern_mismatch": "format",
    "json_invalid": "not_json",
    "greater_than": "out_of_range",
    "greater_than_equal": "out_of_range",
    "less_than": "out_of_range",
    "less_than_equal": "out_of_range",
}
_SENTENCES: Final = {
    "missing": "这一项必须填写。",
    "unknown_field": "没有这一项，请去掉。",
    "too_short": "内容太短。",
    "too_long": "内容太长。",
    "format": "格式不对。",
    "not_json": "内容不是有效的 JSON。",
    "out_of_range": "数值超出范围。",
}
