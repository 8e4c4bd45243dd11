"""A proposal for the made-up product (``made_up``), which no code knows and whose declaration is copied by hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from deploy.simulator.proposals import CHINA, Person

PHRASES = ("保险人已明确说明", "免除保险人责任条款的内容", "及法律后果")


def bicycle(who: Person) -> dict[str, Any]:
    begins = (datetime.now(CHINA) + timedelta(days=3)).replace(hour=0, minute=0, second=0, microsecond=0)
    return {
        "salesperson": {"name": "丁一凡", "licence_no": "01000011010280002026000001", "phone": "13900001111"},
        "policyholder": who.party,
        "subject": {"frame_no": "AB1234", "locked": True, "price_fen": 300000},
        "products": [
            {
                "product": "bicycle_theft",
                "covers": [{"cover": "theft", "sum_fen": 250000, "premium_fen": 3000}],
                "premium_fen": 3000,
                "period": {"from": begins.isoformat(), "to": begins.replace(year=begins.year + 1).isoformat()},
            }
        ],
    }
