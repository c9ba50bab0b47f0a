from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema

from apps.documents.api.invoices import DocumentView, EInvoiceQuerySerializer
from apps.documents.models import DocumentFormat
from apps.documents.services.credits import get_credit_document
from apps.documents.services.formats import FORMATS
from apps.invoicing.models import CreditNote
from apps.invoicing.selectors.credits import credit_notes_of
from apps.kernel.http.views import Request


class CreditNotePdf(DocumentView):
    @extend_schema(operation_id="downloadCreditNotePdf", responses={(200, "application/pdf"): OpenApiTypes.BINARY})
    def get(self, request: Request, public_id: str) -> HttpResponse:
        note = self.get_own(credit_notes_of(organization_id=self.organization_id), public_id, "credit note")
        return credit_document(note, DocumentFormat.PDF)


class CreditNoteEInvoice(DocumentView):
    @extend_schema(
        operation_id="downloadCreditNoteEInvoice",
        parameters=[EInvoiceQuerySerializer],
        responses={
            (200, "application/xml"): OpenApiTypes.BINARY,
            (200, "application/pdf"): OpenApiTypes.BINARY,
            409: OpenApiResponse(description="It is voided, or lacks what EN 16931 asks for; every gap is named."),
        },
    )
    def get(self, request: Request, public_id: str) -> HttpResponse:
        note = self.get_own(credit_notes_of(organization_id=self.organization_id), public_id, "credit note")
        return credit_document(note, self.read_query(EInvoiceQuerySerializer)["format"])


def credit_document(note: CreditNote, kind: str) -> HttpResponse:
    """Answer with a credit note in a format, as a file to save."""
    made = FORMATS[kind]
    return HttpResponse(
        get_credit_document(note, kind),
        content_type=made.media_type,
        headers={"Content-Disposition": f'attachment; filename="{note}{made.suffix}"'},
    )
