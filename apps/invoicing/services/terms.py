"""What follows a term: another one, or the end."""

from datetime import datetime

from django.db import transaction

from apps.invoicing.services.terminating import fit_to_end, locked
from apps.kernel.errors import ConflictError
from apps.outbox.services import publish
from apps.subscriptions.events import SubscriptionUpdated
from apps.subscriptions.models import Subscription, SubscriptionStatus


@transaction.atomic
def set_auto_renewal(*, subscription_id: int, renews: bool, as_of: datetime) -> Subscription:
    """Say whether another term follows the running one; what it was is as if it had not been said.

    Raises:
        ConflictError: the subscription has no term, or is terminated.
    """
    subscription = locked(subscription_id)
    if subscription.status == SubscriptionStatus.TERMINATED:
        raise ConflictError("The subscription is already terminated.", code="SUBSCRIPTION_TERMINATED")
    if subscription.term_ends_at is None:
        raise ConflictError("The subscription has no term; give it an end, or cancel it.", code="NO_TERM")
    if subscription.auto_renew == renews:
        return subscription
    if subscription.term_ends_at <= as_of:
        raise ConflictError("The term is over; try again when its last period is closed.", code="TERM_OVER")
    subscription.auto_renew = renews
    if subscription.status == SubscriptionStatus.ACTIVE:
        fit_to_end(subscription=subscription, as_of=as_of)
    subscription.save()
    publish(
        SubscriptionUpdated(subscription_id=subscription.public_id, status=subscription.status),
        organization_id=subscription.organization_id,
        object_id=subscription.public_id,
        at=as_of,
    )
    return subscription
