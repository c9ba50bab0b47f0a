"""Writing down that a trial ends at another moment (in the caller's transaction)."""

from datetime import datetime

from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.time import format_instant
from apps.outbox.services import publish
from apps.subscriptions.events import TrialChanged
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.trials import is_tried
from apps.subscriptions.services.pauses import require_active


def mark_trial_end(*, subscription: Subscription, ends_at: datetime, as_of: datetime) -> None:
    """Let the trial of a locked subscription end at another moment: now, or later or earlier than it would.

    Periods that count from the end of the trial move with it.

    Raises:
        ConflictError: it is not active, or not in a trial.
        InvalidError: the end lies in the past, or is that of no time at all.
    """
    require_active(subscription)
    previously = subscription.trial_ends_at
    if previously is None or not is_tried(subscription, as_of):
        raise ConflictError("The subscription is not in a trial.", code="NOT_IN_TRIAL")
    assert subscription.period_start is not None
    if ends_at < as_of:
        raise _refused("The trial can end now or later, not in the past.")
    billed_until = max(subscription.period_start, subscription.placed_at)
    if ends_at <= billed_until:
        raise _refused(f"What falls due by {format_instant(billed_until)} is billed; let the trial end after that.")
    subscription.trial_ends_at = ends_at
    if subscription.has_own_anchor:
        subscription.billing_anchor = ends_at
    subscription.save(update_fields=["trial_ends_at", "billing_anchor", "updated_at"])
    publish(
        TrialChanged(subscription_id=subscription.public_id, trial_ends_at=ends_at, previously=previously),
        organization_id=subscription.organization_id,
        object_id=subscription.public_id,
        at=as_of,
    )


def _refused(message: str) -> InvalidError:
    return InvalidError(message, errors=[FieldError("trialEndsAt", message, "invalid")])
