"""Who asks on a customer's endpoint: the journey's own device, or nobody (I12, I13).

Judged by identity, never here. Somebody with a channel's or staff's key is refused and recorded (I13), and so is a
browser in which a salesperson or a member of staff is signed in, even when it holds the customer's own session: the
browser sends the cookie along by itself, so it says who sits there, and nobody who sells or administers acts inside a
journey. Who is both signs out first.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from fastapi import Request
from starlette.responses import Response

from contracts.commands.identity import IssueNonce, Judgement, JudgeProof, Nonce, RecordIntrusion
from contracts.problems import Problem, Refuse
from contracts.subjects import AFTERCARE_SERVICES, JOURNEY_SERVICES
from contracts.values import Heads, Proof, sha256_hex
from gateway.accounts import StaffSession
from gateway.edge import Edge, credentials_of, edge_of, insider
from gateway.problems import NONCE, Edged
from servicekit.bus import BusUnavailable

log = logging.getLogger(__name__)

HEADS: Final = "Journey-Heads"
_HEAD: Final = re.compile(r"([a-z]{2,20})=([0-9]{1,9})")
_SERVICES: Final = frozenset((*JOURNEY_SERVICES, *AFTERCARE_SERVICES))
_MAX_PROOF: Final = 4096
_MAX_URL: Final = 512


@dataclass(frozen=True, slots=True)
class Caller:
    """What came with a customer's request; not judged yet."""

    proof: Proof
    session: str | None
    """SHA-256 of the session token."""


async def caller_of(request: Request, journey_id: str, attempted: str, *, opening: bool = False) -> Caller:
    """``opening``: there is no session yet, so none is asked for.

    Raises ``Refuse``: ``not_the_customer`` (and has it recorded) for any other kind of credentials or beside them,
    ``credentials_missing``, ``proof_missing``, ``proof_malformed``, ``malformed``.
    """
    edge = edge_of(request)
    who = await insider(request)
    if who is not None:
        actor = "staff" if isinstance(who, StaffSession) else "channel"
        await _record_intrusion(edge, journey_id, attempted, actor)
        raise Refuse("not_the_customer")
    session: str | None = None
    if not opening or "authorization" in request.headers:
        scheme, token = credentials_of(request)
        owner = _owner_of(edge, token)
        if scheme != "dpop" or owner != "nobody":
            await _record_intrusion(edge, journey_id, attempted, owner)
            raise Refuse("not_the_customer")
        session = hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
    jws = request.headers.get("dpop")
    if not jws:
        raise Refuse("proof_missing")
    # As it was typed: that is what the proof was made for.
    url = edge.settings.gateway_public_url + request.scope["raw_path"].decode("latin-1")
    if len(jws) > _MAX_PROOF or len(url) > _MAX_URL:
        await _record_no_proof(edge, journey_id, request.method)
        raise Refuse("proof_malformed")
    return Caller(Proof(jws=jws, method=request.method, url=url), None if opening else session)


Actor = Literal["channel", "staff", "nobody"]


def _owner_of(edge: Edge, token: str) -> Actor:
    """Whose key it is, whatever scheme it is dressed in."""
    if edge.credentials.channel(token) is not None:
        return "channel"
    return "nobody" if edge.credentials.member(token) is None else "staff"


async def _record_intrusion(edge: Edge, journey_id: str, attempted: str, actor: Actor) -> None:
    """Kept in the journey that was meant; the refusal stands even when it can't be recorded now."""
    await edge.known(journey_id)
    command = RecordIntrusion(command_id=edge.ground.new_id(), journey_id=journey_id, actor=actor, attempted=attempted)
    try:
        await edge.ask(command, RecordIntrusion.reply)
    except Refuse:
        pass  # Identity answers with the refusal it recorded.
    except BusUnavailable:
        log.warning("intrusion not recorded", extra={"journey_id": journey_id, "actor": actor})


