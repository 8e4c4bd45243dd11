"""Proof of possession: every refusal, and that nothing but the device's own proof passes."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws as jose
from joserfc.jwk import ECKey

from servicekit.proof import (
    EMPTY_BODY_SHA256,
    MAX_PROOF_LENGTH,
    Claims,
    Nonces,
    ProofRefused,
    SeenProofs,
    base64url,
    session_hash,
    verify_proof,
)

KEY = ec.derive_private_key(0x1234567890ABCDEF, ec.SECP256R1())
OTHER = ec.derive_private_key(0xFEDCBA, ec.SECP256R1())
URL = "https://toubao.example/api/v1/acts/sign"
BODY = '{"act":"签名"}'.encode()
BODY_HASH = hashlib.sha256(BODY).hexdigest()
NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


def jwk_of(key: ec.EllipticCurvePrivateKey, curve: str = "P-256") -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    size = (key.key_size + 7) // 8
    return {
        "kty": "EC",
        "crv": curve,
        "x": base64url(numbers.x.to_bytes(size, "big")),
        "y": base64url(numbers.y.to_bytes(size, "big")),
    }


def claims_of(**changed: Any) -> dict[str, Any]:
    claims = {
        "jti": "a-random-jti",
        "htm": "POST",
        "htu": URL,
        "iat": 1772352000,
        "nonce": "a-nonce",
        "bh": base64url(hashlib.sha256(BODY).digest()),
        **changed,
    }
    return {name: value for name, value in claims.items() if value is not ...}


def header_of(**changed: Any) -> dict[str, Any]:
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk_of(KEY), **changed}
    return {name: value for name, value in header.items() if value is not ...}


def sign(header: str | bytes, payload: str | bytes, key: ec.EllipticCurvePrivateKey = KEY) -> str:
    """Raw r||s, as WebCrypto makes it, over whatever header and payload one likes."""
    parts = [part.encode() if isinstance(part, str) else part for part in (header, payload)]
    signing_input = ".".join(base64url(part) for part in parts)
    r, s = decode_dss_signature(key.sign(signing_input.encode(), ec.ECDSA(SHA256())))
    size = (key.key_size + 7) // 8
    return f"{signing_input}.{base64url(r.to_bytes(size, 'big') + s.to_bytes(size, 'big'))}"


def proof(
    header: dict[str, Any] | None = None,
    claims: dict[str, Any] | None = None,
    key: ec.EllipticCurvePrivateKey = KEY,
) -> str:
    return sign(
        json.dumps(header_of() if header is None else header),
        json.dumps(claims_of() if claims is None else claims),
        key,
    )


def verify(jws: str, **changed: Any) -> Claims:
    wanted: dict[str, Any] = {"method": "POST", "url": URL, "body_sha256": BODY_HASH, **changed}
    return verify_proof(jws, **wanted)


def code_of(jws: str, **changed: Any) -> str:
    with pytest.raises(ProofRefused) as refused:
        verify(jws, **changed)
    assert str(refused.value) == refused.value.code, "the error quotes nothing of the proof"
    return refused.value.code


THUMBPRINT = verify(proof()).thumbprint


def test_a_sound_proof_passes_and_tells_its_claims() -> None:
    claims = verify(proof(claims=claims_of(ath=session_hash("token"))), expect_thumbprint=THUMBPRINT)
    members = json.dumps({name: jwk_of(KEY)[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    assert claims == Claims(
        thumbprint=base64url(hashlib.sha256(members.encode()).digest()),
        jwk=jwk_of(KEY),
        jti="a-random-jti",
        nonce="a-nonce",
        iat=1772352000,
        ath=base64url(hashlib.sha256(b"token").digest()),
        body_sha256=BODY_HASH,
    )


def test_a_proof_made_by_the_jose_library_passes() -> None:
    made = jose.serialize_compact(
        header_of(),
        json.dumps(claims_of()),
        ECKey.import_key(KEY),
        registry=jose.JWSRegistry(algorithms=["ES256"], strict_check_header=False),
    )
    assert verify(made).thumbprint == ECKey.import_key(KEY).thumbprint()


def test_the_example_proof_of_rfc_9449_has_the_thumbprint_stated_there() -> None:
    # §4.1 and §6.1. Without body hash and nonce it is refused, but only after its signature is checked.
    example = (
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpD"
        "a0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6"
        "IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGU"
        "uY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NV"
        "Y-FNyJK70nfbV37xRZT3Lg"
    )
    assert code_of(example, url="https://server.example.com/token") == "proof_body"
    jwk = json.loads(base64.urlsafe_b64decode(example.partition(".")[0] + "=="))["jwk"]
    assert ECKey.import_key(jwk).thumbprint() == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


def test_unknown_headers_and_claims_are_ignored() -> None:
    assert verify(proof(header_of(kid="x", x5u="https://evil.example"), claims_of(more=1))).jti


def test_extra_members_of_the_key_do_not_steer_the_check() -> None:
    jwk = {**jwk_of(KEY), "use": "enc", "key_ops": ["sign"], "alg": "HS256", "kid": "7"}
    assert verify(proof(header_of(jwk=jwk))).jwk == jwk_of(KEY)


def test_a_request_without_body_carries_the_hash_of_nothing() -> None:
    made = proof(claims=claims_of(htm="GET", bh=base64url(hashlib.sha256(b"").digest())))
    assert verify(made, method="GET", body_sha256=EMPTY_BODY_SHA256).body_sha256 == EMPTY_BODY_SHA256


# --- form


@pytest.mark.parametrize(
    "jws",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "没.有.码",
        "a b.c.d",
        proof() + "\n",
        proof() + "=",
        proof().replace(".", " .", 1),
        "." + proof(),
        base64url(b"not json") + ".e30.AA",
        base64url(b"[]") + ".e30.AA",
        base64url(b"\xff\xfe") + ".e30.AA",
        base64url(b"[" * 3000) + ".e30.AA",
        base64url(b'{"a":' * 500) + ".e30.AA",
    ],
)
def test_what_is_no_proof_is_malformed(jws: str) -> None:
    assert code_of(jws) == "proof_malformed"


def test_an_over_long_proof_is_malformed_before_anything_is_computed() -> None:
    padded = proof(claims=claims_of(pad="x" * MAX_PROOF_LENGTH))
    assert len(padded) > MAX_PROOF_LENGTH
    assert code_of(padded) == "proof_malformed"
    assert code_of("A" * 10_000_000) == "proof_malformed"


def test_a_long_proof_within_the_limit_passes() -> None:
    made = proof(header_of(pad="x" * 900), claims_of(pad="x" * 1000))
    assert 2500 < len(made) <= MAX_PROOF_LENGTH
    assert verify(made).jti


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (json.dumps(header_of())[:-1] + ',"alg":"ES256"}', json.dumps(claims_of())),
        ('{"alg":"none",' + json.dumps(header_of())[1:], json.dumps(claims_of())),
        ('{"typ":"dpop+jwt",' + json.dumps(header_of())[1:], json.dumps(claims_of())),
        (json.dumps(header_of()).replace('"kty"', '"x": "AA", "kty"'), json.dumps(claims_of())),
        (json.dumps(header_of()), '{"htm":"GET",' + json.dumps(claims_of())[1:]),
        (json.dumps(header_of()), json.dumps(claims_of())[:-1] + ',"nonce":"another"}'),
        (json.dumps(header_of()), json.dumps(claims_of())[:-1] + ',"more":NaN}'),
    ],
)
def test_a_name_given_twice_or_no_json_is_malformed(header: str, payload: str) -> None:
    assert code_of(sign(header, payload)) == "proof_malformed"


@pytest.mark.parametrize(
    "changed",
    [
        {"jti": ...},
        {"jti": ""},
        {"jti": 7},
        {"jti": "x" * 257},
        {"jti": "a b"},
        {"jti": "签"},
        {"htm": ...},
        {"htm": ["POST"]},
        {"htu": ...},
        {"htu": None},
        {"iat": ...},
        {"iat": "1772352000"},
        {"iat": True},
        {"iat": 1.5},
        {"iat": -1},
        {"iat": 2**53},
        {"ath": 1},
        {"ath": ""},
    ],
)
def test_a_missing_or_mistyped_claim_is_malformed(changed: dict[str, Any]) -> None:
    assert code_of(proof(claims=claims_of(**changed))) == "proof_malformed"


@pytest.mark.parametrize("payload", ["[]", '"x"', "null", "1"])
def test_a_payload_that_is_no_object_is_malformed(payload: str) -> None:
    assert code_of(sign(json.dumps(header_of()), payload)) == "proof_malformed"


@pytest.mark.parametrize(
    "changed",
    [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"b64": True}],
)
def test_critical_extensions_are_refused(changed: dict[str, Any]) -> None:
    assert code_of(proof(header_of(**changed))) == "proof_malformed"


# --- algorithm, type, key


@pytest.mark.parametrize(
    "alg", ["none", "None", "HS256", "RS256", "ES384", "ES512", "EdDSA", "es256", "", None, 1, ["ES256"], ...]
)
def test_any_other_algorithm_is_refused(alg: object) -> None:
    assert code_of(proof(header_of(alg=alg))) == "proof_algorithm"


def test_an_unsigned_proof_is_refused() -> None:
    header, payload, _ = proof(header_of(alg="none")).split(".")
    assert code_of(f"{header}.{payload}.") == "proof_malformed"
    assert code_of(f"{header}.{payload}.AA") == "proof_algorithm"


def test_the_public_key_as_an_hmac_secret_is_refused() -> None:
    x = base64.urlsafe_b64decode(jwk_of(KEY)["x"] + "=")
    for jwk in (jwk_of(KEY), {"kty": "oct", "k": base64url(x)}):
        signing_input = ".".join(
            base64url(json.dumps(part).encode()) for part in (header_of(alg="HS256", jwk=jwk), claims_of())
        )
        forged = f"{signing_input}.{base64url(hmac.digest(x, signing_input.encode(), 'sha256'))}"
        assert code_of(forged) == "proof_algorithm"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/dpop+jwt", "", None, 1, ["dpop+jwt"], ...])
def test_any_other_type_is_refused(typ: object) -> None:
    assert code_of(proof(header_of(typ=typ))) == "proof_type"


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
def test_a_key_with_a_private_part_is_refused(member: str) -> None:
    for value in (base64url(b"\x01" * 32), "", None):
        assert code_of(proof(header_of(jwk={**jwk_of(KEY), member: value}))) == "proof_private_key"


@pytest.mark.parametrize(
    ("curve", "name"),
    [(ec.SECP384R1(), "P-384"), (ec.SECP521R1(), "P-521"), (ec.SECP256K1(), "secp256k1")],
)
def test_a_key_on_another_curve_is_refused(curve: ec.EllipticCurve, name: str) -> None:
    key = ec.derive_private_key(12345, curve)
    assert code_of(proof(header_of(jwk=jwk_of(key, name)), key=key)) == "proof_algorithm"
    # ... also when it says P-256.
    assert code_of(proof(header_of(jwk=jwk_of(key)), key=key)) == "proof_malformed"


@pytest.mark.parametrize("kty", ["OKP", "RSA", "oct", "ec", None, ...])
def test_a_key_of_another_type_is_refused(kty: object) -> None:
    jwk = {name: value for name, value in {**jwk_of(KEY), "kty": kty}.items() if value is not ...}
    assert code_of(proof(header_of(jwk=jwk))) == "proof_algorithm"


@pytest.mark.parametrize(
    "jwk",
    [
        ...,
        None,
        "key",
        [],
        {**jwk_of(KEY), "x": 1},
        {**jwk_of(KEY), "x": ""},
        {**jwk_of(KEY), "x": jwk_of(KEY)["x"] + "="},
        {**jwk_of(KEY), "x": base64url(b"\x00" + b"\x01" * 32)},
        {**jwk_of(KEY), "y": base64url(b"\x01" * 31)},
        {**jwk_of(KEY), "y": "A" * 2000},
        {**jwk_of(KEY), "x": jwk_of(OTHER)["x"]},  # a point that is not on the curve
        {**jwk_of(KEY), "x": base64url(bytes(32)), "y": base64url(bytes(32))},
        {"kty": "EC", "crv": "P-256"},
    ],
)
def test_a_key_that_is_none_is_malformed(jwk: object) -> None:
    assert code_of(proof(header_of(jwk=jwk))) == "proof_malformed"


# --- signature


def test_a_signature_of_another_key_is_refused() -> None:
    assert code_of(proof(key=OTHER)) == "proof_signature"


def test_a_signature_in_another_form_is_refused() -> None:
    header, payload, signature = proof().split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    der = KEY.sign(f"{header}.{payload}".encode(), ec.ECDSA(SHA256()))
    for other in (der, raw[:-1], raw + b"\x00", bytes(64), b"\xff" * 64, raw[32:] + raw[:32]):
        assert code_of(f"{header}.{payload}.{base64url(other)}") == "proof_signature"


def test_one_proof_has_one_text() -> None:
    # 64 bytes leave four unused bits in the last character: setting them must not make "another" proof.
    jws = proof()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = jws[:-1] + alphabet[alphabet.index(jws[-1]) + 1]
    assert base64.urlsafe_b64decode(twin.split(".")[2] + "==") == base64.urlsafe_b64decode(jws.split(".")[2] + "==")
    assert code_of(twin) == "proof_malformed"


GOOD = proof()


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, len(GOOD) - 1), character=st.characters(min_codepoint=1, max_codepoint=0x9FFF))
def test_any_character_changed_is_refused(position: int, character: str) -> None:
    changed = GOOD[:position] + character + GOOD[position + 1 :]
    if changed != GOOD:
        assert code_of(changed).startswith("proof_")


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{0,80}\.[A-Za-z0-9_-]{0,80}\.[A-Za-z0-9_-]{0,80}"))
def test_no_text_makes_anything_but_a_refusal(text: str) -> None:
    assert code_of(text).startswith("proof_")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(
    header=st.dictionaries(st.sampled_from(["typ", "alg", "jwk", "crit", "b64", "kid"]), JSON),
    claims=st.dictionaries(st.sampled_from(["jti", "htm", "htu", "iat", "nonce", "ath", "bh"]), JSON, min_size=1),
)
def test_no_signed_json_makes_anything_but_claims_or_a_refusal(header: dict[str, Any], claims: dict[str, Any]) -> None:
    for made in (proof({**header_of(), **header}), proof(claims=claims_of(**claims))):
        try:
            verify(made)
        except ProofRefused:
            continue
        # Harmless: a header that is not looked at, or claims the request does not check.
        assert not {"typ", "alg", "jwk", "crit", "b64"} & header.keys() or not {"htm", "htu", "bh"} & claims.keys()


# --- what it is for: method, URL, body, nonce, key


@pytest.mark.parametrize("htm", ["GET", "post", "POST ", ""])
def test_a_proof_for_another_method_is_refused(htm: str) -> None:
    assert code_of(proof(claims=claims_of(htm=htm))) == "proof_method"


@pytest.mark.parametrize(
    "htu",
    [
        URL + "?x=1",
        URL + "#fragment",
        URL + "?x=1#y",
        "HTTPS://TouBao.Example/api/v1/acts/sign",
        "https://toubao.example:443/api/v1/acts/sign",
        "https://toubao.example/%61pi/v1/acts/sig%6e",
    ],
)
def test_the_same_url_in_another_spelling_passes(htu: str) -> None:
    assert verify(proof(claims=claims_of(htu=htu))).jti
    assert verify(proof(), url=htu).jti


@pytest.mark.parametrize(
    "htu",
    [
        "http://toubao.example/api/v1/acts/sign",
        "https://toubao.example:8443/api/v1/acts/sign",
        "https://toubao.example/api/v1/acts/SIGN",
        "https://toubao.example/api/v1/acts/sign/",
        "https://toubao.example/api/v1/acts/pay",
        "https://toubao.example.evil.example/api/v1/acts/sign",
        "https://user@toubao.example/api/v1/acts/sign",
        "https://toubao.example@evil.example/api/v1/acts/sign",
        "https://toubao.example\\@evil.example/api/v1/acts/sign",
        "https://toubao.example:99999/api/v1/acts/sign",
        "https://toubao.example:x/api/v1/acts/sign",
        "https://[::1/api/v1/acts/sign",
        "https://toubao.example/api%2Fv1/acts/sign",
        "ht\ntps://toubao.example/api/v1/acts/sign",
        " https://toubao.example/api/v1/acts/sign",
        "https:///api/v1/acts/sign",
        "//toubao.example/api/v1/acts/sign",
        "/api/v1/acts/sign",
        "file:///api/v1/acts/sign",
        "",
        "https://投保.example/api/v1/acts/sign",
        URL + "?" + "x" * 600,
    ],
)
def test_a_proof_for_another_url_is_refused(htu: str) -> None:
    assert code_of(proof(claims=claims_of(htu=htu))) == "proof_url"


def test_two_urls_that_are_none_are_not_the_same() -> None:
    assert code_of(proof(claims=claims_of(htu="nonsense")), url="nonsense") == "proof_url"


def test_an_empty_path_is_the_root_and_ports_of_plain_http_are_known() -> None:
    assert verify(proof(claims=claims_of(htu="http://127.0.0.1:80")), url="http://127.0.0.1/").jti


@pytest.mark.parametrize(
    "bh",
    [
        ...,
        None,
        1,
        "",
        BODY_HASH,
        base64url(hashlib.sha256(b"").digest()),
        base64url(hashlib.sha256(BODY).digest()) + "=",
        base64url(hashlib.sha256(BODY).digest())[:-1],
        "签" * 43,
    ],
)
def test_a_proof_for_another_body_is_refused(bh: object) -> None:
    assert code_of(proof(claims=claims_of(bh=bh))) == "proof_body"


@pytest.mark.parametrize("nonce", [..., None, "", 7, "a b", "x" * 257])
def test_a_proof_without_nonce_is_refused(nonce: object) -> None:
    assert code_of(proof(claims=claims_of(nonce=nonce))) == "proof_nonce_missing"


def test_I12_another_key_is_told_apart_and_only_when_the_proof_is_sound() -> None:
    other = header_of(jwk=jwk_of(OTHER))
    assert code_of(proof(other, key=OTHER), expect_thumbprint=THUMBPRINT) == "proof_key_changed"
    assert code_of(proof(other, key=KEY), expect_thumbprint=THUMBPRINT) == "proof_signature"
    assert code_of(proof(other, claims_of(htm="GET"), OTHER), expect_thumbprint=THUMBPRINT) == "proof_method"
    assert code_of(proof(), expect_thumbprint="") == "proof_key_changed"


def test_iat_decides_nothing() -> None:
    # A phone's clock may stand anywhere; freshness is the nonce's.
    assert verify(proof(claims=claims_of(iat=0))).iat == 0
    assert verify(proof(claims=claims_of(iat=2**53 - 1))).iat == 2**53 - 1


def test_session_hash_is_that_of_rfc_9449() -> None:
    # §4.3: the access token and ath of the RFC's example.
    token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
    assert session_hash(token) == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
    with pytest.raises(UnicodeEncodeError):
        session_hash("口令")


# --- nonces


def test_a_nonce_passes_for_its_lifetime_and_no_longer() -> None:
    nonces = Nonces(timedelta(minutes=5))
    nonce = nonces.issue(NOW)
    assert nonces.check(nonce, NOW) == "ok"
    assert nonces.check(nonce, NOW + timedelta(minutes=5) - timedelta(microseconds=1)) == "ok"
    assert nonces.check(nonce, NOW + timedelta(minutes=5)) == "proof_nonce_stale"
    assert nonces.check(nonce, NOW - timedelta(microseconds=1)) == "proof_nonce_stale"


def test_a_nonce_from_before_a_restart_is_stale() -> None:
    assert Nonces().check(Nonces().issue(NOW), NOW) == "proof_nonce_stale"


def test_no_nonce_comes_twice_and_each_fits_a_header_and_a_claim() -> None:
    nonces = Nonces()
    issued = {nonces.issue(NOW) for _ in range(1000)}
    assert len(issued) == 1000
    assert verify(proof(claims=claims_of(nonce=(nonce := issued.pop())))).nonce == nonce


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 53), character=st.characters(min_codepoint=1, max_codepoint=0x9FFF))
def test_a_changed_nonce_is_stale(position: int, character: str) -> None:
    nonces = Nonces()
    nonce = nonces.issue(NOW)
    changed = nonce[:position] + character + nonce[position + 1 :]
    assert changed == nonce or nonces.check(changed, NOW) == "proof_nonce_stale"


@given(text=st.text(max_size=80))
def test_an_invented_nonce_is_stale(text: str) -> None:
    assert Nonces().check(text, NOW) == "proof_nonce_stale"


# --- replay


def test_a_proof_is_used_once() -> None:
    seen = SeenProofs()
    claims = verify(proof())
    assert seen.check(claims, NOW) == "ok"
    assert seen.check(claims, NOW) == "proof_replayed"
    assert seen.check(claims, NOW + timedelta(minutes=4, seconds=59)) == "proof_replayed"


def test_the_same_jti_of_another_key_or_another_jti_passes() -> None:
    seen = SeenProofs()
    assert seen.check(verify(proof()), NOW) == "ok"
    assert seen.check(verify(proof(header_of(jwk=jwk_of(OTHER)), key=OTHER)), NOW) == "ok"
    assert seen.check(verify(proof(claims=claims_of(jti="another"))), NOW) == "ok"


def test_the_memory_is_bounded_by_the_lifetime_and_never_forgets_what_could_still_pass() -> None:
    nonces, seen = Nonces(timedelta(minutes=5)), SeenProofs(timedelta(minutes=5))
    first = verify(proof(claims=claims_of(nonce=nonces.issue(NOW))))
    assert seen.check(first, NOW) == "ok"
    for second in range(1, 1200):
        now = NOW + timedelta(seconds=second)
        other = Claims(first.thumbprint, first.jwk, f"jti-{second}", first.nonce, 0, None, BODY_HASH)
        assert seen.check(other, now) == "ok"
        assert len(seen) <= 300
        passes = nonces.check(first.nonce, now) == "ok"
        assert not passes or seen.check(first, now) == "proof_replayed"
