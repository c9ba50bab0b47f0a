"""Credits that plans give: granted into pools when a subscription begins, and gone with it."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from apps.catalog.models import CreditAllocation, PricingUnit
from apps.catalog.selectors.units import allocations_by_version
from apps.customers.models import Customer
from apps.entitlements.events import GrantCreated, GrantVoided
from apps.entitlements.models import CreditPool, Grant
from apps.entitlements.services.granting import GrantTerms, create_grant
from apps.entitlements.services.metering import meter_credits, open_pool
from apps.kernel.ids import new_id
from apps.outbox.services import Announcement, publish_all
from apps.subscriptions.models import Subscription, SubscriptionStatus

# Before what is granted by hand: that stays, when these are filled up again or end with their subscription.
PRIORITY = -1


def follow_plans(moments: Sequence[tuple[Subscription, datetime]]) -> None:
    """Give subscriptions the credits of their plan versions, and let their usage draw them (caller's transaction).

    What is given once stays while the subscription lasts, whichever version it moves to, and is never given again.
    What recurs follows the version. At the end of the subscription all of it ends.
    """
    active = [one for one, _ in moments if one.status == SubscriptionStatus.ACTIVE]
    given = allocations_by_version({one.plan_version_id for one in active})
    for subscription, at in sorted(moments, key=lambda moment: moment[0].customer_id):
        if subscription.status == SubscriptionStatus.ACTIVE:
            _allocate(subscription, given[subscription.plan_version_id], at)
        else:
            for grant in _grants_of(subscription):
                _withdraw(grant, at)
    meter_credits([subscription for subscription, _ in moments])


@transaction.atomic
def grant_credits(
    *, customer: Customer, pricing_unit: PricingUnit, terms: GrantTerms, as_of: datetime, is_effective_given: bool
) -> Grant:
    """Give credits to a customer's pool, or give the grant that the same key made before.

    Args:
        is_effective_given: whether the caller named the start.

    Raises:
        ConflictError: the key made another grant.
        InvalidError: the expiry does not lie after the start.
    """
    pool = open_pool(customer=customer, pricing_unit_id=pricing_unit.pk, at=terms.effective_at)
    grant, _ = create_grant(entitlement_id=pool.pk, terms=terms, as_of=as_of, is_effective_given=is_effective_given)
    return grant


def _grants_of(subscription: Subscription) -> list[Grant]:
    """Give what a subscription's plan gave it, oldest first, its pools locked."""
    rows = Grant.objects.filter(subscription=subscription)
    pools = set(rows.values_list("entitlement_id", flat=True))
    if not pools:
        return []
    list(CreditPool.objects.select_for_update().filter(pk__in=pools).order_by("pk").values_list("pk"))
    return list(rows.select_related("entitlement").order_by("pk"))


def _allocate(subscription: Subscription, allocations: Sequence[CreditAllocation], at: datetime) -> None:
    known: dict[int, list[Grant]] = {}
    for grant in _grants_of(subscription):
        known.setdefault(grant.entitlement.pricing_unit_id or 0, []).append(grant)
    wanted = {one.pricing_unit_id: one for one in allocations}
    for unit_id in known.keys() - wanted.keys():
        for grant in known[unit_id]:
            if grant.recurrence:
                _withdraw(grant, at)
    if not wanted:
        return
    customer = Customer.objects.select_related("organization").get(pk=subscription.customer_id)
    for unit_id, one in sorted(wanted.items()):
        pool = open_pool(customer=customer, pricing_unit_id=unit_id, at=at)
        # Anew, now that nobody else gives any.
        rows = list(Grant.objects.filter(subscription=subscription, entitlement=pool).order_by("pk"))
        recurring = [grant for grant in rows if grant.recurrence]
        latest = recurring[-1] if recurring else None
        # One that a person voided stays void.
        if latest is not None and one.recurrence and not latest.is_withdrawn and _is_same(latest, one):
            continue
        for grant in recurring:
            _withdraw(grant, at)
        if one.recurrence or all(grant.recurrence for grant in rows):
            _mint(subscription, pool, one, at)


def _is_same(grant: Grant, one: CreditAllocation) -> bool:
    return (grant.amount, grant.recurrence) == (one.amount, one.recurrence)


def _mint(subscription: Subscription, pool: CreditPool, one: CreditAllocation, at: datetime) -> None:
    grant = Grant.objects.create(
        organization_id=subscription.organization_id,
        entitlement=pool,
        subscription=subscription,
        amount=one.amount,
        priority=PRIORITY,
        granted_at=at,
        effective_at=at,
        recurrence=one.recurrence,
        # With the subscription's periods, also where the first of them is short.
        recurs_from=subscription.billing_anchor if one.recurrence else None,
        idempotency_key=new_id("plan"),
    )
    created = GrantCreated(grant.public_id, pool.public_id, grant.amount, grant.effective_at)
    publish_all([Announcement(created, grant.organization_id, grant.public_id, at)])


def _withdraw(grant: Grant, at: datetime) -> None:
    if grant.voided_at is not None:
        return
    grant.voided_at, grant.is_withdrawn = at, True
    grant.save(update_fields=["voided_at", "is_withdrawn", "updated_at"])
    voided = GrantVoided(grant.public_id, grant.entitlement.public_id, at)
    publish_all([Announcement(voided, grant.organization_id, grant.public_id, at)])
