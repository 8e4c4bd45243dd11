"""The checker bites: copies of finished journeys are broken one by one, and each is found under the right rule."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import sys
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from servicekit.store.mongodb import MongoStore
from servicekit.store.sqlite import SqliteStore
from tests.architecture.source import Source
from tests.faults import checker
from tests.faults.checker import seals
from tests.faults.checker.chain import chain_of
from tests.faults.checker.stores import from_mongodb, from_sqlite
from tests.faults.storm import Wanted, storm
from tests.wire_server import wire_server

pytestmark = pytest.mark.timeout(300)
of_one_run = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]
CALM = Wanted(journeys=2, kills_every=math.inf, seed=43)
"""Nothing is killed. One customer goes by face and takes the extra, the other by card and takes it out again."""
ANOTHER = "0" * 64


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def finished(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """What two customers who came through left behind."""
    folder = tmp_path_factory.mktemp("checker") / "run"
    result = await storm(CALM, folder)
    assert result["through"] == 2
    yield folder


class Copy:
    """A copy of the stores that may be broken. ``by_face`` and ``by_card`` are its two journeys."""

    def __init__(self, finished: Path, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / "blobs").symlink_to(finished / "blobs")
        for part in ("data", "vault", "releases", "sandbox", checker.PACKS, "logs"):
            shutil.copytree(finished / part, folder / part)
        for part in ("master.key", checker.WITNESS):
            shutil.copy(finished / part, folder / part)
        self.by_face, self.by_card = (
            customer["journey_id"] for customer in sorted(self.witness["customers"], key=lambda each: each["number"])
        )

    def judged(self, *rules: str) -> checker.Verdict:
        """By these rules, else by all."""
        return checker.judge(
            checker.read(self.folder), [rule for rule in checker.RULES if not rules or rule.name in rules]
        )

    # -- the witness, the ledger, documents ------------------------------------------------------------------

    @property
    def witness(self) -> Json:
        return json.loads((self.folder / checker.WITNESS).read_text("utf-8"))

    def tell(self, change: Callable[[Json], object]) -> None:
        witness = self.witness
        change(witness)
        (self.folder / checker.WITNESS).write_text(json.dumps(witness, ensure_ascii=False), "utf-8")

    def record(self, kind: str, change: Callable[[Json], object], *, as_another: str | None = None) -> None:
        """Changes the first record of a kind in the stand-ins' ledger, or adds it changed under another id."""
        path = self.folder / "sandbox" / "parties" / "records.sqlite3"
        with _committed(path) as db:
            (name, text) = db.execute("SELECT id, document FROM records WHERE kind = ?", (kind,)).fetchone()
            document = json.loads(text)
            change(document)
            db.execute(
                "INSERT OR REPLACE INTO records (kind, id, tag, document) VALUES (?, ?, '', ?)",
                (kind, as_another or name, json.dumps(document)),
            )

    def document(self, service: str, collection: str, name: str, change: Callable[[Json], object]) -> None:
        """Changes the state of a document."""
        with self._store(service) as db:
            (text,) = db.execute(f"SELECT state FROM {collection} WHERE id = ?", (name,)).fetchone()
            state = json.loads(text)
            change(state)
            db.execute(f"UPDATE {collection} SET state = ? WHERE id = ?", (json.dumps(state), name))

    def sql(self, service: str, statement: str, *values: Any) -> None:
        with self._store(service) as db:
            assert db.execute(statement, values).rowcount

    def _store(self, service: str) -> AbstractContextManager[sqlite3.Connection]:
        return _committed(self.folder / "data" / f"{service}.sqlite")

    # -- facts -----------------------------------------------------------------------------------------------

    def facts(self, journey: str, name: str) -> list[Json]:
        service = name.partition(".")[0]
        kept = from_sqlite(self.folder / "data").facts(service, journey)
        return [fact.data for fact in kept if fact.name == name]

    def fact(self, journey: str, name: str, change: Callable[[Json], object], which: int = 0) -> None:
        """Changes the data of one fact where its service keeps it."""

        def changed(facts: list[list[Any]]) -> None:
            fact = _named(facts, name)[which]
            data = json.loads(fact[7])
            change(data)
            fact[7] = json.dumps(data)

        self._facts(journey, name, changed)

    def without(self, journey: str, name: str, which: int = 0) -> None:
        """Takes a fact out, and those behind it close the gap."""

        def changed(facts: list[list[Any]]) -> None:
            facts.remove(_named(facts, name)[which])
            for sequence, fact in enumerate(facts, 1):
                fact[5] = sequence

        self._facts(journey, name, changed)

    def twice(self, journey: str, name: str, change: Callable[[Json], object] = lambda _: None) -> None:
        """Adds a fact once more, changed, as the service's last."""

        def changed(facts: list[list[Any]]) -> None:
            data = json.loads(_named(facts, name)[0][7])
            change(data)
            facts.append([*_named(facts, name)[0]])
            facts[-1][0], facts[-1][5], facts[-1][7] = "0" * 26, len(facts), json.dumps(data)

        self._facts(journey, name, changed)

    def _facts(self, journey: str, name: str, change: Callable[[list[list[Any]]], None]) -> None:
        with self._store(name.partition(".")[0]) as db:
            (text,) = db.execute("SELECT facts FROM journeys WHERE id = ?", (journey,)).fetchone()
            facts = json.loads(text)
            change(facts)
            db.execute("UPDATE journeys SET facts = ? WHERE id = ?", (json.dumps(facts), journey))

    # -- files -----------------------------------------------------------------------------------------------

    def rewrite(self, path: Path, change: Callable[[bytes], bytes]) -> None:
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(change(content))

    def blob(self, sha256: str) -> Path:
        """Where a blob lies that is going to be broken: the copy gets blobs of its own."""
        blobs = self.folder / "blobs"
        if blobs.is_symlink():
            shared = blobs.readlink()
            blobs.unlink()
            # Nothing writes into a blob: what is to be broken is written anew.
            shutil.copytree(shared, blobs, copy_function=os.link)
        return blobs / sha256[:2] / sha256[2:4] / sha256


