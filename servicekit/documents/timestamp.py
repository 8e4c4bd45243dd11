"""Timestamps by a time-stamping authority (RFC 3161)."""

# pyHanko and asn1crypto say little or nothing of their types; what leaves this module is typed.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
# pyright: reportIndexIssue=false

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import stamina
from aiohttp import ClientSession
from asn1crypto import cms, tsp, x509
from cryptography.x509 import Certificate, load_der_x509_certificate
from pyhanko.sign.timestamps import HTTPTimeStamper, TimeStamper
from pyhanko.sign.timestamps.common_utils import TimestampRequestError

from servicekit.telemetry.metrics import Watched, unwatched

__all__ = ["TimeStamper", "Timestamp", "TimestampInvalid", "TimestampUnavailable", "authority", "check", "stamp"]


class TimestampUnavailable(Exception):
    """The authority did not answer, or not with a usable token. Transient: a state, never a local clock."""


class TimestampInvalid(ValueError):
    """A token does not prove what it is held to prove. The message says which check failed."""


@dataclass(frozen=True)
class Timestamp:
    """What a checked token says."""

    at: datetime
    serial: int
    authority: str
    trusted: bool
    """Whether the authority's certificate leads to one of the roots given to ``check``."""


def authority(url: str, session: ClientSession, *, timeout_s: int = 5, watched: Watched = unwatched) -> TimeStamper:
    """The authority at ``url``, called through the service's own HTTP session.

    Make one and keep it: it remembers how large the authority's tokens are.
    """
    return _Authority(url, session, timeout_s, watched)


class _Authority(HTTPTimeStamper):
    def __init__(self, url: str, session: ClientSession, timeout_s: int, watched: Watched) -> None:
        super().__init__(url, timeout=timeout_s, session=session)
        self._watched = watched

    async def async_timestamp(self, message_digest: bytes, md_algorithm: str) -> cms.ContentInfo:
        with self._watched():
            return await super().async_timestamp(message_digest, md_algorithm)


async def token_over(stamper: TimeStamper, digest: bytes, algorithm: str = "sha256") -> cms.ContentInfo:
    """A token over a digest, its status, nonce and imprint checked. Raises TimestampUnavailable.

    A pooled connection may have died since its last use, so a failed call is tried once more.
    """
    try:
        async for attempt in stamina.retry_context(on=TimestampRequestError, attempts=2, wait_initial=0.1):
            with attempt:
                token: cms.ContentInfo = await stamper.async_timestamp(digest, algorithm)
                # pyHanko checks status and nonce; a token over another digest would pass it.
                imprint = _info(token)["message_imprint"]
                if (
                    imprint["hash_algorithm"]["algorithm"].native != algorithm
                    or imprint["hashed_message"].native != digest
                ):
                    raise TimestampRequestError("the token is over another digest")
                return token
    except (TimestampRequestError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TimestampUnavailable(type(error).__name__) from error
    raise AssertionError("unreachable")


async def authority_chain(stamper: TimeStamper, above: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """The authority's certificate, taken from a token of its own, then those above it found among ``above`` and in the
    token. Asked of the authority once. Raises TimestampUnavailable.
    """
    signed = (await _dummy(stamper))["content"]
    given = [load_der_x509_certificate(c.chosen.dump()) for c in signed["certificates"] if c.name == "certificate"]
    serial = signed["signer_infos"][0]["sid"].chosen["serial_number"].native
    chain = [next(c for c in given if c.serial_number == serial)]
    while chain[-1].issuer != chain[-1].subject:
        issuer = next((c for c in (*above, *given) if c.subject == chain[-1].issuer), None)
        if issuer is None:
            break
        chain.append(issuer)
    return tuple(chain)


async def token_size(stamper: TimeStamper) -> int:
    """Bytes of a token of this authority, measured once. Raises TimestampUnavailable."""
    return len((await _dummy(stamper)).dump())


async def _dummy(stamper: TimeStamper) -> cms.ContentInfo:
    try:
        return await stamper.async_dummy_response("sha256")
    except (OSError, TimestampRequestError) as error:
        raise TimestampUnavailable(type(error).__name__) from error


async def stamp(stamper: TimeStamper, digest: bytes) -> bytes:
    """A DER token over a SHA-256 digest. Raises TimestampUnavailable."""
    if len(digest) != 32:
        raise ValueError("a SHA-256 digest has 32 bytes")
    token = await token_over(stamper, digest)
    return token.dump()


async def check(token: bytes, digest: bytes, *, roots: Sequence[bytes] = ()) -> Timestamp:
    """Check a DER token against the SHA-256 digest it should cover.

    ``roots`` are DER certificates trusted as anchors; without them the token can be sound but not trusted.
    Raises TimestampInvalid where the token is malformed, covers another digest, is not signed by a certificate
    for time-stamping, or its signature is broken.
    """
    from pyhanko.sign.validation.errors import SignatureValidationError
    from pyhanko.sign.validation.generic_cms import validate_tst_signed_data
    from pyhanko_certvalidator import ValidationContext

    try:
        parsed = cms.ContentInfo.load(token, strict=True)
        info: Any = _info(parsed)
        signed = parsed["content"]
        if not isinstance(info, tsp.TSTInfo):
            raise TimestampInvalid("not a timestamp token")
        at, serial = cast("tuple[datetime, int]", (info["gen_time"].native, info["serial_number"].native))
        anchors = [x509.Certificate.load(r) for r in roots]
        # Never None: pyHanko would then trust what the operating system trusts.
        context = ValidationContext(trust_roots=anchors, allow_fetching=False, moment=at)
        said: dict[str, Any] = await validate_tst_signed_data(
            signed, context, lambda algorithm: digest if algorithm == "sha256" else b""
        )
    except (SignatureValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, TimestampInvalid):
            raise
        raise TimestampInvalid("malformed token") from error
    if not said["intact"]:
        raise TimestampInvalid("the token covers another digest")
    if not said["valid"]:
        raise TimestampInvalid("the token's signature is broken")
    signer: x509.Certificate = said["signing_cert"]
    extended = signer.extended_key_usage_value
    if extended is None or "time_stamping" not in extended.native:
        raise TimestampInvalid("the signer is no time-stamping authority")
    return Timestamp(
        at=at,
        serial=serial,
        authority=signer.subject.human_friendly,
        trusted=said.get("trust_problem_indic") is None and said.get("validation_path") is not None,
    )


def _info(token: cms.ContentInfo) -> Any:
    return token["content"]["encap_content_info"]["content"].parsed
