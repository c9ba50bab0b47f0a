"""E-invoices obey the official rules, say what the invoice says, and name what they lack."""

import io
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import facturx
import pytest
from hypothesis import HealthCheck, given, settings
from lxml import etree
from pypdf import PdfReader

from apps.customers.models import Customer
from apps.documents.domain import cii, ubl
from apps.documents.domain.cii import write_cii
from apps.documents.domain.einvoice import EInvoice, Gap, einvoice_of
from apps.documents.domain.layout import layout_of
from apps.documents.domain.paper import Paper
from apps.documents.domain.ubl import write_ubl
from apps.documents.services.einvoices import get_cii, get_facturx, get_ubl, make_facturx
from apps.kernel.money import round_money
from apps.organizations.models import Organization
from tests.documents.papers import bill, equip, rename
from tests.documents.rules import problems
from tests.documents.samples import BUYER, SELLER, line, paper, papers, two_taxes, untaxed
from tests.world import World, make_world

WRITERS: dict[str, Callable[[EInvoice], bytes]] = {"cii": write_cii, "ubl": write_ubl}
SAMPLES = {
    "one line": paper(line("49.00")),
    "several rates": paper(line("49.00"), line("10.01", "7"), line("0.05", "7"), line("0.05", "19")),
    "inclusive": paper(line("49.00"), line("10.01", "7"), is_inclusive=True),
    "discount": paper(line("49.00"), line("-4.90", kind="discount")),
    "usage": paper(line("2.47", quantity=Decimal("1234567.5"), unit_price=Decimal("0.000002"))),
    "tiers": paper(line("8.00", quantity=Decimal("250"), unit_price=Decimal("0.05"))),
    "rebate": paper(line("49.00"), line("-3.00", quantity=Decimal(300), unit_price=Decimal("-0.01"))),
    "nothing": paper(line("0.00", quantity=Decimal(0), unit_price=Decimal("0.5"))),
    "credit": paper(line("-12.34")),
    "paid from a balance": replace(paper(line("49.00")), prepaid=Decimal("20.00")),
    "paid whole from a balance": replace(paper(line("49.00")), prepaid=Decimal("58.31")),
    "no digits": paper(line("4900"), currency="JPY"),
    "zero rated": paper(line("49.00", "0"), line("1.00"), buyer=replace(BUYER, zero_tax_reason="Z")),
    "exempt": paper(line("49.00", "0"), buyer=replace(BUYER, zero_tax_reason="E", zero_tax_note="§ 4 UStG")),
    "exempt subscription": paper(line("49.00", "0"), is_tax_exempt=True),
    "reverse charge": paper(line("49.00", "0"), buyer=replace(BUYER, zero_tax_reason="AE")),
    "out of scope": paper(line("49.00", "0"), buyer=replace(BUYER, zero_tax_reason="O")),
    "only cashback": paper(line("-5.00", "0", is_out_of_scope=True)),
    "decided: zero rated": paper(untaxed("Z", "Zero rated in DE"), line("1.00")),
    "decided: two taxes": paper(two_taxes()),
    "decided: exempt": paper(untaxed("E", "Education", "VATEX-EU-132-1I"), line("1.00")),
    "decided: two exemptions": paper(untaxed("E", "Education", "VATEX-EU-132-1I"), untaxed("E", "Embassy")),
    "decided: reverse charge": paper(
        untaxed("AE", "Reverse charge", "VATEX-EU-AE"), seller=replace(SELLER, tax_id="")
    ),
    "decided: within the Union": paper(untaxed("K", "Intra-community supply", "VATEX-EU-IC")),
    "decided: export": paper(untaxed("G", "Export outside the EU", "VATEX-EU-G")),
    "decided: not registered": paper(untaxed("O", "Not subject to VAT: supplied in US", "VATEX-EU-O")),
    "bare parties": paper(
        line("49.00"),
        seller=replace(SELLER, iban="", bic="", email="", phone="", registration_number="", line1="", city=""),
        buyer=replace(BUYER, email="", tax_id="12-3456789", reference="", line1="", city="", zip_code=""),
    ),
}


def made(sample: Paper) -> EInvoice:
    found = einvoice_of(sample)
    assert isinstance(found, EInvoice), found
    return found


@pytest.mark.parametrize("syntax", WRITERS)
@pytest.mark.parametrize("name", SAMPLES)
def test_they_obey_the_official_rules(name: str, syntax: str) -> None:
    assert problems(WRITERS[syntax](made(SAMPLES[name])), syntax) == []


@pytest.mark.parametrize("syntax", WRITERS)
@given(sample=papers())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_document_obeys_the_official_rules(syntax: str, sample: Paper) -> None:
    assert problems(WRITERS[syntax](made(sample)), syntax) == []


def test_the_pdf_tells_each_tax_and_why_there_is_none() -> None:
    told = layout_of(paper(two_taxes(), untaxed("AE", "Reverse charge", "VATEX-EU-AE")), logo_path="")
    assert told["taxes"] == [
        ["CA-QC QST 9.975 %", "€100.00", "€9.98", "€109.98"],
        ["CA GST 5 %", "€100.00", "€5.00", "€105.00"],
        ["0 %", "€49.00", "€0.00", "€49.00"],
    ]
    assert [line["tax"] for line in told["lines"]] == ["5 % + 9.975 %", "0 %"]
    assert told["notes"] == ["Reverse charge: the recipient owes the tax."]