@contextmanager
def _committed(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as db, db:
        yield db


def _named(facts: list[list[Any]], name: str) -> list[list[Any]]:
    service, _, fact = name.partition(".")
    return [each for each in facts if each[2] == f"toubao.{service}.{fact}.v1"]


def flipped(content: bytes, at: int = -1) -> bytes:
    at %= len(content)
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def later(data: Json, name: str = "at") -> None:
    """As if it had happened a day later."""
    day = int(data[name][8:10])
    data[name] = f"{data[name][:8]}{day % 28 + 1:02d}{data[name][10:]}" if day < 28 else "2099-01-01T00:00:00Z"


def put(**changes: Any) -> Callable[[Json], object]:
    return lambda data: data.update(changes)


def more(name: str, by: int = 1) -> Callable[[Json], object]:
    """A sum off by a fen."""
    return lambda data: data.__setitem__(name, data[name] + by)


# -- how journeys are broken ---------------------------------------------------------------------------------------


def order_before_the_last_confirmation(c: Copy) -> None:
    c.fact(c.by_face, "disclosure.document_confirmed", later, which=-1)


def a_document_never_confirmed(c: Copy) -> None:
    c.without(c.by_face, "disclosure.document_confirmed", which=-1)


def signed_on_an_older_head(c: Copy) -> None:
    c.fact(c.by_face, "signing.forms_signed", lambda data: data["attestation"]["heads"].update(disclosure=20))


def nobody_verified(c: Copy) -> None:
    c.without(c.by_card, "identity.identity_verified")


def one_act_for_two_documents(c: Copy) -> None:
    proof = c.facts(c.by_face, "disclosure.document_confirmed")[0]["proof"]
    c.fact(c.by_face, "disclosure.document_confirmed", put(proof=proof), which=1)


def half_of_it_read(c: Copy) -> None:
    c.fact(c.by_face, "disclosure.document_confirmed", more("paragraphs_seen", -1))


def confirmed_before_its_dwell(c: Copy) -> None:
    c.fact(c.by_face, "disclosure.document_confirmed", put(dwell_ms=29))


def a_minimum_of_its_own(c: Copy) -> None:
    c.fact(c.by_face, "disclosure.document_confirmed", put(minimum_dwell_ms=2000))


def confirmed_as_soon_as_opened(c: Copy) -> None:
    at = c.facts(c.by_face, "disclosure.document_opened")[0]["at"]
    c.fact(c.by_face, "disclosure.document_confirmed", put(at=at, end_reached_at=at))


def never_opened(c: Copy) -> None:
    c.without(c.by_face, "disclosure.document_opened")


def the_extra_was_preselected(c: Copy) -> None:
    c.without(c.by_face, "proposal.product_chosen")


def the_extra_is_charged_though_dropped(c: Copy) -> None:
    lock = c.facts(c.by_card, "proposal.journey_opened")[0]["products"][2]["lock"]
    c.fact(c.by_card, "payment.order_placed", lambda data: data["locks"].update(driver_passenger_accident=lock))


def documents_inherited_from_motor(c: Copy) -> None:
    c.fact(c.by_face, "proposal.journey_opened",
           lambda data: data["products"][2].update(documents=data["products"][1]["documents"]))  # fmt: skip


def verified_after_signing(c: Copy) -> None:
    c.fact(c.by_face, "identity.identity_verified", later)


def identity_had_run_out(c: Copy) -> None:
    c.fact(c.by_face, "identity.identity_verified", lambda data: data.update(valid_until=data["at"]))


def a_face_the_platform_never_saw(c: Copy) -> None:
    c.fact(c.by_face, "identity.face_checked", put(provider_ref="FP0"))


def face_in_spite_of_no(c: Copy) -> None:
    c.fact(c.by_card, "identity.identity_verified", put(method="face"))


def face_without_consent(c: Copy) -> None:
    c.without(c.by_face, "identity.consent_given", which=1)


def a_face_is_kept(c: Copy) -> None:
    c.fact(c.by_face, "identity.face_checked", put(image="ffd8ff"))


def a_line_instead_of_a_name(c: Copy) -> None:
    c.fact(c.by_face, "signing.forms_signed", lambda data: data["ink_checks"][0].update(ok=False))


def a_character_below_its_limit(c: Copy) -> None:
    c.fact(c.by_face, "signing.forms_signed", lambda data: data["reading"]["characters"][1].update(score=-99.0))


def taken_on_nobodys_word(c: Copy) -> None:
    c.fact(c.by_face, "signing.forms_signed", lambda data: data.update(legibility="manual", review_no=1))


def a_name_nobody_read(c: Copy) -> None:
    c.fact(c.by_face, "signing.forms_signed", lambda data: data.update(legibility="not_judged", reading=None))


def ordered_on_another_phone(c: Copy) -> None:
    c.fact(c.by_face, "payment.order_placed", lambda data: data["proof"].update(attempt=2))


def signed_on_another_phone(c: Copy) -> None:
    c.fact(c.by_face, "signing.forms_signed", lambda data: data["proof"].update(attempt=2))


def the_session_was_void(c: Copy) -> None:
    def void(facts: list[list[Any]]) -> None:
        fact = _named(facts, "identity.recording_acknowledged")[0]
        fact[2] = "toubao.identity.session_voided.v1"
        fact[7] = json.dumps({"at": json.loads(fact[7])["at"], "attempt": 1, "reason": "device_changed"})

    c._facts(c.by_face, "identity.session_voided", void)


def two_persons(c: Copy) -> None:
    c.twice(c.by_face, "identity.identity_verified", put(customer_id="0" * 26))


def an_act_nobody_proved(c: Copy) -> None:
    c.fact(c.by_face, "proposal.terms_confirmed", put(proof=None))


def a_proof_of_another_act(c: Copy) -> None:
    proof = c.facts(c.by_face, "identity.recording_acknowledged")[0]["proof"]
    c.fact(c.by_face, "proposal.terms_confirmed", put(proof=proof))


def a_proof_by_another_key(c: Copy) -> None:
    proof = c.facts(c.by_card, "proposal.terms_confirmed")[0]["proof"]
    c.fact(c.by_face, "proposal.terms_confirmed", put(proof=proof))


def a_forged_proof(c: Copy) -> None:
    def forge(data: Json) -> None:
        jws = data["proof"]["proof"]["jws"]
        data["proof"]["proof"]["jws"] = jws[:-8] + ("A" if jws[-8] != "A" else "B") + jws[-7:]

    c.fact(c.by_face, "proposal.terms_confirmed", forge)


def another_payer(c: Copy) -> None:
    holder = c.facts(c.by_face, "proposal.journey_opened")[0]["policyholder"]
    c.fact(c.by_face, "payment.order_placed", put(payer_name=holder["address"]))


def compared_with_another(c: Copy) -> None:
    c.record("order", lambda order: order["terms"]["payer"]["identity"].update(name="别人"))


def a_policy_number_twice(c: Copy) -> None:
    number = c.facts(c.by_card, "issuance.policies_numbered")[0]["policies"][0]["policy_no"]
    c.fact(c.by_face, "issuance.policies_numbered", lambda data: data["policies"][0].update(policy_no=number))


def two_policies_for_one_product(c: Copy) -> None:
    c.twice(c.by_face, "issuance.policy_issued")


def numbered_again(c: Copy) -> None:
    c.twice(c.by_face, "issuance.policies_numbered")


def issued_without_payment(c: Copy) -> None:
    c.without(c.by_face, "payment.payment_confirmed")


def numbered_before_the_payment(c: Copy) -> None:
    c.fact(c.by_face, "payment.payment_confirmed", later)


def a_policy_nobody_bought(c: Copy) -> None:
    c.without(c.by_face, "issuance.policy_issued")
    c.without(c.by_face, "issuance.policies_numbered")


def a_misread_number(c: Copy) -> None:
    def misread(data: Json) -> None:
        number = data["policies"][0]["policy_no"]
        data["policies"][0]["policy_no"] = number[:-1] + ("A" if number[-1] != "A" else "B")

    c.fact(c.by_face, "issuance.policies_numbered", misread)


def ordered_a_fen_more(c: Copy) -> None:
    c.fact(c.by_face, "payment.order_placed", more("total_fen"))


def a_line_off_by_a_fen(c: Copy) -> None:
    c.fact(c.by_face, "payment.order_placed", lambda data: more("fen")(data["lines"][0]))


def taken_a_fen_more(c: Copy) -> None:
    c.record("order", more("paid_total"))


def confirmed_a_fen_less(c: Copy) -> None:
    c.fact(c.by_face, "payment.payment_confirmed", more("total_fen", -1))


def a_policy_a_fen_dearer(c: Copy) -> None:
    c.fact(c.by_face, "issuance.policy_issued", more("premium_fen"))


def other_terms_offered(c: Copy) -> None:
    c.fact(c.by_face, "proposal.journey_opened", lambda data: more("sum_fen")(data["products"][0]["covers"][0]))


def another_lock_issued(c: Copy) -> None:
    c.fact(c.by_face, "issuance.policy_issued", put(lock=ANOTHER))


def a_form_over_other_terms(c: Copy) -> None:
    c.fact(c.by_face, "signing.form_prepared", put(lock=ANOTHER))


def insured_for_longer(c: Copy) -> None:
    c.fact(c.by_face, "issuance.policy_issued", lambda data: later(data, "period_to"))


def a_fact_removed(c: Copy) -> None:
    c.sql("identity", "UPDATE journeys SET facts = json_remove(facts, '$[1]') WHERE id = ?", c.by_face)


def the_last_fact_removed(c: Copy) -> None:
    c.without(c.by_face, "issuance.journey_issued")


def a_fact_more(c: Copy) -> None:
    c.twice(c.by_face, "identity.consent_given")


def a_byte_in_the_chain(c: Copy) -> None:
    entry = next(e for e in checker.read(c.folder).entries[c.by_face] if e["index"] == 9)
    name = f"{c.by_face}.000009.{entry['link'][:16]}"
    c.document("evidence", "entries", name, lambda state: state.update(data=state["data"].replace('"at"', '"aT"', 1)))


def another_head(c: Copy) -> None:
    c.document("evidence", "journeys", c.by_face, put(head=ANOTHER))


def a_shorter_chain(c: Copy) -> None:
    before = chain_of(next(j for j in checker.read(c.folder).journeys if j.id == c.by_face))[-2]
    c.document("evidence", "journeys", c.by_face, put(head=before["link"], count=before["index"]))


def another_text_in_the_release(c: Copy) -> None:
    document = c.facts(c.by_face, "disclosure.document_confirmed")[0]["document"]
    (release,) = (c.folder / "releases").iterdir()
    c.rewrite(release / "files" / document["sha256"], flipped)


def another_release(c: Copy) -> None:
    (release,) = (c.folder / "releases").iterdir()
    c.rewrite(release / "manifest.json", lambda content: content.replace(b'"name"', b'"Name"', 1))


def a_byte_in_a_pack(c: Copy) -> None:
    path = next((c.folder / checker.PACKS).iterdir())
    with zipfile.ZipFile(path) as pack:
        members = {name: pack.read(name) for name in pack.namelist()}
    members["chain.json"] = members["chain.json"].replace(b'"index"', b'"iNdex"', 1)
    with zipfile.ZipFile(path, "w") as pack:
        for name, content in members.items():
            pack.writestr(name, content)


def thrown_away_too_soon(c: Copy) -> None:
    c.fact(c.by_face, "issuance.policy_issued", lambda data: data.update(retain_until=data["period_to"]))


def another_file_in_the_register(c: Copy) -> None:
    number = c.facts(c.by_face, "issuance.policy_issued")[0]["policy_no"]
    c.document("issuance", "policies_issued", number, put(file_sha256=ANOTHER))


def a_form_for_a_policy(c: Copy) -> None:
    form = c.facts(c.by_face, "signing.form_sealed")[0]["form"]
    c.fact(c.by_face, "issuance.policy_issued", put(policy=form))


def another_form_sealed(c: Copy) -> None:
    form = c.facts(c.by_face, "signing.form_sealed")[1]["form"]
    c.fact(c.by_face, "signing.form_sealed", put(form=form))


def handed_out_another_file(c: Copy) -> None:
    number = c.facts(c.by_face, "issuance.policy_issued")[0]["policy_no"]

    def change(witness: Json) -> None:
        next(w for w in witness["customers"] if number in w["policies"])["policies"][number] = ANOTHER

    c.tell(change)


def _value(c: Copy, kind: str) -> str:
    return c.witness["customers"][0]["values"][kind]


def a_name_in_a_log(c: Copy) -> None:
    with (c.folder / "logs" / "payment.log").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"message": f"paid by {_value(c, 'name')}"}) + "\n")


