"""Invoices of one customer issued as one document: what is on it, and what is not."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.urls import reverse

from apps.invoicing.models import Invoice, InvoiceLine, NumberSeries
from apps.invoicing.selectors.targets import target_lines
from apps.invoicing.services import issuing
from apps.invoicing.services.issuing import calculate_or_set_aside
from apps.invoicing.services.lifecycle import run_calculations
from apps.kernel.time import parse_instant
from apps.organizations.models import Organization
from apps.outbox.models import OutboxEvent
from apps.subscriptions.models import Subscription, TestClock
from tests.test_admin import browser, member
from tests.world import World, make_world

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


def consolidate(world: World) -> None:
    url = f"/v0/organizations/{world.id}/invoiceSettings"
    assert world.api.patch(url, {"consolidateInvoices": True}) == {"consolidateInvoices": True}


def sold(world: World, fee: str, at: str, customer: str, clock: str, **terms: Any) -> str:
    """Subscribe a customer to a product of its own for a fee in arrears."""
    product = world.product()
    plan = {name: terms.pop(name) for name in ("defaultTaxRate", "taxBehavior", "currency") if name in terms}
    offered = world.plan(product, [world.fee_price(product, fee, paymentTerm="in_arrears")], **plan)
    return str(world.subscribe(customer, offered, at=at, clock=clock, **terms)["id"])


def sold_usage(world: World, customer: str, clock: str) -> str:
    """Subscribe a customer to usage at 0.10."""
    product = world.product()
    offered = world.plan(product, [world.usage_price(world.metric(product), "0.10")])
    return str(world.subscribe(customer, offered, at=JANUARY, clock=clock)["id"])


def own(world: World, subscription: str, number: int) -> dict[str, Any]:
    """Give the invoice of a subscription's period."""
    found = [row for row in world.invoices(subscription) if "members" not in row and row["sequenceNumber"] == number]
    assert len(found) == 1
    return found[0]


def documents(world: World, customer: str) -> list[dict[str, Any]]:
    """Give what a customer has in hand, the oldest first."""
    rows = world.api.get(f"/v2/invoices?customerId={customer}&limit=100")["data"]
    return sorted((row for row in rows if row["invoiceNumber"]), key=lambda row: str(row["invoiceNumber"]))


def test_two_of_three_subscriptions_share_a_document(world: World) -> None:
    consolidate(world)
    clock, customer = world.clock(JANUARY), world.customer()
    first = sold(world, "10.01", JANUARY, customer, clock, defaultTaxRate=19)
    second = sold(world, "20.02", JANUARY, customer, clock, defaultTaxRate=7)
    third = sold(world, "40.00", "2026-01-15T00:00:00Z", customer, clock)
    world.advance(clock, "2026-02-20T00:00:00Z")
    made = documents(world, customer)
    assert [(row["status"], row["subtotal"], row["totalTax"], row["grandTotal"]) for row in made] == [
        ("ISSUED", "30.03", "3.30", "33.33"), ("ISSUED", "40.00", "0.00", "40.00"),
    ]  # fmt: skip
    document, alone = made
    assert [row["invoiceNumber"][-6:] for row in made] == ["000001", "000002"]
    assert alone["subscriptionId"] == third
    # One document at its own boundary's grace; the other boundary neither waits nor is waited for.
    assert (document["issuedAt"], alone["issuedAt"]) == ("2026-02-01T01:00:00Z", "2026-02-15T01:00:00Z")
    parts = {
        row["subscriptionId"]: (row["subtotal"], row["totalTax"], row["grandTotal"]) for row in document["members"]
    }
    assert parts == {first: ("10.01", "1.90", "11.91"), second: ("20.02", "1.40", "21.42")}
    for subscription in (first, second):
        part = own(world, subscription, 1)
        assert (part["status"], part["invoiceNumber"], part["dueAt"]) == ("CONSOLIDATED", None, None)
        assert (part["consolidatedInvoiceId"], part["unpaidAmount"]) == (document["id"], "0.00")
        # Whoever asks for the bills of a subscription also finds the document.
        assert document["id"] in {row["id"] for row in world.invoices(subscription)}
    assert document["id"] not in {row["id"] for row in world.invoices(third)}
    lines = world.lines(document["id"])
    assert [(line["subscriptionId"], line["totalAmount"]) for line in lines] == [(first, "11.91"), (second, "21.42")]
    ledger = world.api.get(f"/v2/invoices/lineItems?invoiceId={document['id']}")
    assert [(line["subscriptionId"], line["status"]) for line in ledger["data"]] == [
        (first, "invoiced"), (second, "invoiced"),
    ]  # fmt: skip
    assert len(world.api.get(f"/v2/invoices/lineItems?subscriptionId={first}&status=invoiced")["data"]) == 1
    told = Counter(OutboxEvent.objects.values_list("event_type", flat=True))
    assert (told["invoice.consolidated.v0"], told["invoice.issued.v0"]) == (2, 2)


