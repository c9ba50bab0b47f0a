"""Writing down that a subscription is paused, goes on, or will be cancelled (in the caller's transaction)."""

from datetime import datetime

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from apps.kernel.errors import ConflictError
from apps.outbox.services import publish
from apps.subscriptions.events import SubscriptionPaused, SubscriptionResumed
from apps.subscriptions.models import Subscription, SubscriptionPause, SubscriptionStatus
from apps.subscriptions.services.reminders import plan_reminder


def mark_paused(*, subscription: Subscription, at: datetime) -> None:
    """Pause a locked subscription from an instant on.

    Raises:
        ConflictError: it is not active, or paused already.
    """
    require_active(subscription)
    if subscription.paused_at is not None:
        raise ConflictError("The subscription is already paused.", code="SUBSCRIPTION_PAUSED")
    subscription.paused_at = at
    subscription.save(update_fields=["paused_at", "updated_at"])
    publish(
        SubscriptionPaused(subscription_id=subscription.public_id, paused_at=at),
        organization_id=subscription.organization_id,
        object_id=subscription.public_id,
        at=at,
    )


def mark_resumed(*, subscription: Subscription, at: datetime) -> None:
    """End the pause of a locked subscription; one that lasted no time leaves no trace.

    Raises:
        ConflictError: it is not active, or not paused.
    """
    require_active(subscription)
    paused_at = subscription.paused_at
    if paused_at is None:
        raise ConflictError("The subscription is not paused.", code="SUBSCRIPTION_NOT_PAUSED")
    if paused_at < at:
        SubscriptionPause.objects.create(
            organization_id=subscription.organization_id,
            subscription=subscription,
            span=DateTimeTZRange(paused_at, at),
        )
    subscription.paused_at = None
    plan_reminder(subscription)
    subscription.save(update_fields=["paused_at", "next_reminder_at", "updated_at"])
    publish(
        SubscriptionResumed(subscription_id=subscription.public_id, paused_at=paused_at, resumed_at=at),
        organization_id=subscription.organization_id,
        object_id=subscription.public_id,
        at=at,
    )


def require_active(subscription: Subscription) -> None:
    if subscription.status != SubscriptionStatus.ACTIVE:
        raise ConflictError(
            "Only an active subscription can do this; this one is " + subscription.get_status_display().lower() + ".",
            code="SUBSCRIPTION_NOT_ACTIVE",
        )
