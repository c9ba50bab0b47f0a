from collections.abc import Sequence

from django.db.models import QuerySet

from apps.invoicing.domain.targets import TargetLine, Totals, totals_of
from apps.invoicing.models import Invoice, InvoiceLine, PaymentSession
from apps.invoicing.selectors.targets import OPEN, target_lines


def with_neighbours(rows: QuerySet[Invoice]) -> QuerySet[Invoice]:
    """Read with an invoice what its calculation and its wire form need."""
    return rows.select_related(
        "organization",
        "customer__organization",
        "customer__consumer",
        "subscription__plan",
        "subscription__test_clock",
    )


def invoices_of(*, organization_id: int) -> QuerySet[Invoice]:
    """Give a merchant's invoices, newest first."""
    return with_neighbours(Invoice.objects.filter(organization_id=organization_id)).order_by("-id")


def live_lines(invoices: Sequence[Invoice]) -> dict[int, list[TargetLine]]:
    """Give the lines that open invoices have at this moment, computed from usage; stored ones are left out."""
    return target_lines([invoice for invoice in invoices if invoice.status in OPEN], as_of=None)


def totals(invoice: Invoice, lines: Sequence[TargetLine] | None) -> tuple[Totals, int]:
    """Give an invoice's totals and line count: live while it is open, stored afterwards."""
    if lines is None:
        return Totals(invoice.subtotal, invoice.total_tax), invoice.line_count
    return totals_of(lines), len(lines)


def stored_lines(invoice: Invoice) -> QuerySet[InvoiceLine]:
    """Give the stored lines of an invoice in document order."""
    return (
        InvoiceLine.objects.filter(invoice=invoice)
        .select_related("price_revision__price", "price_revision__metric", "price_revision__fee")
        .order_by("pk")
    )


def find_pending_session(invoice: Invoice) -> PaymentSession | None:
    """Find the payment page that is open for an invoice."""
    return PaymentSession.objects.filter(invoice=invoice, status="pending").first()
