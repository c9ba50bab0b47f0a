"""Coupons, commitments and minimum spends, by the product's pure rules."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from apps.invoicing.domain.coupons import CouponTerms, Used, lasts, taken_off, uses_in, with_coupons
from apps.invoicing.domain.crediting import use_oldest_first
from apps.invoicing.domain.cuts import charge_of
from apps.invoicing.domain.settling import Label, Settling, with_true_ups
from apps.invoicing.domain.spend import CHARGE, COMMITMENT, Entry, Span, SpendRule, Timeline
from apps.invoicing.domain.targets import TargetLine, totals_of, with_tax
from apps.kernel.time import Cadence, Period, parse_instant, prorate, ratio
from tests.vectors.areas.boundaries import Calendar
from tests.vectors.areas.common import Skip, cents, number

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
DAY, ZERO = timedelta(days=1), Decimal(0)
DURATIONS = {"once": "once", "recurring": "repeating", "forever": "forever"}


def coupon(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "periods_left_before" in inputs:
        return _periods(inputs)
    if "base_amount_cents" in inputs:
        terms, used = _coupon(inputs["coupon"], 0)
        base = number(inputs["base_amount_cents"]) / 100
        return {"coupon_amount_cents": cents(taken_off(terms, used, base, currency="USD"))}
    if "round_decimals" in inputs:
        raise Skip("shares of a coupon are whole cents here, not cents of five decimals")
    return _document(inputs)


def _periods(inputs: dict[str, Any]) -> dict[str, Any]:
    left = int(inputs["periods_left_before"])
    terms, used = _coupon(
        {"type": "percentage", "rate_percent": "10", "frequency": "recurring", "periods_left": left}, 0
    )
    used.invoices += bool(taken_off(terms, used, Decimal(100), currency="USD"))
    return {"periods_left_after": left - used.invoices, "terminated": not lasts(terms, used)}


def _document(inputs: dict[str, Any]) -> dict[str, Any]:
    fees = [number(fee) for fee in inputs["fees_cents"]]
    credited = [number(part) for part in inputs.get("already_credited_per_fee_cents", [0] * len(fees))]
    rate = number(inputs.get("tax_rate_percent", 0))
    lines = [_line(index, fee - part, rate) for index, (fee, part) in enumerate(zip(fees, credited, strict=True))]
    coupons = [_coupon(row, index) for index, row in enumerate(inputs.get("coupons_in_order") or [inputs["coupon"]])]
    found = with_coupons(lines, coupons, currency="USD", plan_id=1, prices={})
    taken = uses_in(found)
    per_line = dict.fromkeys((line.reference for line in lines), Decimal(0))
    for line in found[len(lines) :]:
        per_line[charge_of(line.reference)] -= line.gross * 100
    total = sum(taken.values(), Decimal(0))
    sums = totals_of(with_tax(found, currency="USD", is_inclusive=False))
    return {
        "total_cents": cents(sums.grand_total) if "tax_rate_percent" in inputs else cents(total),
        "coupons_total_cents": cents(total),
        "net_cents": cents(sums.subtotal),
        "coupons_used": len(taken),
        "per_fee_cents": list(per_line.values()),
        "per_fee_credit_total_cents": [part + own for part, own in zip(credited, per_line.values(), strict=True)],
        "tax_cents": cents(sums.total_tax),
    }


def _line(index: int, amount_cents: Decimal, rate: Decimal) -> TargetLine:
    return TargetLine(
        kind="fee", reference=f"price_{index}:x", display_name="Fee", payment_term="in_arrears", period_start=START,
        period_end=END, quantity=Decimal(1), unit_price=amount_cents / 100, gross=amount_cents / 100, tax_rate=rate,
    )  # fmt: skip


def _coupon(row: dict[str, Any], index: int) -> tuple[CouponTerms, Used]:
    """Translate a coupon; what is left of it says what it took before."""
    is_amount = row["type"] == "fixed_amount"
    amount = number(row["amount_cents"]) / 100 if is_amount else None
    terms = CouponTerms(
        source=f"cpa_{index}",
        name="Coupon",
        code="COUPON",
        percentage=None if is_amount else number(row["rate_percent"]) / 100,
        amount=amount,
        currency="USD" if is_amount else "",
        duration=DURATIONS[row.get("frequency", "forever")],
        periods=row.get("periods_left"),
    )
    used = Used()
    if "remaining_cents" in row:
        assert amount is not None
        used = Used(amount - number(row["remaining_cents"]) / 100, 1)
    return terms, used


def commitment(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    calendar = Calendar({**inputs, "subscription_at": inputs["started_on"]}, inputs["interval"], "UTC")
    whole = calendar.at(parse_instant(inputs["date_inside_period"]))
    start = max(whole.start, parse_instant(inputs["started_on"]))
    # The source's last day counts whole.
    end = parse_instant(inputs["terminated_on"]) + DAY if inputs["terminated_on"] else whole.end
    paid = Period(start, whole.end if inputs["pay_in_advance"] else end)
    fee = prorate(number(inputs["plan_amount_cents"]) / 100, part=paid, whole=whole, basis="day")
    lines = [_line(0, number(cents(fee)), ZERO), _line(1, number(inputs["usage_fees_cents"]), ZERO)]
    share = ratio(Period(start, end), whole, basis="day")
    true_up = _trued_up(lines, number(inputs["commitment_cents"]), Period(start, end), whole, share)
    if "coupon_cents" in inputs:
        row = {"type": "fixed_amount", "amount_cents": inputs["coupon_cents"]}
        after = with_coupons([*lines, *true_up], [_coupon(row, 0)], currency="USD", plan_id=1, prices={})
        true_up = [line for line in after if line.kind == COMMITMENT]
    return {"true_up_cents": cents(sum((line.gross for line in true_up), ZERO))}


def spending_minimum(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "true_up_cents" in inputs:
        rate = number(inputs["tax_rate_percent"])
        lines = [_line(n, number(inputs[name]), rate) for n, name in enumerate(("usage_cents", "true_up_cents"))]
        sums = totals_of(with_tax(lines, currency="USD", is_inclusive=False))
        held = number(inputs.get("credit_note_balance_cents", 0)) / 100
        [used] = use_oldest_first([held], sums.grand_total)
        return {
            "fees_cents": cents(sums.subtotal),
            "tax_cents": cents(sums.total_tax),
            "total_cents": cents(sums.grand_total - used),
        }
    lines = [_line(0, number(inputs["used_cents"]), ZERO)]
    share = Fraction(int(inputs["billed_days"]), int(inputs["period_days"]))
    true_up = _trued_up(lines, number(inputs["minimum_cents"]), Period(START, END), Period(START, END), share)
    return {"true_up_cents": cents(sum((line.gross for line in true_up), ZERO))}


def _trued_up(
    lines: list[TargetLine], amount_cents: Decimal, service: Period, whole: Period, share: Fraction
) -> list[TargetLine]:
    """Give the true-up of one period that bills some lines."""
    rule = SpendRule(COMMITMENT, None, amount_cents / 100, Cadence.parse("P1M"))
    settling = Settling(
        line=Timeline([Span(rule, service, whole)], service.start, service.end),
        share=lambda span: share,
        earlier=(),
        entry_of=lambda line: Entry(CHARGE, None, None, service.start, line.gross),
        is_due=lambda span: True,
        label=lambda key: Label("plan", "Minimum commitment", ZERO),
        currency="USD",
    )
    return with_true_ups(lines, settling, price_id=None)[len(lines) :]
