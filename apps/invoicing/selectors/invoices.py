import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db.models import Model, Q, QuerySet, Value
from django.db.models.functions import Coalesce

from apps.catalog.models import Plan
from apps.customers.models import Customer
from apps.invoicing.domain.targets import TargetLine, Totals, totals_of
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus, PaymentSession
from apps.invoicing.selectors.targets import OPEN, target_lines
from apps.kernel.errors import DomainError
from apps.kernel.rows import join, join_all
from apps.organizations.models import Organization
from apps.subscriptions.models import Subscription, TestClock
from apps.taxes.models import TaxTreatment

logger = logging.getLogger(__name__)


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


# What decides nothing on a bill and stands on no document: not read of what is read by the hundred thousand.
NO_TERMS: Mapping[type[Model], Sequence[str]] = {
    Customer: (
        "created_at",
        "updated_at",
        "external_id",
        "notify_invoice_issued",
        "notify_invoice_paid",
        "notify_renewal",
    ),
    Organization: ("created_at", "updated_at", "billing_emails", "event_days_back", "event_seconds_ahead"),
    Subscription: (
        *("updated_at", "name", "metadata", "placed_at", "activated_at", "parked_reason"),
        *("terminated_by", "termination_reason", "termination_change_reason"),
        *("change_reason", "change_description", "change_metadata"),
        *("next_reminder_at", "reminded_at", "reminded_period", "renewal_reminder_enabled", "renewal_reminder_days"),
        *("session_expiry_minutes", "redirect_on_success", "redirect_on_failure", "minimum_account_balance"),
    ),
}


def join_neighbours(invoices: Sequence[Invoice]) -> None:
    """Put at hand what `with_neighbours` reads along, each row once for all invoices that have it."""
    join(invoices, "customer", Customer.objects.defer(*NO_TERMS[Customer]))
    join(invoices, "subscription", Subscription.objects.defer(*NO_TERMS[Subscription]))
    join(invoices, "consolidated_into", Invoice.objects.all())
    customers = [invoice.customer for invoice in invoices]
    join_all(
        [(invoices, "organization"), (customers, "organization"), (customers, "consumer")],
        Organization.objects.defer(*NO_TERMS[Organization]),
    )
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


def ready(rows: QuerySet[Invoice], *, as_of: datetime) -> QuerySet[Invoice]:
    """Narrow invoices to those whose next step is due, each by its own clock.

    Args:
        as_of: the present of those that follow the wall clock.
    """
    present = Coalesce("subscription__test_clock__current_time", Value(as_of))
    open_until = Q(status=InvoiceStatus.ACTIVE, period_end__lte=present)
    return rows.filter(Q(next_action_at__lte=present) | open_until)


def live_lines(invoices: Sequence[Invoice]) -> dict[int, list[TargetLine]]:
    """Give the lines that open invoices have at this moment, computed from usage; stored ones are left out.

    One that cannot be computed is left out as well and says why in its `failure_reason`, which is not stored.

    Raises:
        DomainError: it is the only one, and what is asked for cannot be told, such as usage whose events are dropped.
    """
    opened = [invoice for invoice in invoices if invoice.status in OPEN]
    if len(opened) != 1:
        return listed_lines(opened)
    try:
        return target_lines(opened, as_of=None)
    except DomainError:
        raise
    except Exception as error:
        _say_why(opened[0], error)
        return {}


def listed_lines(invoices: Sequence[Invoice]) -> dict[int, list[TargetLine]]:
    """Give the same for a list, which shows the others whatever is wrong with one, and however many there are."""
    opened = [invoice for invoice in invoices if invoice.status in OPEN]
    try:
        return target_lines(opened, as_of=None)
    except Exception:
        logger.warning("the lines of open invoices cannot be computed together")
    found: dict[int, list[TargetLine]] = {}
    for invoice in opened:
        try:
            found |= target_lines([invoice], as_of=None)
        except Exception as error:
            _say_why(invoice, error)
    return found


def _say_why(invoice: Invoice, error: Exception) -> None:
    logger.warning("the lines of invoice %s cannot be computed", invoice.public_id, exc_info=error)
    invoice.failure_reason = f"It cannot be calculated now. {type(error).__name__}: {error}"


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
