"""How the taxes of lines and documents look on the wire."""

from decimal import Decimal
from typing import Any

from apps.invoicing.domain.taxes import TaxedLine, TaxShare
from apps.kernel.money import format_amount, format_decimal
from apps.taxes.domain.treatment import Component


def render_line_tax(line: TaxedLine, currency: str) -> dict[str, Any] | None:
    """Give what a registration decided about a line's tax; None where plan and customer did."""
    decision = line.decision
    if decision is None:
        return None
    return {
        "category": decision.category or None,
        "basis": decision.basis,
        "jurisdiction": decision.jurisdiction or None,
        "reason": decision.reason or None,
        "reasonCode": decision.reason_code or None,
        "customerTaxId": decision.buyer_tax_id or None,
        "merchantTaxId": decision.seller_tax_id or None,
        "taxes": [
            render_tax(component, tax, currency)
            for component, tax in zip(decision.components, line.taxes, strict=True)
        ],
    }


def render_tax(component: Component, amount: Decimal, currency: str) -> dict[str, Any]:
    """Give an amount of one tax."""
    return {
        "name": component.name,
        "jurisdiction": component.jurisdiction,
        "percent": format_decimal(component.percent),
        "amount": format_amount(amount, currency),
    }


def render_share(share: TaxShare, currency: str) -> dict[str, Any]:
    """Give one tax of a document in the wire's form."""
    component = share.component
    return {
        "category": share.category or None,
        "jurisdiction": (component.jurisdiction or None) if component is not None else None,
        "name": component.name if component is not None else None,
        "percent": format_decimal(component.percent) if component is not None else "0",
        "net": format_amount(share.net, currency),
        "amount": format_amount(share.tax, currency),
        "reason": share.reason or None,
        "reasonCode": share.reason_code or None,
    }
