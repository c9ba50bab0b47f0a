"""Coupons over the wire."""

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.api.products import MERCHANT, PAGE, CatalogView
from apps.catalog.models import Coupon, CouponDuration
from apps.catalog.selectors.catalog import metrics_of, plans_of, prices_of
from apps.catalog.selectors.coupons import coupons_of
from apps.catalog.services.coupons import Limits, archive_coupon, create_coupon, update_coupon
from apps.kernel.clock import wall_now
from apps.kernel.http.fields import DecimalStringField, InstantField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import Request
from apps.kernel.money import format_amount, format_decimal
from apps.kernel.time import format_instant

COUNT: dict[str, Any] = {"min_value": 1, "max_value": 2**31 - 1, "required": False, "allow_null": True}
NAMES = {
    "name": "name",
    "expiresAt": "expires_at",
    "maxRedemptions": "max_redemptions",
    "maxRedemptionsPerCustomer": "max_redemptions_per_customer",
}


class IdListField(serializers.ListField):
    child = StrictCharField(max_length=64)


class CreateCouponSerializer(serializers.Serializer[Any]):
    merchantId = StrictCharField()
    code = serializers.RegexField(r"^[A-Za-z0-9_-]{1,64}$", max_length=64)
    name = StrictCharField(max_length=255)
    percentageOff = DecimalStringField(required=False, places=6, low=Decimal("0.000001"), high=Decimal(1))
    amountOff = DecimalStringField(required=False, places=4, low=Decimal("0.0001"), high=Decimal("1e15"))
    currency = serializers.RegexField(r"^[A-Z]{3}$", required=False)
    duration = serializers.ChoiceField(choices=CouponDuration.values)
    durationPeriods = serializers.IntegerField(min_value=1, max_value=1000, required=False, allow_null=True)
    priceIds = IdListField(required=False, max_length=100)
    billableMetricIds = IdListField(required=False, max_length=100)
    planIds = IdListField(required=False, max_length=100)
    expiresAt = InstantField(required=False, allow_null=True)
    maxRedemptions = serializers.IntegerField(**COUNT)
    maxRedemptionsPerCustomer = serializers.IntegerField(**COUNT, default=1)


class UpdateCouponSerializer(serializers.Serializer[Any]):
    name = StrictCharField(max_length=255, required=False)
    expiresAt = InstantField(required=False, allow_null=True)
    maxRedemptions = serializers.IntegerField(**COUNT)
    maxRedemptionsPerCustomer = serializers.IntegerField(**COUNT)


class CouponSerializer(serializers.Serializer[Any]):
    """A coupon; it takes off either a fraction or an amount, the other is null."""

    id = serializers.CharField()
    object = serializers.CharField()
    merchantId = serializers.CharField()
    code = serializers.CharField()
    name = serializers.CharField()
    percentageOff = serializers.CharField(allow_null=True)
    amountOff = serializers.CharField(allow_null=True)
    currency = serializers.CharField(allow_null=True)
    duration = serializers.CharField()
    durationPeriods = serializers.IntegerField(allow_null=True)
    priceIds = serializers.ListField(child=serializers.CharField())
    billableMetricIds = serializers.ListField(child=serializers.CharField())
    planIds = serializers.ListField(child=serializers.CharField())
    expiresAt = InstantField(allow_null=True)
    maxRedemptions = serializers.IntegerField(allow_null=True)
    maxRedemptionsPerCustomer = serializers.IntegerField(allow_null=True)
    redemptionCount = serializers.IntegerField()
    archivedAt = InstantField(allow_null=True)
    createdAt = InstantField()
    updatedAt = InstantField()


