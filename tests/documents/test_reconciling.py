"""Lines, taxes and totals of any document agree to the minor unit, in every format and currency."""

import re
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from apps.documents.domain.cii import NAMES, write_cii
from apps.documents.domain.einvoice import EInvoice, einvoice_of
from apps.documents.domain.layout import layout_of
from apps.documents.domain.paper import Paper, PaperLine
from apps.invoicing.domain.targets import TargetLine, totals_of, with_tax
from apps.invoicing.domain.taxes import tax_shares
from apps.kernel.money import minor_digits
from apps.taxes.domain.treatment import Component, Treatment
from tests.documents.samples import BUYER, SELLER

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
ZERO = Decimal(0)


def treatment(*percents: str) -> Treatment:
    """Give a decision of a registration for these taxes; none is a reverse charge."""
    if not percents:
        return Treatment("AE", "eu_business", "FR", (), "Reverse charge", "VATEX-EU-AE", BUYER.tax_id, SELLER.tax_id)
    taxes = tuple(Component(f"T{number}", "CA-QC", Decimal(one)) for number, one in enumerate(percents))
    return Treatment("S", "registration", "CA-QC", taxes, "Taxed in CA-QC", seller_tax_id=SELLER.tax_id)


DECISIONS = [
    None,
    treatment(),
    treatment("19"),
    treatment("7"),
    treatment("5", "9.975"),
    treatment("4", "4.5", "0.375"),
]
RATES = [Decimal(text) for text in ("0", "5.5", "7", "19", "20", "33.3333")]


def bill_line(number: int, gross: Decimal, rate: Decimal) -> TargetLine:
    return TargetLine(
        kind="fee", reference=f"line:{number}", display_name="Fee", payment_term="in_arrears", period_start=START,
        period_end=END, quantity=Decimal(1), unit_price=gross, gross=gross, tax_rate=rate,
    )  # fmt: skip


@st.composite
def bills(draw: st.DrawFn) -> tuple[str, bool, list[TargetLine]]:
    """Any bill with its taxes, by settings or by registrations, above and below zero."""
    currency = draw(st.sampled_from(["USD", "EUR", "JPY", "KRW", "KWD", "BHD"]))
    is_inclusive = draw(st.booleans())
    is_registered = draw(st.booleans())
    lines = []
    for number in range(draw(st.integers(0, 12))):
        gross = Decimal(draw(st.integers(-(10**6), 10**9))).scaleb(-minor_digits(currency))
        rate = ZERO if is_registered else draw(st.sampled_from(RATES))
        lines.append(bill_line(number, gross, rate))
    decided = [draw(st.sampled_from(DECISIONS[1:])) if is_registered else None for _ in lines]
    return currency, is_inclusive, with_tax(lines, currency=currency, is_inclusive=is_inclusive, treatments=decided)


def paper_of(currency: str, lines: list[TargetLine]) -> Paper:
    sums = totals_of(lines)
    return Paper(
        number="INV-2026-000001", status="Issued", currency=currency, issued_at=END, due_at=END, start=START, end=END,
        seller=SELLER, buyer=replace(BUYER, zero_tax_reason="E"), is_tax_exempt=False, timezone="UTC",
        subtotal=sums.subtotal, total_tax=sums.total_tax, lines=[_line(line) for line in lines],
    )  # fmt: skip


def _line(line: TargetLine) -> PaperLine:
    return PaperLine(
        name=line.display_name, description="", kind=line.kind, start=line.period_start, end=line.period_end,
        quantity=line.quantity, unit_price=line.unit_price, net=line.subtotal, tax_rate=line.tax_rate,
        tax=line.tax_amount, is_late=False, is_inclusive=line.gross != line.subtotal, is_out_of_scope=False, steps=(),
        treatment=line.treatment, taxes=line.taxes,
    )  # fmt: skip


