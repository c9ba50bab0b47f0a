from datetime import datetime, timedelta

from django.db import transaction

from apps.invoicing.domain import states
from apps.invoicing.events import PaymentSessionCompleted
from apps.invoicing.models import Invoice, InvoiceStatus, PaymentSession, Purchase, SessionStatus
from apps.invoicing.services.settlement import lock_for_settlement, settle_invoice
from apps.kernel.errors import ConflictError, UnprocessableError
from apps.outbox.services import publish

HOSTED_LINK_LIFE = timedelta(days=30)


def open_session(
    *, invoice: Invoice, as_of: datetime, life: timedelta, entity_type: str = "invoice"
) -> PaymentSession:
    """Make the hosted page of an invoice, in place of an older one (caller's transaction).

    That of a purchase ends with the time to pay for it.

    Raises:
        UnprocessableError: the invoice is not waiting for money.
    """
    if invoice.status == InvoiceStatus.CONSOLIDATED:
        raise UnprocessableError(states.ADVICE[invoice.status], code="INVOICE_NOT_LINKABLE_STATUS")
    if invoice.status not in {InvoiceStatus.ISSUED, InvoiceStatus.PAYMENT_FAILED}:
        raise UnprocessableError(
            "Only an issued, unpaid invoice can have a payment link.", code="INVOICE_NOT_LINKABLE_STATUS"
        )
    if invoice.unpaid_amount <= 0:
        raise UnprocessableError("There is nothing left to pay on this invoice.", code="INVOICE_NO_BALANCE")
    expires_at = as_of + life
    if invoice.is_purchase:
        expires_at = min(expires_at, Purchase.objects.get(invoice=invoice).payment_expires_at)
        if expires_at <= as_of:
            raise UnprocessableError(
                "The time to pay for this purchase is over; place a new one.", code="INVOICE_NOT_LINKABLE_STATUS"
            )
    for old in PaymentSession.objects.filter(invoice=invoice, status=SessionStatus.PENDING):
        old.status = SessionStatus.CANCELLED
        old.save(update_fields=["status", "updated_at"])
    return PaymentSession.objects.create(
        organization_id=invoice.organization_id,
        invoice=invoice,
        entity_type=entity_type,
        amount=invoice.unpaid_amount,
        currency=invoice.currency,
        expires_at=expires_at,
    )


@transaction.atomic
def complete_session(*, session_id: int, as_of: datetime) -> PaymentSession:
    """Take the money of a session: the invoice is paid and what waited for it goes on. Twice is fine.

    Raises:
        ConflictError: the session has expired or was replaced by a newer one.
    """
    # The invoice before the session, as everywhere: one order of locks cannot deadlock.
    invoice_id = PaymentSession.objects.values_list("invoice_id", flat=True).get(pk=session_id)
    invoice = lock_for_settlement(invoice_id=invoice_id)
    session = PaymentSession.objects.select_for_update().get(pk=session_id)
    if session.status == SessionStatus.COMPLETED:
        return session
    if session.status != SessionStatus.PENDING or session.expires_at <= as_of:
        raise ConflictError(
            "This payment link is no longer valid; ask for a new one.", code="PAYMENT_SESSION_EXPIRED"
        )
    session.status, session.completed_at = SessionStatus.COMPLETED, as_of
    session.save(update_fields=["status", "completed_at", "updated_at"])
    settle_invoice(invoice_id=invoice.pk, as_of=as_of, note=f"Paid by session {session.public_id}")
    publish(
        PaymentSessionCompleted(
            payment_session_id=session.public_id,
            invoice_id=invoice.public_id,
            amount=session.amount,
            currency=session.currency,
        ),
        organization_id=session.organization_id,
        object_id=session.public_id,
        at=as_of,
    )
    return session


def expire_sessions(*, session_ids: list[int]) -> int:
    """Close pending sessions whose time is over; the subscriptions behind them keep waiting for a new link."""
    moved = 0
    for session in PaymentSession.objects.filter(pk__in=session_ids, status=SessionStatus.PENDING):
        moved += PaymentSession.objects.filter(pk=session.pk, status=SessionStatus.PENDING).update(
            status=SessionStatus.EXPIRED
        )
    return moved
