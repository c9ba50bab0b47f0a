"""Credit notes as e-invoices: type 381, the invoice that they correct, and the official rules."""

import io
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import facturx
import pytest
from hypothesis import HealthCheck, given, settings
from lxml import etree
from pypdf import PdfReader

from apps.documents.domain.cii import write_cii
from apps.documents.domain.credit import CreditPaper, credit_einvoice_of
from apps.documents.domain.einvoice import EInvoice
from apps.documents.domain.paper import Paper
from apps.documents.domain.ubl import write_ubl
from tests.documents.papers import bill, equip
from tests.documents.rules import problems
from tests.documents.samples import line, paper, papers
from tests.world import World, make_world

WRITERS: dict[str, Callable[[EInvoice], bytes]] = {"cii": write_cii, "ubl credit": write_ubl}
SAMPLES = {
    "one line": paper(line("49.00")),
    "several rates": paper(line("49.00"), line("10.01", "7"), line("0.05", "19")),
    "no digits": paper(line("4900"), currency="JPY"),
    "out of scope": paper(line("5.00", "0", is_out_of_scope=True)),
}


def credited(sample: Paper) -> EInvoice:
    """Give the e-invoice of a credit note with the lines of a document."""
    given = {field.name: getattr(sample, field.name) for field in fields(Paper)}
    note = CreditPaper(
        **{**given, "number": "INV-CN-2026-000001", "due_at": None},
        invoice_number="INV-2026-000001", invoice_issued_on=sample.issued_on, reason="Outage", goes=(),
        is_voided=False,
    )  # fmt: skip
    found = credit_einvoice_of(note)
    assert isinstance(found, EInvoice), found
    return found


@pytest.mark.parametrize("syntax", WRITERS)
@pytest.mark.parametrize("name", SAMPLES)
def test_they_obey_the_official_rules(name: str, syntax: str) -> None:
    assert problems(WRITERS[syntax](credited(SAMPLES[name])), syntax) == []


@pytest.mark.parametrize("syntax", WRITERS)
@given(sample=papers())
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_credit_note_obeys_the_official_rules(syntax: str, sample: Paper) -> None:
    assert problems(WRITERS[syntax](credited(sample)), syntax) == []


def test_the_rules_find_a_broken_credit_note() -> None:
    xml = write_ubl(credited(SAMPLES["one line"])).replace(b">58.31</cbc:TaxInclusive", b">58.32</cbc:TaxInclusive")
    assert any("BR-CO-15" in problem for problem in problems(xml, "ubl credit"))


def download(world: World, note: str, kind: str, expect: int = 200) -> Any:
    return world.api.call("get", f"/v2/creditNotes/{note}/eInvoice?format={kind}", expect=expect)


@pytest.mark.django_db
def test_a_credit_note_leaves_as_an_e_invoice(world: World) -> None:
    equip(world)
    invoice = bill(world, defaultTaxRate="20").invoice()
    path = f"/v2/invoices/{invoice.public_id}/creditNotes"
    note = world.api.post(path, {"amount": "12.00", "reason": "Outage"})
    ubl = bytes(download(world, note["id"], "ubl").content)
    assert problems(ubl, "ubl credit") == []
    root = etree.fromstring(ubl)
    cbc = "{urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2}"
    assert root.findtext(f"{cbc}CreditNoteTypeCode") == "381"
    assert root.findtext(f"{cbc}ID") == note["creditNoteNumber"]
    named = [one.text for one in root.iter(f"{cbc}ID")]
    assert invoice.number in named
    assert [one.text for one in root.iter(f"{cbc}PayableAmount")] == ["12.00"]
    cii = bytes(download(world, note["id"], "cii").content)
    assert problems(cii, "cii") == []
    assert b"<ram:TypeCode>381</ram:TypeCode>" in cii
    pdf = bytes(download(world, note["id"], "facturx").content)
    _, embedded = facturx.get_xml_from_pdf(io.BytesIO(pdf), check_xsd=False)
    assert embedded == cii
    assert PdfReader(io.BytesIO(pdf)).metadata["/Title"] == f"Credit note {note['creditNoteNumber']}"  # type: ignore[index]
    assert download(world, note["id"], "rtf", expect=400)
    other = make_world().api.call("get", f"/v2/creditNotes/{note['id']}/eInvoice?format=ubl")
    assert other.status_code == 404
    world.api.post(f"/v2/creditNotes/{note['id']}/void", {}, expect=200)
    assert b"CREDIT_NOTE_VOIDED" in download(world, note["id"], "ubl", expect=409).content
