"""The policy as the customer keeps it: one layout for every product, filled from data, sealed by the insurer.

The file also carries its own record as JSON (PDF/A-3 associated file), for machines, under the same seal.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, JsonValue, model_validator

from contracts import Contract
from contracts.values import Fen, Instant, canonical_json
from servicekit.documents.appearance import Appearance
from servicekit.documents.paper import paper_date
from servicekit.documents.render import Attached, Job
from servicekit.documents.seal import Certify, Sealer
from servicekit.documents.sheet import Amount, Cover, Row, Section, Text, check_totals

TEMPLATES = Path(__file__).parent / "templates"
SEAL_FIELD = "seal"
RECORD_NAME = "policy.json"


class PolicyDocument(Contract):
    """Everything the policy of one product shows (DOMAIN §2.5). Money in fen; the figures must add up."""

    title: Text
    policy_number: Text
    application_number: Text
    created: Instant
    insurer_name: Text
    insurer_address: Text
    insurer_hotline: Text
    preamble: Annotated[str, Field(max_length=600)] = ""
    confirmation: tuple[Row, ...] = ()
    """Confirmation code and the moments of application, payment, issuance (``paper_time``)."""
    sections: tuple[Section, ...]
    """Policyholder, insured, subject: whatever the product has, in the order of the paper."""
    headings: tuple[str, str, str, str] = ("承保险种", "保险金额／责任限额（元）", "免赔约定", "保险费（元）")
    covers: Annotated[tuple[Cover, ...], Field(min_length=1)]
    premium_fen: Fen
    taxes: tuple[Amount, ...] = ()
    """Vehicle tax of the year, of years before, late fee: each on its own line."""
    total_fen: Fen
    period: Text
    special_terms: tuple[Text, ...] = ()
    dispute_resolution: Text
    channel: tuple[Row, ...] = ()
    """Channel, intermediary, salesperson, and who handled, issued and underwrote it."""
    notices: tuple[Text, ...] = ()
    verification_code: Text
    verify_at: Annotated[str, Field(min_length=1, max_length=500)]
    """The address in the QR code."""
    record: dict[str, JsonValue]
    """The machine-readable policy, attached."""

    @model_validator(mode="after")
    def _adds_up(self) -> "PolicyDocument":
        check_totals(self.covers, self.premium_fen, self.taxes, self.total_fen)
        return self


def policy_job(policy: PolicyDocument) -> Job:
    """What to render. The same policy gives the same bytes."""
    return Job(
        templates=TEMPLATES,
        template="policy.html",
        data={
            **policy.model_dump(mode="json", exclude={"created", "record"}),
            "created_date": paper_date(policy.created),
        },
        identifier=policy.policy_number,
        created=policy.created,
        attachments=(Attached(RECORD_NAME, "保单数据", canonical_json(policy.record)),),
    )


async def seal_policy(pdf: bytes, seal: Appearance, sealer: Sealer, at: datetime) -> bytes:
    """The rendered policy sealed: certified so that nothing may change, with a timestamp.

    Raises NoSuchField, TimestampUnavailable (transient).
    """
    return await sealer.seal(
        pdf, field=SEAL_FIELD, at=at, appearance=seal, certify=Certify.NOTHING, reason="保险人签发电子保单"
    )
