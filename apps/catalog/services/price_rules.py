"""The rules of a price: what its fields say together."""

from decimal import Decimal

from apps.catalog.domain.templates import TemplateError, read_template
from apps.catalog.models import (
    GROWING,
    Aggregation,
    BillableMetric,
    MetricMode,
    PaymentTerm,
    PlanVersionPrice,
    Price,
)
from apps.catalog.selectors.feeds import known_feeds
from apps.catalog.selectors.spend import Spend
from apps.catalog.services.credits import credit_errors
from apps.catalog.services.spend import FIELDS, spend_errors
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.time import Cadence
from apps.rating.feeds import feeds_of
from apps.rating.grouped import AnyPrice, GroupedPrice, parse_price
from apps.rating.price_models import TransactionPriceModel
from apps.rating.price_models.standard import StandardPrice

# Quantities of single events add up to the metric's.
ADDITIVE = (Aggregation.SUM, Aggregation.COUNT)


def check_price(price: Price, spend: Spend | None = None) -> None:
    """Check all rules of a price at once.

    Raises:
        InvalidError: naming every bad field.
    """
    price.is_flat = price.metric is not None and price.metric.mode == MetricMode.FLAT
    errors: list[FieldError] = []
    if (price.metric is None) == (price.fee is None):
        errors.append(FieldError("billableMetricId", "Give either billableMetricId or feeId.", "required"))
    model: AnyPrice | None = None
    try:
        model = parse_price(price.model, price.properties)
    except InvalidError as error:
        errors.extend(error.errors)
    unit_prices = _unit_prices(model)
    if price.fee is not None:
        errors.extend(_fee_errors(price, model, min(unit_prices)))
    elif price.is_flat:
        errors.extend(_flat_errors(price, model, min(unit_prices)))
    else:
        errors.extend(_metered_errors(price, min(unit_prices)))
        errors.extend(_metric_errors(price, model))
        errors.extend(_feed_errors(price, model))
    errors.extend(_cadence_errors(price))
    errors.extend(_template_errors(price, model))
    errors.extend(credit_errors(price, model, min(unit_prices), spend or {}))
    if price.supply_scope == "OUTSIDE_SCOPE":
        if not price.outside_scope_label:
            errors.append(FieldError("tax.outsideScopeLabel", "Label what is outside the scope.", "required"))
        elif price.outside_scope_label == "CASHBACK" and (price.model != "standard" or max(unit_prices) > 0):
            message = "A cashback is a standard price that is not above zero."
            errors.append(FieldError("tax.outsideScopeLabel", message, "invalid"))
    elif price.outside_scope_label:
        errors.append(FieldError("tax.outsideScopeLabel", "Only for what is outside the scope.", "invalid"))
    if price.invoice_display_group and price.model != "standard":
        errors.append(FieldError("invoiceDisplayGroup", "Only standard prices can be grouped.", "invalid"))
    errors.extend(spend_errors(spend or {}))
    if spend and price.billing_cadence == "P0D":
        message = "What is charged once has no periods to commit to or to cap."
        errors.extend(FieldError(FIELDS[kind], message, "invalid") for kind in spend)
    if errors:
        raise InvalidError("The price is malformed.", errors=errors)


def _template_errors(price: Price, model: AnyPrice | None) -> list[FieldError]:
    """Say what keeps a price from giving its feature by its template."""
    feature, template = price.feature, price.entitlement_template
    if feature is None or template is None:
        return []
    path = "feature.entitlementTemplate"
    try:
        terms = read_template(template, kind=feature.type)
    except TemplateError as error:
        return [FieldError(f"{path}.{key}", problem, "invalid") for key, problem in error.problems.items()]
    if feature.type != "metered" or price.metric is None:
        return []
    if price.is_flat:
        return [FieldError(path, "Only usage can be used up; this metric is flat.", "invalid")]
    if not terms.is_soft and min(_unit_prices(model)) < 0:
        # Usage ends with the allowance, and beyond it nothing is billed that a rebate could be of.
        message = "A rebate has no hard limit; send isSoftLimit true, or attach the feature to another price."
        return [FieldError(f"{path}.isSoftLimit", message, "invalid")]
    if price.metric.aggregation not in GROWING:
        return [
            FieldError(path, "Only what grows as events come can be used up: a sum, a count, a maximum.", "invalid")
        ]
    if isinstance(model, GroupedPrice | TransactionPriceModel):
        return [FieldError(path, "A price of groups or of single events has no allowance.", "invalid")]
    return []


def _unit_prices(model: AnyPrice | None) -> list[Decimal]:
    """Give the unit prices of a standard price, one a group; 0 of any other."""
    prices = model.prices if isinstance(model, GroupedPrice) else [model]
    return [price.unit_price if isinstance(price, StandardPrice) else Decimal(0) for price in prices]


def _fee_errors(price: Price, model: AnyPrice | None, unit_price: Decimal) -> list[FieldError]:
    errors = []
    if isinstance(model, GroupedPrice):
        errors.append(FieldError("properties.groups", "Only metered prices can have groups.", "invalid"))
    if price.model != "standard":
        errors.append(FieldError("model", "A fee has a standard price.", "invalid"))
    if not price.billing_cadence:
        errors.append(FieldError("billingCadence", "A fee needs a cadence; P0D charges it once.", "required"))
    if unit_price < 0:
        errors.append(FieldError("properties.unitPrice", "Only metered prices can be rebates.", "invalid"))
    if price.grant_discount_enabled:
        errors.append(FieldError("grantDiscountEnabled", "Only metered prices can have it.", "invalid"))
    return errors


