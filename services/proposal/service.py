"""Proposal's handlers: bus in, rules, store out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Final

from pydantic import JsonValue, ValidationError

from contracts.commands.notify import MessageTaken, SendMessage
from contracts.commands.proposal import (
    ChooseProduct,
    ConfirmTerms,
    DropProduct,
    LinkShown,
    ListProposals,
    Locks,
    NameRelease,
    ProductOnly,
    ProposalAccepted,
    ProposalStates,
    ProposalView,
    ReleaseNamed,
    ResendLink,
    ShowLink,
    SubmitProposal,
    TermsOfProduct,
    ViewProposal,
    WithdrawProposal,
)
from contracts.commands.proposal import ProposalState as ListedProposal
from contracts.facts import proposal as facts
from contracts.facts.base import Fact
from contracts.facts.proposal import JourneyOpened, Party
from contracts.problems import MOST_FAULTS, FieldFault, Refuse
from contracts.values import Committed, canonical_json, sha256_hex
from products import Releases
from servicekit.bodies import check_unambiguous, field_faults
from servicekit.service import Admitted, Decided, Ground, Service, answers
from servicekit.settings import Settings
from servicekit.store import Cursor, Document, VersionConflict
from servicekit.vault import Unopenable
from services.proposal import rules
from services.proposal.rules import ProposalState, Submitted, SubmittedParty

LINK_SECRET_CHARACTERS: Final = 32
"""Hexadecimal: 128 bits."""


class ProposalSettings(Settings):
    service: ClassVar[str] = "proposal"

    proposal_release: str
    """Hash of the product release that new journeys are opened on (``python -m products.publish`` prints it)."""
    proposal_public_url: str = "http://127.0.0.1:8080"
    proposal_valid_hours: int = 72


class Proposal(Service[ProposalState, ProposalSettings]):
    name = "proposal"
    state = ProposalState
    settings = ProposalSettings
    hears = ("identity", "signing", "payment", "issuance")
    fields = ("channel_id", "stage", "seller")

    def __init__(self, ground: Ground[ProposalSettings]) -> None:
        super().__init__(ground)
        self.releases = Releases(self.set.releases_dir)
        self.intakes = ground.store.collection("intakes")
        self.references = ground.store.collection("channel_references")

    async def open(self) -> None:
        # Fails at the start rather than at the first customer.
        self.releases.get(self.set.proposal_release)

    def evolve(self, state: ProposalState, fact: Fact) -> ProposalState:
        return rules.evolve(state, fact)

    def fields_of(self, state: ProposalState) -> dict[str, str | int]:
        opened = state.progress.opened
        if opened is None:
            return {}
        seller = opened.salesperson_phone_index
        sold = {} if seller is None else {"seller": seller}
        return {"channel_id": opened.channel_id, "stage": state.stage, **sold}

    def due(self, state: ProposalState) -> datetime | None:
        if state.progress.opened is not None and not state.link_sent and state.progress.ended is None:
            return state.progress.opened.at
        return rules.expires(state)

    async def work(self, journey_id: str, state: ProposalState) -> None:
        opened = state.progress.opened
        assert opened is not None
        expiry = rules.expires(state)
        if expiry is not None and expiry <= self.now():
            await self.journeys.append(journey_id, self._expire)
        elif not state.link_sent:
            message = await self._send_link(journey_id, opened, f"link-{journey_id}")
            await self.journeys.append(journey_id, _told(facts.LinkSent(at=self.now(), message_id=message)))

    async def _expire(self, state: ProposalState) -> list[Fact]:
        expiry = rules.expires(state)
        return [facts.ProposalExpired(at=self.now())] if expiry is not None and expiry <= self.now() else []

    # -- intake --------------------------------------------------------------------------------------------

    @answers(NameRelease)
    async def name_release(self, _: NameRelease) -> ReleaseNamed:
        return ReleaseNamed(release=self.set.proposal_release)

    @answers(SubmitProposal)
    async def submit(self, request: SubmitProposal) -> ProposalAccepted:
        try:
            body = await self.vault.open(request.journey_id, request.body)
        except Unopenable:
            raise Refuse("malformed") from None
        digest = sha256_hex(body)
        journey_id = await self._begun(request, digest)
        if journey_id != request.journey_id and await self._exists(request.journey_id):
            # A journey is opened once: whoever names one that exists learns nothing of it and takes nothing from it.
            raise Refuse("not_yours")
        if journey_id is None:
            try:
                submitted = self._checked(body)
            except Refuse:
                await self._forget(request.journey_id)
                raise
            journey_id = await self._begin_journey(request, digest, submitted)
        elif journey_id != request.journey_id:
            await self._forget(request.journey_id)
        state = await self.journeys.state(journey_id)
        if state.progress.opened is None:
            await self._open_journey(request, journey_id, digest, self._checked(body))
            state = await self.journeys.state(journey_id)
        opened = state.progress.check_opened()
        return ProposalAccepted(
            journey_id=journey_id,
            proposal_no=opened.proposal_no,
            link=self._link(journey_id),
            expires_at=opened.expires_at,
        )

    async def _exists(self, journey_id: str) -> bool:
        return (await self.journeys.state(journey_id)).progress.opened is not None

    async def _forget(self, journey_id: str) -> None:
        """Nobody will ever hear of this journey: what was sealed under its key goes with the key."""
        if not await self._exists(journey_id):
            await self.vault.shred(journey_id)

    def _checked(self, body: bytes) -> Submitted:
        """Raises ``Refuse`` with every fault named by its field."""
        value: JsonValue = check_unambiguous(body)
        release = self.releases.get(self.set.proposal_release)
        faults = list(rules.check_submitted(release, value, self.now()))
        try:
            submitted = Submitted.model_validate_json(body)
        except ValidationError as error:
            known = {fault.pointer for fault in faults}
            faults += [fault for fault in field_faults(error) if fault.pointer not in known]
            raise Refuse("invalid_fields", errors=tuple(faults[:MOST_FAULTS])) from None
        if faults:
            raise Refuse("invalid_fields", errors=tuple(faults))
        return submitted

    async def _begun(self, request: SubmitProposal, digest: str) -> str | None:
        """The journey an earlier try of the same command began."""
        known = await self.intakes.get(f"{request.channel_id}/{request.command_id}")
        if known is None:
            return None
        if known.state["digest"] != digest:
            await self._forget(request.journey_id)
            raise Refuse("idempotency_key_reused")
        return str(known.state["journey_id"])

    async def _begin_journey(self, request: SubmitProposal, digest: str, submitted: Submitted) -> str:
        reference = submitted.channel_reference
        if reference is not None:
            place = f"{request.channel_id}/{reference}"
            mine = Document(place, state={"command_id": request.command_id})
            try:
                await self.references.save(mine)
            except VersionConflict:
                taken = await self.references.get(place)
                if taken is not None and taken.state["command_id"] != request.command_id:
                    await self._forget(request.journey_id)
                    raise Refuse(
                        "channel_reference_used",
                        errors=(
                            FieldFault(
                                pointer="/channel_reference", code="duplicate", detail="这个渠道流水号已经提交过。"
                            ),
                        ),
                    ) from None
        intake = Document(
            f"{request.channel_id}/{request.command_id}",
            state={"digest": digest, "journey_id": request.journey_id},
        )
        try:
            await self.intakes.save(intake)
        except VersionConflict:
            # The same command, twice at once: the other one's journey is the journey.
            journey_id = await self._begun(request, digest)
            assert journey_id is not None
            await self._forget(request.journey_id)
            return journey_id
        return request.journey_id

    async def _open_journey(self, request: SubmitProposal, journey_id: str, digest: str, submitted: Submitted) -> None:
        now = self.now()
        release = self.releases.get(self.set.proposal_release)

        async def sealed(values: Mapping[str, str | int | bool]) -> dict[str, Committed]:
            return {key: await self.vault.seal(journey_id, rules.as_text(value)) for key, value in values.items()}

        policyholder = await self._party(journey_id, submitted.policyholder)
        insured = None if submitted.insured is None else await self._party(journey_id, submitted.insured)
        subject = await sealed(submitted.subject)
        products = tuple(
            [
                rules.terms_of(
                    release.products[part.product],
                    part,
                    policyholder,
                    insured,
                    subject,
                    await sealed(part.fields),
                )
                for part in submitted.products
            ]
        )
        seller = submitted.salesperson
        opened = JourneyOpened(
            at=now,
            release=release.hash,
            channel_id=request.channel_id,
            channel_reference=submitted.channel_reference,
            intermediary=request.intermediary,
            salesperson=None
            if seller is None
            else await self.vault.seal(
                journey_id, canonical_json({"name": seller.name, "licence_no": seller.licence_no})
            ),
            salesperson_phone_index=None if seller is None else self.vault.blind_index("phone", seller.phone),
            proposal_no=rules.proposal_no(journey_id, now.astimezone(rules.PAPER).date()),
            policyholder=policyholder,
            insured=insured,
            subject=subject,
            products=products,
            link_hash=sha256_hex(self._link_secret(journey_id).encode()),
            expires_at=now + timedelta(hours=self.set.proposal_valid_hours),
        )

        async def decision(state: ProposalState) -> Decided:
            return Decided([] if state.progress.opened is not None else [opened])

        await self.journeys.decide(journey_id, request.command_id, "submit", digest, decision)

    async def _party(self, journey_id: str, who: SubmittedParty) -> Party:
        return Party(
            name=await self.vault.seal(journey_id, who.name),
            id_type=who.id_type,
            id_number=await self.vault.seal(journey_id, who.id_number),
            phone=await self.vault.seal(journey_id, who.phone),
            address=await self.vault.seal(journey_id, who.address),
        )

    # -- the link ------------------------------------------------------------------------------------------

    def _link_secret(self, journey_id: str) -> str:
        # Derived, not stored: whoever reads the store cannot open a journey.
        return self.vault.blind_index("link", journey_id)[:LINK_SECRET_CHARACTERS]

    def _link(self, journey_id: str) -> str:
        return f"{self.set.proposal_public_url}/j#{journey_id}.{self._link_secret(journey_id)}"

    async def _send_link(self, journey_id: str, opened: JourneyOpened, command_id: str) -> str:
        release = self.releases.get(opened.release)
        insurer = release.products[opened.products[0].product].insurer
        values = {"insurer": insurer.name, "link": self._link(journey_id), "hotline": insurer.hotline}
        taken, _ = await self.bus.request(
            SendMessage(
                command_id=command_id,
                journey_id=journey_id,
                template="link",
                phone=opened.policyholder.phone,
                values=await self.vault.seal(journey_id, canonical_json(dict(values))),
            ),
            MessageTaken,
        )
        return taken.message_id

    @answers(ResendLink)
    async def resend_link(self, command: ResendLink, state: ProposalState) -> Decided:
        opened = self._own(state, command.channel_id, command.seller)
        state.progress.check_alive()
        message = await self._send_link(command.journey_id, opened, f"again-{command.command_id}"[:64])
        return Decided([facts.LinkSent(at=self.now(), message_id=message)])

    @answers(ShowLink)
    async def show_link(self, query: ShowLink) -> LinkShown:
        state = await self.journeys.state(query.journey_id)
        opened = self._own(state, query.channel_id, query.seller)
        state.progress.check_alive()
        return LinkShown(link=self._link(query.journey_id), expires_at=opened.expires_at)

    # -- the channel's own ---------------------------------------------------------------------------------

    @answers(WithdrawProposal)
    async def withdraw(self, command: WithdrawProposal, state: ProposalState) -> Decided:
        self._own(state, command.channel_id, command.seller)
        state.progress.check_alive()
        if state.progress.paid is not None:
            raise Refuse("order_paid")
        return Decided([facts.ProposalWithdrawn(at=self.now(), reason=command.reason)])

    def _own(self, state: ProposalState, channel_id: str, seller: str | None) -> JourneyOpened:
        opened = state.progress.opened
        if opened is None or opened.channel_id != channel_id:
            raise Refuse("not_yours")
        if seller is not None and opened.salesperson_phone_index != seller:
            raise Refuse("not_yours")
        return opened

    @answers(ListProposals)
    async def list_proposals(self, query: ListProposals) -> ProposalStates:
        sold = {} if query.seller is None else {"seller": query.seller}
        found = await self.journeys.collection.find(
            equal={"channel_id": query.channel_id, **sold},
            descending=query.order == "newest",
            limit=query.limit,
            after=Cursor(query.journey_id),
        )
        listed: list[ListedProposal] = []
        for document in found:
            state = ProposalState.model_validate(document.state)
            opened = state.progress.check_opened()
            listed.append(
                ListedProposal(
                    journey_id=document.id,
                    proposal_no=opened.proposal_no,
                    channel_reference=opened.channel_reference,
                    state=state.stage,
                    products=tuple(terms.product for terms in opened.products),
                    opened_at=opened.at,
                    expires_at=opened.expires_at,
                )
            )
        return ProposalStates(proposals=tuple(listed))

    # -- the customer's choice -----------------------------------------------------------------------------

    @answers(ChooseProduct)
    async def choose_product(self, act: Admitted[TermsOfProduct], state: ProposalState) -> Decided:
        rules.check_changeable(state.progress, act.judgement.attempt, act.at)
        terms = rules.check_choice(state.progress, act.arguments.product, act.arguments.lock)
        return Decided([facts.ProductChosen(at=act.at, product=terms.product, lock=terms.lock, proof=act.proof)])

    @answers(DropProduct)
    async def drop_product(self, act: Admitted[ProductOnly], state: ProposalState) -> Decided:
        rules.check_changeable(state.progress, act.judgement.attempt, act.at)
        terms = rules.check_drop(state.progress, act.arguments.product)
        return Decided([facts.ProductDropped(at=act.at, product=terms.product, proof=act.proof)])

    @answers(ConfirmTerms)
    async def confirm_terms(self, act: Admitted[Locks], state: ProposalState) -> Decided:
        rules.check_changeable(state.progress, act.judgement.attempt, act.at)
        rules.check_confirmation(state.progress, act.arguments.locks)
        return Decided([facts.TermsConfirmed(at=act.at, locks=act.arguments.locks, proof=act.proof)])

    @answers(ViewProposal)
    async def view(self, query: ViewProposal) -> ProposalView:
        state = await self.journeys.state(query.journey_id)
        progress = state.progress
        opened = progress.check_opened()
        return ProposalView(
            journey_id=query.journey_id,
            proposal_no=opened.proposal_no,
            release=opened.release,
            channel_id=opened.channel_id,
            intermediary=opened.intermediary,
            state=state.stage,
            policyholder=opened.policyholder,
            insured=opened.insured,
            subject=opened.subject,
            products=opened.products,
            chosen=tuple(terms.product for terms in progress.chosen()),
            confirmed=tuple(progress.confirmations.locks),
            total_fen=progress.total_fen(),
            expires_at=opened.expires_at,
        )


def _told(fact: Fact) -> Callable[[ProposalState], Awaitable[Sequence[Fact]]]:
    async def decision(_: ProposalState) -> list[Fact]:
        return [fact]

    return decision
