"""Opening and closing the periods of subscriptions, each with its invoice."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast

from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Coalesce

from apps.catalog.models import Plan
from apps.catalog.selectors.terms import current_revision_ids_of
from apps.entitlements.services.metering import meter_credits
from apps.invoicing.events import InvoiceCreated
from apps.invoicing.models import Invoice, InvoiceStatus
from apps.kernel.rows import insert_rows, join, many, update_rows
from apps.organizations.models import Organization
from apps.outbox.services import Announcement, publish_all
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.services.subscriptions import BOUNDARY_COLUMNS, move_on

CLOSED_COLUMNS = ("status", "period_end", "due_until", "grace_period_end", "next_action_at", "next_revision_ids")


@transaction.atomic
def cross_boundaries(*, subscription_ids: Sequence[int], as_of: datetime) -> list[Subscription]:
    """Close the periods of subscriptions that are over and open the next: one transaction for all, once for each.

    Returns:
        Those that moved on; another worker moves, or has moved, those that are missing, or they are no longer active.
    """
    # By their keys alone: looked for by what makes them due too, all that are due would be read for every group. What
    # another worker has moved on meanwhile is left out by a condition that no index serves.
    locked = Subscription.objects.select_for_update(skip_locked=True).filter(pk__in=many(subscription_ids))
    due = locked.annotate(ends=Coalesce("period_end", Value(as_of + timedelta(days=1)))).filter(ends__lte=as_of)
    subscriptions: list[Subscription] = [row for row in due.order_by("pk") if row.status == SubscriptionStatus.ACTIVE]
    if not subscriptions:
        return []
    join(subscriptions, "organization", Organization.objects.all())
    join(subscriptions, "plan", Plan.objects.all())
    ended_at = {subscription.pk: cast(datetime, subscription.period_end) for subscription in subscriptions}
    move_on(subscriptions=subscriptions)
    revisions = current_revision_ids_of({subscription.plan_version_id for subscription in subscriptions})
    closed = {
        invoice.subscription_id: invoice
        for invoice in Invoice.objects.select_for_update().filter(
            subscription_id__in=many(ended_at), status=InvoiceStatus.ACTIVE
        )
    }
    opened = []
    for subscription in subscriptions:
        at = ended_at[subscription.pk]
        is_over = subscription.status == SubscriptionStatus.TERMINATED
        next_ids = [] if is_over else revisions[subscription.plan_version_id]
        _close(closed[subscription.pk], subscription=subscription, at=at, next_revision_ids=next_ids)
        if not is_over:
            subscription.price_revision_ids = next_ids
            opened.append(_opened(subscription=subscription, due_after=at, revision_ids=next_ids))
    meter_credits([one for one in subscriptions if one.status == SubscriptionStatus.ACTIVE])
    update_rows(subscriptions, [*BOUNDARY_COLUMNS, "price_revision_ids"])
    update_rows(list(closed.values()), CLOSED_COLUMNS)
    insert_rows(opened)
    publish_all([announcement_of(invoice, at=ended_at[invoice.subscription_id]) for invoice in opened])
    return subscriptions


def open_invoice(
    *, subscription: Subscription, due_after: datetime, revision_ids: Sequence[int], as_of: datetime
) -> Invoice:
    """Make the live invoice of a subscription's open period (caller's transaction)."""
    invoice = _opened(subscription=subscription, due_after=due_after, revision_ids=revision_ids)
    invoice.save()
    publish_all([announcement_of(invoice, at=as_of)])
    return invoice


def _opened(*, subscription: Subscription, due_after: datetime, revision_ids: Sequence[int]) -> Invoice:
    assert subscription.period_start is not None
    assert subscription.period_end is not None
    return Invoice(
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


def announcement_of(invoice: Invoice, *, at: datetime) -> Announcement:
    """Give what is announced of a new invoice."""
    created = InvoiceCreated(
        invoice_id=invoice.public_id,
        subscription_id=invoice.subscription.public_id,
        sequence_number=invoice.sequence_number,
        period_start=invoice.period_start,
        period_end=invoice.period_end,
        part=invoice.part,
    )
    return Announcement(created, invoice.organization_id, invoice.public_id, at)


def close_invoice(*, subscription: Subscription, at: datetime, next_revision_ids: Sequence[int]) -> None:
    """End the live invoice's period; it is calculated when its grace is over (caller's transaction)."""
    invoice = Invoice.objects.select_for_update().get(subscription=subscription, status=InvoiceStatus.ACTIVE)
    _close(invoice, subscription=subscription, at=at, next_revision_ids=next_revision_ids)
    invoice.save()


def _close(invoice: Invoice, *, subscription: Subscription, at: datetime, next_revision_ids: Sequence[int]) -> None:
    invoice.status = InvoiceStatus.CLOSING
    invoice.period_end = at
    # Also where the period ends as it begins, the window is an interval; nothing falls due in it then.
    invoice.due_until = max(at, invoice.due_after + timedelta(microseconds=1))
    invoice.grace_period_end = at + grace_of(subscription)
    invoice.next_action_at = invoice.grace_period_end
    invoice.next_revision_ids = list(next_revision_ids)


def grace_of(subscription: Subscription) -> timedelta:
    return timedelta(seconds=subscription.organization.grace_period_seconds)


def approves_itself(subscription: Subscription) -> bool:
    """Whether invoices are issued without a person: as the subscription says, else as the merchant does."""
    if subscription.auto_approve is not None:
        return subscription.auto_approve
    return subscription.organization.auto_approve
