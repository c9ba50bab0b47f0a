"""An invoice as the customer reads it, each line with its calculation in words."""

from typing import Any

from apps.invoicing.models import Invoice
from apps.invoicing.selectors.invoices import live_lines, stored_lines, totals, with_neighbours
from apps.kernel.money import format_money, format_unit_price

WORDS = {
    "evaluate": "price the quantity",
    "prorate": "take the part of the period",
    "subtract": "take off what was billed before",
    "replace": "start from the billed amount",
    "setToBound": "cut so that the invoice is not below zero",
    "round": "round half-up to the minor unit",
}


def paper_context(row: Invoice) -> dict[str, Any]:
    """Give what the paper view shows; live while the period is open."""
    invoice = with_neighbours(Invoice.objects.all()).get(pk=row.pk)
    live = live_lines([invoice]).get(invoice.pk)
    lines: Any = live if live is not None else list(stored_lines(invoice))
    sums, _ = totals(invoice, live)
    currency = invoice.currency
    return {
        "invoice": invoice,
        "is_live": live is not None,
        "lines": [
            {
                "name": line.display_name,
                "is_late": line.is_late,
                "start": line.period_start,
                "end": line.period_end,
                "quantity": f"{line.quantity.normalize():,f}",
                "unit_price": format_unit_price(line.unit_price, currency),
                "amount": format_money(line.subtotal, currency),
                "steps": steps_in_words(line.provenance),
            }
            for line in lines
        ],
        "subtotal": format_money(sums.subtotal, currency),
        "tax": format_money(sums.total_tax, currency),
        "total": format_money(sums.grand_total, currency),
        "paid": format_money(invoice.paid_amount, currency),
        "open_amount": format_money(sums.grand_total - invoice.paid_amount, currency),
        "customer": invoice.customer,
        "consumer": invoice.customer.consumer,
        "merchant": invoice.organization,
    }


def steps_in_words(provenance: dict[str, Any]) -> list[str]:
    """Give the calculation of a line, a sentence a step."""
    return [_step(step) for step in provenance.get("steps", [])]


def _step(step: dict[str, Any]) -> str:
    params = step["params"]
    given = step["in"]
    detail = ""
    if step["op"] == "evaluate":
        detail = f"{params['quantity']} at {_price(given)}"
    elif step["op"] == "prorate":
        detail = f"× {params['numerator']} / {params['denominator']}"
    elif "amount" in params:
        detail = f"{params['amount']}"
    return f"{WORDS.get(step['op'], step['op'])}: {detail} → {step['out']}".replace(":  →", " →")


def _price(described: dict[str, Any]) -> str:
    if "bands" in described:
        bands = ", ".join(
            f"{'up to ' + band['upTo'] if band['upTo'] else 'beyond'}: {band['rate']}" for band in described["bands"]
        )
        return f"{described['model']} ({bands})"
    return str(described["rate"])
