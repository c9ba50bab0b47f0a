"""What is counted in pricing units: prices that draw credits, and plans that give them."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from apps.catalog.domain.templates import LARGEST, TemplateError, is_short, read_template
from apps.catalog.models import GROWING, Aggregation, CreditAllocation, PlanVersion, Price, PricingUnit
from apps.catalog.selectors.spend import Spend
from apps.catalog.selectors.units import allocations_of
from apps.catalog.services.spend import FIELDS
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.time import Cadence
from apps.rating.grouped import AnyPrice, GroupedPrice

MODELS = ("standard", "volume")
FIELD = "pricingUnitId"
# What each of these adds is known as events come, whatever else the period brings.
ADDITIVE = (Aggregation.SUM, Aggregation.COUNT)
LIFETIME_KEYS = {
    "resetMaxRollover": "Credits of a feature do not roll over; what recurs is filled up again.",
    "resetMinRollover": "Credits of a feature do not roll over; what recurs is filled up again.",
    "preserveOverageAtReset": "A pool's overage is paid by the next credits, whatever resets; leave this out.",
}


@dataclass(frozen=True, slots=True)
class AllocationTerms:
    """Credits that a plan gives each subscriber.

    Attributes:
        unit_id: public id of the pricing unit.
        recurrence: ISO 8601: how often they are filled up again; empty gives them once.
    """

    unit_id: str
    amount: Decimal
    recurrence: str = ""


def credit_errors(price: Price, model: AnyPrice | None, least: Decimal, spend: Spend) -> list[FieldError]:
    """Say what keeps a price from drawing credits of its pricing unit.

    Args:
        least: the lowest of its unit prices.
    """
    unit = price.pricing_unit
    if unit is None:
        return []
    metric = price.metric
    if metric is None or price.is_flat:
        return [
            FieldError(FIELD, "Only usage draws credits; give the price of a metric that counts events.", "invalid")
        ]
    errors = []
    if unit.organization_id != price.organization_id:
        errors.append(FieldError(FIELD, f"There is no pricing unit {unit.public_id}.", "not_found"))
    elif unit.archived_at is not None and _is_new(price):
        errors.append(FieldError(FIELD, "The pricing unit is archived; choose another.", "archived"))
    if price.model not in MODELS:
        errors.append(FieldError("model", f"Credits are drawn by the models {' and '.join(MODELS)}.", "invalid"))
    if isinstance(model, GroupedPrice):
        errors.append(FieldError("properties.groups", "A price in credits has no groups.", "invalid"))
    if least < 0:
        message = "A price in credits is no rebate; grant credits instead."
        errors.append(FieldError("properties.unitPrice", message, "invalid"))
    if price.payment_term != "in_arrears":
        message = "Credits are drawn as usage comes and nothing is asked for; send in_arrears."
        errors.append(FieldError("paymentTerm", message, "invalid"))
    if metric.aggregation not in GROWING:
        message = "Only what grows as events come draws credits: a sum, a count, a maximum."
        errors.append(FieldError(FIELD, message, "invalid"))
    elif price.billing_cadence and (price.model == "volume" or metric.aggregation not in ADDITIVE):
        message = "What is counted by the period draws credits by the plan's periods; leave this out."
        errors.append(FieldError("billingCadence", message, "invalid"))
    errors += [FieldError(FIELDS[kind], "A price in credits comes to no money.", "invalid") for kind in spend]
    return errors + _template_errors(price)


def _is_new(price: Price) -> bool:
    """Whether a price takes its unit only now."""
    before = Price.objects.filter(pk=price.pk).values_list("pricing_unit_id", flat=True).first()
    return before != price.pricing_unit_id


def _template_errors(price: Price) -> list[FieldError]:
    feature, template = price.feature, price.entitlement_template
    if feature is None or feature.type != "metered" or template is None:
        return []
    try:
        terms = read_template(template, kind="metered")
    except TemplateError:
        # Named with the other rules of templates.
        return []
    given = {
        "resetMaxRollover": terms.rollover_max,
        "resetMinRollover": terms.rollover_min,
        "preserveOverageAtReset": terms.is_preserving,
    }
    path = "feature.entitlementTemplate"
    return [FieldError(f"{path}.{key}", LIFETIME_KEYS[key], "invalid") for key, value in given.items() if value]


def terms_of_version(version: PlanVersion | None) -> list[AllocationTerms]:
    """Give the credits that a version gives, as they are written down."""
    return [
        AllocationTerms(row.pricing_unit.public_id, row.amount, row.recurrence) for row in allocations_of(version)
    ]


def put_allocations(version: PlanVersion, terms: Sequence[AllocationTerms], before: PlanVersion | None) -> None:
    """Give a new version the credits it gives (caller's transaction).

    Args:
        before: the version before; units that it gave already may be archived by now.

    Raises:
        InvalidError: a unit is unknown, archived, or given twice, or an amount or a recurrence is malformed.
    """
    units = {
        unit.public_id: unit
        for unit in PricingUnit.objects.filter(
            organization_id=version.organization_id, public_id__in=[one.unit_id for one in terms]
        )
    }
    kept = {one.unit_id for one in terms_of_version(before)}
    errors: list[FieldError] = []
    seen: set[str] = set()
    for number, one in enumerate(terms):
        field = f"creditAllocations.{number}"
        unit = units.get(one.unit_id)
        if unit is None:
            errors.append(FieldError(f"{field}.{FIELD}", f"There is no pricing unit {one.unit_id}.", "not_found"))
        elif unit.archived_at is not None and one.unit_id not in kept:
            errors.append(FieldError(f"{field}.{FIELD}", "The pricing unit is archived; choose another.", "archived"))
        if one.unit_id in seen:
            message = "The plan gives credits of this unit twice; put them into one."
            errors.append(FieldError(f"{field}.{FIELD}", message, "duplicate"))
        seen.add(one.unit_id)
        if not 0 < one.amount <= LARGEST:
            errors.append(
                FieldError(f"{field}.amount", f"Give an amount above 0, at most {LARGEST}.", "out_of_range")
            )
        if not is_recurrence(one.recurrence):
            message = "Give an ISO 8601 duration of an hour or more, such as P1W or P1M."
            errors.append(FieldError(f"{field}.recurrencePeriod", message, "invalid"))
    if errors:
        raise InvalidError("The plan's credits are malformed.", errors=errors)
    CreditAllocation.objects.bulk_create(
        CreditAllocation(
            organization_id=version.organization_id,
            plan_version=version,
            pricing_unit=units[one.unit_id],
            amount=one.amount,
            recurrence=one.recurrence,
        )
        for one in terms
    )


def is_recurrence(text: str) -> bool:
    """Whether something can recur so; empty never recurs."""
    if not text:
        return True
    try:
        cadence = Cadence.parse(text)
    except ValueError:
        return False
    return not (cadence.is_once or is_short(cadence))
