import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kernel.time import Period
from apps.rating.lines import Billed, rate_fee, rate_usage
from apps.rating.price_models import PriceModel, TransactionPriceModel, count, parse_properties
from apps.rating.reading import bound_to_zero, evaluated, left_over, recompute
from apps.rating.tax import tax_lines
from apps.rating.usage import Transaction, Usage

PERIOD = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
COMMON: dict[str, Any] = {"period": PERIOD, "sources": {}, "calculated_at": PERIOD.end}
WIRES: list[tuple[str, dict[str, Any]]] = [
    ("standard", {"unitPrice": "0.000002"}),
    ("package", {"packagePrice": "0.37", "packageSize": "3"}),
    (
        "graduated",
        {"tiers": [{"upTo": "10", "unitPrice": "0.333", "flatFee": "1"}, {"upTo": None, "unitPrice": "0.1"}]},
    ),
    ("volume", {"tiers": [{"upTo": "10", "unitPrice": "0.333"}, {"upTo": None, "unitPrice": "0.1"}]}),
]
SINGLE: list[tuple[str, dict[str, Any]]] = [
    (
        "percentage",
        {"percentage": "0.029", "fixedCharge": "0.3", "minCharge": "0.5", "maxCharge": "10", "freeEvents": 2},
    ),
    ("percentage", {"percentage": "0.013", "fixedCharge": "2", "freeAmount": "250"}),
    ("dynamic", {"minPrice": "0.1", "maxPrice": "2"}),
]
quantities = st.decimals(0, 10**6, places=9, allow_nan=False)
currencies = st.sampled_from(["USD", "JPY", "BHD"])


transactions = st.lists(
    st.builds(
        Transaction,
        value=st.decimals(-100, 1000, places=3, allow_nan=False),
        rate=st.none() | st.decimals(0, 3, places=4, allow_nan=False),
    ),
    max_size=150,
)


def billed(price: PriceModel, quantity: Decimal) -> Billed:
    """Give what a quantity of a period came to when it was billed."""
    line = rate_usage(price=price, usage=Usage(quantity), currency="USD", **COMMON)
    return evaluated(line.provenance)


@given(wire=st.sampled_from(WIRES), quantity=quantities, earlier=st.none() | quantities, currency=currencies)
def test_a_usage_line_can_be_recomputed_from_its_provenance(
    wire: tuple[str, dict[str, Any]], quantity: Decimal, earlier: Decimal | None, currency: str
) -> None:
    price = parse_properties(*wire)
    before = None if earlier is None else billed(price, earlier)
    line = rate_usage(price=price, usage=Usage(quantity), currency=currency, already_billed=before, **COMMON)
    assert recompute(line.provenance) == line.subtotal
    assert abs(line.exact - line.subtotal) <= Decimal("0.5")


@given(wire=st.sampled_from(SINGLE), early=transactions, late=transactions)
def test_a_line_of_single_events_can_be_recomputed_from_its_provenance(
    wire: tuple[str, dict[str, Any]], early: list[Transaction], late: list[Transaction]
) -> None:
    price = parse_properties(*wire)
    assert isinstance(price, TransactionPriceModel)

    def usage(events: list[Transaction]) -> Usage:
        return Usage(sum((event.value for event in events), Decimal(0)), count(price, events))

    first = rate_usage(price=price, usage=usage(early), currency="USD", **COMMON)
    # As it is stored: in JSON's types.
    stored = json.loads(json.dumps(first.provenance))
    assert recompute(stored) == first.subtotal
    assert evaluated(stored).usage == usage(early)
    # Late events come in before, between and after the others; the two lines are worth the whole.
    both = sorted([*early, *late], key=lambda event: event.value)
    second = rate_usage(price=price, usage=usage(both), currency="USD", already_billed=evaluated(stored), **COMMON)
    assert recompute(json.loads(json.dumps(second.provenance))) == second.subtotal
    whole = rate_usage(price=price, usage=usage(both), currency="USD", **COMMON)
    assert first.exact + second.exact == whole.exact
    assert first.quantity + second.quantity == whole.quantity


