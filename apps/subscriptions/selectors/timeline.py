"""What subscriptions agreed on their prices over time, as billing reads it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from apps.catalog.models import PlanVersionPrice
from apps.subscriptions.domain.timeline import EMPTY, Interval, Step, Timeline
from apps.subscriptions.models import Subscription, SubscriptionInterval, SubscriptionQuantity
from apps.subscriptions.selectors.clocks import current_time


def timelines_of(subscriptions: Iterable[Subscription]) -> dict[int, Timeline]:
    """Give the timelines of subscriptions by key, with a fixed number of queries; most are empty."""
    by_id = {subscription.pk: subscription for subscription in subscriptions}
    intervals: dict[int, list[SubscriptionInterval]] = defaultdict(list)
    for row in SubscriptionInterval.objects.filter(subscription_id__in=by_id).order_by("pk"):
        intervals[row.subscription_id].append(row)
    own: dict[int, list[Step]] = defaultdict(list)
    chosen: dict[int, dict[str, list[Step]]] = defaultdict(lambda: defaultdict(list))
    for quantity in SubscriptionQuantity.objects.filter(subscription_id__in=by_id).order_by("effective_at"):
        step = Step(quantity.effective_at, quantity.quantity)
        if quantity.interval_id is not None:
            own[quantity.interval_id].append(step)
        else:
            chosen[quantity.subscription_id][quantity.price_key].append(step)
    differing = [by_id[key] for key in sorted({*intervals, *chosen})]
    keys = _keys_of(differing)
    return {
        key: EMPTY
        if key not in keys
        else Timeline(
            intervals=tuple(interval_of(row, own[row.pk]) for row in intervals[key]),
            steps={name: tuple(steps) for name, steps in chosen[key].items()},
            keys=keys[key] | {row.price_id: row.price_key for row in intervals[key] if row.price_id is not None},
        )
        for key in by_id
    }


def timeline_of(subscription: Subscription) -> Timeline:
    """Give the timeline of one subscription."""
    return timelines_of([subscription])[subscription.pk]


def chosen_quantities(subscription: Subscription) -> dict[str, Decimal]:
    """Give the present quantities, by key, of lines whose quantity was chosen or changed.

    Before the start it is what the start brings. Without a query where the quantities were read along.
    """
    at = max(current_time(subscription), subscription.started_at)
    own: dict[str, Decimal] = {}
    lines: dict[str, Decimal] = {}
    for row in sorted(subscription.price_quantities.all(), key=lambda row: row.effective_at):
        if row.effective_at > at:
            continue
        if row.interval is None:
            lines[row.price_key] = row.quantity
        elif row.interval.span.upper is None or row.interval.span.upper > at:
            own[row.price_key] = row.quantity
    return dict(sorted((lines | own).items()))


def interval_of(row: SubscriptionInterval, steps: Sequence[Step]) -> Interval:
    """Give a stored interval as billing reads it."""
    lower: datetime = row.span.lower
    return Interval(
        public_id=row.public_id,
        key=row.price_key,
        kind=row.kind,
        start=lower,
        end=row.span.upper,
        unit_price=row.unit_price,
        steps=tuple(steps),
        price_id=row.price_id,
        revision_id=row.price_revision_id,
        bills_at=row.bills_at,
    )


def _keys_of(subscriptions: Sequence[Subscription]) -> dict[int, dict[int, str]]:
    """Give which line each price of a subscription's plan is, by the version it is on, then by the latest."""
    if not subscriptions:
        return {}
    slots: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    rows = PlanVersionPrice.objects.filter(plan_version__plan_id__in={row.plan_id for row in subscriptions})
    for plan_id, version_id, price_id, key in rows.order_by("plan_version__number").values_list(
        "plan_version__plan_id", "plan_version_id", "price_id", "key"
    ):
        slots[plan_id].append((version_id, price_id, key))
    found = {}
    for subscription in subscriptions:
        known = slots[subscription.plan_id]
        keys = {price_id: key for _, price_id, key in known}
        keys |= {price_id: key for version, price_id, key in known if version == subscription.plan_version_id}
        found[subscription.pk] = keys
    return found
