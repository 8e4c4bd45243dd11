"""The register: which serials were drawn and used, and every issued policy by its number and by its file's hash."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Iterable

from contracts.commands.issuance import Verification
from contracts.facts.issuance import PolicyIssued
from contracts.values import sha256_hex
from servicekit.store import Collection, Document, Store, VersionConflict
from services.issuance.numbers import PolicyNumber, Series, code_of, typed_code

PAGE = 500


class Register:
    """Kept beside the journeys, in the service's own store. ``index(kind, value)`` is the vault's keyed digest."""

    def __init__(self, store: Store, index: Callable[[str, str], str]) -> None:
        self._series: Collection = store.collection("serials_drawn")
        self._numbers: Collection = store.collection("numbers_used", ("series", "serial"))
        self._policies: Collection = store.collection("policies_issued", ("file_sha256",))
        self._index = index
        self._drawing = asyncio.Lock()

    # -- serials -------------------------------------------------------------------------------------------

    async def draw(self, series: Series) -> PolicyNumber:
        """A number nobody had and nobody will have. It is taken on return: not using it leaves a gap.

        Raises SerialsExhausted.
        """
        async with self._drawing:
            while True:
                document = await self._series.get(series.key) or Document(series.key, state={"last": 0})
                serial = series.next_serial(document.state["last"])
                document.state = {"last": serial}
                try:
                    await self._series.save(document)
                except VersionConflict:
                    # Another process drew; somebody always gets on.
                    continue
                return series.number(serial)

    async def use(self, numbers: Iterable[str]) -> None:
        """Notes that these numbers stand in a fact. Doing it again changes nothing."""
        read = [PolicyNumber.read(number) for number in numbers]
        await self._numbers.put_many(
            Document(str(n), fields={"series": n.series.key, "serial": n.serial}) for n in read
        )

    async def gaps(self, series: Series) -> tuple[int, ...]:
        """Serials drawn and not used. One drawn a moment ago may still come to be."""
        counter = await self._series.get(series.key)
        if counter is None:
            return ()
        last: int = counter.state["last"]
        missing: list[int] = []
        expected = 1
        cursor = None
        while True:
            page = await self._numbers.find(equal={"series": series.key}, order="serial", limit=PAGE, after=cursor)
            for document in page:
                serial = document.fields["serial"]
                assert isinstance(serial, int)
                missing += series.between(expected, serial - 1)
                expected = serial + 1
            if len(page) < PAGE:
                return (*missing, *series.between(expected, last))
            cursor = page[-1].cursor("serial")

    # -- policies ------------------------------------------------------------------------------------------

    def code(self, policy_no: str) -> str:
        """The verification code of a number. Kept nowhere: it is made again from the number and a key."""
        return code_of(self._index("policy_code", policy_no))

    async def enter(self, issued: PolicyIssued, pdf: bytes) -> None:
        """An issued policy can be checked from now on. Doing it again changes nothing."""
        file_sha256 = sha256_hex(pdf)
        entry = Verification(
            outcome="authentic",
            policy_no=issued.policy_no,
            product=issued.product,
            issued_at=issued.at,
            period_from=issued.period_from,
            period_to=issued.period_to,
            file_sha256=file_sha256,
        )
        await self._policies.put_many(
            [Document(issued.policy_no, state=entry.model_dump(mode="json"), fields={"file_sha256": file_sha256})]
        )

    async def check(self, policy_no: str | None, code: str | None, file_sha256: str | None) -> Verification:
        """Authentic, altered or unknown (I23).

        A wrong code, a number nobody has and a policy not yet out are answered alike and take the same steps, so
        that nobody learns numbers by trying.
        """
        if policy_no and code:
            try:
                number = str(PolicyNumber.read(policy_no))
            except ValueError:
                number = ""
            right = hmac.compare_digest(self.code(number).encode(), typed_code(code).encode())
            document = await self._policies.get(number or "-")
            if document is None or not right or not number:
                return Verification(outcome="unknown")
            entry = Verification.model_validate(document.state)
            if file_sha256 is not None and not hmac.compare_digest(file_sha256, entry.file_sha256 or ""):
                return entry.model_copy(update={"outcome": "altered"})
            return entry
        if file_sha256 is None:
            return Verification(outcome="unknown")
        found = await self._policies.find(equal={"file_sha256": file_sha256}, limit=1)
        return Verification.model_validate(found[0].state) if found else Verification(outcome="unknown")
