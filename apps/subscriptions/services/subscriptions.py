from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from apps.catalog.domain.days import find_day_problem
from apps.catalog.models import Plan
from apps.customers.models import Customer
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.time import Cadence, add
from apps.outbox.services import Announcement, publish, publish_all
from apps.subscriptions.domain.grid import own_anchor
from apps.subscriptions.events import (
    SubscriptionActivated,
    SubscriptionCancelled,
    SubscriptionCreated,
    SubscriptionRenewed,
    TrialEnded,
)
from apps.subscriptions.models import Subscription, SubscriptionStatus, TestClock
from apps.subscriptions.selectors.anchors import find_anchor
from apps.subscriptions.selectors.reminders import find_reminder
from apps.subscriptions.selectors.subscriptions import cadence_of, grid_of, upcoming_version_id
from apps.subscriptions.selectors.terms import first_term_end, following_term_end
from apps.subscriptions.selectors.trials import find_trial_end, is_tried
from apps.subscriptions.services.following import Moment, tell_followers
from apps.subscriptions.services.quantities import ChosenItem, choose_quantities
from apps.subscriptions.services.reminders import plan_reminder

# A start up to this far in the past counts as "now": clocks differ, sign-ups are reported a little late.
BACKDATED_AFTER = timedelta(hours=24)
MAXIMUM_BACKDATING = Cadence.parse("P1Y")


@dataclass(frozen=True, slots=True)
class SubscriptionOptions:
    """What a caller may say about a new subscription beyond who, what and when."""

    ending_at: datetime | None = None
    test_clock: TestClock | None = None
    # For how many periods; 0 for no term. The running one of a subscription that this one replaces goes along.
    term_periods: int | None = None
    term_number: int = 0
    term_ends_at: datetime | None = None
    auto_renew: bool | None = None
    # An instant goes before a length; without either the plan says how long, and gives it once.
    trial_ends_at: datetime | None = None
    trial_period: str | None = None
    trial_usage: str | None = None
    elapsed_period_billing: str = "none"
    auto_charge: bool = False
    tax_exempt: bool = False
    auto_approve: bool | None = None
    payment_term_days: int = 0
    session_expiry_minutes: int = 240
    version_policy: str = "floating"
    # A day goes before what the plan says; an anchor counts where the plan says nothing.
    billing_day: int | None = None
    billing_anchor: datetime | None = None
    replaces: Subscription | None = None
    items: Sequence[ChosenItem] = ()
    redirect_on_success: str = ""
    redirect_on_failure: str = ""
    renewal_reminder_enabled: bool | None = None
    renewal_reminder_days: int | None = None
    minimum_account_balance: str = ""
    change_reason: str = ""
    change_description: str = ""
    change_metadata: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


