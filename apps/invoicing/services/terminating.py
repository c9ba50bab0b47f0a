"""The end of a subscription, now or at a date."""

from datetime import datetime

from django.db import transaction

from apps.catalog.models import Plan
from apps.invoicing.domain import states
from apps.invoicing.models import DecisionKind, Invoice, InvoiceStatus, PaymentSession, SessionStatus
from apps.invoicing.selectors.spend import commits_to_spend
from apps.invoicing.services.balances import return_balance
from apps.invoicing.services.periods import PeriodEnd, close_invoices, cross_boundaries
from apps.invoicing.services.prepaid import reconcile_prepaid
from apps.invoicing.services.voiding import note_decision
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.time import format_instant
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.subscriptions import cadence_of, grid_of, known_end
from apps.subscriptions.services.reminders import plan_reminder
from apps.subscriptions.services.subscriptions import mark_terminated


@transaction.atomic
def terminate_subscription(
    *,
    subscription_id: int,
    as_of: datetime,
    reason: str,
    by: str,
    change_reason: str = "",
    at: datetime | None = None,
    next_plan: Plan | None = None,
) -> Subscription:
    """End a subscription: the open period closes there, its usage and arrears are billed.

    Prepaid fees are credited only when the plan says so. An unpaid Invoice 0 is cancelled.

    Args:
        at: when it ends; not after the present, which is also the default.
        next_plan: what follows it in the same moment; then all unused prepaid time is credited.

    Raises:
        ConflictError: it is already terminated.
        InvalidError: `at` is not after the start, or lies in a period that is already billed.
    """
    ends_at = min(at, as_of) if at is not None else as_of
    subscription = locked(subscription_id)
    # Periods that are over by then close at their own ends, however late that work is.
    while cross_boundaries(subscription_ids=[subscription_id], as_of=ends_at):
        subscription = locked(subscription_id)
    if subscription.status == SubscriptionStatus.TERMINATED:
        raise ConflictError("The subscription is already terminated.", code="SUBSCRIPTION_TERMINATED")
    if subscription.next_plan != next_plan:
        # Another plan that was to follow later does not follow an end that came before.
        subscription.next_plan = next_plan
        subscription.save(update_fields=["next_plan", "updated_at"])
    if at is not None and ends_at <= subscription.started_at:
        raise refused("terminatedAt", "The end must lie after the start of the subscription.")
    if subscription.status == SubscriptionStatus.ACTIVE:
        assert subscription.period_start is not None
        if ends_at < subscription.period_start:
            start = format_instant(subscription.period_start)
            raise refused("terminatedAt", f"Periods before {start} are billed; end it there or later.")
        _end_open_period(subscription, ends_at)
    else:
        _cancel_unpaid(subscription, as_of, reason=reason, by=by)
    mark_terminated(subscription=subscription, at=ends_at, by=by, reason=reason, change_reason=change_reason)
    return subscription


@transaction.atomic
def set_end(*, subscription_id: int, ending_at: datetime, as_of: datetime) -> Subscription:
    """Give a subscription a fixed end in the future, or move it.

    Raises:
        ConflictError: it is terminated.
        InvalidError: the end does not lie ahead.
    """
    subscription = locked(subscription_id)
    if subscription.status == SubscriptionStatus.TERMINATED:
        raise ConflictError("The subscription is already terminated.", code="SUBSCRIPTION_TERMINATED")
    if ending_at <= max(as_of, subscription.started_at):
        raise refused("endingAt", "The end must lie in the future.")
    subscription.ending_at = ending_at
    if subscription.cancels_at is not None and ending_at <= subscription.cancels_at:
        # The term is over first; what was to happen later does not.
        subscription.cancels_at = subscription.next_plan = None
        subscription.termination_reason = subscription.terminated_by = ""
    if subscription.status == SubscriptionStatus.ACTIVE:
        fit_to_end(subscription=subscription, as_of=as_of)
    subscription.save()
    return subscription


def fit_to_end(*, subscription: Subscription, as_of: datetime) -> None:
    """Make the open period of an active, locked subscription reach as far as its known end lets it, and save it.

    What was prepaid beyond, or too short, is settled on the open invoice.
    """
    assert subscription.period_start is not None
    slot = grid_of(subscription).slot_at(cadence_of(subscription), subscription.period_start)
    assert slot is not None
    subscription.period_end = subscription.next_action_at = slot.service.end
    invoice = Invoice.objects.select_for_update(no_key=True).get(
        subscription=subscription, status=InvoiceStatus.ACTIVE
    )
    grace = invoice.grace_period_end - invoice.period_end
    invoice.period_end = invoice.due_until = slot.service.end
    invoice.grace_period_end = slot.service.end + grace
    invoice.save()
    plan_reminder(subscription)
    subscription.save()
    reconcile_prepaid(subscription=subscription, ends_at=known_end(subscription), as_of=as_of)


def locked(subscription_id: int) -> Subscription:
    return (
        Subscription.objects.select_for_update(of=("self",), no_key=True)
        .select_related("organization", "customer", "plan", "next_plan")
        .get(pk=subscription_id)
    )


def _end_open_period(subscription: Subscription, ends_at: datetime) -> None:
    assert subscription.period_start is not None
    if ends_at == subscription.period_start:
        reconcile_prepaid(subscription=subscription, ends_at=ends_at, as_of=ends_at)
        invoice = Invoice.objects.select_for_update(no_key=True).get(
            subscription=subscription, status=InvoiceStatus.ACTIVE
        )
        early = Invoice.objects.filter(
            subscription=subscription, sequence_number=invoice.sequence_number, part__gt=0
        ).exclude(status=InvoiceStatus.CANCELLED)
        if invoice.lines.exists() or early.exists() or commits_to_spend(subscription):
            # Prepaid and early billed parts are given back, and commitments trued up, on a bill of no time.
            close_invoices([PeriodEnd(subscription, ends_at, [])])
            return
        # Nothing of the period was served: its invoice never becomes a document.
        states.require(invoice.status, InvoiceStatus.CANCELLED)
        invoice.status, invoice.next_action_at = InvoiceStatus.CANCELLED, None
        invoice.save()
        return
    reconcile_prepaid(subscription=subscription, ends_at=ends_at, as_of=ends_at)
    close_invoices([PeriodEnd(subscription, ends_at, [])])


def _cancel_unpaid(subscription: Subscription, as_of: datetime, *, reason: str, by: str) -> None:
    """Cancel what a subscription that never became active still owes."""
    for invoice in Invoice.objects.select_for_update(no_key=True).filter(
        subscription=subscription, status__in=[InvoiceStatus.ISSUED, InvoiceStatus.DRAFT]
    ):
        states.require(invoice.status, InvoiceStatus.CANCELLED)
        note_decision(
            invoice=invoice, kind=DecisionKind.VOID, as_of=as_of, reason=reason or "The subscription ended.", by=by
        )
        return_balance(invoice=invoice, as_of=as_of)
        invoice.status = InvoiceStatus.CANCELLED
        invoice.save()
        for session in PaymentSession.objects.filter(invoice=invoice, status=SessionStatus.PENDING):
            session.status = SessionStatus.CANCELLED
            session.save()


def refused(field: str, message: str) -> InvalidError:
    return InvalidError(message, errors=[FieldError(field, message, "invalid")])
