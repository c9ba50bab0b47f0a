"""What an invoice's document says, read from its rows."""

from collections.abc import Iterable, Sequence
from typing import Any

from apps.catalog.models import PriceRevision
from apps.documents.domain.paper import Paper, PaperLine
from apps.documents.selectors.parties import Sides
from apps.invoicing.domain.words import steps_in_words
from apps.invoicing.models import Invoice
from apps.invoicing.selectors.invoices import document_lines, live_lines, totals
from apps.kernel.rows import many
from apps.taxes.domain.rules import OUTSIDE
from apps.taxes.domain.treatment import Treatment


def paper_of(invoice: Invoice, sides: Sides) -> Paper:
    """Give what the document of an invoice says; of an issued one, from frozen rows alone.

    Args:
        invoice: read with its neighbours.
        sides: its parties, as they were kept.
    """
    live = live_lines([invoice]).get(invoice.pk)
    lines: Sequence[Any] = live if live is not None else document_lines(invoice)
    sums, _ = totals(invoice, live)
    scopes = _scopes({line.price_revision_id for line in lines if line.price_revision_id})
    return Paper(
        number=invoice.number,
        status=invoice.get_status_display(),
        currency=invoice.currency,
        issued_at=invoice.issued_at,
        due_at=invoice.due_at,
        start=invoice.period_start,
        end=invoice.period_end,
        seller=sides.seller,
        buyer=sides.buyer,
        is_tax_exempt=sides.is_tax_exempt,
        timezone=sides.timezone,
        subtotal=sums.subtotal,
        total_tax=sums.total_tax,
        lines=[_line(line, scopes.get(line.price_revision_id), _heading(invoice, line)) for line in lines],
        prepaid=invoice.balance_applied,
    )


def _heading(invoice: Invoice, line: Any) -> str:
    """Give the subscription that a line is of, where a document has several."""
    return str(line.invoice.subscription.name) if invoice.has_members else ""


def _scopes(revision_ids: Iterable[int]) -> dict[int, str]:
    """Say of price revisions, by key, whether what they bill is a supply."""
    rows = PriceRevision.objects.filter(pk__in=many(revision_ids))
    return dict(rows.values_list("pk", "supply_scope"))


def _line(line: Any, scope: str | None, heading: str) -> PaperLine:
    return PaperLine(
        name=line.display_name,
        description=" · ".join(text for text in (heading, line.description) if text),
        kind=line.kind,
        start=line.period_start,
        end=line.period_end,
        quantity=line.quantity,
        unit_price=line.unit_price,
        net=line.subtotal,
        tax_rate=line.tax_rate,
        tax=line.tax_amount,
        is_late=line.is_late,
        is_inclusive=line.gross != line.subtotal,
        is_out_of_scope=scope not in (None, "IN_SCOPE") or is_outside(line.decision),
        steps=steps_in_words(line.provenance),
        treatment=line.decision,
        taxes=line.taxes,
    )


def is_outside(decision: Treatment | None) -> bool:
    """Whether a line is not subject to tax."""
    return decision is not None and decision.category == OUTSIDE
