"""Documents of invoices: made when they are first asked for, then kept as they are."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import QuerySet

from apps.documents.domain.layout import layout_of
from apps.documents.domain.paper import Paper
from apps.documents.models import DocumentFormat, InvoiceDocument, Logo
from apps.documents.models.stored import KeptDocument
from apps.documents.selectors.papers import paper_of
from apps.documents.services.parties import get_sides
from apps.documents.services.typesetting import template, typeset
from apps.invoicing.models import Invoice, InvoiceStatus
from apps.kernel.errors import ConflictError

D = TypeVar("D", bound=KeptDocument)
P = TypeVar("P", bound=Paper)
# Before an invoice is issued its document is a preview.
PREVIEWED = (InvoiceStatus.ACTIVE, InvoiceStatus.CLOSING, InvoiceStatus.DRAFT)


def get_pdf(invoice: Invoice) -> bytes:
    """Give an invoice as PDF/A-3: of an issued one always the same bytes, before that a preview with a watermark.

    A voided one has a watermark as well.

    Args:
        invoice: read with its neighbours.

    Raises:
        ConflictError: there is nothing to show, because it was never calculated.
    """
    if invoice.number is None:
        refuse_member(invoice)
        if invoice.status not in PREVIEWED:
            raise ConflictError(
                f"The invoice is {invoice.get_status_display().lower()} and has no number, so it has no document.",
                code="INVOICE_HAS_NO_DOCUMENT",
            )
        return render_pdf(paper_of(invoice, get_sides(invoice)), invoice.organization_id)
    if invoice.status == InvoiceStatus.CANCELLED:
        # What was kept stays as the customer had it; this one says that it is void.
        return render_pdf(paper_of(invoice, get_sides(invoice)), invoice.organization_id)
    return kept_document(invoice, DocumentFormat.PDF, lambda paper: render_pdf(paper, invoice.organization_id))


def refuse_member(invoice: Invoice) -> None:
    """Check that an invoice has a document of its own.

    Raises:
        ConflictError: it was issued on one with others, which is named.
    """
    if invoice.consolidated_into is not None:
        raise ConflictError(
            f"The invoice was issued on {invoice.consolidated_into}, with others; get the document of that one.",
            code="INVOICE_HAS_NO_DOCUMENT",
            details={"consolidatedInvoiceId": invoice.consolidated_into.public_id},
        )


def render_pdf(paper: Paper, organization_id: int, layout: Callable[..., dict[str, Any]] = layout_of) -> bytes:
    """Set the PDF of a document, in the texts that a layout gives of it."""
    images = {}
    path = ""
    if paper.seller.logo:
        logo = Logo.objects.get(organization_id=organization_id, digest=paper.seller.logo)
        path = f"/{logo.digest}.{logo.media_type.removeprefix('image/')}"
        images[path] = bytes(logo.content)
    return typeset(
        layout(paper, logo_path=path),
        country=paper.buyer.country,
        at=paper.issued_at or paper.end,
        images=images,
    )


def kept_document(invoice: Invoice, kind: DocumentFormat, make: Callable[[Paper], bytes]) -> bytes:
    """Give a document of an issued invoice, making and keeping it the first time."""
    return keep_first(
        InvoiceDocument.objects.filter(invoice=invoice, format=kind),
        lambda: paper_of(invoice, get_sides(invoice)),
        make,
        {"organization_id": invoice.organization_id, "invoice": invoice, "format": kind},
    )


def keep_first(
    rows: QuerySet[D], paper_of: Callable[[], P], make: Callable[[P], bytes], named: Mapping[str, Any]
) -> bytes:
    """Give a document, making and keeping it the first time.

    Two that ask at once may both make it; the first one's is kept, and both get that.

    Args:
        rows: where it is, once it is kept.
        paper_of: gives what it says.
        make: sets it.
        named: what it is of, as columns.
    """
    known = rows.first()
    if known is None:
        paper = paper_of()
        content = make(paper)
        with transaction.atomic():
            rows.model._default_manager.bulk_create(
                [
                    rows.model(
                        **named,
                        source_digest=source_digest(paper),
                        digest=hashlib.sha256(content).hexdigest(),
                        size_bytes=len(content),
                        content=content,
                    )
                ],
                ignore_conflicts=True,
            )
        known = rows.get()
    return bytes(known.content)


def source_digest(paper: Paper) -> str:
    """Give a digest of what a document is made from: its facts and the template."""
    return hashlib.sha256(repr(paper).encode() + template()).hexdigest()