def test_a_document_is_paid_once_and_its_members_never(world: World) -> None:
    consolidate(world)
    clock, customer = world.clock(JANUARY), world.customer()
    parts = [sold(world, fee, JANUARY, customer, clock) for fee in ("10.00", "20.00")]
    world.advance(clock, "2026-02-02T00:00:00Z")
    (document,) = documents(world, customer)
    part = own(world, parts[0], 1)
    refused = world.api.post(f"/v2/invoices/{part['id']}/payment", {"method": "out_of_band"}, expect=409)
    assert "consolidatedInvoiceId" in refused["message"]
    world.api.post(f"/v2/invoices/{part['id']}/payment", {"method": "hosted_link"}, expect=422)
    link = world.api.post(f"/v2/invoices/{document['id']}/payment", {"method": "hosted_link"}, expect=200)
    assert link["invoice"]["unpaidAmount"] == "30.00"
    assert "several subscriptions" in world.api.client.get(f"/checkout/{link['paymentSessionId']}").content.decode()
    assert world.api.client.post(f"/checkout/{link['paymentSessionId']}").status_code == 302
    paid = documents(world, customer)[0]
    assert (paid["status"], paid["paidAmount"], paid["unpaidAmount"]) == ("PAID", "30.00", "0.00")
    assert own(world, parts[0], 1)["status"] == "CONSOLIDATED"
    told = Counter(OutboxEvent.objects.values_list("event_type", flat=True))
    assert told["invoice.paid.v0"] == 1


def test_a_document_is_credited_whole_and_by_the_lines_of_its_members(world: World) -> None:
    consolidate(world)
    clock, customer = world.clock(JANUARY), world.customer()
    parts = [sold(world, "10.00", JANUARY, customer, clock, defaultTaxRate=19)]
    parts.append(sold(world, "20.00", JANUARY, customer, clock, defaultTaxRate=7))
    world.advance(clock, "2026-02-02T00:00:00Z")
    (document,) = documents(world, customer)
    assert document["grandTotal"] == "33.30"
    url = f"/v2/invoices/{document['id']}/creditNotes"
    lines = world.lines(document["id"])
    first = world.api.post(url, {"reason": "x", "lines": [{"lineId": lines[1]["id"], "amount": "5.00"}]}, expect=201)
    assert (first["subtotal"], first["totalTax"], first["total"]) == ("5.00", "0.35", "5.35")
    rest = world.api.post(url, {"reason": "y"}, expect=201)
    assert (rest["subtotal"], rest["totalTax"], rest["total"]) == ("25.00", "2.95", "27.95")
    assert world.api.post(url, {"reason": "z"}, expect=409)["code"] == "INVOICE_CREDITED"
    (settled,) = documents(world, customer)
    assert (settled["status"], settled["creditedAmount"], settled["unpaidAmount"]) == ("PAID", "33.30", "0.00")
    member = own(world, parts[0], 1)["id"]
    refused = world.api.post(f"/v2/invoices/{member}/creditNotes", {"reason": "x"}, expect=409)
    assert refused["code"] == "INVOICE_NOT_CREDITABLE"


def test_nothing_to_pay_in_sum_is_settled_at_once(world: World) -> None:
    consolidate(world)
    clock, customer = world.clock(JANUARY), world.customer()
    for _ in range(2):
        sold(world, "0", JANUARY, customer, clock)
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert [row["status"] for row in documents(world, customer)] == ["PAID"]


