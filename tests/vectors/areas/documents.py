"""Taxes, dates and states of invoices, by the product's pure rules."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from apps.invoicing.domain.crediting import BilledLine, credit_net, creditable_lines
from apps.invoicing.domain.states import require
from apps.invoicing.domain.targets import TargetLine, totals_of, with_tax
from apps.invoicing.domain.taxes import tax_shares
from apps.kernel.errors import ConflictError
from apps.kernel.money import round_to
from apps.taxes.domain.treatment import Component, Treatment
from tests.vectors.areas.common import Skip, cents, number

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
ZERO = Decimal(0)
# Of the source's states and actions, what they are here.
STATES = {"draft": "DRAFT", "open": "ISSUED", "paid": "PAID", "void": "CANCELLED", "uncollectible": "WRITTEN_OFF"}
ACTIONS = {
    "finalize": "ISSUED", "pay_ok": "PAID", "pay_failed": "PAYMENT_FAILED", "void": "CANCELLED",
    "mark_uncollectible": "WRITTEN_OFF",
}  # fmt: skip


def tax(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    lines = []
    rows = zip(inputs["fees_cents"], inputs["taxes_per_fee_percent"], inputs["coupon_per_fee_cents"], strict=True)
    for index, (fee, taxes, off) in enumerate(rows):
        lines.append(_line(f"fee:{index}", number(fee) / 100, taxes))
        # A coupon is off a charge in whole cents, in the charge's taxes.
        cut = round_to(number(off) / 100, 2)
        if cut:
            lines.append(_line(f"discount:cpa_1:fee:{index}", -cut, taxes))
    found = with_tax(lines, currency="USD", is_inclusive=False)
    sums = totals_of(found)
    return {
        "per_tax_cents": _per_tax(found),
        "tax_cents": cents(sums.total_tax),
        "effective_rate_percent": _effective(sums.total_tax, sums.subtotal),
    }


def several_taxes_back(inputs: dict[str, Any]) -> dict[str, Any]:
    """Credit parts of lines that have several taxes."""
    items = inputs["items"]
    if any(number(item["credited_cents"]) > number(item["fee_cents"]) for item in items):
        raise Skip("no more is given back of a line than it is worth")
    taxes = [
        {code: row["rate_percent"] for code, row in inputs["taxes"].items() if index in row["item_indexes"]}
        for index in range(len(items))
    ]
    lines = with_tax(
        [_line(f"fee:{n}", number(item["fee_cents"]) / 100, taxes[n]) for n, item in enumerate(items)],
        currency="USD",
        is_inclusive=False,
    )
    billed = [
        BilledLine(n, line.reference, line.gross, line.subtotal, line.tax_rate, line.tax_amount, line.tax_parts, n)
        for n, line in enumerate(lines)
    ]
    charges = creditable_lines(billed, currency="USD", is_inclusive=False)
    amounts = {n: number(item["credited_cents"]) / 100 for n, item in enumerate(items)}
    credits = credit_net(charges, amounts, currency="USD")
    per_tax: dict[str, Decimal] = dict.fromkeys(inputs["taxes"], ZERO)
    for credit in credits:
        for code, part in zip(taxes[credit.line_id], credit.taxes, strict=True):
            per_tax[code] += part
    total = sum((credit.tax for credit in credits), ZERO)
    return {
        "per_tax_cents": {code: cents(amount) for code, amount in per_tax.items()},
        "tax_cents": cents(total),
        "effective_rate_percent": _effective(total, sum(amounts.values(), ZERO)),
        "coupon_adjustment_cents": 0,
    }


def issuing_date(case: dict[str, Any]) -> dict[str, Any]:
    if case["inputs"]["adjustment"] == "align_with_finalization_date":
        raise Skip("the only way there is here: issued when the grace is over, and dated so; no pure rule says it")
    raise Skip("an invoice is dated by its issue, after the grace; dates set back to the period are not ours")


def invoice_state(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "case" in inputs:
        raise Skip("an invoice is issued when its grace is over; webhooks hold nothing up")
    state, action = inputs["state"], inputs["action"]
    if action == "send":
        raise Skip("sending changes no state here")
    if action == "delete":
        raise Skip("invoices are never deleted; a draft is cancelled")
    if (state, action) == ("draft", "void"):
        raise Skip("a draft may be cancelled here: it has no number that would be missed")
    if (state, action) == ("open", "pay_failed"):
        raise Skip("a failed payment is a state of its own here, PAYMENT_FAILED, from which the same follows")
    try:
        require(STATES[state], ACTIONS[action])
    except ConflictError:
        return {"error": "invalid_transition"}
    return {"state": next(name for name, own in STATES.items() if own == ACTIONS[action])}


def _line(reference: str, amount: Decimal, taxes: dict[str, Any]) -> TargetLine:
    components = tuple(Component(code, "FR", number(rate)) for code, rate in taxes.items())
    return TargetLine(
        kind="fee", reference=reference, display_name="Fee", payment_term="in_arrears", period_start=START,
        period_end=END, quantity=Decimal(1), unit_price=amount, gross=amount, tax_rate=ZERO,
        treatment=Treatment("S", "registration", "FR", components, "Taxed in FR"),
    )  # fmt: skip


def _per_tax(lines: list[TargetLine]) -> dict[str, int]:
    return {share.component.name: cents(share.tax) for share in tax_shares(lines) if share.component is not None}


def _effective(tax_amount: Decimal, net: Decimal) -> Decimal:
    return round_to(tax_amount / net * 100, 5)
