"""Rights of customers: listed, read, issued."""

from datetime import timedelta

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from apps.catalog.selectors.catalog import features_of
from apps.customers.models import Customer
from apps.entitlements.api.base import RightsView
from apps.entitlements.api.inputs import IssueSerializer, refuse
from apps.entitlements.api.shapes import (
    EntitlementItemSerializer,
    EntitlementSerializer,
    render_entitlement,
    render_item,
)
from apps.entitlements.selectors.asking import customers_named
from apps.entitlements.selectors.entitlements import entitlements_of, in_force
from apps.entitlements.services.issuing import cancel_entitlement, issue_entitlement
from apps.kernel.clock import wall_now
from apps.kernel.errors import NotFoundError
from apps.kernel.http.pagination import page_bounds
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import Request
from apps.subscriptions.selectors.clocks import current_time, find_simulated_present
from apps.subscriptions.selectors.subscriptions import subscriptions_of

# Its history is gone through whenever it is read.
LONGEST_PAST = timedelta(days=5 * 366)
AT = OpenApiParameter("at", OpenApiTypes.DATETIME, description="The moment to answer for; now by default.")
CONSISTENT = OpenApiParameter(
    "consistent", bool, description="Wait, briefly, until all that was accepted before is counted; else 503."
)
NAMES = ("customerId", "externalCustomerId", "merchantId", "featureKey", "productId", "subscriptionId")


class EntitlementList(RightsView):
    @extend_schema(
        operation_id="listEntitlements",
        parameters=[
            *(OpenApiParameter(name, str) for name in NAMES),
            OpenApiParameter("limit", int),
            OpenApiParameter("offset", int),
            AT,
            CONSISTENT,
        ],
        responses=page_of(EntitlementItemSerializer),
    )
    def get(self, request: Request) -> Response:
        query = {name: request.query_params.get(name) or None for name in NAMES}
        self.require_merchant(query["merchantId"])
        at = self.query_moment()
        customer = self._customer(query["customerId"], query["externalCustomerId"])
        if query["featureKey"] is not None and query["productId"] is None:
            raise refuse("productId", "A feature's key is its product's; name the product too.")
        self.wait_if_asked(request)
        limit, offset = page_bounds(request)
        rows = entitlements_of(organization_id=self.organization_id).filter(customer=customer)
        moment = at or find_simulated_present(customer.pk) or wall_now()
        rows = in_force(rows, moment)
        for name, column in (
            ("featureKey", "feature__key"),
            ("productId", "feature__product__public_id"),
            ("subscriptionId", "subscription__public_id"),
        ):
            if query[name] is not None:
                rows = rows.filter(**{column: query[name]})
        page = list(rows[offset : offset + limit])
        found = self.balances(page, at=at)
        return Response(
            {
                "object": "list",
                "data": [render_item(found[row.pk]) for row in page],
                "pagination": {"limit": limit, "offset": offset, "total": rows.count()},
            }
        )

    @extend_schema(operation_id="issueEntitlement", request=IssueSerializer, responses={201: EntitlementSerializer})
    def post(self, request: Request) -> Response:
        data = self.read(IssueSerializer)
        customer = self._customer(data["customerId"], None)
        feature = self.get_own(features_of(organization_id=self.organization_id), data["featureId"], "feature")
        subscription = None
        if data.get("subscriptionId") is not None:
            rows = subscriptions_of(organization_id=self.organization_id)
            subscription = self.get_own(rows, data["subscriptionId"], "subscription")
        now = (
            current_time(subscription)
            if subscription is not None
            else find_simulated_present(customer.pk) or wall_now()
        )
        active_from = data.get("activeFrom", now)
        if active_from < now - LONGEST_PAST:
            raise refuse("activeFrom", "A right begins five years ago at the earliest.")
        row = issue_entitlement(
            customer=customer,
            feature=feature,
            template=data["template"],
            active_from=active_from,
            active_to=data.get("activeTo"),
            subscription=subscription,
            metadata=data.get("metadata"),
        )
        found = self.entitlement(row.public_id)
        return Response(render_entitlement(self.balances([found], at=None)[row.pk]), status=201)

    def _customer(self, public_id: str | None, external_id: str | None) -> Customer:
        if (public_id is None) == (external_id is None):
            raise refuse("customerId", "Give exactly one of customerId and externalCustomerId.")
        found = customers_named(organization_id=self.organization_id, customer_id=public_id, external_id=external_id)
        if not found:
            raise NotFoundError(f"There is no customer {public_id or external_id}.")
        return found[0]


class EntitlementDetail(RightsView):
    @extend_schema(operation_id="getEntitlement", parameters=[AT, CONSISTENT], responses=EntitlementSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        row = self.entitlement(public_id)
        at = self.query_moment()
        self.wait_if_asked(request)
        return Response(render_entitlement(self.balances([row], at=at)[row.pk]))

    @extend_schema(
        operation_id="cancelEntitlement",
        responses=EntitlementSerializer,
        description="Ends the right now; what was used stays used. Ended already is no error.",
    )
    def delete(self, request: Request, public_id: str) -> Response:
        row = self.entitlement(public_id)
        now = self.balances([row], at=None)[row.pk].at
        cancel_entitlement(entitlement_id=row.pk, as_of=now)
        row = self.entitlement(public_id)
        return Response(render_entitlement(self.balances([row], at=None)[row.pk]))
