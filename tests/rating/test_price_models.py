"""Every price model against an independent oracle that counts as a person would."""

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kernel.errors import InvalidError
from apps.rating import price_models
from apps.rating.price_models import BUILT_IN, REGISTRY, amount_of, parse_properties
from apps.rating.quantities import round_quantity

prices = st.decimals(min_value=0, max_value=100, places=6, allow_nan=False)
whole_units = st.integers(0, 300)
fractions = st.decimals(min_value=0, max_value=300, places=3, allow_nan=False)


@st.composite
def ladders(draw: Any) -> list[tuple[int | None, Decimal, Decimal]]:
    """Tiers as (end or None, unit price, flat fee)."""
    ends = sorted(draw(st.sets(st.integers(1, 200), max_size=4)))
    return [(end, draw(prices), draw(prices)) for end in [*ends, None]]


def properties(ladder: list[tuple[int | None, Decimal, Decimal]]) -> dict[str, Any]:
    return {
        "tiers": [
            {"upTo": None if end is None else str(end), "unitPrice": str(price), "flatFee": str(flat)}
            for end, price, flat in ladder
        ]
    }


def priced(model: str, wire: dict[str, Any], quantity: Decimal) -> Decimal:
    return amount_of(parse_properties(model, wire).components(quantity))


@given(price=st.decimals(-100, 100, places=9, allow_nan=False), units=whole_units)
def test_standard_adds_the_price_once_a_unit(price: Decimal, units: int) -> None:
    counted = Fraction(0)
    for _ in range(units):
        counted += Fraction(price)
    assert Fraction(priced("standard", {"unitPrice": str(price)}, Decimal(units))) == counted


@given(price=prices, size=st.integers(1, 50), free=st.integers(0, 50), units=whole_units)
def test_package_opens_a_new_one_when_the_last_is_empty(price: Decimal, size: int, free: int, units: int) -> None:
    opened, left = 0, 0
    for _ in range(max(units - free, 0)):
        if left == 0:
            opened, left = opened + 1, size
        left -= 1
    wire = {"packagePrice": str(price), "packageSize": str(size), "freeUnits": str(free)}
    assert priced("package", wire, Decimal(units)) == opened * price


def test_a_fraction_of_a_unit_opens_a_package() -> None:
    wire = {"packagePrice": "7", "packageSize": "10"}
    assert priced("package", wire, Decimal("0.001")) == 7
    assert priced("package", wire, Decimal("10.001")) == 14
    assert priced("package", wire, Decimal("-3")) == 0


@given(ladder=ladders(), units=whole_units)
def test_graduated_asks_for_each_unit_which_tier_it_falls_into(
    ladder: list[tuple[int | None, Decimal, Decimal]], units: int
) -> None:
    counted = Fraction(ladder[0][2])  # the first flat fee is due even without usage
    entered = {0}
    for unit in range(1, units + 1):
        tier = next(n for n, (end, _, _) in enumerate(ladder) if end is None or unit <= end)
        if tier not in entered:
            entered.add(tier)
            counted += Fraction(ladder[tier][2])
        counted += Fraction(ladder[tier][1])
    assert Fraction(priced("graduated", properties(ladder), Decimal(units))) == counted


@given(ladder=ladders(), quantity=fractions)
def test_graduated_is_the_area_under_the_steps(
    ladder: list[tuple[int | None, Decimal, Decimal]], quantity: Decimal
) -> None:
    counted, floor = Fraction(0), Fraction(0)
    for number, (end, price, flat) in enumerate(ladder):
        top = Fraction(quantity) if end is None else min(Fraction(quantity), Fraction(end))
        if top > floor or number == 0:
            counted += Fraction(flat) + max(top - floor, Fraction(0)) * Fraction(price)
        floor = max(floor, Fraction(end or 0))
    assert Fraction(priced("graduated", properties(ladder), quantity)) == counted


@given(ladder=ladders(), quantity=fractions)
def test_volume_prices_everything_in_one_tier(
    ladder: list[tuple[int | None, Decimal, Decimal]], quantity: Decimal
) -> None:
    expected = Fraction(0)
    if quantity:
        price, flat = next((p, f) for end, p, f in ladder if end is None or quantity <= end)
        expected = Fraction(quantity) * Fraction(price) + Fraction(flat)
    assert Fraction(priced("volume", properties(ladder), quantity)) == expected


def test_volume_at_the_edge_of_a_band() -> None:
    wire = {"tiers": [{"upTo": "100", "unitPrice": "5"}, {"upTo": None, "unitPrice": "3"}]}
    assert priced("volume", wire, Decimal(100)) == 500
    assert priced("volume", wire, Decimal(101)) == 303


