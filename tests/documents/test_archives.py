"""The documents of a year as one file."""

import csv
import hashlib
import io
import zipfile
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest

from apps.documents.models import InvoiceDocument
from apps.documents.services import archives
from apps.documents.services.archives import Year, zip_of_year
from apps.invoicing.models import CreditNote, Invoice
from apps.kernel.http import ratelimit
from tests.documents.papers import bill, equip
from tests.world import Api, World, at, make_world

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _calls_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = (at("2026-06-01T00:00:00Z") + timedelta(seconds=10 * number) for number in count())
    monkeypatch.setattr(ratelimit, "wall_now", lambda: next(moments))


def archive_of(api: Api, kind: str, year: int = 2026) -> zipfile.ZipFile:
    answer = api.call("get", f"/v2/documents/archive?year={year}&format={kind}", expect=200)
    assert answer["Content-Type"] == "application/zip"
    found = zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))
    assert found.testzip() is None
    return found


def index_of(archive: zipfile.ZipFile) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(archive.read("index.csv").decode())))


def credited(world: World, *notes: tuple[str, str]) -> list[CreditNote]:
    """Give the credit notes of a month's invoice, by amount and reason."""
    invoice = bill(world, defaultTaxRate="20", country="DE").invoice()
    for amount, reason in notes:
        world.api.post(f"/v2/invoices/{invoice.public_id}/creditNotes", {"amount": amount, "reason": reason})
    return list(CreditNote.objects.order_by("pk"))


def test_credit_notes_are_in_it_as_they_were_given_out(world: World) -> None:
    equip(world)
    kept, voided = credited(world, ("12.00", "Outage"), ("6.00", "Twice"))
    given = {
        path: world.api.call("get", f"/v2/creditNotes/{kept.public_id}/{path}", expect=200).content
        for path in ("pdf", "eInvoice?format=ubl")
    }
    world.api.post(f"/v2/creditNotes/{voided.public_id}/void", {}, expect=200)
    archive = archive_of(world.api, "pdf")
    first, second = Invoice.objects.filter(number__isnull=False).order_by("pk")
    assert archive.namelist() == [
        f"invoices/{first.number}.pdf",
        f"invoices/{second.number}.pdf",
        f"credit-notes/{kept.number}.pdf",
        f"credit-notes/{voided.number}.pdf",
        "index.csv",
    ]
    assert archive.read(f"credit-notes/{kept.number}.pdf") == given["pdf"]
    rows = {row["number"]: row for row in index_of(archive)}
    assert len(rows) == 4
    for row in rows.values():
        content = archive.read(row["file"])
        assert (row["bytes"], row["sha256"]) == (str(len(content)), hashlib.sha256(content).hexdigest())
    row = rows[kept.number]
    assert (row["document"], row["ofInvoice"], row["status"]) == ("credit note", kept.invoice.number, "Issued")
    assert (row["currency"], row["net"], row["tax"], row["total"]) == ("EUR", "10.00", "2.00", "12.00")
    assert rows[voided.number]["status"] == "Voided"
    assert rows[str(second.number)]["ofInvoice"] == ""
    xml = archive_of(world.api, "ubl")
    assert xml.read(f"credit-notes/{kept.number}-ubl.xml") == given["eInvoice?format=ubl"]
    # There is no XML of what is void, and it is said where one looks for it.
    left_out = next(row for row in index_of(xml) if row["number"] == voided.number)
    assert (left_out["file"], left_out["sha256"]) == ("", "")
    assert "voided" in left_out["missing"]
    assert f"{voided.number}: {left_out['missing']}\n" in xml.read("missing.txt").decode()


def test_an_error_leaves_one_document_out_and_not_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bill(world)
    first, second = Invoice.objects.filter(number__isnull=False).order_by("pk")
    inner = archives.FORMATS["pdf"]

    def make(invoice: Invoice) -> bytes:
        if invoice == first:
            raise RuntimeError("no font")
        return inner.make(invoice)

    monkeypatch.setitem(archives.FORMATS, "pdf", replace(inner, make=make))
    archive = archive_of(world.api, "pdf")
    assert archive.namelist() == [f"invoices/{second.number}.pdf", "index.csv", "missing.txt"]
    assert archive.read("missing.txt").decode() == f"{first.number}: {archives.UNMADE}\n"
    assert [row["missing"] for row in index_of(archive)] == [archives.UNMADE, ""]
    assert first.public_id in caplog.text


def test_it_is_written_as_it_is_read(world: World) -> None:
    bill(world)
    parts = zip_of_year(Year(world.merchant, 2026), kind="pdf")
    assert next(parts).startswith(b"PK")
    assert InvoiceDocument.objects.count() == 1
    assert len(list(parts)) == 3  # the other invoice, the index, the end
    assert InvoiceDocument.objects.count() == 2


def test_a_year_before_zips_can_tell_time_is_written_too(world: World) -> None:
    product = world.product()
    plan = world.plan(product, [world.fee_price(product)])
    clock = world.clock("1971-01-01T00:00:00Z")
    made = world.subscribe(world.customer(), plan, at="1971-01-01T00:00:00Z", clock=clock)
    world.pay(made["payment"]["invoiceId"])
    assert index_of(archive_of(world.api, "pdf", 1971))[0]["issuedOn"] == "1971-01-01"


def test_it_is_for_its_merchant_a_year_with_documents_and_not_all_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bill(world)
    other = make_world()
    path = "/v2/documents/archive"
    assert other.api.get(f"{path}?year=2026&format=pdf", expect=404)["message"] == "Nothing was issued in 2026."
    refused = world.api.get(f"{path}?year=999&format=docx", expect=400)
    assert {error["field"] for error in refused["errors"]} == {"year", "format"}
    monkeypatch.setattr(ratelimit, "wall_now", lambda: at("2026-06-02T00:00:00Z"))
    world.api.call("get", f"{path}?year=2026&format=pdf", expect=200)
    world.api.call("get", f"{path}?year=2026&format=pdf", expect=429)
