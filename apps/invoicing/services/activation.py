from datetime import datetime, timedelta

from apps.catalog.selectors.terms import current_revision_ids
from apps.invoicing.services.periods import open_invoice
from apps.invoicing.services.prepaid import reconcile_prepaid
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.subscriptions import known_end
from apps.subscriptions.services.subscriptions import activate


def activate_paid_subscription(*, subscription_id: int, as_of: datetime) -> None:
    """Activate the subscription that waited for its Invoice 0 (caller's transaction); twice is fine."""
    subscription = (
        Subscription.objects.select_for_update(of=("self",), no_key=True)
        .select_related("organization", "plan")
        .get(pk=subscription_id)
    )
    if subscription.status == SubscriptionStatus.PENDING_PAYMENT:
        activate_and_open(subscription=subscription, as_of=as_of)


def activate_and_open(*, subscription: Subscription, as_of: datetime) -> None:
    """Make a locked subscription active and open its first period's invoice (caller's transaction)."""
    revisions = list(current_revision_ids(plan_version_id=subscription.plan_version_id))
    subscription.price_revision_ids = revisions
    activate(subscription=subscription, as_of=as_of)
    assert subscription.period_start is not None
    # What fell due before is on Invoice 0, or is not billed at all.
    due_after = max(subscription.period_start, first_bill_until(subscription))
    open_invoice(
        subscription=subscription,
        due_after=min(due_after, _before(subscription.period_end)),
        revision_ids=revisions,
        as_of=as_of,
    )
    # The end may have moved while Invoice 0 waited for its payment.
    reconcile_prepaid(subscription=subscription, ends_at=known_end(subscription), as_of=as_of)


def first_bill_until(subscription: Subscription) -> datetime:
    """Give the instant up to which charges belong on Invoice 0, inclusive."""
    if subscription.billing_starts_at > subscription.started_at:
        return subscription.billing_starts_at
    if subscription.elapsed_period_billing == "per_period":
        return max(subscription.placed_at, subscription.started_at)
    return subscription.started_at


def _before(instant: datetime | None) -> datetime:
    assert instant is not None
    return instant - timedelta(microseconds=1)