def units(amount: Decimal, currency: str) -> int:
    """Give an amount in minor units; it has no smaller part."""
    found = amount.scaleb(minor_digits(currency))
    assert found == found.to_integral_value(), amount
    return int(found)


def printed(text: str) -> Decimal:
    """Read an amount of money as it stands on paper."""
    return Decimal(re.sub(r"[^0-9.\-]", "", text.replace("\N{MINUS SIGN}", "-")))


@given(bill=bills())
@example(bill=("USD", False, []))
def test_lines_taxes_and_totals_of_a_bill_agree(bill: tuple[str, bool, list[TargetLine]]) -> None:
    currency, is_inclusive, lines = bill
    sums = totals_of(lines)
    for line in lines:
        assert units(line.subtotal, currency) + units(line.tax_amount, currency) == units(line.total, currency)
        assert line.gross == (line.total if is_inclusive else line.subtotal)
        assert sum(line.taxes, ZERO) == line.tax_amount
    assert sum(units(line.subtotal, currency) for line in lines) == units(sums.subtotal, currency)
    assert sum(units(line.total, currency) for line in lines) == units(sums.grand_total, currency)
    shares = tax_shares(lines)
    assert sum((share.tax for share in shares), ZERO) == sums.total_tax
    # Each tax is right on the sum of what it is on, by half a unit; what prices contain is of several at once.
    bases: dict[object, Fraction] = defaultdict(Fraction)
    for line in lines:
        parts = line.treatment.components if line.treatment is not None else (Component("", "", line.tax_rate),)
        for part in parts:
            bases[part] += Fraction(line.subtotal)
    if not is_inclusive:
        half = Fraction(1, 2 * 10 ** minor_digits(currency))
        for share in shares:
            percent = share.component.percent if share.component is not None else ZERO
            assert abs(Fraction(share.net) * Fraction(percent) / 100 - Fraction(share.tax)) <= half


@given(bill=bills())
def test_what_stands_on_paper_agrees(bill: tuple[str, bool, list[TargetLine]]) -> None:
    currency, _, lines = bill
    layout = layout_of(paper_of(currency, lines), logo_path="")
    net, tax = (printed(row[1]) for row in layout["sums"])
    assert sum((printed(line["amount"]) for line in layout["lines"]), ZERO) == net
    assert sum((printed(row[2]) for row in layout["taxes"]), ZERO) == tax
    assert printed(layout["total"][1]) == net + tax
    assert all(printed(row[1]) + printed(row[2]) == printed(row[3]) for row in layout["taxes"])


@given(bill=bills())
def test_what_an_e_invoice_says_agrees(bill: tuple[str, bool, list[TargetLine]]) -> None:
    currency, _, lines = bill
    found = einvoice_of(paper_of(currency, lines))
    if minor_digits(currency) > 2 or not lines:
        # The standard has two digits, and no document without a line.
        assert not isinstance(found, EInvoice)
        return
    assert isinstance(found, EInvoice), found
    root = etree.fromstring(write_cii(found))

    def amounts(path: str) -> list[Decimal]:
        return [Decimal(one.text or "") for one in root.iterfind(f".//{path}", NAMES)]

    whole = "ram:SpecifiedTradeSettlementHeaderMonetarySummation/"
    [net], [tax], [total] = (
        amounts(f"{whole}ram:{name}") for name in ("LineTotalAmount", "TaxTotalAmount", "GrandTotalAmount")
    )
    assert sum(amounts("ram:SpecifiedTradeSettlementLineMonetarySummation/ram:LineTotalAmount"), ZERO) == net
    assert (
        sum(amounts("ram:ApplicableHeaderTradeSettlement/ram:ApplicableTradeTax/ram:CalculatedAmount"), ZERO) == tax
    )
    assert sum(amounts("ram:ApplicableHeaderTradeSettlement/ram:ApplicableTradeTax/ram:BasisAmount"), ZERO) == net
    assert net + tax == total == totals_of(lines).grand_total
