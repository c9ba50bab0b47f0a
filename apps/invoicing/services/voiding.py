"""Giving an invoice up: voided as if it had never been billed, or written off as what nobody will pay."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import Q

from apps.invoicing.domain import states
from apps.invoicing.events import InvoiceReinstated, InvoiceVoided, InvoiceWrittenOff
from apps.invoicing.models import (
    DecisionKind,
    Invoice,
    InvoiceDecision,
    InvoiceLine,
    InvoiceStatus,
    LineKind,
    PaymentSession,
    SessionStatus,
)
from apps.invoicing.models.invoice_status import UNCALCULATED
from apps.invoicing.selectors.credits import credit_notes_on
from apps.invoicing.services.balances import return_balance
from apps.invoicing.services.fulfilling import give_up_purchase
from apps.kernel.errors import ConflictError
from apps.outbox.services import publish
from apps.subscriptions.models import Subscription, SubscriptionStatus

VOIDABLE = (InvoiceStatus.DRAFT, InvoiceStatus.ISSUED, InvoiceStatus.PAYMENT_FAILED)
UNPAID = (InvoiceStatus.ISSUED, InvoiceStatus.PAYMENT_FAILED)


@transaction.atomic
def void_invoice(*, invoice_id: int, as_of: datetime, reason: str, by: str = "") -> Invoice:
    """Void an invoice before it is paid, a document of several with its members; twice is fine.

    Its number stays used. What it billed counts as never billed: a coupon is not used by it, the balance has
    back what it paid, and usage that was billed early comes on its period's own bill. Nothing else is billed again.
    What it was to buy is not bought.

    Raises:
        ConflictError: it is not a draft or unpaid, has credit notes, stands on a document of several, is the
            Invoice 0 that its subscription waits for, or later bills of a subscription build on it.
    """
    invoice, members = _lock(invoice_id)
    if invoice.status == InvoiceStatus.CANCELLED and invoice.consolidated_into_id is None:
        return invoice
    _check(invoice, InvoiceStatus.CANCELLED)
    if credit_notes_on(invoice).exists():
        raise ConflictError(
            "Credit notes reduce this invoice; void them first, or credit the rest of it.", code="INVOICE_CREDITED"
        )
    for row in members or [invoice]:
        _refuse_built_on(row)
    decision = note_decision(invoice=invoice, kind=DecisionKind.VOID, as_of=as_of, reason=reason, by=by)
    return_balance(invoice=invoice, as_of=as_of)
    for row in [invoice, *members]:
        row.status, row.next_action_at = InvoiceStatus.CANCELLED, None
        row.save(update_fields=["status", "next_action_at", "balance_applied", "updated_at"])
    if invoice.is_purchase:
        give_up_purchase(invoice=invoice, as_of=as_of)
    _end_sessions(invoice)
    _announce(
        invoice,
        InvoiceVoided(
            invoice_id=invoice.public_id,
            invoice_number=invoice.number,
            amount=decision.amount,
            currency=invoice.currency,
            reason=decision.reason,
        ),
        as_of,
    )
    return invoice


@transaction.atomic
def write_off_invoice(*, invoice_id: int, as_of: datetime, reason: str, by: str = "") -> Invoice:
    """Write off what is due of an issued invoice: it stands, and nobody is asked for it; twice is fine.

    Money that comes after all can be recorded as for any unpaid invoice.

    Raises:
        ConflictError: it is not issued and unpaid, or is the Invoice 0 that its subscription waits for.
    """
    invoice, _ = _lock(invoice_id)
    if invoice.status == InvoiceStatus.WRITTEN_OFF:
        return invoice
    _check(invoice, InvoiceStatus.WRITTEN_OFF)
    decision = note_decision(invoice=invoice, kind=DecisionKind.WRITE_OFF, as_of=as_of, reason=reason, by=by)
    invoice.status = InvoiceStatus.WRITTEN_OFF
    invoice.save(update_fields=["status", "updated_at"])
    _end_sessions(invoice)
    _announce(
        invoice,
        InvoiceWrittenOff(
            invoice_id=invoice.public_id,
            invoice_number=invoice.number,
            amount=decision.amount,
            currency=invoice.currency,
            reason=decision.reason,
        ),
        as_of,
    )
    return invoice


@transaction.atomic
def reinstate_invoice(*, invoice_id: int, as_of: datetime, reason: str, by: str = "") -> Invoice:
    """Ask again for a written-off invoice, which is issued and unpaid then, as it was.

    Raises:
        ConflictError: it is not written off.
    """
    invoice, _ = _lock(invoice_id)
    if invoice.status != InvoiceStatus.WRITTEN_OFF:
        raise ConflictError(
            "Only a written-off invoice can be reinstated.",
            code="INVOICE_STATE",
            details={"status": invoice.status, "wanted": InvoiceStatus.ISSUED},
        )
    decision = note_decision(invoice=invoice, kind=DecisionKind.REINSTATE, as_of=as_of, reason=reason, by=by)
    invoice.status = InvoiceStatus.ISSUED
    invoice.save(update_fields=["status", "updated_at"])
    _announce(
        invoice,
        InvoiceReinstated(
            invoice_id=invoice.public_id,
            invoice_number=invoice.number,
            amount=decision.amount,
            currency=invoice.currency,
            reason=decision.reason,
        ),
        as_of,
    )
    return invoice


def note_decision(*, invoice: Invoice, kind: DecisionKind, as_of: datetime, reason: str, by: str) -> InvoiceDecision:
    """Write down what was decided about a locked invoice, with what is due of it before (caller's transaction)."""
    return InvoiceDecision.objects.create(
        organization_id=invoice.organization_id,
        invoice=invoice,
        kind=kind,
        amount=max(invoice.unpaid_amount, Decimal(0)),
        reason=reason[:1000],
        decided_by=by[:255],
        decided_at=as_of,
    )


def _lock(invoice_id: int) -> tuple[Invoice, list[Invoice]]:
    """Lock an invoice, its members, and what later bills of their subscriptions are calculated from.

    A calculation holds its invoice until it commits: whoever comes second sees what the first one did.
    """
    found = Invoice.objects.get(pk=invoice_id)
    ours = Q(pk=invoice_id) | Q(consolidated_into_id=invoice_id)
    subscription_ids = {found.subscription_id, *found.members.values_list("subscription_id", flat=True)}
    list(
        Subscription.objects.select_for_update(of=("self",), no_key=True)
        .filter(pk__in=subscription_ids)
        .order_by("pk")
    )
    rows = list(
        Invoice.objects.select_for_update(of=("self",), no_key=True)
        .select_related("subscription")
        .filter(ours | Q(subscription_id__in=subscription_ids, status__in=UNCALCULATED))
        .order_by("pk")
    )
    [invoice] = [row for row in rows if row.pk == invoice_id]
    return invoice, [row for row in rows if row.consolidated_into_id == invoice_id]


def _check(invoice: Invoice, target: InvoiceStatus) -> None:
    if invoice.consolidated_into_id is not None:
        raise ConflictError(
            states.ADVICE[InvoiceStatus.CONSOLIDATED],
            code="INVOICE_STATE",
            details={"status": invoice.status, "wanted": target},
        )
    allowed = VOIDABLE if target == InvoiceStatus.CANCELLED else UNPAID
    if invoice.status not in allowed:
        states.require(invoice.status, target)
        # What is still open becomes no document by the end of its subscription alone.
        raise ConflictError(
            states.ADVICE.get(invoice.status, "Only an unpaid invoice can be given up."),
            code="INVOICE_STATE",
            details={"status": invoice.status, "wanted": target},
        )
    if invoice.is_purchase and target == InvoiceStatus.WRITTEN_OFF:
        raise ConflictError(
            "Nothing was delivered for this invoice yet; void it instead of writing it off.", code="PURCHASE_OPEN"
        )
    if invoice.sequence_number == 0 and invoice.subscription.status == SubscriptionStatus.PENDING_PAYMENT:
        raise ConflictError(
            "A subscription waits for this invoice; end the subscription instead, which voids it.",
            code="SUBSCRIPTION_WAITS",
            details={"subscriptionId": invoice.subscription.public_id},
        )


def _refuse_built_on(invoice: Invoice) -> None:
    """Check that nothing was worked out from what an invoice billed: that would give it back a second time."""
    if invoice.is_purchase:
        return
    later = Q(sequence_number__gt=invoice.sequence_number)
    if invoice.is_early:
        later |= Q(sequence_number=invoice.sequence_number, part=0)
        later |= Q(sequence_number=invoice.sequence_number, part__gt=invoice.part)
    of_subscription = Invoice.objects.filter(
        subscription_id=invoice.subscription_id, has_members=False, is_purchase=False
    )
    calculated = of_subscription.filter(later).exclude(status__in=(*UNCALCULATED, InvoiceStatus.CANCELLED))
    waiting = InvoiceLine.objects.filter(
        invoice__subscription_id=invoice.subscription_id,
        invoice__status__in=UNCALCULATED,
        kind=LineKind.ADJUSTMENT,
    )
    names: Sequence[str] = [str(row) for row in calculated.order_by("pk")[:10]]
    if names or waiting.exists():
        raise ConflictError(
            "Later bills of the subscription build on this one; credit it, or void them first.",
            code="INVOICE_BUILT_ON",
            details={"invoices": names},
        )


def _end_sessions(invoice: Invoice) -> None:
    for session in PaymentSession.objects.filter(invoice=invoice, status=SessionStatus.PENDING):
        session.status = SessionStatus.CANCELLED
        session.save(update_fields=["status", "updated_at"])


def _announce(invoice: Invoice, event: object, as_of: datetime) -> None:
    publish(event, organization_id=invoice.organization_id, object_id=invoice.public_id, at=as_of)
