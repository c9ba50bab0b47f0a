"""What was bought beside plans, with what shows it at hand."""

from collections.abc import Sequence

from django.db.models import QuerySet

from apps.entitlements.models import Grant, SlotBurst
from apps.invoicing.models import Invoice, PaymentSession, Purchase


def purchases_of(*, organization_id: int) -> QuerySet[Purchase]:
    """Give a merchant's purchases, newest first."""
    return with_sides(Purchase.objects.filter(organization_id=organization_id)).order_by("-pk")


def with_sides(rows: QuerySet[Purchase]) -> QuerySet[Purchase]:
    """Read with a purchase what it is of, and what it came to."""
    return rows.select_related("entitlement__feature", "invoice", "grant", "burst")


def purchases_on(invoices: Sequence[Invoice]) -> dict[int, Purchase]:
    """Give by key what invoices sold; those that are no purchases cost nothing."""
    ids = [invoice.pk for invoice in invoices if invoice.is_purchase]
    if not ids:
        return {}
    return {row.invoice_id: row for row in with_sides(Purchase.objects.filter(invoice__in=ids))}


def find_purchase(invoice: Invoice) -> Purchase | None:
    """Find what an invoice sold."""
    return purchases_on([invoice]).get(invoice.pk)


def find_purchase_of(bought: Grant | SlotBurst) -> Purchase | None:
    """Find what a grant or burst was bought by; also a grant that took along what another right had left of it."""
    if not bought.invoice_reference:
        return None
    rows = with_sides(Purchase.objects.filter(organization_id=bought.organization_id))
    return rows.filter(invoice__public_id=bought.invoice_reference).first()


def payment_pages(purchase: Purchase) -> list[PaymentSession]:
    """Give the page where a purchase is, or was, to be paid: none where the balance paid it."""
    return list(PaymentSession.objects.filter(invoice_id=purchase.invoice_id).order_by("-pk")[:1])
