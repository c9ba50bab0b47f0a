"""Coupons, commitments and minimum spends, by the product's pure rules."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from apps.invoicing.domain.coupons import CouponTerms, Used, lasts, taken_off, uses_in, with_coupons
from apps.invoicing.domain.cuts import charge_of
from apps.invoicing.domain.targets import TargetLine, totals_of, with_tax
from tests.vectors.areas.common import Skip, cents, number

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
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
