from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.api import inputs
from apps.catalog.api.outputs import render_plan, render_price
from apps.catalog.api.products import MERCHANT, PAGE, PRODUCT, CatalogView, required
from apps.catalog.api.spend import SpendShown, read_spend
from apps.catalog.domain.cadences import NAMED
from apps.catalog.domain.thresholds import BillingThresholds
from apps.catalog.models import BillableMetric, Feature, Fee, Plan, PricingUnit
from apps.catalog.selectors.catalog import (
    available_plans,
    features_of,
    fees_of,
    metrics_of,
    plans_of,
    prices_of,
    slots_of_versions,
)
from apps.catalog.selectors.units import find_unit
from apps.catalog.services.credits import AllocationTerms
from apps.catalog.services.plans import (
    NewAllocations,
    NewThresholds,
    PlanLine,
    Unchanged,
    create_plan,
    update_plan,
)
from apps.catalog.services.prices import create_price, delete_price, update_price
from apps.customers.models import Customer
from apps.kernel.clock import wall_now
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.http.fields import ThresholdsField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import Request
from apps.kernel.money import minor_digits

PRICE_NAMES = {
    "invoiceDisplayName": "invoice_display_name",
    "paymentTerm": "payment_term",
    "properties": "properties",
    "model": "model",
    "quantity": "quantity",
    "grantDiscountEnabled": "grant_discount_enabled",
    "isObligation": "is_obligation",
    "rateType": "rate_type",
}
PLAN_NAMES = {
    "billingCadence": "billing_cadence",
    "defaultTaxCode": "default_tax_code",
    "defaultTaxRate": "default_tax_rate",
    "description": "description",
    "invoiceDisplayName": "invoice_display_name",
    "taxBehavior": "tax_behavior",
    "renewalReminderEnabled": "renewal_reminder_enabled",
    "renewalReminderDays": "renewal_reminder_days",
    "billingAnchor": "billing_anchor",
    "billingDay": "billing_day",
    "billingMonth": "billing_month",
    "stablePriceIds": "stable_price_ids",
    "proration": "proration",
    "creditUnusedAtEnd": "credit_unused_at_end",
    "termPeriods": "term_periods",
    "autoRenew": "auto_renew",
    "trialUsage": "trial_usage",
    "usageBillingInterval": "usage_billing_interval",
    "name": "name",
    "currency": "currency",
    "billingVersion": "billing_version",
}


class PriceSerializer(SpendShown):
    """A price; `properties` follow its model."""

    id = serializers.CharField()
    object = serializers.CharField()
    merchantId = serializers.CharField()
    invoiceDisplayName = serializers.CharField()
    model = serializers.CharField()
    paymentTerm = serializers.CharField()
    properties = serializers.DictField()
    quantity = serializers.IntegerField()
    tax = inputs.PriceTaxSerializer()
    billableMetricId = serializers.CharField(required=False)
    pricingUnitId = serializers.CharField(required=False)
    feeId = serializers.CharField(required=False)
    billingCadence = serializers.CharField(allow_null=True)
    createdAt = serializers.DateTimeField()
    updatedAt = serializers.DateTimeField()


class PlanSerializer(SpendShown):
    """A plan with the prices of its default version."""

    id = serializers.CharField()
    object = serializers.CharField()
    merchantId = serializers.CharField()
    productId = serializers.CharField()
    name = serializers.CharField()
    currency = serializers.CharField()
    billingCadence = serializers.CharField()
    billingInterval = serializers.CharField()
    versionTransition = inputs.VersionTransitionSerializer()
    usageBillingInterval = serializers.CharField()
    creditAllocations = inputs.CreditAllocationSerializer(many=True)
    billingThresholds = ThresholdsField(allow_null=True)
    prices = PriceSerializer(many=True)
    createdAt = serializers.DateTimeField()
    updatedAt = serializers.DateTimeField()


