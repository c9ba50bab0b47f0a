"""Another plan: the subscription ends, its unused prepaid time is credited, and one to the other plan goes on."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from apps.catalog.models import Plan
from apps.invoicing.services.cancelling import schedule_cancellation
from apps.invoicing.services.periods import cross_boundaries
from apps.invoicing.services.subscribing import start_billing
from apps.invoicing.services.terminating import fit_to_end, locked, refused, terminate_subscription
from apps.kernel.errors import ConflictError
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.subscriptions import agreed_end
from apps.subscriptions.services.pauses import require_active
from apps.subscriptions.services.quantities import quantities_taken_along
from apps.subscriptions.services.subscriptions import SubscriptionOptions, place_subscription

NOW, PERIOD_END = "now", "period_end"


@transaction.atomic
def change_plan(
    *, subscription_id: int, plan: Plan, as_of: datetime, by: str, timing: str = NOW, at: datetime | None = None
) -> Subscription:
    """Let a customer take another plan of the product: now, with the open period's end, or on a date.

    Until a later change comes it can be undone as a cancellation. With the same cadence the calendar stays, so that
    the first period of the other plan is the rest of the running one; with another it begins anew.

    Args:
        plan: another plan of the same product, in the same currency.
        by: who asked for it.
        timing: `now` or `period_end`; `at` goes before.
        at: a date ahead.

    Returns:
        The subscription to the other plan when it begins now, else the present one.

    Raises:
        ConflictError: the subscription is not active, or it is paused.
        InvalidError: the plan or the date does not fit.
    """
    subscription = locked(subscription_id)
    require_active(subscription)
    if subscription.paused_at is not None:
        raise ConflictError("The subscription is paused; resume it first.", code="SUBSCRIPTION_PAUSED")
    _check_plan(subscription, plan)
    reason = f"Changed to {plan.name}."
    if at is None and timing == NOW:
        ended = terminate_subscription(
            subscription_id=subscription_id, as_of=as_of, reason=reason, by=by, next_plan=plan
        )
        return _hand_over(ended)
    schedule_cancellation(
        subscription_id=subscription_id, as_of=as_of, reason=reason, by=by, at=at, field="effectiveAt"
    )
    subscription = locked(subscription_id)
    if subscription.cancels_at == agreed_end(subscription):
        raise refused("effectiveAt", "The term of the subscription is over by then; no other plan follows.")
    subscription.next_plan = plan
    # Anew, because what is prepaid beyond is now given back.
    fit_to_end(subscription=subscription, as_of=as_of)
    return subscription


def pass_boundary(*, subscription_id: int, as_of: datetime) -> bool:
    """Close the period of a subscription that is over, and open the next: its own, or that of the plan that follows.

    Returns:
        False when nothing is due at `as_of`.
    """
    return bool(pass_boundaries(subscription_ids=[subscription_id], as_of=as_of))


@transaction.atomic
def pass_boundaries(*, subscription_ids: Sequence[int], as_of: datetime) -> int:
    """Do the same for many, all or none; give how many moved on."""
    moved = cross_boundaries(subscription_ids=subscription_ids, as_of=as_of)
    for subscription in moved:
        if subscription.status == SubscriptionStatus.TERMINATED and subscription.next_plan_id is not None:
            _hand_over(Subscription.objects.select_related("next_plan").get(pk=subscription.pk))
    return len(moved)


def _hand_over(ended: Subscription) -> Subscription:
    """Begin the subscription to the plan that follows one that has just ended (caller's transaction)."""
    plan, at = ended.next_plan, ended.terminated_at
    assert plan is not None
    assert at is not None
    is_agreed = ended.term_ends_at is not None and ended.term_ends_at > at
    is_tried = ended.trial_ends_at is not None and ended.trial_ends_at > at
    keeps_calendar = ended.billing_cadence == plan.billing_cadence and not (is_tried and ended.has_own_anchor)
    keeps_term = is_agreed and ended.billing_cadence == plan.billing_cadence
    options = SubscriptionOptions(
        ending_at=_end_taken_along(ended, keeps_term),
        # A running term goes along where the calendar does; else the other plan's begins.
        term_periods=ended.term_periods if keeps_term else None,
        term_number=ended.term_number if keeps_term else 0,
        term_ends_at=ended.term_ends_at if keeps_term else None,
        auto_renew=ended.auto_renew if keeps_term else None,
        test_clock=ended.test_clock,
        auto_charge=ended.auto_charge,
        tax_exempt=ended.tax_exempt,
        auto_approve=ended.auto_approve,
        payment_term_days=ended.payment_term_days,
        session_expiry_minutes=ended.session_expiry_minutes,
        version_policy=ended.version_policy,
        billing_anchor=ended.billing_anchor if keeps_calendar else None,
        # The rest of a trial goes along, by the terms it began with; a change begins none.
        trial_ends_at=ended.trial_ends_at if is_tried else None,
        trial_period="",
        trial_usage=ended.trial_usage if is_tried else None,
        replaces=ended,
        redirect_on_success=ended.redirect_on_success,
        redirect_on_failure=ended.redirect_on_failure,
        renewal_reminder_enabled=ended.renewal_reminder_enabled,
        renewal_reminder_days=ended.renewal_reminder_days,
        minimum_account_balance=ended.minimum_account_balance,
        metadata=ended.metadata,
        items=quantities_taken_along(subscription=ended, plan=plan, at=at),
    )
    # In the moment of the change, however late the work is done: nothing of it is backdated.
    made, _ = place_subscription(
        customer=ended.customer, plan=plan, name=ended.name, started_at=at, as_of=at, options=options
    )
    start_billing(subscription_id=made.pk, as_of=at, waits_for_payment=False)
    made.refresh_from_db()
    return made


def _end_taken_along(ended: Subscription, keeps_term: bool) -> datetime | None:
    """Give the end that was agreed with a subscription and holds for what follows it."""
    end = ended.ending_at if keeps_term else agreed_end(ended)
    assert ended.terminated_at is not None
    return end if end is not None and end > ended.terminated_at else None


def _check_plan(subscription: Subscription, plan: Plan) -> None:
    if plan.pk == subscription.plan_id:
        raise refused("planId", "The customer has this plan already.")
    if plan.product_id != subscription.product_id:
        raise refused("planId", "The plan is of another product; subscribe to it instead.")
    if plan.currency != subscription.currency:
        raise refused("planId", f"The plan is in {plan.currency}, the subscription in {subscription.currency}.")
