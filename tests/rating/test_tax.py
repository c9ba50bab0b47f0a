"""Taxes of documents against a slow oracle: integers of the minor unit, one fraction at a time."""

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apps.kernel.money import minor_digits
from apps.rating.tax import TaxedAmount, tax_lines, tax_stacked

CURRENCIES = ("JPY", "EUR", "KWD")
STACKS: tuple[tuple[Decimal, ...], ...] = (
    (),
    (Decimal(19),),
    (Decimal(5),),
    (Decimal(5), Decimal("9.975")),
    (Decimal("6.25"), Decimal(2)),
    (Decimal("0.5"), Decimal("0.25"), Decimal("0.125")),
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    currency = draw(st.sampled_from(CURRENCIES))
    digits = minor_digits(currency)
    units = draw(st.lists(st.integers(-(10**7), 10**9), min_size=1, max_size=8))
    return {
        "amounts": [Decimal(unit).scaleb(-digits) for unit in units],
        "rates": [draw(st.sampled_from(STACKS)) for _ in units],
        "currency": currency,
        "is_inclusive": draw(st.booleans()),
    }


def taxed(case: dict[str, Any]) -> list[TaxedAmount]:
    return tax_stacked(
        case["amounts"],
        [[(rate, rate) for rate in rates] for rates in case["rates"]],
        currency=case["currency"],
        is_inclusive=case["is_inclusive"],
    )


def half_up(value: Fraction) -> int:
    sign = -1 if value < 0 else 1
    return sign * int(abs(value) + Fraction(1, 2))


def wanted(case: dict[str, Any]) -> dict[Any, int]:
    """Give what each tax is, in minor units: by its rate, or by the line's rates too where prices contain it."""
    digits = minor_digits(case["currency"])
    sums: dict[tuple[Decimal, ...], int] = defaultdict(int)
    for amount, rates in zip(case["amounts"], case["rates"], strict=True):
        sums[rates] += int(amount.scaleb(digits))
    if not case["is_inclusive"]:
        bases: dict[Decimal, int] = defaultdict(int)
        for rates, base in sums.items():
            for rate in rates:
                bases[rate] += base
        return {rate: half_up(Fraction(base) * Fraction(rate) / 100) for rate, base in bases.items()}
    found = {}
    for rates, base in sums.items():
        whole = sum(map(Fraction, rates))
        tax = half_up(Fraction(base) * whole / (100 + whole))
        exact = [tax * Fraction(rate) / whole for rate in rates]
        parts = [int(part) for part in exact]
        # One unit after the other to who is furthest behind.
        behind = sorted(range(len(parts)), key=lambda place: (-abs(exact[place] - parts[place]), place))
        for place in behind[: abs(tax - sum(parts))]:
            parts[place] += 1 if tax > 0 else -1
        found |= {(rate, rates): part for rate, part in zip(rates, parts, strict=True)}
    return found


@given(documents())
def test_each_tax_is_rounded_once_on_the_lines_that_have_it(case: dict[str, Any]) -> None:
    digits = minor_digits(case["currency"])
    sums: dict[Any, int] = defaultdict(int)
    for rates, line in zip(case["rates"], taxed(case), strict=True):
        for rate, part in zip(rates, line.parts, strict=True):
            sums[(rate, rates) if case["is_inclusive"] else rate] += int(part.scaleb(digits))
    assert sums == wanted(case)


@given(documents())
def test_lines_add_up_in_whole_minor_units(case: dict[str, Any]) -> None:
    unit = Decimal(1).scaleb(-minor_digits(case["currency"]))
    for amount, rates, line in zip(case["amounts"], case["rates"], taxed(case), strict=True):
        assert len(line.parts) == len(rates)
        assert sum(line.parts, Decimal(0)) == line.tax
        assert all(part % unit == 0 for part in line.parts)
        if case["is_inclusive"]:
            assert line.net + line.tax == amount
        else:
            assert line.net == amount


@given(documents())
def test_one_rate_is_a_stack_of_one(case: dict[str, Any]) -> None:
    rates = [sum(own, Decimal(0)) for own in case["rates"]]
    single = tax_lines(case["amounts"], rates, currency=case["currency"], is_inclusive=case["is_inclusive"])
    stacked = taxed({**case, "rates": [(rate,) for rate in rates]})
    assert single == stacked
    assert all(line.parts == (line.tax,) for line in single)
