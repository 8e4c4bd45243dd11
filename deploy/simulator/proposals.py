"""Made-up customers and proposals a channel might submit. Every person, number and car here is invented."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

CHINA = ZoneInfo("Asia/Shanghai")
_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡林郭何高罗"
_GIVEN = "明华丽强芳军敏静勇艳杰娟涛超秀霞平刚桂英文玉兰志国建春红"
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


@dataclass(frozen=True)
class Person:
    """Somebody who buys. The bank card is theirs, the phone is in their hand."""

    name: str
    id_number: str
    phone: str
    address: str
    card_number: str

    @property
    def party(self) -> dict[str, str]:
        return {
            "name": self.name,
            "id_type": "id_card",
            "id_number": self.id_number,
            "phone": self.phone,
            "address": self.address,
        }


def person(chance: random.Random, name: str | None = None) -> Person:
    """An adult with a valid identity number (GB 11643 check digit) and a card number (Luhn)."""
    born = datetime(1958, 1, 1) + timedelta(days=chance.randrange(45 * 365))  # noqa: DTZ001 - a date of birth
    seventeen = f"110101{born:%Y%m%d}{chance.randrange(1000):03d}"
    check = "10X98765432"[sum(int(d) * w for d, w in zip(seventeen, _WEIGHTS, strict=True)) % 11]
    card = f"622202{chance.randrange(10**12):012d}"
    doubled = sum(sum(divmod(int(d) * (2 - i % 2), 10)) for i, d in enumerate(reversed(card)))
    return Person(
        name=name or chance.choice(_SURNAMES) + "".join(chance.choice(_GIVEN) for _ in range(chance.choice((1, 2)))),
        id_number=seventeen + check,
        phone=f"13{chance.randrange(10)}{chance.randrange(10**8):08d}",
        address=f"北京市朝阳区建国路{chance.randrange(1, 300)}号院{chance.randrange(1, 20)}号楼"
        f"{chance.randrange(101, 2500)}室",
        card_number=f"{card}{-doubled % 10}",
    )


def proposal(
    who: Person, now: datetime, chance: random.Random, *, extra: bool = True, reference: str | None = None
) -> dict[str, Any]:
    """Compulsory and commercial motor insurance for one car, with the optional extra offered beside them."""
    begins = (now.astimezone(CHINA) + timedelta(days=8)).replace(hour=0, minute=0, second=0, microsecond=0)
    period = {"from": begins.isoformat(), "to": begins.replace(year=begins.year + 1).isoformat()}
    letters = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
    products: list[dict[str, Any]] = [
        {
            "product": "motor_compulsory",
            "covers": [{"cover": "compulsory_liability", "sum_fen": 20000000, "premium_fen": 66500}],
            "premium_fen": 66500,
            "taxes": [{"tax": "vehicle_tax", "fen": 42000}],
            "period": period,
            "fields": {},
        },
        {
            "product": "motor_commercial",
            "covers": [
                {"cover": "vehicle_damage", "sum_fen": 12000000, "premium_fen": 150000},
                {"cover": "third_party", "sum_fen": 200000000, "premium_fen": 98000},
                {"cover": "driver_liability", "sum_fen": 1000000, "premium_fen": 4000},
                {"cover": "passenger_liability", "sum_fen": 1000000, "premium_fen": 8000},
            ],
            "premium_fen": 260000,
            "taxes": [],
            "period": period,
            "fields": {"passenger_seats": 4},
        },
    ]
    if extra:
        products.append(
            {
                "product": "driver_passenger_accident",
                "covers": [
                    {"cover": "death_disability", "sum_fen": 20000000, "premium_fen": 15000},
                    {"cover": "medical", "sum_fen": 2000000, "premium_fen": 5000},
                ],
                "premium_fen": 20000,
                "taxes": [],
                "period": period,
                "fields": {"insured_seats": 5},
            }
        )
    return {
        "channel_reference": reference or f"R{chance.randrange(10**12):012d}",
        "salesperson": {"name": "丁一凡", "licence_no": "01000011010280002026000001", "phone": "13900001111"},
        "policyholder": who.party,
        "insured": who.party,
        "subject": {
            "plate_no": "京" + chance.choice("ABCEFGHJK") + f"{chance.randrange(10**5):05d}",
            "vin": "LSVAU2180" + "".join(chance.choice(letters) for _ in range(8)),
            "engine_no": f"CEA{chance.randrange(10**6):06d}",
            "brand_model": "大众牌SVW71412DV轿车",
            "use_nature": "family",
            "energy": "petrol",
            "seats": 5,
            "first_registered": "2022-06-01",
            "owner": who.name,
            "actual_value_fen": 12000000,
        },
        "products": products,
    }
