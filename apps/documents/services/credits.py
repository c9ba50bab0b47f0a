"""Credit notes as PDF and e-invoices: made of frozen rows alone, so always the same."""

from zoneinfo import ZoneInfo

from apps.documents.domain.cii import write_cii
from apps.documents.domain.credit import CreditPaper, credit_einvoice_of, credit_layout_of
from apps.documents.domain.paper import PaperLine
from apps.documents.domain.ubl import write_ubl
from apps.documents.models import DocumentFormat
from apps.documents.selectors.papers import is_outside
from apps.documents.services.einvoices import embed, require_complete
from apps.documents.services.parties import get_sides
from apps.documents.services.rendering import render_pdf
from apps.invoicing.models import CreditNote, CreditNoteLine, CreditNoteStatus
from apps.kernel.errors import ConflictError
from apps.kernel.money import format_money


def get_credit_pdf(note: CreditNote) -> bytes:
    """Give a credit note as PDF/A-3, with the parties as its invoice has them; a voided one says so.

    Args:
        note: read with its invoice and lines.
    """
    return render_pdf(_paper(note), note.organization_id, credit_layout_of)


def get_credit_einvoice(note: CreditNote, kind: str) -> bytes:
    """Give a credit note as `cii`, `ubl` or `facturx`: a document of type 381 that names its invoice.

    Raises:
        ConflictError: it is voided, or lacks what the standard asks for; every gap is named.
    """
    if note.status == CreditNoteStatus.VOIDED:
        raise ConflictError("The credit note is voided, so nothing is given back by it.", code="CREDIT_NOTE_VOIDED")
    paper = _paper(note)
    found = require_complete(credit_einvoice_of(paper))
    if kind == DocumentFormat.UBL:
        return write_ubl(found)
    if kind == DocumentFormat.CII:
        return write_cii(found)
    pdf = render_pdf(paper, note.organization_id, credit_layout_of)
    return embed(paper, write_cii(found), pdf, "Credit note")


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