@given(quantity=st.integers(1, 1000), share=st.fractions(0, 1), currency=currencies)
def test_a_fee_line_can_be_recomputed_from_its_provenance(quantity: int, share: Fraction, currency: str) -> None:
    price = parse_properties("standard", {"unitPrice": "49.99"})
    line = rate_fee(price=price, quantity=Decimal(quantity), currency=currency, share=share, whole=PERIOD, **COMMON)
    assert recompute(line.provenance) == line.subtotal
    exact = Fraction(49_99, 100) * quantity * share
    assert abs(Fraction(line.exact) - exact) < Fraction(1, 10**20)


def test_a_line_is_rounded_once() -> None:
    price = parse_properties("standard", {"unitPrice": "0.000002"})
    line = rate_usage(price=price, usage=Usage(Decimal(18_059_974)), currency="USD", **COMMON)
    assert line.exact == Decimal("36.119948")
    assert line.subtotal == Decimal("36.12")
    assert line.unit_price == Decimal("0.000002")


def test_a_correction_that_was_cut_leaves_the_rest_for_the_next() -> None:
    price = parse_properties("standard", {"unitPrice": "2"})

    def correction(carried: str, bound: str | None) -> dict[str, Any]:
        line = rate_usage(
            price=price,
            usage=Usage(Decimal(0)),
            currency="USD",
            already_billed=billed(price, Decimal(5) if carried == "0" else Decimal(0)),
            carried=Decimal(carried),
            **COMMON,
        )
        assert line.subtotal == Decimal(carried) or carried == "0"
        cut = line.provenance if bound is None else bound_to_zero(line.provenance, Decimal(bound))
        assert recompute(cut) == (line.subtotal if bound is None else Decimal(bound))
        return cut

    lines = [correction("0", "0"), correction("-10", "-4"), correction("-6", None)]
    assert [left_over(line) for line in lines] == [Decimal(-10), Decimal(4), Decimal(6)]


def test_a_rebate_that_was_cut_leaves_nothing() -> None:
    price = parse_properties("standard", {"unitPrice": "-2"})
    line = rate_usage(
        price=price, usage=Usage(Decimal(5)), currency="USD", already_billed=billed(price, Decimal(0)), **COMMON
    )
    assert left_over(bound_to_zero(line.provenance, Decimal(-1))) == 0


def test_late_usage_is_worth_what_it_adds_to_its_own_period() -> None:
    price = parse_properties(
        "volume", {"tiers": [{"upTo": "100", "unitPrice": "5"}, {"upTo": None, "unitPrice": "3"}]}
    )
    before = billed(price, Decimal(100))
    line = rate_usage(price=price, usage=Usage(Decimal(101)), currency="USD", already_billed=before, **COMMON)
    assert line.subtotal == Decimal(303) - Decimal(500)
    assert line.quantity == 1


def test_a_cut_rebate_says_so() -> None:
    price = parse_properties("standard", {"unitPrice": "-1"})
    line = rate_usage(price=price, usage=Usage(Decimal(10)), currency="USD", **COMMON)
    cut = bound_to_zero(line.provenance, Decimal("-4"))
    assert recompute(cut) == -4
    assert cut["result"]["amount"] == "-4"


def test_unknown_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown step"):
        recompute({"steps": [{"op": "guess", "params": {}}]})


@given(
    cents=st.lists(st.integers(-10_000, 10_000), min_size=1, max_size=12),
    rates=st.lists(st.sampled_from(["0", "7", "19", "8.875"]), min_size=12, max_size=12),
    is_inclusive=st.booleans(),
)
def test_taxes_reconcile_to_the_minor_unit(cents: list[int], rates: list[str], is_inclusive: bool) -> None:
    amounts = [Decimal(c) / 100 for c in cents]
    percents = [Decimal(rate) for rate in rates[: len(amounts)]]
    taxed = tax_lines(amounts, percents, currency="USD", is_inclusive=is_inclusive)
    for amount, line in zip(amounts, taxed, strict=True):
        assert line.net + line.tax == amount if is_inclusive else line.net == amount
        assert line.tax == line.tax.quantize(Decimal("0.01"))
    for rate in set(percents):
        base = sum((a for a, r in zip(amounts, percents, strict=True) if r == rate), Decimal(0))
        tax = sum((t.tax for t, r in zip(taxed, percents, strict=True) if r == rate), Decimal(0))
        exact = base * rate / ((100 + rate) if is_inclusive else 100)
        assert abs(tax - exact) <= Decimal("0.005")
