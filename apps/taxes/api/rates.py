"""Tax rates and product tax categories over the wire."""

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.http.fields import DecimalStringField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.schema import ErrorSerializer
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.kernel.money import format_decimal
from apps.taxes.api.registrations import PAGE
from apps.taxes.api.shapes import (
    OVERLAP,
    SCOPES,
    DatedInput,
    DatedOutput,
    EntityOutput,
    PlaceInput,
    dated,
    entity,
    renamed,
)
from apps.taxes.models import RateKind, TaxCategory, TaxRate
from apps.taxes.selectors.rows import categories_of, rates_of
from apps.taxes.services import rates as services

CATEGORY_NAMES = {"isExempt": "is_exempt", "isGoods": "is_goods", "reasonCode": "reason_code"}
RATE_NAMES = {"postalPrefix": "postal_prefix", "validFrom": "valid_from", "validTo": "valid_to"}
PERCENT: dict[str, Any] = {"low": Decimal(0), "high": Decimal(100), "places": 4}


class UpdateTaxCategorySerializer(serializers.Serializer[Any]):
    name = StrictCharField(max_length=255, required=False)
    isExempt = serializers.BooleanField(required=False)
    isGoods = serializers.BooleanField(required=False)
    reason = StrictCharField(max_length=255, required=False, allow_blank=True)
    reasonCode = StrictCharField(max_length=30, required=False, allow_blank=True)


class CreateTaxCategorySerializer(UpdateTaxCategorySerializer):
    code = serializers.RegexField(r"^[a-z0-9][a-z0-9_-]*$", max_length=30)
    name = StrictCharField(max_length=255)


class TaxCategorySerializer(EntityOutput):
    """A kind of product as tax law sees it; plans, metrics and fees name it by its code."""

    code = serializers.CharField()
    name = serializers.CharField()
    isExempt = serializers.BooleanField()
    isGoods = serializers.BooleanField()
    reason = serializers.CharField()
    reasonCode = serializers.CharField()


class CreateTaxRateSerializer(PlaceInput):
    name = StrictCharField(max_length=50)
    percent = DecimalStringField(**PERCENT)
    postalPrefix = StrictCharField(max_length=12, required=False, allow_blank=True)
    category = StrictCharField(
        max_length=30, required=False, allow_null=True, help_text="Code of a tax category; null: everything else."
    )
    kind = serializers.ChoiceField(choices=RateKind.values, required=False)
    reason = StrictCharField(max_length=255, required=False, allow_blank=True)


class UpdateTaxRateSerializer(DatedInput):
    percent = DecimalStringField(**PERCENT, required=False)
    kind = serializers.ChoiceField(choices=RateKind.values, required=False)
    reason = StrictCharField(max_length=255, required=False, allow_blank=True)


class TaxRateSerializer(DatedOutput):
    """A percent of one tax in one place; taxes of different names are added up."""

    name = serializers.CharField()
    percent = serializers.CharField()
    postalPrefix = serializers.CharField()
    category = serializers.CharField(allow_null=True)
    kind = serializers.CharField()
    reason = serializers.CharField()


def render_category(row: TaxCategory) -> dict[str, Any]:
    """Give a category in the wire's form."""
    return {
        **entity(row, "taxCategory"),
        "code": row.code,
        "name": row.name,
        "isExempt": row.is_exempt,
        "isGoods": row.is_goods,
        "reason": row.reason,
        "reasonCode": row.reason_code,
    }


def render_rate(row: TaxRate) -> dict[str, Any]:
    """Give a rate in the wire's form."""
    return {
        **entity(row, "taxRate"),
        **dated(row),
        "name": row.name,
        "percent": format_decimal(row.percent),
        "postalPrefix": row.postal_prefix,
        "category": row.category.code if row.category is not None else None,
        "kind": row.kind,
        "reason": row.reason,
    }


class CategoryView(ContractView):
    scopes = SCOPES

    def category(self, public_id: str) -> TaxCategory:
        return self.get_own(categories_of(organization_id=self.organization_id), public_id, "tax category")


