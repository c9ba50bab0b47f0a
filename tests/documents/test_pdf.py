"""An invoice on paper: what it says, that it never changes, and that it can show every name."""

import io
import re
import struct
import zlib
from dataclasses import replace
from decimal import Decimal

import pgtrigger
import pytest
from django.db import DatabaseError, transaction
from pypdf import PdfReader

from apps.documents.domain.layout import layout_of
from apps.documents.domain.paper import Paper
from apps.documents.models import InvoiceDocument, InvoiceParties, Logo, PartyFacts
from apps.documents.selectors.papers import paper_of
from apps.documents.services.logos import check_logo, remove_logo, set_logo
from apps.documents.services.parties import get_sides
from apps.documents.services.rendering import get_pdf
from apps.documents.services.typesetting import showable, typeset
from apps.invoicing.models import Invoice
from apps.kernel.errors import ConflictError, InvalidError
from apps.organizations.models import Organization
from tests.documents.papers import bill, equip, rename, text_of
from tests.documents.samples import BUYER, FEBRUARY, SELLER, line, paper
from tests.world import World, make_world

pytestmark = pytest.mark.django_db


def png(width: int = 2, height: int = 2, *, broken: bool = False, profile: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\x00" + b"\x2f\x80\xed" * width for _ in range(height))
    data = b"not compressed" if broken else zlib.compress(rows)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    colours = chunk(b"iCCP", b"made up\0\0" + zlib.compress(profile)) if profile else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + colours + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg(width: int, height: int) -> bytes:
    """The head of a JPEG, behind which the picture itself may be as short as it likes."""
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", 2 + len(frame)) + frame + b"\xff\xd9"


def test_it_says_what_the_invoice_says(world: World) -> None:
    equip(world)
    billed = bill(world, defaultTaxRate=20)
    invoice = billed.invoice()
    text = text_of(get_pdf(invoice))
    for said in (
        f"Invoice {invoice.number}", "Northlight Überbau GmbH", "Straße 1", "10115 Berlin", "VAT id DE136695976",
        "Tax id FR40303265045", "69001 Lyon", "2026-02-15", "2026-01-01 – 2026-01-31", "1,000,000", "€0.000002",
        "€2.00", "€49.00", "€51.00", "€10.20", "€61.20", "20 %", "DE75 5121 0800 1245 1261 99", "Page 1 of",
        "How it was calculated", "1. price the quantity: 1000000 at 0.000002", "SOLADEST600", "HRB 1",
    ):  # fmt: skip
        assert said in text, said
    assert "NOT FINAL" not in text


def test_the_same_invoice_is_the_same_file_for_ever(world: World) -> None:
    equip(world)
    invoice = bill(world).invoice()
    paper = paper_of(invoice, get_sides(invoice))
    again = [typeset(layout_of(paper, logo_path=""), country="FR", at=invoice.issued_at, images={}) for _ in range(2)]
    first = get_pdf(invoice)
    assert again == [first, first]
    assert get_pdf(invoice) == first
    assert InvoiceDocument.objects.filter(invoice=invoice).count() == 1


def test_later_changes_never_reach_an_issued_invoice(world: World) -> None:
    equip(world)
    billed = bill(world)
    set_logo(organization=world.merchant, content=png())
    rename(billed.customer, name="Renamed SA", line1="Elsewhere 9")
    Organization.objects.filter(pk=world.merchant.pk).update(legal_name="Southlight AG", iban="")
    # Made only now, and still it says what was true when the invoice was issued.
    text = text_of(get_pdf(billed.invoice()))
    assert "Northlight Überbau GmbH" in text
    assert "Southlight" not in text
    assert "Renamed" not in text
    assert "DE75 5121" in text
    assert "Renamed SA" in text_of(get_pdf(billed.invoice(2)))
    row = InvoiceParties.objects.get(invoice=billed.invoice())
    assert not row.is_later
    for change in (
        lambda: PartyFacts.objects.update(facts={}),
        lambda: InvoiceParties.objects.update(timezone="Asia/Tokyo"),
        lambda: InvoiceParties.objects.all().delete(),
        lambda: InvoiceDocument.objects.update(content=b""),
        lambda: Logo.objects.update(content=b""),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()


def test_an_invoice_from_before_keeps_its_parties_from_its_first_document_on(world: World) -> None:
    equip(world)
    billed = bill(world)
    invoice = billed.invoice()
    with pgtrigger.ignore("documents.InvoiceParties:parties_never_change"):
        InvoiceParties.objects.filter(invoice=invoice).delete()
    before = get_pdf(invoice)
    assert InvoiceParties.objects.get(invoice=invoice).is_later
    rename(billed.customer, name="Renamed SA")
    assert get_pdf(invoice) == before
    assert "Renamed" not in get_sides(invoice).buyer.name


def test_facts_are_kept_once(world: World) -> None:
    equip(world)
    billed = bill(world)
    assert InvoiceParties.objects.filter(invoice__subscription__public_id=billed.subscription).count() == 2
    assert PartyFacts.objects.count() == 2
    world.advance(billed.clock, "2026-03-02T00:00:00Z")
    assert PartyFacts.objects.count() == 2


def test_what_is_not_issued_is_a_preview(world: World) -> None:
    equip(world)
    billed = bill(world)
    preview = text_of(get_pdf(billed.invoice(2)))
    assert "NOT FINAL" in preview
    assert "it has no number" in preview
    assert "Reference" not in preview
    assert not InvoiceDocument.objects.exists()
    Invoice.objects.filter(pk=billed.invoice(2).pk).update(status="DRAFT")
    assert "DRAFT" in text_of(get_pdf(billed.invoice(2)))
    Invoice.objects.filter(pk=billed.invoice(2).pk).update(status="FAILED")
    with pytest.raises(ConflictError, match="has no document"):
        get_pdf(billed.invoice(2))


@pytest.mark.parametrize(
    ("currency", "fee", "shown"),
    [("JPY", "4900", "¥4,900"), ("USD", "49.00", "$49.00"), ("BHD", "49.125", "49.125 BHD")],
)
def test_every_currency_has_its_digits(world: World, currency: str, fee: str, shown: str) -> None:
    billed = bill(world, currency=currency, fee=fee, price="0.000000000001", tokens=1)
    text = text_of(get_pdf(billed.invoice()))
    assert shown in text
    assert "0.000000000001" in text


def test_credits_discounts_and_late_usage_are_marked(world: World) -> None:
    billed = bill(
        world,
        lines=[{"displayName": "Goodwill", "quantity": 1, "unitPrice": -5, "description": "As agreed\non 3 May"}],
    )
    world.send(billed.customer, "2026-01-20T10:00:00Z", tokens=500_000_000)
    world.advance(billed.clock, "2026-03-02T00:00:00Z")
    text = text_of(get_pdf(billed.invoice()))
    assert "Goodwill credit" in " ".join(text.split())
    assert "As agreed\non 3 May" in text
    assert "€5.00" in text
    assert "late usage" in text_of(get_pdf(billed.invoice(2)))


def test_many_lines_fill_pages_whose_tables_have_their_heads(world: World) -> None:
    lines = [{"displayName": f"Item {number}", "quantity": 1, "unitPrice": "1.01"} for number in range(59)]
    invoice = bill(world, lines=lines).invoice()
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(get_pdf(invoice))).pages]
    appendix = next(number for number, page in enumerate(pages) if "How it was calculated" in page)
    table = [page for page in pages[:appendix] if "Item " in page]
    assert len(table) >= 2
    assert all("Unit price" in page for page in table)
    assert all(f"Item {number}\n" in "".join(table) for number in range(59))
    assert all(f"Page {number} of {len(pages)}" in page for number, page in enumerate(pages, 1))
    assert all(f"Invoice {invoice.number}" in page for page in pages[1:])