def render_coupon(coupon: Coupon) -> dict[str, Any]:
    """Give a coupon in the wire's form."""
    targets = list(coupon.targets.all())
    return {
        "id": coupon.public_id,
        "object": "coupon",
        "merchantId": coupon.organization.public_id,
        "code": coupon.code,
        "name": coupon.name,
        "percentageOff": None if coupon.percentage is None else format_decimal(coupon.percentage),
        "amountOff": None if coupon.amount is None else format_amount(coupon.amount, coupon.currency),
        "currency": coupon.currency or None,
        "duration": coupon.duration,
        "durationPeriods": coupon.duration_periods,
        "priceIds": [target.price.public_id for target in targets if target.price is not None],
        "billableMetricIds": [target.metric.public_id for target in targets if target.metric is not None],
        "planIds": [target.plan.public_id for target in targets if target.plan is not None],
        "expiresAt": None if coupon.expires_at is None else format_instant(coupon.expires_at),
        "maxRedemptions": coupon.max_redemptions,
        "maxRedemptionsPerCustomer": coupon.max_redemptions_per_customer,
        "redemptionCount": coupon.redemption_count,
        "archivedAt": None if coupon.archived_at is None else format_instant(coupon.archived_at),
        "createdAt": format_instant(coupon.created_at),
        "updatedAt": format_instant(coupon.updated_at),
    }


class CouponView(CatalogView):
    def coupon(self, public_id: str) -> Coupon:
        return self.get_own(coupons_of(organization_id=self.organization_id), public_id, "coupon")

    def rendered(self, coupon_id: int, status: int = 200) -> Response:
        coupon = coupons_of(organization_id=self.organization_id).get(pk=coupon_id)
        return Response(render_coupon(coupon), status=status)

    def limits(self, data: dict[str, Any]) -> Limits:
        """Find what a coupon is limited to; what is not the caller's is not there."""
        own = {"organization_id": self.organization_id}
        return Limits(
            prices=[self.get_own(prices_of(**own), named, "price") for named in data.get("priceIds", ())],
            metrics=[
                self.get_own(metrics_of(**own), named, "billable metric")
                for named in data.get("billableMetricIds", ())
            ],
            plans=[self.get_own(plans_of(**own), named, "plan") for named in data.get("planIds", ())],
        )


class CouponList(CouponView):
    @extend_schema(
        operation_id="listCoupons",
        parameters=[OpenApiParameter("code", str), MERCHANT, *PAGE],
        responses=page_of(CouponSerializer),
    )
    def get(self, request: Request) -> Response:
        self.require_merchant(request.query_params.get("merchantId"))
        rows = coupons_of(organization_id=self.organization_id)
        code = request.query_params.get("code")
        return Response(list_page(request, rows.filter(code=code) if code else rows, render_coupon))

    @extend_schema(
        operation_id="createCoupon", request=CreateCouponSerializer, responses={201: CouponSerializer, 409: None}
    )
    def post(self, request: Request) -> Response:
        data = self.read(CreateCouponSerializer)
        self.require_merchant(data["merchantId"])
        coupon = create_coupon(
            organization_id=self.organization_id,
            limits=self.limits(data),
            code=data["code"],
            percentage=data.get("percentageOff"),
            amount=data.get("amountOff"),
            currency=data.get("currency", ""),
            duration=data["duration"],
            duration_periods=data.get("durationPeriods"),
            **{own: data[name] for name, own in NAMES.items() if name in data},
        )
        return self.rendered(coupon.pk, status=201)


class CouponDetail(CouponView):
    @extend_schema(operation_id="getCoupon", responses=CouponSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(render_coupon(self.coupon(public_id)))

    @extend_schema(operation_id="updateCoupon", request=UpdateCouponSerializer, responses=CouponSerializer)
    def patch(self, request: Request, public_id: str) -> Response:
        coupon = self.coupon(public_id)
        data = self.read(UpdateCouponSerializer)
        update_coupon(coupon_id=coupon.pk, changes={own: data[name] for name, own in NAMES.items() if name in data})
        return self.rendered(coupon.pk)


class CouponArchive(CouponView):
    @extend_schema(operation_id="archiveCoupon", request=None, responses=CouponSerializer)
    def post(self, request: Request, public_id: str) -> Response:
        coupon = self.coupon(public_id)
        archive_coupon(coupon_id=coupon.pk, as_of=wall_now())
        return self.rendered(coupon.pk)
