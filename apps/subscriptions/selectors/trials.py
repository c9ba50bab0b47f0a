from datetime import datetime, timedelta

from apps.catalog.models import Plan
from apps.customers.models import Customer
from apps.kernel.time import Cadence, add, floor_hour
from apps.subscriptions.models import Subscription

HOUR = timedelta(hours=1)


def is_tried(subscription: Subscription, instant: datetime) -> bool:
    """Whether an instant lies in the trial of a subscription."""
    return subscription.trial_ends_at is not None and instant < subscription.trial_ends_at


def find_trial_end(
    *,
    customer: Customer,
    plan: Plan,
    started_at: datetime,
    tz: str,
    ends_at: datetime | None,
    period: str | None,
) -> datetime | None:
    """Give until when a new subscription costs no fees; None without a trial.

    Args:
        customer: who subscribes; the row is locked, so that two sign-ups at once do not get two trials.
        tz: time zone of the calendar that a length steps in.
        ends_at: what was said about this subscription; goes before everything.
        period: a length that was said about it; empty for none. None: the plan says, and gives its trial only to a
            customer that never had one of the product.

    Returns:
        The instant; a length reaches to the full hour that ends it.
    """
    if ends_at is not None:
        return ends_at
    if period is None:
        period = "" if had_trial(customer=customer, product_id=plan.product_id) else plan.trial_period
    if not period or Cadence.parse(period).is_once:
        return None
    end = add(started_at, Cadence.parse(period), tz)
    return end if end == floor_hour(end) else floor_hour(end) + HOUR


def had_trial(*, customer: Customer, product_id: int) -> bool:
    """Whether a consumer tried a product of the merchant before, also as a customer that was deleted since.

    A trial counts once it began; one that was taken back ahead does not.
    """
    return Subscription.objects.filter(
        organization_id=customer.organization_id,
        customer__consumer_id=customer.consumer_id,
        product_id=product_id,
        trial_ends_at__isnull=False,
        activated_at__isnull=False,
    ).exists()
