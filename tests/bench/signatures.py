"""Signatures: CPU of the customer's and of the insurer's on a real form, beside one by pyHanko as it comes.

The authorities are another process, as they are in production, so their work is not in these figures; nor is drawing
the form. All chains are known when counting begins. pyHanko as it comes means its own signer with the same kind of
key, PAdES with a timestamp by the same authority, and nothing about the status of certificates: what ours does beside
that (the statement, the handwriting, the proofs in the file) is in ours.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from contracts.values import CommittedFile
from servicekit.documents.render import Renderer
from servicekit.documents.timestamp import authority
from services.signing.application_form import form_job, seal_form, sign_form, statement_of
from tests.prepared import sandbox_keys
from tests.servicekit.documents.prepared import render_settings
from tests.services.signing.finishing import AT, NAME, SEAL, SIGNED, Office, office_at
from tests.services.signing.forms import usual
from tests.services.signing.handwritten import written


@dataclass(frozen=True)
class Ordered:
    times: int = 100


def run(ordered: Ordered, folder: Path) -> dict[str, Any]:
    root = sandbox_keys(folder / "authorities")
    told = {**os.environ, "TOUBAO_SANDBOX_DATA_DIR": str(root), "TOUBAO_SANDBOX_PORT": "0", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "deploy.sandbox"]
    with subprocess.Popen(command, env=told, stdout=subprocess.PIPE, text=True) as parties:
        try:
            assert parties.stdout is not None
            url = json.loads(parties.stdout.readline())["urls"]["authority"]
            return asyncio.run(_measured(ordered, root, url))
        finally:
            parties.terminate()


async def _measured(ordered: Ordered, root: Path, url: str) -> dict[str, Any]:
    async with Renderer(render_settings()) as renderer:
        preview = await renderer.render(form_job(usual()))
    form = CommittedFile(commitment="1" * 64, blob="1" * 64, media_type="application/pdf", size=len(preview))
    async with aiohttp.ClientSession() as http:
        office = office_at(url, root, http)
        by = office.completion
        statement, hand = statement_of(SIGNED, form, preview), written()
        async with by.act(SIGNED, NAME) as act:
            signed = await sign_form(preview, hand, statement, act.customer, NAME, AT)
            sealed = await seal_form(signed, SEAL, by.insurer, act.proofs, AT)
            bare = _bare(root, url, http)
            counted = {
                "customer": lambda: sign_form(preview, hand, statement, act.customer, NAME, AT),
                "insurer": lambda: seal_form(signed, SEAL, by.insurer, act.proofs, AT),
                "bare": lambda: bare(preview),
            }
            # In turns, so that what else the machine does falls on all alike.
            turns = 5
            best = dict.fromkeys(counted, float("inf"))
            for _ in range(turns):
                for name, work in counted.items():
                    best[name] = min(best[name], await _cpu_ms(work, max(1, ordered.times // turns)))
        certificate = await _cpu_ms(lambda: _certified(office), max(1, ordered.times // turns))
    return {
        "times": ordered.times,
        "form_bytes": len(preview),
        "sealed_bytes": len(sealed),
        "customer_ms": best["customer"],
        "insurer_ms": best["insurer"],
        "bare_ms": best["bare"],
        "customer_to_bare": best["customer"] / best["bare"],
        "insurer_to_bare": best["insurer"] / best["bare"],
        "certificate_ms": certificate,
    }


async def _certified(office: Office) -> None:
    async with office.completion.act(SIGNED, NAME):
        pass


async def _cpu_ms(work: Callable[[], Awaitable[object]], times: int) -> float:
    """Of this process with all its threads, one time."""
    began = time.process_time()
    for _ in range(times):
        await work()
    return (time.process_time() - began) / times * 1000


def _bare(root: Path, url: str, http: aiohttp.ClientSession) -> Callable[[bytes], Awaitable[object]]:
    from asn1crypto import keys, x509
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
    from pyhanko.sign import PdfSignatureMetadata, PdfSigner, SimpleSigner
    from pyhanko.sign.fields import SigSeedSubFilter
    from pyhanko_certvalidator.registry import SimpleCertificateStore

    key = serialization.load_pem_private_key((root / "keys/application.key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    first, *above = _ders((root / "certs/application.chain.pem").read_bytes())
    store = SimpleCertificateStore()
    store.register_multiple([x509.Certificate.load(each) for each in above])
    signer = PdfSigner(
        PdfSignatureMetadata(field_name="signature", md_algorithm="sha256", subfilter=SigSeedSubFilter.PADES),
        signer=SimpleSigner(x509.Certificate.load(first), keys.PrivateKeyInfo.load(der), store),
        timestamper=authority(f"{url}/sandbox/tsa/tsa", http),
    )

    async def sign(pdf: bytes) -> object:
        return await signer.async_sign_pdf(IncrementalPdfFileWriter(io.BytesIO(pdf)))

    return sign


def _ders(chain: bytes) -> list[bytes]:
    from cryptography.x509 import load_pem_x509_certificates

    return [each.public_bytes(serialization.Encoding.DER) for each in load_pem_x509_certificates(chain)]
