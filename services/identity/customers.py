"""The insurer's own record of who was verified, and which persons a phone serves.

The seed's complaint is that intermediaries keep the customer's real contact data: here the insurer keeps it,
by blind indexes, exactly one record a person.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from contracts.commands.identity import Customer
from contracts.problems import Refuse
from servicekit.store import Collection, Document, VersionConflict
from services.identity.rules import PERSONS_OF_A_PHONE

INDEXES = ("name_index", "phone_index")
"""What the collection of customers must be searchable by; the ID number's index is the document's own id."""


class Customers:
    def __init__(self, customers: Collection, phones: Collection, new_id: Callable[[], str]) -> None:
        self._customers = customers
        self._phones = phones
        self._new_id = new_id

    async def check_phone(self, phone_index: str, id_index: str) -> None:
        """Raises ``Refuse("phone_shared")`` when the phone serves three other persons already."""
        _with_person(await self._phones.get(phone_index) or Document(phone_index), id_index)

    async def verified(
        self, *, name_index: str, phone_index: str, id_index: str, journey_id: str, now: datetime
    ) -> str:
        """Takes up the verified customer and returns their id: always the same for the same person.

        May be called again for the same journey. Raises ``Refuse("phone_shared")``.
        """
        while True:
            phone = await self._phones.get(phone_index) or Document(phone_index)
            persons = _with_person(phone, id_index)
            if persons != phone.state.get("persons"):
                phone.state = {"persons": persons}
                try:
                    await self._phones.save(phone)
                except VersionConflict:
                    continue
            break
        while True:
            document = await self._customers.get(id_index) or Document(id_index)
            known = Customer.model_validate(document.state) if document.version else None
            customer = Customer(
                customer_id=self._new_id() if known is None else known.customer_id,
                journeys=tuple(dict.fromkeys((*(known.journeys if known else ()), journey_id))),
                first_seen=known.first_seen if known else now,
                last_seen=now,
            )
            document.state = customer.model_dump(mode="json")
            document.fields = {"name_index": name_index, "phone_index": phone_index}
            try:
                await self._customers.save(document)
            except VersionConflict:
                continue
            return customer.customer_id

    async def find(self, kind: str, index: str, limit: int = 100) -> tuple[Customer, ...]:
        """By the blind index of ``name``, ``phone`` or ``id_number``."""
        if kind == "id_number":
            document = await self._customers.get(index)
            documents = [] if document is None else [document]
        else:
            documents = await self._customers.find(equal={f"{kind}_index": index}, limit=limit)
        return tuple(Customer.model_validate(document.state) for document in documents)


def _with_person(phone: Document, id_index: str) -> list[str]:
    persons: list[str] = phone.state.get("persons", [])
    if id_index in persons:
        return persons
    if len(persons) >= PERSONS_OF_A_PHONE:
        raise Refuse("phone_shared")
    return [*persons, id_index]
