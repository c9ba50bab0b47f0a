"""What was bought beside plans, with what shows it at hand."""

from collections.abc import Sequence

from django.db.models import QuerySet

from apps.entitlements.models import Grant
from apps.invoicing.models import GrantPurchase, Invoice, PaymentSession


def purchases_of(*, organization_id: int) -> QuerySet[GrantPurchase]:
    """Give a merchant's purchases, newest first."""
    return with_sides(GrantPurchase.objects.filter(organization_id=organization_id)).order_by("-pk")


def with_sides(rows: QuerySet[GrantPurchase]) -> QuerySet[GrantPurchase]:
    """Read with a purchase what it is of, and what it came to."""
    return rows.select_related("entitlement__feature", "invoice", "grant")


def purchases_on(invoices: Sequence[Invoice]) -> dict[int, GrantPurchase]:
    """Give by key what invoices sold; those that are no purchases cost nothing."""
    ids = [invoice.pk for invoice in invoices if invoice.is_purchase]
    if not ids:
        return {}
    return {row.invoice_id: row for row in with_sides(GrantPurchase.objects.filter(invoice__in=ids))}


def find_purchase(invoice: Invoice) -> GrantPurchase | None:
    """Find what an invoice sold."""
    return purchases_on([invoice]).get(invoice.pk)


def find_purchase_of(grant: Grant) -> GrantPurchase | None:
    """Find what a grant was bought by; also of one that took along what another right had left of it."""
    if not grant.invoice_reference:
        return None
    rows = with_sides(GrantPurchase.objects.filter(organization_id=grant.organization_id))
    return rows.filter(invoice__public_id=grant.invoice_reference).first()


def payment_pages(purchase: GrantPurchase) -> list[PaymentSession]:
    """Give the page where a purchase is, or was, to be paid: none where the balance paid it."""
    return list(PaymentSession.objects.filter(invoice_id=purchase.invoice_id).order_by("-pk")[:1])