@transaction.atomic
def place_subscription(
    *,
    customer: Customer,
    plan: Plan,
    name: str,
    started_at: datetime,
    as_of: datetime,
    options: SubscriptionOptions,
) -> tuple[Subscription, bool]:
    """Write down that a customer takes a plan, or give the live subscription that already says so.

    The row is scheduled; billing it (Invoice 0, activation) is the work of the app above.

    Returns:
        The subscription, and whether it is new.

    Raises:
        ConflictError: the customer has a live subscription to another plan of the product.
        InvalidError: the dates contradict each other or reach too far back, or a quantity is of no line of the plan.
    """
    # The customer's row serialises two sign-ups at once.
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    live = (
        Subscription.objects.select_related("plan")
        .filter(customer=customer, product_id=plan.product_id)
        .exclude(status=SubscriptionStatus.TERMINATED)
        .first()
    )
    if live is not None:
        if live.plan_id == plan.pk:
            return live, False
        raise ConflictError(
            f"The customer already subscribes to {live.plan.name} of this product; terminate it first.",
            code="SUBSCRIPTION_EXISTS",
            details={"subscriptionId": live.public_id, "planId": live.plan.public_id},
        )
    _check_dates(plan, started_at, as_of, options)
    is_backdated = as_of - started_at > BACKDATED_AFTER
    bills_from_now = is_backdated and options.elapsed_period_billing == "none"
    tz = customer.timezone or customer.organization.timezone
    anchor = find_anchor(plan=plan, tz=tz, day=options.billing_day) or options.billing_anchor
    trial_ends_at = find_trial_end(
        customer=customer,
        plan=plan,
        started_at=started_at,
        tz=tz,
        ends_at=options.trial_ends_at,
        period=options.trial_period,
    )
    periods = _term_periods(plan, options)
    subscription = Subscription(
        organization_id=customer.organization_id,
        customer=customer,
        plan=plan,
        plan_version_id=_default_version(plan),
        product_id=plan.product_id,
        test_clock=options.test_clock,
        name=name,
        status=SubscriptionStatus.SCHEDULED,
        version_policy=options.version_policy,
        currency=plan.currency,
        placed_at=as_of,
        started_at=started_at,
        billing_starts_at=as_of if bills_from_now else started_at,
        replaces=options.replaces,
        billing_anchor=anchor or own_anchor(started_at, trial_ends_at),
        billing_cadence=plan.billing_cadence,
        has_own_anchor=anchor is None,
        timezone=tz,
        trial_ends_at=trial_ends_at,
        trial_usage=options.trial_usage or plan.trial_usage,
        elapsed_period_billing=options.elapsed_period_billing,
        ending_at=options.ending_at,
        next_action_at=max(started_at, as_of),
        auto_charge=options.auto_charge,
        tax_exempt=options.tax_exempt,
        auto_approve=options.auto_approve,
        payment_term_days=options.payment_term_days,
        session_expiry_minutes=options.session_expiry_minutes,
        redirect_on_success=options.redirect_on_success,
        redirect_on_failure=options.redirect_on_failure,
        renewal_reminder_enabled=options.renewal_reminder_enabled,
        renewal_reminder_days=options.renewal_reminder_days,
        minimum_account_balance=options.minimum_account_balance,
        change_reason=options.change_reason,
        change_description=options.change_description,
        change_metadata=options.change_metadata,
        metadata=options.metadata,
        auto_renew=plan.auto_renew if options.auto_renew is None else options.auto_renew,
    )
    if periods:
        subscription.term_periods, subscription.term_number = periods, max(options.term_number, 1)
        subscription.term_ends_at = options.term_ends_at or first_term_end(
            grid_of(subscription), cadence_of(subscription), periods
        )
        while subscription.auto_renew and subscription.term_ends_at <= as_of:
            subscription.term_ends_at = following_term_end(subscription, subscription.term_ends_at)
            subscription.term_number += 1
        if subscription.term_ends_at <= as_of:
            message = "The term is over already; choose a later start, more periods, or let it renew."
            raise InvalidError(message, errors=[FieldError("termPeriods", message, "invalid")])
    subscription.save()
    choose_quantities(subscription=subscription, items=options.items, from_=started_at)
    publish(
        SubscriptionCreated(
            subscription_id=subscription.public_id,
            customer_id=customer.public_id,
            plan_id=plan.public_id,
            status=subscription.status,
        ),
        organization_id=subscription.organization_id,
        object_id=subscription.public_id,
        at=as_of,
    )
    return subscription, True


def activate(*, subscription: Subscription, as_of: datetime) -> None:
    """Make a placed subscription active and open the period that holds the present (caller's transaction)."""
    grid = grid_of(subscription)
    slot = grid.slot_at(cadence_of(subscription), _opening_instant(subscription))
    if slot is None:
        raise ConflictError("The term of this subscription is over before it began.", code="TERM_OVER")
    subscription.status = SubscriptionStatus.ACTIVE
    subscription.activated_at = as_of
    subscription.period_number = 1
    subscription.period_start, subscription.period_end = slot.service.start, slot.service.end
    subscription.next_action_at = slot.service.end
    plan_reminder(subscription)
    subscription.save()
    publish(
        SubscriptionActivated(subscription_id=subscription.public_id, activated_at=as_of),
        organization_id=subscription.organization_id,
        object_id=subscription.public_id,
        at=as_of,
    )
    tell_followers([(subscription, slot.service.start)])


def _opening_instant(subscription: Subscription) -> datetime:
    """Give an instant of the first open period: elapsed ones are on Invoice 0, or not billed at all."""
    if subscription.placed_at - subscription.started_at > BACKDATED_AFTER:
        return subscription.placed_at
    return subscription.started_at


BOUNDARY_COLUMNS = (
    "status",
    "terminated_at",
    "terminated_by",
    "termination_reason",
    "period_number",
    "period_start",
    "period_end",
    "next_action_at",
    "plan_version",
    "next_version",
    "next_reminder_at",
    "term_number",
    "term_ends_at",
)


