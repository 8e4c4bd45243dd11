"""A proposal of all three products, and where the house's own products are."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from products import Product, read_products

HERE = Path(__file__).resolve().parents[2] / "products"


@pytest.fixture(scope="session")
def folder() -> Path:
    return HERE


@pytest.fixture(scope="session")
def products() -> dict[str, Product]:
    return read_products(HERE)


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


@pytest.fixture
def person() -> dict[str, Any]:
    return {
        "name": "欧阳静怡",
        "id_type": "id_card",
        "id_number": "11010519491231002X",
        "phone": "13800001234",
        "address": "北京市朝阳区建国路1号院2号楼301室",
    }


@pytest.fixture
def proposal(person: dict[str, Any]) -> dict[str, Any]:
    period = {"from": "2026-12-01T00:00:00+08:00", "to": "2027-12-01T00:00:00+08:00"}
    return {
        "policyholder": dict(person),
        "insured": dict(person),
        "subject": {
            "plate_no": "京A12345",
            "vin": "LSVAU2180N2183294",
            "engine_no": "CEA123456",
            "brand_model": "大众牌SVW7147",
            "use_nature": "family",
            "energy": "petrol",
            "seats": 5,
            "first_registered": "2022-06-01",
            "owner": "欧阳静怡",
            "actual_value_fen": 12000000,
        },
        "products": [
            {
                "product": "motor_compulsory",
                "covers": [{"cover": "compulsory_liability", "sum_fen": 20000000, "premium_fen": 66500}],
                "premium_fen": 66500,
                "taxes": [{"tax": "vehicle_tax", "fen": 42000}],
                "period": dict(period),
                "fields": {},
            },
            {
                "product": "motor_commercial",
                "covers": [
                    {"cover": "vehicle_damage", "sum_fen": 12000000, "premium_fen": 150000},
                    {"cover": "third_party", "sum_fen": 200000000, "premium_fen": 98000},
                    {"cover": "passenger_liability", "sum_fen": 1000000, "premium_fen": 8000},
                    {"cover": "absolute_deductible", "sum_fen": 0, "premium_fen": 0},
                ],
                "premium_fen": 256000,
                "taxes": [],
                "period": dict(period),
                "fields": {"passenger_seats": 4, "deductible_percent": "10"},
            },
            {
                "product": "driver_passenger_accident",
                "covers": [
                    {"cover": "death_disability", "sum_fen": 20000000, "premium_fen": 15000},
                    {"cover": "medical", "sum_fen": 2000000, "premium_fen": 5000},
                ],
                "premium_fen": 20000,
                "taxes": [],
                "period": dict(period),
                "fields": {"insured_seats": 5},
            },
        ],
    }
