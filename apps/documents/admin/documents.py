"""Downloads of invoices, and the documents that were given out."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.decorators import display

from apps.documents.models import CreditNoteDocument, InvoiceDocument
from apps.documents.services.archives import FIRST_YEAR, LAST_YEAR, Year, zip_of_year
from apps.documents.services.credits import get_credit_document
from apps.documents.services.formats import FORMATS
from apps.invoicing.models import CreditNote, Invoice
from apps.invoicing.selectors.invoices import with_neighbours
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link
from apps.kernel.clock import wall_now
from apps.kernel.errors import DomainError
from apps.organizations.models import Organization


@admin.register(InvoiceDocument)
class InvoiceDocumentAdmin(ReadOnlyModelAdmin):
    """What was given out, byte for byte."""

    empty_text = "A document is kept when it is first downloaded, on an invoice's page or over the API."
    change_list_template = "documents/admin_documents.html"
    list_display = ["invoice_page", "format", "size_bytes", "digest", "created_at"]
    list_filter = ["organization", "format"]
    search_fields = ["invoice__number", "=digest"]
    list_select_related = ["invoice"]
    ordering = ["-id"]
    fields = ["organization", "invoice_page", "format", "size_bytes", "digest", "source_digest", "created_at"]
    readonly_fields = ["invoice_page"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("content")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("invoice/<int:key>/<str:kind>/", view(self.download), name="documents_invoice_download"),
            path("credit/<int:key>/<str:kind>/", view(self.credit), name="documents_credit_download"),
            path("year/", view(self.year), name="documents_year"),
            *super().get_urls(),
        ]

    def download(self, request: HttpRequest, key: int, kind: str) -> HttpResponse:
        """Give a document of an invoice to who may see the invoice."""
        visible: Any = request.user.visible_organization_ids()  # type: ignore[union-attr]
        rows = with_neighbours(Invoice.objects.filter(pk=key))
        invoice = (rows if visible is None else rows.filter(organization_id__in=visible)).first()
        if invoice is None or kind not in FORMATS:
            raise Http404
        if not self.allows(request, "view", invoice):
            raise PermissionDenied
        try:
            content = FORMATS[kind].make(invoice)
        except DomainError as error:
            messages.error(request, error.message)
            return redirect("admin:invoicing_invoice_change", key)
        return _file(content, str(invoice), kind)

    def credit(self, request: HttpRequest, key: int, kind: str) -> HttpResponse:
        """Give a document of a credit note to who may see it."""
        visible: Any = request.user.visible_organization_ids()  # type: ignore[union-attr]
        rows = CreditNote.objects.filter(pk=key).select_related("invoice")
        note = (rows if visible is None else rows.filter(organization_id__in=visible)).first()
        if note is None or kind not in FORMATS:
            raise Http404
        if not self.allows(request, "view", note):
            raise PermissionDenied
        try:
            content = get_credit_document(note, kind)
        except DomainError as error:
            messages.error(request, error.message)
            return redirect("admin:invoicing_creditnote_change", key)
        return _file(content, str(note), kind)

    def year(self, request: HttpRequest) -> HttpResponseBase:
        """Ask for a merchant and a year, and give its documents in one file."""
        if not self.has_export_permission(request):
            raise PermissionDenied
        person: Any = request.user
        rows = Organization.objects.filter(is_merchant=True).order_by("name")
        merchants = [one for one in rows if person.has_right("export", one.pk)]
        asked, note = _read_year(request, merchants)
        if asked is not None:
            merchant, year, kind = asked
            found = Year(merchant, year)
            if not found.is_empty:
                return StreamingHttpResponse(
                    zip_of_year(found, kind=kind),
                    content_type="application/zip",
                    headers={"Content-Disposition": f'attachment; filename="{found.file_name(kind)}"'},
                )
            note = f"{merchant.name} issued nothing in {year}."
        context = {
            **self.admin_site.each_context(request),
            "title": "Documents of a year",
            "merchants": merchants,
            "formats": FORMATS,
            "note": note,
            "asked_year": request.GET.get("year") or wall_now().year,
        }
        return TemplateResponse(request, "documents/year.html", context)

    @display(description="Invoice", ordering="invoice__number")
    def invoice_page(self, document: InvoiceDocument) -> str:
        return link(document.invoice)


@admin.register(CreditNoteDocument)
class CreditNoteDocumentAdmin(ReadOnlyModelAdmin):
    """What was given out of credit notes, byte for byte."""

    empty_text = "A document is kept when it is first downloaded, on a credit note's page or over the API."
    list_display = ["credit_note_page", "format", "size_bytes", "digest", "created_at"]
    list_filter = ["organization", "format"]
    search_fields = ["credit_note__number", "=digest"]
    list_select_related = ["credit_note"]
    ordering = ["-id"]
    fields = ["organization", "credit_note_page", "format", "size_bytes", "digest", "source_digest", "created_at"]
    readonly_fields = ["credit_note_page"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("content")

    @display(description="Credit note", ordering="credit_note__number")
    def credit_note_page(self, document: CreditNoteDocument) -> str:
        return link(document.credit_note)


def _file(content: bytes, name: str, kind: str) -> HttpResponse:
    made = FORMATS[kind]
    return HttpResponse(
        content,
        content_type=made.media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}{made.suffix}"'},
    )


def _read_year(
    request: HttpRequest, merchants: list[Organization]
) -> tuple[tuple[Organization, int, str] | None, str]:
    """Read the form; nothing when it is not sent, and a note when it makes no sense."""
    sent = request.GET
    if "year" not in sent:
        return None, ""
    merchant = next((one for one in merchants if one.public_id == sent.get("merchant")), None)
    text = sent["year"]
    year = int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else 0
    if merchant is None or not FIRST_YEAR <= year <= LAST_YEAR or sent.get("format") not in FORMATS:
        return None, "Choose a merchant, a year such as 2026, and a format."
    return (merchant, year, sent["format"]), ""
