"""What a change of plan or an end gives back and bills, by the product's calendar, shares and differences."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from apps.kernel.time import Period, parse_instant, ratio
from apps.rating.differences import BilledSoFar, less_billed
from apps.rating.lines import RatedLine, rate_fee
from apps.rating.price_models.standard import StandardPrice
from apps.rating.tax import tax_lines
from tests.vectors.areas.boundaries import Calendar, midnight
from tests.vectors.areas.common import Skip, cents, number
from tests.vectors.areas.schedules import subscription_proration

DAY = timedelta(days=1)


def subscription_change(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "date_inside_billed_period" in inputs:
        return subscription_proration(case)
    if "upgrade_on" in inputs:
        return _upgrade(inputs)
    if "final_invoice_usage_cents" in inputs:
        return _offset(inputs)
    if inputs["pay_in_advance"]:
        return _terminated(inputs)
    raise Skip("an end within a day counts the whole day; ours ends where it says")


def _upgrade(inputs: dict[str, Any]) -> dict[str, Any]:
    changed = parse_instant(inputs["upgrade_on"])
    whole = Calendar({**inputs, "subscription_at": inputs["subscription_anchor_date"]}, inputs["interval"], "UTC").at(
        changed
    )
    start = max(whole.start, parse_instant(inputs["old_plan_started_on"]))
    opening = _fee(inputs["new_plan_amount_cents"], Period(changed, whole.end), whole, "UTC")
    served = Period(start, changed) if start < changed else None
    credit = _credit(
        inputs["old_plan_amount_cents"], served, whole, "UTC", number(inputs["last_fee_of_old_plan_cents"]) / 100
    )
    return {
        "new_plan_fee_cents": cents(opening.subtotal),
        "credit_note_total_cents": cents(sum(_taxed(credit, inputs))),
    }


def _terminated(inputs: dict[str, Any]) -> dict[str, Any]:
    tz = inputs["timezone"]
    started, ended = parse_instant(inputs["started_at"]), parse_instant(inputs["terminated_at"])
    whole = Calendar({**inputs, "subscription_at": inputs["started_at"]}, inputs["interval"], tz).at(started)
    start = midnight(started, tz).astimezone(UTC)
    billed = _fee(inputs["plan_amount_cents"], Period(start, whole.end), whole, tz).subtotal
    # The source's last day counts whole, so that ours ends with it.
    last = (midnight(ended, tz) + DAY).astimezone(UTC)
    credit = _credit(inputs["plan_amount_cents"], Period(start, last), whole, tz, billed)
    net, tax = _taxed(credit, inputs)
    return {
        "first_invoice_total_cents": cents(sum(_taxed(billed, inputs))),
        "credit_note_net_cents": cents(net),
        "credit_note_tax_cents": cents(tax),
        "credit_note_total_cents": cents(net + tax),
    }


def _offset(inputs: dict[str, Any]) -> dict[str, Any]:
    given = {
        "interval": "monthly", "billing_time": "calendar", "timezone": "UTC", "started_at": inputs["started_on"],
        "terminated_at": inputs["terminated_on"],
    }  # fmt: skip
    credit = _terminated({**inputs, **given})["credit_note_total_cents"]
    net, tax = _taxed(number(inputs["final_invoice_usage_cents"]) / 100, inputs)
    return {
        "credit_note_total_cents": credit,
        "final_invoice_tax_cents": cents(tax),
        "final_invoice_total_cents": cents(net + tax) - credit,
    }


def _fee(amount_cents: int, part: Period | None, whole: Period, tz: str) -> RatedLine:
    """Give the fee of a part of a period, by the day; of no part it is nothing."""
    share = (
        ratio(part, whole, basis="day", tz=tz) if part is not None else ratio(whole, whole, basis="day", tz=tz) * 0
    )
    return rate_fee(
        price=StandardPrice(number(amount_cents) / 100), quantity=Decimal(1), currency="USD", period=part or whole,
        sources={}, calculated_at=datetime(2026, 1, 1, tzinfo=UTC), share=share, whole=whole, basis="day",
    )  # fmt: skip


def _credit(amount_cents: int, served: Period | None, whole: Period, tz: str, billed: Decimal) -> Decimal:
    """Give back what was billed beyond what is served, as a positive amount."""
    amount, _ = less_billed(_fee(amount_cents, served, whole, tz), BilledSoFar(charged=billed), currency="USD")
    return -amount


def _taxed(net: Decimal, inputs: dict[str, Any]) -> tuple[Decimal, Decimal]:
    taxed = tax_lines([net], [number(inputs["tax_rate_percent"])], currency="USD", is_inclusive=False)[0]
    return taxed.net, taxed.tax