async def _record_no_proof(edge: Edge, journey_id: str, method: str) -> None:
    """What is too long to be carried is none, and identity puts that on record. Raises its ``Refuse``."""
    none = Proof(jws="", method=method, url=edge.settings.gateway_public_url)
    known = await edge.known(journey_id)
    query = JudgeProof(journey_id=known, proof=none, body_sha256=sha256_hex(b""), session=None, purpose="act")
    try:
        await edge.ask(query, Judgement)
    except BusUnavailable:
        log.warning("a proof too long not recorded", extra={"journey_id": journey_id})


async def judged(
    request: Request,
    journey_id: str,
    attempted: str,
    *,
    purpose: Literal["read", "identity"] = "read",
    body: bytes = b"",
    moving: bool = True,
) -> Judgement:
    """The device's request, judged by identity. ``identity``: also while the session waits to be proven again.

    Raises ``Refuse`` or ``Edged`` with a nonce for the next try.
    """
    edge = edge_of(request)
    caller = await caller_of(request, journey_id, attempted)
    await edge.known(journey_id)
    query = JudgeProof(
        journey_id=journey_id,
        proof=caller.proof,
        body_sha256=sha256_hex(body),
        session=caller.session,
        purpose=purpose,
        moving=moving,
    )
    try:
        judgement, _ = await edge.ask(query, Judgement)
    except Refuse as refusal:
        raise await with_nonce(edge, refusal.problem) from None
    # Whatever becomes of the request, its answer brings the next nonce.
    request.scope[NONCE] = judgement.nonce
    edge.nonce.keep(judgement.nonce)
    return judgement


async def verified(request: Request, journey_id: str, attempted: str, *, body: bytes = b"") -> Judgement:
    """As ``judged``, and identity is proven and still valid: for what holds personal data in full."""
    judgement = await judged(request, journey_id, attempted, body=body)
    if not judgement.verified:
        raise Edged(Refuse("identity_missing").problem, {"DPoP-Nonce": judgement.nonce})
    return judgement


async def with_nonce(edge: Edge, problem: Problem, headers: Mapping[str, str] | None = None) -> Edged:
    """A refusal that brings the nonce of the next try along."""
    given = problem.extra.get("nonce")
    if given:
        # Identity gives one only where the one that came was no good any more: the one kept here may be none either.
        edge.nonce.keep(str(given))
    nonce = given or await fresh_nonce(edge)
    return Edged(problem, {**(headers or {}), **({"DPoP-Nonce": str(nonce)} if nonce else {})})


async def fresh_nonce(edge: Edge) -> str | None:
    """A young one of identity's; the same for everybody for a while, for a nonce says when, not who (RFC 9449 §8).

    None when identity does not answer: the customer's next request is told to use one then.
    """
    if (kept := edge.nonce.young()) is not None:
        return kept
    try:
        nonce = (await edge.ask(IssueNonce(), Nonce, timeout=2))[0].nonce
    except (BusUnavailable, Refuse):
        return None
    edge.nonce.keep(nonce)
    return nonce


def heads_of(request: Request) -> Heads:
    """``Journey-Heads: identity=3,proposal=2``. Raises ``Refuse("malformed")`` for anything else."""
    text = request.headers.get(HEADS)
    if not text:
        return {}
    heads: Heads = {}
    for part in text.split(",") if len(text) <= 512 else [""]:
        found = _HEAD.fullmatch(part.strip())
        if found is None or found[1] not in _SERVICES:
            raise Refuse("malformed")
        heads[found[1]] = int(found[2])
    return heads


def merged(heads: Heads, *more: tuple[str, int]) -> Heads:
    found = dict(heads)
    for service, sequence in more:
        if sequence:
            found[service] = max(sequence, found.get(service, 0))
    return found


def heads_header(heads: Heads) -> dict[str, str]:
    return {HEADS: ",".join(f"{service}={heads[service]}" for service in sorted(heads))} if heads else {}


def told(response: Response, *, nonce: str | None = None, heads: Heads | None = None) -> Response:
    """The headers a customer's page lives by."""
    if nonce:
        response.headers["DPoP-Nonce"] = nonce
    for name, value in heads_header(heads or {}).items():
        response.headers[name] = value
    return response


__all__ = [
    "Caller", "caller_of", "fresh_nonce", "heads_header", "heads_of", "judged", "merged", "told",
    "verified", "with_nonce",
]  # fmt: skip