class PriceView(CatalogView):
    """What reading a price's body needs: its parents and its feature, all of the caller's."""

    def parent(self, data: dict[str, Any]) -> tuple[BillableMetric | None, Fee | None]:
        metric = fee = None
        organization_id = self.organization_id
        if "billableMetricId" in data:
            rows = metrics_of(organization_id=organization_id)
            metric = self.get_own(rows, data["billableMetricId"], "billable metric")
        if "feeId" in data:
            fee = self.get_own(fees_of(organization_id=organization_id), data["feeId"], "fee")
        return metric, fee

    def feature(self, data: dict[str, Any]) -> Feature:
        rows = features_of(organization_id=self.organization_id)
        return self.get_own(rows, data["featureId"], "feature")

    def pricing_unit(self, public_id: str | None) -> PricingUnit | None:
        found = find_unit(public_id, organization_id=self.organization_id) if public_id is not None else None
        if public_id is not None and found is None:
            message = f"There is no pricing unit {public_id[:64]}."
            raise InvalidError(message, errors=[FieldError("pricingUnitId", message, "not_found")])
        return found

    def fields(self, data: dict[str, Any]) -> dict[str, Any]:
        """Give the model's fields of what was sent; null clears."""
        fields = {own: data[name] for name, own in PRICE_NAMES.items() if name in data}
        for name, own in (
            ("billingCadence", "billing_cadence"),
            ("invoiceDisplayGroup", "invoice_display_group"),
        ):
            if name in data:
                fields[own] = data[name] or ""
        if "pricingUnitId" in data:
            fields["pricing_unit"] = self.pricing_unit(data["pricingUnitId"])
        if "tax" in data:
            fields["supply_scope"] = data["tax"]["supplyScope"]
            fields["outside_scope_label"] = data["tax"].get("outsideScopeLabel") or ""
        if "feature" in data:
            sent = data["feature"]
            fields["feature"] = None if sent is None else self.feature(sent)
            fields["entitlement_template"] = None if sent is None else sent.get("entitlementTemplate")
        return fields


class PriceList(PriceView):
    @extend_schema(
        operation_id="listPrices",
        parameters=[OpenApiParameter("billableMetricId", str), MERCHANT, *PAGE],
        responses=page_of(PriceSerializer),
    )
    def get(self, request: Request) -> Response:
        self.require_merchant(request.query_params.get("merchantId"))
        rows = prices_of(organization_id=self.organization_id)
        metric_id = request.query_params.get("billableMetricId")
        if metric_id:
            metric = self.get_own(metrics_of(organization_id=self.organization_id), metric_id, "billable metric")
            rows = rows.filter(metric=metric)
        return Response(list_page(request, rows, render_price))

    @extend_schema(operation_id="createPrice", request=inputs.CreatePriceSerializer, responses={201: PriceSerializer})
    def post(self, request: Request) -> Response:
        data = self.read(inputs.CreatePriceSerializer)
        if "model" not in data:
            if "billableMetricId" in data:
                raise required("model", "A metered price needs a model.")
            data["model"] = "standard"
        metric, fee = self.parent(data)
        price = create_price(
            organization_id=self.organization_id,
            metric=metric,
            fee=fee,
            spend={kind: terms for kind, terms in read_spend(data).items() if terms is not None},
            **self.fields(data),
        )
        return Response(render_price(price), status=201)


