"""What a subscription is asked for with, over the wire."""

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.catalog.domain.trials import find_trial_problem
from apps.catalog.models import TrialUsage
from apps.customers.selectors.customers import NEED_STATE
from apps.kernel.http.fields import AddressSerializer, DecimalStringField, InstantField, StrictCharField
from apps.subscriptions.services.quantities import MOST_UNITS, ChosenItem

REASONS = ["commercial", "correction", "migration", "unspecified"]


@extend_schema_field({"type": "object", "additionalProperties": True})
class MetadataField(serializers.Field[Any, Any, Any, Any]):
    """An object whose values are text, numbers or booleans."""

    default_error_messages = {"invalid": "Give an object of text, numbers and booleans, at most 50 entries."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict) or len(data) > 50:
            self.fail("invalid")
        found = {}
        for name, value in data.items():
            if (isinstance(value, str) and len(value) <= 500 and "\x00" not in value + name) or isinstance(
                value, bool | int
            ):
                found[name] = value
            elif value == value and hasattr(value, "is_finite") and "\x00" not in name:
                # A client that writes 1 as 1.0 means 1; other fractions are kept as text, exactly.
                found[name] = int(value) if value == value.to_integral_value() else str(value)
            else:
                self.fail("invalid")
        return found

    def to_representation(self, value: Any) -> Any:
        return value


class InlineAddressSerializer(AddressSerializer):
    country = StrictCharField(min_length=2, max_length=2)
    zipCode = StrictCharField(max_length=20)


class InlineCustomerSerializer(serializers.Serializer[Any]):
    name = StrictCharField(max_length=255)
    email = serializers.EmailField(max_length=254)
    address = InlineAddressSerializer()
    phone = StrictCharField(max_length=50, required=False)
    taxRates = serializers.DictField(required=False)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        address = data["address"]
        if address["country"] in NEED_STATE and not address.get("state"):
            raise serializers.ValidationError(
                {"address": {"state": "Addresses in the US and Canada need a state."}}, code="required"
            )
        return data


class RedirectUrlsSerializer(serializers.Serializer[Any]):
    onSuccess = serializers.URLField(required=False, max_length=2000)
    onFailure = serializers.URLField(required=False, max_length=2000)


class ItemSerializer(serializers.Serializer[Any]):
    """How many of one price of the plan, named by its key, its id, or its flat metric."""

    priceKey = StrictCharField(required=False, max_length=64)
    priceId = StrictCharField(required=False, max_length=64)
    billableMetricId = StrictCharField(required=False, max_length=64)
    quantity = DecimalStringField(places=9, low=Decimal(0), high=MOST_UNITS, accept_number=True)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if sum(name in data for name in ("priceKey", "priceId", "billableMetricId")) != 1:
            message = "Give exactly one of priceKey, priceId and billableMetricId."
            raise serializers.ValidationError({"priceKey": message}, code="required")
        return data


def chosen_items(data: list[dict[str, Any]]) -> tuple[ChosenItem, ...]:
    """Give checked items as the use-cases take them."""
    return tuple(
        ChosenItem(
            item["quantity"],
            price_key=item.get("priceKey"),
            price_id=item.get("priceId"),
            metric_id=item.get("billableMetricId"),
        )
        for item in data
    )


class CreateSubscriptionSerializer(serializers.Serializer[Any]):
    name = StrictCharField(max_length=255)
    planId = StrictCharField()
    startedAt = InstantField()
    autoCharge = serializers.BooleanField(default=False)
    autoApprove = serializers.BooleanField(required=False, allow_null=True)
    taxExempt = serializers.BooleanField(default=False)
    customer = InlineCustomerSerializer(required=False)
    customerId = StrictCharField(required=False)
    endingAt = InstantField(required=False)
    termPeriods = serializers.IntegerField(required=False, min_value=0, max_value=1200)
    autoRenew = serializers.BooleanField(required=False)
    billingDay = serializers.IntegerField(required=False, min_value=1, max_value=31)
    trialPeriod = StrictCharField(required=False, max_length=20)
    trialEndsAt = InstantField(required=False)
    trialUsage = serializers.ChoiceField(choices=TrialUsage.values, required=False)
    prefundAmount = StrictCharField(required=False, max_length=40)
    minimumAccountBalance = StrictCharField(required=False, max_length=40)
    redirectUrls = RedirectUrlsSerializer(required=False)
    elapsedPeriodBilling = serializers.ChoiceField(choices=["none", "per_period"], default="none")
    testClockId = StrictCharField(required=False)
    renewalReminderEnabled = serializers.BooleanField(required=False, allow_null=True)
    renewalReminderDays = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=30)
    paymentTermDays = serializers.IntegerField(required=False, min_value=0, max_value=365)
    sessionExpiryMinutes = serializers.IntegerField(required=False, min_value=1, max_value=525_600)
    versionPolicy = serializers.ChoiceField(choices=["floating", "pinned"], default="floating")
    metadata = MetadataField(required=False)
    items = serializers.ListField(child=ItemSerializer(), required=False, max_length=100)
    changeReason = serializers.ChoiceField(choices=REASONS, required=False)
    changeDescription = StrictCharField(required=False, max_length=5000)
    changeMetadata = MetadataField(required=False)

    def validate_trialPeriod(self, text: str) -> str:
        problem = find_trial_problem(text)
        if problem is not None:
            raise serializers.ValidationError(problem, code="invalid")
        return text

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if ("customer" in data) == ("customerId" in data):
            raise serializers.ValidationError(
                {"customerId": "Give exactly one of customerId and customer."}, code="required"
            )
        if data.get("termPeriods") and "endingAt" in data:
            raise serializers.ValidationError(
                {"termPeriods": "Give a term of periods or an end, not both."}, code="invalid"
            )
        if "trialPeriod" in data and "trialEndsAt" in data:
            raise serializers.ValidationError(
                {"trialEndsAt": "Give a trial's length or its end, not both."}, code="invalid"
            )
        return data


class UpdateSubscriptionSerializer(serializers.Serializer[Any]):
    endingAt = InstantField(required=False)
    status = serializers.ChoiceField(choices=["active", "terminated"], required=False)
    terminatedAt = InstantField(required=False)
    terminatedBy = StrictCharField(required=False, max_length=255)
    terminationReason = StrictCharField(required=False, max_length=1000)
    autoCharge = serializers.BooleanField(required=False)
    autoApprove = serializers.BooleanField(required=False, allow_null=True)
    taxExempt = serializers.BooleanField(required=False)
    minimumAccountBalance = StrictCharField(required=False, max_length=40)
    renewalReminderEnabled = serializers.BooleanField(required=False, allow_null=True)
    renewalReminderDays = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=30)
    paymentTermDays = serializers.IntegerField(required=False, min_value=0, max_value=365)
    versionPolicy = serializers.ChoiceField(choices=["floating", "pinned"], required=False)
    autoRenew = serializers.BooleanField(required=False)


class TerminateSerializer(serializers.Serializer[Any]):
    reason = StrictCharField(min_length=1, max_length=1000)
    changeReason = serializers.ChoiceField(choices=REASONS, required=False)
