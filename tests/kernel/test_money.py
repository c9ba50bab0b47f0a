from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kernel.money import (
    allocate,
    format_amount,
    format_decimal,
    format_money,
    format_unit_price,
    is_currency,
    minor_digits,
    round_money,
)

amounts = st.decimals(min_value=-(10**12), max_value=10**12, places=9, allow_nan=False)


@pytest.mark.parametrize(
    ("amount", "currency", "rounded"),
    [
        ("0.005", "USD", "0.01"),
        ("-0.005", "USD", "-0.01"),
        ("0.0049999999", "USD", "0.00"),
        ("1.5", "JPY", "2"),
        ("1.0005", "BHD", "1.001"),
        ("36.119948", "USD", "36.12"),
    ],
)
def test_money_rounds_half_up_to_the_minor_unit(amount: str, currency: str, rounded: str) -> None:
    assert round_money(Decimal(amount), currency) == Decimal(rounded)


@given(
    units=st.integers(-(10**9), 10**9),
    weights=st.lists(st.integers(0, 1000), min_size=1, max_size=20),
    digits=st.integers(0, 4),
)
def test_parts_sum_to_the_whole_and_are_within_a_unit_of_fair(units: int, weights: list[int], digits: int) -> None:
    unit = Decimal(1).scaleb(-digits)
    total = units * unit
    parts = allocate(total, weights, digits=digits)
    assert sum(parts) == total
    assert len(parts) == len(weights)
    if sum(weights):
        for part, weight in zip(parts, weights, strict=True):
            assert abs(part - total * weight / sum(weights)) < unit
            assert weight or part == 0


@given(
    units=st.integers(0, 10**9),
    weights=st.lists(st.decimals(min_value=0, max_value=10**12, places=9), min_size=1, max_size=20),
)
def test_parts_are_the_same_however_they_are_worked_out(units: int, weights: list[Decimal]) -> None:
    total = Decimal(units).scaleb(-2)
    parts = allocate(total, weights, digits=2)
    assert [-part for part in allocate(-total, weights, digits=2)] == parts
    assert allocate(total, [weight.scaleb(-9) for weight in weights], digits=2) == parts


def test_remainders_go_to_the_largest_then_to_the_first() -> None:
    assert allocate(Decimal("1.00"), [1, 1, 1], digits=2) == [Decimal("0.34"), Decimal("0.33"), Decimal("0.33")]
    assert allocate(Decimal("-0.05"), [1, 1], digits=2) == [Decimal("-0.03"), Decimal("-0.02")]
    assert allocate(Decimal(5), [0, 0], digits=0) == [Decimal(5), Decimal(0)]
    with pytest.raises(ValueError, match="at least one"):
        allocate(Decimal(1), [], digits=2)


@given(amount=amounts)
def test_plain_notation_reads_back_exactly(amount: Decimal) -> None:
    text = format_decimal(amount)
    assert Decimal(text) == amount
    assert "E" not in text
    assert text != "-0"


def test_figures_for_machines_and_people() -> None:
    assert format_amount(Decimal(49), "USD") == "49.00"
    assert format_amount(Decimal("0.0000025"), "USD") == "0.0000025"
    assert format_amount(Decimal(60606), "JPY") == "60606"
    assert format_money(Decimal("-1234.5"), "USD") == "−$1,234.50"
    assert format_money(Decimal(60606), "JPY") == "¥60,606"
    assert format_money(Decimal("1.0005"), "BHD") == "1.001 BHD"
    assert format_decimal(Decimal("1E+3")) == "1000"
    assert format_unit_price(Decimal("49.000000000000000"), "USD") == "$49.00"
    assert format_unit_price(Decimal("0.000002000000000"), "USD") == "$0.000002"
    assert format_unit_price(Decimal("-1234.5"), "EUR") == "−€1,234.50"
    assert format_unit_price(Decimal(3), "JPY") == "¥3"
    assert format_unit_price(Decimal("0.000000000000001"), "CHF") == "0.000000000000001 CHF"


def test_currencies() -> None:
    assert is_currency("EUR")
    assert not is_currency("XXX")
    assert [minor_digits(code) for code in ("JPY", "USD", "KWD", "CLF")] == [0, 2, 3, 4]