def a_phone_in_a_store(c: Copy) -> None:
    c.document("identity", "activity", c.by_face, put(phone=_value(c, "phone")))


def an_id_number_in_a_blob(c: Copy) -> None:
    path = c.blob(ANOTHER)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"%PDF-1.7 " + _value(c, "id_number").encode())


def a_car_in_a_trace(c: Copy) -> None:
    (c.folder / "traces.jsonl").write_text(f'{{"vin":"{_value(c, "vin")}"}}\n', "utf-8")


def a_plate_in_a_log(c: Copy) -> None:
    with (c.folder / "logs" / "gateway.log").open("a", encoding="ascii") as log:
        log.write(json.dumps({"message": _value(c, "plate_no")}) + "\n")


def an_address_in_a_stream(c: Copy) -> None:
    (c.folder / "nats").mkdir()
    (c.folder / "nats" / "1.blk").write_bytes(b"\0" + _value(c, "address").encode())


def ordered_after_consent_was_withdrawn(c: Copy) -> None:
    def withdraw(data: Json) -> None:
        data["withdrawn"] = True
        data["notice"]["notice"] = "privacy"

    c.fact(c.by_card, "identity.consent_declined", withdraw)


def asked_before_anything_was_issued(c: Copy) -> None:
    c.fact(c.by_face, "nps.survey_invited", put(at="2020-01-01T00:00:00Z"))


