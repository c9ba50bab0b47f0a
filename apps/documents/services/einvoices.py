"""E-invoices: made when they are first asked for, then kept as they are."""

import re
from collections.abc import Callable

import facturx

from apps.documents.domain.cii import write_cii
from apps.documents.domain.einvoice import EInvoice, Gap, einvoice_of
from apps.documents.domain.paper import Paper
from apps.documents.domain.ubl import write_ubl
from apps.documents.models import DocumentFormat
from apps.documents.services.rendering import kept_document, refuse_member, render_pdf
from apps.invoicing.models import Invoice, InvoiceStatus
from apps.kernel.errors import ConflictError

# How the library writes the moment at which it works; the invoice's own moment is as long.
# Signs are written plainly or by their octal numbers.
PDF_MOMENT = re.compile(rb"(D(?::|\\072))\d{14}((?:\+|\\053)00(?:'|\\047)00)")
XMP_MOMENT = re.compile(rb"(<xmp:(?:CreateDate|ModifyDate)>)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")


def get_cii(invoice: Invoice) -> bytes:
    """Give an issued invoice as CII.

    Raises:
        ConflictError: it is not issued, or lacks what the standard asks for; every gap is named.
    """
    return _kept(invoice, DocumentFormat.CII, lambda paper: write_cii(_complete(paper)))


def get_ubl(invoice: Invoice) -> bytes:
    """Give an issued invoice as UBL, under the same rules."""
    return _kept(invoice, DocumentFormat.UBL, lambda paper: write_ubl(_complete(paper)))


def get_facturx(invoice: Invoice) -> bytes:
    """Give an issued invoice as PDF/A-3 with its CII inside, under the same rules."""
    return _kept(invoice, DocumentFormat.FACTURX, lambda paper: make_facturx(paper, invoice.organization_id))


def make_facturx(paper: Paper, organization_id: int) -> bytes:
    """Make the PDF and put the XML into it."""
    return embed(paper, write_cii(_complete(paper)), render_pdf(paper, organization_id), "Invoice")


def embed(paper: Paper, xml: bytes, pdf: bytes, kind: str) -> bytes:
    """Put the XML of a document into its PDF; `kind` is what it is called."""
    assert paper.issued_at is not None
    made: bytes = facturx.generate_from_binary(
        pdf,
        xml,
        flavor="factur-x",
        level="en16931",
        # Tests check the XML against the schema and the official rules; here it would only take time.
        check_xsd=False,
        check_schematron=False,
        pdf_metadata={
            "author": paper.seller.name,
            "title": f"{kind} {paper.number}",
            "subject": f"Factur-X {kind.lower()} {paper.number}",
            "keywords": "Factur-X, Invoice",
        },
        lang="en",
        afrelationship="alternative",
        xmp_compression=False,
    )
    moment = paper.issued_at
    made = PDF_MOMENT.sub(rb"\g<1>" + f"{moment:%Y%m%d%H%M%S}".encode() + rb"\g<2>", made)
    return XMP_MOMENT.sub(rb"\g<1>" + f"{moment:%Y-%m-%dT%H:%M:%S}+00:00".encode(), made)


def _kept(invoice: Invoice, kind: DocumentFormat, make: Callable[[Paper], bytes]) -> bytes:
    if invoice.number is None:
        refuse_member(invoice)
        raise ConflictError(
            "The invoice is not issued yet; an e-invoice is made of what never changes.", code="INVOICE_NOT_ISSUED"
        )
    if invoice.status == InvoiceStatus.CANCELLED:
        raise ConflictError("The invoice is voided; an e-invoice would ask for its money.", code="INVOICE_VOIDED")
    return kept_document(invoice, kind, make)


def _complete(paper: Paper) -> EInvoice:
    return require_complete(einvoice_of(paper))


def require_complete(found: EInvoice | list[Gap]) -> EInvoice:
    """Give a document that has all that the standard asks for.

    Raises:
        ConflictError: it has not; every gap is named.
    """
    if isinstance(found, EInvoice):
        return found
    said = " ".join(f"{gap.of.capitalize()}, {gap.field}: {gap.message}" for gap in found)
    raise ConflictError(
        f"The invoice was issued without what EN 16931 asks for, and is not changed any more. {said}"
        " Fill it in, and the invoices to come have it.",
        code="E_INVOICE_INCOMPLETE",
        details={"missing": [{"of": gap.of, "field": gap.field, "message": gap.message} for gap in found]},
    )