def _flat_errors(price: Price, model: AnyPrice | None, unit_price: Decimal) -> list[FieldError]:
    """Say what keeps the price of a flat metric from being put on the quantity that is chosen."""
    errors = []
    if isinstance(model, GroupedPrice):
        errors.append(FieldError("properties.groups", "A flat metric has no dimensions.", "invalid"))
    elif isinstance(model, TransactionPriceModel):
        message = f"A {price.model} price looks at single events; a flat metric has none."
        errors.append(FieldError("model", message, "invalid"))
    if price.is_obligation:
        errors.append(FieldError("isObligation", "Only fees can be obligations.", "invalid"))
    if unit_price < 0:
        errors.append(FieldError("properties.unitPrice", "Only usage can be rebated.", "invalid"))
    if price.grant_discount_enabled:
        errors.append(FieldError("grantDiscountEnabled", "Grants pay for usage; this metric is flat.", "invalid"))
    return errors


def _metered_errors(price: Price, unit_price: Decimal) -> list[FieldError]:
    errors = []
    if price.is_obligation:
        errors.append(FieldError("isObligation", "Only fees can be obligations.", "invalid"))
    if price.quantity != 1:
        errors.append(FieldError("quantity", "Only fees have a quantity.", "invalid"))
    if unit_price < 0 and price.grant_discount_enabled:
        errors.append(FieldError("grantDiscountEnabled", "Not together with a rebate.", "invalid"))
    if price.grant_discount_enabled and price.model != "standard":
        errors.append(FieldError("grantDiscountEnabled", "Only standard prices can have it.", "invalid"))
    return errors


def _metric_errors(price: Price, model: AnyPrice | None) -> list[FieldError]:
    """What a price asks of its metric: that values add up where it adds them, and the dimensions that it names."""
    metric = price.metric
    if metric is None or model is None:
        return []
    errors = []
    grouped = model if isinstance(model, GroupedPrice) else None
    looks_at_events = grouped.looks_at_events if grouped else isinstance(model, TransactionPriceModel)
    if metric.aggregation not in ADDITIVE:
        if looks_at_events:
            message = f"A {price.model} price needs a metric that sums or counts its events."
            errors.append(FieldError("model", message, "invalid"))
        elif grouped and not grouped.has_own_tiers:
            message = "Groups share tiers only of a metric that sums or counts; give own."
            errors.append(FieldError("properties.groupTiers", message, "invalid"))
    if price.payment_term == PaymentTerm.IN_ADVANCE:
        errors.extend(_as_it_comes_errors(metric, model))
    if grouped:
        unknown = [name for name in grouped.dimensions if name not in metric.group_by]
        errors.extend(
            FieldError("properties.groups", f"The metric has no dimension {name}.", "invalid") for name in unknown
        )
    return errors


def _feed_errors(price: Price, model: AnyPrice | None) -> list[FieldError]:
    names = feeds_of(model) if model is not None else []
    known = known_feeds(names, organization_id=price.organization_id) if names else {}
    errors = [
        FieldError("properties.feedId", f"There is no rate feed {name}.", "not_found")
        for name in names
        if name not in known or known[name].deleted_at is not None
    ]
    if known and price.pk is not None:
        slots = PlanVersionPrice.objects.filter(price=price)
        sold_in = set(slots.values_list("plan_version__plan__currency", flat=True))
        errors += [
            FieldError("properties.feedId", f"A plan in {currency} sells this price.", "other_currency")
            for currency in sorted(sold_in - {feed.currency for feed in known.values()})
        ]
    return errors


def _as_it_comes_errors(metric: BillableMetric, model: AnyPrice) -> list[FieldError]:
    """What usage that is billed as it comes needs: that more of it never makes earlier units cost something else."""
    errors = []
    plain = model.default if isinstance(model, GroupedPrice) else model
    if not plain.IS_PROGRESSIVE:
        message = "The whole quantity of a period decides what a unit costs here, so this price is billed in arrears."
        errors.append(FieldError("paymentTerm", message, "invalid"))
    if metric.aggregation not in GROWING:
        message = f"{metric.aggregation} is known when the period is over, so this price is billed in arrears."
        errors.append(FieldError("paymentTerm", message, "invalid"))
    return errors


def _cadence_errors(price: Price) -> list[FieldError]:
    if not price.billing_cadence:
        return []
    try:
        cadence = Cadence.parse(price.billing_cadence)
    except ValueError:
        return [FieldError("billingCadence", "Give an ISO 8601 duration, such as P1M.", "invalid")]
    if cadence.is_once and price.metric is not None:
        return [FieldError("billingCadence", "Only fees can be charged once.", "invalid")]
    if not cadence.is_once and (cadence.seconds or cadence.months > 120 or cadence.days > 3660):
        return [FieldError("billingCadence", "Use whole days, months or years, at most ten years.", "invalid")]
    return []
