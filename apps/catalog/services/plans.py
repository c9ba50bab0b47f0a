import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from django.db import transaction

from apps.catalog.domain.cadences import find_cadence_problem, find_interval_problem
from apps.catalog.domain.days import find_day_problem
from apps.catalog.domain.thresholds import BillingThresholds
from apps.catalog.domain.trials import find_trial_problem
from apps.catalog.events import PlanVersionPublished
from apps.catalog.models import Plan, PlanVersion, PlanVersionPrice, Price, Product
from apps.catalog.selectors.feeds import known_feeds
from apps.catalog.selectors.spend import Spend, SpendAmount, spend_of_version
from apps.catalog.services.credits import AllocationTerms, put_allocations, terms_of_version
from apps.catalog.services.spend import merged, put_on_version, spend_errors
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.ids import new_id
from apps.kernel.money import is_currency
from apps.kernel.time import Cadence
from apps.outbox.services import publish
from apps.rating.feeds import feeds_of
from apps.rating.grouped import parse_price

KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

# What living subscriptions do when a plan's default moves; the app that bills them says so at start-up.
_followers: list[Callable[[int], Any]] = []


def register_follower(follow: Callable[[int], Any]) -> None:
    """Let a higher app act, in the same transaction, when the default version of a plan (by its key) has moved."""
    _followers.append(follow)


def let_follow(plan_id: int) -> None:
    for follow in _followers:
        follow(plan_id)


class Unchanged(Enum):
    """Says that a value stays as it is, where None says that there is none."""

    UNCHANGED = "unchanged"


NewThresholds = BillingThresholds | None | Unchanged
NewAllocations = Sequence[AllocationTerms] | Unchanged


@dataclass(frozen=True, slots=True)
class PlanLine:
    """A price in a plan and the key it keeps there over versions; no key: one is made."""

    price_id: str
    key: str | None = None


@transaction.atomic
def create_plan(
    *,
    product: Product,
    lines: Sequence[PlanLine],
    as_of: datetime,
    spend: Spend | None = None,
    thresholds: BillingThresholds | None = None,
    allocations: Sequence[AllocationTerms] = (),
    **fields: Any,
) -> Plan:
    """Make a plan with its first version.

    Args:
        spend: the least and the most that a subscription's periods bill; nothing by default.
        allocations: credits that it gives each subscriber.

    Raises:
        InvalidError: currency, anchor, keys or prices are not fit; every bad field is named.
    """
    plan = Plan(organization_id=product.organization_id, product=product, **fields)
    _check_plan(plan, as_of)
    plan.save()
    mint_version(
        plan=plan, lines=lines, as_of=as_of, spend=spend or {}, thresholds=thresholds, allocations=allocations
    )
    return plan


@transaction.atomic
def update_plan(
    *,
    plan_id: int,
    changes: dict[str, Any],
    price_ids: Sequence[str] | None,
    as_of: datetime,
    spend: Mapping[str, SpendAmount | None] | None = None,
    thresholds: NewThresholds = Unchanged.UNCHANGED,
    allocations: NewAllocations = Unchanged.UNCHANGED,
) -> Plan:
    """Change a plan; changed prices, billing thresholds or credits become a new version, the default from then on.

    Changed commitments and caps make one as well: None takes one away, what is not named stays.
    """
    plan = Plan.objects.select_for_update(of=("self",)).select_related("default_version").get(pk=plan_id)
    for name, value in changes.items():
        setattr(plan, name, value)
    _check_plan(plan, as_of)
    plan.save()
    assert plan.default_version is not None
    present = spend_of_version(plan.default_version)
    wanted = merged(present, spend or {})
    stored = plan.default_version.billing_thresholds
    current = list(_slots(plan))
    sold = [slot.price.public_id for slot in current]
    chosen = sold if price_ids is None else list(price_ids)
    given = terms_of_version(plan.default_version)
    is_given = isinstance(allocations, Unchanged) or set(allocations) == set(given)
    if chosen != sold or wanted != present or _stored(thresholds, stored) != stored or not is_given:
        keys = {slot.price.public_id: slot.key for slot in current}
        lines = [PlanLine(price_id, keys.get(price_id)) for price_id in chosen]
        mint_version(
            plan=plan, lines=lines, as_of=as_of, spend=wanted, thresholds=thresholds, allocations=allocations
        )
        let_follow(plan.pk)
    return plan


def mint_version(
    *,
    plan: Plan,
    lines: Sequence[PlanLine],
    as_of: datetime,
    spend: Spend | None = None,
    thresholds: NewThresholds = Unchanged.UNCHANGED,
    allocations: NewAllocations = Unchanged.UNCHANGED,
) -> PlanVersion:
    """Publish a price set as the plan's next version and make it the default (caller's transaction).

    Args:
        plan: the plan.
        lines: its prices.
        as_of: when.
        spend: its commitments and caps; None: those of the version before.
        thresholds: at which usage is billed early; unchanged, those of the version before.
        allocations: credits that it gives; unchanged, those of the version before.

    Raises:
        InvalidError: a price is unknown, of another product, or stands twice; a metric is priced twice; prices of one
            feature are in different pricing units; credits, a commitment or a cap are malformed.
    """
    prices = _resolve(plan, lines)
    previous = plan.default_version
    if spend is None:
        spend = spend_of_version(previous)
    errors = spend_errors(spend, currency=plan.currency, cadence=plan.billing_cadence)
    if errors:
        raise InvalidError("The plan is malformed.", errors=errors)
    last = PlanVersion.objects.filter(plan=plan).order_by("-number").first()
    version = PlanVersion.objects.create(
        organization_id=plan.organization_id,
        plan=plan,
        number=last.number + 1 if last is not None else 1,
        based_on=previous,
        published_at=as_of,
        billing_thresholds=_stored(thresholds, previous.billing_thresholds if previous is not None else None),
    )
    PlanVersionPrice.objects.bulk_create(
        PlanVersionPrice(
            organization_id=plan.organization_id,
            plan_version=version,
            price=price,
            key=line.key or new_id("k").lower(),
            position=position,
        )
        for position, (line, price) in enumerate(zip(lines, prices, strict=True))
    )
    put_on_version(version, spend)
    given = terms_of_version(previous) if isinstance(allocations, Unchanged) else allocations
    put_allocations(version, given, previous)
    plan.default_version = version
    plan.save(update_fields=["default_version", "updated_at"])
    publish(
        PlanVersionPublished(
            plan_id=plan.public_id, plan_version_id=version.public_id, version_number=version.number
        ),
        organization_id=plan.organization_id,
        object_id=plan.public_id,
        at=as_of,
    )
    return version