def test_only_what_has_the_same_terms_shares_a_document(world: World) -> None:
    consolidate(world)
    clock, customer = world.clock(JANUARY), world.customer()
    sold(world, "1.00", JANUARY, customer, clock)
    sold(world, "2.00", JANUARY, customer, clock)
    sold(world, "4.00", JANUARY, customer, clock, currency="EUR")
    sold(world, "8.00", JANUARY, customer, clock, paymentTermDays=14)
    sold(world, "16.00", JANUARY, customer, clock, taxBehavior="inclusive")
    sold(world, "32.00", JANUARY, customer, clock, taxExempt=True)
    sold(world, "64.00", JANUARY, world.customer(), clock)
    draft = sold(world, "128.00", JANUARY, customer, clock)
    Invoice.objects.filter(subscription__public_id=draft).update(auto_approve=False)
    world.advance(clock, "2026-02-02T00:00:00Z")
    shown = sorted(Decimal(row["grandTotal"]) for row in documents(world, customer))
    assert shown == [Decimal(amount) for amount in ("3.00", "4.00", "8.00", "16.00", "32.00")]
    assert own(world, draft, 1)["status"] == "DRAFT"


def test_the_customers_wish_comes_before_the_merchants_and_holds_from_then_on(world: World) -> None:
    clock, customer = world.clock(JANUARY), world.customer()
    for fee in ("1.00", "2.00"):
        sold(world, fee, JANUARY, customer, clock)
    assert world.api.get(f"/v0/customers/{customer}")["consolidateInvoices"] is None
    for month, wish, count in (("02", None, 2), ("03", True, 3), ("04", False, 5), ("05", None, 6)):
        if month == "05":
            consolidate(world)
        changed = world.api.patch(f"/v0/customers/{customer}", {"consolidateInvoices": wish})
        assert changed["consolidateInvoices"] is wish
        world.advance(clock, f"2026-{month}-02T00:00:00Z")
        assert len(documents(world, customer)) == count
    assert [row["grandTotal"] for row in documents(world, customer)] == [
        "1.00", "2.00", "3.00", "1.00", "2.00", "3.00",
    ]  # fmt: skip


def test_late_usage_of_a_member_comes_on_the_next_document(world: World) -> None:
    consolidate(world)
    clock, customer = world.clock(JANUARY), world.customer()
    metered = sold_usage(world, customer, clock)
    flat = sold(world, "5.00", JANUARY, customer, clock)
    world.send(customer, "2026-01-05T00:00:00Z", tokens=100)
    world.advance(clock, "2026-02-02T00:00:00Z")
    world.send(customer, "2026-01-06T00:00:00Z", tokens=50)
    world.send(customer, "2026-02-03T00:00:00Z", tokens=7)
    world.advance(clock, "2026-03-02T00:00:00Z")
    january, february = documents(world, customer)
    assert (january["grandTotal"], february["grandTotal"]) == ("15.00", "10.70")
    late = [line for line in world.lines(february["id"]) if line["isLate"]]
    assert [(line["subscriptionId"], line["totalPrice"]) for line in late] == [(metered, "5.00")]
    assert own(world, metered, 2)["grandTotal"] == "5.70"
    assert own(world, flat, 2)["grandTotal"] == "5.00"


