"""Documents that several ask for at the same moment, and invoices that are issued meanwhile."""

import pgtrigger
import pytest

from apps.documents.models import CreditNoteDocument, InvoiceDocument, InvoiceParties, Logo, PartyFacts
from apps.documents.services.credits import get_credit_document
from apps.documents.services.einvoices import get_facturx
from apps.documents.services.logos import set_logo
from apps.documents.services.rendering import get_pdf
from apps.invoicing.models import CreditNote
from tests.concurrency import at_once
from tests.documents.papers import bill, equip
from tests.documents.test_pdf import png
from tests.world import make_world

pytestmark = pytest.mark.django_db(transaction=True)


def test_all_get_the_same_bytes_and_one_copy_is_kept() -> None:
    world = make_world()
    equip(world)
    invoice = bill(world, defaultTaxRate=20).invoice()
    with pgtrigger.ignore("documents.InvoiceParties:parties_never_change"):
        InvoiceParties.objects.filter(invoice=invoice).delete()
    made = at_once([lambda: get_pdf(invoice)] * 6 + [lambda: get_facturx(invoice)] * 2)
    assert len(set(made)) == 2
    assert InvoiceParties.objects.filter(invoice=invoice).count() == 1
    assert InvoiceDocument.objects.filter(invoice=invoice).count() == 2
    assert PartyFacts.objects.count() == 2


def test_a_credit_note_is_kept_once_whoever_asks() -> None:
    world = make_world()
    equip(world)
    invoice = bill(world, defaultTaxRate=20).invoice()
    world.api.post(f"/v2/invoices/{invoice.public_id}/creditNotes", {"amount": "12.00", "reason": "x"})
    note = CreditNote.objects.get()
    made = at_once([lambda: get_credit_document(note, "pdf")] * 4 + [lambda: get_credit_document(note, "cii")] * 2)
    assert len(set(made)) == 2
    assert CreditNoteDocument.objects.count() == 2


def test_pictures_put_at_once_leave_one_in_use() -> None:
    world = make_world()
    pictures = [png(side, side) for side in (1, 2, 3, 1)]
    at_once([lambda picture=picture: set_logo(organization=world.merchant, content=picture) for picture in pictures])
    assert Logo.objects.count() == 3
    assert Logo.objects.filter(is_current=True).count() == 1
