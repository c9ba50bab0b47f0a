"""Documents of several invoices have the lines of all, and add up."""

from decimal import Decimal

import pytest

from apps.documents.models import InvoiceParties
from apps.documents.services.archives import Year
from apps.documents.services.einvoices import get_cii, get_ubl
from apps.documents.services.rendering import get_pdf
from apps.invoicing.models import Invoice
from apps.invoicing.selectors.invoices import with_neighbours
from apps.kernel.errors import ConflictError
from tests.documents.papers import equip, text_of
from tests.documents.rules import problems
from tests.invoicing.test_consolidation import JANUARY, consolidate, sold
from tests.world import World

pytestmark = pytest.mark.django_db


def issued_together(world: World, *sales: tuple[str, str, int]) -> Invoice:
    """Issue January of subscriptions, each of a name, a fee and a tax rate, as one document."""
    equip(world)
    consolidate(world)
    clock, customer = world.clock(JANUARY), world.customer(taxId="FR40303265045")
    for name, fee, rate in sales:
        terms = {"currency": "EUR", "defaultTaxRate": rate, "paymentTermDays": 14, "name": name}
        sold(world, fee, JANUARY, customer, clock, **terms)
    world.advance(clock, "2026-02-02T00:00:00Z")
    return with_neighbours(Invoice.objects.filter(has_members=True)).get()


def test_the_pdf_names_each_subscription_with_its_lines(world: World) -> None:
    document = issued_together(world, ("East office", "10.01", 20), ("West office", "20.02", 10))
    text = text_of(get_pdf(document))
    for said in (str(document.number), "East office", "West office", "10.01", "20.02", "30.03", "4.00", "34.03"):
        assert said in text
    assert "2026-02-15" in text
    assert get_pdf(document) == get_pdf(document)
    assert InvoiceParties.objects.filter(invoice=document).count() == 1


def test_e_invoices_obey_the_rules_though_each_member_rounds_its_tax(world: World) -> None:
    # 3 × 0.03 at 19 % is 0.03 of tax member by member, 0.02 of the sum.
    document = issued_together(world, *[(f"Office {number}", "0.03", 19) for number in range(3)], ("Far", "49.00", 7))
    assert (document.subtotal, document.total_tax) == (Decimal("49.09"), Decimal("3.46"))
    for syntax, made in (("cii", get_cii(document)), ("ubl", get_ubl(document))):
        assert problems(made, syntax) == []
        assert b"Office 2" in made


def test_a_member_has_no_document_of_its_own(world: World) -> None:
    document = issued_together(world, ("East", "1.00", 20), ("West", "2.00", 20))
    member = with_neighbours(document.members.all())[0]
    for make in (get_pdf, get_ubl):
        with pytest.raises(ConflictError, match=str(document.number)):
            make(member)
    world.api.get(f"/v2/invoices/{member.public_id}/pdf", expect=409)
    assert list(Year(world.merchant, 2026).invoices) == [document]
