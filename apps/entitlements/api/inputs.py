"""What callers send about rights."""

from decimal import Decimal
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.catalog.domain.templates import LARGEST, PRIORITIES, read_units
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.http.fields import InstantField, StrictCharField, StringMapField

QUESTIONS_AT_ONCE = 100
LONGEST_HOLD_SECONDS = 86_400


@extend_schema_field(OpenApiTypes.DOUBLE)
class UnitsField(serializers.Field[Any, Any, Any, Any]):
    """A number of units with at most 9 decimal places, exact."""

    default_error_messages = {
        "invalid": "Give a number of units from {low} to {high} with at most 9 decimal places.",
        "not_positive": "Give a number above zero.",
    }

    def __init__(self, *, is_positive: bool = False, places: int = 9, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.is_positive, self.places = is_positive, places

    def to_internal_value(self, data: Any) -> Decimal:
        value = None if isinstance(data, str) else read_units(data)
        if value is None or value != round(value, self.places):
            self.fail("invalid", low=0, high=LARGEST)
        if self.is_positive and not value:
            self.fail("not_positive")
        return value

    def to_representation(self, value: Decimal) -> Decimal:
        return value


class IssueSerializer(serializers.Serializer[Any]):
    customerId = StrictCharField()
    featureId = StrictCharField()
    template = serializers.DictField()
    activeFrom = InstantField(required=False)
    activeTo = InstantField(required=False, allow_null=True)
    subscriptionId = StrictCharField(required=False, allow_null=True)
    metadata = StringMapField(required=False)


class GrantFields(serializers.Serializer[Any]):
    idempotencyKey = StrictCharField(max_length=255)
    effectiveAt = InstantField(required=False)
    expiresAt = InstantField(required=False, allow_null=True)
    resetMaxRollover = UnitsField(required=False)
    resetMinRollover = UnitsField(required=False)
    priority = serializers.IntegerField(required=False, min_value=PRIORITIES[0], max_value=PRIORITIES[1])


class CreateGrantSerializer(GrantFields):
    amount = UnitsField(is_positive=True)
    recurrencePeriod = StrictCharField(max_length=20, required=False, allow_null=True)


class GrantCreditsSerializer(serializers.Serializer[Any]):
    """Credits for a customer's pool."""

    customerId = StrictCharField()
    amount = UnitsField(is_positive=True)
    idempotencyKey = StrictCharField(max_length=255)
    effectiveAt = InstantField(required=False)
    expiresAt = InstantField(required=False, allow_null=True)
    priority = serializers.IntegerField(required=False, min_value=PRIORITIES[0], max_value=PRIORITIES[1])
    recurrencePeriod = StrictCharField(max_length=20, required=False, allow_null=True)


class AskedSerializer(serializers.Serializer[Any]):
    """One customer and one feature; a feature by its id, or by its key and its product."""

    customerId = StrictCharField(required=False)
    externalCustomerId = StrictCharField(required=False, max_length=255)
    featureId = StrictCharField(required=False)
    featureKey = StrictCharField(required=False, max_length=255)
    productId = StrictCharField(required=False)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        errors = {}
        if ("customerId" in data) == ("externalCustomerId" in data):
            errors["customerId"] = "Give either customerId or externalCustomerId."
        errors |= self.problems_of_what(data)
        if errors:
            raise serializers.ValidationError(errors, code="invalid")
        return data

    def problems_of_what(self, data: dict[str, Any]) -> dict[str, str]:
        """Give what is wrong with how a body names what it is about, by field."""
        if ("featureId" in data) == ("featureKey" in data):
            return {"featureId": "Give either featureId, or featureKey with productId."}
        if "featureKey" in data and "productId" not in data:
            return {"productId": "A key is a product's; name the product."}
        return {}


class QuestionSerializer(AskedSerializer):
    """What somebody is about to use, and how much of it: of a feature, or credits of a pricing unit's pool."""

    pricingUnitId = StrictCharField(required=False, help_text="Asks the pool itself; `quantity` is credits.")
    quantity = UnitsField(required=False)
    reserveSeconds = serializers.IntegerField(
        required=False, min_value=1, max_value=LONGEST_HOLD_SECONDS, help_text="Sets the quantity aside for so long."
    )
    idempotencyKey = StrictCharField(required=False, max_length=255)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        data = super().validate(data)
        if "reserveSeconds" in data and not data.get("quantity"):
            raise serializers.ValidationError({"quantity": "Say how much to set aside."}, code="invalid")
        return data

    def problems_of_what(self, data: dict[str, Any]) -> dict[str, str]:
        is_of_feature = "featureId" in data or "featureKey" in data
        if "pricingUnitId" not in data:
            if not is_of_feature:
                return {"featureId": "Give featureId, featureKey with productId, or pricingUnitId."}
            return super().problems_of_what(data)
        if is_of_feature:
            return {"pricingUnitId": "Ask about a feature or about a pricing unit, not about both in one question."}
        return {}


class CheckSerializer(serializers.Serializer[Any]):
    questions = serializers.ListField(child=QuestionSerializer(), min_length=1, max_length=QUESTIONS_AT_ONCE)
    consistent = serializers.BooleanField(
        default=False, help_text="Wait, briefly, until all that was accepted before is counted; else 503."
    )


def refuse(field: str, message: str) -> InvalidError:
    """Give the refusal of one field."""
    return InvalidError(message, errors=[FieldError(field, message, "invalid")])
