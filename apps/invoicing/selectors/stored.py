"""Lines that are stored, as those that are worked out."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from django.db.models import QuerySet, Sum, TextField
from django.db.models.functions import Cast

from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import CreditNoteLine, CreditNoteStatus, Invoice, InvoiceLine, LineKind
from apps.kernel.rows import many
from apps.kernel.written_json import WrittenJSON
from apps.taxes.domain.treatment import Treatment
from apps.taxes.models import TaxTreatment

# Of a stored line what a `TargetLine` has under the same name.
SAME = (
    *("kind", "reference", "display_name", "description", "payment_term", "period_start", "period_end"),
    *("quantity", "unit_price", "gross", "tax_rate", "price_revision_id", "public_id"),
)


def stored_targets(invoices: Sequence[Invoice]) -> Iterator[tuple[int, TargetLine]]:
    """Give the lines that are facts of their own, manual ones and adjustments, each with its invoice's key.

    Not through objects of the model, since an invoice may have thousands.
    """
    lines = InvoiceLine.objects.filter(
        invoice_id__in=many([invoice.pk for invoice in invoices]), kind__in=[LineKind.MANUAL, LineKind.ADJUSTMENT]
    )
    rows = list(
        lines.annotate(calculation=Cast("provenance", TextField()))
        .order_by("pk")
        .values_list("invoice_id", "pk", "tax_treatment_id", "calculation", *SAME)
    )
    decided = {treatment_id for _, _, treatment_id, *_ in rows if treatment_id is not None}
    treatments: dict[int | None, Treatment] = {}
    if decided:
        treatments |= {row.pk: row.decision for row in TaxTreatment.objects.filter(pk__in=many(decided))}
    for invoice_id, key, treatment_id, calculation, *same in rows:
        line = TargetLine(
            **dict(zip(SAME, same, strict=True)),
            stored_id=key,
            treatment=treatments.get(treatment_id),
            provenance=WrittenJSON(calculation),
        )
        yield invoice_id, line


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
