"""Credit notes as PDF and e-invoices: made when they are first asked for, then kept as they are."""

from zoneinfo import ZoneInfo

from apps.documents.domain.cii import write_cii
from apps.documents.domain.credit import CreditPaper, credit_einvoice_of, credit_layout_of
from apps.documents.domain.paper import PaperLine
from apps.documents.domain.ubl import write_ubl
from apps.documents.models import CreditNoteDocument, DocumentFormat
from apps.documents.selectors.papers import is_outside
from apps.documents.services.einvoices import embed, require_complete
from apps.documents.services.parties import get_sides
from apps.documents.services.rendering import keep_first, render_pdf
from apps.invoicing.models import CreditNote, CreditNoteLine, CreditNoteStatus
from apps.kernel.errors import ConflictError
from apps.kernel.money import format_money


def get_credit_document(note: CreditNote, kind: str) -> bytes:
    """Give a credit note in a format: always the same bytes, of which the first copy is kept.

    The PDF is a PDF/A-3, with the parties as its invoice has them; e-invoices are documents of type 381 that name
    the invoice.

    Args:
        note: read with its invoice and lines.
        kind: one of `DocumentFormat`.

    Raises:
        ConflictError: an e-invoice is asked of a voided one, or it lacks what the standard asks for; every gap is
            named.
    """
    if note.status != CreditNoteStatus.VOIDED:
        return keep_first(
            CreditNoteDocument.objects.filter(credit_note=note, format=kind),
            lambda: _paper(note),
            lambda paper: _made(paper, note.organization_id, kind),
            {"organization_id": note.organization_id, "credit_note": note, "format": kind},
        )
    if kind != DocumentFormat.PDF:
        raise ConflictError("The credit note is voided, so nothing is given back by it.", code="CREDIT_NOTE_VOIDED")
    # What was kept stays as the customer had it; this one says that it is void.
    return render_pdf(_paper(note), note.organization_id, credit_layout_of)


def _made(paper: CreditPaper, organization_id: int, kind: str) -> bytes:
    if kind == DocumentFormat.PDF:
        return render_pdf(paper, organization_id, credit_layout_of)
    found = require_complete(credit_einvoice_of(paper))
    if kind == DocumentFormat.UBL:
        return write_ubl(found)
    if kind == DocumentFormat.CII:
        return write_cii(found)
    return embed(paper, write_cii(found), render_pdf(paper, organization_id, credit_layout_of), "Credit note")


def _paper(note: CreditNote) -> CreditPaper:
    invoice = note.invoice
    assert invoice.issued_at is not None
    sides = get_sides(invoice)
    goes = [
        ("Off what was due", note.due_amount),
        ("To your balance", note.balance_amount),
        ("Paid back", note.refund_amount),
    ]
    return CreditPaper(
        number=note.number,
        status=note.get_status_display(),
        currency=note.currency,
        issued_at=note.issued_at,
        due_at=None,
        start=invoice.period_start,
        end=invoice.period_end,
        seller=sides.seller,
        buyer=sides.buyer,
        is_tax_exempt=sides.is_tax_exempt,
        timezone=sides.timezone,
        subtotal=note.subtotal,
        total_tax=note.total_tax,
        lines=[_line(line) for line in note.lines.all()],
        invoice_number=invoice.number or "",
        invoice_issued_on=invoice.issued_at.astimezone(ZoneInfo(sides.seller.timezone)).date(),
        reason=note.reason,
        goes=tuple((words, format_money(amount, note.currency)) for words, amount in goes if amount),
        is_voided=note.status == CreditNoteStatus.VOIDED,
    )


def _line(line: CreditNoteLine) -> PaperLine:
    billed = line.invoice_line
    revision = billed.price_revision
    return PaperLine(
        name=line.display_name,
        description="",
        kind="credit",
        start=billed.period_start,
        end=billed.period_end,
        quantity=type(line.subtotal)(1),
        unit_price=line.subtotal,
        net=line.subtotal,
        tax_rate=line.tax_rate,
        tax=line.tax_amount,
        is_late=False,
        is_inclusive=False,
        is_out_of_scope=(revision is not None and revision.supply_scope != "IN_SCOPE") or is_outside(billed.decision),
        steps=(),
        treatment=billed.decision,
        taxes=line.tax_parts or ([line.tax_amount] if line.tax_rate else []),
    )
