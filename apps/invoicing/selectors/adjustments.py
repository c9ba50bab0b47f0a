"""Adjustments of subscriptions, as billing and lists read them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from django.db.models import QuerySet

from apps.invoicing.domain.adjustments import AdjustmentTerms
from apps.invoicing.models import SubscriptionAdjustment
from apps.invoicing.selectors.versions import plan_lines
from apps.kernel.rows import many
from apps.subscriptions.domain.plan_lines import PlanLines
from apps.subscriptions.models import Subscription


def adjustments_of(*, subscription: Subscription) -> QuerySet[SubscriptionAdjustment]:
    """Give a subscription's adjustments, the oldest window first."""
    rows = SubscriptionAdjustment.objects.filter(subscription=subscription).select_related("subscription", "price")
    return rows.order_by("effective_from", "pk")


def adjustment_terms(subscription_ids: Iterable[int]) -> dict[int, list[AdjustmentTerms]]:
    """Give the adjustments of subscriptions, the oldest window first; empty where there are none.

    One query; another where any is of a line of the plan, and two more where its plan's versions exchange prices.
    """
    rows = _rows_of(subscription_ids)
    return _by_subscription(rows, plan_lines(row.subscription for row in rows if row.price_key))


def adjustment_terms_under(lines: Mapping[int, Mapping[int, str]]) -> dict[int, list[AdjustmentTerms]]:
    """Give the same as they would be, had other prices been the lines of the plans all the time.

    Args:
        lines: by the subscription's key, which line each price (its key) is.
    """
    return _by_subscription(_rows_of(lines), {key: PlanLines.always(known) for key, known in lines.items()})


def terms_of(row: SubscriptionAdjustment) -> AdjustmentTerms:
    """Give an adjustment as billing reads it."""
    return _by_subscription([row], plan_lines([row.subscription] if row.price_key else []))[row.subscription_id][0]


def _rows_of(subscription_ids: Iterable[int]) -> list[SubscriptionAdjustment]:
    rows = SubscriptionAdjustment.objects.filter(subscription_id__in=many(set(subscription_ids)))
    return list(rows.select_related("subscription__plan").order_by("subscription_id", "effective_from", "pk"))


def _by_subscription(
    rows: Iterable[SubscriptionAdjustment], lines: Mapping[int, PlanLines]
) -> dict[int, list[AdjustmentTerms]]:
    found: dict[int, list[AdjustmentTerms]] = defaultdict(list)
    for row in rows:
        found[row.subscription_id].append(
            AdjustmentTerms(
                public_id=row.public_id,
                type=row.type,
                value=row.value,
                # An agreement is about a line of the plan: it stays when another price, or another id, takes it.
                line=row.price_key,
                lines=lines.get(row.subscription_id, PlanLines()),
                start=row.effective_from,
                end=row.effective_to,
                placed_at=row.placed_at,
                name=row.description,
            )
        )
    return found
