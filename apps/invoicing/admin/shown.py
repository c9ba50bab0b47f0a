"""An invoice as the customer reads it, each line with its calculation in words."""

from typing import Any

from django.urls import reverse

from apps.invoicing.domain.taxes import TaxShare, tax_in_words, tax_shares
from apps.invoicing.domain.words import steps_in_words
from apps.invoicing.models import Invoice, InvoiceStatus
from apps.invoicing.selectors.invoices import listed_lines, members_of, stored_lines, totals, with_neighbours
from apps.invoicing.selectors.purchases import find_purchase
from apps.kernel.money import format_decimal, format_money, format_unit_price

DOCUMENTS = {"pdf": "Download PDF", "facturx": "Factur-X", "ubl": "UBL", "cii": "CII"}
PREVIEWED = (InvoiceStatus.ACTIVE, InvoiceStatus.CLOSING, InvoiceStatus.DRAFT)


def paper_context(row: Invoice) -> dict[str, Any]:
    """Give what the paper view shows; live while the period is open."""
    invoice = with_neighbours(Invoice.objects.all()).get(pk=row.pk)
    live = listed_lines([invoice]).get(invoice.pk)
    lines: Any = live if live is not None else list(stored_lines(invoice))
    sums, _ = totals(invoice, live)
    currency = invoice.currency
    return {
        "invoice": invoice,
        "is_live": live is not None,
        "lines": [
            {
                "name": line.display_name,
                "subscription": line.invoice.subscription if invoice.has_members else None,
                "is_late": line.is_late,
                "start": line.period_start,
                "end": line.period_end,
                "quantity": f"{line.quantity.normalize():,f}",
                "unit_price": format_unit_price(line.unit_price, currency),
                "amount": format_money(line.subtotal, currency),
                "steps": steps_in_words(line.provenance),
                "taxation": tax_in_words(line, currency),
            }
            for line in lines
        ],
        "subtotal": format_money(sums.subtotal, currency),
        "tax": format_money(sums.total_tax, currency),
        "taxes": [
            (
                _tax_name(share),
                format_money(share.net, currency),
                format_money(share.tax, currency),
                share.reason,
            )
            for share in tax_shares(lines)
        ],
        "total": format_money(sums.grand_total, currency),
        "paid": format_money(invoice.paid_amount, currency),
        "settled": [
            (words, format_money(amount, currency))
            for words, amount in [
                ("Credited", invoice.credited_amount),
                ("From the customer's balance", invoice.balance_applied),
            ]
            if amount
        ],
        "decisions": list(invoice.decisions.order_by("pk")),
        "purchase": find_purchase(invoice),
        "credit_notes": list(invoice.credit_notes.order_by("pk")),
        "open_amount": format_money(
            invoice.unpaid_amount if live is None else sums.grand_total - invoice.settled_amount,
            currency,
        ),
        "members": [
            (member, format_money(member.grand_total, currency))
            for member in members_of([invoice]).get(invoice.pk, [])
        ],
        "customer": invoice.customer,
        "consumer": invoice.customer.consumer,
        "merchant": invoice.organization,
        "documents": _documents(invoice),
    }


def _tax_name(share: TaxShare) -> str:
    """Name a tax by its jurisdiction, its own name and its percent."""
    component = share.component
    if component is None:
        return f"No tax ({share.category})" if share.category else "No tax"
    place = " ".join(part for part in (component.jurisdiction, component.name) if part)
    return f"{place} {format_decimal(component.percent)} %"


def _documents(invoice: Invoice) -> list[tuple[str, str]]:
    """Give the downloads of an invoice, by address: this app does not know who makes them."""
    kinds = DOCUMENTS if invoice.number else {"pdf": "Preview as PDF"}
    if invoice.number is None and invoice.status not in PREVIEWED:
        return []
    return [
        (reverse("admin:documents_invoice_download", args=[invoice.pk, kind]), words) for kind, words in kinds.items()
    ]