def asked_twice(c: Copy) -> None:
    c.twice(c.by_face, "nps.survey_invited")


def advice_nobody_met(c: Copy) -> None:
    c.fact(c.by_face, "disclosure.needs_answered", put(advice=["duplicate_cover"]))


def needs_nobody_asked(c: Copy) -> None:
    c.without(c.by_face, "disclosure.needs_answered")


def an_attestation_nobody_gave(c: Copy) -> None:
    def forge(data: Json) -> None:
        signature = data["attestation"]["signature"]
        data["attestation"]["signature"] = signature[:-8] + ("A" if signature[-8] != "A" else "B") + signature[-7:]

    c.fact(c.by_face, "payment.order_placed", forge)


def no_timestamp(c: Copy) -> None:
    c.blob(c.facts(c.by_face, "issuance.policies_numbered")[0]["attestation"]["token"]).unlink()


def a_timestamp_over_something_else(c: Copy) -> None:
    token = c.facts(c.by_face, "signing.forms_signed")[0]["attestation"]["token"]
    c.fact(c.by_face, "issuance.policies_numbered", lambda data: data["attestation"].update(token=token))


def acknowledged_and_forgotten(c: Copy) -> None:
    c.without(c.by_face, "disclosure.point_acknowledged")


def charged_twice(c: Copy) -> None:
    order_no = c.facts(c.by_face, "payment.order_placed")[0]["order_no"]
    again = order_no[:-2] + "02"
    c.twice(c.by_face, "payment.order_placed", put(order_no=again))
    c.record("order", put(transaction_id="4200000000000000000000000000"), as_another=again)


