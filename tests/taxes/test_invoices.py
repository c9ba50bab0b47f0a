"""Invoices of merchants that are registered for tax: each line by its jurisdiction and its day, and why."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.invoicing.models import CreditNoteLine, Invoice, InvoiceLine
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.targets import target_lines
from apps.taxes.models import TaxTreatment
from tests.documents.rules import problems
from tests.taxes.merchants import (
    FEBRUARY,
    FRENCH_ID,
    GERMAN_ID,
    JANUARY,
    billed,
    customer_in,
    plan_of,
    rate,
    register,
    settle_in_berlin,
    settle_in_montreal,
    taxes,
)
from tests.test_admin import browser
from tests.world import World

pytestmark = pytest.mark.django_db


def invoice_of(world: World, public_id: str) -> Any:
    return world.api.get(f"/v2/invoices/{public_id}")


def ubl(world: World, invoice: str) -> bytes:
    answer = world.api.call("get", f"/v2/invoices/{invoice}/eInvoice?format=ubl", expect=200)
    return bytes(answer.content)


def test_a_business_abroad_owes_its_tax_and_a_customer_at_home_pays_it(world: World) -> None:
    settle_in_berlin(world)
    plan = plan_of(world)
    abroad = billed(world, customer_in(world, "FR", taxId=FRENCH_ID), plan)
    assert taxes(world, abroad) == [("AE", None, "0", "51.00", "0.00")]
    assert invoice_of(world, abroad)["totalTax"] == "0.00"
    [decision] = {tuple(sorted((k, str(v)) for k, v in line["tax"].items())) for line in world.lines(abroad)}
    said = dict(decision)
    assert (said["basis"], said["reasonCode"]) == ("eu_business", "VATEX-EU-AE")
    assert (said["customerTaxId"], said["merchantTaxId"]) == (FRENCH_ID, GERMAN_ID)
    home = billed(world, customer_in(world, "DE"), plan)
    # 19 % of 51.00.
    assert taxes(world, home) == [("S", "VAT", "19", "51.00", "9.69")]
    assert invoice_of(world, home)["grandTotal"] == "60.69"
    for one in (abroad, home):
        assert problems(ubl(world, one), "ubl") == []
        cii = world.api.call("get", f"/v2/invoices/{one}/eInvoice?format=cii", expect=200).content
        assert problems(bytes(cii), "cii") == []
        assert world.api.call("get", f"/v2/invoices/{one}/eInvoice?format=facturx", expect=200).content.startswith(
            b"%PDF"
        )


def test_where_the_merchant_is_not_registered_nothing_is_subject_to_tax(world: World) -> None:
    settle_in_berlin(world)
    there = billed(world, customer_in(world, "US", state="OR", zipCode="97204"))
    assert taxes(world, there) == [("O", None, "0", "51.00", "0.00")]
    made = ubl(world, there)
    assert problems(made, "ubl") == []
    assert b"VATEX-EU-O" in made
    assert GERMAN_ID.encode() not in made


def test_two_taxes_are_added_up_and_each_is_told(world: World) -> None:
    settle_in_montreal(world)
    plan = plan_of(world)
    invoice = billed(world, customer_in(world, "CA", state="QC", zipCode="H2Y 1C6"), plan)
    # 5 % of 51.00 and 9.975 % of it, each rounded once.
    assert taxes(world, invoice) == [("S", "GST", "5", "51.00", "2.55"), ("S", "QST", "9.975", "51.00", "5.09")]
    assert invoice_of(world, invoice)["totalTax"] == "7.64"
    lines = InvoiceLine.objects.filter(invoice__public_id=invoice)
    assert [line.tax_rate for line in lines] == [Decimal("14.975")] * 2
    assert all(sum(line.tax_parts or [], Decimal(0)) == line.tax_amount for line in lines)
    # One decision, kept once however many lines it is of.
    assert TaxTreatment.objects.filter(organization=world.merchant).count() == 1
    # And the taxes of the next province are its own.
    elsewhere = billed(world, customer_in(world, "CA", state="AB", zipCode="T2P"), plan)
    assert taxes(world, elsewhere) == [("S", "GST", "5", "51.00", "2.55")]


def test_inclusive_prices_contain_both_taxes(world: World) -> None:
    settle_in_montreal(world)
    customer = customer_in(world, "CA", state="QC", zipCode="H2Y")
    invoice = billed(world, customer, plan_of(world, taxBehavior="inclusive"))
    found = invoice_of(world, invoice)
    # 51.00 ÷ 1.14975 = 44.36; the 6.64 are shared out as 5 to 9.975.
    assert (found["subtotal"], found["totalTax"], found["grandTotal"]) == ("44.36", "6.64", "51.00")
    assert taxes(world, invoice) == [("S", "GST", "5", "44.36", "2.22"), ("S", "QST", "9.975", "44.36", "4.42")]


@pytest.mark.parametrize(("currency", "fee", "total"), [("JPY", "4900", "734"), ("KWD", "49.125", "7.356")])
def test_currencies_with_no_and_three_digits(world: World, currency: str, fee: str, total: str) -> None:
    settle_in_montreal(world)
    customer = customer_in(world, "CA", state="QC", zipCode="H2Y")
    invoice = billed(world, customer, plan_of(world, fee, currency=currency), tokens=0)
    parts = [Decimal(row[4]) for row in taxes(world, invoice)]
    found = invoice_of(world, invoice)
    assert sum(parts) == Decimal(found["totalTax"]) == Decimal(total)
    net = Decimal(found["subtotal"])
    unit = Decimal(1) if currency == "JPY" else Decimal("0.001")
    assert parts == [(net * p / 100).quantize(unit, "ROUND_HALF_UP") for p in (Decimal(5), Decimal("9.975"))]


def test_usage_is_taxed_as_its_period_ends_and_fees_as_theirs_begin(world: World) -> None:
    settle_in_berlin(world)
    old = world.api.get("/v0/taxRates")["data"][0]["id"]
    world.api.patch(f"/v0/taxRates/{old}", {"validTo": "2026-02-01"})
    rate(world, country="DE", name="VAT", percent="16", validFrom="2026-02-01")
    invoice = billed(world, customer_in(world, "DE"))
    assert sorted(taxes(world, invoice)) == [
        ("S", "VAT", "16", "49.00", "7.84"),  # February's fee
        ("S", "VAT", "19", "2.00", "0.38"),  # January's usage
    ]
    assert problems(ubl(world, invoice), "ubl") == []


def test_a_product_category_has_its_own_rate(world: World) -> None:
    settle_in_berlin(world)
    world.api.post("/v0/taxCategories", {"code": "ebook", "name": "Books"})
    rate(world, country="DE", name="VAT", percent="7", kind="reduced", category="ebook")
    invoice = billed(world, customer_in(world, "DE"), plan_of(world, defaultTaxCode="ebook"))
    assert taxes(world, invoice) == [("S", "VAT", "7", "51.00", "3.57")]
    # A fee that names a category is taxed by that one, whatever the plan says.
    fee = world.api.get(f"/v0/fees?merchantId={world.id}")["data"][0]["id"]
    world.api.patch(f"/v0/fees/{fee}", {"taxCode": "saas"})
    live = world.invoices(world.api.get(f"/v0/subscriptions?merchantId={world.id}")["data"][0]["id"])[-1]
    assert live["status"] == "ACTIVE"
    assert ("S", "VAT", "19", "49.00", "9.31") in taxes(world, live["id"])


def test_an_exempt_customer_says_why(world: World) -> None:
    settle_in_berlin(world)
    customer = customer_in(world, "DE")
    world.api.post(
        "/v0/taxExemptions", {"customerId": customer, "country": "DE", "certificate": "17/4", "reason": "§ 4 UStG"}
    )
    invoice = billed(world, customer)
    assert taxes(world, invoice) == [("E", None, "0", "51.00", "0.00")]
    made = ubl(world, invoice)
    assert problems(made, "ubl") == []
    assert "§ 4 UStG (certificate 17/4)".encode() in made


def test_the_open_period_shows_what_will_be_stored(world: World) -> None:
    settle_in_montreal(world)
    customer = customer_in(world, "CA", state="QC", zipCode="H2Y")
    product = world.product()
    plan = world.plan(product, [world.fee_price(product), world.usage_price(world.metric(product))])
    clock = world.clock(JANUARY)
    subscription = world.subscribe(customer, plan, at=JANUARY, clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.send(customer, "2026-01-10T00:00:00Z", tokens=1_000_000)
    world.advance(clock, "2026-01-20T00:00:00Z")
    world.api.post("/v2/invoices/lineItems", {
        "subscriptionId": subscription["id"], "displayName": "Help", "currency": "USD", "quantity": 1,
        "unitPrice": 10.01,
    })  # fmt: skip
    live = world.invoices(subscription["id"])[1]
    shown = taxes(world, live["id"])
    projected = world.api.get(f"/v2/invoices/projected?subscriptionId={subscription['id']}")["data"][0]
    world.advance(clock, FEBRUARY)
    assert taxes(world, live["id"]) == shown
    issued = invoice_of(world, live["id"])
    assert (issued["totalTax"], issued["grandTotal"]) == (live["totalTax"], live["grandTotal"])
    # The fee and the help, without usage: 59.01 at 5 and 9.975 %.
    assert projected["totalTax"] == "8.84"


def test_previews_and_simulations_are_taxed_in_the_same_way(world: World) -> None:
    settle_in_montreal(world)
    customer = customer_in(world, "CA", state="QC", zipCode="H2Y")
    plan, clock = plan_of(world), world.clock(JANUARY)
    body = {"name": "Sub", "planId": plan, "customerId": customer, "startedAt": JANUARY, "testClockId": clock}
    found = world.api.post("/v0/subscriptions/preview", body, expect=200)
    # 49.00 with 2.45 and 4.89.
    assert (found["opening"]["tax"], found["dueToday"]) == ("7.34", "56.34")
    assert not TaxTreatment.objects.exists()
    asked = {"planId": plan, "customerIds": [customer], "from": JANUARY, "to": "2026-02-01T00:00:00Z"}
    [bill] = world.api.post("/v0/simulations", asked, expect=200)["bills"]
    assert (bill["subtotal"], bill["tax"]) == ("49.00", "7.34")
    # Of nobody in particular, at the merchant's own place.
    span = {"from": JANUARY, "to": "2026-02-01T00:00:00Z"}
    [nobody] = world.api.post("/v0/simulations", {"planId": plan, "usage": [], **span}, expect=200)["bills"]
    assert nobody["tax"] == "7.34"


def test_a_credit_note_gives_back_each_tax(world: World) -> None:
    settle_in_montreal(world)
    invoice = billed(world, customer_in(world, "CA", state="QC", zipCode="H2Y"))
    world.api.post(f"/v2/invoices/{invoice}/creditNotes", {"reason": "x", "amount": "10.00"})
    world.api.post(f"/v2/invoices/{invoice}/creditNotes", {"reason": "rest"})
    found = [line.tax_parts or [] for line in CreditNoteLine.objects.filter(credit_note__invoice__public_id=invoice)]
    assert [sum(column) for column in zip(*found, strict=True)] == [Decimal("2.55"), Decimal("5.09")]
    noted = world.api.get("/v2/creditNotes")["data"]
    parts = [tax for one in noted for line in one["lines"] for tax in line["taxes"]]
    assert sum(Decimal(tax["amount"]) for tax in parts if tax["name"] == "QST") == Decimal("5.09")
    note = noted[0]["id"]
    assert world.api.call("get", f"/v2/creditNotes/{note}/pdf", expect=200).content.startswith(b"%PDF")


def test_unused_prepaid_time_is_given_back_with_the_tax_it_was_billed_with(world: World) -> None:
    settle_in_berlin(world)
    customer = customer_in(world, "DE")
    product = world.product()
    plan = world.plan(product, [world.fee_price(product, "31.00")])
    clock = world.clock(JANUARY)
    subscription = world.subscribe(customer, plan, at=JANUARY, clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    old = world.api.get("/v0/taxRates")["data"][0]["id"]
    # A mistake in the rate is corrected after the fee was billed with it.
    world.api.patch(f"/v0/taxRates/{old}", {"percent": "16"})
    world.api.post(f"/v0/subscriptions/{subscription['id']}/pause", {}, expect=200)
    world.advance(clock, "2026-01-11T00:00:00Z")
    world.api.post(f"/v0/subscriptions/{subscription['id']}/resume", {}, expect=200)
    live = world.invoices(subscription["id"])[1]
    [credit] = [line for line in world.lines(live["id"]) if line["lineItemType"] == "refund"]
    assert credit["tax"]["taxes"][0]["percent"] == "19"
    world.advance(clock, FEBRUARY)
    [stored] = InvoiceLine.objects.filter(invoice__public_id=live["id"], gross__lt=0)
    assert stored.tax_treatment is not None
    assert (stored.tax_rate, stored.tax_treatment.rate) == (19, 19)


def test_a_credit_that_waits_on_an_open_invoice_has_both_taxes(world: World) -> None:
    settle_in_montreal(world)
    product = world.product()
    plan, clock = world.plan(product, [world.fee_price(product, "31.00")]), world.clock(JANUARY)
    customer = customer_in(world, "CA", state="QC", zipCode="H2Y")
    subscription = world.subscribe(customer, plan, at=JANUARY, clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.api.post(f"/v0/subscriptions/{subscription['id']}/pause", {}, expect=200)
    world.advance(clock, "2026-01-11T00:00:00Z")
    world.api.post(f"/v0/subscriptions/{subscription['id']}/resume", {}, expect=200)
    waiting = InvoiceLine.objects.get(invoice__status="ACTIVE", kind="adjustment")
    page = reverse("admin:invoicing_invoiceline_change", args=[waiting.pk])
    assert b"QST" in browser(world.owner).get(page).content
    items = world.api.get(f"/v2/invoices/lineItems?subscriptionId={subscription['id']}")["data"]
    assert any(len(item["tax"]["taxes"]) == 2 for item in items)
    live = world.invoices(subscription["id"])[1]["id"]
    [shown] = [line for line in world.lines(live) if line["lineItemType"] == "refund"]
    # 10 of 31 days: 10.00 with 0.50 and 1.00 back.
    assert (shown["totalPrice"], [tax["name"] for tax in shown["tax"]["taxes"]]) == ("-10.00", ["GST", "QST"])
    paper = browser(world.owner).get(reverse("admin:invoicing_invoice_change", args=[waiting.invoice_id])).content
    assert b"CA-QC QST 9.975 %" in paper


def test_what_a_pause_left_of_a_fee_is_credited_with_its_part_of_both_taxes(world: World) -> None:
    settle_in_montreal(world)
    product = world.product()
    plan, clock = world.plan(product, [world.fee_price(product, "31.00")]), world.clock(JANUARY)
    subscription = world.subscribe(customer_in(world, "CA", state="QC", zipCode="H2Y"), plan, at=JANUARY, clock=clock)
    first = subscription["payment"]["invoiceId"]
    world.pay(first)
    world.advance(clock, "2026-01-11T00:00:00Z")
    # 21 of 31 days are given back on the open invoice.
    world.api.post(f"/v0/subscriptions/{subscription['id']}/pause", {}, expect=200)
    planned = world.api.post(f"/v2/invoices/{first}/creditNotes/preview", {}, expect=200)
    note = world.api.post(f"/v2/invoices/{first}/creditNotes", {"reason": "x"})
    # 5 % and 9.975 % of 10.00 are 0.50 and 1.00.
    for said in (planned, note):
        [line] = said["lines"]
        assert (line["subtotal"], line["tax"]) == ("10.00", "1.50")
        assert [(tax["name"], tax["amount"]) for tax in line["taxes"]] == [("GST", "0.50"), ("QST", "1.00")]


def test_issued_decisions_and_parts_are_frozen(world: World) -> None:
    settle_in_montreal(world)
    invoice = billed(world, customer_in(world, "CA", state="QC", zipCode="H2Y"))
    before = taxes(world, invoice)
    for row in world.api.get("/v0/taxRates")["data"]:
        world.api.patch(f"/v0/taxRates/{row['id']}", {"percent": "1"})
    assert taxes(world, invoice) == before
    kept, owner = TaxTreatment.objects.get(), browser(world.owner)
    assert b"Taxed in CA-QC" in owner.get(reverse("admin:taxes_taxtreatment_changelist")).content
    page = owner.get(reverse("admin:taxes_taxtreatment_change", args=[kept.pk]))
    assert b"GST CA 5 %, QST CA-QC 9.975 %" in page.content
    line = InvoiceLine.objects.filter(invoice__public_id=invoice)[0]
    # Changes that nothing else refuses.
    for change in ("tax_treatment_id = NULL, tax_parts = NULL", "tax_parts = NULL"):
        with pytest.raises(Exception, match="never change"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE invoicing_invoiceline SET {change} WHERE id = %s", [line.pk])
    with pytest.raises(Exception, match="treatment_never_changes"), transaction.atomic():
        TaxTreatment.objects.update(category="Z")


def test_the_taxes_of_a_line_must_add_up(world: World) -> None:
    settle_in_montreal(world)
    billed(world, customer_in(world, "CA", state="QC", zipCode="H2Y"))
    line = InvoiceLine.objects.exclude(tax_parts=None)[0]
    open_invoice = Invoice.objects.get(status="ACTIVE")
    wrong = InvoiceLine(
        organization_id=line.organization_id, invoice=open_invoice, kind="manual", reference="x", display_name="x",
        currency="USD", period_start=line.period_start, period_end=line.period_end, quantity=1, unit_price=1, gross=1,
        subtotal=1, tax_amount=Decimal("0.15"), total=Decimal("1.15"), tax_treatment=line.tax_treatment,
        tax_parts=[Decimal("0.05"), Decimal("0.09")],
    )  # fmt: skip
    with pytest.raises(IntegrityError, match="line_taxes_add_up"), transaction.atomic():
        wrong.save()


@pytest.mark.parametrize(
    ("amounts", "total"),
    [("{0.05,0.09}", "0.14"), ("{-1.5,NULL,0.25}", "-1.25"), ("{{1,2},{3,4}}", "10"), ("{}", "0"), ("{NULL}", "0")],
)
def test_constraints_add_up_what_an_array_holds(amounts: str, total: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT invoicing_sum(%s::numeric[])", [amounts])
        assert cursor.fetchone() == (Decimal(total),)


def test_merchants_without_a_registration_are_taxed_as_before(world: World) -> None:
    invoice = billed(world, world.customer(taxRates={"default": 20}))
    assert taxes(world, invoice) == [(None, "Tax", "20", "51.00", "10.20")]
    assert {line["tax"] for line in world.lines(invoice)} == {None}
    assert not InvoiceLine.objects.exclude(tax_treatment=None).exists()


def test_the_rules_are_read_once_for_all_invoices(world: World) -> None:
    settle_in_montreal(world)
    product = world.product()
    plan = world.plan(product, [world.fee_price(product), world.usage_price(world.metric(product))])
    clock = world.clock(JANUARY)
    for number in range(4):
        customer = customer_in(world, "CA", state="QC", zipCode="H2Y", externalId=f"c{number}")
        subscription = world.subscribe(customer, plan, at=JANUARY, clock=clock)
        world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, "2026-01-02T00:00:00Z")
    asked = []
    for count in (1, 4):
        invoices = list(with_neighbours(Invoice.objects.filter(status="ACTIVE"))[:count])
        assert len(invoices) == count
        with CaptureQueriesContext(connection) as queries:
            lines = target_lines(invoices, as_of=None)
        assert all(line.treatment is not None for rows in lines.values() for line in rows)
        asked.append(len([query for query in queries if "taxes_" in str(query["sql"])]))
    # Registrations, rates, categories and exemptions; nothing is stored already whose decision would be read.
    assert asked == [4, 4]


def test_a_document_of_several_has_the_taxes_of_all(world: World) -> None:
    settle_in_berlin(world)
    register(world, country="FR", taxId=FRENCH_ID, businesses="charged")
    rate(world, country="FR", name="VAT", percent="20")
    customer = customer_in(world, "FR", taxId=FRENCH_ID)
    world.api.patch(f"/v0/customers/{customer}", {"consolidateInvoices": True})
    clock = world.clock(JANUARY)
    for fee in ("10.01", "20.02"):
        product = world.product()
        plan = world.plan(product, [world.fee_price(product, fee)])
        subscription = world.subscribe(customer, plan, at=JANUARY, clock=clock)
        world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, FEBRUARY)
    document = Invoice.objects.get(has_members=True)
    # Each member rounds its own: 2.00 and 4.00.
    assert taxes(world, document.public_id) == [("S", "VAT", "20", "30.03", "6.00")]
    made = ubl(world, document.public_id)
    assert problems(made, "ubl") == []
    # The id of the registration that the tax was collected under.
    assert made.index(FRENCH_ID.encode()) < made.index(b"AccountingCustomerParty")