def _stored(thresholds: NewThresholds, before: dict[str, Any] | None) -> dict[str, Any] | None:
    if isinstance(thresholds, Unchanged):
        return before
    return thresholds.as_stored() if thresholds is not None else None


def _slots(plan: Plan) -> Any:
    return (
        PlanVersionPrice.objects.filter(plan_version=plan.default_version)
        .select_related("price")
        .order_by("position")
    )


def _resolve(plan: Plan, lines: Sequence[PlanLine]) -> list[Price]:
    known = {
        price.public_id: price
        for price in Price.objects.select_related("metric", "fee").filter(
            organization_id=plan.organization_id,
            public_id__in=[line.price_id for line in lines],
            deleted_at__isnull=True,
        )
    }
    errors: list[FieldError] = []
    seen_prices: set[str] = set()
    seen_keys: set[str] = set()
    seen_metrics: set[int] = set()
    units: dict[int | None, int | None] = {}
    found: list[Price] = []
    for index, line in enumerate(lines):
        field = f"prices.{index}"
        price = known.get(line.price_id)
        if line.key is not None and (not KEY.fullmatch(line.key) or line.key in seen_keys):
            errors.append(FieldError(f"{field}.key", "Use a key once: a-z, 0-9, - and _, at most 64.", "invalid"))
        if line.key is not None:
            seen_keys.add(line.key)
        if price is None:
            errors.append(FieldError(field, f"There is no price {line.price_id}.", "not_found"))
            continue
        parent = price.metric or price.fee
        if parent is not None and parent.product_id != plan.product_id:
            errors.append(FieldError(field, "The price belongs to another product.", "invalid"))
        errors.extend(_other_currencies(plan, price, field))
        if line.price_id in seen_prices:
            errors.append(FieldError(field, "The price stands twice in the plan.", "duplicate"))
        if price.metric_id is not None and price.metric_id in seen_metrics:
            errors.append(FieldError(field, "The plan prices this metric twice.", "duplicate"))
        if price.feature_id is not None and units.setdefault(price.feature_id, price.pricing_unit_id) != (
            price.pricing_unit_id
        ):
            message = "Another price of the plan has this feature, and is not in the same pricing unit."
            errors.append(FieldError(field, message, "other_unit"))
        seen_prices.add(line.price_id)
        if price.metric_id is not None:
            seen_metrics.add(price.metric_id)
        found.append(price)
    if errors:
        raise InvalidError("The plan's prices do not fit.", errors=errors)
    return found


def _other_currencies(plan: Plan, price: Price, field: str) -> list[FieldError]:
    """Rates are amounts of a currency, so that a plan in another one cannot price by them."""
    feeds = feeds_of(parse_price(price.model, price.properties)) if price.model == "dynamic" else []
    known = known_feeds(feeds, organization_id=plan.organization_id) if feeds else {}
    return [
        FieldError(field, f"The rates of {feed.public_id} are in {feed.currency}.", "other_currency")
        for feed in known.values()
        if feed.currency != plan.currency
    ]


def _check_plan(plan: Plan, as_of: datetime) -> None:
    errors = []
    if not is_currency(plan.currency):
        errors.append(FieldError("currency", "Give an ISO 4217 code, such as USD.", "invalid"))
    problem = find_cadence_problem(plan.billing_cadence)
    if problem is not None:
        errors.append(FieldError("billingCadence", problem, "invalid"))
    else:
        problem = find_day_problem(Cadence.parse(plan.billing_cadence), plan.billing_day, plan.billing_month)
        if problem is not None:
            field = "billingDay" if plan.billing_day is None or plan.billing_month is None else "billingMonth"
            errors.append(FieldError(field, problem, "invalid"))
    if plan.billing_anchor is not None and plan.billing_day is not None:
        errors.append(FieldError("billingDay", "Give an anchor or a billing day, not both.", "invalid"))
    if plan.term_periods is not None and not 1 <= plan.term_periods <= 1200:
        errors.append(FieldError("termPeriods", "A term is of 1 to 1200 periods.", "out_of_range"))
    problem = find_trial_problem(plan.trial_period)
    if problem is not None:
        errors.append(FieldError("trialPeriod", problem, "invalid"))
    problem = find_interval_problem(plan.usage_billing_interval)
    if problem is not None:
        errors.append(FieldError("usageBillingInterval", problem, "invalid"))
    if plan.billing_anchor is not None and plan.billing_anchor > as_of:
        errors.append(FieldError("billingAnchor", "The anchor must not lie in the future.", "invalid"))
    if plan.billing_version != 1:
        errors.append(FieldError("billingVersion", "Use billing version 1.", "invalid"))
    if errors:
        raise InvalidError("The plan is malformed.", errors=errors)
