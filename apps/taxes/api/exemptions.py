"""Customers that pay no tax somewhere, over the wire."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.customers.models import ZeroTaxReason
from apps.customers.selectors.customers import customers_of
from apps.kernel.errors import NotFoundError
from apps.kernel.http.fields import StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.taxes.api.registrations import PAGE
from apps.taxes.api.shapes import OVERLAP, DatedInput, DatedOutput, dated, entity, renamed
from apps.taxes.models import TaxExemption
from apps.taxes.selectors.rows import exemptions_of
from apps.taxes.services.exemptions import create_exemption, delete_exemption, update_exemption

SCOPES = {
    "GET": "customers:read",
    "POST": "customers:write",
    "PATCH": "customers:write",
    "DELETE": "customers:write",
}
NAMES = {"validFrom": "valid_from", "validTo": "valid_to"}


class UpdateTaxExemptionSerializer(DatedInput):
    category = serializers.ChoiceField(choices=ZeroTaxReason.values, required=False)
    certificate = StrictCharField(max_length=100, required=False, allow_blank=True)
    reason = StrictCharField(max_length=255, required=False)


class CreateTaxExemptionSerializer(UpdateTaxExemptionSerializer):
    customerId = StrictCharField()
    country = StrictCharField(max_length=2, required=False, allow_blank=True, help_text="Empty: everywhere.")
    region = StrictCharField(max_length=20, required=False, allow_blank=True)
    reason = StrictCharField(max_length=255)


class TaxExemptionSerializer(DatedOutput):
    """That a customer pays no tax: where, why, and by which certificate."""

    customerId = serializers.CharField()
    category = serializers.CharField()
    certificate = serializers.CharField()
    reason = serializers.CharField()


def render_exemption(row: TaxExemption) -> dict[str, Any]:
    """Give an exemption in the wire's form."""
    return {
        **entity(row, "taxExemption"),
        **dated(row),
        "customerId": row.customer.public_id,
        "category": row.category,
        "certificate": row.certificate,
        "reason": row.reason,
    }


class ExemptionView(ContractView):
    scopes = SCOPES

    def exemption(self, public_id: str) -> TaxExemption:
        return self.get_own(exemptions_of(organization_id=self.organization_id), public_id, "tax exemption")


class ExemptionList(ExemptionView):
    @extend_schema(
        operation_id="listTaxExemptions",
        parameters=[OpenApiParameter("customerId", str), *PAGE],
        responses=page_of(TaxExemptionSerializer),
    )
    def get(self, request: Request) -> Response:
        rows = exemptions_of(organization_id=self.organization_id)
        customer = request.query_params.get("customerId")
        rows = rows.filter(customer__public_id=customer) if customer else rows
        return Response(list_page(request, rows, render_exemption))

    @extend_schema(
        operation_id="createTaxExemption",
        request=CreateTaxExemptionSerializer,
        responses={201: TaxExemptionSerializer, 409: OVERLAP},
    )
    def post(self, request: Request) -> Response:
        """Say that a customer pays no tax, everywhere or in a place, and on which grounds."""
        data = renamed(self.read(CreateTaxExemptionSerializer), NAMES)
        public_id = data.pop("customerId")
        customer = customers_of(organization_id=self.organization_id).filter(public_id=public_id).first()
        if customer is None:
            raise NotFoundError(f"There is no customer {public_id}.")
        made = create_exemption(customer=customer, **data)
        return Response(render_exemption(self.exemption(made.public_id)), status=201)


class ExemptionDetail(ExemptionView):
    @extend_schema(operation_id="getTaxExemption", responses=TaxExemptionSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(render_exemption(self.exemption(public_id)))

    @extend_schema(
        operation_id="updateTaxExemption",
        request=UpdateTaxExemptionSerializer,
        responses={200: TaxExemptionSerializer, 409: OVERLAP},
    )
    def patch(self, request: Request, public_id: str) -> Response:
        """End an exemption, or correct it; issued invoices stay as they are."""
        row = self.exemption(public_id)
        update_exemption(exemption_id=row.pk, changes=renamed(self.read(UpdateTaxExemptionSerializer), NAMES))
        return Response(render_exemption(self.exemption(public_id)))

    @extend_schema(operation_id="deleteTaxExemption", responses={204: None})
    def delete(self, request: Request, public_id: str) -> Response:
        """Take back an exemption that was a mistake; one that is over is ended instead."""
        delete_exemption(exemption_id=self.exemption(public_id).pk)
        return Response(status=204)
