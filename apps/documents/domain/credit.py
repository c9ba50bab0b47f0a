"""A credit note as a document says it."""

from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from apps.documents.domain.einvoice import EInvoice, Gap, einvoice_of
from apps.documents.domain.layout import layout_of
from apps.documents.domain.paper import Paper


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditPaper(Paper):
    """What a credit note says beside what an invoice says; its amounts are what is given back, above zero.

    Attributes:
        invoice_number, invoice_issued_on: the invoice that it corrects.
        goes: where the total goes, in words, with the amount as text.
    """

    invoice_number: str
    invoice_issued_on: date
    reason: str
    goes: tuple[tuple[str, str], ...]
    is_voided: bool


def credit_layout_of(paper: CreditPaper, *, logo_path: str) -> dict[str, Any]:
    """Give the texts of a credit note; see `layout_of`."""
    layout = layout_of(paper, logo_path=logo_path)
    facts = [fact for fact in layout["facts"] if fact[0] not in ("Due", "Period")]
    facts[2:2] = [["Of invoice", paper.invoice_number], ["Invoice of", str(paper.invoice_issued_on)]]
    return {
        **layout,
        "title": f"Credit note {paper.number}",
        "heading": "Credit note",
        "watermark": "VOIDED" if paper.is_voided else "",
        "facts": facts,
        "notes": [f"Reason: {paper.reason}", *layout["notes"]],
        "total": ["Total given back", layout["total"][1]],
        "payment": [list(row) for row in paper.goes],
    }


def credit_einvoice_of(paper: CreditPaper) -> EInvoice | list[Gap]:
    """Give a credit note in the standard's terms, or everything that keeps it from having them."""
    found = einvoice_of(paper)
    if not isinstance(found, EInvoice):
        return found
    return replace(
        found, corrects=paper.invoice_number, corrects_on=paper.invoice_issued_on, note=f"Reason: {paper.reason}"
    )
