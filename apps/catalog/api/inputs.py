from decimal import Decimal
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.catalog.api.spend import SpendFields
from apps.catalog.domain.cadences import NAMED, find_cadence_problem, find_interval_problem
from apps.catalog.domain.trials import find_trial_problem
from apps.catalog.models import Aggregation, FeatureType, MetricMode, RoundingFunction, TrialUsage
from apps.kernel.http.fields import (
    DecimalStringField,
    InstantField,
    StrictCharField,
    StringMapField,
    ThresholdsField,
)
from apps.rating.price_models import REGISTRY

KEY = r"^[a-z0-9]+(-[a-z0-9]+)*$"
MODELS = sorted(REGISTRY)
MODEL_ERRORS: dict[str, Any] = {"invalid_choice": f"Prices can be made with the models {', '.join(MODELS)}."}


class CreateProductSerializer(serializers.Serializer[Any]):
    name = StrictCharField(max_length=255)
    description = StrictCharField(allow_blank=True, max_length=10_000)
    merchantId = StrictCharField()
    metadata = StringMapField(required=False)


class UpdateProductSerializer(serializers.Serializer[Any]):
    name = StrictCharField(max_length=255, required=False)
    description = StrictCharField(allow_blank=True, max_length=10_000, required=False)


class RoundingSerializer(serializers.Serializer[Any]):
    """How the quantity of a period is rounded before it is priced; it never changes."""

    function = serializers.ChoiceField(choices=RoundingFunction.values)
    precision = serializers.IntegerField(min_value=-12, max_value=12, default=0)


class CreateMetricSerializer(serializers.Serializer[Any]):
    mode = serializers.ChoiceField(choices=MetricMode.values, default=MetricMode.USAGE)
    aggregation = serializers.ChoiceField(choices=Aggregation.values, required=False)
    description = StrictCharField(allow_blank=True, max_length=10_000)
    merchantId = StrictCharField()
    name = StrictCharField(max_length=255)
    unit = StrictCharField(max_length=50)
    eventType = StrictCharField(max_length=255, required=False)
    productId = StrictCharField()
    valueProperty = StrictCharField(max_length=255, required=False, allow_null=True)
    groupBy = StringMapField(required=False, allow_null=True)
    eventFrom = InstantField(required=False, allow_null=True)
    rounding = RoundingSerializer(required=False, allow_null=True)
    taxCode = StrictCharField(max_length=30, allow_blank=True, required=False)

    def to_internal_value(self, data: Any) -> Any:
        is_flat = isinstance(data, dict) and data.get("mode") == MetricMode.FLAT
        for name in ("aggregation", "eventType"):
            self.fields[name].required = not is_flat
        return super().to_internal_value(data)


class UpdateMetricSerializer(serializers.Serializer[Any]):
    mode = serializers.ChoiceField(choices=MetricMode.values, required=False)
    description = StrictCharField(allow_blank=True, max_length=10_000, required=False)
    name = StrictCharField(max_length=255, required=False)
    unit = StrictCharField(max_length=50, required=False)
    eventType = StrictCharField(max_length=255, required=False)
    valueProperty = StrictCharField(max_length=255, required=False, allow_null=True)
    groupBy = StringMapField(required=False, allow_null=True)
    eventFrom = InstantField(required=False, allow_null=True)
    taxCode = StrictCharField(max_length=30, allow_blank=True, required=False)


class CreateFeeSerializer(serializers.Serializer[Any]):
    name = StrictCharField(max_length=255)
    description = StrictCharField(allow_blank=True, max_length=10_000)
    merchantId = StrictCharField()
    productId = StrictCharField()
    taxCode = StrictCharField(max_length=30, allow_blank=True, required=False)


class UpdateFeeSerializer(serializers.Serializer[Any]):
    name = StrictCharField(max_length=255, required=False)
    description = StrictCharField(allow_blank=True, max_length=10_000, required=False)
    taxCode = StrictCharField(max_length=30, allow_blank=True, required=False)


class CreateFeatureSerializer(serializers.Serializer[Any]):
    key = serializers.RegexField(KEY, max_length=255)
    name = StrictCharField(max_length=255)
    merchantId = StrictCharField()
    productId = StrictCharField()
    type = serializers.ChoiceField(choices=FeatureType.values, default="boolean")
    metadata = StringMapField(required=False)


