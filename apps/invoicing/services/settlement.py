from datetime import datetime
from decimal import Decimal

from django.db import transaction

from apps.invoicing.domain import states
from apps.invoicing.events import InvoicePaid
from apps.invoicing.models import Invoice, InvoiceStatus, PaymentSession, SessionStatus
from apps.invoicing.services.activation import activate_paid_subscription
from apps.invoicing.services.fulfilling import fulfil_purchase
from apps.kernel.errors import ConflictError
from apps.outbox.services import publish
from apps.subscriptions.models import Subscription


@transaction.atomic
def settle_invoice(*, invoice_id: int, as_of: datetime, note: str = "") -> Invoice:
    """Mark an invoice as paid in full; what waited for it becomes active: a subscription, or what is bought.

    Raises:
        ConflictError: the invoice is already paid, or not issued; or nothing could use what it is to buy any more.
    """
    invoice = lock_for_settlement(invoice_id=invoice_id)
    if invoice.status == InvoiceStatus.PAID:
        raise ConflictError("Invoice is already paid; issue a credit note to correct it.", code="INVOICE_PAID")
    states.require(invoice.status, InvoiceStatus.PAID)
    mark_paid(invoice=invoice, as_of=as_of, note=note)
    if invoice.sequence_number == 0:
        activate_paid_subscription(subscription_id=invoice.subscription_id, as_of=as_of)
    return invoice


def lock_for_settlement(*, invoice_id: int) -> Invoice:
    """Lock an invoice that is about to be paid (caller's transaction).

    Invoice 0 moves its subscription too, and a purchase its rights; so the subscription is locked first, as a
    termination does: one order cannot deadlock.
    """
    invoice = Invoice.objects.get(pk=invoice_id)
    # Not their keys, here and wherever one of these waits for another: a foreign key to a row, checked at the commit
    # of whoever has the other, would wait for this lock, and this one for that commit.
    if invoice.sequence_number == 0 or invoice.is_purchase:
        Subscription.objects.select_for_update(of=("self",), no_key=True).get(pk=invoice.subscription_id)
    return Invoice.objects.select_for_update(of=("self",), no_key=True).get(pk=invoice_id)


@transaction.atomic
def settle_out_of_band(*, invoice_id: int, as_of: datetime, reason: str = "") -> Invoice:
    """Record that the money of an invoice came another way; its open payment link is withdrawn."""
    invoice = settle_invoice(invoice_id=invoice_id, as_of=as_of, note=reason or "Settled out of band")
    for session in PaymentSession.objects.filter(invoice=invoice, status=SessionStatus.PENDING):
        session.status = SessionStatus.CANCELLED
        session.save(update_fields=["status", "updated_at"])
    return invoice


def mark_paid(*, invoice: Invoice, as_of: datetime, note: str) -> None:
    """Write the paid state of a locked, issued invoice and announce it (caller's transaction).

    What it buys is there then.
    """
    sold = fulfil_purchase(invoice=invoice, as_of=as_of) if invoice.is_purchase else None
    invoice.status = InvoiceStatus.PAID
    invoice.paid_amount += max(invoice.unpaid_amount, Decimal(0))
    invoice.paid_at = as_of
    invoice.settlement_note = note[:1000]
    invoice.save(update_fields=["status", "paid_amount", "paid_at", "settlement_note", "updated_at"])
    publish(
        InvoicePaid(
            invoice_id=invoice.public_id,
            paid_amount=invoice.paid_amount,
            currency=invoice.currency,
            grant_id=sold.grant.public_id if sold is not None and sold.grant is not None else None,
            slot_burst_id=sold.burst.public_id if sold is not None and sold.burst is not None else None,
        ),
        organization_id=invoice.organization_id,
        object_id=invoice.public_id,
        at=as_of,
    )
