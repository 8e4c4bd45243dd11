"""``python -m contracts.generate``: JSON Schema per fact and AsyncAPI 3 for the bus, into ``docs/contracts``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from contracts import subjects
from contracts.commands.base import Act, Answer, Request, request_types
from contracts.compatibility import breaks
from contracts.facts.base import Fact, fact_types

HOME = Path(__file__).resolve().parents[1] / "docs" / "contracts"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def own_facts() -> dict[str, type[Fact]]:
    """The published facts: those of our services, not those a test made up."""
    return {name: kind for name, kind in fact_types().items() if kind.__module__.startswith("contracts.")}


def own_requests() -> dict[str, type[Request]]:
    return {name: kind for name, kind in request_types().items() if kind.__module__.startswith("contracts.")}


def schema_of(kind: type[Fact]) -> dict[str, Any]:
    """What is emitted and, for years, read back. A field with a default may be missing from older facts."""
    return {
        "$schema": DIALECT,
        "$id": f"urn:toubao:contracts:{kind.service}.{kind.name}.v{kind.version}",
        **kind.model_json_schema(mode="validation"),
    }


def asyncapi() -> dict[str, Any]:
    """The whole bus: a channel a fact or command, who sends and who receives it."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for name, kind in own_facts().items():
        key = f"{kind.service}.{kind.name}.v{kind.version}"
        messages[key] = {
            "name": name,
            "title": kind.__name__,
            "summary": _first_line(kind),
            "contentType": "application/json",
            "headers": {"$ref": "#/components/schemas/CloudEvent"},
            "payload": {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": _ref(key)},
        }
        address, stream = _address(kind)
        channels[key] = {
            "address": address,
            "messages": {kind.name: {"$ref": f"#/components/messages/{key}"}},
            "x-jetstream-stream": stream,
        }
        if "{" in address:
            names = [part[1:-1] for part in address.split(".") if part.startswith("{")]
            channels[key]["parameters"] = {name: {} for name in names}
        operations[f"publish.{key}"] = {"action": "send", "channel": {"$ref": f"#/channels/{key}"}}
    for subject, kind in own_requests().items():
        key = f"{kind.service}.{kind.verb}"
        reply = kind.reply
        _define(schemas, kind)
        _define(schemas, reply)
        _define(schemas, Answer[reply], name=f"Answer.{reply.__name__}")
        messages[f"{key}.request"] = {
            "name": kind.__name__,
            "summary": _first_line(kind),
            "contentType": "application/json",
            "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
        }
        messages[f"{key}.answer"] = {
            "name": f"Answer.{reply.__name__}",
            "contentType": "application/json",
            "payload": {"$ref": f"#/components/schemas/Answer.{reply.__name__}"},
        }
        channels[key] = {
            "address": subject,
            "messages": {"request": {"$ref": f"#/components/messages/{key}.request"}},
        }
        channels[f"{key}.answer"] = {
            "address": None,
            "messages": {"answer": {"$ref": f"#/components/messages/{key}.answer"}},
        }
        operation: dict[str, Any] = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{key}"},
            "reply": {"channel": {"$ref": f"#/channels/{key}.answer"}},
        }
        if issubclass(kind, Act):
            _define(schemas, kind.arguments)
            operation["x-sealed-body"] = {"$ref": f"#/components/schemas/{kind.arguments.__name__}"}
        operations[f"answer.{key}"] = operation
    schemas["CloudEvent"] = _cloud_event()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Toubao",
            "version": "1.0.0",
            "description": "Subjects, facts and requests of the bus (NATS with JetStream).",
        },
        "defaultContentType": "application/json",
        "channels": dict(sorted(channels.items())),
        "operations": dict(sorted(operations.items())),
        "components": {"messages": dict(sorted(messages.items())), "schemas": dict(sorted(schemas.items()))},
    }


def _address(kind: type[Fact]) -> tuple[str, str]:
    if kind.service == "partner":
        return subjects.partner_fact("{channel_id}", kind.name, "{fact_id}"), subjects.PARTNER.name
    if kind.service in subjects.AFTERCARE_SERVICES:
        return subjects.aftercare_fact(kind.service, kind.name, "{fact_id}"), subjects.AFTERCARE.name
    return subjects.journey_fact("{journey_id}", kind.service, kind.name), subjects.JOURNEY.name


def _ref(key: str) -> dict[str, str]:
    return {"$ref": f"./facts/{key}.json"}


def _define(schemas: dict[str, Any], kind: Any, name: str | None = None) -> None:
    """A model and what it is made of, all under ``#/components/schemas``."""
    made = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(made.pop("$defs", {}))
    schemas[name or kind.__name__] = made


def _cloud_event() -> dict[str, Any]:
    """CloudEvents 1.0 attributes as NATS headers, binary mode."""
    text = {"type": "string"}
    names = ("specversion", "id", "source", "type", "subject", "time", "sequence", "dataschema")
    return {
        "type": "object",
        "required": ["Nats-Msg-Id", *(f"ce-{name}" for name in names)],
        "properties": {
            "Nats-Msg-Id": {**text, "description": "The same as ce-id."},
            **{f"ce-{name}": text for name in names},
            "traceparent": {**text, "description": "W3C trace context."},
        },
    }


def _first_line(kind: type[Any]) -> str:
    return " ".join((kind.__doc__ or kind.__name__).strip().split("\n\n")[0].split())


def generate() -> dict[str, str]:
    """Path below ``docs/contracts`` → text. The same contracts give the same bytes."""

    def text(value: Any) -> str:
        return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"

    files = {
        f"facts/{kind.service}.{kind.name}.v{kind.version}.json": text(schema_of(kind)) for kind in own_facts().values()
    }
    files["asyncapi.json"] = text(asyncapi())
    return files


def broken(made: dict[str, str]) -> list[str]:
    """What generating ``made`` over the published schemas would break."""
    found: list[str] = []
    for path in sorted((HOME / "facts").glob("*.json")):
        name = f"facts/{path.name}"
        if name not in made:
            found.append(f"{name}: a published fact is gone")
            continue
        breaches = breaks(json.loads(path.read_text("utf-8")), json.loads(made[name]))
        found += [f"{name}: {breach}" for breach in breaches]
    return found


def main() -> None:
    made = generate()
    if found := broken(made):
        # A published fact keeps its shape: give the changed one a new version beside it.
        sys.exit("\n".join(("Refused, these published facts would break:", *found)))
    for name, text in made.items():
        path = HOME / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    sys.stdout.write(f"{len(made)} files in docs/contracts\n")


if __name__ == "__main__":
    main()
