"""The PDF of a credit note."""

import pytest
from django.db import DatabaseError, transaction
from django.test import Client
from django.urls import reverse

from apps.documents.models import CreditNoteDocument
from apps.invoicing.models import CreditNote
from tests.documents.papers import bill, equip, text_of
from tests.world import World, make_world

pytestmark = pytest.mark.django_db


def pdf_of(world: World, note: str) -> bytes:
    return bytes(world.api.call("get", f"/v2/creditNotes/{note}/pdf", expect=200).content)


def test_it_says_what_is_given_back_and_of_which_invoice(world: World) -> None:
    equip(world)
    invoice = bill(world, defaultTaxRate="20").invoice()
    body = {"amount": "12.00", "reason": "Outage in January"}
    note = world.api.post(f"/v2/invoices/{invoice.public_id}/creditNotes", body)
    first = pdf_of(world, note["id"])
    said = text_of(first)
    for words in (
        "Credit note", note["creditNoteNumber"], invoice.number or "", "Reason: Outage in January", "€10.00", "€2.00",
        "Total given back", "€12.00", "Off what was due", "20 %",
    ):  # fmt: skip
        assert words in said, words
    assert "IBAN" not in said
    assert pdf_of(world, note["id"]) == first
    other = make_world().api.call("get", f"/v2/creditNotes/{note['id']}/pdf")
    assert other.status_code == 404
    world.api.post(f"/v2/creditNotes/{note['id']}/void", {}, expect=200)
    assert "VOIDED" in text_of(pdf_of(world, note["id"]))


def test_it_stands_on_its_page_in_the_admin(world: World) -> None:
    equip(world)
    invoice = bill(world).invoice()
    world.api.post(f"/v2/invoices/{invoice.public_id}/creditNotes", {"amount": "1.00", "reason": "x"})
    note = CreditNote.objects.get()
    address, ubl = (reverse("admin:documents_credit_download", args=[note.pk, kind]) for kind in ("pdf", "ubl"))
    client = Client()
    client.force_login(world.owner)
    page = client.get(reverse("admin:invoicing_creditnote_change", args=[CreditNote.objects.get().pk]))
    assert address in page.content.decode()
    assert ubl in page.content.decode()
    # The very bytes that the API gives.
    first = client.get(address).content
    assert first.startswith(b"%PDF")
    assert first == pdf_of(world, note.public_id)
    kept = CreditNoteDocument.objects.get()
    listed = client.get(reverse("admin:documents_creditnotedocument_changelist")).content.decode()
    assert note.number in listed
    assert kept.digest in listed
    # Without the tax category of the customer there is no e-invoice, and the page says what is missing.
    assert "zeroTax.category" in client.get(ubl, follow=True).content.decode()
    assert client.get(address.replace("/pdf/", "/rtf/")).status_code == 404
    client.force_login(make_world().owner)
    assert client.get(address).status_code == 404


def test_an_invoice_asks_for_what_the_balance_does_not_pay(world: World) -> None:
    equip(world)
    billed = bill(world, defaultTaxRate="20")
    zero = billed.invoice(0)
    world.api.post(f"/v2/invoices/{zero.public_id}/creditNotes", {"amount": "20.00", "reason": "x"})
    world.advance(billed.clock, "2026-03-02T00:00:00Z")
    invoice = billed.invoice(2)
    assert (str(invoice.grand_total.normalize()), str(invoice.unpaid_amount.normalize())) == ("58.8", "38.8")
    said = text_of(bytes(world.api.call("get", f"/v2/invoices/{invoice.public_id}/pdf", expect=200).content))
    for words in ("€58.80", "Paid from your balance", "€20.00", "Amount due", "€38.80"):
        assert words in said, words
    xml = world.api.call("get", f"/v2/invoices/{invoice.public_id}/eInvoice?format=ubl", expect=200).content.decode()
    assert '<cbc:PrepaidAmount currencyID="EUR">20.00</cbc:PrepaidAmount>' in xml
    assert '<cbc:PayableAmount currencyID="EUR">38.80</cbc:PayableAmount>' in xml


def test_what_was_given_out_never_changes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    equip(world)
    invoice = bill(world, defaultTaxRate="20").invoice()
    note = world.api.post(f"/v2/invoices/{invoice.public_id}/creditNotes", {"amount": "12.00", "reason": "x"})
    path = f"/v2/creditNotes/{note['id']}"

    def download() -> list[bytes]:
        kinds = ["pdf", *(f"eInvoice?format={kind}" for kind in ("ubl", "cii", "facturx"))]
        return [bytes(world.api.call("get", f"{path}/{kind}", expect=200).content) for kind in kinds]

    first = download()
    assert CreditNoteDocument.objects.count() == 4
    # A later release says it in other words, and another makes nothing at all.
    monkeypatch.setattr("apps.documents.services.credits.credit_layout_of", lambda *_, **__: {})
    monkeypatch.setattr("apps.documents.services.credits.render_pdf", None)
    monkeypatch.setattr("apps.documents.services.credits.write_ubl", lambda _: b"other")
    assert download() == first
    for change in (
        lambda: CreditNoteDocument.objects.update(content=b""),
        lambda: CreditNoteDocument.objects.all().delete(),
    ):
        with pytest.raises(DatabaseError, match="Cannot"), transaction.atomic():
            change()
    monkeypatch.undo()
    world.api.post(f"{path}/void", {}, expect=200)
    voided = pdf_of(world, note["id"])
    assert "VOIDED" in text_of(voided)
    assert voided not in first
    # What the customer had of it stays.
    assert [bytes(row.content) for row in CreditNoteDocument.objects.order_by("pk")] == first
