"""Every request on the bus, one module a service."""

from contracts.commands import (
    appdownload,
    disclosure,
    evidence,
    identity,
    issuance,
    notify,
    nps,
    payment,
    proposal,
    signing,
)
from contracts.commands.base import Act, Answer, Beat, Command, Done, Query, Request, request_types

__all__ = [
    "Act",
    "Answer",
    "Beat",
    "Command",
    "Done",
    "Query",
    "Request",
    "appdownload",
    "disclosure",
    "evidence",
    "identity",
    "issuance",
    "notify",
    "nps",
    "payment",
    "proposal",
    "request_types",
    "signing",
]
