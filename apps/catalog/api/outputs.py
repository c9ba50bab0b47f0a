"""Catalogue objects as the wire has them."""

from decimal import Decimal
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.catalog.api.spend import render_spend
from apps.catalog.domain.cadences import interval_name
from apps.catalog.models import Plan, PlanVersion, PlanVersionPrice, Price
from apps.catalog.selectors.spend import shown_spend, shown_spend_of_price
from apps.kernel.errors import InvalidError
from apps.kernel.http.fields import InstantField
from apps.kernel.money import format_decimal
from apps.kernel.time import format_instant
from apps.rating.grouped import parse_price
from apps.rating.price_models import amount_of

# Models whose properties the published client reads as they are, and what it wants of a percentage.
READABLE = frozenset({"standard", "volume", "graduated", "dynamic"})
BOUNDS = frozenset({"minCharge", "maxCharge"})


class EntitySerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id")
    createdAt = InstantField(source="created_at")
    updatedAt = InstantField(source="updated_at")
    merchantId = serializers.CharField(source="organization.public_id")


@extend_schema_field(OpenApiTypes.ANY)
class ConstantField(serializers.ReadOnlyField):
    """A field that always has one value, such as the object's kind."""

    def __init__(self, value: Any, **kwargs: Any) -> None:
        super().__init__(source="*", **kwargs)
        self.value = value

    def to_representation(self, value: Any) -> Any:
        return self.value


class ProductSerializer(EntitySerializer):
    object = ConstantField("product")
    name = serializers.CharField()
    description = serializers.CharField()
    metadata = serializers.DictField()


class MetricSerializer(EntitySerializer):
    object = ConstantField("billableMetric")
    mode = serializers.CharField()
    aggregation = serializers.CharField()
    description = serializers.CharField()
    name = serializers.CharField()
    productId = serializers.CharField(source="product.public_id")
    itemId = ConstantField(None)
    unit = serializers.CharField()
    eventType = serializers.CharField(source="event_type")
    valueProperty = serializers.SerializerMethodField()
    groupBy = serializers.SerializerMethodField()
    eventFrom = InstantField(source="event_from", allow_null=True)
    rounding = serializers.SerializerMethodField()
    taxCode = serializers.CharField(source="tax_code")

    def get_rounding(self, metric: Any) -> dict[str, Any] | None:
        if not metric.rounding_function:
            return None
        return {"function": metric.rounding_function, "precision": metric.rounding_precision}

    def get_valueProperty(self, metric: Any) -> str | None:
        return metric.value_property or None

    def get_groupBy(self, metric: Any) -> dict[str, str] | None:
        return metric.group_by or None


class FeeSerializer(EntitySerializer):
    object = ConstantField("fee")
    name = serializers.CharField()
    description = serializers.CharField()
    productId = serializers.CharField(source="product.public_id")
    itemId = ConstantField(None)
    taxCode = serializers.CharField(source="tax_code")


class FeatureSerializer(EntitySerializer):
    object = ConstantField("feature")
    key = serializers.CharField()
    name = serializers.CharField()
    type = serializers.CharField()
    productId = serializers.CharField(source="product.public_id")
    metadata = serializers.DictField()


def render_price(price: Price) -> dict[str, Any]:
    """Give a price in the wire's form; keys without a value are left out where the wire allows it."""
    body: dict[str, Any] = {
        "id": price.public_id,
        "object": "price",
        "merchantId": price.organization.public_id,
        "createdAt": format_instant(price.created_at),
        "updatedAt": format_instant(price.updated_at),
        "invoiceDisplayName": price.invoice_display_name,
        "invoiceDisplayGroup": price.invoice_display_group or None,
        "model": price.model,
        "paymentTerm": price.payment_term,
        "properties": _properties(price),
        "billingCadence": price.billing_cadence or None,
        "quantity": price.quantity,
        "features": _features(price),
        "grantDiscountEnabled": price.grant_discount_enabled,
        "isObligation": price.is_obligation,
        "rateType": price.rate_type,
        "tax": {"supplyScope": price.supply_scope},
    }
    if price.outside_scope_label:
        body["tax"]["outsideScopeLabel"] = price.outside_scope_label
    if price.metric is not None:
        body["billableMetricId"] = price.metric.public_id
    if price.pricing_unit is not None:
        body["pricingUnitId"] = price.pricing_unit.public_id
    if price.fee is not None:
        body["feeId"] = price.fee.public_id
    body.update(render_spend(shown_spend_of_price(price)))
    return body


def _properties(price: Price) -> dict[str, Any]:
    """Give a price's properties in a form that the published client reads whatever the model.

    The client knows four forms and refuses a whole list for one price of another form. Such a one gets the
    `unitPrice` of a first unit beside its own properties.
    """
    properties: dict[str, Any] = price.properties
    if price.model in READABLE or (price.model == "percentage" and properties.keys() >= BOUNDS):
        return properties
    try:
        first = amount_of(parse_price(price.model, properties).components(Decimal(1)))
    except InvalidError:
        # Its model was installed once and is not any more.
        first = Decimal(0)
    return {**properties, "unitPrice": format_decimal(first)}


