"""Adjustments of subscriptions, as billing and lists read them."""

from collections import defaultdict
from collections.abc import Iterable

from django.db.models import QuerySet

from apps.invoicing.domain.adjustments import AdjustmentTerms
from apps.invoicing.models import SubscriptionAdjustment
from apps.subscriptions.models import Subscription


def adjustments_of(*, subscription: Subscription) -> QuerySet[SubscriptionAdjustment]:
    """Give a subscription's adjustments, the oldest window first."""
    rows = SubscriptionAdjustment.objects.filter(subscription=subscription).select_related("subscription", "price")
    return rows.order_by("effective_from", "pk")


def adjustment_terms(subscription_ids: Iterable[int]) -> dict[int, list[AdjustmentTerms]]:
    """Give the adjustments of subscriptions with one query, the oldest window first; empty where there are none."""
    found: dict[int, list[AdjustmentTerms]] = defaultdict(list)
    rows = SubscriptionAdjustment.objects.filter(subscription_id__in=set(subscription_ids))
    for row in rows.order_by("subscription_id", "effective_from", "pk"):
        found[row.subscription_id].append(terms_of(row))
    return found


def terms_of(row: SubscriptionAdjustment) -> AdjustmentTerms:
    """Give an adjustment as billing reads it."""
    return AdjustmentTerms(
        public_id=row.public_id,
        type=row.type,
        value=row.value,
        price_id=row.price_id,
        start=row.effective_from,
        end=row.effective_to,
        placed_at=row.placed_at,
        name=row.description,
    )
