"""What ``/openapi.json`` says: every operation with its bodies, credentials and problems."""

from __future__ import annotations

from typing import Any, Final, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from contracts.problems import KINDS
from gateway.problems import MEDIA_TYPE, ProblemDocument

SECURITY_SCHEMES: Final[dict[str, Any]] = {
    "session": {
        "type": "http",
        "scheme": "DPoP",
        "description": "RFC 9449: `Authorization: DPoP <session token>`. The token comes from open-session.",
    },
    "proof": {
        "type": "apiKey",
        "in": "header",
        "name": "DPoP",
        "description": "RFC 9449 proof by the device key over method, address, server nonce and, in the claim `bh`, "
        "the base64url SHA-256 of the body. Each proof once; a retry keeps its Idempotency-Key and makes a new one.",
    },
    "channel": {"type": "http", "scheme": "bearer", "description": "API key of a channel."},
    "staff": {"type": "http", "scheme": "bearer", "description": "Key of a member of staff."},
    "signed_in": {
        "type": "apiKey",
        "in": "cookie",
        "name": "toubao_session",
        "description": "Session of a salesperson or a member of staff, from `POST /v1/sign-in`. What changes something "
        "must come from a page of the same origin. Refused on every customer's endpoint.",
    },
}
Security = list[dict[str, list[str]]]

CUSTOMER: Final[Security] = [{"session": [], "proof": []}]
OPENING: Final[Security] = [{"proof": []}]
CHANNEL: Final[Security] = [{"channel": []}]
SELLER: Final[Security] = [{"channel": []}, {"signed_in": []}]
STAFF: Final[Security] = [{"staff": []}, {"signed_in": []}]
SIGNED_IN: Final[Security] = [{"signed_in": []}]

IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "Names the act. A repeat is answered the same and done once.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{8,64}$"},
}
JOURNEY_HEADS: Final[dict[str, Any]] = {
    "name": "Journey-Heads",
    "in": "header",
    "required": False,
    "description": "What the page has seen, as the last answer's header of the same name said it.",
    "schema": {"type": "string", "pattern": "^[a-z]+=[0-9]+(,[a-z]+=[0-9]+)*$", "examples": ["identity=3,proposal=2"]},
}
ANSWER_HEADERS: Final[dict[str, Any]] = {
    "DPoP-Nonce": {"description": "For the next proof.", "schema": {"type": "string"}},
    "Journey-Heads": {"description": "To send along with the next act.", "schema": {"type": "string"}},
}


EVERYWHERE: Final = ("malformed", "body_too_slow", "body_too_large", "too_many_requests", "internal", "unavailable")
"""What any request may meet, whatever it asks."""
EVENT_STREAM: Final[dict[str, Any]] = {
    "text/event-stream": {
        "schema": {
            "type": "object",
            "description": "One event.",
            "properties": {
                "event": {"type": "string"},
                "data": {"type": "string", "description": "JSON."},
                "id": {"type": "string"},
                "retry": {"type": "integer"},
            },
            "required": ["event", "data"],
        }
    }
}


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Problem responses by status, each naming its codes; those every operation has are added."""
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys((*codes, *EVERYWHERE)):
        by_status.setdefault(KINDS[code].status, []).append(code)
    return {
        status: {
            "description": "; ".join(f"`{code}`: {KINDS[code].title}" for code in named),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
        }
        for status, named in sorted(by_status.items())
    }


def body_of(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """A request body of this model; its schema joins the components in ``describe``."""
    described = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
    return {"required": required, "content": {"application/json": described}}


def describe(app: FastAPI, models: list[type[BaseModel]]) -> None:
    """Makes ``app.openapi()`` whole: ``models`` are those that bodies refer to by name."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        schema = get_openapi(
            title="Toubao",
            version="1.0.0",
            summary="电子投保服务平台",
            description="Every refusal is a problem document (RFC 9457) with a stable `code`.",
            routes=app.routes,
        )
        _, definitions = models_json_schema(
            [(model, "validation") for model in dict.fromkeys((*models, ProblemDocument))],
            ref_template="#/components/schemas/{model}",
        )
        components = cast("dict[str, Any]", schema.setdefault("components", {}))
        schemas = cast("dict[str, Any]", components.setdefault("schemas", {}))
        for name, definition in definitions.get("$defs", {}).items():
            schemas.setdefault(name, definition)
        # FastAPI's own idea of a refused body: ours are problem documents.
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        components["securitySchemes"] = SECURITY_SCHEMES
        for path in cast("dict[str, dict[str, Any]]", schema["paths"]).values():
            for operation in path.values():
                answers = cast("dict[str, Any]", operation.get("responses", {}))
                if "application/json" in answers.get("422", {}).get("content", {}):
                    del answers["422"]
        app.openapi_schema = schema
        return schema

    app.openapi = openapi
