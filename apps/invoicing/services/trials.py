"""A trial that ends earlier or later than it was to."""

from datetime import datetime

from django.db import transaction

from apps.invoicing.services.changing import pass_boundary
from apps.invoicing.services.pausing import in_present
from apps.invoicing.services.terminating import fit_to_end
from apps.subscriptions.models import Subscription
from apps.subscriptions.services.trials import mark_trial_end


@transaction.atomic
def move_trial_end(*, subscription_id: int, as_of: datetime, at: datetime | None = None) -> Subscription:
    """Let a trial end on another date; without one, now: what is paid in advance falls due in that moment.

    Raises:
        ConflictError: the subscription is not active, or not in a trial.
        InvalidError: the date lies in the past.
    """
    subscription = in_present(subscription_id, as_of)
    mark_trial_end(subscription=subscription, ends_at=at if at is not None else as_of, as_of=as_of)
    fit_to_end(subscription=subscription, as_of=as_of)
    while pass_boundary(subscription_id=subscription_id, as_of=as_of):
        pass
    subscription.refresh_from_db()
    return subscription
