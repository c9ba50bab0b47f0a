from typing import Any

from django.db.models import Q
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.kernel.errors import NotFoundError
from apps.kernel.http.fields import AddressSerializer, StrictCharField
from apps.kernel.http.views import ContractView, Request
from apps.organizations.models import Organization
from apps.organizations.services.details import update_details

NAMES = {
    "legal_name": "legalName",
    "vat_id": "vatId",
    "registration_number": "registrationNumber",
    "iban": "iban",
    "bic": "bic",
}
ADDRESS = {
    "line1": "line1", "line2": "line2", "city": "city", "state": "state", "country": "country", "zip_code": "zipCode",
}  # fmt: skip


def _text(length: int) -> StrictCharField:
    return StrictCharField(max_length=length, required=False, allow_blank=True)


class UpdateBillingDetailsSerializer(serializers.Serializer[Any]):
    """What changes; what is left out stays, and empty text clears."""

    legalName = _text(255)
    vatId = _text(30)
    registrationNumber = _text(50)
    iban = _text(50)
    bic = _text(20)
    address = AddressSerializer(required=False)


class BillingDetailsSerializer(serializers.Serializer[Any]):
    """What documents say of an organization."""

    organizationId = serializers.CharField()
    name = serializers.CharField()
    legalName = serializers.CharField()
    vatId = serializers.CharField()
    registrationNumber = serializers.CharField()
    iban = serializers.CharField()
    bic = serializers.CharField()
    address = AddressSerializer()


def render_details(row: Organization) -> dict[str, Any]:
    return {
        "organizationId": row.public_id,
        "name": row.name,
        **{wire: getattr(row, name) for name, wire in NAMES.items()},
        "address": {wire: getattr(row, name) for name, wire in ADDRESS.items()},
    }


class BillingDetails(ContractView):
    """Of the caller's own organization, or of a consumer that it manages."""

    scopes = {"GET": "organizations:read", "PATCH": "organizations:write"}

    def organization(self, public_id: str) -> Organization:
        own = Q(pk=self.organization_id) | Q(managed_by_id=self.organization_id)
        row = Organization.objects.filter(own, public_id=public_id).first()
        if row is None:
            raise NotFoundError(f"There is no organization {public_id}.")
        return row

    @extend_schema(operation_id="getBillingDetails", responses=BillingDetailsSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(render_details(self.organization(public_id)))

    @extend_schema(
        operation_id="updateBillingDetails",
        request=UpdateBillingDetailsSerializer,
        responses=BillingDetailsSerializer,
    )
    def patch(self, request: Request, public_id: str) -> Response:
        organization = self.organization(public_id)
        data = self.read(UpdateBillingDetailsSerializer)
        changes = {name: data[wire] for name, wire in NAMES.items() if wire in data}
        address = data.get("address", {})
        changes |= {name: address[wire] for name, wire in ADDRESS.items() if wire in address}
        changed = update_details(organization_id=organization.pk, changes=changes, names=NAMES)
        return Response(render_details(changed))
