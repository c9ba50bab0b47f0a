"""A termination that is announced ahead, and can be taken back before it comes."""

from dataclasses import replace
from datetime import datetime

from django.db import transaction

from apps.invoicing.services.terminating import fit_to_end, locked, refused
from apps.kernel.errors import ConflictError
from apps.kernel.time import format_instant
from apps.outbox.services import publish
from apps.subscriptions.events import SubscriptionUpdated
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.subscriptions import agreed_end, cadence_of, grid_of
from apps.subscriptions.services.pauses import require_active


@transaction.atomic
def schedule_cancellation(
    *,
    subscription_id: int,
    as_of: datetime,
    reason: str,
    by: str,
    at: datetime | None = None,
    field: str = "cancelsAt",
) -> Subscription:
    """Let a subscription end on a date, or with its open period; a second call moves the date.

    Args:
        at: when it ends, after the present; None: at the end of the open period.
        field: what the caller's date is called, for refusals.

    Raises:
        ConflictError: it is not active, or its term is over.
        InvalidError: the date does not lie ahead, or not before the fixed end.
    """
    subscription = locked(subscription_id)
    require_active(subscription)
    assert subscription.period_start is not None
    if at is None:
        grid = replace(grid_of(subscription), ends_at=agreed_end(subscription))
        # The period that holds the present, also where the work of boundaries is late.
        slot = grid.slot_at(cadence_of(subscription), max(subscription.period_start, as_of))
        if slot is None:
            raise ConflictError("The term of the subscription is over.", code="TERM_OVER")
        at = slot.service.end
    elif at <= as_of or at < subscription.period_start:
        raise refused(field, "The end must lie in the future; to end it now, terminate it.")
    agreed = agreed_end(subscription)
    if agreed is not None and at > agreed:
        raise refused(field, f"The subscription ends on {format_instant(agreed)} anyway.")
    subscription.cancels_at, subscription.next_plan = at, None
    subscription.termination_reason, subscription.terminated_by = reason, by
    _changed(subscription, as_of)
    return subscription


@transaction.atomic
def undo_cancellation(*, subscription_id: int, as_of: datetime) -> Subscription:
    """Take a cancellation back before it comes: everything is as if it had not been asked for.

    Raises:
        ConflictError: none is ahead.
    """
    subscription = locked(subscription_id)
    require_active(subscription)
    if subscription.cancels_at is None or subscription.cancels_at <= as_of:
        raise ConflictError("No cancellation lies ahead of this subscription.", code="NOT_CANCELLED")
    subscription.cancels_at = subscription.next_plan = None
    subscription.termination_reason = subscription.terminated_by = ""
    _changed(subscription, as_of)
    return subscription


def _changed(subscription: Subscription, as_of: datetime) -> None:
    fit_to_end(subscription=subscription, as_of=as_of)
    publish(
        SubscriptionUpdated(subscription_id=subscription.public_id, status=subscription.status),
        organization_id=subscription.organization_id,
        object_id=subscription.public_id,
        at=as_of,
    )