@pytest.mark.parametrize(
    "name",
    [
        "株式会社テスト",
        "شركة الاختبار",
        "ООО Привет",
        "Ätna Ölçü Żółć ŉ",
        "חברה",
        "한국 회사",
        "测试有限公司",
        "Ελληνική",
    ],
)
def test_names_of_other_scripts_are_shown(world: World, name: str) -> None:
    billed = bill(world)
    rename(billed.customer, name=name)
    pdf = get_pdf(billed.invoice(2))
    assert "U+" not in text_of(pdf)
    reader = PdfReader(io.BytesIO(pdf))
    assert all("/FontFile2" in str(font) or "/FontFile3" in str(font) for font in _descriptors(reader))


def _descriptors(reader: PdfReader) -> list[object]:
    found = []
    for page in reader.pages:
        for font in page["/Resources"]["/Font"].values():
            found.extend(one.get_object()["/FontDescriptor"].get_object() for one in font["/DescendantFonts"])
    return found


def test_what_no_font_has_is_written_by_its_number_and_said(world: World) -> None:
    billed = bill(world)
    rename(billed.customer, name="Smile 😀 ᚠ Ltd\u200d")
    text = text_of(get_pdf(billed.invoice(2)))
    assert "[U+1F600]" in text
    assert "Unicode numbers" in text


