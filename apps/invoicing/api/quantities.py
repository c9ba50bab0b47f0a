"""Quantities of a living subscription, over the wire."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.invoicing.api.previews import PreviewSerializer, render_preview
from apps.invoicing.api.subscription_inputs import ItemSerializer, chosen_items
from apps.invoicing.api.subscriptions import SubscriptionSerializer, SubscriptionView
from apps.invoicing.services.changing import NOW, PERIOD_END
from apps.invoicing.services.previewing import preview_quantities
from apps.invoicing.services.requantifying import change_quantities, undo_quantity_change
from apps.kernel.http.fields import InstantField
from apps.kernel.http.views import Request
from apps.subscriptions.selectors.clocks import current_time


class ChangeQuantitySerializer(serializers.Serializer[Any]):
    items = serializers.ListField(child=ItemSerializer(), min_length=1, max_length=100)
    timing = serializers.ChoiceField(choices=[NOW, PERIOD_END], default=NOW)
    effectiveAt = InstantField(required=False)


class QuantityChangeView(SubscriptionView):
    def asked(self, public_id: str) -> dict[str, Any]:
        """Read what is asked for, as the use-cases take it."""
        subscription = self.subscription(public_id)
        data = self.read(ChangeQuantitySerializer)
        return {
            "subscription_id": subscription.pk,
            "items": chosen_items(data["items"]),
            "as_of": current_time(subscription),
            "timing": data["timing"],
            "at": data.get("effectiveAt"),
        }


class QuantityChange(QuantityChangeView):
    @extend_schema(
        operation_id="changeSubscriptionQuantity", request=ChangeQuantitySerializer, responses=SubscriptionSerializer
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Have another quantity of some prices now, with the open period's end, or on a date."""
        change_quantities(**self.asked(public_id), by=self.principal.user_public_id)
        return self.rendered(public_id)

    @extend_schema(operation_id="undoSubscriptionQuantityChange", responses=SubscriptionSerializer)
    def delete(self, request: Request, public_id: str) -> Response:
        """Take back the changes of quantities that lie ahead."""
        subscription = self.subscription(public_id)
        undo_quantity_change(
            subscription_id=subscription.pk, as_of=current_time(subscription), by=self.principal.user_public_id
        )
        return self.rendered(public_id)


class QuantityChangePreview(QuantityChangeView):
    @extend_schema(
        operation_id="previewSubscriptionQuantityChange",
        request=ChangeQuantitySerializer,
        responses=PreviewSerializer,
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Say what the change would bill and give back, without making it."""
        return render_preview(preview_quantities(**self.asked(public_id)))