def issued_and_refunded(c: Copy) -> None:
    order_no = c.facts(c.by_face, "payment.order_placed")[0]["order_no"]
    path = c.folder / "sandbox" / "parties" / "records.sqlite3"
    total = c.facts(c.by_face, "payment.order_placed")[0]["total_fen"]
    refund = {"terms": {"out_trade_no": order_no, "amount": {"refund": total, "total": total}}}
    with _committed(path) as db:
        db.execute("INSERT INTO records (kind, id, tag, document) VALUES ('refund', 'R', '', ?)", (json.dumps(refund),))


def paid_for_nothing(c: Copy) -> None:
    c.without(c.by_face, "issuance.journey_issued")


def two_orders_open(c: Copy) -> None:
    c.without(c.by_face, "payment.payment_confirmed")
    c.twice(c.by_face, "payment.order_placed", put(order_no="TB02"))


def a_form_nobody_looked_at(c: Copy) -> None:
    c.without(c.by_face, "signing.form_reviewed")


def signed_over_less(c: Copy) -> None:
    c.fact(c.by_face, "signing.forms_signed", lambda data: data["items"].pop())


def a_point_passed_over(c: Copy) -> None:
    c.without(c.by_face, "disclosure.point_acknowledged")


def a_point_in_other_words(c: Copy) -> None:
    c.fact(c.by_face, "disclosure.point_acknowledged", put(sha256=ANOTHER))


