"""Pools, and which usage draws on them at which price."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet

from apps.catalog.models import PriceRevision
from apps.catalog.selectors.units import revisions_in_credits
from apps.customers.models import Customer
from apps.entitlements.models import CreditPool, Entitlement, PoolMeter
from apps.entitlements.selectors.entitlements import in_force
from apps.entitlements.selectors.pools import is_linear
from apps.kernel.rows import many
from apps.subscriptions.models import Subscription, SubscriptionStatus


def open_pool(*, customer: Customer, pricing_unit_id: int, at: datetime) -> CreditPool:
    """Lock a customer's pool of a unit, making it first (caller's transaction).

    Args:
        at: the moment from which it has something or is drawn on; a pool begins with the first.
    """
    rows = CreditPool.objects.select_for_update().filter(customer=customer, pricing_unit_id=pricing_unit_id)
    pool = rows.first()
    if pool is None:
        made = CreditPool(
            organization_id=customer.organization_id,
            customer=customer,
            pricing_unit_id=pricing_unit_id,
            active_from=at,
            is_metered=True,
            timezone=customer.timezone or customer.organization.timezone,
        )
        try:
            with transaction.atomic():
                made.save()
        except IntegrityError as error:
            if "entitlement_one_pool_of_a_unit" not in str(error):
                raise
        # Two at once: one makes it, the other waits for that and finds it.
        pool = rows.get()
    if at < pool.active_from:
        pool.active_from = at
        pool.save(update_fields=["active_from", "updated_at"])
    return pool


def meter_credits(subscriptions: Sequence[Subscription]) -> None:
    """Let the usage of active subscriptions draw on pools by the terms of their open periods (caller's transaction).

    What is drawn since those began is by these terms, whatever was before; doing it again changes nothing.
    """
    active = [one for one in subscriptions if one.status == SubscriptionStatus.ACTIVE]
    revisions = revisions_in_credits(key for one in active for key in one.price_revision_ids)
    open_meters = _open_meters(subscriptions)
    if not revisions and not open_meters:
        return
    for subscription in sorted(subscriptions, key=lambda one: one.customer_id):
        wanted = {
            revision.metric_id or 0: revision
            for key in subscription.price_revision_ids
            if subscription.status == SubscriptionStatus.ACTIVE and (revision := revisions.get(key)) is not None
        }
        known = open_meters[subscription.pk]
        if wanted or known:
            start = subscription.terminated_at or subscription.period_start
            assert start is not None
            _meter(subscription, wanted, known, start)


def _open_meters(subscriptions: Iterable[Subscription]) -> Mapping[int, list[PoolMeter]]:
    found: dict[int, list[PoolMeter]] = defaultdict(list)
    keys = many({one.pk for one in subscriptions})
    rows = PoolMeter.objects.filter(subscription_id__in=keys, active_to__isnull=True).select_related("pool")
    for row in rows.order_by("pool_id", "pk"):
        found[row.subscription_id or 0].append(row)
    return found


def _meter(
    subscription: Subscription, wanted: Mapping[int, PriceRevision], known: Sequence[PoolMeter], start: datetime
) -> None:
    """Let exactly the wanted terms draw from a moment on, by metric."""
    units = sorted({revision.pricing_unit_id for revision in wanted.values() if revision.pricing_unit_id is not None})
    gone = sorted({row.pool_id for row in known})
    list(CreditPool.objects.select_for_update().filter(pk__in=gone).order_by("pk").values_list("pk"))
    customer = Customer.objects.select_related("organization").get(pk=subscription.customer_id)
    pools = {unit: open_pool(customer=customer, pricing_unit_id=unit, at=start) for unit in units}
    kept = set()
    for row in known:
        revision = wanted.get(row.metric_id)
        is_same = revision is not None and revision.pk == row.revision_id
        # What is counted by the period begins anew with each.
        if revision is not None and is_same and (row.active_from == start or _goes_on(row, revision, start)):
            kept.add(row.metric_id)
        else:
            end_meter(row, start)
    for metric_id, revision in sorted(wanted.items()):
        if metric_id in kept or revision.pricing_unit_id is None:
            continue
        pool = pools[revision.pricing_unit_id]
        # What was issued by hand draws only where no subscription does.
        for row in _by_hand(pool).filter(metric_id=metric_id).filter(_reaching(start)):
            end_meter(row, start)
        PoolMeter.objects.create(
            organization_id=subscription.organization_id,
            pool=pool,
            revision=revision,
            metric_id=metric_id,
            subscription=subscription,
            active_from=start,
        )
    for pool_id in gone:
        _resume_by_hand(pool_id, start)


def _goes_on(row: PoolMeter, revision: PriceRevision, start: datetime) -> bool:
    return row.active_from <= start and is_linear(revision)


def end_meter(row: PoolMeter, at: datetime) -> None:
    """Let a meter draw nothing from a moment on (caller's transaction)."""
    if row.active_from >= at:
        row.delete()
        return
    row.active_to = at
    row.save(update_fields=["active_to"])


def meter_by_hand(right: Entitlement, *, at: datetime) -> None:
    """Let the prices of a feature that was issued by hand draw on its pool, where no subscription does already."""
    assert right.pool_id is not None
    CreditPool.objects.select_for_update().get(pk=right.pool_id)
    taken = set(PoolMeter.objects.filter(_reaching(at), pool_id=right.pool_id).values_list("metric_id", flat=True))
    revisions = PriceRevision.objects.filter(
        price__feature_id=right.right_to_id,
        price__deleted_at__isnull=True,
        number=F("price__revision_number"),
        pricing_unit__isnull=False,
    )
    for revision in revisions.order_by("-pk"):
        # The newest of several prices of a metric.
        if revision.metric_id is None or revision.metric_id in taken:
            continue
        taken.add(revision.metric_id)
        PoolMeter.objects.create(
            organization_id=right.organization_id,
            pool_id=right.pool_id,
            revision=revision,
            metric_id=revision.metric_id,
            right=right,
            active_from=at,
            active_to=right.active_to,
        )


def end_meters_by_hand(right: Entitlement) -> None:
    """Let a feature that was issued by hand draw nothing beyond its end (caller's transaction)."""
    assert right.active_to is not None
    for row in PoolMeter.objects.filter(_reaching(right.active_to), right=right):
        end_meter(row, right.active_to)


def _resume_by_hand(pool_id: int, at: datetime) -> None:
    rights = Entitlement.objects.filter(pool_id=pool_id, is_of_plan=False).order_by("pk")
    for right in in_force(rights, at):
        meter_by_hand(right, at=at)


def _by_hand(pool: Entitlement) -> QuerySet[PoolMeter]:
    return PoolMeter.objects.filter(pool=pool, right__isnull=False)


def _reaching(at: datetime) -> Q:
    """Give the filter for what draws beyond a moment."""
    return Q(active_to__isnull=True) | Q(active_to__gt=at)
