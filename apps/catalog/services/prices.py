from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F

from apps.catalog.models import BillableMetric, Feature, Fee, MetricMode, PlanVersionPrice, Price, PriceRevision
from apps.catalog.selectors.spend import Spend, spend_of_price
from apps.catalog.services.price_rules import check_price
from apps.catalog.services.spend import merged, put_on_revision
from apps.kernel.errors import ConflictError

REVISED = (
    "model",
    "properties",
    "payment_term",
    "billing_cadence",
    "quantity",
    "invoice_display_name",
    "is_obligation",
    "is_flat",
    "supply_scope",
    "pricing_unit_id",
)
# What a price has beside its terms.
SWAPPED = (
    "metric_id", "fee_id", "feature_id", "entitlement_template", "invoice_display_group", "grant_discount_enabled",
    "rate_type", "outside_scope_label",
)  # fmt: skip

# How many live subscriptions bill a price; the app that knows subscriptions says so at start-up.
_subscription_counters: list[Callable[[int], int]] = []


def register_subscription_counter(count: Callable[[int], int]) -> None:
    """Let a higher app tell how many live subscriptions bill a price (by its key)."""
    _subscription_counters.append(count)


@transaction.atomic
def create_price(
    *,
    organization_id: int,
    metric: BillableMetric | None,
    fee: Fee | None,
    feature: Feature | None = None,
    spend: Spend | None = None,
    **fields: Any,
) -> Price:
    """Make a price with its first revision.

    Args:
        spend: the least and the most that its periods bill; nothing by default.

    Raises:
        InvalidError: the fields contradict each other; every bad one is named.
    """
    price = Price(organization_id=organization_id, metric=metric, fee=fee, feature=feature, **fields)
    check_price(price, spend)
    price.save()
    _append_revision(price, spend or {})
    return price


@transaction.atomic
def update_price(*, price_id: int, changes: dict[str, Any], spend: Mapping[str, Any] | None = None) -> Price:
    """Change a price: open periods keep the terms they opened with, later ones bill by the new terms.

    Args:
        spend: changed commitments and caps by kind, None takes one away; what is not named stays.

    Raises:
        InvalidError: the result contradicts itself.
        ConflictError: live subscriptions forbid the change.
    """
    price = Price.objects.select_for_update().get(pk=price_id)
    swapped = [name for name in ("metric", "fee") if name in changes and changes[name] != getattr(price, name)]
    if swapped:
        subscriptions = sum(count(price.pk) for count in _subscription_counters)
        metric = changes.get("metric", price.metric)
        counts = metric is not None and metric.mode == MetricMode.USAGE
        if subscriptions and counts and not price.bills_usage:
            raise ConflictError(
                "Live subscriptions bill a chosen quantity of this price; it cannot become metered.",
                code="PRICE_IN_USE",
                details={
                    "priceId": price.public_id,
                    "fields": ["billableMetricId"],
                    "subscriptionCount": subscriptions,
                },
            )
    _check_unit_change(price, changes)
    present = spend_of_price(price)
    wanted = merged(present, spend or {})
    before = {name: getattr(price, name) for name in (*REVISED, "metric_id", "fee_id")}
    for name, value in changes.items():
        setattr(price, name, value)
    check_price(price, wanted)
    after = {name: getattr(price, name) for name in (*REVISED, "metric_id", "fee_id")}
    if (before, present) != (after, wanted):
        price.revision_number += 1
        price.save()
        _append_revision(price, wanted)
    else:
        price.save()
    return price


def _check_unit_change(price: Price, changes: Mapping[str, Any]) -> None:
    """Refuse to count the use of live subscribers' rights in something else from one period to the next.

    Raises:
        ConflictError: live subscriptions bill the price.
    """
    if "pricing_unit" not in changes or changes["pricing_unit"] == price.pricing_unit:
        return
    subscriptions = sum(count(price.pk) for count in _subscription_counters)
    if subscriptions:
        raise ConflictError(
            "Live subscriptions bill this price, and its unit decides what their rights are counted in; publish a"
            " version of the plan with another price.",
            code="PRICE_IN_USE",
            details={"priceId": price.public_id, "fields": ["pricingUnitId"], "subscriptionCount": subscriptions},
        )


@transaction.atomic
def delete_price(*, price_id: int, as_of: datetime) -> None:
    """Withdraw a price that no live plan uses.

    Raises:
        ConflictError: live plans use it; they are named with their versions.
    """
    price = Price.objects.select_for_update().get(pk=price_id)
    slots = (
        PlanVersionPrice.objects.filter(price=price, plan_version__plan__deleted_at__isnull=True)
        .filter(plan_version__plan__default_version=F("plan_version"))
        .select_related("plan_version__plan")
        .order_by("plan_version__plan_id")
    )
    numbers: dict[int, list[int]] = {}
    held = PlanVersionPrice.objects.filter(price=price).order_by("plan_version__number")
    for plan_id, number in held.values_list("plan_version__plan_id", "plan_version__number"):
        numbers.setdefault(plan_id, []).append(number)
    items = [
        {
            "id": slot.plan_version.plan.public_id,
            "name": slot.plan_version.plan.name,
            "versionNumber": slot.plan_version.number,
            "versionNumbers": numbers[slot.plan_version.plan_id],
        }
        for slot in slots
    ]
    if items:
        raise ConflictError(
            "Plans sell this price; take it out of them first.",
            code="PRICE_IN_USE",
            details={"blockers": [{"type": "plans", "count": len(items), "items": items}]},
        )
    price.deleted_at = as_of
    price.save(update_fields=["deleted_at", "updated_at"])


def _append_revision(price: Price, spend: Spend) -> None:
    revision = PriceRevision.objects.create(
        price=price,
        metric=price.metric,
        fee=price.fee,
        number=price.revision_number,
        **{name: getattr(price, name) for name in REVISED},
    )
    put_on_revision(revision, spend, organization_id=price.organization_id)


def swap_terms(first_id: int, second_id: int) -> None:
    """Let two prices exchange everything but their ids, each by a new revision (caller's transaction)."""
    rows = list(Price.objects.select_for_update().filter(pk__in=[first_id, second_id]).order_by("pk"))
    fields = [*REVISED, *SWAPPED]
    first, second = (({name: getattr(row, name) for name in fields}, spend_of_price(row)) for row in rows)
    for row, (terms, spend) in zip(rows, (second, first), strict=True):
        for name, value in terms.items():
            setattr(row, name, value)
        row.revision_number += 1
        row.save()
        _append_revision(row, spend)