def test_a_member_that_fails_is_left_out_and_issued_alone_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    consolidate(world)
    clock, customer = world.clock(JANUARY), world.customer()
    good = [sold(world, fee, JANUARY, customer, clock) for fee in ("1.00", "2.00")]
    bad = sold(world, "4.00", JANUARY, customer, clock)
    other = sold(world, "8.00", JANUARY, world.customer(), clock)
    row = Invoice.objects.get(subscription__public_id=bad)

    def lines_of_others(invoices: Sequence[Invoice], **rest: Any) -> Any:
        if any(invoice.pk == row.pk for invoice in invoices):
            raise RuntimeError("no such price")
        return target_lines(invoices, **rest)

    # A coupon of the customer is used by one of the members, although they are calculated one by one.
    made = world.api.post(
        "/v0/coupons",
        {
            "merchantId": world.id,
            "name": "Start",
            "code": "START",
            "duration": "once",
            "amountOff": "0.50",
            "currency": "USD",
        },
    )
    assert made["code"] == "START"
    world.api.post(f"/v0/customers/{customer}/coupons", {"code": "START"})
    with monkeypatch.context() as broken:
        broken.setattr(issuing, "target_lines", lines_of_others)
        world.advance(clock, "2026-02-02T00:00:00Z")
    assert [row["grandTotal"] for row in documents(world, customer)] == ["2.50"]
    failed = own(world, bad, 1)
    assert (failed["status"], failed["consolidatedInvoiceId"]) == ("FAILED", None)
    assert own(world, other, 1)["status"] == "ISSUED"
    assert {own(world, subscription, 1)["status"] for subscription in good} == {"CONSOLIDATED"}
    issuing.retry_failed(invoice_id=row.pk, as_of=parse_instant("2026-02-02T00:00:00Z"))
    world.advance(clock, "2026-02-03T00:00:00Z")
    assert [row["grandTotal"] for row in documents(world, customer)] == ["2.50", "4.00"]
    numbers = NumberSeries.objects.get(organization=world.merchant).last_number
    assert numbers == Invoice.objects.filter(number__isnull=False).count() == 3


def test_what_cannot_be_issued_together_is_issued_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    consolidate(world)
    clock, customer = world.clock(JANUARY), world.customer()
    for fee in ("1.00", "2.00"):
        sold(world, fee, JANUARY, customer, clock)
    keepers = list(issuing._keepers)

    def refuse(invoices: Any) -> None:
        if any(invoice.has_members for invoice in invoices):
            raise RuntimeError("no document of several")

    monkeypatch.setattr(issuing, "_keepers", [*keepers, refuse])
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert [row["grandTotal"] for row in documents(world, customer)] == ["1.00", "2.00"]