def _features(price: Price) -> list[dict[str, Any]]:
    feature = price.feature
    if feature is None:
        return []
    return [
        {
            "id": feature.public_id,
            "featureId": feature.public_id,
            "entitlementTemplate": price.entitlement_template or {},
            "feature": {"key": feature.key, "name": feature.name, "type": feature.type},
        }
    ]


def render_plan_price(slot: PlanVersionPrice, plan: Plan) -> dict[str, Any]:
    """Give a price as it stands in a plan: with the plan's currency and the parent's words."""
    price = slot.price
    parent = price.metric or price.fee
    body = render_price(price)
    body["currency"] = plan.currency
    body["description"] = parent.description if parent is not None else ""
    body["key"] = slot.key
    body["priceDeleted"] = price.deleted_at is not None
    if price.model == "standard":
        body["unitAmount"] = price.properties["unitPrice"]
    return body


def render_plan(plan: Plan, slots: list[PlanVersionPrice]) -> dict[str, Any]:
    """Give a plan with the prices of its default version."""
    terms = {slot.price.payment_term for slot in slots}
    body: dict[str, Any] = {
        "id": plan.public_id,
        "object": "plan",
        "merchantId": plan.organization.public_id,
        "productId": plan.product.public_id,
        "name": plan.name,
        "description": plan.description,
        "invoiceDisplayName": plan.invoice_display_name,
        "currency": plan.currency,
        "billingCadence": plan.billing_cadence,
        "billingInterval": interval_name(plan.billing_cadence),
        "billingAnchor": format_instant(plan.billing_anchor) if plan.billing_anchor else None,
        "billingDay": plan.billing_day,
        "billingMonth": plan.billing_month,
        "billingVersion": plan.billing_version,
        "createdAt": format_instant(plan.created_at),
        "updatedAt": format_instant(plan.updated_at),
        "defaultTaxCode": plan.default_tax_code,
        "defaultTaxRate": plan.default_tax_rate.normalize() + 0,
        "taxBehavior": plan.tax_behavior,
        "proration": plan.proration,
        "creditUnusedAtEnd": plan.credit_unused_at_end,
        "paymentTerm": {"in_advance": "in_advance" in terms, "in_arrears": "in_arrears" in terms},
        "termPeriods": plan.term_periods,
        "autoRenew": plan.auto_renew,
        "trialPeriod": plan.trial_period or None,
        "trialUsage": plan.trial_usage,
        "renewalReminderEnabled": plan.renewal_reminder_enabled,
        "renewalReminderDays": plan.renewal_reminder_days,
        "stablePriceIds": plan.stable_price_ids,
        "creditAllocations": render_allocations(plan.default_version),
        "usageBillingInterval": plan.usage_billing_interval,
        "billingThresholds": plan.default_version.billing_thresholds if plan.default_version else None,
        "versionTransition": {"effectiveDate": plan.version_effective, "proration": "none"},
        "prices": [render_plan_price(slot, plan) for slot in slots],
    }
    if plan.default_version is not None:
        body["defaultVersionId"] = plan.default_version.public_id
        body.update(render_spend(shown_spend(plan.default_version.spend_terms.all())))
    return body


def render_allocations(version: PlanVersion | None) -> list[dict[str, Any]]:
    """Give the credits that a version gives each subscriber."""
    rows = version.allocations.all() if version is not None else ()
    return [
        {
            "pricingUnitId": row.pricing_unit.public_id,
            "amount": row.amount.normalize() + 0,
            **({"recurrencePeriod": row.recurrence} if row.recurrence else {}),
        }
        for row in rows
    ]


def render_version(version: PlanVersion, plan: Plan, subscription_count: int) -> dict[str, Any]:
    """Give a plan version without its prices."""
    return {
        "id": version.public_id,
        "object": "plan_version",
        "versionNumber": version.number,
        "status": version.status,
        "isDefault": version.pk == plan.default_version_id,
        "subscriptionCount": subscription_count,
        "billingThresholds": version.billing_thresholds,
        "publishedAt": format_instant(version.published_at),
        "updatedAt": format_instant(version.updated_at),
    }


def render_full_version(
    version: PlanVersion, plan: Plan, slots: list[PlanVersionPrice], subscription_count: int
) -> dict[str, Any]:
    """Give a plan version with its prices."""
    body = render_version(version, plan, subscription_count)
    body["prices"] = [render_plan_price(slot, plan) for slot in slots]
    body["creditAllocations"] = render_allocations(version)
    if version.based_on is not None:
        body["basedOnVersionId"] = version.based_on.public_id
    body.update(render_spend(shown_spend(version.spend_terms.all())))
    return body
