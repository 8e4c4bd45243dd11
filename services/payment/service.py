"""Payment's handlers: bus in, rules, store and channel out."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from prometheus_client import Counter, Gauge
from pydantic import Field

from contracts.commands.base import Act, Answer
from contracts.commands.issuance import RenounceOrder
from contracts.commands.payment import (
    CancelOrder,
    NotificationTaken,
    OrderOnly,
    OrderTerms,
    OrderToPay,
    PaymentView,
    PlaceOrder,
    Reconciled,
    ReconcileNow,
    RefundOrder,
    TakeNotification,
    ViewPayment,
)
from contracts.facts import payment as facts
from contracts.facts.base import Fact
from contracts.problems import KINDS, Refuse
from contracts.values import Committed, sha256_hex
from products import Releases
from servicekit.sealed import Sealed
from servicekit.service import Admitted, Decided, Ground, Service, answers
from servicekit.settings import Settings
from servicekit.store import Document, VersionConflict
from servicekit.telemetry import traces
from services.payment import rules
from services.payment.channels import (
    Channel,
    ChannelRefused,
    ChannelUnavailable,
    Heard,
    NotificationRefused,
    OrderToPlace,
    PaymentStatement,
    RefundStatement,
    RefundToMake,
)
from services.payment.channels.wechat import Merchant, WeChatPay
from services.payment.rules import Order, PaymentState, Refund

log = logging.getLogger(__name__)

TAKE: Final = TakeNotification.verb
UNCLAIMED: Final = "payment-unclaimed"
"""Under this key lie notifications about orders we never placed."""
NOTIFICATION_OUTCOMES: Final = (
    "taken", "unclaimed", "notification_invalid", "notification_stale", "notification_replayed", "channel_unavailable",
)  # fmt: skip
"""What becomes of a notification, as it is counted."""
NOTIFICATION_PAUSE: Final = timedelta(seconds=5)
KEPT: Final = timedelta(days=30)
"""So long the nonce and bytes of a notification are kept; its age allows ten minutes."""


class PaymentSettings(Settings):
    service: ClassVar[str] = "payment"

    payment_wechat_url: str = "https://api.mch.weixin.qq.com"
    payment_wechat_notify_url: str
    """Where the channel reaches the gateway's door for its notifications."""
    payment_wechat_merchant_file: Path
    """JSON: mchid, appid, serial_no of the merchant's certificate."""
    payment_wechat_key_file: Path
    """The merchant's RSA key, PEM."""
    payment_wechat_api_v3_key_file: Path
    payment_wechat_client_ip: str = "127.0.0.1"
    """The address orders are placed for."""
    payment_order_minutes: int = Field(default=30, ge=1, le=120)
    payment_ask_after_seconds: float = Field(default=15, ge=0)
    """How long after an order the channel is asked about it for the first time."""
    payment_refund_after_hours: float | None = Field(default=None, gt=0)
    """Money of which issuance says nothing goes back by itself after so long; none: people decide. What issuance
    refused, or a journey that ended, goes back at once."""


