"""What the typesetter is given: every figure and date as the text that stands on the page."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from apps.documents.domain.paper import Paper, PaperLine, TaxSum, period_in_words, tax_sums
from apps.documents.domain.parties import Party
from apps.kernel.money import format_decimal, format_money, format_unit_price
from apps.taxes.domain.rules import REVERSE
from apps.taxes.domain.treatment import REASONS

INCLUSIVE = "Unit prices contain tax; amounts are without it."
REVERSE_CHARGE = "Reverse charge: the recipient owes the tax."
# Groups of four are how people compare account numbers.
IBAN_GROUP = 4


def layout_of(paper: Paper, *, logo_path: str) -> dict[str, Any]:
    """Give the texts of a document.

    Args:
        paper: what it says.
        logo_path: where the typesetter finds the merchant's picture; empty for none.
    """
    currency = paper.currency
    seller = replace(paper.seller, tax_id=paper.seller_tax_id)
    heading = "Invoice" if paper.number else f"{paper.status} invoice"
    is_credit = paper.grand_total < 0
    return {
        "title": f"Invoice {paper.number}" if paper.number else heading,
        "heading": heading,
        "watermark": _watermark(paper),
        "logo": logo_path,
        "seller": {"name": seller.name, "lines": _address(seller, "VAT id")},
        "buyer": {"name": paper.buyer.name, "lines": _address(paper.buyer, "Tax id")},
        "facts": _facts(paper),
        "notes": _notes(paper),
        "lines": [_line(line, currency, paper.timezone) for line in paper.lines],
        "sums": [
            ["Net", format_money(paper.subtotal, currency)],
            ["Tax", format_money(paper.total_tax, currency)],
        ],
        "total": ["Total in your favour" if is_credit else "Total", format_money(paper.grand_total, currency)],
        "taxes": [
            [
                _tax_name(row),
                format_money(row.net, currency),
                format_money(row.tax, currency),
                format_money(row.total, currency),
            ]
            for row in tax_sums(paper.lines)
        ],
        "payment": _payment(paper),
        "steps": [
            {"name": line.name, "amount": format_money(line.net, currency), "steps": list(line.steps)}
            for line in paper.lines
            if line.steps
        ],
        "footer": _footer(seller),
    }


def _watermark(paper: Paper) -> str:
    if paper.number:
        return "VOID" if paper.status == "Cancelled" else ""
    return "DRAFT" if paper.status == "Draft" else "NOT FINAL"


def percent(rate: Decimal) -> str:
    return f"{format_decimal(rate)} %"


def _tax_name(row: TaxSum) -> str:
    """Name a tax by its jurisdiction and percent, or say that none is owed."""
    if row.is_out_of_scope:
        return "not subject to tax"
    return f"{row.name} {percent(row.rate)}".strip()


def grouped(iban: str) -> str:
    return " ".join(iban[at : at + IBAN_GROUP] for at in range(0, len(iban), IBAN_GROUP))


def _address(party: Party, tax_label: str) -> list[str]:
    lines = [
        party.line1,
        party.line2,
        " ".join(part for part in (party.zip_code, party.city) if part),
        party.state,
        party.country,
        f"{tax_label} {party.tax_id}" if party.tax_id else "",
        f"Reg. no. {party.registration_number}" if party.registration_number else "",
        party.email,
    ]
    return [line for line in lines if line]


def _facts(paper: Paper) -> list[list[str]]:
    rows = [
        ("Number", paper.number or "—"),
        ("Issued", str(paper.issued_on or "—")),
        ("Due", str(paper.due_on or "—") if paper.grand_total >= 0 else ""),
        ("Period", period_in_words(paper.start, paper.end, paper.timezone) if paper.end > paper.start else ""),
        ("Your reference", paper.buyer.reference),
        ("Currency", paper.currency),
    ]
    return [[name, value] for name, value in rows if value]


def _notes(paper: Paper) -> list[str]:
    notes = []
    if paper.number is None:
        notes.append("This is a preview: it has no number, nothing is owed by it, and its figures may change.")
    if any(line.is_inclusive for line in paper.lines):
        notes.append(INCLUSIVE)
    reasons = [row.reason for row in tax_sums(paper.lines) if row.reason]
    notes += dict.fromkeys(REVERSE_CHARGE if reason == REASONS[REVERSE] else reason for reason in reasons)
    if any(line.treatment is None and not line.tax_rate and not line.is_out_of_scope for line in paper.lines):
        reason = REVERSE_CHARGE if paper.buyer.zero_tax_reason == "AE" else ""
        note = " ".join(part for part in (reason, paper.buyer.zero_tax_note) if part)
        if note:
            notes.append(note)
    return notes


def _line(line: PaperLine, currency: str, timezone: str) -> dict[str, Any]:
    more = [period_in_words(line.start, line.end, timezone) if line.end > line.start else "", *_paragraphs(line)]
    return {
        "name": line.name,
        "mark": _mark(line),
        "more": [text for text in more if text],
        "quantity": f"{Decimal(format_decimal(line.quantity)):,f}".replace("-", "\N{MINUS SIGN}"),
        "unit_price": format_unit_price(line.unit_price, currency),
        "tax": "—" if line.is_out_of_scope else " + ".join(percent(rate) for rate in _rates(line)),
        "amount": format_money(line.net, currency),
    }


def _rates(line: PaperLine) -> Sequence[Decimal]:
    """Give the percents of a line's taxes."""
    return (line.treatment.percents if line.treatment is not None else ()) or (line.tax_rate,)


def _paragraphs(line: PaperLine) -> Sequence[str]:
    return line.description.splitlines()


def _mark(line: PaperLine) -> str:
    words = []
    if line.is_late:
        words.append("late usage")
    if line.kind == "discount":
        words.append("discount")
    elif line.net < 0:
        words.append("credit")
    return ", ".join(words)


def _payment(paper: Paper) -> list[list[str]]:
    if paper.number is None or not paper.grand_total or paper.status == "Cancelled":
        return []
    if paper.grand_total < 0:
        # It is settled when it is issued, and pays later invoices.
        return [["To your balance", format_money(-paper.grand_total, paper.currency)]]
    held = [
        ["Paid from your balance", format_money(paper.prepaid, paper.currency)],
        ["Amount due", format_money(paper.due_amount, paper.currency)],
    ]
    if paper.due_amount <= 0:
        return held
    rows = [
        ("Due on", str(paper.due_on or "")),
        ("Account holder", paper.seller.name if paper.seller.iban else ""),
        ("IBAN", grouped(paper.seller.iban)),
        ("BIC", paper.seller.bic),
        ("Reference", paper.number),
    ]
    return [*(held if paper.prepaid else []), *([name, value] for name, value in rows if value)]


def _footer(seller: Party) -> str:
    parts = [
        seller.name,
        f"VAT id {seller.tax_id}" if seller.tax_id else "",
        f"Reg. no. {seller.registration_number}" if seller.registration_number else "",
        seller.email,
        seller.phone,
    ]
    return " · ".join(part for part in parts if part)
