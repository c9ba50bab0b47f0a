from datetime import datetime

from django.db import transaction

from apps.invoicing.models import Invoice, InvoiceStatus
from apps.invoicing.services.changing import pass_boundary
from apps.invoicing.services.issuing import calculate_invoices
from apps.kernel.errors import ConflictError
from apps.metering.services.merge import drain
from apps.subscriptions.models import Subscription


def close_period_now(*, invoice_id: int, as_of: datetime) -> Invoice:
    """Calculate the invoice of a period that is over without waiting for its grace; late usage follows later.

    Raises:
        ConflictError: the period is still open, or the invoice is calculated already.
    """
    invoice = Invoice.objects.select_related("subscription").get(pk=invoice_id)
    if invoice.status == InvoiceStatus.ACTIVE and invoice.period_end <= as_of:
        pass_boundary(subscription_id=invoice.subscription_id, as_of=as_of)
        invoice.refresh_from_db()
    if invoice.status == InvoiceStatus.ACTIVE:
        raise ConflictError(
            "The period is still open; it closes at its end, or when the subscription is terminated.",
            code="PERIOD_OPEN",
        )
    if invoice.status != InvoiceStatus.CLOSING:
        raise ConflictError("The invoice is calculated already.", code="INVOICE_STATE")
    drain()
    calculate_invoices(invoice_ids=[invoice_id], as_of=as_of)
    return Invoice.objects.get(pk=invoice_id)


@transaction.atomic
def repair_subscription(*, subscription_id: int) -> bool:
    """Let the lifecycle work of a parked subscription go on at the next run; False when it was not parked."""
    return bool(Subscription.objects.filter(pk=subscription_id).exclude(parked_reason="").update(parked_reason=""))
