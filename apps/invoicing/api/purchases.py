"""What customers buy beside their plans: units, and bursts of slots."""

from decimal import Decimal
from typing import Any, ClassVar

from django.db import transaction
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.domain.templates import LARGEST, read_units
from apps.entitlements.models import Entitlement
from apps.entitlements.selectors.entitlements import entitlements_of, present_of
from apps.invoicing.api.line_pages import bad
from apps.invoicing.api.outputs import checkout_url
from apps.invoicing.api.purchase_shapes import PurchasedBurstSerializer, PurchasedGrantSerializer, render_purchased
from apps.invoicing.models import LEAST_PRICE, MOST_PRICE, MOST_SLOTS, Purchase, PurchaseStatus
from apps.invoicing.selectors.purchases import payment_pages, purchases_of
from apps.invoicing.services.buying import PurchaseTerms, purchase_burst, purchase_grant
from apps.kernel.http.fields import DecimalStringField, InstantField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.schema import ErrorSerializer
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.kernel.money import EXACT, minor_digits
from apps.kernel.time import format_instant

# The finest part of a unit that can be sold.
PLACES = 8
PAGE = 20


@extend_schema_field(OpenApiTypes.DOUBLE)
class SoldUnitsField(serializers.Field[Any, Any, Any, Any]):
    """A number of units, in whole hundred-millionths."""

    default_error_messages = {
        "invalid": f"Give a number of units up to {LARGEST} that is a multiple of 0.00000001.",
        "not_positive": "Give a number above zero.",
    }

    def __init__(self, *, is_positive: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.is_positive = is_positive

    def to_internal_value(self, data: Any) -> Decimal:
        value = None if isinstance(data, str) else read_units(data)
        if value is None or value != round(value, PLACES):
            self.fail("invalid")
        if self.is_positive and not value:
            self.fail("not_positive")
        return value

    def to_representation(self, value: Decimal) -> Decimal:
        return value


class _PurchaseSerializer(serializers.Serializer[Any]):
    price = DecimalStringField(
        places=9, low=LEAST_PRICE, high=MOST_PRICE, help_text="Of all of it together, major units of the currency."
    )
    idempotencyKey = StrictCharField(max_length=255)
    successUrl = serializers.URLField(required=False, max_length=2000)
    cancelUrl = serializers.URLField(required=False, max_length=2000)
    paymentExpiresAt = InstantField(required=False)


class PurchaseGrantSerializer(_PurchaseSerializer):
    amount = SoldUnitsField(is_positive=True)
    effectiveAt = InstantField(required=False)
    expiresAt = InstantField(required=False, allow_null=True)
    resetMaxRollover = SoldUnitsField(required=False)
    resetMinRollover = SoldUnitsField(required=False)


class PurchaseBurstSerializer(_PurchaseSerializer):
    slots = serializers.IntegerField(min_value=1, max_value=MOST_SLOTS, help_text="How many more may be held.")
    startsAt = InstantField(required=False, help_text="The payment by default, and never before it.")
    endsAt = InstantField()


class PaymentPageSerializer(serializers.Serializer[Any]):
    url = serializers.CharField()
    expiresAt = InstantField()
    amount = serializers.FloatField(help_text="With tax, in minor units of the currency.")


class GrantPurchaseSerializer(PurchasedGrantSerializer):
    paymentSessions = PaymentPageSerializer(many=True)


class BurstPurchaseSerializer(PurchasedBurstSerializer):
    paymentSessions = PaymentPageSerializer(many=True)


PAGED = [
    OpenApiParameter("limit", int),
    OpenApiParameter("offset", int),
    OpenApiParameter("status", str, enum=PurchaseStatus.values),
]


class PurchaseView(ContractView):
    scopes: ClassVar[dict[str, str]] = {"GET": "entitlements:read", "POST": "entitlements:write"}

    def entitlement(self, public_id: str) -> Entitlement:
        return self.get_own(entitlements_of(organization_id=self.organization_id), public_id, "entitlement")

    def purchases(self, request: Request, public_id: str, *, of_bursts: bool) -> Response:
        """Answer with what was sold to the holder of an entitlement, narrowed as the query says."""
        rows = purchases_of(organization_id=self.organization_id).filter(
            entitlement=self.entitlement(public_id), pool__isnull=not of_bursts
        )
        status = request.query_params.get("status")
        if status:
            if status not in PurchaseStatus.values:
                raise bad("status", "There is no such state of a purchase.")
            rows = rows.filter(status=status)
        return Response(list_page(request, rows, render_purchase, default=PAGE))


class GrantPurchasing(PurchaseView):
    @extend_schema(
        operation_id="purchaseEntitlementGrant",
        request=PurchaseGrantSerializer,
        responses={
            201: GrantPurchaseSerializer,
            409: OpenApiResponse(
                ErrorSerializer, "The key is used for something else, or nothing could use the units."
            ),
        },
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Sell units: an invoice with a payment page, whose payment makes the grant."""
        row = self.entitlement(public_id)
        data = self.read(PurchaseGrantSerializer)
        kept = data.get("resetMaxRollover")
        terms = PurchaseTerms(
            amount=data["amount"],
            effective_at=data.get("effectiveAt"),
            expires_at=data.get("expiresAt"),
            rollover_min=data.get("resetMinRollover", Decimal(0)),
            rollover_max=None if kept is None or kept >= LARGEST else kept,
            **_offer(data),
        )
        with transaction.atomic():
            purchase, _ = purchase_grant(entitlement_id=row.pk, terms=terms, as_of=present_of(row))
            return Response(render_purchase(purchase), status=201)


class GrantPurchaseList(PurchaseView):
    @extend_schema(
        operation_id="listGrantPurchases",
        parameters=PAGED,
        responses=page_of(GrantPurchaseSerializer),
    )
    def get(self, request: Request, public_id: str) -> Response:
        """List what was sold to the holder of an entitlement, whatever became of it."""
        return self.purchases(request, public_id, of_bursts=False)


class BurstPurchasing(PurchaseView):
    @extend_schema(
        operation_id="purchaseSlotBurst",
        request=PurchaseBurstSerializer,
        responses={
            201: BurstPurchaseSerializer,
            409: OpenApiResponse(
                ErrorSerializer, "The key is used for something else, or nothing could use the slots."
            ),
        },
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Sell more slots for a time: an invoice with a payment page, whose payment makes the burst."""
        row = self.entitlement(public_id)
        data = self.read(PurchaseBurstSerializer)
        terms = PurchaseTerms(
            amount=Decimal(data["slots"]),
            effective_at=data.get("startsAt"),
            expires_at=data["endsAt"],
            **_offer(data),
        )
        with transaction.atomic():
            purchase, _ = purchase_burst(entitlement_id=row.pk, terms=terms, as_of=present_of(row))
            return Response(render_purchase(purchase), status=201)


class BurstPurchaseList(PurchaseView):
    @extend_schema(operation_id="listBurstPurchases", parameters=PAGED, responses=page_of(BurstPurchaseSerializer))
    def get(self, request: Request, public_id: str) -> Response:
        """List the bursts that were sold to the holder of an entitlement, whatever became of them."""
        return self.purchases(request, public_id, of_bursts=True)


def _offer(data: dict[str, Any]) -> dict[str, Any]:
    """Give the terms on which anything is sold."""
    return {
        "price": data["price"],
        "idempotency_key": data["idempotencyKey"],
        "success_url": data.get("successUrl", ""),
        "cancel_url": data.get("cancelUrl", ""),
        "payment_expires_at": data.get("paymentExpiresAt"),
    }


def render_purchase(row: Purchase) -> dict[str, Any]:
    """Give a purchase in the wire's form, with the page where it can be paid."""
    return {
        **render_purchased(row),
        "paymentSessions": [
            {
                "url": checkout_url(session),
                "expiresAt": format_instant(session.expires_at),
                "amount": int(EXACT.scaleb(session.amount, minor_digits(session.currency))),
            }
            for session in payment_pages(row)
        ],
    }
