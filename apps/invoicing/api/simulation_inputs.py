"""What a simulation is asked for, over the wire."""

from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.catalog.models import PaymentTerm
from apps.catalog.models.plans import Proration, TaxBehavior
from apps.invoicing.selectors.simulating import COMPARISONS, NOTHING
from apps.kernel.http.fields import (
    DecimalStringField,
    InstantField,
    StrictCharField,
    StringMapField,
    TimeZoneField,
)
from apps.rating.price_models import REGISTRY

MOST_CUSTOMERS = 1_000
LONGEST = timedelta(days=366)
LINES, PROVENANCE = "lines", "provenance"


class DraftFeatureSerializer(serializers.Serializer[Any]):
    """A feature that a price would bring, and by which template."""

    featureId = StrictCharField()
    entitlementTemplate = serializers.DictField(required=False)


class DraftPriceSerializer(serializers.Serializer[Any]):
    """A price that is not made yet: of a metric, or else a fee."""

    invoiceDisplayName = StrictCharField(max_length=255, default="Draft")
    model = serializers.ChoiceField(choices=sorted(REGISTRY), default="standard")
    properties = serializers.DictField()
    billableMetricId = StrictCharField(required=False)
    feeId = StrictCharField(required=False)
    paymentTerm = serializers.ChoiceField(choices=PaymentTerm.values, required=False)
    billingCadence = StrictCharField(max_length=20, required=False)
    quantity = serializers.IntegerField(min_value=1, max_value=1_000_000, default=1)
    isObligation = serializers.BooleanField(default=False)
    feature = DraftFeatureSerializer(required=False)


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string"},
            {
                "type": "object",
                "required": ["properties"],
                "properties": {
                    "invoiceDisplayName": {"type": "string"},
                    "model": {"type": "string", "enum": sorted(REGISTRY)},
                    "properties": {"type": "object", "additionalProperties": True},
                    "billableMetricId": {"type": "string"},
                    "feeId": {"type": "string"},
                    "paymentTerm": {"type": "string", "enum": PaymentTerm.values},
                    "billingCadence": {"type": "string"},
                    "quantity": {"type": "integer"},
                    "isObligation": {"type": "boolean"},
                    "feature": {
                        "type": "object",
                        "required": ["featureId"],
                        "properties": {
                            "featureId": {"type": "string"},
                            "entitlementTemplate": {"type": "object", "additionalProperties": True},
                        },
                    },
                },
            },
        ]
    }
)
class DraftLineField(serializers.Field[Any, Any, Any, Any]):
    """The id of a price, or a price that is not made yet."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "invalid": "Give the id of a price, or an object of a new one."
    }

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, str):
            return data
        if not isinstance(data, dict):
            self.fail("invalid")
        return DraftPriceSerializer(context=self.context).run_validation(data)

    def to_representation(self, value: Any) -> Any:
        return value


class DraftSerializer(serializers.Serializer[Any]):
    """A plan that is only thought of; what it does not say is that of `planId`."""

    planId = StrictCharField(required=False)
    currency = StrictCharField(max_length=3, required=False)
    billingCadence = StrictCharField(max_length=20, required=False)
    proration = serializers.ChoiceField(choices=Proration.values, required=False)
    taxBehavior = serializers.ChoiceField(choices=TaxBehavior.values, required=False)
    defaultTaxRate = serializers.DecimalField(
        max_digits=7, decimal_places=4, min_value=Decimal(0), max_value=Decimal(100), required=False
    )
    prices = serializers.ListField(child=DraftLineField(), min_length=1, max_length=200)


class GivenUsageSerializer(serializers.Serializer[Any]):
    """Usage of a metric in one period: of so many equal events, with so much a unit where the price comes along."""

    billableMetricId = StrictCharField()
    quantity = DecimalStringField(places=9, accept_number=True)
    group = StringMapField(required=False)
    events = serializers.IntegerField(min_value=1, max_value=10_000, default=1)
    rate = DecimalStringField(required=False)


class SimulationRequestSerializer(serializers.Serializer[Any]):
    """Terms (of a plan, or a draft) and usage (that customers had, or that is made up)."""

    planId = StrictCharField(required=False)
    versionNumber = serializers.IntegerField(min_value=1, max_value=2**31 - 1, required=False)
    draft = DraftSerializer(required=False)
    customerIds = serializers.ListField(
        child=StrictCharField(max_length=64), min_length=1, max_length=MOST_CUSTOMERS, required=False
    )
    subscribersOf = StrictCharField(required=False)
    usage = serializers.ListField(child=GivenUsageSerializer(), max_length=1_000, required=False)
    timeZone = TimeZoneField(default="UTC")
    compareWith = serializers.ChoiceField(choices=COMPARISONS, required=False)
    oneTimeFees = serializers.BooleanField(default=False)
    expand = serializers.ListField(child=serializers.ChoiceField(choices=[LINES, PROVENANCE]), required=False)

    def get_fields(self) -> dict[str, Any]:
        # Words of the language cannot be attributes.
        fields: dict[str, Any] = super().get_fields()
        return fields | {"from": InstantField(required=False), "to": InstantField(required=False)}

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if ("planId" in data) == ("draft" in data):
            raise serializers.ValidationError({"planId": "Give exactly one of planId and draft."}, code="required")
        given = [name for name in ("customerIds", "subscribersOf", "usage") if name in data]
        if len(given) != 1:
            message = "Give exactly one of customerIds, subscribersOf and usage."
            raise serializers.ValidationError({"customerIds": message}, code="required")
        if given == ["usage"]:
            if data.get("compareWith", NOTHING) != NOTHING:
                raise serializers.ValidationError({"compareWith": "Nobody had this usage; leave it out."})
            return data
        for name in ("from", "to"):
            if name not in data:
                raise serializers.ValidationError({name: "This field is required."}, code="required")
        if data["from"] >= data["to"]:
            raise serializers.ValidationError({"to": "Must be after from."})
        if data["to"] - data["from"] > LONGEST:
            raise serializers.ValidationError({"to": f"Simulate at most {LONGEST.days} days at once."})
        return data
