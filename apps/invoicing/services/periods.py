"""Opening and closing the periods of subscriptions, each with its invoice."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from apps.catalog.selectors.terms import current_revision_ids
from apps.invoicing.events import InvoiceCreated
from apps.invoicing.models import Invoice, InvoiceStatus
from apps.outbox.services import publish
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.services.subscriptions import claim_boundary


@transaction.atomic
def cross_boundary(*, subscription_id: int, as_of: datetime) -> bool:
    """Close the period of a subscription that is over and open the next: one transaction, once.

    Returns:
        False when nothing is due at `as_of`: another worker did it, or the subscription is no longer active.
    """
    subscription = (
        Subscription.objects.select_for_update(of=("self",), skip_locked=True)
        .select_related("organization", "customer", "plan")
        .filter(pk=subscription_id, status=SubscriptionStatus.ACTIVE, period_end__lte=as_of)
        .first()
    )
    if subscription is None:
        return False
    ended_at = subscription.period_end
    assert ended_at is not None
    if not claim_boundary(subscription=subscription):
        return False
    is_over = subscription.status == SubscriptionStatus.TERMINATED
    revisions = [] if is_over else current_revision_ids(plan_version_id=subscription.plan_version_id)
    close_invoice(subscription=subscription, at=ended_at, next_revision_ids=revisions)
    if not is_over:
        Subscription.objects.filter(pk=subscription.pk).update(price_revision_ids=revisions)
        open_invoice(subscription=subscription, due_after=ended_at, revision_ids=revisions, as_of=ended_at)
    return True


def open_invoice(
    *, subscription: Subscription, due_after: datetime, revision_ids: Sequence[int], as_of: datetime
) -> Invoice:
    """Make the live invoice of a subscription's open period (caller's transaction)."""
    assert subscription.period_start is not None
    assert subscription.period_end is not None
    invoice = Invoice.objects.create(
        organization_id=subscription.organization_id,
        customer_id=subscription.customer_id,
        subscription=subscription,
        sequence_number=subscription.period_number,
        status=InvoiceStatus.ACTIVE,
        currency=subscription.currency,
        period_start=subscription.period_start,
        period_end=subscription.period_end,
        due_after=due_after,
        due_until=subscription.period_end,
        price_revision_ids=list(revision_ids),
        plan_version_id=subscription.plan_version_id,
        grace_period_end=subscription.period_end + grace_of(subscription),
        auto_approve=approves_itself(subscription),
        next_action_at=None,
    )
    publish(
        InvoiceCreated(
            invoice_id=invoice.public_id,
            subscription_id=subscription.public_id,
            sequence_number=invoice.sequence_number,
            period_start=invoice.period_start,
            period_end=invoice.period_end,
        ),
        organization_id=invoice.organization_id,
        object_id=invoice.public_id,
        at=as_of,
    )
    return invoice


def close_invoice(*, subscription: Subscription, at: datetime, next_revision_ids: Sequence[int]) -> None:
    """End the live invoice's period; it is calculated when its grace is over (caller's transaction)."""
    invoice = Invoice.objects.select_for_update().get(subscription=subscription, status=InvoiceStatus.ACTIVE)
    invoice.status = InvoiceStatus.CLOSING
    invoice.period_end = at
    # Also where the period ends as it begins, the window is an interval; nothing falls due in it then.
    invoice.due_until = max(at, invoice.due_after + timedelta(microseconds=1))
    invoice.grace_period_end = at + grace_of(subscription)
    invoice.next_action_at = invoice.grace_period_end
    invoice.next_revision_ids = list(next_revision_ids)
    invoice.save()


def grace_of(subscription: Subscription) -> timedelta:
    return timedelta(seconds=subscription.organization.grace_period_seconds)


def approves_itself(subscription: Subscription) -> bool:
    """Whether invoices are issued without a person: as the subscription says, else as the merchant does."""
    if subscription.auto_approve is not None:
        return subscription.auto_approve
    return subscription.organization.auto_approve
