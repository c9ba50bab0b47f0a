"""Pricing units over the wire."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.api.products import MERCHANT, PAGE, CatalogView
from apps.catalog.models import PricingUnit
from apps.catalog.selectors.units import units_of
from apps.catalog.services.units import archive_unit, create_unit, rename_unit
from apps.kernel.clock import wall_now
from apps.kernel.http.fields import InstantField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import Request
from apps.kernel.time import format_instant


class CreateUnitSerializer(serializers.Serializer[Any]):
    merchantId = StrictCharField()
    key = serializers.RegexField(r"^[a-z0-9][a-z0-9_-]*$", max_length=64)
    name = StrictCharField(max_length=255)


class UpdateUnitSerializer(serializers.Serializer[Any]):
    name = StrictCharField(max_length=255)


class PricingUnitSerializer(serializers.Serializer[Any]):
    """A denomination of credits."""

    id = serializers.CharField()
    object = serializers.CharField()
    merchantId = serializers.CharField()
    key = serializers.CharField()
    name = serializers.CharField()
    archivedAt = InstantField(allow_null=True)
    createdAt = InstantField()
    updatedAt = InstantField()


def render_unit(unit: PricingUnit) -> dict[str, Any]:
    return {
        "id": unit.public_id,
        "object": "pricing_unit",
        "merchantId": unit.organization.public_id,
        "key": unit.key,
        "name": unit.name,
        "archivedAt": None if unit.archived_at is None else format_instant(unit.archived_at),
        "createdAt": format_instant(unit.created_at),
        "updatedAt": format_instant(unit.updated_at),
    }


class UnitView(CatalogView):
    def unit(self, public_id: str) -> PricingUnit:
        return self.get_own(units_of(organization_id=self.organization_id), public_id, "pricing unit")

    def rendered(self, unit_id: int, status: int = 200) -> Response:
        unit = units_of(organization_id=self.organization_id).get(pk=unit_id)
        return Response(render_unit(unit), status=status)


class UnitList(UnitView):
    @extend_schema(
        operation_id="listPricingUnits",
        parameters=[OpenApiParameter("key", str), MERCHANT, *PAGE],
        responses=page_of(PricingUnitSerializer),
    )
    def get(self, request: Request) -> Response:
        self.require_merchant(request.query_params.get("merchantId"))
        rows = units_of(organization_id=self.organization_id)
        key = request.query_params.get("key")
        return Response(list_page(request, rows.filter(key=key) if key else rows, render_unit))

    @extend_schema(
        operation_id="createPricingUnit",
        request=CreateUnitSerializer,
        responses={201: PricingUnitSerializer, 409: None},
    )
    def post(self, request: Request) -> Response:
        data = self.read(CreateUnitSerializer)
        self.require_merchant(data["merchantId"])
        unit = create_unit(organization_id=self.organization_id, key=data["key"], name=data["name"])
        return self.rendered(unit.pk, status=201)


class UnitDetail(UnitView):
    @extend_schema(operation_id="getPricingUnit", responses=PricingUnitSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(render_unit(self.unit(public_id)))

    @extend_schema(operation_id="updatePricingUnit", request=UpdateUnitSerializer, responses=PricingUnitSerializer)
    def patch(self, request: Request, public_id: str) -> Response:
        unit = self.unit(public_id)
        rename_unit(unit_id=unit.pk, name=self.read(UpdateUnitSerializer)["name"])
        return self.rendered(unit.pk)


class UnitArchive(UnitView):
    @extend_schema(
        operation_id="archivePricingUnit",
        request=None,
        responses=PricingUnitSerializer,
        description="No price or plan takes it any more; those that have it, and pools, go on.",
    )
    def post(self, request: Request, public_id: str) -> Response:
        unit = self.unit(public_id)
        archive_unit(unit_id=unit.pk, as_of=wall_now())
        return self.rendered(unit.pk)