def a_question_not_answered(c: Copy) -> None:
    c.without(c.by_face, "disclosure.questions_answered")


def a_form_over_other_answers(c: Copy) -> None:
    c.fact(c.by_face, "signing.form_prepared", put(answers=ANOTHER))


def nobody_told_of_the_recording(c: Copy) -> None:
    c.without(c.by_face, "identity.recording_acknowledged")


def nobody_consented(c: Copy) -> None:
    c.without(c.by_face, "identity.consent_given")


def ordered_without_the_authorisation(c: Copy) -> None:
    c.without(c.by_face, "identity.consent_given", which=-1)


def issued_to_somebody_else(c: Copy) -> None:
    c.fact(c.by_face, "issuance.journey_issued", put(customer_id="0" * 26))


def a_number_that_may_come_again(c: Copy) -> None:
    number = c.facts(c.by_face, "issuance.policy_issued")[0]["policy_no"]
    c.sql("issuance", "DELETE FROM numbers_used WHERE id = ?", number)


def told_of_another_period(c: Copy) -> None:
    c.tell(lambda witness: witness["events"][0]["data"].update(period_to="2099-01-01T00:00:00Z"))


def a_list_that_lags(c: Copy) -> None:
    c.document("evidence", "register", c.by_face, lambda state: state["row"].update(policies=[]))


def a_message_that_never_went(c: Copy) -> None:
    c.without(c.by_face, "notify.message_sent")


def a_message_nobody_took(c: Copy) -> None:
    c.fact(c.by_face, "notify.message_sent", put(message_id="M0"))


def a_fact_the_bus_has_not_got(c: Copy) -> None:
    c.sql("payment", "UPDATE journeys SET pending = 1 WHERE id = ?", c.by_face)