class Payment(Service[PaymentState, PaymentSettings]):
    name = "payment"
    state = PaymentState
    settings = PaymentSettings
    hears = ("proposal", "identity", "disclosure", "signing", "issuance")
    fields = ("stage", "since", "refunding", "refund_since")

    def __init__(self, ground: Ground[PaymentSettings]) -> None:
        super().__init__(ground)
        self.releases = Releases(self.set.releases_dir)
        self.links = ground.store.collection("pay_links")
        self.notifications = ground.store.collection("notifications")
        merchant = Merchant.load(
            self.set.payment_wechat_merchant_file.read_bytes(),
            self.set.payment_wechat_key_file.read_bytes(),
            self.set.payment_wechat_api_v3_key_file.read_bytes(),
        )
        self.channels: dict[str, Channel] = {
            "wechat": WeChatPay(
                self.set.payment_wechat_url,
                self.set.payment_wechat_notify_url,
                merchant,
                self.set.payment_wechat_client_ip,
                self.now,
                self.metrics.outside("wechat"),
            )
        }
        self.ask_after = timedelta(seconds=self.set.payment_ask_after_seconds)
        hours = self.set.payment_refund_after_hours
        self.patience = None if hours is None else timedelta(hours=hours)
        on = self.metrics.registry
        self._ordered = Gauge("toubao_ordered_not_paid", "Orders open at a payment channel.", registry=on)
        self._unissued = Gauge("toubao_paid_not_issued", "Payments without their policies.", registry=on)
        self._oldest = Gauge(
            "toubao_paid_not_issued_oldest_seconds", "Age of the oldest payment without its policies.", registry=on
        )
        self._taken = Counter(
            "toubao_payment_notifications", "Notifications of payment channels.", ("outcome",), registry=on
        )
        for outcome in NOTIFICATION_OUTCOMES:
            self._taken.labels(outcome)
        self._owed = Gauge("toubao_refunds_owed", "Journeys with money on its way back.", registry=on)
        self._owed_oldest = Gauge(
            "toubao_refunds_owed_oldest_seconds", "For how long the oldest money has been on its way back.", registry=on
        )

    async def open(self) -> None:
        for channel in self.channels.values():
            await channel.open()

    async def close(self) -> None:
        for channel in self.channels.values():
            await channel.shut()

    def evolve(self, state: PaymentState, fact: Fact) -> PaymentState:
        return rules.evolve(state, fact)

    def fields_of(self, state: PaymentState) -> dict[str, str | int]:
        return dict(rules.place_in_queue(state))

    def due(self, state: PaymentState) -> datetime | None:
        return rules.due(state, self.ask_after, self.patience)

    # -- placing an order ----------------------------------------------------------------------------------

    @answers(PlaceOrder)
    async def place_order(self, act: Admitted[OrderTerms], state: PaymentState) -> Decided:
        if act.arguments.channel not in self.channels:
            raise Refuse("not_found")
        opened = state.progress.check_opened()
        notices = self.releases.get(opened.release).notices
        consents = [
            code
            for code, each in notices.items()
            if each.stage == "payment" and each.act == "consent" and each.required
        ]
        known = rules.check_order(state, act.arguments, act.judgement.attempt, act.at, consents)
        if known is not None:
            return Decided([], _to_pay(known, ""))
        number = rules.order_no(act.journey_id, len(state.orders) + 1)
        placed = facts.OrderPlaced(
            at=act.at,
            order_no=number,
            channel=act.arguments.channel,
            lines=state.progress.lines(),
            total_fen=state.progress.total_fen(),
            locks=act.arguments.locks,
            payer_name=opened.policyholder.name,
            payer_id_number=opened.policyholder.id_number,
            expires_at=(act.at + timedelta(minutes=self.set.payment_order_minutes)).replace(microsecond=0),
            attestation=await self.attest(act.journey_id, state),
            proof=act.proof,
        )
        order = rules.evolve(state, placed).order(number)
        assert order is not None
        # The link comes once the order is on record: a crash in between leaves no order nobody knows of.
        return Decided([placed], _to_pay(order, ""))

    async def recorded(self, act: Act, answer: Answer[Any]) -> Answer[Any]:
        if not isinstance(act, PlaceOrder) or answer.reply is None:
            return answer
        # A remembered answer comes from the store as plain JSON.
        reply = OrderToPay.model_validate(answer.reply)
        state, link = await self._offer(act.journey_id, reply.order_no)
        return answer.model_copy(
            update={
                "reply": reply.model_copy(update={"pay_url": link}),
                "sequence": state.heard.get(self.name, answer.sequence),
            }
        )

    async def _offer(self, journey_id: str, order_no: str) -> tuple[PaymentState, str]:
        """The order stands at the channel, and here is the link to it. Raises ``Refuse``; may be done again."""
        state = await self.journeys.state(journey_id)
        order = state.order(order_no)
        opened = state.progress.opened
        if order is None or opened is None:
            raise Refuse("order_unknown")
        if order.transaction_id is not None:
            raise Refuse("order_paid")
        if not order.open:
            raise Refuse("order_unknown")
        channel = self.channels[order.channel]
        try:
            link = await channel.place(
                OrderToPlace(
                    order_no=order_no,
                    description=f"保险费 {opened.proposal_no}",
                    total_fen=order.total_fen,
                    expires_at=order.expires_at,
                    payer_name=Sealed(await self.vault.open_text(journey_id, order.payer_name)),
                    payer_id_type=opened.policyholder.id_type,
                    payer_id_number=Sealed(await self.vault.open_text(journey_id, order.payer_id_number)),
                )
            )
        except ChannelUnavailable:
            raise Refuse("channel_unavailable", retry_after=3) from None
        except ChannelRefused as refused:
            log.warning("order refused by the channel", extra={"journey_id": journey_id, "code": refused.code})
            await self._ask(journey_id, order)
            state = await self.journeys.state(journey_id)
            now_known = state.order(order_no)
            if now_known is not None and now_known.open:
                await self.journeys.append(journey_id, partial(self._close, order_no, "refused_by_channel"))
            raise Refuse(
                "order_paid" if now_known is not None and now_known.transaction_id is not None else "order_unknown"
            ) from None
        await self._keep_link(journey_id, order_no, link)

        async def accepted(state: PaymentState) -> list[Fact]:
            now_known = state.order(order_no)
            fresh = now_known is not None and now_known.open and not now_known.accepted
            return [facts.OrderAccepted(at=self.now(), order_no=order_no)] if fresh else []

        state = await self.journeys.append(journey_id, accepted)
        order = state.order(order_no)
        if order is None or not order.open:
            # Closed while we were speaking: nobody gets a link to it, and the channel shall not take money for it.
            await self._close_at_channel(journey_id, order_no)
            raise Refuse("order_unknown")
        return state, link

    async def _keep_link(self, journey_id: str, order_no: str, link: str) -> None:
        sealed = await self.vault.seal(journey_id, link)
        while True:
            kept = await self.links.get(order_no) or Document(order_no)
            kept.state = sealed.model_dump(mode="json")
            try:
                await self.links.save(kept)
            except VersionConflict:
                continue
            return

    async def _link(self, journey_id: str, order_no: str) -> str | None:
        kept = await self.links.get(order_no)
        return None if kept is None else await self.vault.open_text(journey_id, Committed.model_validate(kept.state))

    # -- cancelling ----------------------------------------------------------------------------------------

    @answers(CancelOrder)
    async def cancel_order(self, act: Admitted[OrderOnly], state: PaymentState) -> Decided:
        order = rules.check_cancel(state, act.arguments.order_no)
        channel = self.channels[order.channel]
        try:
            if await channel.close(order.order_no) == "closed":
                return Decided([facts.OrderClosed(at=act.at, order_no=order.order_no, reason="cancelled")])
            heard = await channel.query(order.order_no)
        except (ChannelUnavailable, ChannelRefused):
            raise Refuse("channel_unavailable", retry_after=3) from None
        if heard is None:
            raise Refuse("channel_unavailable", retry_after=3)
        # Paid in the meantime: it is a payment like any other.
        return Decided(await self._follows(act.journey_id, state, heard, "query"), refusal=Refuse("order_paid"))

    async def _close(self, order_no: str, reason: rules.CloseReason, state: PaymentState) -> list[Fact]:
        order = state.order(order_no)
        if order is None or not order.open:
            return []
        return [facts.OrderClosed(at=self.now(), order_no=order_no, reason=reason)]

    async def _close_at_channel(self, journey_id: str, order_no: str) -> None:
        state = await self.journeys.state(journey_id)
        order = state.order(order_no)
        if order is None:
            return
        try:
            await self.channels[order.channel].close(order_no)
        except (ChannelUnavailable, ChannelRefused):
            # Money that comes all the same goes back (I14).
            log.warning("a closed order may still be open at the channel", extra={"journey_id": journey_id})

    # -- what the channel says -----------------------------------------------------------------------------

    async def _follows(
        self, journey_id: str, state: PaymentState, heard: Heard, heard_by: Literal["notification", "query"]
    ) -> list[Fact]:
        if rules.known(state, heard.said):
            return []
        words = await self.vault.seal(journey_id, heard.words)
        return rules.settle(state, heard.said, heard_by=heard_by, words=words, now=self.now())

    async def _record(self, journey_id: str, heard: Heard, by: Literal["notification", "query"]) -> None:
        """In the trace of the tap that placed the order: what follows is that act's, whoever brings the news."""
        document = await self.journeys.collection.get(journey_id)
        placed = [] if document is None else [f for f in document.facts if f.type == facts.OrderPlaced.type()]
        news = traces.inject()
        with traces.span(
            "settle payment", traceparent=placed[-1].traceparent if placed else None, links=[news] if news else []
        ):
            await self.journeys.append(journey_id, lambda state: self._follows(journey_id, state, heard, by))

    async def _ask(self, journey_id: str, order: Order) -> Heard | None:
        """Asks the channel about one order and takes what it says."""
        heard = await self.channels[order.channel].query(order.order_no)
        if heard is not None:
            await self._record(journey_id, heard, "query")
        return heard

    @answers(TakeNotification)
    async def take_notification(self, request: TakeNotification) -> NotificationTaken:
        channel = self.channels.get(request.channel)
        if channel is None:
            raise Refuse("not_found")
        try:
            body = base64.b64decode(request.body_base64, validate=True)
            read = await channel.read_notification(request.headers, body)
        except ValueError:
            return self._refused("notification_invalid")
        except NotificationRefused as refused:
            return self._refused(refused.code)
        except ChannelUnavailable:
            # It cannot be judged without the channel's certificates: it shall come again.
            return self._refused("channel_unavailable")
        # The nonce is remembered by the very write that keeps the notification: neither is ever without the other.
        place = sha256_hex(f"{request.channel}\n{read.nonce}".encode())
        journey_id = rules.journey_of(read.order_no or "")
        state = None if journey_id is None else await self.journeys.state(journey_id)
        ours = state is not None and state.order(read.order_no or "") is not None
        owner = journey_id if journey_id is not None and ours else UNCLAIMED
        now = self.now()
        kept = Document(
            place,
            state={
                "channel": request.channel,
                "journey_id": journey_id if ours else None,
                "order_no": read.order_no,
                "taken_at": now.isoformat(),
                "raw": (await self.vault.seal(owner, body)).model_dump(mode="json"),
                "words": (await self.vault.seal(owner, read.words)).model_dump(mode="json"),
                "said": None if read.said is None else read.said.model_dump(mode="json"),
                "refund": isinstance(read.said, RefundStatement),
                "settled": False,
            },
            due=now if ours and read.said is not None else None,
        )
        try:
            kept = await self.notifications.save(kept)
        except VersionConflict:
            return self._refused("notification_replayed")
        self._taken.labels("taken" if ours else "unclaimed").inc()
        if not ours:
            # Counted as unclaimed: whoever looks after payments is told by that.
            log.warning("a notification about an order that is not ours", extra={"channel": request.channel})
        else:
            try:
                await self._settle_notification(kept)
            except Exception as error:  # noqa: BLE001 - it is kept: the sweep comes back to it
                log.warning("a notification waits", extra={"error": type(error).__name__})
        return NotificationTaken(status=200, body=json.dumps({"code": "SUCCESS"}))

    def _refused(self, code: str) -> NotificationTaken:
        """Anything but 200 makes the channel send it again, signed anew."""
        self._taken.labels(code).inc()
        return NotificationTaken(status=KINDS[code].status, body=json.dumps({"code": code, "message": "FAIL"}))

    async def _settle_notification(self, kept: Document) -> None:
        """Takes what a kept notification says; again after a crash, with the same result."""
        journey_id: str | None = kept.state["journey_id"]
        stated: Any = kept.state["said"]
        if journey_id is not None and stated is not None and not kept.state["settled"]:
            if kept.state["refund"]:
                await self._take_refund_notice(journey_id, RefundStatement.model_validate(stated))
            else:
                words = await self.vault.open(journey_id, Committed.model_validate(kept.state["words"]))
                await self._take_payment(journey_id, Heard(PaymentStatement.model_validate(stated), words))
        kept.state = {**kept.state, "settled": True}
        kept.due = datetime.fromisoformat(kept.state["taken_at"]) + KEPT
        try:
            await self.notifications.save(kept)
        except VersionConflict:
            log.info("somebody else settled it")

    async def _take_payment(self, journey_id: str, heard: Heard) -> None:
        state = await self.journeys.state(journey_id)
        order = state.order(heard.said.order_no)
        if order is None or rules.known(state, heard.said):
            return
        if heard.said.state == "paid" and not rules.in_full(state, heard.said):
            # Before money goes back the channel's books are asked, not its messenger.
            await self._ask(journey_id, order)
            if not rules.known(await self.journeys.state(journey_id), heard.said):
                # The books know nothing of it: no money, but somebody said so.
                await self.journeys.record_refusal(journey_id, TAKE, "amount_mismatch")
            return
        await self._record(journey_id, heard, "notification")

    async def _take_refund_notice(self, journey_id: str, said: RefundStatement) -> None:
        known = {refund.refund_no for refund in (await self.journeys.state(journey_id)).refunds}
        if said.refund_no in known:
            await self._take_refund(journey_id, said)
        else:
            await self.journeys.record_refusal(journey_id, TAKE, "nothing_to_refund")

    async def _take_refund(self, journey_id: str, said: RefundStatement) -> None:
        async def decision(state: PaymentState) -> list[Fact]:
            return rules.refunded(state, said, self.now())

        if said.state == "stuck":
            log.error("a refund needs a person at the channel's console", extra={"journey_id": journey_id})
        await self.journeys.append(journey_id, decision)

    # -- by itself -----------------------------------------------------------------------------------------

    async def work(self, journey_id: str, state: PaymentState) -> None:
        try:
            for refund in state.refunds_open:
                await self._send_back(journey_id, state, refund)
            if state.open_order is not None:
                await self._look_after(journey_id, state.open_order)
        except (ChannelUnavailable, ChannelRefused) as error:
            raise Refuse("channel_unavailable") from error
        await self._give_up(journey_id)

    async def _look_after(self, journey_id: str, order: Order) -> None:
        """An order that is open: is it paid, must it be closed, did the channel get it at all?"""
        heard = await self._ask(journey_id, order)
        state = await self.journeys.state(journey_id)
        current = state.order(order.order_no)
        if current is None or not current.open:
            return
        reason = rules.to_close(state, self.now())
        if reason is not None:
            if await self.channels[order.channel].close(order.order_no) == "paid":
                await self._ask(journey_id, order)
            else:
                await self.journeys.append(journey_id, partial(self._close, order.order_no, reason))
        elif heard is None or not current.accepted:
            await self._offer(journey_id, order.order_no)

    async def _send_back(self, journey_id: str, state: PaymentState, refund: Refund) -> None:
        order = state.order(refund.order_no)
        assert order is not None
        channel = self.channels[order.channel]
        said = await channel.query_refund(refund.refund_no)
        if said is None:
            said = await channel.refund(RefundToMake(refund.refund_no, refund.transaction_id, refund.fen))
        await self._take_refund(journey_id, said)

    async def _give_up(self, journey_id: str) -> None:
        """Money that bought nothing goes back, once issuance has given its word that it never will."""
        state = await self.journeys.state(journey_id)
        back, order = rules.refund_without_policy(state, self.patience), state.kept
        if back is None or order is None or back[0] > self.now():
            return
        await self._renounced(journey_id, order)

        async def decision(state: PaymentState) -> list[Fact]:
            kept = state.kept is not None and state.kept.order_no == order.order_no
            return [rules.request_refund(state, order.order_no, back[1], self.now())] if kept else []

        await self.journeys.append(journey_id, decision)

    async def _renounced(self, journey_id: str, order: Order) -> None:
        """Issuance alone knows whether it has just numbered policies for the order, so it is asked, and whatever it
        does from then on it makes none (I16). Raises ``Refuse("journey_issued")``, ``BusUnavailable``.
        """
        if order.not_issued is None:
            ask = RenounceOrder(command_id=f"renounce-{order.order_no}", journey_id=journey_id, order_no=order.order_no)
            await self.bus.request(ask, RenounceOrder.reply)

    async def swept(self) -> None:
        now = self.now()
        for kept in await self.notifications.find(up_to=("due", now), order="due", limit=100):
            if kept.state["settled"]:
                await self.notifications.delete(kept.id)
                continue
            try:
                await self._settle_notification(kept)
            except Exception as error:  # noqa: BLE001 - the next one may go through; this one is tried again
                log.warning("a notification waits", extra={"error": type(error).__name__})
                kept.due = now + NOTIFICATION_PAUSE
                try:
                    await self.notifications.save(kept)
                except VersionConflict:
                    continue
        self._ordered.set(await self.journeys.collection.count({"stage": "ordered"}))
        self._unissued.set(await self.journeys.collection.count({"stage": "unissued"}))
        self._oldest.set(await self._longest({"stage": "unissued"}, "since"))
        self._owed.set(await self.journeys.collection.count({"refunding": 1}))
        self._owed_oldest.set(await self._longest({"refunding": 1}, "refund_since"))

    async def _longest(self, equal: Mapping[str, str | int], since: str) -> float:
        """Seconds of the journey that is longest in this state; 0 when there is none."""
        oldest = await self.journeys.collection.find(equal=equal, order=since, limit=1)
        return max(0.0, self.now().timestamp() - int(oldest[0].fields[since])) if oldest else 0.0

    # -- people --------------------------------------------------------------------------------------------

    @answers(RefundOrder)
    async def refund_order(self, command: RefundOrder, state: PaymentState) -> Decided:
        back = rules.request_refund(state, command.order_no, command.reason, self.now())
        order = state.order(command.order_no)
        assert order is not None
        await self._renounced(command.journey_id, order)
        return Decided([back])

    @answers(ReconcileNow)
    async def reconcile(self, _: ReconcileNow) -> Reconciled:
        """Asks the channel about every order that should be paid by now; then says what is left."""
        overdue = int((self.now() - self.ask_after).timestamp())
        async for journey_id, state in self._staged("ordered", overdue):
            order = state.open_order
            try:
                if order is not None:
                    await self._look_after(journey_id, order)
            except (ChannelUnavailable, ChannelRefused, Refuse):
                log.warning("an order could not be asked about", extra={"journey_id": journey_id})
        unpaid = [s.open_order.order_no async for _, s in self._staged("ordered", overdue) if s.open_order]
        unissued = [
            order.order_no
            async for _, s in self._staged("unissued", int(self.now().timestamp()))
            if (order := rules.waits_for_policy(s)) is not None
        ]
        return Reconciled(ordered_not_paid=tuple(unpaid), paid_not_issued=tuple(unissued))

    async def _staged(self, stage: str, until: int):
        """Journeys of a stage, those longest in it first."""
        after = None
        while True:
            found = await self.journeys.collection.find(
                equal={"stage": stage}, up_to=("since", until), order="since", limit=100, after=after
            )
            for document in found:
                yield document.id, PaymentState.model_validate(document.state)
            if len(found) < 100:
                return
            after = found[-1].cursor("since")

    @answers(ViewPayment)
    async def view(self, query: ViewPayment) -> PaymentView:
        state = await self.journeys.state(query.journey_id)
        progress = state.progress
        order = state.open_order or state.paid or (state.orders[-1] if state.orders else None)
        if order is None:
            return PaymentView(
                state="none",
                order_no=None,
                pay_url=None,
                lines=progress.lines(),
                total_fen=progress.total_fen(),
                expires_at=None,
                paid_at=None,
                payer_refused=False,
            )
        return PaymentView(
            state=state.stage,
            order_no=order.order_no,
            pay_url=await self._link(query.journey_id, order.order_no) if order.open else None,
            lines=order.lines,
            total_fen=order.total_fen,
            expires_at=order.expires_at,
            paid_at=order.paid_at,
            payer_refused=order.payer_refused,
        )


def _to_pay(order: Order, link: str) -> OrderToPay:
    return OrderToPay(order_no=order.order_no, pay_url=link, total_fen=order.total_fen, expires_at=order.expires_at)
