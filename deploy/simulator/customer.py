"""A simulated customer: passes one journey page by page, as far as the server says and never further.

Each turn asks for the journey's view and does what its ``step`` wants; which step comes next is the server's word
alone (DESIGN §5).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from deploy.simulator.api import Json, Phone, ProblemAnswer, news
from deploy.simulator.hand import another, writes
from deploy.simulator.parties import Parties
from deploy.simulator.proposals import Person

Path = Literal["face", "bank_card"]
MOST_TURNS = 60
"""Of one journey. More means that a step is asked for again and again."""
HEARTBEAT_SECONDS = 2.0
LOOK_AGAIN_SECONDS = 0.3
WAITING_SECONDS = 120.0
AFTERCARE_SECONDS = 10.0
"""How long a customer who has the policies looks whether anything else is offered."""


class Stuck(RuntimeError):
    """The journey doesn't go on. The message says where."""


@dataclass(frozen=True)
class Habits:
    """How this customer goes about it."""

    path: Path = "face"
    take_extra: bool = True
    """Ticks every optional product offered."""
    drop_extra: bool = False
    """Takes the optional products out again after signing, before paying (I5)."""
    wrong_names: int = 0
    """So many times somebody else's name is written first; after the fourth people look at it."""
    score: int | None = 9
    """The survey's answer; none skips it."""
    use_app: bool = True


@dataclass
class Passage:
    """What came of it."""

    journey_id: str
    took: dict[str, float] = field(default_factory=dict)
    """Seconds by step, in the order passed."""
    forms: dict[str, bytes] = field(default_factory=dict)
    """Form number → PDF as signed and sealed."""
    policies: dict[str, bytes] = field(default_factory=dict)
    """Policy number → PDF."""
    view: Json = field(default_factory=dict)
    """The last view of the journey."""


Tell = Callable[[str, str], None]
"""``(step, what happens)``. Called with every line a person watching should see; a line that begins with a carriage
return replaces the last."""


def silent(step: str, what: str) -> None:
    del step, what


