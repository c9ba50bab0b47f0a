"""Tax registrations over the wire: where a merchant collects tax."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.kernel.http.fields import StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.taxes.api.shapes import OVERLAP, SCOPES, DatedInput, DatedOutput, PlaceInput, dated, entity, renamed
from apps.taxes.models import Businesses, Scheme, TaxRegistration
from apps.taxes.selectors.rows import registrations_of
from apps.taxes.services.registrations import create_registration, delete_registration, update_registration

NAMES = {"taxId": "tax_id", "validFrom": "valid_from", "validTo": "valid_to"}
PAGE = [OpenApiParameter("limit", int), OpenApiParameter("offset", int)]


class CreateTaxRegistrationSerializer(PlaceInput):
    taxId = StrictCharField(max_length=50)
    scheme = serializers.ChoiceField(choices=Scheme.values, required=False)
    businesses = serializers.ChoiceField(choices=Businesses.values, required=False)


class UpdateTaxRegistrationSerializer(DatedInput):
    taxId = StrictCharField(max_length=50, required=False)
    businesses = serializers.ChoiceField(choices=Businesses.values, required=False)


class TaxRegistrationSerializer(DatedOutput):
    """Where a merchant collects tax; `businesses` says who owes the tax of customers with a valid tax id."""

    taxId = serializers.CharField()
    scheme = serializers.CharField()
    businesses = serializers.CharField()


def render_registration(row: TaxRegistration) -> dict[str, Any]:
    """Give a registration in the wire's form."""
    return {
        **entity(row, "taxRegistration"),
        **dated(row),
        "taxId": row.tax_id,
        "scheme": row.scheme,
        "businesses": row.businesses,
    }


class RegistrationView(ContractView):
    scopes = SCOPES

    def registration(self, public_id: str) -> TaxRegistration:
        return self.get_own(registrations_of(organization_id=self.organization_id), public_id, "tax registration")


class RegistrationList(RegistrationView):
    @extend_schema(operation_id="listTaxRegistrations", parameters=PAGE, responses=page_of(TaxRegistrationSerializer))
    def get(self, request: Request) -> Response:
        rows = registrations_of(organization_id=self.organization_id)
        return Response(list_page(request, rows, render_registration))

    @extend_schema(
        operation_id="createTaxRegistration",
        request=CreateTaxRegistrationSerializer,
        responses={201: TaxRegistrationSerializer, 409: OVERLAP},
    )
    def post(self, request: Request) -> Response:
        """Register for tax from a day on: lines with a later tax point are taxed by jurisdiction."""
        data = renamed(self.read(CreateTaxRegistrationSerializer), NAMES)
        made = create_registration(organization_id=self.organization_id, **data)
        return Response(render_registration(self.registration(made.public_id)), status=201)


class RegistrationDetail(RegistrationView):
    @extend_schema(operation_id="getTaxRegistration", responses=TaxRegistrationSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(render_registration(self.registration(public_id)))

    @extend_schema(
        operation_id="updateTaxRegistration",
        request=UpdateTaxRegistrationSerializer,
        responses={200: TaxRegistrationSerializer, 409: OVERLAP},
    )
    def patch(self, request: Request, public_id: str) -> Response:
        """End a registration, or correct it; issued invoices stay as they are."""
        row = self.registration(public_id)
        changes = renamed(self.read(UpdateTaxRegistrationSerializer), NAMES)
        update_registration(registration_id=row.pk, changes=changes)
        return Response(render_registration(self.registration(public_id)))

    @extend_schema(operation_id="deleteTaxRegistration", responses={204: None})
    def delete(self, request: Request, public_id: str) -> Response:
        """Take back a registration that was a mistake; one that is over is ended instead."""
        delete_registration(registration_id=self.registration(public_id).pk)
        return Response(status=204)
