"""Requests to services/appdownload."""

from __future__ import annotations

from typing import Literal

from contracts.commands.base import Query, Request
from contracts.values import Contract, Token


class ViewReferral(Query):
    service = "appdownload"
    verb = "view"


class ReferralView(Contract):
    state: Literal["none", "offered", "click", "install", "register", "login"]
    url: str | None


ViewReferral.reply = ReferralView


class TakeReport(Request):
    """The insurer's app reports a step, by the one-time token and a signed request."""

    service = "appdownload"
    verb = "take_report"

    token: Token
    step: Literal["click", "install", "register", "login"]


class ReferralReport(Request):
    service = "appdownload"
    verb = "report"


class ReferralCounts(Contract):
    offered: int
    click: int
    install: int
    register_: int
    login: int


ReferralReport.reply = ReferralCounts
