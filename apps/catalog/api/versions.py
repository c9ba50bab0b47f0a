"""Versions of plans over the wire."""

import re
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.api import inputs
from apps.catalog.api.outputs import render_full_version, render_version
from apps.catalog.api.prices import PlanView, PriceSerializer
from apps.catalog.api.products import PAGE
from apps.catalog.api.spend import SpendShown, read_spend
from apps.catalog.models import Plan, PlanVersion
from apps.catalog.selectors.catalog import slots_of_versions, subscription_counts, versions_of
from apps.catalog.services.plans import PlanLine
from apps.catalog.services.versions import make_default, publish_version
from apps.kernel.clock import wall_now
from apps.kernel.errors import FieldError, InvalidError, NotFoundError
from apps.kernel.http.fields import ThresholdsField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import Request

NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)


class PlanVersionSummarySerializer(serializers.Serializer[Any]):
    """An edition of a plan's price set."""

    id = serializers.CharField()
    object = serializers.CharField()
    versionNumber = serializers.IntegerField()
    status = serializers.CharField()
    isDefault = serializers.BooleanField()
    subscriptionCount = serializers.IntegerField()
    billingThresholds = ThresholdsField(allow_null=True)
    publishedAt = serializers.DateTimeField()
    updatedAt = serializers.DateTimeField()


class VersionSlotSerializer(PriceSerializer):
    """A price as it stands in a version."""

    key = serializers.CharField()
    priceDeleted = serializers.BooleanField()


class PlanVersionSerializer(PlanVersionSummarySerializer, SpendShown):
    """An edition with its prices."""

    prices = VersionSlotSerializer(many=True)
    creditAllocations = inputs.CreditAllocationSerializer(many=True)
    basedOnVersionId = serializers.CharField(required=False)


class VersionView(PlanView):
    def full(self, plan_public_id: str, number: str, status: int = 200) -> Response:
        """Give a version as it is now; its plan is read anew, because its default may just have moved."""
        plan = self.plan(plan_public_id)
        version = self.version(plan, number)
        body = render_full_version(
            version, plan, slots_of_versions([version.pk])[version.pk], subscription_counts([version.pk])[version.pk]
        )
        return Response(body, status=status)

    def version(self, plan: Plan, number: str) -> PlanVersion:
        """Find a version by its number; what is no number is as absent as one that was never published."""
        rows = versions_of(plan_id=plan.pk)
        found = rows.filter(number=int(number)).first() if NUMBER.fullmatch(number) else None
        if found is None:
            raise NotFoundError(f"The plan has no version {number}.")
        return found


class PlanVersionList(VersionView):
    @extend_schema(operation_id="listPlanVersions", parameters=PAGE, responses=page_of(PlanVersionSummarySerializer))
    def get(self, request: Request, public_id: str) -> Response:
        plan = self.plan(public_id)
        page = list_page(request, versions_of(plan_id=plan.pk), lambda version: version)
        counts = subscription_counts([version.pk for version in page["data"]])
        page["data"] = [render_version(version, plan, counts[version.pk]) for version in page["data"]]
        return Response(page)

    @extend_schema(
        operation_id="mintPlanVersion",
        request=inputs.MintVersionSerializer,
        responses={201: PlanVersionSerializer},
    )
    def post(self, request: Request, public_id: str) -> Response:
        plan = self.plan(public_id)
        data = self.read(inputs.MintVersionSerializer)
        version = publish_version(
            plan_id=plan.pk,
            lines=[PlanLine(price_id, key) for price_id, key in data["prices"]],
            based_on=data.get("basedOnVersionId"),
            as_of=wall_now(),
            spend=read_spend(data),
            thresholds=self.thresholds(data, plan.currency),
            allocations=self.allocations(data),
        )
        return self.full(public_id, str(version.number), status=201)


class PlanVersionDetail(VersionView):
    @extend_schema(operation_id="getPlanVersion", responses=PlanVersionSerializer)
    def get(self, request: Request, public_id: str, number: str) -> Response:
        return self.full(public_id, number)

    @extend_schema(
        operation_id="transitionPlanVersion",
        request=inputs.TransitionVersionSerializer,
        responses=PlanVersionSerializer,
    )
    def patch(self, request: Request, public_id: str, number: str) -> Response:
        plan = self.plan(public_id)
        version = self.version(plan, number)
        if self.read(inputs.TransitionVersionSerializer).get("default") is not True:
            raise InvalidError(
                "A version can only be made the default.",
                errors=[FieldError("default", "Send true, for the version that the plan shall sell.", "invalid")],
            )
        make_default(plan_id=plan.pk, number=version.number, as_of=wall_now())
        return self.full(public_id, number)
