"""Quantities that a customer chooses when it subscribes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from apps.catalog.models import Plan, PlanVersionPrice
from apps.kernel.errors import FieldError, InvalidError
from apps.subscriptions.domain.timeline import quantity_at
from apps.subscriptions.models import Subscription, SubscriptionQuantity
from apps.subscriptions.selectors.timeline import timeline_of

# An amount of so many units at the highest price still fits its column.
MOST_UNITS = Decimal(10**12)


@dataclass(frozen=True, slots=True)
class ChosenItem:
    """How many of one line of the plan, named by its key, by the id of its price or of its flat metric."""

    quantity: Decimal
    price_key: str | None = None
    price_id: str | None = None
    metric_id: str | None = None

    @property
    def field(self) -> str:
        """The wire's name of what names the line."""
        if self.price_key is not None:
            return "priceKey"
        return "priceId" if self.price_id is not None else "billableMetricId"


def choose_quantities(*, subscription: Subscription, items: Sequence[ChosenItem], from_: datetime) -> None:
    """Write down the quantities a new subscription begins with (caller's transaction).

    A line that is not named has the quantity of its price.

    Raises:
        InvalidError: an item names no line of the plan, one that has no quantity, or one twice; each is named.
    """
    chosen = chosen_slots(subscription.plan_version_id, items)
    SubscriptionQuantity.objects.bulk_create(
        SubscriptionQuantity(
            organization_id=subscription.organization_id,
            subscription=subscription,
            price_key=slot.key,
            effective_at=from_,
            quantity=item.quantity,
        )
        for slot, item in zip(chosen, items, strict=True)
    )


def quantities_taken_along(*, subscription: Subscription, plan: Plan, at: datetime) -> tuple[ChosenItem, ...]:
    """Give what another plan begins with of what was chosen under a subscription's plan up to an instant.

    The quantity of a flat metric is its subscriber's, whichever plan prices it; a fee's is the plan's own matter.

    Args:
        subscription: which ends then.
        plan: that follows, by the version that it sells.
    """
    steps = timeline_of(subscription).steps
    chosen = {key: quantity_at(known, at) for key, known in steps.items()}
    flat = PlanVersionPrice.objects.filter(price__is_flat=True)
    known = flat.filter(plan_version_id=subscription.plan_version_id, key__in=chosen)
    quantities = {metric_id: chosen[key] for key, metric_id in known.values_list("key", "price__metric_id")}
    following = flat.filter(plan_version_id=plan.default_version_id, price__metric_id__in=quantities)
    return tuple(
        ChosenItem(quantity, price_key=key)
        for key, metric_id in following.values_list("key", "price__metric_id")
        if (quantity := quantities[metric_id]) is not None
    )


def chosen_slots(plan_version_id: int, items: Sequence[ChosenItem]) -> list[PlanVersionPrice]:
    """Find the lines of a plan version that items name; n items in, n lines out, same order.

    Raises:
        InvalidError: an item names no line of the plan, one that has no quantity, or one twice; each is named.
    """
    slots = list(
        PlanVersionPrice.objects.filter(plan_version_id=plan_version_id).select_related("price__metric")
        if items
        else ()
    )
    by_key = {slot.key: slot for slot in slots}
    by_price = {slot.price.public_id: slot for slot in slots}
    # A plan prices a metric once.
    by_metric = {slot.price.metric.public_id: slot for slot in slots if slot.price.metric is not None}
    errors: list[FieldError] = []
    found: list[PlanVersionPrice] = []
    for number, item in enumerate(items):
        field = f"items.{number}.{item.field}"
        if item.price_key is not None:
            slot = by_key.get(item.price_key)
        elif item.price_id is not None:
            slot = by_price.get(item.price_id)
        else:
            slot = by_metric.get(item.metric_id or "")
        if slot is None:
            errors.append(FieldError(field, "The plan has no such price.", "unknown"))
        elif slot.price.bills_usage:
            errors.append(FieldError(field, "Usage is the quantity of this price; it cannot be chosen.", "invalid"))
        elif slot in found:
            errors.append(FieldError(field, "Name each price once.", "duplicate"))
        else:
            found.append(slot)
    if errors:
        raise InvalidError("The quantities do not fit the plan.", errors=errors)
    return found