def test_every_file_of_the_folder_is_registered() -> None:
    folder = Path(price_models.__file__).parent
    helpers = {"__init__", "base", "installed", "tiers"}
    assert {file.stem for file in folder.glob("*.py")} - helpers == set(BUILT_IN)


OTHERS: dict[str, list[dict[str, Any]]] = {
    "standard": [{"unitPrice": "-0.000002"}],
    "package": [{"packagePrice": "7", "packageSize": "10", "freeUnits": "2"}],
    "graduated": [{"tiers": [{"upTo": "1.5", "unitPrice": "1", "flatFee": "3"}, {"upTo": None, "unitPrice": "0"}]}],
    "percentage": [{"percentage": "0"}, {"percentage": "10", "freeEvents": 0, "freeAmount": "0", "minCharge": "0"}],
}


@pytest.mark.parametrize("model", sorted(REGISTRY))
def test_a_description_rebuilds_the_model(model: str) -> None:
    for wire in (REGISTRY[model].EXAMPLE, *OTHERS.get(model, ())):
        price = parse_properties(model, wire)
        assert REGISTRY[model].from_description(json.loads(json.dumps(price.describe()))) == price


@pytest.mark.parametrize(
    ("model", "wire", "fields"),
    [
        ("standard", {}, ["properties.unitPrice"]),
        ("standard", {"unitPrice": 5}, ["properties.unitPrice"]),
        ("standard", {"unitPrice": "NaN"}, ["properties.unitPrice"]),
        ("standard", {"unitPrice": "1e-16"}, ["properties.unitPrice"]),
        ("standard", {"unitPrice": "1e15"}, ["properties.unitPrice"]),
        (
            "package",
            {"packagePrice": "-1", "packageSize": "0"},
            ["properties.packagePrice", "properties.packageSize"],
        ),
        ("volume", {"tiers": []}, ["properties.tiers"]),
        ("volume", {"tiers": [7]}, ["properties.tiers.0"]),
        ("volume", {"tiers": [{"upTo": "5", "unitPrice": "1"}]}, ["properties.tiers.0.upTo"]),
        (
            "volume",
            {
                "tiers": [
                    {"upTo": "9", "unitPrice": "1"},
                    {"upTo": "5", "unitPrice": "x"},
                    {"upTo": None, "unitPrice": "1"},
                ]
            },
            ["properties.tiers.1.upTo", "properties.tiers.1.unitPrice"],
        ),
        (
            "graduated",
            {"tiers": [{"upTo": None, "unitPrice": "1"}, {"upTo": None, "unitPrice": "-1"}]},
            ["properties.tiers.0.upTo", "properties.tiers.1.unitPrice"],
        ),
        ("volume", {"tiers": [{"upTo": None, "unitPrice": "0.0000001"}]}, ["properties.tiers.0.unitPrice"]),
        ("guess", {}, ["model"]),
        ("percentage", {}, ["properties.percentage"]),
        (
            "percentage",
            {
                "percentage": "0.00001",
                "minCharge": "5",
                "maxCharge": "4",
                "fixedCharge": "-1",
                "freeEvents": True,
                "freeAmount": "-1",
            },
            [f"properties.{name}" for name in ("percentage", "maxCharge", "fixedCharge", "freeAmount", "freeEvents")],
        ),
        ("percentage", {"percentage": "10.1"}, ["properties.percentage"]),
        (
            "graduated_percentage",
            {"tiers": [{"upTo": "5", "percentage": "11"}, {"upTo": None, "unitPrice": "1"}]},
            ["properties.tiers.0.percentage", "properties.tiers.1.percentage"],
        ),
        ("dynamic", {"minPrice": "2", "maxPrice": "1"}, ["properties.maxPrice"]),
        (
            "dynamic",
            {"maxPrice": "1", "priceProperty": "price"},
            ["properties.minPrice", "properties.priceProperty"],
        ),
    ],
)
def test_every_bad_field_is_named(model: str, wire: dict[str, Any], fields: list[str]) -> None:
    with pytest.raises(InvalidError) as refused:
        parse_properties(model, wire)
    assert [problem.field for problem in refused.value.errors] == fields


def test_properties_must_be_an_object() -> None:
    with pytest.raises(InvalidError) as refused:
        parse_properties("standard", [])  # type: ignore[arg-type]
    assert refused.value.errors[0].field == "properties"


@pytest.mark.parametrize(
    ("function", "precision", "expected"),
    [("round", 2, "123.46"), ("round", None, "123"), ("floor", -2, "100"), ("ceil", 0, "124"), (None, 1, "123.456")],
)
def test_quantities_round_as_the_metric_says(function: str | None, precision: int | None, expected: str) -> None:
    assert round_quantity(Decimal("123.456"), function=function, precision=precision) == Decimal(expected)
