"""Personal values as they are shown to somebody whose identity is not proven: enough to recognise one's own,
too little to learn somebody else's (I24). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from products.model import FieldType, Product


def masked_name(name: str) -> str:
    """``王小明`` → ``王**``."""
    return name[:1] + "*" * (len(name) - 1)


def masked_number(number: str, *, head: int, tail: int) -> str:
    """Keeps ``head`` and ``tail`` characters where at least as many more are hidden; else the last one only."""
    hidden = len(number) - head - tail
    if hidden < head + tail and hidden < 4:
        return "*" * max(0, len(number) - 1) + number[-1:]
    return number[:head] + "*" * hidden + number[len(number) - tail :]


def masked_phone(phone: str) -> str:
    return masked_number(phone, head=3, tail=4)


def masked_address(address: str) -> str:
    """Province and city, not the street."""
    return address[: min(6, len(address) // 2)] + "****"


def masked_text(text: str) -> str:
    if len(text) <= 2:
        return "*" * len(text)
    return masked_number(text, head=2 if len(text) >= 8 else 1, tail=2 if len(text) >= 8 else 1)


def masked_party(party: Mapping[str, str]) -> dict[str, str]:
    """Name, ID number, phone and address as ``masked_values`` shows them; the kind of ID stays."""
    return {key: text if key == "id_type" else _party_value(key, text) for key, text in party.items()}


def masked_values(product: Product, texts: Mapping[str, str]) -> dict[str, str]:
    """``texts`` by name (``policyholder.phone``, ``subject.vin``…). Choices, numbers and dates stay: they say what
    is bought, not who buys.
    """
    types = {f"subject.{rule.code}": rule.type for rule in product.subject.fields}
    types |= {f"fields.{rule.code}": rule.type for rule in product.fields}
    shown: dict[str, str] = {}
    for key, text in texts.items():
        root, _, name = key.partition(".")
        if root in {"policyholder", "insured"}:
            shown[key] = _party_value(name, text)
        elif types.get(key, FieldType.TEXT) is FieldType.TEXT:
            shown[key] = masked_name(text) if name == "owner" else masked_text(text)
        else:
            shown[key] = text
    return shown


def _party_value(name: str, text: str) -> str:
    match name:
        case "name":
            return masked_name(text)
        case "phone":
            return masked_phone(text)
        case "address":
            return masked_address(text)
        case _:
            return masked_number(text, head=1, tail=2)