class CategoryList(CategoryView):
    @extend_schema(operation_id="listTaxCategories", parameters=PAGE, responses=page_of(TaxCategorySerializer))
    def get(self, request: Request) -> Response:
        return Response(list_page(request, categories_of(organization_id=self.organization_id), render_category))

    @extend_schema(
        operation_id="createTaxCategory",
        request=CreateTaxCategorySerializer,
        responses={201: TaxCategorySerializer, 409: OpenApiResponse(ErrorSerializer, "The code is taken.")},
    )
    def post(self, request: Request) -> Response:
        """Make a kind of product that has rates of its own, or is exempt."""
        data = renamed(self.read(CreateTaxCategorySerializer), CATEGORY_NAMES)
        made = services.create_category(organization_id=self.organization_id, **data)
        return Response(render_category(self.category(made.public_id)), status=201)


class CategoryDetail(CategoryView):
    @extend_schema(operation_id="getTaxCategory", responses=TaxCategorySerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(render_category(self.category(public_id)))

    @extend_schema(
        operation_id="updateTaxCategory", request=UpdateTaxCategorySerializer, responses=TaxCategorySerializer
    )
    def patch(self, request: Request, public_id: str) -> Response:
        row = self.category(public_id)
        changes = renamed(self.read(UpdateTaxCategorySerializer), CATEGORY_NAMES)
        services.update_category(category_id=row.pk, changes=changes)
        return Response(render_category(self.category(public_id)))

    @extend_schema(
        operation_id="deleteTaxCategory",
        responses={204: None, 409: OpenApiResponse(ErrorSerializer, "Rates are of it.")},
    )
    def delete(self, request: Request, public_id: str) -> Response:
        """Take a kind of product away that has no rates."""
        services.delete_category(category_id=self.category(public_id).pk)
        return Response(status=204)


class RateView(ContractView):
    scopes = SCOPES

    def rate(self, public_id: str) -> TaxRate:
        return self.get_own(rates_of(organization_id=self.organization_id), public_id, "tax rate")


class RateList(RateView):
    @extend_schema(
        operation_id="listTaxRates",
        parameters=[OpenApiParameter("country", str), *PAGE],
        responses=page_of(TaxRateSerializer),
    )
    def get(self, request: Request) -> Response:
        rows = rates_of(organization_id=self.organization_id)
        country = request.query_params.get("country")
        return Response(list_page(request, rows.filter(country=country) if country else rows, render_rate))

    @extend_schema(
        operation_id="createTaxRate",
        request=CreateTaxRateSerializer,
        responses={201: TaxRateSerializer, 409: OVERLAP},
    )
    def post(self, request: Request) -> Response:
        """Say what one tax of a place is from a day on."""
        data = renamed(self.read(CreateTaxRateSerializer), RATE_NAMES)
        code = data.pop("category", None)
        category = categories_of(organization_id=self.organization_id).filter(code=code).first() if code else None
        if code and category is None:
            message = f"There is no tax category {code}."
            raise InvalidError(message, errors=[FieldError("category", message, "not_found")])
        made = services.create_rate(organization_id=self.organization_id, category=category, **data)
        return Response(render_rate(self.rate(made.public_id)), status=201)


class RateDetail(RateView):
    @extend_schema(operation_id="getTaxRate", responses=TaxRateSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(render_rate(self.rate(public_id)))

    @extend_schema(
        operation_id="updateTaxRate",
        request=UpdateTaxRateSerializer,
        responses={200: TaxRateSerializer, 409: OVERLAP},
    )
    def patch(self, request: Request, public_id: str) -> Response:
        """End a rate, or correct it; issued invoices stay as they are."""
        row = self.rate(public_id)
        services.update_rate(rate_id=row.pk, changes=renamed(self.read(UpdateTaxRateSerializer), RATE_NAMES))
        return Response(render_rate(self.rate(public_id)))

    @extend_schema(operation_id="deleteTaxRate", responses={204: None})
    def delete(self, request: Request, public_id: str) -> Response:
        """Take back a rate that was a mistake; one that is over is ended instead."""
        services.delete_rate(rate_id=self.rate(public_id).pk)
        return Response(status=204)
