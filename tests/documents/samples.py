"""Documents made up whole: every currency, tax and shape of a line, without a database."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from apps.documents.domain.paper import Paper, PaperLine
from apps.documents.domain.parties import Party
from apps.kernel.money import minor_digits
from apps.rating.tax import tax_lines
from apps.taxes.domain.treatment import Component, Treatment

JANUARY, FEBRUARY, MARCH = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3))
SELLER = Party(
    name="Northlight Überbau GmbH", line1="Straße 1", city="Berlin", zip_code="10115", country="DE",
    email="ar@northlight.test", phone="+49 30 1", tax_id="DE136695976", registration_number="HRB 1",
    iban="DE75512108001245126199", bic="SOLADEST600", timezone="Europe/Berlin",
)  # fmt: skip
BUYER = Party(name="Acme & Söhne <SA>", line1="1 Main", city="Lyon", zip_code="69001", country="FR",
              email="ap@acme.test", tax_id="FR40303265045", reference="PO 7")  # fmt: skip


def line(gross: str, rate: str = "19", **more: Any) -> PaperLine:
    """Give a line that is not taxed yet; its unit price is its amount unless it is said."""
    amount = Decimal(gross)
    facts: dict[str, Any] = {
        "name": "Tokens", "description": "", "kind": "metered", "start": JANUARY, "end": FEBRUARY,
        "quantity": Decimal(1), "unit_price": amount, "net": amount, "tax_rate": Decimal(rate), "tax": Decimal(0),
        "is_late": False, "is_inclusive": False, "is_out_of_scope": False, "steps": [], **more,
    }  # fmt: skip
    return PaperLine(**facts)


def untaxed(category: str, reason: str, code: str = "", **more: Any) -> PaperLine:
    """Give a line of which a registration decided that nothing is owed."""
    told = {"buyer_tax_id": BUYER.tax_id} if category in ("AE", "K") else {}
    seller = "" if category == "O" else SELLER.tax_id
    treatment = Treatment(category, "test", "FR", (), reason, code, seller_tax_id=seller, **told)
    return line("49.00", "0", treatment=treatment, is_out_of_scope=category == "O", **more)


def two_taxes() -> PaperLine:
    """Give a line with two taxes, each rounded for itself."""
    taxes = (Component("GST", "CA", Decimal(5)), Component("QST", "CA-QC", Decimal("9.975")))
    treatment = Treatment("S", "registration", "CA-QC", taxes, "Taxed in CA-QC", seller_tax_id=SELLER.tax_id)
    return line("100.00", "14.975", treatment=treatment, taxes=(Decimal("5.00"), Decimal("9.98")))


def paper(*lines: PaperLine, currency: str = "EUR", is_inclusive: bool = False, seller: Party = SELLER,
          buyer: Party = BUYER, is_tax_exempt: bool = False) -> Paper:  # fmt: skip
    """Give an issued document with its taxes, as invoices have them: per rate, shared out to the lines."""
    taxed = tax_lines(
        [one.net for one in lines], [one.tax_rate for one in lines], currency=currency, is_inclusive=is_inclusive
    )
    made = [
        replace(one, net=amount.net, tax=amount.tax, is_inclusive=amount.net != one.net)
        for one, amount in zip(lines, taxed, strict=True)
    ]
    return Paper(
        number="INV-2026-000001", status="Issued", currency=currency, issued_at=FEBRUARY,
        due_at=datetime(2026, 2, 15, tzinfo=UTC), start=JANUARY, end=FEBRUARY, seller=seller, buyer=buyer,
        is_tax_exempt=is_tax_exempt, timezone="Europe/Berlin", lines=made,
        subtotal=sum((one.net for one in made), Decimal(0)), total_tax=sum((one.tax for one in made), Decimal(0)),
    )  # fmt: skip


RATES = ("0", "5.5", "7", "19", "20", "25.25")


@st.composite
def papers(draw: st.DrawFn) -> Paper:
    """Any document that the standard can say: many rates or no tax at all, negative lines, odd quantities."""
    currency = draw(st.sampled_from(["EUR", "USD", "JPY"]))
    digits = minor_digits(currency)
    reason = draw(st.sampled_from(["Z", "E", "AE", "O"]))
    rates = RATES if reason != "O" else draw(st.sampled_from([("0",), RATES[1:]]))
    lines = []
    for _ in range(draw(st.integers(1, 8))):
        amount = Decimal(draw(st.integers(-(10**9), 10**10))).scaleb(-digits)
        quantity = draw(st.decimals(-1000, 10**9, places=draw(st.integers(0, 9)), allow_nan=False))
        price = draw(st.sampled_from([amount, Decimal("0.000002"), Decimal("-3.5"), Decimal(0)]))
        lines.append(
            line(
                str(amount),
                draw(st.sampled_from(rates)),
                quantity=draw(st.sampled_from([quantity, Decimal(1), Decimal(0)])),
                unit_price=price,
                end=draw(st.sampled_from([JANUARY, FEBRUARY, MARCH])),
                description=draw(st.sampled_from(["", "Two\nlines", "a\x07b"])),
            )
        )
    buyer = replace(BUYER, zero_tax_reason=reason, zero_tax_note=draw(st.sampled_from(["", "§ 13b UStG"])))
    return paper(*lines, currency=currency, is_inclusive=draw(st.booleans()), buyer=buyer)