class Customer:
    def __init__(
        self,
        phone: Phone,
        person: Person,
        parties: Parties,
        chance: random.Random,
        habits: Habits | None = None,
        tell: Tell = silent,
    ) -> None:
        self.phone = phone
        self.person = person
        self.parties = parties
        self.chance = chance
        self.habits = habits or Habits()
        self.passage = Passage(phone.session.journey_id)
        self.meanwhile: Callable[[Json], Awaitable[None]] | None = None
        """Called with the view before each turn: whatever else happens at this step."""
        self._told = tell
        self._step = ""
        self._written = 0

    def tell(self, what: str) -> None:
        self._told(self._step, what)

    # -- the whole way -------------------------------------------------------------------------------------

    async def pass_through(self) -> Passage:
        """From the tap on the link to the app. Raises ``Stuck`` or ``ProblemAnswer``."""
        await self.until(None)
        return self.passage

    async def until(self, step: str | None) -> Json:
        """Goes on until the server wants ``step``, which is not done; with None to the end. Returns the view."""
        if self.phone.session.token is None:
            self._step = "open"
            async with self._timed():
                await self.phone.open()
                self.tell("opened the link; this phone is bound to the journey")
        for _ in range(MOST_TURNS):
            view = await self.look()
            if view["place"]["step"] == step:
                return view
            if self.meanwhile is not None:
                await self.meanwhile(view)
                view = await self.look()
            await self.turn(view)
            if self._step == "policies":
                break
        if step is not None or self._step != "policies":
            raise Stuck(f"at {self._step}, on the way to {step or 'the end'}")
        await self._aftercare()
        return self.passage.view

    async def look(self) -> Json:
        self.passage.view = await self.phone.get()
        return self.passage.view

    async def turn(self, view: Json) -> None:
        """One step, as the view asks."""
        step = view["place"]["step"]
        action: Callable[[Json], Awaitable[None]] | None = getattr(self, f"_at_{step}", None)
        if action is None:
            raise Stuck(f"nobody knows the step {step}")
        self._step = step
        async with self._timed():
            await action(view)

    def _timed(self) -> _Timed:
        return _Timed(self.passage.took, self._step)

    async def _at_wait(self, view: Json) -> None:
        """Somebody who must be asked does not answer now; the page looks again."""
        del view
        await asyncio.sleep(1)

    # -- P1, P2: notices and consents ----------------------------------------------------------------------

    async def _at_recording(self, view: Json) -> None:
        del view
        notice = await self._notice("recording")
        await self.phone.act("acknowledge_recording", notice)
        self.tell("read that the process is recorded, and went on")

    async def _at_consents(self, view: Json) -> None:
        for notice in view["notices"]:
            given = view["identity"]["consents"].get(notice["notice"]) == "given"
            if notice["stage"] == "entry" and notice["act"] == "consent" and notice["required"] and not given:
                await self.consent(notice["notice"])

    async def consent(self, code: str) -> None:
        """One consent, by an act of its own (I9)."""
        await self.phone.act("give_consent", await self._notice(code))
        self.tell(f"read and gave the consent {code}")

    async def _notice(self, code: str) -> Json:
        """Reads a notice; the reference to exactly the text read."""
        text = (await self.phone.get(f"/notices/{code}"))["text"]
        return {"notice": code, "version": text["version"], "sha256": text["sha256"]}

    # -- P3: identity --------------------------------------------------------------------------------------

    async def _at_identity(self, view: Json) -> None:
        if not view["identity"]["real_name_matched"]:
            typed = {"name": self.person.name, "id_number": self.person.id_number}
            await self.phone.act("check_real_name", typed)
            self.tell("typed name and ID number; the register agrees")
        if self.habits.path == "face":
            await self._prove_by_face(view)
        else:
            await self._prove_by_card(view)

    async def _prove_by_face(self, view: Json) -> None:
        if view["identity"]["consents"].get("face_consent") != "given":
            await self.consent("face_consent")
        started = await self.phone.act("start_face")
        await self.parties.show_face(started["redirect_url"])
        await self.phone.act("finish_face")
        self.tell("showed the face at the platform; identity is proven")

    async def _prove_by_card(self, view: Json) -> None:
        """The equal path: a code by SMS, then the bank card (I8)."""
        if view["identity"]["consents"].get("face_consent") != "declined":
            await self.phone.act("decline_consent", await self._notice("face_consent"))
            self.tell("declined the face check")
        if view["identity"]["consents"].get("account_check") != "given":
            await self.consent("account_check")
        if "alternative_path" not in view["identity"]["otp_verified"]:
            await self.phone.act("send_otp", {"purpose": "alternative_path"})
            code = await self.parties.await_message(self.person.phone, r"验证码是(\d{6})")
            await self.phone.act("verify_otp", {"purpose": "alternative_path", "code": code})
            self.tell("typed the code from the SMS")
        await self.phone.act("check_bank_card", {"card_number": self.person.card_number})
        self.tell("typed the bank card's number; identity is proven without a face")

    # -- P4, P5: what is bought ----------------------------------------------------------------------------

    async def _at_terms(self, view: Json) -> None:
        """Confirms each product in the purchase by the lock of what the card shows."""
        locks = {product["product"]: product["lock"] for product in _bought(view)}
        await self.phone.act("confirm_terms", {"locks": locks})
        self.tell(f"confirmed who, what and how much: {', '.join(locks)}")

    async def _at_products(self, view: Json) -> None:
        """Optional products stand unticked: takes them, or goes on to the next page (I4)."""
        offered = [p for p in view["card"]["products"] if p["optional"] and not p["chosen"]]
        if not self.habits.take_extra:
            self.tell(f"left unticked: {', '.join(p['product'] for p in offered)}")
            await self._at_needs(view)
            return
        for product in offered:
            await self.phone.act("choose_product", {"product": product["product"], "lock": product["lock"]})
            self.tell(f"ticked the optional product {product['product']} for {_yuan(product['total_fen'])}")

    # -- P6: needs and questions ---------------------------------------------------------------------------

    async def _at_needs(self, view: Json) -> None:
        for product in view["disclosure"]["needs_open"]:
            await self._answer(view, "answer_needs", "needs_questions", product)
        for advice in view["disclosure"]["advice_open"]:
            await self.phone.act("continue_of_own_will", advice)
            self.tell(f"saw the advice against {advice['product']}, and goes on of own will")

    async def _at_questions(self, view: Json) -> None:
        for product in view["disclosure"]["questions_open"]:
            await self._answer(view, "answer_questions", "questions", product)

    async def _answer(self, view: Json, verb: str, kind: str, product: str) -> None:
        card = next(card for card in view["card"]["products"] if card["product"] == product)
        # The answer of somebody with nothing to tell stands first in every question.
        answers = {question["code"]: question["answers"][0]["code"] for question in card[kind]}
        await self.phone.act(verb, {"product": product, "answers": answers})
        self.tell(f"answered {len(answers)} {'needs questions' if kind == 'needs_questions' else 'questions'} "
                  f"about {product}")  # fmt: skip

    # -- P7: reading ---------------------------------------------------------------------------------------

    async def _at_documents(self, view: Json) -> None:
        waiting = [d for d in view["disclosure"]["documents"] if d["confirmed_at"] is None]
        for number, each in enumerate(waiting, 1):
            await self._read(each["document"], f"{number}/{len(waiting)}")

    async def _read(self, document: Json, place: str) -> None:
        """Shows one document paragraph by paragraph until the server's clock is satisfied, and confirms it."""
        text = await self.phone.get(f"/documents/{document['sha256']}")
        opened = await self.phone.act("open_document", document)
        minimum = opened["minimum_dwell_ms"] / 1000
        paragraphs = [block["id"] for block in text["blocks"]]
        name = f"{place} {text['document']}"
        began = asyncio.get_running_loop().time()
        beats = max(2, -(-int(minimum) // int(HEARTBEAT_SECONDS)) + 1)
        share = -(-len(paragraphs) // beats)
        for beat in range(beats):
            shown = paragraphs[beat * share : (beat + 1) * share]
            if beat:
                await asyncio.sleep(minimum / (beats - 1))
            progress = await self._beat(document, shown, at_end=beat == beats - 1)
            self.tell(f"\r{name}: {progress['dwell_ms'] / 1000:.0f} of {minimum:.0f} s, "
                      f"{progress['paragraphs_seen']} of {progress['paragraphs_total']} paragraphs")  # fmt: skip
        while not progress["confirmable"]:
            await asyncio.sleep(progress["remaining_ms"] / 1000 + 0.01)
            progress = await self._beat(document, [], at_end=True)
        await self.phone.act("confirm_document", document)
        took = asyncio.get_running_loop().time() - began
        self.tell(f"\r{name}: read all {progress['paragraphs_total']} paragraphs in {took:.1f} s, confirmed\n")

    async def _beat(self, document: Json, paragraphs: list[str], *, at_end: bool) -> Json:
        return await self.phone.act(
            "report_reading", {"document": document, "paragraphs": paragraphs, "at_end": at_end, "visible": True}
        )

    # -- P8: deadly points ---------------------------------------------------------------------------------

    async def _at_points(self, view: Json) -> None:
        waiting = view["disclosure"]["points_open"]
        for point in waiting:
            await self.phone.act("show_point", point)
            await self.phone.act("acknowledge_point", point)
        self.tell(f"acknowledged {len(waiting)} points, each on its own")

    # -- P9, P10: forms and the name -----------------------------------------------------------------------

    async def _at_forms(self, view: Json) -> None:
        del view
        offered = (await self.phone.act("prepare_forms"))["forms"]
        for form in offered:
            if form["reviewed"]:
                continue
            pdf = await self.phone.file(f"/forms/{form['product']}")
            await self.phone.act(
                "review_form", {"product": form["product"], "form_commitment": form["form"]["commitment"]}
            )
            self.tell(f"looked through the application form {form['form_no']} ({len(pdf) // 1024} KB)")

    async def _at_signature(self, view: Json) -> None:
        signing, name = view["signing"], self.person.name
        for phrase in signing["phrases"]:
            if not phrase["copied"]:
                copy = {"phrase": phrase["sha256"], "handwriting": writes(phrase["text"], self.chance)}
                await self.phone.act("copy_phrase", copy)
                self.tell(f"copied {len(phrase['text'])} characters of the declaration by hand")
        self._written += 1
        handwriting = writes(another(name) if self._written <= self.habits.wrong_names else name, self.chance)
        await self.phone.act("save_draft", handwriting)
        signature = {
            "items": signing["items"],
            "declaration_sha256": signing["declaration_sha256"],
            "handwriting": handwriting,
        }
        try:
            await self.phone.act("sign_forms", signature)
        except ProblemAnswer as refused:
            if not refused.code.startswith("handwriting_"):
                raise
            # The page asks for it again, and so does the next turn.
            self.tell(f"the name was not read ({refused.code}), and is written again")
            return
        strokes = sum(len(box["strokes"]) for box in handwriting["boxes"])
        self.tell(f"wrote the name in {strokes} strokes, over {len(signing['items'])} documents by name")

    async def _at_review(self, view: Json) -> None:
        """Two of the insurer's people look at the handwriting; the page goes on by itself."""
        del view
        self.tell("two people look at the handwriting")
        await self._wait_while("review")

    # -- P12: paying ---------------------------------------------------------------------------------------

    async def _at_payment(self, view: Json) -> None:
        """Orders to the fen, and pays at the channel's own page."""
        if self.habits.drop_extra:
            for product in _bought(view):
                if product["optional"]:
                    await self.phone.act("drop_product", {"product": product["product"]})
                    self.tell(f"took {product['product']} out again; what was signed stands")
            view = await self.look()
            if view["place"]["step"] != "payment":
                return  # somebody who must be asked does not answer now; the next turn looks again
        payment = view["payment"]
        ordered = payment["state"] in ("placed", "accepted") and payment["pay_url"]
        await self.pay(payment["pay_url"] if ordered else (await self.order(view))["pay_url"])
        await self._wait_while("payment")

    async def order(self, view: Json) -> Json:
        """Authorises that the payer is compared, and orders what the page shows: the total and each lock."""
        if view["identity"]["consents"].get("payment_authorisation") != "given":
            await self.consent("payment_authorisation")
        locks = {product["product"]: product["lock"] for product in _bought(view)}
        order = await self.phone.act("place_order", {"total_fen": view["card"]["total_fen"], "locks": locks})
        self.tell(f"ordered the payment of {_yuan(order['total_fen'])}")
        return order

    async def pay(self, pay_url: str, payer: Person | None = None) -> Json:
        paid = await self.parties.pay(pay_url, payer or self.person)
        self.tell(f"at the channel's page: {paid['result']}")
        return paid

    async def _wait_while(self, step: str) -> None:
        await self._wait(lambda view: view["place"]["step"] != step)

    async def _wait(self, over: Callable[[Json], bool]) -> None:
        """Until the view is as hoped for; looked at whenever the event stream tells of something."""
        async with asyncio.timeout(WAITING_SECONDS):
            while True:
                async for _ in news(self.phone):
                    if over(await self.look()):
                        return

    # -- P13: policies -------------------------------------------------------------------------------------

    async def _at_policies(self, view: Json) -> None:
        if not _issued(view):
            self.tell("paid; the policies are on their way")
            await self.issued()
        await self.download()

    async def issued(self) -> None:
        """Waits for the policies."""
        await self._wait(_issued)

    async def download(self) -> None:
        """Each policy by its one-time address; each form as it was signed and sealed."""
        for policy in (await self.phone.get("/policies"))["policies"]:
            once = await self.phone.act(f"policies/{policy['policy_no']}/download")
            pdf = (await self.phone.patiently("GET", once["url"].removeprefix(self.phone.base))).content
            self.passage.policies[policy["policy_no"]] = pdf
            self.tell(f"downloaded {policy['name']} {policy['policy_no']} ({len(pdf) // 1024} KB)")
        for form in self.passage.view["signing"]["sealed"]:
            self.passage.forms[form["form_no"]] = await self.phone.file(f"/forms/{form['product']}?revision=sealed")
        self.tell(f"looked at {len(self.passage.forms)} sealed application forms")

    # -- P14, P15: survey and app --------------------------------------------------------------------------

    async def _aftercare(self) -> None:
        """Survey and app come after issuance, when they come; nothing depends on them (I29)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(AFTERCARE_SECONDS):
                # The journey is over, so its stream is silent: the page looks again by itself.
                while not {"survey", "app"} <= set((await self.look())["place"]["then"]):  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
        offered = self.passage.view["place"]["then"]
        if "survey" in offered:
            self._step = "survey"
            async with self._timed():
                await self._survey()
        if "app" in offered and self.habits.use_app:
            self._step = "app"
            async with self._timed():
                await self.parties.use_app(self.passage.view["referral"]["url"], "click", "install", "register")
                self.tell("followed the plain link to the insurer's app, installed it and registered")

    async def _survey(self) -> None:
        if self.habits.score is None:
            await self.phone.act("skip_survey")
            self.tell("was invited to the survey and skipped it")
        else:
            await self.phone.act("answer_survey", {"score": self.habits.score})
            self.tell(f"was invited to the survey and answered {self.habits.score} of 10")


def _bought(view: Json) -> list[Json]:
    """The products in the purchase now: those not optional and the optional ones ticked."""
    return [p for p in view["card"]["products"] if not p["optional"] or p["chosen"]]


def _issued(view: Json) -> bool:
    """The policies are there, and so is whoever keeps the signed forms that are shown beside them."""
    parts = view["issuance"], view["signing"]
    return None not in parts and view["issuance"]["state"] == "issued"


def _yuan(fen: int) -> str:
    return f"{fen / 100:,.2f} yuan"


class _Timed:
    """Adds the seconds a block takes to a step."""

    def __init__(self, took: dict[str, float], step: str) -> None:
        self._took = took
        self._step = step
        self._began = 0.0

    async def __aenter__(self) -> None:
        self._began = time.monotonic()

    async def __aexit__(self, *_: object) -> None:
        self._took[self._step] = self._took.get(self._step, 0.0) + time.monotonic() - self._began


__all__ = ["Customer", "Habits", "Passage", "ProblemAnswer", "Stuck"]
