from collections.abc import Sequence

from django.db.models import Q, QuerySet

from apps.catalog.models import Plan
from apps.customers.models import Customer
from apps.invoicing.domain.targets import TargetLine, Totals, totals_of
from apps.invoicing.models import Invoice, InvoiceLine, PaymentSession
from apps.invoicing.selectors.targets import OPEN, target_lines
from apps.kernel.rows import join
from apps.organizations.models import Organization
from apps.subscriptions.models import Subscription, TestClock
from apps.taxes.models import TaxTreatment


def with_neighbours(rows: QuerySet[Invoice]) -> QuerySet[Invoice]:
    """Read with an invoice what its calculation and its wire form need."""
    return rows.select_related(
        "organization",
        "customer__organization",
        "customer__consumer",
        "subscription__plan",
        "subscription__test_clock",
        "consolidated_into",
    )


def join_neighbours(invoices: Sequence[Invoice]) -> None:
    """Put at hand what `with_neighbours` reads along, each row once for all invoices that have it."""
    join(invoices, "organization", Organization.objects.all())
    join(invoices, "customer", Customer.objects.all())
    join(invoices, "subscription", Subscription.objects.all())
    join(invoices, "consolidated_into", Invoice.objects.all())
    customers = [invoice.customer for invoice in invoices]
    join(customers, "organization", Organization.objects.all())
    join(customers, "consumer", Organization.objects.all())
    subscriptions = [invoice.subscription for invoice in invoices]
    join(subscriptions, "plan", Plan.objects.all())
    join(subscriptions, "test_clock", TestClock.objects.all())


def invoices_of(*, organization_id: int) -> QuerySet[Invoice]:
    """Give a merchant's invoices, newest first."""
    return with_neighbours(Invoice.objects.filter(organization_id=organization_id)).order_by("-id")


def billing(rows: QuerySet[Invoice], subscription: Subscription) -> QuerySet[Invoice]:
    """Narrow invoices to those that bill a subscription: its own, and the documents that they stand on."""
    documents = Invoice.objects.filter(subscription=subscription, consolidated_into__isnull=False)
    return rows.filter(
        Q(subscription=subscription, has_members=False) | Q(pk__in=documents.values("consolidated_into"))
    )


def live_lines(invoices: Sequence[Invoice]) -> dict[int, list[TargetLine]]:
    """Give the lines that open invoices have at this moment, computed from usage; stored ones are left out."""
    return target_lines([invoice for invoice in invoices if invoice.status in OPEN], as_of=None)


def totals(invoice: Invoice, lines: Sequence[TargetLine] | None) -> tuple[Totals, int]:
    """Give an invoice's totals and line count: live while it is open, stored afterwards."""
    if lines is None:
        return Totals(invoice.subtotal, invoice.total_tax), invoice.line_count
    return totals_of(lines), len(lines)


def stored_lines(invoice: Invoice) -> QuerySet[InvoiceLine]:
    """Give the stored lines of an invoice in document order; of one of several, those of its members in turn."""
    rows = InvoiceLine.objects.all()
    rows = rows.filter(invoice__consolidated_into=invoice) if invoice.has_members else rows.filter(invoice=invoice)
    return rows.select_related(
        "tax_treatment",
        "invoice__subscription",
        "price_revision__price",
        "price_revision__metric",
        "price_revision__fee",
    ).order_by("invoice_id", "pk")


def document_lines(invoice: Invoice) -> list[InvoiceLine]:
    """Give the stored lines of an invoice with what its document says of them: their taxes, and whose they are.

    What they refer to is read once for all of them: a document may have thousands, and few decisions about tax.
    """
    lines = list(stored_lines(invoice).select_related(None))
    join(lines, "tax_treatment", TaxTreatment.objects.all())
    if invoice.has_members:
        join(lines, "invoice", Invoice.objects.select_related("subscription"))
    return lines


def members_of(invoices: Sequence[Invoice]) -> dict[int, list[Invoice]]:
    """Give by key the members of those invoices that are documents of several."""
    found: dict[int, list[Invoice]] = {invoice.pk: [] for invoice in invoices if invoice.has_members}
    if found:
        rows = Invoice.objects.filter(consolidated_into__in=list(found)).select_related("subscription")
        for row in rows.order_by("pk"):
            assert row.consolidated_into_id is not None
            found[row.consolidated_into_id].append(row)
    return found


def find_pending_session(invoice: Invoice) -> PaymentSession | None:
    """Find the payment page that is open for an invoice."""
    return PaymentSession.objects.filter(invoice=invoice, status="pending").first()
