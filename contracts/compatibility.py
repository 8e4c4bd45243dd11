"""What may not happen to a published fact: facts are kept for years, and readers of yesterday still run. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

Schema = dict[str, Any]


def breaks(published: Schema, proposed: Schema) -> list[str]:
    """Every way in which ``proposed`` breaks with ``published`` (both JSON Schema); empty when it does not.

    A published fact can't lose or retype a field, gain a required one, or narrow an enum. It may gain optional
    fields and further enum members; anything else is a new version beside the old.
    """
    return list(_compare(published, proposed, published, proposed, ""))


def _compare(old: Any, new: Any, old_root: Schema, new_root: Schema, at: str) -> Iterator[str]:
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    if _shape(old) != _shape(new):
        yield f"{at or '/'}: type changed from {_shape(old)} to {_shape(new)}"
        return
    yield from _enum(old, new, at)
    for constraint in ("pattern", "format", "maxLength", "maximum", "maxItems", "minLength", "minimum", "minItems"):
        if constraint in new and new[constraint] != old.get(constraint) and _narrower(constraint, old, new):
            yield f"{at or '/'}: {constraint} is narrower"
    old_fields, new_fields = old.get("properties", {}), new.get("properties", {})
    for name in old_fields:
        if name not in new_fields:
            yield f"{at}/{name}: field lost"
        else:
            yield from _compare(old_fields[name], new_fields[name], old_root, new_root, f"{at}/{name}")
    for name in new.get("required", []):
        if name not in old.get("required", []):
            yield f"{at}/{name}: required now"
    for key in ("items", "additionalProperties"):
        if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
            yield from _compare(old[key], new[key], old_root, new_root, f"{at}/{key}")
    for i, (one, other) in enumerate(zip(_choices(old), _choices(new), strict=False)):
        yield from _compare(one, other, old_root, new_root, f"{at}/{i}")
    for i, (one, other) in enumerate(zip(old.get("prefixItems", []), new.get("prefixItems", []), strict=False)):
        yield from _compare(one, other, old_root, new_root, f"{at}/{i}")


def _enum(old: Schema, new: Schema, at: str) -> Iterator[str]:
    members = _members(new)
    if members is None:
        return
    before = _members(old)
    if before is None:
        yield f"{at or '/'}: restricted to an enum"
        return
    for member in before:
        if member not in members:
            yield f"{at or '/'}: enum lost {member!r}"


def _members(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return cast("list[Any] | None", schema.get("enum"))


def _resolved(schema: Any, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def _choices(schema: Schema) -> list[Schema]:
    return schema.get("anyOf") or schema.get("oneOf") or []


def _shape(schema: Schema) -> str:
    """A type as it is compared: an optional value is its own shape, however the rest is constrained."""
    if choices := _choices(schema):
        return "|".join(sorted(str(choice.get("type", choice.get("$ref", "any"))) for choice in choices))
    return str(schema.get("type", "any"))


def _narrower(constraint: str, old: Schema, new: Schema) -> bool:
    if constraint not in old or constraint in {"pattern", "format"}:
        return True
    return new[constraint] < old[constraint] if constraint.startswith("max") else new[constraint] > old[constraint]
