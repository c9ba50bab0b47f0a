from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.kernel.errors import NotFoundError
from apps.kernel.http.views import ContractView, Request
from apps.organizations.models import Organization
from apps.organizations.services.invoicing import set_consolidation


class InvoiceSettingsSerializer(serializers.Serializer[Any]):
    """How a merchant's invoices are issued."""

    consolidateInvoices = serializers.BooleanField(
        help_text="Issue invoices of one customer whose periods end together as one document."
    )


class InvoiceSettings(ContractView):
    """Of the caller's own organization."""

    scopes = {"GET": "organizations:read", "PATCH": "organizations:write"}

    def organization(self, public_id: str) -> Organization:
        row = Organization.objects.filter(pk=self.organization_id, public_id=public_id).first()
        if row is None:
            raise NotFoundError(f"There is no organization {public_id} of yours.")
        return row

    @extend_schema(operation_id="getInvoiceSettings", responses=InvoiceSettingsSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response({"consolidateInvoices": self.organization(public_id).consolidate_invoices})

    @extend_schema(
        operation_id="updateInvoiceSettings",
        request=InvoiceSettingsSerializer,
        responses=InvoiceSettingsSerializer,
    )
    def patch(self, request: Request, public_id: str) -> Response:
        organization = self.organization(public_id)
        data = self.read(InvoiceSettingsSerializer)
        changed = set_consolidation(organization_id=organization.pk, is_wanted=data["consolidateInvoices"])
        return Response({"consolidateInvoices": changed.consolidate_invoices})