class UpdateFeatureSerializer(serializers.Serializer[Any]):
    key = serializers.RegexField(KEY, max_length=255, required=False)
    name = StrictCharField(max_length=255, required=False)
    type = serializers.ChoiceField(choices=FeatureType.values, required=False)
    metadata = StringMapField(required=False)


class PriceFeatureSerializer(serializers.Serializer[Any]):
    featureId = StrictCharField()
    entitlementTemplate = serializers.DictField(required=False)


class PriceTaxSerializer(serializers.Serializer[Any]):
    supplyScope = serializers.ChoiceField(choices=["IN_SCOPE", "OUTSIDE_SCOPE"])
    outsideScopeLabel = serializers.ChoiceField(choices=["CASHBACK"], required=False, allow_null=True)


class CreatePriceSerializer(SpendFields):
    invoiceDisplayName = StrictCharField(max_length=255)
    paymentTerm = serializers.ChoiceField(choices=["in_arrears", "in_advance"])
    properties = serializers.DictField()
    billableMetricId = StrictCharField(required=False)
    feeId = StrictCharField(required=False)
    pricingUnitId = StrictCharField(required=False, allow_null=True)
    model = serializers.ChoiceField(choices=MODELS, required=False, error_messages=MODEL_ERRORS)
    invoiceDisplayGroup = StrictCharField(max_length=255, required=False, allow_null=True)
    billingCadence = StrictCharField(max_length=20, required=False, allow_null=True)
    feature = PriceFeatureSerializer(required=False)
    grantDiscountEnabled = serializers.BooleanField(default=False)
    isObligation = serializers.BooleanField(default=False)
    rateType = serializers.ChoiceField(choices=["amount", "proportion"], default="amount")
    tax = PriceTaxSerializer(required=False)
    quantity = serializers.IntegerField(min_value=1, max_value=1_000_000, default=1)


class UpdatePriceSerializer(SpendFields):
    billableMetricId = StrictCharField(required=False)
    pricingUnitId = StrictCharField(required=False, allow_null=True)
    invoiceDisplayName = StrictCharField(max_length=255, required=False)
    invoiceDisplayGroup = StrictCharField(max_length=255, required=False, allow_null=True)
    model = serializers.ChoiceField(choices=MODELS, required=False, error_messages=MODEL_ERRORS)
    properties = serializers.DictField(required=False)
    paymentTerm = serializers.ChoiceField(choices=["in_arrears", "in_advance"], required=False)
    billingCadence = StrictCharField(max_length=20, required=False, allow_null=True)
    feature = PriceFeatureSerializer(required=False, allow_null=True)
    grantDiscountEnabled = serializers.BooleanField(required=False)
    isObligation = serializers.BooleanField(required=False)
    rateType = serializers.ChoiceField(choices=["amount", "proportion"], required=False)
    tax = PriceTaxSerializer(required=False)
    quantity = serializers.IntegerField(min_value=1, max_value=1_000_000, required=False)


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string"},
            {
                "type": "object",
                "required": ["priceId"],
                "properties": {"priceId": {"type": "string"}, "key": {"type": "string"}},
            },
        ]
    }
)
class PlanLineField(serializers.Field[Any, Any, Any, Any]):
    """A price id, or an object of a price id and the key it keeps in the plan."""

    default_error_messages = {"invalid": 'Give a price id, or {{"priceId": …, "key": …}}.'}

    def to_internal_value(self, data: Any) -> tuple[str, str | None]:
        if isinstance(data, str):
            return data, None
        if isinstance(data, dict) and isinstance(data.get("priceId"), str):
            key = data.get("key")
            if key is None or isinstance(key, str):
                return data["priceId"], key
        return self.fail("invalid")

    def to_representation(self, value: Any) -> Any:
        return value


class VersionTransitionSerializer(serializers.Serializer[Any]):
    effectiveDate = serializers.ChoiceField(choices=["end_of_current_period", "immediate"])
    proration = serializers.ChoiceField(choices=["none"], required=False)


