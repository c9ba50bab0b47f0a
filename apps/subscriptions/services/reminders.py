"""Announcing renewals and ends of trials some days ahead, once for each period."""

from datetime import datetime

from django.db import transaction

from apps.kernel.rows import update_rows
from apps.kernel.time import Period
from apps.outbox.services import Announcement, publish_all
from apps.subscriptions.events import RenewalUpcoming, TrialEnding
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.reminders import due_reminders, find_reminder

# Reminded in one transaction: large enough to share queries, small enough to be repeated cheaply.
GROUP = 1_000


def next_reminder_due(clock_id: int | None, horizon: datetime) -> datetime | None:
    return due_reminders(clock_id=clock_id, as_of=horizon).values_list("next_reminder_at", flat=True).first()


@transaction.atomic
def run_reminders(clock_id: int | None, as_of: datetime) -> int:
    """Announce what is due; a boundary that is over by now is not announced any more, but passed.

    What is wanted is asked again in this moment: terms may have changed since it was planned.
    """
    announcements = []
    rows = list(
        due_reminders(clock_id=clock_id, as_of=as_of)
        .filter(period_end__gt=as_of)
        .select_for_update(of=("self",), no_key=True, skip_locked=True)
        .select_related("plan", "customer")[:GROUP]
    )
    for subscription in rows:
        assert subscription.period_start is not None
        assert subscription.period_end is not None
        wanted_at = find_reminder(subscription, Period(subscription.period_start, subscription.period_end))
        if wanted_at is not None and wanted_at > as_of:
            subscription.next_reminder_at = wanted_at
            continue
        subscription.next_reminder_at = None
        if wanted_at is None or subscription.paused_at is not None:
            continue
        subscription.reminded_at, subscription.reminded_period = as_of, subscription.period_number
        announcements.append(_announcement(subscription, as_of))
    publish_all(announcements)
    update_rows(rows, ["next_reminder_at", "reminded_at", "reminded_period"])
    return len(rows)


def plan_reminder(subscription: Subscription) -> None:
    """Work out when the end of a subscription's open period is announced; the caller saves it.

    What was announced in this period is not announced again.
    """
    is_announced = subscription.reminded_period == subscription.period_number
    if subscription.status != SubscriptionStatus.ACTIVE or subscription.period_start is None or is_announced:
        subscription.next_reminder_at = None
        return
    assert subscription.period_end is not None
    period = Period(subscription.period_start, subscription.period_end)
    subscription.next_reminder_at = find_reminder(subscription, period)


@transaction.atomic
def renew_reminder(*, subscription_id: int) -> None:
    """Work the announcement of a subscription's coming boundary out anew, after what it wants has changed."""
    subscription = (
        Subscription.objects.select_for_update(of=("self",), no_key=True)
        .select_related("plan")
        .get(pk=subscription_id)
    )
    plan_reminder(subscription)
    subscription.save(update_fields=["next_reminder_at", "updated_at"])


def _announcement(subscription: Subscription, as_of: datetime) -> Announcement:
    assert subscription.period_end is not None
    event: RenewalUpcoming | TrialEnding
    if subscription.period_end == subscription.trial_ends_at:
        event = TrialEnding(
            subscription_id=subscription.public_id,
            trial_ends_at=subscription.period_end,
            notifies_customer=subscription.customer.notify_renewal,
        )
    else:
        event = RenewalUpcoming(
            subscription_id=subscription.public_id,
            period_number=subscription.period_number + 1,
            renews_at=subscription.period_end,
            term_ends_at=subscription.term_ends_at,
            notifies_customer=subscription.customer.notify_renewal,
        )
    return Announcement(event, subscription.organization_id, subscription.public_id, as_of)
