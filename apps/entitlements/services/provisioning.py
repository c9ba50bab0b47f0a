"""Rights that come with a plan: what a subscription has follows what its plan version sells."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q

from apps.catalog.domain.templates import TemplateError
from apps.catalog.models import Feature, PlanVersionPrice, Price
from apps.entitlements.domain.engine import Balances
from apps.entitlements.models import Entitlement, EntitlementMeter
from apps.entitlements.selectors.histories import ALLOWANCE, histories
from apps.entitlements.selectors.terms import terms_of
from apps.entitlements.services.credits import follow_plans
from apps.entitlements.services.granting import carry_grants
from apps.entitlements.services.issuing import add_meters, end_entitlement, store_entitlement
from apps.entitlements.services.metering import open_pool
from apps.kernel.money import EXACT
from apps.subscriptions.models import Subscription, SubscriptionStatus


@dataclass(slots=True)
class Sold:
    """A feature that a plan version sells: the template it comes with, and the prices that bring it."""

    feature: Feature
    template: dict[str, Any] | None = None
    prices: list[Price] = field(default_factory=list)

    @property
    def pricing_unit_id(self) -> int | None:
        """What its use is counted in; a plan's prices of one feature agree on that."""
        return self.prices[0].pricing_unit_id if self.feature.type == "metered" else None

    @property
    def is_billed(self) -> bool:
        return any(price.bills_usage for price in self.prices)


@dataclass(slots=True)
class Outcome:
    """What provisioning did for a subscription: features given, already there, taken away, and not possible."""

    added: list[Sold] = field(default_factory=list)
    skipped: list[Sold] = field(default_factory=list)
    removed: list[Feature] = field(default_factory=list)
    failed: list[tuple[Feature, str]] = field(default_factory=list)


def follow(moments: Sequence[tuple[Subscription, datetime]]) -> None:
    """Provision subscriptions that began, ended or moved to another version (caller's transaction)."""
    provision(moments)
    follow_plans(moments)


@transaction.atomic
def reconcile(*, subscription_id: int, as_of: datetime, is_dry: bool = False) -> Outcome:
    """Bring rights and credits of a subscription in line with its plan version; in line already is no error.

    Args:
        is_dry: whether only to say what would be done.
    """
    rows = Subscription.objects.select_for_update(of=("self",), no_key=True).select_related("test_clock")
    subscription = rows.get(pk=subscription_id)
    if not is_dry:
        found = provision([(subscription, as_of)])[subscription_id]
        follow_plans([(subscription, subscription.terminated_at or as_of)])
        return found
    sold = sold_features([subscription])[subscription.plan_version_id]
    present = _present([(subscription, as_of)])[subscription.pk]
    is_live = subscription.status == SubscriptionStatus.ACTIVE
    outcome = Outcome()
    for feature_id, one in sold.items() if is_live else ():
        known = present.get(feature_id)
        is_same = known is not None and _is_same(known, one)
        (outcome.skipped if is_same else outcome.added).append(one)
    outcome.removed = [
        row.right_to for key, row in present.items() if row.is_of_plan and (key not in sold or not is_live)
    ]
    return outcome


def provision(moments: Sequence[tuple[Subscription, datetime]]) -> dict[int, Outcome]:
    """Give subscriptions the features their plan versions sell, and take others away (caller's transaction).

    Returns:
        What was done, by subscription key.
    """
    sold = sold_features([one for one, _ in moments if one.status == SubscriptionStatus.ACTIVE])
    present = _present(moments)
    left = _left_of_replaced(moments, sold, present)
    found = {}
    for subscription, at in moments:
        if subscription.status == SubscriptionStatus.ACTIVE:
            found[subscription.pk] = _conform(
                subscription, sold[subscription.plan_version_id], present[subscription.pk], left, at
            )
        else:
            rows = list(present[subscription.pk].values())
            for row in rows:
                end_entitlement(row, at=at)
            found[subscription.pk] = Outcome(removed=[row.right_to for row in rows])
    return found


def sold_features(subscriptions: Sequence[Subscription]) -> dict[int, dict[int, Sold]]:
    """Give the features that the plan versions of subscriptions sell, by version and feature."""
    found: dict[int, dict[int, Sold]] = {one.plan_version_id: {} for one in subscriptions}
    slots = PlanVersionPrice.objects.filter(plan_version_id__in=found, price__feature__isnull=False)
    for slot in slots.select_related("price__feature").order_by("plan_version_id", "position"):
        price = slot.price
        assert price.feature is not None
        sold = found[slot.plan_version_id].setdefault(price.feature_id or 0, Sold(price.feature))
        sold.prices.append(price)
        if sold.template is None:
            sold.template = price.entitlement_template
    return found


def _present(moments: Sequence[tuple[Subscription, datetime]]) -> dict[int, dict[int, Entitlement]]:
    """Give the rights of subscriptions that go on beyond their moments, by subscription and feature."""
    at = {subscription.pk: moment for subscription, moment in moments}
    found: dict[int, dict[int, Entitlement]] = defaultdict(dict)
    rows = (
        Entitlement.objects.select_for_update(of=("self",))
        .filter(Q(active_to__isnull=True) | Q(active_to__gt=min(at.values())), subscription_id__in=at)
        .select_related("customer", "feature", "pool", "subscription")
        .order_by("pk")
    )
    for row in rows:
        if row.subscription_id is not None and (row.active_to is None or row.active_to > at[row.subscription_id]):
            found[row.subscription_id][row.feature_id or 0] = row
    return {key: found[key] for key in at}


