"""A document made up to see whether documents can be made."""

from datetime import UTC, datetime
from decimal import Decimal

from apps.documents.domain.layout import layout_of
from apps.documents.domain.paper import Paper, PaperLine
from apps.documents.domain.parties import Party
from apps.documents.services.fonts import missing_in
from apps.documents.services.typesetting import typeset
from apps.organizations.models import Organization

# A name in each script that the fonts are there for.
NAMES = ("Überbau", "Ελλάς", "Привет", "שלום", "شركة", "株式会社", "한국", "测试", "測試")
ISSUED = datetime(2026, 2, 1, tzinfo=UTC)
# More names than these are not gone through.
LOOKED_AT = 50_000


def sample_paper(*, lines: int = 3, buyer: str = "Acme Ltd") -> Paper:
    """Give a document with so many lines."""
    amount = Decimal("24.69")
    return Paper(
        number="SAMPLE-1",
        status="Issued",
        currency="EUR",
        issued_at=ISSUED,
        due_at=ISSUED,
        start=datetime(2026, 1, 1, tzinfo=UTC),
        end=ISSUED,
        seller=Party(
            name="Sample GmbH", line1="Straße 1", city="Berlin", country="DE", iban="DE75512108001245126199"
        ),
        buyer=Party(name=buyer, city="Lyon", country="FR"),
        is_tax_exempt=False,
        timezone="UTC",
        subtotal=amount * lines,
        total_tax=Decimal(0),
        lines=[
            PaperLine(
                name=f"Tokens {number}",
                description="",
                kind="metered",
                start=datetime(2026, 1, 1, tzinfo=UTC),
                end=ISSUED,
                quantity=Decimal(12_345_678),
                unit_price=Decimal("0.000002"),
                net=amount,
                tax_rate=Decimal(0),
                tax=Decimal(0),
                is_late=False,
                is_inclusive=False,
                is_out_of_scope=False,
                steps=[
                    "price the quantity: 12345678 at 0.000002 → 24.691356",
                    "round half-up to the minor unit → 24.69",
                ],
            )
            for number in range(lines)
        ],
    )


def sample_pdf() -> set[str]:
    """Set a sample in every script, and give the characters that no font has.

    Raises:
        MissingFontsError, typst.TypstError: it cannot be set at all.
    """
    text = " ".join(NAMES)
    unshown = missing_in(text)
    made = typeset(layout_of(sample_paper(buyer=text), logo_path=""), country="FR", at=ISSUED, images={})
    assert made.startswith(b"%PDF")
    return unshown


def unshown_names() -> list[str]:
    """Give names of organizations with characters that documents can only write by their numbers."""
    odd = Organization.objects.filter(name__regex=r"[^\x01-\u017F]").values_list("name", flat=True)
    return [name for name in odd.order_by("-pk")[:LOOKED_AT] if missing_in(name)]
