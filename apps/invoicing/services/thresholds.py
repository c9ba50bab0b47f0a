from django.db import transaction

from apps.catalog.domain.thresholds import BillingThresholds
from apps.catalog.services.plans import NewThresholds, Unchanged
from apps.invoicing.models import UsageLook
from apps.kernel.errors import ConflictError
from apps.subscriptions.models import Subscription, SubscriptionStatus


@transaction.atomic
def set_thresholds(*, subscription_id: int, thresholds: NewThresholds) -> Subscription:
    """Give a subscription billing thresholds of its own, in place of its plan's; the next look goes by them.

    Args:
        subscription_id: the subscription's key.
        thresholds: None bills nothing early; unchanged, it goes by its plan.

    Raises:
        ConflictError: the subscription has ended.
    """
    subscription = Subscription.objects.select_for_update(no_key=True).get(pk=subscription_id)
    if subscription.status == SubscriptionStatus.TERMINATED:
        raise ConflictError("The subscription has ended.", code="SUBSCRIPTION_TERMINATED")
    if isinstance(thresholds, BillingThresholds):
        subscription.billing_thresholds = thresholds.as_stored()
    else:
        subscription.billing_thresholds = None if isinstance(thresholds, Unchanged) else {}
    subscription.save(update_fields=["billing_thresholds", "updated_at"])
    look_anew(subscription_id=subscription.pk)
    return subscription


def look_anew(*, subscription_id: int) -> None:
    """Let the next look at usage take in a subscription whatever changed (caller's transaction, it is locked)."""
    UsageLook.objects.filter(subscription_id=subscription_id).delete()