def test_marks_that_only_steer_are_left_out_and_joiners_kept() -> None:
    said = showable({"lines": ["葛\U000e0100城 \u2068Ab\u2069\u061c", "می\u200cخواهم", "soft\u00adly"]})
    assert said == {"lines": ["葛城 Ab", "می\u200cخواهم", "softly"]}


WIDE = "W" * 200


@pytest.mark.parametrize(
    "sample",
    [
        paper(line("49.00", name=WIDE)),
        paper(line("49.00", name=f"For {WIDE}", description=WIDE, kind="discount")),
        paper(line("49.00", steps=[f"price {WIDE}"], name=WIDE)),
        paper(line("49.00"), seller=replace(SELLER, name=WIDE, line1=WIDE)),
        paper(line("49.00"), buyer=replace(BUYER, name=WIDE, email=f"{WIDE}@acme.test", reference="R" * 100)),
        paper(line("49.00", "0"), buyer=replace(BUYER, zero_tax_reason="E", zero_tax_note=WIDE)),
    ],
    ids=["item", "text of an item", "steps", "seller", "buyer", "note"],
)
def test_a_word_that_is_too_wide_is_broken_within_its_place(sample: Paper) -> None:
    pdf = typeset(layout_of(sample, logo_path=""), country="FR", at=FEBRUARY, images={})
    runs = re.findall("[WR]{2,}", text_of(pdf))
    # A page takes some seventy of these signs side by side; of a word nothing is lost.
    assert max(map(len, runs)) < 80
    assert sum(map(len, runs)) >= 100


def test_words_that_fit_are_copied_as_they_are() -> None:
    mail = "accounts@long-name.test"
    sample = paper(line("49.00", name="customer.subscription.updated.v2"), buyer=replace(BUYER, email=mail))
    text = text_of(typeset(layout_of(sample, logo_path=""), country="FR", at=FEBRUARY, images={}))
    assert mail in text
    assert "customer.subscription.updated.v2" in text
    assert "\u200b" not in text


def test_it_is_pdf_a_3(world: World) -> None:
    reader = PdfReader(io.BytesIO(get_pdf(bill(world).invoice())))
    metadata = reader.xmp_metadata
    assert metadata is not None
    raw = metadata.stream.get_data().decode()
    assert "<pdfaid:part>3</pdfaid:part>" in raw
    assert "<pdfaid:conformance>B</pdfaid:conformance>" in raw


def test_a_logo_stands_on_what_is_issued_after_it(world: World) -> None:
    set_logo(organization=world.merchant, content=png())
    billed = bill(world)
    assert _images(get_pdf(billed.invoice())) == 1
    set_logo(organization=world.merchant, content=png(3, 3))
    set_logo(organization=world.merchant, content=png(3, 3))
    assert Logo.objects.get(is_current=True).media_type == "image/png"
    assert Logo.objects.count() == 2
    remove_logo(organization=world.merchant)
    world.advance(billed.clock, "2026-03-02T00:00:00Z")
    assert _images(get_pdf(billed.invoice(2))) == 0


