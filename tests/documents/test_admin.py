"""Documents in the admin: for whom, and what of."""

import io
import zipfile

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from apps.documents.models import Logo
from apps.documents.services.rendering import get_pdf
from apps.invoicing.models import Invoice
from tests.documents.papers import bill
from tests.documents.test_pdf import png
from tests.test_admin import browser, member
from tests.world import World, make_world

pytestmark = pytest.mark.django_db


def test_an_invoice_is_downloaded_from_its_page(world: World) -> None:
    billed = bill(world)
    invoice = billed.invoice()
    client = browser(member(world, "viewer"))
    page = client.get(reverse("admin:invoicing_invoice_change", args=[invoice.pk])).content.decode()
    address = reverse("admin:documents_invoice_download", args=[invoice.pk, "pdf"])
    assert address in page
    answer = client.get(address)
    assert (answer["Content-Type"], answer.content) == ("application/pdf", get_pdf(invoice))
    assert f"{invoice.number}.pdf" in answer["Content-Disposition"]
    assert "Preview as PDF" in client.get(
        reverse("admin:invoicing_invoice_change", args=[billed.invoice(2).pk])
    ).content.decode()  # fmt: skip
    assert browser(make_world().owner).get(address).status_code == 404
    assert client.get(address.replace("/pdf/", "/docx/")).status_code == 404
    Invoice.objects.filter(pk=billed.invoice(2).pk).update(status="FAILED")
    failed = reverse("admin:documents_invoice_download", args=[billed.invoice(2).pk, "pdf"])
    assert "has no document" in client.get(failed, follow=True).content.decode()


def test_the_documents_of_a_year_come_as_one_file(world: World) -> None:
    billed = bill(world)
    address = reverse("admin:documents_year")
    assert browser(member(world, "viewer")).get(address).status_code == 403
    client = browser(member(world, "finance"))
    assert "Documents of a year" in client.get(address).content.decode()
    asked = {"merchant": world.id, "year": "2026", "format": "pdf"}
    whole = b"".join(client.get(address, asked).streaming_content)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        numbers = [billed.invoice(0).number, billed.invoice(1).number]
        assert archive.namelist() == [*(f"invoices/{number}.pdf" for number in numbers), "index.csv"]
        assert archive.read(f"invoices/{numbers[1]}.pdf") == get_pdf(billed.invoice(1))
    assert b"".join(client.get(address, asked).streaming_content) == whole
    assert "issued nothing in 2025" in client.get(address, {**asked, "year": "2025"}).content.decode()
    for wrong in ({"year": "x"}, {"year": "99999"}, {"format": "exe"}, {"merchant": make_world().id}):
        assert "Choose a merchant" in client.get(address, {**asked, **wrong}).content.decode()


def test_a_logo_is_uploaded_and_taken_off(world: World) -> None:
    client = browser(world.owner)
    address = reverse("admin:documents_logo_add")
    wrong = {"organization": world.merchant.pk, "picture": SimpleUploadedFile("x.png", b"no picture")}
    assert "PNG or a JPEG" in client.post(address, wrong).content.decode()
    sent = {"organization": world.merchant.pk, "picture": SimpleUploadedFile("x.png", png())}
    assert client.post(address, sent).status_code == 302
    logo = Logo.objects.get(is_current=True)
    assert bytes(logo.content) == png()
    page = client.get(reverse("admin:documents_logo_change", args=[logo.pk])).content.decode()
    assert "data:image/png;base64," in page
    assert client.post(f"/admin/documents/logo/{logo.pk}/take-off/", {"_form_submitted": "1"}).status_code == 302
    assert not Logo.objects.filter(is_current=True).exists()
    assert browser(member(world, "finance")).get(address).status_code == 403
