import re
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from apps.invoicing.api.subscriptions import SubscriptionView
from apps.invoicing.domain.adjustments import MAXIMUM, MINIMUM, PERCENTAGE, TYPES, USAGE
from apps.invoicing.models import SubscriptionAdjustment
from apps.invoicing.selectors.adjustments import adjustments_of
from apps.invoicing.services.adjustments import Agreement, create_adjustment, withdraw_adjustment
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.http.fields import InstantField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import Request
from apps.kernel.money import format_decimal
from apps.kernel.time import format_instant
from apps.subscriptions.selectors.clocks import current_time

MOST_UNITS = Decimal(10**15)
# Plain notation: no sign, exponent or separator.
PLAIN = re.compile(r"[0-9]{1,34}(\.[0-9]{1,6})?")


@extend_schema_field({"type": "string", "pattern": f"^{PLAIN.pattern}$"})
class PlainDecimalField(serializers.Field[Any, Any, Any, Any]):
    """A decimal in plain notation, sent as a string."""

    default_error_messages = {
        "invalid": 'Give a plain decimal number as a string, such as "300" or "0.35", with at most 6 decimal places.',
        "too_small": "Must be above 0.",
        "no_fraction": "Must be at most 1, which is 100 percent.",
        "too_large": "No invoice could hold the amount of so many units.",
    }

    def __init__(
        self,
        *,
        is_positive: bool = False,
        is_fraction: bool = False,
        highest: Decimal | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.is_positive, self.is_fraction, self.highest = is_positive, is_fraction, highest

    def to_internal_value(self, data: Any) -> Decimal:
        if not isinstance(data, str) or not PLAIN.fullmatch(data):
            self.fail("invalid")
        value = Decimal(data)
        if self.is_positive and not value:
            self.fail("too_small")
        if self.is_fraction and value > 1:
            self.fail("no_fraction")
        if self.highest is not None and value > self.highest:
            self.fail("too_large")
        return value

    def to_representation(self, value: Any) -> Any:
        return format_decimal(value)


class AdjustmentBody(serializers.Serializer[Any]):
    """What every adjustment says."""

    effectiveFrom = InstantField()
    effectiveTo = InstantField(required=False, allow_null=True)
    description = StrictCharField(max_length=1000, required=False, allow_null=True)
    idempotencyKey = StrictCharField(max_length=255, required=False)


class PercentageDiscountSerializer(AdjustmentBody):
    """A percentage off every charge."""

    type = serializers.ChoiceField(choices=[PERCENTAGE])
    percentageDiscount = PlainDecimalField(is_positive=True, is_fraction=True)


class TargetedBody(AdjustmentBody):
    targetPriceIds = serializers.ListField(child=StrictCharField(max_length=64), min_length=1, max_length=1)


class UsageDiscountSerializer(TargetedBody):
    """Units of one metered price that are not billed."""

    type = serializers.ChoiceField(choices=[USAGE])
    usageDiscount = PlainDecimalField(is_positive=True)


class MinimumQuantitySerializer(TargetedBody):
    """The least quantity of one price that a period bills."""

    type = serializers.ChoiceField(choices=[MINIMUM])
    minimumQuantity = PlainDecimalField(highest=MOST_UNITS)


class MaximumQuantitySerializer(TargetedBody):
    """The most quantity of one price that a period bills."""

    type = serializers.ChoiceField(choices=[MAXIMUM])
    maximumQuantity = PlainDecimalField()


BODIES: dict[str, type[AdjustmentBody]] = {
    PERCENTAGE: PercentageDiscountSerializer,
    USAGE: UsageDiscountSerializer,
    MINIMUM: MinimumQuantitySerializer,
    MAXIMUM: MaximumQuantitySerializer,
}


AGREEMENT = PolymorphicProxySerializer(
    component_name="CreateAdjustment", serializers={**BODIES}, resource_type_field_name="type"
)


class AdjustmentSerializer(serializers.Serializer[Any]):
    """An adjustment; the value stands under its type's name, the others are null."""

    object = serializers.CharField()
    id = serializers.CharField()
    subscriptionId = serializers.CharField()
    type = serializers.ChoiceField(choices=TYPES)
    percentageDiscount = serializers.CharField(allow_null=True)
    usageDiscount = serializers.CharField(allow_null=True)
    minimumQuantity = serializers.CharField(allow_null=True)
    maximumQuantity = serializers.CharField(allow_null=True)
    targetPriceIds = serializers.ListField(child=serializers.CharField())
    targetPriceKey = serializers.CharField(allow_null=True)
    effectiveFrom = InstantField()
    effectiveTo = InstantField(allow_null=True)
    description = serializers.CharField(allow_null=True)
    createdAt = InstantField()


def render_adjustment(row: SubscriptionAdjustment) -> dict[str, Any]:
    """Give an adjustment in the wire's form."""
    return {
        "object": "subscriptionAdjustment",
        "id": row.public_id,
        "subscriptionId": row.subscription.public_id,
        "type": row.type,
        **{name: format_decimal(row.value) if name == row.type else None for name in TYPES},
        "targetPriceIds": [] if row.price is None else [row.price.public_id],
        "targetPriceKey": row.price_key or None,
        "effectiveFrom": format_instant(row.effective_from),
        "effectiveTo": None if row.effective_to is None else format_instant(row.effective_to),
        "description": row.description or None,
        "createdAt": format_instant(row.created_at),
    }


class AgreeingView(SubscriptionView):
    def asked(self, public_id: str) -> dict[str, Any]:
        """Read what is agreed, as the use-cases take it."""
        subscription = self.subscription(public_id)
        sent = self.request.data.get("type") if isinstance(self.request.data, dict) else None
        body = BODIES.get(sent) if isinstance(sent, str) else None
        if body is None:
            raise InvalidError(
                "The adjustment is malformed.",
                errors=[FieldError("type", f"Give one of: {', '.join(TYPES)}.", "invalid")],
            )
        data = self.read(body)
        targets = data.get("targetPriceIds")
        return {
            "subscription_id": subscription.pk,
            "agreement": Agreement(
                type=data["type"],
                value=data[data["type"]],
                effective_from=data["effectiveFrom"],
                effective_to=data.get("effectiveTo"),
                price_public_id=targets[0] if targets else None,
                description=data.get("description") or "",
                idempotency_key=data.get("idempotencyKey"),
            ),
            "as_of": current_time(subscription),
        }


class AdjustmentList(AgreeingView):
    @extend_schema(
        operation_id="listSubscriptionAdjustments",
        parameters=[OpenApiParameter("limit", int), OpenApiParameter("offset", int)],
        responses=page_of(AdjustmentSerializer),
    )
    def get(self, request: Request, public_id: str) -> Response:
        rows = adjustments_of(subscription=self.subscription(public_id))
        return Response(list_page(request, rows, render_adjustment))

    @extend_schema(
        operation_id="createSubscriptionAdjustment",
        request=AGREEMENT,
        responses={200: AdjustmentSerializer, 201: AdjustmentSerializer},
    )
    def post(self, request: Request, public_id: str) -> Response:
        row, is_new = create_adjustment(**self.asked(public_id))
        return Response(render_adjustment(row), status=201 if is_new else 200)


class AdjustmentDetail(SubscriptionView):
    @extend_schema(operation_id="deleteSubscriptionAdjustment", responses={200: AdjustmentSerializer, 204: None})
    def delete(self, request: Request, public_id: str, adjustment_id: str) -> Response:
        subscription = self.subscription(public_id)
        row = self.get_own(adjustments_of(subscription=subscription), adjustment_id, "adjustment")
        left = withdraw_adjustment(adjustment_id=row.pk, as_of=current_time(subscription))
        return Response(status=204) if left is None else Response(render_adjustment(left))
