"""Requests as no browser sends them: slow, split, smuggled, climbing, or with headers of somebody else's."""

from __future__ import annotations

import asyncio
import secrets
from urllib.parse import urlsplit

from deploy.simulator.api import Reply
from deploy.simulator.misdeeds.scene import Scene, misdeed

LONGEST_SECONDS = 60.0
"""Until a connection that is of no use must have been closed."""
EVIL = "phishing.example"


async def raw(scene: Scene, *pieces: bytes, pause: float = 0.0) -> Reply:
    """What the server answers to these very bytes; status 0 where it closes the connection without a word."""
    where = urlsplit(scene.doors.gateway)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    answering = asyncio.create_task(_answer(reader, bodiless=pieces[:1] != () and pieces[0].startswith(b"HEAD ")))
    try:
        for piece in pieces:
            try:
                writer.write(piece)
                await writer.drain()
            except ConnectionError:
                break
            if pause:
                await asyncio.wait({answering}, timeout=pause)
            if answering.done():
                break
        return await answering
    except ConnectionError:
        return Reply(0, {}, b"")
    finally:
        answering.cancel()
        writer.close()


async def _answer(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Reply:
    async with asyncio.timeout(LONGEST_SECONDS):
        head = b""
        while b"\r\n\r\n" not in head:
            more = await reader.read(65536)
            if not more:
                return Reply(0, {}, head)
            head += more
        top, _, body = head.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        headers = {name.title(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while (
            not bodiless and len(body) < int(headers.get("Content-Length", "0")) and (more := await reader.read(65536))
        ):
            body += more
    return Reply(int(first.split(" ")[1]), headers, body)


def head(scene: Scene, method: str, path: str, *lines: str, host: str | None = None) -> bytes:
    named = [f"{method} {path} HTTP/1.1", f"Host: {host or urlsplit(scene.doors.gateway).netloc}", *lines, "", ""]
    return "\r\n".join(named).encode("latin-1", "replace")


@misdeed(at="terms")
async def dawdle(scene: Scene) -> None:
    """Holds connections open: a body letter by letter, a head line by line, and one that never says a word."""
    kind = ("Content-Type: application/json", f"Origin: {scene.doors.gateway}")
    drops = [b" "] * 400
    body, lines, silence, idle = await asyncio.gather(
        raw(scene, head(scene, "POST", "/v1/sign-in", *kind, "Content-Length: 1000"), *drops, pause=0.2),
        raw(scene, b"GET /v1/help HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 400, pause=0.2),
        raw(scene),
        raw(scene, head(scene, "POST", "/v1/sign-in", *kind, "Transfer-Encoding: chunked"), b"1\r\n{\r\n"),
    )
    scene.refused("letter by letter", body, "408 body_too_slow", recorded=False)
    scene.refused("a body that stops", idle, "408 body_too_slow", recorded=False)
    scene.held("line by line", lines.status in {0, 400}, f"answered {lines.status}")
    scene.held("never a word", silence.status == 0, f"answered {silence.status}")


@misdeed(at="terms")
async def smuggle(scene: Scene) -> None:
    """Requests of two lengths, of lengths that are none, with bare ends of line, in other protocols, without an end."""
    kind = "Content-Type: application/json"
    inner = "GET /v1/staff/live HTTP/1.1\r\nHost: x\r\n\r\n"
    for name, sent in (
        (
            "two kinds of length",
            head(scene, "POST", "/v1/verify", kind, "Content-Length: 4", "Transfer-Encoding: chunked")
            + b"0\r\n\r\n"
            + inner.encode(),
        ),
        (
            "two lengths",
            head(scene, "POST", "/v1/verify", kind, "Content-Length: 2", "Content-Length: 40") + b"{}" + inner.encode(),
        ),
        ("less than nothing", head(scene, "POST", "/v1/verify", kind, "Content-Length: -1") + b"{}"),
        ("no number", head(scene, "POST", "/v1/verify", kind, "Content-Length: 2a") + b"{}"),
        ("beyond all numbers", head(scene, "POST", "/v1/verify", kind, "Content-Length: " + "9" * 30)),
        ("a coding nobody knows", head(scene, "POST", "/v1/verify", kind, "Transfer-Encoding: xchunked") + b"{}"),
        (
            "a chunk of no length",
            head(scene, "POST", "/v1/verify", kind, "Transfer-Encoding: chunked") + b"zz\r\n{}\r\n0\r\n\r\n",
        ),
        ("a space before the colon", head(scene, "GET", "/v1/help", "Authorization : Bearer x")),
        ("a folded header", head(scene, "GET", "/v1/help", "X-A: b\r\n c: d")),
        ("a zero in a header", head(scene, "GET", "/v1/help", "X-A: b\x00c")),
        ("no header's name", head(scene, "GET", "/v1/help", ": x")),
        ("another protocol", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("no protocol", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        ("a method nobody knows", head(scene, "OPEN", "/v1/help")),
        ("a head too long", head(scene, "GET", "/v1/help", *[f"X-{n}: {'x' * 1000}" for n in range(40)])),
        ("an address too long", head(scene, "GET", "/v1/help?" + "x" * 40_000)),
    ):
        wanted = ("400 malformed", "413 body_too_large", "405 method_not_allowed", "422 invalid_fields")
        answer = await raw(scene, sent)
        if answer.status == 0:
            scene.held(name, True, "")
        else:
            scene.refused(name, answer, *wanted, recorded=False)


@misdeed(at="terms")
async def say_it_twice(scene: Scene) -> None:
    """Headers that count once, given twice with different values: which of them counts is nobody's to choose."""
    path = f"{scene.phone.journey}/choose-mode"
    body = b'{"mode":"standard"}'
    for name, other in (
        ("Authorization", f"Bearer {scene.doors.channel_key}"),
        ("DPoP", "a.b.c"),
        ("Idempotency-Key", "another-key-of-its-own"),
        ("Content-Type", "text/plain"),
        ("Journey-Heads", "identity=1"),
        ("Host", EVIL),
    ):
        once = {
            **scene.phone.headers("POST", path, body),
            "Idempotency-Key": secrets.token_urlsafe(12),
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
        }
        for lines in ((once.get(name, "identity=2"), other), (other, once.get(name, "identity=2"))):
            kept = [f"{key}: {value}" for key, value in once.items() if key != name]
            doubled = [f"{name}: {value}" for value in lines if name != "Host" or value == other]
            answer = await raw(scene, head(scene, "POST", path, *kept, *doubled) + body)
            scene.refused(f"two of {name}", answer, "400 malformed", sent=[other], recorded=False)


@misdeed(at="terms")
async def use_other_methods(scene: Scene) -> None:
    """Methods that an address does not have, and one method dressed as another."""
    for method in ("HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT"):
        for path in (f"{scene.phone.journey}/choose-mode", "/v1/proposals/x/withdraw", "/v1/staff/packs", "/v1/verify"):
            answer = await raw(
                scene,
                head(
                    scene,
                    method,
                    path,
                    "Content-Length: 0",
                    f"Origin: https://{EVIL}",
                    "Access-Control-Request-Method: POST",
                ),
            )
            if method in {"HEAD", "CONNECT"}:
                scene.held(f"{method} {path[-12:]}", answer.status in {400, 405}, f"answered {answer.status}")
            else:
                scene.refused(f"{method} {path[-12:]}", answer, "405 method_not_allowed", sent=[EVIL], recorded=False)
            opened = [name for name in answer.headers if name.lower().startswith("access-control-")]
            scene.held("and opens nothing to other sites", not opened, ", ".join(opened))
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        answer = await raw(scene, head(scene, "GET", f"{scene.phone.journey}/choose-mode", f"{name}: POST"))
        scene.refused(name, answer, "405 method_not_allowed", recorded=False)


@misdeed(at="terms")
async def climb(scene: Scene) -> None:
    """Addresses that climb out of their folder, hold ends of line, or name another host."""
    for path in (
        "/static/../settings.py",
        "/static/%2e%2e/settings.py",
        "/static/..%2fsettings.py",
        "/assets/..%2f..%2fmaster.key",
        "/assets/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "//v1/help",
        "/v1//help",
        "/v1/help/",
        "/v1/help%00",
        "/v1/help;x=y",
        "/V1/HELP",
        "/v1/journeys/../help",
        "/problems/%0d%0aSet-Cookie:%20evil=1",
        "/problems/..%2f..%2fmaster",
        "/.git/config",
        "/v1/journeys/\xff\xfe",
        "/v1/help?\xff=\xfe",
        "/v1/journeys/x?reveal=\xff",
        "/metrics",
        "/healthz",
        "/docs",
        "/v1/journeys/%F0%AC%AD%9A",
        "/v1/journeys/%ff%fe/policies",
    ):
        answer = await raw(scene, head(scene, "GET", path))
        wanted = (
            "404 not_found",
            "404 journey_unknown",
            "401 credentials_missing",
            "405 method_not_allowed",
            "400 malformed",
        )
        scene.refused(path, answer, *wanted, recorded=False)
        scene.held("and sets nothing", "Set-Cookie" not in answer.headers, "a header was put in")
    for host in (EVIL, f"{EVIL}/v1/journeys/x?", f"x@{EVIL}", "", "a b"):
        answer = await raw(scene, head(scene, "GET", "/v1/help", host=host or " "))
        heard = answer.content.decode("utf-8", "replace") + str(dict(answer.headers))
        scene.held(f"host {host!r}", answer.status in {200, 400} and EVIL not in heard, f"answered {answer.status}")
    path = f"{scene.phone.journey}/pad"
    # The host is the request's to say; what the proof is for is not.
    made = scene.phone.headers("GET", scene.phone.journey)
    lines = [f"{name}: {value}" for name, value in made.items()]
    answer = await raw(scene, head(scene, "GET", path, *lines, host=f"x{scene.phone.journey}?"))
    scene.refused("another address by way of the host", answer, "400 malformed", "401 proof_url", recorded=False)