def not_everything_heard(c: Copy) -> None:
    c.document("evidence", "journeys", c.by_face, lambda state: state["heard"].update(payment=1))


def a_dead_letter(c: Copy) -> None:
    c.tell(lambda witness: witness["messages"].update(DEAD=1))


def told_twice(c: Copy) -> None:
    c.tell(lambda witness: witness["events"].append(witness["events"][0]))


def never_told(c: Copy) -> None:
    c.tell(lambda witness: witness["events"].pop())


def a_value_that_is_gone(c: Copy) -> None:
    c.blob(c.facts(c.by_face, "payment.payment_confirmed")[0]["receipt"]["blob"]).unlink()


def a_key_that_is_gone(c: Copy) -> None:
    next((c.folder / "vault").rglob(f"{c.by_face}.key")).unlink()


def a_flipped_byte_in_a_blob(c: Copy) -> None:
    c.rewrite(c.blob(c.facts(c.by_face, "signing.forms_signed")[0]["strokes"]["blob"]), flipped)


BREAKS: dict[str, tuple[Callable[[Copy], None], ...]] = {
    "I1": (
        order_before_the_last_confirmation, a_document_never_confirmed, signed_on_an_older_head, nobody_verified,
    ),
    "I2": (one_act_for_two_documents, half_of_it_read),
    "I3": (confirmed_before_its_dwell, a_minimum_of_its_own, confirmed_as_soon_as_opened, never_opened),
    "I4": (the_extra_was_preselected,),
    "I5": (the_extra_is_charged_though_dropped,),
    "I6": (documents_inherited_from_motor,),
    "I7": (verified_after_signing, identity_had_run_out, a_face_the_platform_never_saw),
    "I8": (face_in_spite_of_no,),
    "I9": (face_without_consent,),
    "I10": (a_face_is_kept,),
    "I11": (a_line_instead_of_a_name, a_character_below_its_limit, taken_on_nobodys_word, a_name_nobody_read),
    "I12": (
        ordered_on_another_phone, signed_on_another_phone, the_session_was_void, two_persons, issued_to_somebody_else,
    ),
    "I13": (an_act_nobody_proved, a_proof_of_another_act, a_proof_by_another_key, a_forged_proof),
    "I14": (another_payer, compared_with_another),
    "I16": (
        a_policy_number_twice, two_policies_for_one_product, numbered_again, issued_without_payment,
        numbered_before_the_payment, a_policy_nobody_bought, a_misread_number,
        a_number_that_may_come_again,
    ),
    "I17": (
        ordered_a_fen_more, a_line_off_by_a_fen, taken_a_fen_more, confirmed_a_fen_less, a_policy_a_fen_dearer,
    ),
    "I18": (other_terms_offered, another_lock_issued, a_form_over_other_terms, insured_for_longer),
    "I19": (
        a_fact_removed, the_last_fact_removed, a_fact_more, a_byte_in_the_chain, another_head, a_shorter_chain,
    ),
    "I20": (another_text_in_the_release, another_release),
    "I21": (a_byte_in_a_pack,),
    "I22": (thrown_away_too_soon,),
    "I23": (another_file_in_the_register, a_form_for_a_policy, another_form_sealed, handed_out_another_file),
    "I24": (
        a_name_in_a_log, a_phone_in_a_store, an_id_number_in_a_blob, a_car_in_a_trace, a_plate_in_a_log,
        an_address_in_a_stream,
    ),
    "I25": (ordered_after_consent_was_withdrawn,),
    "I29": (asked_before_anything_was_issued, asked_twice),
    "I30": (advice_nobody_met, needs_nobody_asked),
    "I33": (an_attestation_nobody_gave, no_timestamp, a_timestamp_over_something_else),
    "kept": (acknowledged_and_forgotten,),
    "money": (charged_twice, issued_and_refunded, paid_for_nothing),
    "orders": (two_orders_open,),
    "signed": (a_form_nobody_looked_at, signed_over_less),
    "outbox": (a_fact_the_bus_has_not_got,),
    "heard": (not_everything_heard,),
    "dead": (a_dead_letter,),
    "partners": (told_twice, never_told, told_of_another_period),
    "points": (a_point_passed_over, a_point_in_other_words),
    "answers": (a_question_not_answered, a_form_over_other_answers),
    "consents": (nobody_told_of_the_recording, nobody_consented, ordered_without_the_authorisation),
    "register": (a_list_that_lags,),
    "sms": (a_message_that_never_went, a_message_nobody_took),
    "sealed": (a_value_that_is_gone, a_key_that_is_gone),
    "blobs": (a_flipped_byte_in_a_blob,),
}  # fmt: skip


