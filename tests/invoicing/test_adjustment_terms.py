"""Adjustments as pure terms: which lines they reach, and what they leave, against obvious counting."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from apps.invoicing.domain.adjustments import (
    AdjustmentTerms,
    discounts_of,
    quantity_terms,
    with_discounts,
)
from apps.invoicing.domain.cuts import charge_of
from apps.invoicing.domain.targets import TargetLine
from apps.kernel.time import Period
from apps.rating.adjustments import Discount, QuantityTerms, kept
from apps.rating.lines import rate_usage
from apps.rating.price_models import parse_properties
from apps.rating.reading import evaluated, recompute
from apps.rating.usage import Usage
from apps.subscriptions.domain.plan_lines import PlanLines

START = datetime(2026, 1, 1, tzinfo=UTC)
JANUARY = Period(START, datetime(2026, 2, 1, tzinfo=UTC))
LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)
rates = st.decimals("0.000001", 1, places=6, allow_nan=False)
quantities = st.decimals(0, 2000, places=2, allow_nan=False)
discounts = st.lists(
    st.builds(Discount, st.sampled_from(["adj_a", "adj_b"]), st.just(""), rates, st.fractions(0, 1)), max_size=4
)
terms = st.none() | st.builds(
    QuantityTerms,
    quantities,
    st.none() | quantities,
    st.none() | quantities,
    st.just(("adj_u",)),
    st.just(("adj_m",)),
)


def adjustment(type: str, value: str = "1", **changed: object) -> AdjustmentTerms:
    known = {
        "public_id": "adj_x", "type": type, "value": Decimal(value),
        "line": "" if "percent" in type else "tokens", "lines": PlanLines.always({7: "tokens", 8: "calls"}),
        "start": START, "end": None, "placed_at": LONG_AGO,
    }  # fmt: skip
    return AdjustmentTerms(**{**known, **changed})  # type: ignore[arg-type]


def charge(cents: int) -> TargetLine:
    return TargetLine(
        kind="fee", reference="price_a:2026", display_name="Fee", payment_term="in_arrears",
        period_start=JANUARY.start, period_end=JANUARY.end, quantity=Decimal(1),
        unit_price=Decimal(cents) / 100, gross=Decimal(cents) / 100, tax_rate=Decimal(19), price_revision_id=1,
    )  # fmt: skip


@given(cents=st.integers(-5000, 1_000_000), off=discounts)
def test_each_discount_takes_its_part_of_what_the_others_left(cents: int, off: list[Discount]) -> None:
    line = charge(cents)
    first, *others = with_discounts([line], {line.reference: off}, currency="USD")
    assert first == line
    left = Fraction(max(cents, 0), 100)
    for discount in off:
        left -= left * Fraction(discount.rate) * discount.share
    net = sum((other.gross for other in others), line.gross)
    # Each is rounded once, so they may be half a cent apart from the exact figure, each.
    assert abs(Fraction(net) - (left if cents > 0 else Fraction(cents, 100))) <= Fraction(len(off), 200)
    assert 0 <= net <= line.gross or cents < 0
    for other in others:
        assert other.gross < 0
        assert recompute(other.provenance) == other.gross
        assert (other.tax_rate, charge_of(other.reference)) == (line.tax_rate, line.reference)


@given(first=quantities, later=quantities, agreed=terms, off=discounts)
def test_late_usage_comes_to_what_the_whole_would_have(
    first: Decimal, later: Decimal, agreed: QuantityTerms | None, off: list[Discount]
) -> None:
    price = parse_properties(
        "volume", {"tiers": [{"upTo": "999", "unitPrice": "2"}, {"upTo": None, "unitPrice": "1"}]}
    )

    def rated(quantity: Decimal, **extra: object) -> object:
        return rate_usage(
            price=price, usage=Usage(quantity), currency="USD", period=JANUARY, sources={},
            calculated_at=JANUARY.end, terms=agreed, **extra,  # type: ignore[arg-type]
        )  # fmt: skip

    def by_hand(quantity: Decimal) -> Fraction:
        if agreed is not None:
            quantity = max(quantity - agreed.waived, Decimal(0)) if agreed.waived else quantity
            quantity = max(quantity, agreed.minimum) if agreed.minimum is not None else quantity
            quantity = min(quantity, agreed.maximum) if agreed.maximum is not None else quantity
        return Fraction(quantity) * (2 if quantity <= 999 else 1)

    line = rated(first)
    assert Fraction(line.exact) == by_hand(first)  # type: ignore[attr-defined]
    assert recompute(line.provenance) == line.subtotal  # type: ignore[attr-defined]
    before = evaluated(line.provenance)  # type: ignore[attr-defined]
    assert before.usage == Usage(first)
    late = rated(first + later, already_billed=before, discounts=off)
    exact = (by_hand(first + later) - by_hand(first)) * kept(off)
    assert abs(Fraction(late.exact) - exact) < Fraction(1, 10**20)  # type: ignore[attr-defined]
    assert recompute(late.provenance) == late.subtotal  # type: ignore[attr-defined]


@given(day=st.integers(-100, 900), length=st.none() | st.integers(1, 900))
def test_a_percentage_counts_the_days_of_the_period_that_it_touches(day: int, length: int | None) -> None:
    start = START + timedelta(days=day)
    end = None if length is None else start + timedelta(days=length)
    found = discounts_of(
        [adjustment("percentageDiscount", start=start, end=end)], JANUARY, is_in_advance=False, tz="UTC"
    )
    days = [START + timedelta(days=n) for n in range(31)]
    inside = [at for at in days if start <= at and (end is None or at < end)]
    assert [discount.share for discount in found] == ([Fraction(len(inside), 31)] if inside else [])


def test_units_and_bounds_are_for_periods_that_end_in_their_window() -> None:
    def reached(**window: datetime | None) -> bool:
        return (
            quantity_terms([adjustment("usageDiscount", **window)], JANUARY, is_in_advance=False, price_id=7)
            is not None
        )

    instant = timedelta(microseconds=1)
    assert reached(start=JANUARY.end - instant)
    assert not reached(start=JANUARY.end)
    assert reached(end=JANUARY.end)
    assert not reached(end=JANUARY.end - instant)
    assert quantity_terms([adjustment("usageDiscount")], JANUARY, is_in_advance=False, price_id=8) is None


def test_units_follow_the_line_and_not_the_price() -> None:
    """January is billed with price 7 and February with 9: what was agreed is of both."""
    since = ((START, {7: "tokens"}), (JANUARY.end, {7: "calls", 9: "tokens"}))
    agreed = [adjustment("minimumQuantity", lines=PlanLines(in_arrears=since, in_advance=since))]
    february = Period(JANUARY.end, datetime(2026, 3, 1, tzinfo=UTC))
    for period, price_id in ((JANUARY, 7), (february, 9)):
        for is_in_advance in (False, True):
            reached = [
                price
                for price in (7, 9)
                if quantity_terms(agreed, period, is_in_advance=is_in_advance, price_id=price) is not None
            ]
            assert reached == [price_id]


def test_what_fell_due_before_is_not_reached() -> None:
    for type in ("percentageDiscount", "usageDiscount"):
        for is_in_advance, due in ((True, JANUARY.start), (False, JANUARY.end)):
            late = adjustment(type, placed_at=due)
            early = adjustment(type, placed_at=due - timedelta(microseconds=1))
            assert not late.reaches(JANUARY, is_in_advance=is_in_advance, price_id=7)
            assert early.reaches(JANUARY, is_in_advance=is_in_advance, price_id=7)
