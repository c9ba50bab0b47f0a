"""Adjustments of subscriptions, as billing and lists read them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set

from django.db.models import QuerySet

from apps.catalog.models import PlanVersionPrice
from apps.invoicing.domain.adjustments import AdjustmentTerms
from apps.invoicing.models import SubscriptionAdjustment
from apps.kernel.rows import many
from apps.subscriptions.models import Subscription


def adjustments_of(*, subscription: Subscription) -> QuerySet[SubscriptionAdjustment]:
    """Give a subscription's adjustments, the oldest window first."""
    rows = SubscriptionAdjustment.objects.filter(subscription=subscription).select_related("subscription", "price")
    return rows.order_by("effective_from", "pk")


def adjustment_terms(subscription_ids: Iterable[int]) -> dict[int, list[AdjustmentTerms]]:
    """Give the adjustments of subscriptions, the oldest window first; empty where there are none.

    One query; another one where any is of a price.
    """
    found: dict[int, list[AdjustmentTerms]] = defaultdict(list)
    rows = SubscriptionAdjustment.objects.filter(subscription_id__in=many(set(subscription_ids)))
    ordered = list(rows.select_related("subscription").order_by("subscription_id", "effective_from", "pk"))
    places = _prices_in_place(ordered)
    for row in ordered:
        found[row.subscription_id].append(_terms_of(row, places))
    return found


def terms_of(row: SubscriptionAdjustment) -> AdjustmentTerms:
    """Give an adjustment as billing reads it."""
    return _terms_of(row, _prices_in_place([row]))


def _terms_of(row: SubscriptionAdjustment, places: Mapping[tuple[int, int], Set[int]]) -> AdjustmentTerms:
    price_ids: Set[int] = set()
    if row.price_id is not None:
        price_ids = {row.price_id, *places.get((row.subscription.plan_id, row.price_id), ())}
    return AdjustmentTerms(
        public_id=row.public_id,
        type=row.type,
        value=row.value,
        price_ids=frozenset(price_ids),
        start=row.effective_from,
        end=row.effective_to,
        placed_at=row.placed_at,
        name=row.description,
    )


def _prices_in_place(rows: Iterable[SubscriptionAdjustment]) -> Mapping[tuple[int, int], Set[int]]:
    """Give, by plan and price, the prices that versions of the plan have under the same key.

    An agreement is about a line of the plan: it stays when another price, or another id, takes that line.
    """
    targets = {(row.subscription.plan_id, row.price_id) for row in rows if row.price_id is not None}
    if not targets:
        return {}
    slots = PlanVersionPrice.objects.filter(plan_version__plan_id__in={plan_id for plan_id, _ in targets})
    keys = slots.filter(price_id__in={price_id for _, price_id in targets}).values("key")
    lines: dict[tuple[int, str], set[int]] = defaultdict(set)
    for plan_id, key, price_id in slots.filter(key__in=keys).values_list("plan_version__plan_id", "key", "price_id"):
        lines[plan_id, key].add(price_id)
    found: dict[tuple[int, int], set[int]] = defaultdict(set)
    for (plan_id, _), price_ids in lines.items():
        for price_id in price_ids:
            found[plan_id, price_id] |= price_ids
    return found
