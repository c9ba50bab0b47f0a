"""How a merchant's documents are numbered, over the wire."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.invoicing.domain.numbers import NEVER, YEARLY, NumberFormat
from apps.invoicing.models import DocumentKind
from apps.invoicing.selectors.numbers import current_format
from apps.invoicing.services.numbers import set_number_formats
from apps.kernel.errors import NotFoundError
from apps.kernel.http.fields import StrictCharField
from apps.kernel.http.views import ContractView, Request
from apps.organizations.models import Organization

KINDS = {"invoices": DocumentKind.INVOICE, "creditNotes": DocumentKind.CREDIT_NOTE}


class NumberFormatSerializer(serializers.Serializer[Any]):
    format = StrictCharField(
        max_length=60, help_text="Such as `INV-{year}-{number:05}`; `{number}` alone has no leading zeros."
    )
    resets = serializers.ChoiceField(
        choices=[YEARLY, NEVER], default=YEARLY, help_text="Whether numbers begin anew each year."
    )


class NumberFormatsSerializer(serializers.Serializer[Any]):
    """Formats of the numbers of what is issued from now on."""

    invoices = NumberFormatSerializer(required=False)
    creditNotes = NumberFormatSerializer(required=False)


class NumberFormats(ContractView):
    """Of the caller's own organization."""

    scopes = {"GET": "organizations:read", "PATCH": "organizations:write"}

    def organization(self, public_id: str) -> Organization:
        row = Organization.objects.filter(pk=self.organization_id, public_id=public_id).first()
        if row is None:
            raise NotFoundError(f"There is no organization {public_id} of yours.")
        return row

    @extend_schema(operation_id="getNumberFormats", responses=NumberFormatsSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(_rendered(self.organization(public_id)))

    @extend_schema(
        operation_id="updateNumberFormats", request=NumberFormatsSerializer, responses=NumberFormatsSerializer
    )
    def patch(self, request: Request, public_id: str) -> Response:
        organization = self.organization(public_id)
        wanted = {
            name: NumberFormat(given["format"], given["resets"])
            for name, given in self.read(NumberFormatsSerializer).items()
        }
        set_number_formats(
            organization=organization,
            formats={KINDS[name]: form for name, form in wanted.items()},
            fields={KINDS[name]: f"{name}.format" for name in wanted},
        )
        return Response(_rendered(organization))


def _rendered(organization: Organization) -> dict[str, Any]:
    found = {name: current_format(organization, kind) for name, kind in KINDS.items()}
    return {name: {"format": form.text, "resets": form.resets} for name, form in found.items()}