class PriceDetail(PriceView):
    @extend_schema(operation_id="getPrice", responses=PriceSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        rows = prices_of(organization_id=self.organization_id)
        return Response(render_price(self.get_own(rows, public_id, "price")))

    @extend_schema(operation_id="updatePrice", request=inputs.UpdatePriceSerializer, responses=PriceSerializer)
    def patch(self, request: Request, public_id: str) -> Response:
        rows = prices_of(organization_id=self.organization_id)
        price = self.get_own(rows, public_id, "price")
        data = self.read(inputs.UpdatePriceSerializer)
        changes = self.fields(data)
        metric, _ = self.parent(data)
        if metric is not None:
            changes["metric"] = metric
        update_price(price_id=price.pk, changes=changes, spend=read_spend(data))
        return Response(render_price(rows.get(pk=price.pk)))

    @extend_schema(operation_id="deletePrice", responses={204: None})
    def delete(self, request: Request, public_id: str) -> Response:
        price = self.get_own(prices_of(organization_id=self.organization_id), public_id, "price")
        delete_price(price_id=price.pk, as_of=wall_now())
        return Response(status=204)


class PlanView(CatalogView):
    def page(self, request: Request, rows: Any) -> Response:
        """Give a page of plans, their prices read in one query."""
        page = list_page(request, rows, lambda plan: plan)
        slots = slots_of_versions([plan.default_version_id for plan in page["data"] if plan.default_version_id])
        page["data"] = [render_plan(plan, slots.get(plan.default_version_id, [])) for plan in page["data"]]
        return Response(page)

    def rendered(self, plan_id: int, status: int = 200) -> Response:
        plan = plans_of(organization_id=self.organization_id).get(pk=plan_id)
        version_id = plan.default_version_id
        slots = slots_of_versions([version_id])[version_id] if version_id is not None else []
        return Response(render_plan(plan, slots), status=status)

    def plan(self, public_id: str) -> Plan:
        return self.get_own(plans_of(organization_id=self.organization_id), public_id, "plan")

    @staticmethod
    def fields(data: dict[str, Any]) -> dict[str, Any]:
        fields = {own: data[name] for name, own in PLAN_NAMES.items() if name in data}
        if "billingCadence" not in data and "billingInterval" in data:
            fields["billing_cadence"] = NAMED[data["billingInterval"]]
        if "trialPeriod" in data:
            fields["trial_period"] = data["trialPeriod"] or ""
        if "versionTransition" in data:
            fields["version_effective"] = data["versionTransition"]["effectiveDate"]
        return fields

    @staticmethod
    def allocations(data: dict[str, Any]) -> NewAllocations:
        """Give the credits that were sent."""
        if "creditAllocations" not in data:
            return Unchanged.UNCHANGED
        return [
            AllocationTerms(row["pricingUnitId"], row["amount"], row.get("recurrencePeriod") or "")
            for row in data["creditAllocations"]
        ]

    @staticmethod
    def thresholds(data: dict[str, Any], currency: str) -> NewThresholds:
        """Give the billing thresholds that were sent; null is none."""
        if "billingThresholds" not in data:
            return Unchanged.UNCHANGED
        sent = data["billingThresholds"]
        return None if sent is None else BillingThresholds.parse(sent, digits=minor_digits(currency))


class PlanList(PlanView):
    @extend_schema(operation_id="listPlans", parameters=[MERCHANT, PRODUCT, *PAGE], responses=page_of(PlanSerializer))
    def get(self, request: Request) -> Response:
        self.require_merchant(request.query_params.get("merchantId"))
        return self.page(request, self.narrow_to_product(plans_of(organization_id=self.organization_id)))

    @extend_schema(operation_id="createPlan", request=inputs.CreatePlanSerializer, responses={201: PlanSerializer})
    def post(self, request: Request) -> Response:
        data = self.read(inputs.CreatePlanSerializer)
        self.require_merchant(data["merchantId"])
        thresholds, allocations = self.thresholds(data, data["currency"]), self.allocations(data)
        plan = create_plan(
            product=self.product(data["productId"]),
            lines=[PlanLine(price_id, key) for price_id, key in data.get("prices", [])],
            as_of=wall_now(),
            spend={kind: terms for kind, terms in read_spend(data).items() if terms is not None},
            thresholds=None if isinstance(thresholds, Unchanged) else thresholds,
            allocations=() if isinstance(allocations, Unchanged) else allocations,
            **self.fields(data),
        )
        return self.rendered(plan.pk, status=201)


class AvailablePlanList(PlanView):
    @extend_schema(
        operation_id="listAvailablePlans",
        parameters=[
            OpenApiParameter("customerId", str, required=True),
            PRODUCT,
            OpenApiParameter("search", str),
            *PAGE,
        ],
        responses=page_of(PlanSerializer),
    )
    def get(self, request: Request) -> Response:
        customers = Customer.objects.filter(deleted_at__isnull=True)
        customer = self.get_own(customers, self.require_query("customerId"), "customer")
        rows = available_plans(organization_id=self.organization_id, customer_id=customer.pk)
        search = request.query_params.get("search")
        if search:
            rows = rows.filter(name__icontains=search)
        return self.page(request, self.narrow_to_product(rows))


class PlanDetail(PlanView):
    @extend_schema(operation_id="getPlan", responses=PlanSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return self.rendered(self.plan(public_id).pk)

    @extend_schema(operation_id="updatePlan", request=inputs.UpdatePlanSerializer, responses=PlanSerializer)
    def patch(self, request: Request, public_id: str) -> Response:
        plan = self.plan(public_id)
        data = self.read(inputs.UpdatePlanSerializer)
        update_plan(
            plan_id=plan.pk,
            changes=self.fields(data),
            price_ids=data.get("prices"),
            as_of=wall_now(),
            spend=read_spend(data),
            thresholds=self.thresholds(data, plan.currency),
            allocations=self.allocations(data),
        )
        return self.rendered(plan.pk)
