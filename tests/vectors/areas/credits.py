"""Credit notes, the customer's balance, and what a charge that shrinks gives back, by the product's pure rules."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from apps.invoicing.domain.crediting import (
    BilledLine,
    Creditable,
    credit_net,
    credit_whole,
    creditable_lines,
    destinations_of,
    use_oldest_first,
)
from apps.kernel.money import round_money
from apps.rating.adjustments import part_of
from apps.rating.differences import BilledSoFar, less_billed
from apps.rating.lines import RatedLine
from apps.rating.tax import tax_lines
from tests.vectors.areas.common import Skip, cents, number
from tests.vectors.areas.documents import several_taxes_back

ZERO = Decimal(0)


def credit_note(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "items" in inputs:
        return several_taxes_back(inputs)
    if "round_decimals" in inputs:
        raise Skip("shares of a coupon are whole cents here, not cents of five decimals")
    if "credited_item_cents" in inputs:
        raise Skip("a line's tax is its share of the invoice's; notes do not round their own and mend the last")
    if "credit_note_balances_cents_oldest_first" in inputs:
        due = number(inputs["invoice_total_cents"])
        used = use_oldest_first([number(one) for one in inputs["credit_note_balances_cents_oldest_first"]], due)
        return {"applied_cents": used, "total_left_cents": due - sum(used, ZERO)}
    if "fees_cents" in inputs:
        return _one_by_one(inputs)
    return _unused(inputs)


def _one_by_one(inputs: dict[str, Any]) -> dict[str, Any]:
    charges = _charges([number(fee) / 100 for fee in inputs["fees_cents"]], ZERO, number(inputs["tax_rate_percent"]))
    notes = [
        credit_net(charges, {charge.line_id: charge.net}, currency="USD")[0] for charge in charges if charge.net > 0
    ]
    return {
        "invoice_tax_cents": cents(sum((charge.tax for charge in charges), ZERO)),
        "invoice_total_cents": cents(sum((charge.left for charge in charges), ZERO)),
        "credit_notes": [{"tax": cents(note.tax), "total": cents(note.total)} for note in notes],
    }


def _unused(inputs: dict[str, Any]) -> dict[str, Any]:
    if inputs.get("mode") in {"refund", "offset"}:
        raise Skip("what is due is reduced first; the source pays back the paid share of the fee before")
    fee, coupon = (number(inputs[name]) / 100 for name in ("plan_amount_cents", "coupon_on_that_fee_cents"))
    share = Fraction(int(inputs["unused_days"]), int(inputs["period_days"]))
    item = round_money(part_of(fee, share), "USD")
    [charge] = _charges([fee], coupon, number(inputs["tax_rate_percent"]))
    if not credit_whole([charge], currency="USD"):
        return {"credit_note_created": False}
    amount = round_money(part_of(charge.net, Fraction(item) / Fraction(fee)), "USD")
    [credit] = credit_net([charge], {charge.line_id: amount}, currency="USD")
    due = charge.left - number(inputs["invoice_paid_cents"]) / 100
    goes = destinations_of(credit.total, due=due, refundable=ZERO)
    return {
        "item_amount_cents": cents(item),
        "tax_cents": cents(credit.tax),
        "total_cents": cents(credit.total),
        "refund_cents": cents(goes.refund),
        "credit_cents": cents(goes.due + goes.balance),
    }


def _charges(fees: list[Decimal], coupon: Decimal, rate: Decimal) -> list[Creditable]:
    grosses = [*fees, -coupon] if coupon else fees
    taxed = tax_lines(grosses, [rate] * len(grosses), currency="USD", is_inclusive=False)
    lines = [
        BilledLine(index, f"fee:{index}" if gross > 0 else "discount:cpa_1:fee:0", gross, tax.net, rate, tax.tax)
        for index, (gross, tax) in enumerate(zip(grosses, taxed, strict=True))
    ]
    return creditable_lines(lines, currency="USD", is_inclusive=False)


def invoice_balance(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "account_credit" in inputs:
        credit, balances = number(inputs["account_credit"]), []
        for due in inputs["invoice_balances_oldest_first"]:
            [used] = use_oldest_first([credit], number(due))
            credit -= used
            balances.append(number(due) - used)
        return {"balances": balances, "credit_left": credit}
    items, payments = ([number(one) for one in inputs[name]] for name in ("items", "payments"))
    charged, credited = sum((i for i in items if i > 0), ZERO), -sum((i for i in items if i < 0), ZERO)
    paid, refunded = sum((p for p in payments if p > 0), ZERO), -sum((p for p in payments if p < 0), ZERO)
    goes = destinations_of(credited, due=charged - paid, refundable=refunded)
    return {
        "charged": charged - credited,
        "balance": charged - paid - goes.due,
        "credit_generated": goes.balance,
    }


def invoice_repair(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "item_days" in inputs:
        share = Fraction(int(inputs["kept_days"]), int(inputs["item_days"]))
        return {"amount": round_money(part_of(number(inputs["item_amount"]), share), "USD")}
    existing, proposed = inputs["existing"], inputs["proposed"]
    if len(existing) > 1 or len(proposed) > 1:
        raise Skip("a charge has one period here, so intervals are never merged or found twice")
    if not existing:
        amount = _difference(proposed[0], number(proposed[0]["amount"]), BilledSoFar())
        return {"new_items": [{"kind": "recurring", **_bare(proposed[0], amount)}]}
    item = existing[0]
    kept = [part for part in proposed if part["from"] == item["from"] and part["to"] <= item["to"]]
    if len(kept) != len(proposed):
        raise Skip("a charge has one period here, so intervals are never merged or found twice")
    billed = BilledSoFar(
        charged=number(item["amount"]),
        credited=-number(item.get("repaired_amount", 0)),
        noted=-number(item.get("adjusted", 0)),
    )
    left_from = kept[0]["to"] if kept else item["from"]
    left_to = item["already_repaired"][0][0] if "already_repaired" in item else item["to"]
    amount = _difference(item, number(item["amount"]) - _unserved(item, left_from), billed)
    if item["to"] == left_from:
        return {"new_items": [] if not amount else [{"kind": "recurring", **_bare(item, amount)}]}
    if not amount:
        raise Skip("nothing to give back makes no line here")
    return {"new_items": [{"kind": "repair", "from": left_from, "to": left_to, "amount": str(amount)}]}


def _unserved(item: dict[str, Any], until: str) -> Decimal:
    share = Fraction((_day(item["to"]) - _day(until)).days, (_day(item["to"]) - _day(item["from"])).days)
    return part_of(number(item["amount"]), share)


def _difference(item: dict[str, Any], kept: Decimal, billed: BilledSoFar) -> Decimal:
    amount = round_money(kept, "USD")
    provenance = {"steps": [], "result": {"amount": str(amount)}}
    rated = RatedLine(
        quantity=Decimal(1), unit_price=amount, components=(), exact=kept, subtotal=amount, provenance=provenance
    )
    return less_billed(rated, billed, currency="USD")[0]


def _bare(item: dict[str, Any], amount: Decimal) -> dict[str, Any]:
    return {"from": item["from"], "to": item["to"], "amount": str(amount)}


def _day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
