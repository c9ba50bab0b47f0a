"""What subscriptions agreed on their prices over time, as billing reads it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from django.db.models import QuerySet

from apps.catalog.models import PlanVersionPrice, PriceRevision
from apps.catalog.selectors.terms import current_lines, revisions_by_id
from apps.kernel.rows import many
from apps.rating.grouped import GroupedPrice, parse_price
from apps.rating.price_models import TransactionPriceModel
from apps.rating.price_models.standard import StandardPrice
from apps.subscriptions.domain.lines import Line, Shown, shown_intervals
from apps.subscriptions.domain.plan_lines import PlanLines
from apps.subscriptions.domain.timeline import EMPTY, Interval, Step, Timeline
from apps.subscriptions.models import (
    Subscription,
    SubscriptionInterval,
    SubscriptionIntervalChange,
    SubscriptionQuantity,
)
from apps.subscriptions.selectors.clocks import current_time


def timelines_of(subscriptions: Iterable[Subscription]) -> dict[int, Timeline]:
    """Give the timelines of subscriptions by key, with a fixed number of queries; most are empty.

    Prices are the lines that they are at present; what bills asks for those that they were.
    """
    by_id = {subscription.pk: subscription for subscription in subscriptions}
    intervals: dict[int, list[SubscriptionInterval]] = defaultdict(list)
    rows = SubscriptionInterval.objects.filter(subscription_id__in=many(by_id)).select_related("plan_version")
    for row in rows.order_by("pk"):
        intervals[row.subscription_id].append(row)
    own: dict[int, list[Step]] = defaultdict(list)
    chosen: dict[int, dict[str, list[Step]]] = defaultdict(lambda: defaultdict(list))
    for quantity in SubscriptionQuantity.objects.filter(subscription_id__in=many(by_id)).order_by("effective_at"):
        step = Step(quantity.effective_at, quantity.quantity)
        if quantity.interval_id is not None:
            own[quantity.interval_id].append(step)
        else:
            chosen[quantity.subscription_id][quantity.price_key].append(step)
    differing = [by_id[key] for key in sorted({*intervals, *chosen})]
    keys = keys_of(differing)
    return {
        key: EMPTY
        if key not in keys
        else Timeline(
            intervals=tuple(interval_of(row, own[row.pk]) for row in intervals[key]),
            steps={name: tuple(steps) for name, steps in chosen[key].items()},
            lines=PlanLines.always(keys[key]),
        )
        for key in by_id
    }


def timeline_of(subscription: Subscription) -> Timeline:
    """Give the timeline of one subscription."""
    return timelines_of([subscription])[subscription.pk]


def changes_of(*, organization_id: int) -> QuerySet[SubscriptionIntervalChange]:
    """Give the changes of prices and quantities of a merchant's subscriptions, newest first."""
    rows = SubscriptionIntervalChange.objects.filter(organization_id=organization_id)
    return rows.select_related("organization", "subscription").order_by("-id")


def keys_of(subscriptions: Sequence[Subscription]) -> dict[int, dict[int, str]]:
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
        version=row.plan_version.public_id,
    )


def lines_of(subscription: Subscription, timeline: Timeline) -> list[Line]:
    """Give what a subscription bills by the catalogue: the lines of its plan, then those it has alone."""
    kept = {one.key: one.revision_id for one in timeline.owned() if one.revision_id is not None}
    revisions = revisions_by_id(kept.values())
    of_plan = current_lines(plan_version_id=subscription.plan_version_id)
    lines = [line_of(subscription, key, revision) for key, revision in of_plan]
    return lines + [
        line_of(subscription, key, revisions[revision_id], is_owned=True) for key, revision_id in kept.items()
    ]


def line_of(subscription: Subscription, key: str, revision: PriceRevision, *, is_owned: bool = False) -> Line:
    """Give what a subscription bills for terms of the catalogue."""
    model = parse_price(revision.model, revision.properties)
    return Line(
        key=key,
        price_id=revision.price_id,
        price_public_id=revision.price.public_id,
        revision_id=revision.pk,
        quantity=Decimal(revision.quantity),
        unit_price=model.unit_price if isinstance(model, StandardPrice) else None,
        unit_cost=sum((part.amount for part in model.components(Decimal(1))), Decimal(0)),
        period=revision.billing_cadence or subscription.billing_cadence,
        is_in_advance=revision.payment_term == "in_advance",
        metric_public_id="" if revision.metric is None else revision.metric.public_id,
        is_usage=revision.bills_usage,
        is_obligation=revision.is_obligation,
        takes_unit_price=not isinstance(model, GroupedPrice | TransactionPriceModel),
        is_owned=is_owned,
    )


def shown_of(subscription: Subscription, timeline: Timeline, lines: Sequence[Line]) -> list[Shown]:
    """Give every price interval of a subscription in order of time."""
    return shown_intervals(
        timeline,
        lines,
        subscription=subscription.public_id,
        version=subscription.plan_version.public_id,
        starts_at=subscription.started_at,
    )
