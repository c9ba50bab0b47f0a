from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers

from apps.documents.models import DocumentFormat
from apps.documents.services.formats import FORMATS
from apps.invoicing.models import Invoice
from apps.invoicing.selectors.invoices import invoices_of
from apps.kernel.http.views import ContractView, Request

NO_DOCUMENT = OpenApiResponse(description="It was never calculated, so there is nothing to show.")


class DocumentView(ContractView):
    """Gives a file; refusals are JSON as everywhere, whatever the caller accepts."""

    scopes = {"GET": "invoices:read"}

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        renderer = self.get_renderers()[0]
        return renderer, renderer.media_type

    def invoice(self, public_id: str) -> Invoice:
        return self.get_own(invoices_of(organization_id=self.organization_id), public_id, "invoice")


class InvoicePdf(DocumentView):
    @extend_schema(
        operation_id="downloadInvoicePdf",
        responses={(200, "application/pdf"): OpenApiTypes.BINARY, 409: NO_DOCUMENT},
    )
    def get(self, request: Request, public_id: str) -> HttpResponse:
        return document(self.invoice(public_id), DocumentFormat.PDF)


class EInvoiceQuerySerializer(serializers.Serializer[Any]):
    format = serializers.ChoiceField(choices=["facturx", "cii", "ubl"])


class InvoiceEInvoice(DocumentView):
    @extend_schema(
        operation_id="downloadEInvoice",
        parameters=[EInvoiceQuerySerializer],
        responses={
            (200, "application/xml"): OpenApiTypes.BINARY,
            (200, "application/pdf"): OpenApiTypes.BINARY,
            409: OpenApiResponse(
                description="It is not issued, or lacks what EN 16931 asks for; every gap is named."
            ),
        },
    )
    def get(self, request: Request, public_id: str) -> HttpResponse:
        invoice = self.invoice(public_id)
        return document(invoice, self.read_query(EInvoiceQuerySerializer)["format"])


def document(invoice: Invoice, kind: str) -> HttpResponse:
    """Answer with an invoice in a format, as a file to save."""
    made = FORMATS[kind]
    return HttpResponse(
        made.make(invoice),
        content_type=made.media_type,
        headers={"Content-Disposition": f'attachment; filename="{invoice}{made.suffix}"'},
    )
