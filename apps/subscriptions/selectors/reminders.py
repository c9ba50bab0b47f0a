"""When a renewal, or the end of a trial, is announced ahead."""

from datetime import datetime, timedelta

from django.db.models import QuerySet

from apps.kernel.time import Period
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.clocks import on_clock
from apps.subscriptions.selectors.subscriptions import known_end


def find_reminder(subscription: Subscription, period: Period) -> datetime | None:
    """Give when the end of a period is announced: some days ahead, at its beginning at the earliest.

    None where it is not: it is not wanted, the subscription ends then, or it goes on being tried.
    """
    plan = subscription.plan
    wanted, days = subscription.renewal_reminder_enabled, subscription.renewal_reminder_days
    if not (plan.renewal_reminder_enabled if wanted is None else wanted):
        return None
    ends_at, trial_ends_at = known_end(subscription), subscription.trial_ends_at
    if ends_at is not None and ends_at <= period.end:
        return None
    if trial_ends_at is not None and period.end < trial_ends_at:
        return None
    return max(period.end - timedelta(days=plan.renewal_reminder_days if days is None else days), period.start)


def due_reminders(*, clock_id: int | None, as_of: datetime) -> QuerySet[Subscription]:
    """Give the active subscriptions with something to announce, oldest first, without parked ones."""
    return Subscription.objects.filter(
        on_clock(clock_id), status=SubscriptionStatus.ACTIVE, next_reminder_at__lte=as_of, parked_reason=""
    ).order_by("test_clock_id", "next_reminder_at", "pk")