@of_one_run
@pytest.mark.parametrize(
    ("rule", "breaking"),
    [
        pytest.param(rule, breaking, id=f"{rule}-{breaking.__name__}")
        for rule, ways in BREAKS.items()
        for breaking in ways
    ],
)
async def test_it_is_found_under(rule: str, breaking: Callable[[Copy], None], finished: Path, tmp_path: Path) -> None:
    copy = Copy(finished, tmp_path / "copy")
    breaking(copy)
    found = copy.judged(rule)
    assert found.broken == {rule}
    assert not any("cannot be judged" in violation.what for violation in found.violations), found.violations


def test_every_rule_is_shown_to_bite() -> None:
    assert set(BREAKS) == {rule.name for rule in checker.RULES}


@of_one_run
async def test_nothing_is_found_where_nothing_is_broken(finished: Path, tmp_path: Path) -> None:
    verdict = Copy(finished, tmp_path / "copy").judged()
    assert not verdict.violations
    unchecked = {each.rule for each in verdict.rules if not each.checked}
    assert unchecked == {"I25"}  # nobody withdrew a consent
    shown = checker.shown(verdict.table())
    assert "NOT CHECKED, for want of anything to check them on: I25" in shown
    assert "BROKEN" not in shown


@of_one_run
async def test_each_complaint_names_its_journey(finished: Path, tmp_path: Path) -> None:
    copy = Copy(finished, tmp_path / "copy")
    confirmed_before_its_dwell(copy)
    found = [violation for violation in copy.judged().violations if violation.rule == "I3"]
    assert [violation.journey for violation in found] == [copy.by_face]
    assert f"BROKEN I3 {copy.by_face}" in checker.shown(copy.judged().table())


@of_one_run
async def test_I23_any_changed_byte_of_a_policy_is_noticed(finished: Path) -> None:
    journey = checker.read(finished).journeys[0]
    for fact in (*journey.facts("issuance.policy_issued"), *journey.facts("signing.form_sealed")):
        pdf = journey.open(fact.data.get("policy") or fact.data["form"])
        assert pdf is not None
        assert seals.signed_pdf(pdf)
        for place in range(37, len(pdf), len(pdf) // 5):
            with pytest.raises(ValueError, match=r".+"):
                seals.signed_pdf(flipped(pdf, place))
        with pytest.raises(seals.Unsound):
            seals.signed_pdf(pdf + b"\n%added")


@of_one_run
async def test_both_backends_are_read_alike(finished: Path, tmp_path: Path) -> None:
    """The same documents, kept by either, are the same to the checker."""
    data = shutil.copytree(finished / "data", tmp_path / "data")
    with wire_server(tmp_path / "mongodb") as uri:
        from_files, to_server = SqliteStore(data / "issuance.sqlite"), MongoStore(uri, "toubao_issuance")
        for name in ("journeys", "policies_issued"):
            documents = await from_files.collection(name).find()
            await to_server.collection(name).put_many(documents)
        await from_files.close()
        await to_server.close()
        served = from_mongodb(uri)
    for name in ("journeys", "policies_issued"):
        kept = from_sqlite(data).of("issuance", name)
        assert kept
        assert served.of("issuance", name) == kept


ALLOWED = {"asn1crypto", "cryptography", "pymongo"} | sys.stdlib_module_names


def test_it_shares_no_code_with_what_it_judges() -> None:
    files = sorted((Path(checker.__file__)).parent.glob("*.py"))
    assert len(files) > 5
    for file in files:
        for name in Source(file).imports:
            assert name.startswith("tests.faults.checker") or name.partition(".")[0] in ALLOWED, f"{file.name}: {name}"
