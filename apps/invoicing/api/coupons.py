"""Redeemed coupons over the wire: of a customer, of a subscription, of a coupon."""

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.selectors.coupons import coupons_of
from apps.customers.models import Customer
from apps.customers.selectors.customers import customers_of
from apps.invoicing.api.subscriptions import SCOPES, SubscriptionView
from apps.invoicing.domain.coupons import Used
from apps.invoicing.models import AppliedCoupon
from apps.invoicing.selectors.coupons import applied_coupons, uses_of
from apps.invoicing.services.coupons import apply_coupon, remove_coupon, state_of
from apps.kernel.clock import wall_now
from apps.kernel.http.fields import InstantField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.kernel.money import format_amount
from apps.kernel.time import format_instant
from apps.subscriptions.selectors.clocks import current_time, find_simulated_present

PAGE = [OpenApiParameter("limit", int), OpenApiParameter("offset", int)]


class ApplyCouponSerializer(serializers.Serializer[Any]):
    code = StrictCharField(max_length=64)


class AppliedCouponSerializer(serializers.Serializer[Any]):
    """A redeemed coupon and what it took off so far, on invoices that are calculated."""

    object = serializers.CharField()
    id = serializers.CharField()
    couponId = serializers.CharField()
    code = serializers.CharField()
    customerId = serializers.CharField()
    subscriptionId = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(choices=["active", "used_up", "removed"])
    invoicesUsed = serializers.IntegerField()
    amountsUsed = serializers.DictField(child=serializers.CharField())
    appliedAt = InstantField()
    removedAt = InstantField(allow_null=True)
    createdAt = InstantField()


def render_applied(row: AppliedCoupon, uses: dict[str, Used]) -> dict[str, Any]:
    """Give a redeemed coupon in the wire's form."""
    return {
        "object": "appliedCoupon",
        "id": row.public_id,
        "couponId": row.coupon.public_id,
        "code": row.coupon.code,
        "customerId": row.customer.public_id,
        "subscriptionId": None if row.subscription is None else row.subscription.public_id,
        "status": state_of(row, uses),
        "invoicesUsed": sum(used.invoices for used in uses.values()),
        "amountsUsed": {currency: format_amount(used.amount, currency) for currency, used in uses.items()},
        "appliedAt": format_instant(row.placed_at),
        "removedAt": None if row.removed_at is None else format_instant(row.removed_at),
        "createdAt": format_instant(row.created_at),
    }


class AppliedCouponView(ContractView):
    """What lists of redeemed coupons share."""

    def page(self, request: Request, rows: QuerySet[AppliedCoupon]) -> Response:
        """Give a page of them; what they took off is read in one query."""
        page = list_page(request, rows.prefetch_related("coupon__targets"), lambda row: row)
        uses = uses_of(page["data"])
        page["data"] = [render_applied(row, uses[row.pk]) for row in page["data"]]
        return Response(page)

    def shown(self, row: AppliedCoupon, status: int = 200) -> Response:
        return Response(render_applied(row, uses_of([row])[row.pk]), status=status)

    def removed(self, rows: QuerySet[AppliedCoupon], applied_id: str, as_of: datetime) -> Response:
        left = remove_coupon(applied_coupon_id=self.get_own(rows, applied_id, "coupon").pk, as_of=as_of)
        return Response(status=204) if left is None else self.shown(left)


class CustomerView(AppliedCouponView):
    scopes = {
        "GET": "customers:read",
        "POST": "customers:write",
        "DELETE": "customers:write",
    }

    def customer(self, public_id: str) -> Customer:
        return self.get_own(customers_of(organization_id=self.organization_id), public_id, "customer")

    def rows(self, customer: Customer) -> QuerySet[AppliedCoupon]:
        return applied_coupons(organization_id=self.organization_id).filter(customer=customer)


class CustomerCouponList(CustomerView):
    @extend_schema(operation_id="listCustomerCoupons", parameters=PAGE, responses=page_of(AppliedCouponSerializer))
    def get(self, request: Request, public_id: str) -> Response:
        """Give what the customer redeemed, for single subscriptions too."""
        return self.page(request, self.rows(self.customer(public_id)))

    @extend_schema(
        operation_id="applyCustomerCoupon",
        request=ApplyCouponSerializer,
        responses={201: AppliedCouponSerializer},
    )
    def post(self, request: Request, public_id: str) -> Response:
        customer = self.customer(public_id)
        code = self.read(ApplyCouponSerializer)["code"]
        as_of = find_simulated_present(customer.pk) or wall_now()
        return self.shown(apply_coupon(customer=customer, code=code, as_of=as_of), status=201)


class CustomerCouponDetail(CustomerView):
    @extend_schema(operation_id="removeCustomerCoupon", responses={200: AppliedCouponSerializer, 204: None})
    def delete(self, request: Request, public_id: str, applied_id: str) -> Response:
        customer = self.customer(public_id)
        as_of = find_simulated_present(customer.pk) or wall_now()
        return self.removed(self.rows(customer), applied_id, as_of)


class SubscriptionCouponView(AppliedCouponView, SubscriptionView):
    scopes = SCOPES

    def own_rows(self, public_id: str) -> QuerySet[AppliedCoupon]:
        rows = applied_coupons(organization_id=self.organization_id)
        return rows.filter(subscription=self.subscription(public_id))


class SubscriptionCouponList(SubscriptionCouponView):
    @extend_schema(
        operation_id="listSubscriptionCoupons", parameters=PAGE, responses=page_of(AppliedCouponSerializer)
    )
    def get(self, request: Request, public_id: str) -> Response:
        """Give what was redeemed for this subscription alone."""
        return self.page(request, self.own_rows(public_id))

    @extend_schema(
        operation_id="applySubscriptionCoupon",
        request=ApplyCouponSerializer,
        responses={201: AppliedCouponSerializer},
    )
    def post(self, request: Request, public_id: str) -> Response:
        subscription = self.subscription(public_id)
        row = apply_coupon(
            customer=subscription.customer,
            code=self.read(ApplyCouponSerializer)["code"],
            as_of=current_time(subscription),
            subscription=subscription,
        )
        return self.shown(row, status=201)


class SubscriptionCouponDetail(SubscriptionCouponView):
    @extend_schema(operation_id="removeSubscriptionCoupon", responses={200: AppliedCouponSerializer, 204: None})
    def delete(self, request: Request, public_id: str, applied_id: str) -> Response:
        subscription = self.subscription(public_id)
        return self.removed(self.own_rows(public_id), applied_id, current_time(subscription))


class RedemptionList(AppliedCouponView):
    scopes = {"GET": "catalog:read"}

    @extend_schema(operation_id="listCouponRedemptions", parameters=PAGE, responses=page_of(AppliedCouponSerializer))
    def get(self, request: Request, public_id: str) -> Response:
        coupon = self.get_own(coupons_of(organization_id=self.organization_id), public_id, "coupon")
        return self.page(request, applied_coupons(organization_id=self.organization_id).filter(coupon=coupon))
