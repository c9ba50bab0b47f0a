"""Documents of invoices that come to less than nothing: whose favour they say, and that the standard allows them."""

import io
from dataclasses import replace
from typing import Any

import facturx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from lxml import etree

from apps.customers.models import Customer
from apps.documents.domain.cii import write_cii
from apps.documents.domain.einvoice import EInvoice, einvoice_of
from apps.documents.domain.layout import layout_of
from apps.documents.domain.paper import Paper
from apps.documents.domain.ubl import write_ubl
from apps.invoicing.models import CustomerBalance
from tests.documents.papers import Billed, bill, equip, text_of
from tests.documents.rules import problems
from tests.documents.samples import line, paper, papers
from tests.world import World

WRITERS = {"cii": write_cii, "ubl": write_ubl}
RAM = "{urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100}"
CBC = "{urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2}"
BACK = {"displayName": "Goodwill", "quantity": "2", "unitPrice": "-60.00"}


def get(world: World, billed: Billed, what: str, expect: int = 200) -> bytes:
    path = f"/v2/invoices/{billed.invoice().public_id}/{what}"
    return bytes(world.api.call("get", path, expect=expect).content)


def texts(xml: bytes, tag: str) -> list[str | None]:
    return [one.text for one in etree.fromstring(xml).iter(tag)]


@pytest.mark.django_db
@pytest.mark.parametrize("behavior", ["exclusive", "inclusive"])
def test_an_invoice_below_zero_leaves_in_every_format(world: World, behavior: str) -> None:
    equip(world)
    billed = bill(world, lines=[BACK], defaultTaxRate="19", taxBehavior=behavior)
    invoice = billed.invoice()
    # 49.00 and 2.00 less 120.00, with 19 % on it or in it.
    total = "-82.11" if behavior == "exclusive" else "-69.00"
    assert f"{invoice.grand_total:.2f}" == total
    assert invoice.status == "PAID"
    assert (
        CustomerBalance.objects.get(customer=Customer.objects.get(public_id=billed.customer)).amount
        == -invoice.grand_total
    )
    said = text_of(get(world, billed, "pdf"))
    shown = f"€{total.removeprefix('-')}"
    for words in ("Total in your favour", f"−{shown}", "To your balance", "credit"):
        assert words in said, words
    # Nothing is asked for.
    for words in ("IBAN", "Amount due", "Due on", "2026-02-15"):
        assert words not in said, words
    ubl, cii = (get(world, billed, f"eInvoice?format={kind}") for kind in ("ubl", "cii"))
    assert problems(ubl, "ubl") == []
    assert problems(cii, "cii") == []
    assert texts(ubl, f"{CBC}PayableAmount") == texts(cii, f"{RAM}DuePayableAmount") == [total]
    assert texts(ubl, f"{CBC}InvoiceTypeCode") == ["380"]
    assert texts(ubl, f"{CBC}DueDate") == texts(ubl, f"{CBC}PaymentMeansCode") == []
    assert "on your balance" in (texts(ubl, f"{CBC}Note")[-1] or "")
    _, embedded = facturx.get_xml_from_pdf(io.BytesIO(get(world, billed, "eInvoice?format=facturx")), check_xsd=False)
    assert embedded == cii
    # A price is never below zero; what is given back has a quantity below it.
    assert all(not (text or "").startswith("-") for text in texts(ubl, f"{CBC}PriceAmount"))


@pytest.mark.django_db
def test_one_that_the_standard_cannot_say_is_refused_with_the_reason(world: World) -> None:
    equip(world)
    billed = bill(world, lines=[BACK], currency="KWD", defaultTaxRate="19")
    assert billed.invoice().grand_total < 0
    assert b"two digits" in get(world, billed, "eInvoice?format=ubl", expect=409)
    assert "Total in your favour" in text_of(get(world, billed, "pdf"))


@pytest.mark.parametrize("syntax", WRITERS)
@pytest.mark.parametrize(
    "lines",
    [
        [line("-49.00")],
        [line("49.00"), line("-100.00")],
        [line("10.00", "7"), line("-49.00", "19")],
        [line("-10.00", "7"), line("49.00", "19"), line("-60.00", "19")],
        [line("-0.01")],
        [line("-5.00", "0", is_out_of_scope=True)],
    ],
)
def test_it_obeys_the_official_rules(syntax: str, lines: list[Any]) -> None:
    found = einvoice_of(paper(*lines))
    assert isinstance(found, EInvoice), found
    assert problems(WRITERS[syntax](found), syntax) == []


@pytest.mark.parametrize("syntax", WRITERS)
@given(sample=papers())
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_of_them_obeys_the_official_rules(syntax: str, sample: Paper) -> None:
    # The same document with what it charges given back, and what it gives back charged.
    turned = [
        replace(one, net=-one.net, tax=-one.tax, quantity=-one.quantity)
        if one.quantity
        else replace(one, net=-one.net, tax=-one.tax)
        for one in sample.lines
    ]
    below = sample
    if sample.grand_total > 0:
        below = replace(sample, lines=turned, subtotal=-sample.subtotal, total_tax=-sample.total_tax)
    assume(below.grand_total < 0)
    found = einvoice_of(below)
    assert isinstance(found, EInvoice), found
    assert found.due_on is None
    assert problems(WRITERS[syntax](found), syntax) == []


def test_a_voided_one_gives_nothing_and_a_preview_promises_nothing() -> None:
    below = paper(line("-49.00"))
    assert layout_of(below, logo_path="")["payment"] == [["To your balance", "€58.31"]]
    for other in (replace(below, status="Cancelled"), replace(below, number=None)):
        assert layout_of(other, logo_path="")["payment"] == []
