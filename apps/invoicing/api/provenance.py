"""How a line was calculated, as the wire has it: enough to work its invoice out again from that alone."""

from typing import Any

from apps.invoicing.api.tax_shapes import render_tax
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import Invoice, InvoiceLine
from apps.taxes.domain.treatment import Component


def render_provenance(invoice: Invoice, line: TargetLine | InvoiceLine) -> dict[str, Any]:
    """Give the calculation of a line, with what ties it to the others of its bill and how they are taxed together.

    Args:
        invoice: which the line is of; on a document of several, one of its members.
        line: live or stored.
    """
    if not line.provenance:
        return {"status": "unavailable"}
    return {
        **line.provenance,
        "subscriptionId": invoice.subscription.public_id,
        # By which lines that take something off this one name it.
        "reference": line.reference,
        "tax": _tax(invoice, line),
    }


def _tax(invoice: Invoice, line: TargetLine | InvoiceLine) -> dict[str, Any]:
    """Give the taxes of a line: each is rounded once, on the sum of the bill's lines that have it, and shared out."""
    decision = line.decision
    rows = [Component("Tax", "", line.tax_rate)] if line.tax_rate else []
    if decision is not None:
        rows = list(decision.components)
    return {
        "behavior": invoice.subscription.plan.tax_behavior,
        "taxes": [
            render_tax(component, tax, invoice.currency) for component, tax in zip(rows, line.taxes, strict=True)
        ],
    }