def move_on(*, subscriptions: Sequence[Subscription]) -> None:
    """Move locked, active subscriptions whose period is over into the next one.

    The caller's transaction saves them. At the end of its term there is no next period: the subscription is
    terminated instead.
    """
    announcements = []
    followed: list[Moment] = []
    for subscription in subscriptions:
        ended_at = subscription.period_end
        assert ended_at is not None
        slot = grid_of(subscription).slot_at(cadence_of(subscription), ended_at)
        if slot is None:
            subscription.status = SubscriptionStatus.TERMINATED
            subscription.terminated_at = ended_at
            subscription.next_action_at = subscription.next_reminder_at = None
            if subscription.cancels_at != ended_at:
                subscription.terminated_by = "term"
                subscription.termination_reason = "The fixed term ended."
            announcements.append(_cancelled(subscription))
            followed.append((subscription, ended_at))
            continue
        reminder = None if subscription.paused_at else find_reminder(subscription, slot.service)
        if subscription.term_ends_at is not None and subscription.term_ends_at <= ended_at:
            subscription.term_ends_at = following_term_end(subscription, ended_at)
            subscription.term_number += 1
        subscription.next_reminder_at = reminder
        subscription.period_number += 1
        subscription.period_start, subscription.period_end = slot.service.start, slot.service.end
        subscription.next_action_at = slot.service.end
        version_id = upcoming_version_id(subscription)
        if version_id != subscription.plan_version_id:
            followed.append((subscription, ended_at))
        subscription.plan_version_id, subscription.next_version_id = version_id, None
        if ended_at == subscription.trial_ends_at:
            ended = TrialEnded(subscription_id=subscription.public_id, trial_ends_at=ended_at)
            announcements.append(Announcement(ended, subscription.organization_id, subscription.public_id, ended_at))
        elif subscription.paused_at is None and not is_tried(subscription, ended_at):
            renewed = SubscriptionRenewed(
                subscription_id=subscription.public_id,
                period_number=subscription.period_number,
                period_start=slot.service.start,
                period_end=slot.service.end,
                term_number=subscription.term_number,
                term_ends_at=subscription.term_ends_at,
            )
            announcements.append(
                Announcement(renewed, subscription.organization_id, subscription.public_id, ended_at)
            )
    publish_all(announcements)
    tell_followers(followed)


def mark_terminated(*, subscription: Subscription, at: datetime, by: str, reason: str, change_reason: str) -> None:
    """Write down the end of a subscription (caller's transaction)."""
    subscription.status = SubscriptionStatus.TERMINATED
    subscription.terminated_at = at
    subscription.terminated_by = by
    subscription.termination_reason = reason
    subscription.termination_change_reason = change_reason
    subscription.next_action_at = subscription.next_reminder_at = None
    subscription.save()
    announce_cancelled(subscription)
    tell_followers([(subscription, at)])


def announce_cancelled(subscription: Subscription) -> None:
    publish_all([_cancelled(subscription)])


def _cancelled(subscription: Subscription) -> Announcement:
    assert subscription.terminated_at is not None
    cancelled = SubscriptionCancelled(
        subscription_id=subscription.public_id,
        terminated_at=subscription.terminated_at,
        reason=subscription.termination_reason,
    )
    return Announcement(cancelled, subscription.organization_id, subscription.public_id, subscription.terminated_at)


def _term_periods(plan: Plan, options: SubscriptionOptions) -> int:
    """Give of how many periods a new subscription's term is; 0 without one, as where its end is a date."""
    if options.term_periods is not None:
        return options.term_periods
    return 0 if options.ending_at is not None else plan.term_periods or 0


def _default_version(plan: Plan) -> int:
    version_id = Plan.objects.filter(pk=plan.pk).values_list("default_version_id", flat=True).get()
    assert version_id is not None, "every plan is made with its first version"
    return int(version_id)


def _check_dates(plan: Plan, started_at: datetime, as_of: datetime, options: SubscriptionOptions) -> None:
    errors = []
    problem = find_day_problem(Cadence.parse(plan.billing_cadence), options.billing_day, None)
    if problem is not None:
        errors.append(FieldError("billingDay", problem, "invalid"))
    if options.trial_ends_at is not None and options.trial_ends_at <= started_at:
        errors.append(FieldError("trialEndsAt", "The trial must end after the start.", "invalid"))
    if options.ending_at is not None and options.ending_at <= max(started_at, as_of):
        errors.append(FieldError("endingAt", "The end must lie after the start and the present.", "invalid"))
    if options.elapsed_period_billing == "per_period" and add(started_at, MAXIMUM_BACKDATING) < as_of:
        errors.append(FieldError("startedAt", "Elapsed periods are billed at most 12 months back.", "too_far_back"))
    if errors:
        raise InvalidError("The dates of the subscription do not fit.", errors=errors)
