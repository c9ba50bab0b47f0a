"""Commitments and caps agreed with single subscribers, over the wire."""

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.selectors.spend import SpendAmount
from apps.invoicing.api.previews import PreviewSerializer, render_preview
from apps.invoicing.api.subscriptions import SubscriptionView
from apps.invoicing.models import SpendAgreement
from apps.invoicing.selectors.spend import agreements_of
from apps.invoicing.services.previewing import preview_spend
from apps.invoicing.services.spend import SpendDeal, agree_spend, withdraw_spend
from apps.kernel.http.fields import DecimalStringField, InstantField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import Request
from apps.kernel.money import format_amount
from apps.kernel.time import format_instant
from apps.subscriptions.selectors.clocks import current_time

TYPES = {"minimumCommitment": "commitment", "spendCap": "cap"}
NAMES = {kind: name for name, kind in TYPES.items()}


class CreateSpendAgreementSerializer(serializers.Serializer[Any]):
    type = serializers.ChoiceField(choices=list(TYPES))
    amount = DecimalStringField(places=9, low=Decimal(0), allow_null=True)
    cadence = StrictCharField(max_length=20, required=False, allow_null=True)
    priceId = StrictCharField(max_length=64, required=False, allow_null=True)
    effectiveFrom = InstantField()
    effectiveTo = InstantField(required=False, allow_null=True)
    description = StrictCharField(max_length=1000, required=False, allow_null=True)
    idempotencyKey = StrictCharField(max_length=255, required=False)


class SpendAgreementSerializer(serializers.Serializer[Any]):
    """A commitment or a cap of one subscription; without an amount, none of the plan's or the price's holds."""

    object = serializers.CharField()
    id = serializers.CharField()
    subscriptionId = serializers.CharField()
    type = serializers.ChoiceField(choices=list(TYPES))
    amount = serializers.CharField(allow_null=True)
    cadence = serializers.CharField(allow_null=True)
    priceId = serializers.CharField(allow_null=True)
    effectiveFrom = InstantField()
    effectiveTo = InstantField(allow_null=True)
    description = serializers.CharField(allow_null=True)
    createdAt = InstantField()


def render_agreement(row: SpendAgreement) -> dict[str, Any]:
    """Give an agreement in the wire's form."""
    return {
        "object": "spendAgreement",
        "id": row.public_id,
        "subscriptionId": row.subscription.public_id,
        "type": NAMES[row.kind],
        "amount": None if row.amount is None else format_amount(row.amount, row.subscription.currency),
        "cadence": row.cadence or None,
        "priceId": None if row.price is None else row.price.public_id,
        "effectiveFrom": format_instant(row.effective_from),
        "effectiveTo": None if row.effective_to is None else format_instant(row.effective_to),
        "description": row.description or None,
        "createdAt": format_instant(row.created_at),
    }


class SpendView(SubscriptionView):
    def deal(self) -> SpendDeal:
        """Read what is to be agreed."""
        data = self.read(CreateSpendAgreementSerializer)
        amount = data["amount"]
        return SpendDeal(
            kind=TYPES[data["type"]],
            amount=None if amount is None else SpendAmount(amount, data.get("cadence") or ""),
            effective_from=data["effectiveFrom"],
            effective_to=data.get("effectiveTo"),
            price_public_id=data.get("priceId"),
            description=data.get("description") or "",
            idempotency_key=data.get("idempotencyKey"),
        )


class SpendAgreementList(SpendView):
    @extend_schema(
        operation_id="listSpendAgreements",
        parameters=[OpenApiParameter("limit", int), OpenApiParameter("offset", int)],
        responses=page_of(SpendAgreementSerializer),
    )
    def get(self, request: Request, public_id: str) -> Response:
        rows = agreements_of(subscription=self.subscription(public_id))
        return Response(list_page(request, rows, render_agreement))

    @extend_schema(
        operation_id="createSpendAgreement",
        request=CreateSpendAgreementSerializer,
        responses={200: SpendAgreementSerializer, 201: SpendAgreementSerializer},
    )
    def post(self, request: Request, public_id: str) -> Response:
        subscription = self.subscription(public_id)
        row, is_new = agree_spend(subscription_id=subscription.pk, deal=self.deal(), as_of=current_time(subscription))
        return Response(render_agreement(row), status=201 if is_new else 200)


class SpendAgreementPreview(SpendView):
    @extend_schema(
        operation_id="previewSpendAgreement", request=CreateSpendAgreementSerializer, responses=PreviewSerializer
    )
    def post(self, request: Request, public_id: str) -> Response:
        subscription = self.subscription(public_id)
        return render_preview(
            preview_spend(subscription_id=subscription.pk, deal=self.deal(), as_of=current_time(subscription))
        )


class SpendAgreementDetail(SpendView):
    @extend_schema(operation_id="deleteSpendAgreement", responses={200: SpendAgreementSerializer, 204: None})
    def delete(self, request: Request, public_id: str, agreement_id: str) -> Response:
        subscription = self.subscription(public_id)
        row = self.get_own(agreements_of(subscription=subscription), agreement_id, "agreement")
        left = withdraw_spend(agreement_id=row.pk, as_of=current_time(subscription))
        return Response(status=204) if left is None else Response(render_agreement(left))
