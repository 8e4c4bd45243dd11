"""What becomes of money, by examples and by properties."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from contracts.facts import payment as facts
from contracts.facts.base import Fact
from contracts.facts.proposal import JourneyOpened
from contracts.progress import Progress
from contracts.values import Committed, PremiumLine
from services.payment import rules
from services.payment.channels import PaymentStatement
from services.payment.rules import Order, PaymentState

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
JOURNEY = "01M847BWATAD3B3ZQ6DZZ08WNQ"
WORDS = Committed(commitment="a" * 64, blob="b" * 64)
NUMBERS = [rules.order_no(JOURNEY, n) for n in (1, 2)]


def state(*, ended: bool = False) -> PaymentState:
    """A first order that was cancelled and a second that is open; no products, so that locks match."""
    orders = tuple(
        Order(
            order_no=number,
            channel="wechat",
            lines=(PremiumLine(product="mtpl", kind="premium", fen=100),),
            total_fen=100,
            locks={},
            payer_name=WORDS,
            payer_id_number=WORDS,
            placed_at=NOW,
            expires_at=NOW + timedelta(minutes=30),
            closed="cancelled" if index == 0 else None,
        )
        for index, number in enumerate(NUMBERS)
    )
    opened = JourneyOpened.model_construct(products=())
    progress = Progress(opened=opened, ended="withdrawn" if ended else None)
    return PaymentState(orders=orders, progress=progress)


def test_I16_the_full_amount_in_time_is_the_payment_once() -> None:
    paid = PaymentStatement(order_no=NUMBERS[1], state="paid", transaction_id="T1", paid_fen=100, paid_at=NOW)
    _, made = told(state(), [paid, paid, paid])
    assert [type(f) for f in made] == [facts.PaymentConfirmed]


def test_an_order_number_names_its_journey() -> None:
    for count in (1, 42, 1234):
        number = rules.order_no(JOURNEY, count)
        assert rules.journey_of(number) == JOURNEY
        assert len(number) <= 32
    for other in ("", "TB", JOURNEY, f"TB{JOURNEY}", f"TB{JOURNEY}x1", f"TB{JOURNEY.lower()}01"):
        assert rules.journey_of(other) is None


statements = st.builds(
    PaymentStatement,
    order_no=st.sampled_from([*NUMBERS, "TB-unknown"]),
    state=st.sampled_from(["unpaid", "payer_refused", "paid", "refunded", "closed"]),
    transaction_id=st.sampled_from(["T1", "T2", "T3"]),
    paid_fen=st.sampled_from([99, 100, 101]),
    currency=st.sampled_from(["CNY", "CNY", "JPY"]),
    paid_at=st.sampled_from([NOW, NOW + timedelta(minutes=31)]),
)


def told(begun: PaymentState, said: list[PaymentStatement]) -> tuple[PaymentState, list[Fact]]:
    made: list[Fact] = []
    for statement in said:
        new = rules.settle(begun, statement, heard_by="query", words=WORDS, now=NOW)
        for fact in new:
            begun = rules.evolve(begun, fact)
        made += new
    return begun, made


@given(st.lists(statements, max_size=12))
def test_I16_at_most_one_payment_and_every_other_money_goes_back_once(said: list[PaymentStatement]) -> None:
    _, made = told(state(), said)
    confirmed = [f for f in made if isinstance(f, facts.PaymentConfirmed)]
    refunds = [f for f in made if isinstance(f, facts.RefundRequested)]
    assert len(confirmed) <= 1
    assert len({f.transaction_id for f in refunds}) == len(refunds)
    assert not {f.transaction_id for f in confirmed} & {f.transaction_id for f in refunds}
    arrived = {s.transaction_id for s in said if s.state == "paid" and s.order_no in NUMBERS}
    assert arrived <= {f.transaction_id for f in (*confirmed, *refunds)}


@given(st.lists(statements, max_size=8))
def test_I16_hearing_it_all_again_makes_nothing(said: list[PaymentStatement]) -> None:
    begun, _ = told(state(), said)
    again, made = told(begun, [s for s in said if s.state in {"paid", "refunded"}])
    money = [f for f in made if isinstance(f, facts.PaymentConfirmed)]
    assert not money
    assert again.paid == begun.paid


def test_I14_without_a_living_journey_every_payment_goes_back() -> None:
    paid = PaymentStatement(
        order_no=NUMBERS[1], state="paid", transaction_id="T1", paid_fen=100, currency="CNY", paid_at=NOW
    )
    closed, back = rules.settle(state(ended=True), paid, heard_by="query", words=WORDS, now=NOW)
    assert isinstance(closed, facts.OrderClosed)
    assert isinstance(back, facts.RefundRequested)
    assert (back.fen, back.reason, back.transaction_id) == (100, "journey_void", "T1")


def test_nothing_is_due_for_a_journey_without_money() -> None:
    assert rules.due(PaymentState(), timedelta(seconds=15), None) is None
    assert rules.due(state(), timedelta(seconds=15), None) == NOW + timedelta(seconds=15)