def test_members_are_not_parted_by_the_size_of_a_group(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    consolidate(world)
    clock = world.clock(JANUARY)
    customers = [world.customer() for _ in range(2)]
    for fee in ("1.00", "2.00", "4.00"):
        for customer in customers:
            sold(world, fee, JANUARY, customer, clock)
    monkeypatch.setattr("apps.invoicing.services.lifecycle.GROUP", 2)
    monkeypatch.setattr("apps.invoicing.services.lifecycle.CHUNK", 1)
    world.advance(clock, "2026-02-02T00:00:00Z")
    for customer in customers:
        assert [row["grandTotal"] for row in documents(world, customer)] == ["7.00"]


def test_the_job_that_runs_again_changes_nothing(world: World) -> None:
    consolidate(world)
    clock, customer = world.clock(JANUARY), world.customer()
    for fee in ("1.00", "2.00"):
        sold(world, fee, JANUARY, customer, clock)
    ids = list(Invoice.objects.values_list("pk", flat=True))
    world.advance(clock, "2026-02-02T00:00:00Z")
    before = list(Invoice.objects.order_by("pk").values())
    moment = parse_instant("2026-02-02T00:00:00Z")
    assert run_calculations(TestClock.objects.get().pk, moment) == 0
    assert calculate_or_set_aside(invoice_ids=ids, as_of=moment) == 0
    assert list(Invoice.objects.order_by("pk").values()) == before


def test_documents_and_members_refuse_change(world: World) -> None:
    consolidate(world)
    clock, customer = world.clock(JANUARY), world.customer()
    for fee in ("1.00", "2.00"):
        sold(world, fee, JANUARY, customer, clock)
    stray = sold(world, "4.00", JANUARY, world.customer(), clock)
    world.advance(clock, "2026-02-02T00:00:00Z")
    document = Invoice.objects.get(has_members=True)
    part, other = document.members.order_by("pk")
    alone = Invoice.objects.get(subscription__public_id=stray, sequence_number=2)
    one, line = Invoice.objects.filter(pk=part.pk), InvoiceLine.objects.get(invoice=part)
    attempts = [
        lambda: one.update(consolidated_into=None, status="ISSUED"),
        lambda: one.update(subtotal=9, grand_total=9),
        lambda: one.update(consolidated_into=other),
        lambda: one._raw_delete("default"),
        lambda: InvoiceLine.objects.filter(pk=line.pk).update(total=1, subtotal=1),
        lambda: InvoiceLine.objects.filter(pk=line.pk).delete(),
        lambda: InvoiceLine.objects.filter(pk=line.pk).update(invoice=document),
        lambda: Invoice.objects.filter(pk=document.pk).update(has_members=False),
        lambda: Invoice.objects.filter(pk=alone.pk).update(
            consolidated_into=document, status="CONSOLIDATED", issued_at=document.issued_at
        ),
    ]
    for attempt in attempts:
        with pytest.raises(DatabaseError, match=r"Cannot|never change|violates check"), transaction.atomic():
            attempt()
    # A document without the sum of its members cannot be committed.
    wrong = Invoice.objects.get(pk=document.pk)
    wrong.pk, wrong.public_id, wrong.number = None, "inv_wrong", "X-1"
    wrong._state.adding = True
    wrong.save(force_insert=True)
    with pytest.raises(DatabaseError, match="their sum"), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_staff_find_documents_and_members(world: World) -> None:
    consolidate(world)
    clock, customer = world.clock(JANUARY), world.customer()
    for name, fee in (("East", "1.00"), ("West", "2.00")):
        subscription = sold(world, fee, JANUARY, customer, clock)
        Subscription.objects.filter(public_id=subscription).update(name=name)
    world.advance(clock, "2026-02-02T00:00:00Z")
    document = Invoice.objects.get(has_members=True)
    part = document.members.order_by("pk")[0]
    client = browser(member(world, "finance"))
    listed = reverse("admin:invoicing_invoice_changelist")
    counts = {
        kind: client.get(listed, {"consolidation": kind}).context["cl"].result_count
        for kind in ("documents", "several", "members")
    }
    assert counts == {"documents": 3, "several": 1, "members": 2}
    page = client.get(reverse("admin:invoicing_invoice_change", args=[document.pk])).content.decode()
    assert "East, period 1" in page
    assert "West" in page
    assert "3.00" in page
    of_part = reverse("admin:invoicing_invoice_change", args=[part.pk])
    assert of_part in page
    shown = client.get(of_part).content.decode()
    assert "On invoice <a" in shown
    assert str(document.number) in shown
    assert "Settle out of band" not in shown
    assert "Settle out of band" in page
    settings = reverse("admin:organizations_organization_change", args=[world.merchant.pk])
    assert 'name="consolidate_invoices"' in browser(world.owner).get(settings).content.decode()
    row = Organization.objects.get(pk=world.merchant.pk)
    assert row.consolidate_invoices


def test_another_merchants_setting_is_not_there(world: World) -> None:
    other = make_world()
    url = f"/v0/organizations/{other.id}/invoiceSettings"
    world.api.get(url, expect=404)
    world.api.patch(url, {"consolidateInvoices": True}, expect=404)
    world.api.patch(f"/v0/organizations/{world.id}/invoiceSettings", {"consolidateInvoices": "maybe"}, expect=400)


def test_what_one_of_a_document_is_below_zero_is_off_what_the_others_can_be_credited(world: World) -> None:
    consolidate(world)
    clock, customer = world.clock(JANUARY), world.customer()
    first = sold(world, "10.00", JANUARY, customer, clock, defaultTaxRate=20)
    sold(world, "100.00", JANUARY, customer, clock, defaultTaxRate=20)
    given = {"displayName": "Goodwill", "currency": "USD", "quantity": "1", "unitPrice": "-40.00"}
    world.api.post("/v2/invoices/lineItems", {**given, "subscriptionId": first})
    world.advance(clock, "2026-02-02T00:00:00Z")
    [document] = documents(world, customer)
    assert (document["subtotal"], document["totalTax"], document["grandTotal"]) == ("70.00", "14.00", "84.00")
    path = f"/v2/invoices/{document['id']}/creditNotes"
    assert "$84.00 is left" in world.api.post(path, {"reason": "x", "amount": "84.01"}, expect=400)["message"]
    part = world.api.post(path, {"reason": "x", "amount": "12.00"})
    assert (part["subtotal"], part["totalTax"]) == ("10.00", "2.00")
    rest = world.api.post(path, {"reason": "x"})
    assert (rest["subtotal"], rest["totalTax"], rest["dueAmount"]) == ("60.00", "12.00", "72.00")
    assert world.api.post(path, {"reason": "x"}, expect=409)["code"] == "INVOICE_CREDITED"