def _left_of_replaced(
    moments: Sequence[tuple[Subscription, datetime]],
    sold: Mapping[int, Mapping[int, Sold]],
    present: Mapping[int, Mapping[int, Entitlement]],
) -> dict[int, Balances]:
    """Give what is left of metered rights that others are to take the place of, by right and grant."""
    replaced = [
        (row, at)
        for subscription, at in moments
        if subscription.status == SubscriptionStatus.ACTIVE
        for feature_id, one in sold[subscription.plan_version_id].items()
        if (row := present[subscription.pk].get(feature_id)) is not None
        if row.is_of_plan and row.is_metered and row.pool_id is None and not _is_same(row, one)
    ]
    # A reset at the very moment has happened, as it would have.
    return {key: history.state.balances for key, history in histories(replaced).items()} if replaced else {}


def _conform(
    subscription: Subscription,
    sold: Mapping[int, Sold],
    present: Mapping[int, Entitlement],
    left: Mapping[int, Balances],
    at: datetime,
) -> Outcome:
    outcome = Outcome()
    for feature_id, row in present.items():
        if row.is_of_plan and feature_id not in sold:
            end_entitlement(row, at=at)
            outcome.removed.append(row.right_to)
    for feature_id, one in sold.items():
        known = present.get(feature_id)
        if known is not None and (not known.is_of_plan or _is_same(known, one)):
            if known.pool_id is None:
                add_meters(known, one.prices)
            outcome.skipped.append(one)
            continue
        first = None
        if known is not None:
            first = _first_allowance(known, one, subscription.billing_anchor, left.get(known.pk, {}))
            # A bill of the running period may be by the new prices, also of the time before.
            counted = _metrics_of(known)
            add_meters(known, [price for price in one.prices if price.metric_id in counted])
            end_entitlement(known, at=at)
        made = _give(subscription, one, at, first_allowance=first)
        if made is None:
            outcome.failed.append((one.feature, "entitlement_failed"))
            continue
        if known is not None and known.pool_id is None and made.pool_id is None:
            carry_grants(known, made, left=left.get(known.pk, {}), at=at)
        outcome.added.append(one)
    return outcome


def _metrics_of(row: Entitlement) -> set[int]:
    return set(EntitlementMeter.objects.filter(entitlement=row).values_list("metric_id", flat=True))


def _first_allowance(known: Entitlement, sold: Sold, anchor: datetime, left: Balances) -> Decimal | None:
    """Give what a right issues at first that takes another's place within a usage period: less what was used already.

    What rolled over stays. None where the new one begins as any does: its usage periods are others, or the old one
    issued nothing.
    """
    try:
        terms = terms_of(sold.feature, sold.template)
    except TemplateError:
        return None
    if terms.amount is None or known.allowance is None:
        return None
    if known.pool_id is not None or sold.pricing_unit_id is not None:
        return None
    calendar = ("", None) if terms.cadence is None else (terms.cadence.iso, terms.anchor or anchor)
    if calendar != (known.reset_cadence, known.reset_anchor):
        return None
    used = EXACT.subtract(known.allowance, left.get(ALLOWANCE, Decimal(0)))
    return max(EXACT.subtract(terms.amount, used), Decimal(0))


def _give(
    subscription: Subscription, sold: Sold, at: datetime, *, first_allowance: Decimal | None = None
) -> Entitlement | None:
    unit_id = sold.pricing_unit_id
    # Beyond a pool nothing is charged, so that without a template its end is one.
    template = {} if unit_id is not None and sold.template is None else sold.template
    try:
        terms = terms_of(sold.feature, template)
    except TemplateError:
        # Written before the feature became of another type.
        return None
    pool = None if unit_id is None else open_pool(customer=subscription.customer, pricing_unit_id=unit_id, at=at)
    made = store_entitlement(
        customer=subscription.customer,
        pool=pool,
        feature=sold.feature,
        terms=terms,
        template=sold.template,
        prices=sold.prices,
        active_from=at,
        subscription=subscription,
        is_of_plan=True,
        first_allowance=first_allowance,
    )
    if made is None:
        # The merchant gave it by hand: that right stays, and the plan's prices draw on it.
        for row in Entitlement.objects.filter(customer_id=subscription.customer_id, feature=sold.feature).filter(
            Q(active_to__isnull=True) | Q(active_to__gt=at)
        ):
            if row.is_metered and row.pool_id is None:
                add_meters(row, sold.prices)
    return made


def _is_same(known: Entitlement, sold: Sold) -> bool:
    """Whether a right is what the plan sells: by a template that says the same, and counted in the same."""
    unit_id = None if known.pool is None else known.pool.pricing_unit_id
    return _says_the_same(sold.feature, known.template, sold.template) and unit_id == sold.pricing_unit_id


def _says_the_same(feature: Feature, one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    try:
        return one == other or terms_of(feature, one) == terms_of(feature, other)
    except TemplateError:
        return False
