"""Pools of credits over the wire: what is left of a pricing unit, and credits given by hand."""

from decimal import Decimal

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from apps.catalog.models import PricingUnit
from apps.catalog.selectors.units import units_of
from apps.customers.models import Customer
from apps.entitlements.api.base import TRUE, RightsView
from apps.entitlements.api.grants import PAGE, recurrence_of
from apps.entitlements.api.inputs import GrantCreditsSerializer
from apps.entitlements.api.shapes import GrantSerializer, PoolSerializer, render_grant, render_pool
from apps.entitlements.models import Grant
from apps.entitlements.selectors.asking import customers_named
from apps.entitlements.selectors.entitlements import held_units, present_of
from apps.entitlements.selectors.pools import pools_of
from apps.entitlements.services.credits import grant_credits
from apps.entitlements.services.granting import GrantTerms, void_grant
from apps.kernel.clock import wall_now
from apps.kernel.errors import NotFoundError
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import Request
from apps.subscriptions.selectors.clocks import find_simulated_present

CUSTOMER = OpenApiParameter("customerId", str)
BOUNDS = [OpenApiParameter("limit", int), OpenApiParameter("offset", int)]
AT = OpenApiParameter("at", OpenApiTypes.DATETIME, description="The moment to answer for; now by default.")
CONSISTENT = OpenApiParameter("consistent", bool, description="Wait until all accepted before is counted; else 503.")


class PoolView(RightsView):
    def unit(self, public_id: str) -> PricingUnit:
        return self.get_own(units_of(organization_id=self.organization_id), public_id, "pricing unit")

    def customer(self, public_id: str) -> Customer:
        found = customers_named(organization_id=self.organization_id, customer_id=public_id, external_id=None)
        if not found:
            raise NotFoundError(f"There is no customer {public_id}.")
        return found[0]

    def asked_customer(self, request: Request) -> Customer | None:
        named = request.query_params.get("customerId")
        return self.customer(named) if named else None


class PoolList(PoolView):
    @extend_schema(
        operation_id="listCreditPools",
        parameters=[CUSTOMER, AT, CONSISTENT, *BOUNDS],
        responses=page_of(PoolSerializer),
        description="One pool for each customer that ever had credits of the unit, or drew some.",
    )
    def get(self, request: Request, public_id: str) -> Response:
        rows = pools_of(organization_id=self.organization_id).filter(pricing_unit=self.unit(public_id))
        customer = self.asked_customer(request)
        if customer is not None:
            rows = rows.filter(customer=customer)
        at = self.query_moment()
        self.wait_if_asked(request)
        page = list_page(request, rows, lambda row: row)
        pools = list(page["data"])
        found = self.balances(pools, at=at)
        held = held_units(found, at={row.pk: present_of(row) for row in pools})
        page["data"] = [render_pool(found[row.pk], held.get(row.pk, Decimal(0))) for row in pools]
        return Response(page)


class CreditGrantList(PoolView):
    @extend_schema(
        operation_id="listCreditGrants",
        parameters=[CUSTOMER, *BOUNDS, OpenApiParameter("includeVoided", bool)],
        responses=page_of(GrantSerializer),
    )
    def get(self, request: Request, public_id: str) -> Response:
        rows = Grant.objects.filter(entitlement__pricing_unit=self.unit(public_id))
        customer = self.asked_customer(request)
        if customer is not None:
            rows = rows.filter(entitlement__customer=customer)
        if request.query_params.get("includeVoided", "").lower() not in TRUE:
            rows = rows.filter(voided_at__isnull=True)
        rows = rows.select_related("entitlement", "subscription").order_by("-pk")
        return Response(list_page(request, rows, render_grant, default=PAGE))

    @extend_schema(operation_id="grantCredits", request=GrantCreditsSerializer, responses={201: GrantSerializer})
    def post(self, request: Request, public_id: str) -> Response:
        unit = self.unit(public_id)
        data = self.read(GrantCreditsSerializer)
        customer = self.customer(data["customerId"])
        now = find_simulated_present(customer.pk) or wall_now()
        terms = GrantTerms(
            amount=data["amount"],
            idempotency_key=data["idempotencyKey"],
            effective_at=data.get("effectiveAt", now),
            expires_at=data.get("expiresAt"),
            priority=data.get("priority", 0),
            recurrence=recurrence_of(data.get("recurrencePeriod")),
        )
        grant = grant_credits(
            customer=customer,
            pricing_unit=unit,
            terms=terms,
            as_of=now,
            is_effective_given="effectiveAt" in data,
        )
        return Response(render_grant(grant), status=201)


class CreditGrantDetail(PoolView):
    @extend_schema(
        operation_id="voidCreditGrant",
        responses=GrantSerializer,
        description="Takes back what is left of it; what was used stays used.",
    )
    def delete(self, request: Request, public_id: str, grant_id: str) -> Response:
        rows = Grant.objects.filter(entitlement__pricing_unit=self.unit(public_id)).select_related("entitlement")
        grant = self.get_own(rows, grant_id, "grant")
        return Response(render_grant(void_grant(grant_id=grant.pk, as_of=present_of(grant.entitlement))))