class CadenceField(StrictCharField):
    """An ISO 8601 duration of whole days or weeks, or months or years: `P1M`, `P14D`, `P2Y`."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        problem = find_cadence_problem(text)
        if problem is not None:
            raise serializers.ValidationError(problem, code="invalid")
        return text


class IntervalField(StrictCharField):
    """An ISO 8601 duration of a fixed length: `PT1M`, `PT1H`, `P1D`."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        problem = find_interval_problem(text)
        if problem is not None:
            raise serializers.ValidationError(problem, code="invalid")
        return text


class TrialField(StrictCharField):
    """An ISO 8601 duration of whole days or weeks, or months or years: `P14D`, `P1M`; `P0D` is none."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        problem = find_trial_problem(text)
        if problem is not None:
            raise serializers.ValidationError(problem, code="invalid")
        return text


@extend_schema_field(OpenApiTypes.DOUBLE)
class CreditsField(DecimalStringField):
    """A number of credits, as a number or as a string, exact."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(places=9, accept_number=True, **kwargs)


class CreditAllocationSerializer(serializers.Serializer[Any]):
    """Credits that each subscriber is given: once, or again after each period."""

    pricingUnitId = StrictCharField()
    amount = CreditsField()
    recurrencePeriod = StrictCharField(max_length=20, required=False, allow_null=True)


class PlanFieldsSerializer(SpendFields):
    """What creating and changing a plan share."""

    billingCadence = CadenceField(required=False, max_length=20)
    billingInterval = serializers.ChoiceField(choices=list(NAMED), required=False)
    defaultTaxCode = StrictCharField(max_length=30, required=False)
    defaultTaxRate = serializers.DecimalField(
        max_digits=7, decimal_places=4, min_value=Decimal(0), max_value=Decimal(100), required=False
    )
    description = StrictCharField(allow_blank=True, max_length=10_000, required=False)
    invoiceDisplayName = StrictCharField(allow_blank=True, max_length=255, required=False)
    taxBehavior = serializers.ChoiceField(choices=["exclusive", "inclusive"], required=False)
    renewalReminderEnabled = serializers.BooleanField(required=False)
    renewalReminderDays = serializers.IntegerField(min_value=1, max_value=30, required=False)
    billingAnchor = InstantField(required=False, allow_null=True)
    billingDay = serializers.IntegerField(min_value=1, max_value=31, required=False, allow_null=True)
    billingMonth = serializers.IntegerField(min_value=1, max_value=12, required=False, allow_null=True)
    creditAllocations = CreditAllocationSerializer(many=True, required=False)
    stablePriceIds = serializers.BooleanField(required=False)
    versionTransition = VersionTransitionSerializer(required=False)
    proration = serializers.ChoiceField(choices=["second", "day", "none"], required=False)
    creditUnusedAtEnd = serializers.BooleanField(required=False)
    termPeriods = serializers.IntegerField(min_value=1, max_value=1200, required=False, allow_null=True)
    autoRenew = serializers.BooleanField(required=False)
    trialPeriod = TrialField(required=False, allow_null=True, max_length=20)
    trialUsage = serializers.ChoiceField(choices=TrialUsage.values, required=False)
    billingThresholds = ThresholdsField(required=False, allow_null=True)
    usageBillingInterval = IntervalField(required=False, max_length=20)


class CreatePlanSerializer(PlanFieldsSerializer):
    currency = serializers.RegexField(r"^[A-Z]{3}$")
    merchantId = StrictCharField()
    name = StrictCharField(max_length=255)
    productId = StrictCharField()
    prices = serializers.ListField(child=PlanLineField(), required=False, max_length=200)
    billingVersion = serializers.IntegerField(default=1)


class UpdatePlanSerializer(PlanFieldsSerializer):
    name = StrictCharField(max_length=255, required=False)
    prices = serializers.ListField(child=StrictCharField(), required=False, max_length=200)


class MintVersionSerializer(SpendFields):
    prices = serializers.ListField(child=PlanLineField(), max_length=200)
    basedOnVersionId = StrictCharField(required=False)
    billingThresholds = ThresholdsField(required=False, allow_null=True)
    creditAllocations = CreditAllocationSerializer(many=True, required=False)


class TransitionVersionSerializer(serializers.Serializer[Any]):
    default = serializers.BooleanField(required=False)
