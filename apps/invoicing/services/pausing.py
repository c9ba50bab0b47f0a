"""Pausing a subscription and letting it go on."""

from datetime import datetime

from django.db import transaction

from apps.invoicing.services.changing import pass_boundary
from apps.invoicing.services.prepaid import reconcile_prepaid
from apps.kernel.errors import ConflictError
from apps.kernel.time import format_instant
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.subscriptions import known_end
from apps.subscriptions.services.pauses import mark_paused, mark_resumed


@transaction.atomic
def pause_subscription(*, subscription_id: int, as_of: datetime) -> Subscription:
    """Pause a subscription: from now on it costs no fees until it is resumed.

    The rest of what was paid in advance is credited on the open invoice. The calendar goes on: periods close and
    open, and each bills the usage that was sent.

    Raises:
        ConflictError: it is not active, or paused already.
    """
    subscription = locked_at_present(subscription_id, as_of)
    mark_paused(subscription=subscription, at=as_of)
    reconcile_prepaid(subscription=subscription, ends_at=known_end(subscription), as_of=as_of)
    return subscription


@transaction.atomic
def resume_subscription(*, subscription_id: int, as_of: datetime) -> Subscription:
    """Let a paused subscription go on: the rest of the running period of each fee is billed again.

    Raises:
        ConflictError: it is not active, or not paused.
    """
    subscription = locked_at_present(subscription_id, as_of)
    mark_resumed(subscription=subscription, at=as_of)
    reconcile_prepaid(subscription=subscription, ends_at=known_end(subscription), as_of=as_of)
    return subscription


def locked_at_present(subscription_id: int, as_of: datetime) -> Subscription:
    """Lock a subscription in the period that holds the present, whatever work is late.

    Raises:
        ConflictError: its clock is on the way past the present.
    """
    subscription = (
        Subscription.objects.select_for_update(of=("self",), no_key=True)
        .select_related("organization", "customer", "plan")
        .get(pk=subscription_id)
    )
    while pass_boundary(subscription_id=subscription_id, as_of=as_of):
        subscription.refresh_from_db()
    is_ahead = subscription.period_start is not None and as_of < subscription.period_start
    if is_ahead and subscription.status == SubscriptionStatus.ACTIVE:
        assert subscription.period_start is not None
        raise ConflictError(
            f"Its clock is on the way past {format_instant(subscription.period_start)}; try again when it is there.",
            code="CLOCK_ADVANCING",
        )
    return subscription