def _images(pdf: bytes) -> int:
    page = PdfReader(io.BytesIO(pdf)).pages[0]
    return len(page["/Resources"].get("/XObject", {}))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"GIF89a", "PNG or a JPEG"),
        (b"<svg/>", "PNG or a JPEG"),
        (png(5000, 1), "4000"),
        # Either would take gigabytes to unpack, and the process with it.
        (jpeg(65_500, 65_500), "4000"),
        (jpeg(20, 20)[:-2] + jpeg(65_500, 20)[2:], "4000"),
        (png(profile=bytes(2_000_000)), "colour profile"),
        (png(broken=True), "cannot be read"),
        (b"\xff\xd8\xff broken", "cannot be read"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 600_000, "512"),
    ],
)
def test_what_is_no_picture_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(InvalidError, match=why):
        check_logo(content)


def test_a_picture_with_a_profile_is_taken() -> None:
    assert check_logo(png(profile=bytes(3_000))) == "image/png"


def test_the_api_gives_the_file(world: World) -> None:
    billed = bill(world)
    invoice = billed.invoice()
    shown = world.api.get(f"/v2/invoices/{invoice.public_id}")
    assert shown["pdfSource"] == "paygentic"
    assert shown["pdfUrl"].endswith(f"/v2/invoices/{invoice.public_id}/pdf")
    answer = world.api.call("get", f"/v2/invoices/{invoice.public_id}/pdf", Accept="application/pdf", expect=200)
    assert answer["Content-Type"] == "application/pdf"
    assert answer.content == get_pdf(invoice)
    open_one = billed.invoice(2)
    assert world.api.get(f"/v2/invoices/{open_one.public_id}")["pdfUrl"] is None
    assert world.api.call("get", f"/v2/invoices/{open_one.public_id}/pdf", expect=200).content.startswith(b"%PDF")
    Invoice.objects.filter(pk=open_one.pk).update(status="FAILED")
    refused = world.api.call("get", f"/v2/invoices/{open_one.public_id}/pdf", Accept="application/pdf", expect=409)
    assert refused.json()["code"] == "INVOICE_HAS_NO_DOCUMENT"
    foreign = make_world().api.call("get", f"/v2/invoices/{invoice.public_id}/pdf", Accept="application/pdf")
    assert foreign.status_code == 404


def test_a_long_document_is_set_apart_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = layout_of(paper(*[line("1.01", name="株式会社")] * 40), logo_path="/a.png")
    here = typeset(layout, country="JP", at=FEBRUARY, images={"/a.png": png()})
    monkeypatch.setattr("apps.documents.services.typesetting.LONG", 39)
    monkeypatch.setattr("apps.documents.services.typesetting._compiler", None)
    assert typeset(layout, country="JP", at=FEBRUARY, images={"/a.png": png()}) == here
    monkeypatch.setattr("apps.documents.services.typesetting.template", lambda: b"#nonsense")
    with pytest.raises(RuntimeError, match="could not be set"):
        typeset(layout, country="JP", at=FEBRUARY, images={})


def test_why_there_is_no_tax_is_said_where_there_is_none() -> None:
    reverse = replace(BUYER, zero_tax_reason="AE", zero_tax_note="Art. 196")
    said = layout_of(paper(line("1", "0"), buyer=reverse), logo_path="")["notes"]
    assert said == ["Reverse charge: the recipient owes the tax. Art. 196"]
    taxed = paper(line("1"), line("-1", "0", is_out_of_scope=True), buyer=reverse)
    assert layout_of(taxed, logo_path="")["notes"] == []
    contained = paper(line("1.19"), is_inclusive=True)
    assert layout_of(contained, logo_path="")["notes"] == ["Unit prices contain tax; amounts are without it."]


def test_figures_are_the_invoices(world: World) -> None:
    invoice = bill(world, defaultTaxRate="7.7").invoice()
    paper = paper_of(invoice, get_sides(invoice))
    assert (paper.subtotal, paper.total_tax) == (Decimal("51"), Decimal("3.93"))
    assert sum(line.net for line in paper.lines) == paper.subtotal
