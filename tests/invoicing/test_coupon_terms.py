"""Coupons as pure terms: what they take off a document, against counting cent by cent."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

from hypothesis import given
from hypothesis import strategies as st

from apps.invoicing.domain.coupons import CouponTerms, Used, lasts, taken_off, uses_in, with_coupons
from apps.invoicing.domain.cuts import charge_of, left_of_lines
from apps.invoicing.domain.targets import TargetLine, totals_of, with_tax
from apps.rating.reading import recompute

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
# Prices 1 to 3 by revisions 11 to 13; the first is metered, by metric 7.
PRICES = {11: 1, 12: 2, 13: 3}
PLAN = 50
CENT = Decimal("0.01")


def line(
    cents: int, number: int = 0, *, kind: str = "fee", revision: int | None = 12, rate: str = "20"
) -> TargetLine:
    return TargetLine(
        kind=kind, reference=f"price_{number}:2026-01-01T00:00:00Z", display_name=f"Line {number}",
        payment_term="in_arrears", period_start=START, period_end=END, quantity=Decimal(1),
        unit_price=Decimal(cents) / 100, gross=Decimal(cents) / 100, tax_rate=Decimal(rate),
        price_revision_id=revision, metric_id=7 if revision == 11 else None,
    )  # fmt: skip


def percent(rate: str, source: str = "cpa_p", **changed: object) -> CouponTerms:
    return coupon(source, percentage=Decimal(rate), amount=None, currency="", **changed)


def amount(euros: str, source: str = "cpa_a", **changed: object) -> CouponTerms:
    return coupon(source, percentage=None, amount=Decimal(euros), currency="EUR", **changed)


def coupon(source: str, **changed: object) -> CouponTerms:
    known = {"source": source, "name": source, "code": source.upper(), "duration": "forever", "periods": None}
    return CouponTerms(**{**known, **changed})  # type: ignore[arg-type]


def apply(lines: list[TargetLine], *coupons: CouponTerms) -> list[TargetLine]:
    return with_coupons(lines, [(c, Used()) for c in coupons], currency="EUR", plan_id=PLAN, prices=PRICES)


rates = st.decimals("0.000001", 1, places=6)
targets = st.frozensets(st.sampled_from([1, 2, 3]), max_size=2)
coupons = st.lists(
    st.one_of(
        st.builds(lambda rate, ids: percent(str(rate), price_ids=ids), rates, targets),
        st.builds(
            lambda cents, ids: amount(str(Decimal(cents) / 100), price_ids=ids), st.integers(1, 50_000), targets
        ),
    ),
    max_size=4,
).map(lambda found: [with_source(c, f"cpa_{n}") for n, c in enumerate(found)])
documents = st.lists(
    st.tuples(
        st.integers(-3000, 20_000),
        st.sampled_from(["fee", "metered", "manual", "adjustment", "commitment"]),
        st.sampled_from([None, 11, 12, 13]),
        st.sampled_from(["0", "7", "20"]),
    ),
    max_size=7,
).map(lambda rows: [line(c, n, kind=k, revision=r, rate=t) for n, (c, k, r, t) in enumerate(rows)])


def with_source(terms: CouponTerms, source: str) -> CouponTerms:
    return CouponTerms(**{**{f: getattr(terms, f) for f in CouponTerms.__slots__}, "source": source})


@given(lines=documents, given_coupons=coupons, is_inclusive=st.booleans())
def test_documents_reconcile_with_any_coupons(
    lines: list[TargetLine], given_coupons: list[CouponTerms], is_inclusive: bool
) -> None:
    before = sum((row.gross for row in lines), Decimal(0))
    found = apply(lines, *given_coupons)
    off = found[len(lines) :]
    assert found[: len(lines)] == lines
    assert all(row.gross < 0 and row.gross == row.gross.quantize(CENT) for row in off)
    assert all(recompute(row.provenance) == row.gross for row in off)
    # Nothing falls below zero that was not there before: neither the document nor a line.
    assert before + sum(row.gross for row in off) >= min(before, Decimal(0))
    left, was = left_of_lines(found), left_of_lines(lines)
    assert all(left[key] >= min(was[key], Decimal(0)) for key in left)
    # Manual lines and credits have none; each line's tax rate is that of what it is off.
    rows = {row.reference: row for row in lines}
    for row in off:
        charge = rows[charge_of(row.reference)]
        assert (charge.kind != "manual", charge.gross > 0) == (True, True)
        assert (row.tax_rate, row.price_revision_id) == (charge.tax_rate, charge.price_revision_id)
    taxed = with_tax(found, currency="EUR", is_inclusive=is_inclusive)
    for rate in {row.tax_rate for row in taxed}:
        base = sum((row.gross for row in taxed if row.tax_rate == rate), Decimal(0))
        share = rate / (100 + rate) if is_inclusive else rate / 100
        tax = sum((row.tax_amount for row in taxed if row.tax_rate == rate), Decimal(0))
        assert tax == (base * share).quantize(CENT, rounding=ROUND_HALF_UP)
    assert totals_of(taxed).grand_total == sum((row.total for row in taxed), Decimal(0))


@given(lines=documents, given_coupons=coupons)
def test_each_coupon_takes_what_an_obvious_count_says(
    lines: list[TargetLine], given_coupons: list[CouponTerms]
) -> None:
    def is_off(terms: CouponTerms, row: TargetLine) -> bool:
        return row.kind != "manual" and (
            not terms.price_ids or PRICES.get(row.price_revision_id or 0) in terms.price_ids
        )

    left = {row.reference: row.gross for row in lines}
    total = sum(left.values())
    expected: dict[str, Decimal] = {}
    for terms in [c for c in given_coupons if c.price_ids] + [c for c in given_coupons if not c.price_ids]:
        rows = [row for row in lines if is_off(terms, row)]
        base = sum(left[row.reference] for row in rows if left[row.reference] > 0 or row.kind != "adjustment")
        base = max(base, Decimal(0))
        if terms.percentage is not None:
            off = (base * terms.percentage).quantize(CENT, rounding=ROUND_HALF_UP)
        else:
            assert terms.amount is not None
            off = min(terms.amount, base)
        off = max(min(off, total), Decimal(0))
        if off:
            expected[terms.source] = off
        total -= off
        # The shares themselves are the product's business, to the cent; each is near its exact part.
        shares = {
            charge_of(r.reference): -r.gross for r in apply(lines, *given_coupons) if terms.source in r.reference
        }
        weight = sum(left[row.reference] for row in rows if left[row.reference] > 0)
        for row in rows:
            if left[row.reference] > 0 and off:
                assert abs(shares.get(row.reference, 0) - off * left[row.reference] / weight) < CENT
                left[row.reference] -= shares.get(row.reference, Decimal(0))
    assert uses_in(apply(lines, *given_coupons)) == expected


def test_the_narrowest_comes_first_whatever_the_order_given() -> None:
    lines = [line(10_000, 1, kind="metered", revision=11), line(5_000, 2)]
    general = percent("0.5", "cpa_general")
    of_plan = percent("0.5", "cpa_plan", plan_ids=frozenset({PLAN}))
    of_metric = amount("60", "cpa_metric", metric_ids=frozenset({7}))
    once, again = apply(lines, general, of_plan, of_metric), apply(lines, of_metric, general, of_plan)
    # 60 off the usage leaves 40 + 50; half of 90, then half of 45, which is rounded up.
    assert uses_in(once) == {
        "cpa_metric": Decimal(60), "cpa_plan": Decimal(45), "cpa_general": Decimal("22.50"),
    }  # fmt: skip
    assert once == again


def test_a_coupon_of_another_plan_price_or_currency_is_not_off() -> None:
    lines = [line(10_000, 1)]
    assert apply(lines, percent("0.5", plan_ids=frozenset({99}))) == lines
    assert apply(lines, percent("0.5", price_ids=frozenset({3}))) == lines
    assert apply(lines, CouponTerms("c", "c", "C", None, Decimal(5), "USD", "forever")) == lines


def test_how_long_coupons_last() -> None:
    assert [lasts(percent("0.5", duration="once"), Used(Decimal(3), n)) for n in (0, 1)] == [True, False]
    repeating = percent("0.5", duration="repeating", periods=3)
    assert [lasts(repeating, Used(Decimal(3), n)) for n in (0, 2, 3)] == [True, True, False]
    # An amount that is off once goes on until all of it is taken; one that repeats begins anew.
    once = amount("12", duration="once")
    assert [lasts(once, Used(Decimal(taken), 1)) for taken in (6, 12)] == [True, False]
    assert taken_off(once, Used(Decimal(6), 1), Decimal(300), currency="EUR") == 6
    repeated = amount("12", duration="repeating", periods=3)
    assert taken_off(repeated, Used(Decimal(6), 1), Decimal(300), currency="EUR") == 12
    assert taken_off(repeated, Used(Decimal(36), 3), Decimal(300), currency="EUR") == 0


def test_rebates_and_corrections_shrink_what_a_percentage_is_of_and_credits_do_not() -> None:
    usage, rebate = line(10_000, 1, kind="metered", revision=11), line(-3_000, 2, kind="metered", revision=13)
    credit = line(-2_000, 3, kind="adjustment", revision=12)
    assert uses_in(apply([usage, rebate, credit], percent("0.2"))) == {"cpa_p": Decimal(14)}
    # All of it: never more than what is left to pay.
    assert uses_in(apply([usage, rebate, credit], percent("1"))) == {"cpa_p": Decimal(50)}