BREAKS = {
    "a wrong total": ("cii", b"<ram:GrandTotalAmount>58.31", b"<ram:GrandTotalAmount>58.32", "BR-CO-15"),
    "a wrong line": ("cii", b"<ram:LineTotalAmount>49.00</ram:LineTotalAmount></ram:SpecifiedTradeS",
                     b"<ram:LineTotalAmount>48.00</ram:LineTotalAmount></ram:SpecifiedTradeS", "BR-CO-10"),
    "no country": ("ubl", b"<cac:Country><cbc:IdentificationCode>DE</cbc:IdentificationCode></cac:Country>", b"",
                   "BR-09"),
    "a bad tax id": ("cii", b">DE136695976<", b">136695976<", "BR-CO-09"),
    "no schema": ("cii", b"<ram:TypeCode>380</ram:TypeCode>", b"<ram:Typo>380</ram:Typo>", "schema"),
    "a wrong UBL total": ("ubl", b">58.31</cbc:TaxInclusiveAmount>", b">58.32</cbc:TaxInclusiveAmount>", "BR-CO-15"),
    "a wrong UBL tax": ("ubl", b"<cbc:TaxAmount currencyID=\"EUR\">9.31</cbc:TaxAmount><cac:TaxSubtotal>",
                        b"<cbc:TaxAmount currencyID=\"EUR\">9.30</cbc:TaxAmount><cac:TaxSubtotal>", "BR-CO-14"),
    "no UBL buyer": ("ubl", b"<cbc:RegistrationName>Acme &amp; S\xc3\xb6hne &lt;SA&gt;</cbc:RegistrationName>", b"",
                     "BR-07"),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_one_is_found_out(name: str) -> None:
    syntax, right, wrong, rule = BREAKS[name]
    xml = WRITERS[syntax](made(SAMPLES["one line"]))
    assert right in xml
    found = problems(xml.replace(right, wrong, 1), syntax)
    assert any(rule in one for one in found), found


def _decimals(xml: bytes, path: str, names: dict[str, str]) -> list[Decimal]:
    spaces = {prefix or "inv": address for prefix, address in names.items()}
    return [Decimal(one.text) for one in etree.fromstring(xml).findall(path, spaces)]


@given(sample=papers())
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_totals_are_the_invoices_to_the_minor_unit(sample: Paper) -> None:
    invoice = made(sample)
    as_cii, as_ubl = write_cii(invoice), write_ubl(invoice)
    for xml, names, paths in (
        (as_cii, cii.NAMES, (
            ".//ram:SpecifiedTradeSettlementLineMonetarySummation/ram:LineTotalAmount", ".//ram:TaxBasisTotalAmount",
            ".//ram:TaxTotalAmount", ".//ram:GrandTotalAmount", ".//ram:DuePayableAmount",
            ".//ram:ApplicableHeaderTradeSettlement/ram:ApplicableTradeTax/ram:CalculatedAmount",
            ".//ram:ApplicableHeaderTradeSettlement/ram:ApplicableTradeTax/ram:BasisAmount",
        )),
        (as_ubl, ubl.NAMES, (
            ".//cac:InvoiceLine/cbc:LineExtensionAmount", ".//cbc:TaxExclusiveAmount", "./cac:TaxTotal/cbc:TaxAmount",
            ".//cbc:TaxInclusiveAmount", ".//cbc:PayableAmount", ".//cac:TaxSubtotal/cbc:TaxAmount",
            ".//cac:TaxSubtotal/cbc:TaxableAmount",
        )),
    ):  # fmt: skip
        lines, net, tax, total, due, taxes, bases = (_decimals(xml, path, names) for path in paths)
        assert lines == [one.net for one in sample.lines]
        assert sum(lines) == sum(bases) == net[0] == sample.subtotal
        assert sum(taxes) == tax[0] == sample.total_tax
        assert total == due == [sample.grand_total]


@given(sample=papers())
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_quantity_times_price_is_the_line(sample: Paper) -> None:
    for one in made(sample).lines:
        assert one.price >= 0
        exact = one.quantity * one.price / (one.base_quantity or 1)
        assert round_money(exact, sample.currency) == one.net


GAPS = {
    "no seller country": (paper(line("1"), seller=replace(SELLER, country="")), [("merchant", "address.country")]),
    "no buyer country": (paper(line("1"), buyer=replace(BUYER, country="")), [("customer", "address.country")]),
    "no such country": (paper(line("1"), buyer=replace(BUYER, country="xx")), [("customer", "address.country")]),
    "no VAT id": (paper(line("1"), seller=replace(SELLER, tax_id="")), [("merchant", "vatId")]),
    "a wrong VAT id": (paper(line("1"), seller=replace(SELLER, tax_id="DE136695977")), [("merchant", "vatId")]),
    "no reason": (paper(line("1", "0")), [("customer", "zeroTax.category")]),
    "reverse charge of nobody": (
        paper(line("1", "0"), buyer=replace(BUYER, zero_tax_reason="AE", tax_id="")), [("customer", "taxId")],
    ),
    "no register": (
        paper(line("1", "0", is_out_of_scope=True), seller=replace(SELLER, registration_number="")),
        [("merchant", "registrationNumber")],
    ),
    "a mixture": (paper(line("1"), line("1", "0", is_out_of_scope=True)), [("invoice", "lineItems")]),
    "three digits": (paper(line("1.125"), currency="BHD"), [("invoice", "currency")]),
    "no line": (paper(), [("invoice", "lineItems")]),
    "several": (
        paper(line("1"), seller=replace(SELLER, country="", tax_id=""), buyer=replace(BUYER, country="")),
        [("merchant", "address.country"), ("customer", "address.country"), ("merchant", "vatId")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GAPS)
def test_what_is_missing_is_named(name: str) -> None:
    sample, expected = GAPS[name]
    found = einvoice_of(sample)
    assert isinstance(found, list)
    assert all(isinstance(gap, Gap) and gap.message for gap in found)
    assert [(gap.of, gap.field) for gap in found] == expected


@pytest.mark.django_db
def test_factur_x_holds_the_xml_in_a_pdf_a_3() -> None:
    sample = SAMPLES["several rates"]
    pdf = make_facturx(sample, organization_id=0)
    name, inside = facturx.get_xml_from_pdf(pdf, check_xsd=False)
    assert name == "factur-x.xml"
    assert inside == write_cii(made(sample))
    reader = PdfReader(io.BytesIO(pdf))
    assert reader.xmp_metadata is not None
    metadata = reader.xmp_metadata.stream.get_data().decode()
    for said in (
        "<pdfaid:part>3",
        "<pdfaid:conformance>B",
        "<fx:ConformanceLevel>EN 16931",
        "2026-02-01T00:00:00+00:00",
    ):
        assert said in metadata
    assert reader.trailer["/Root"]["/AF"][0].get_object()["/AFRelationship"] == "/Alternative"
    assert "/OutputIntents" in reader.trailer["/Root"]
    time.sleep(1.1)
    assert make_facturx(sample, organization_id=0) == pdf


@pytest.mark.django_db
def test_a_billed_month_leaves_as_e_invoice(world: World) -> None:
    equip(world)
    billed = bill(world, defaultTaxRate=20, lines=[{"displayName": "Goodwill", "quantity": 1, "unitPrice": "-5.00"}])
    invoice = billed.invoice()
    for kind, syntax, made_by in (("cii", "cii", get_cii), ("ubl", "ubl", get_ubl)):
        answer = world.api.call("get", f"/v2/invoices/{invoice.public_id}/eInvoice?format={kind}", expect=200)
        assert answer["Content-Type"] == "application/xml"
        assert problems(answer.content, syntax) == []
        assert answer.content == made_by(invoice)
    answer = world.api.call("get", f"/v2/invoices/{invoice.public_id}/eInvoice?format=facturx", expect=200)
    assert answer["Content-Type"] == "application/pdf"
    assert answer.content == get_facturx(invoice)
    assert facturx.get_xml_from_pdf(answer.content, check_xsd=False)[1] == get_cii(invoice)
    total = etree.fromstring(get_cii(invoice)).findtext(".//ram:GrandTotalAmount", namespaces=cii.NAMES)
    assert total == world.api.get(f"/v2/invoices/{invoice.public_id}")["grandTotal"] == "55.20"


@pytest.mark.django_db
def test_it_says_what_was_true_when_it_was_issued(world: World) -> None:
    equip(world)
    billed = bill(world, defaultTaxRate=20)
    rename(billed.customer, name="Renamed SA", country="DE")
    Customer.objects.update(tax_id="")
    Organization.objects.filter(pk=world.merchant.pk).update(vat_id="")
    xml = get_ubl(billed.invoice()).decode()
    assert "Renamed" not in xml
    assert "FR40303265045" in xml
    assert "DE136695976" in xml


@pytest.mark.django_db
def test_what_cannot_be_an_e_invoice_says_why(world: World) -> None:
    billed = bill(world)
    address = f"/v2/invoices/{billed.invoice().public_id}/eInvoice"
    body = world.api.call("get", f"{address}?format=ubl", expect=409).json()
    assert body["code"] == "E_INVOICE_INCOMPLETE"
    assert [(gap["of"], gap["field"]) for gap in body["details"]["missing"]] == [
        ("merchant", "address.country"), ("customer", "zeroTax.category"),
    ]  # fmt: skip
    assert "Customer, zeroTax.category: Say why" in body["message"]
    open_one = f"/v2/invoices/{billed.invoice(2).public_id}/eInvoice?format=cii"
    assert world.api.call("get", open_one, expect=409).json()["code"] == "INVOICE_NOT_ISSUED"
    for query in ("", "?format=docx", "?format=pdf"):
        wrong = world.api.call("get", address + query, expect=400).json()
        assert wrong["errors"][0]["field"] == "format"
    assert make_world().api.call("get", f"{address}?format=ubl").status_code == 404
