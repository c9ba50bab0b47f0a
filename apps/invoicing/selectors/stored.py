from decimal import Decimal

from django.db.models import QuerySet, Sum

from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import CreditNoteLine, CreditNoteStatus, InvoiceLine


def target_of(line: InvoiceLine) -> TargetLine:
    """Give a stored line as one that is worked out."""
    return TargetLine(
        kind=line.kind,
        reference=line.reference,
        display_name=line.display_name,
        description=line.description,
        payment_term=line.payment_term,
        period_start=line.period_start,
        period_end=line.period_end,
        quantity=line.quantity,
        unit_price=line.unit_price,
        gross=line.gross,
        tax_rate=line.tax_rate,
        treatment=line.decision,
        price_revision_id=line.price_revision_id,
        provenance=line.provenance,
    )


def held_amounts(lines: QuerySet[InvoiceLine]) -> dict[int, Decimal]:
    """Give what credit notes that hold gave back of lines, by their keys; with the tax where their gross has it."""
    held = CreditNoteLine.objects.filter(credit_note__status=CreditNoteStatus.ISSUED)
    rows = (
        held.filter(invoice_line__in=lines.values("pk"))
        .values("invoice_line_id", "invoice_line__gross", "invoice_line__subtotal")
        .annotate(net=Sum("subtotal"), whole=Sum("total"))
    )
    found = {}
    for row in rows:
        is_net = row["invoice_line__gross"] == row["invoice_line__subtotal"]
        found[row["invoice_line_id"]] = row["net"] if is_net else row["whole"]
    return found
