"""Invoices that are voided or written off: what is due, what is never given back twice, and what stays."""

from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.urls import reverse

from apps.invoicing.models import BalanceEntry, Invoice, InvoiceDecision, PaymentSession
from apps.outbox.models import OutboxEvent
from tests.invoicing.test_consolidation import consolidate, documents, own, sold
from tests.test_admin import browser, member
from tests.world import World

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"
WRONG = {"reason": "Wrong customer"}
# What marks a dialog as answered.
SENT = {"_form_submitted": "1"}


@pytest.fixture
def billed(world: World) -> dict[str, Any]:
    """A customer whose first month is paid, and whose second is issued: 49.00 of fee and 2.60 of usage."""
    product = world.product()
    metric = world.metric(product)
    plan = world.plan(product, [world.fee_price(product), world.usage_price(metric)])
    customer, clock = world.customer(), world.clock(JANUARY)
    subscription = world.subscribe(customer, plan, at=JANUARY, clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.send(customer, "2026-01-05T10:00:00Z", tokens=1_300_000)
    world.advance(clock, "2026-02-01T02:00:00Z")
    return {
        "customer": customer,
        "clock": clock,
        "subscription": subscription["id"],
        "zero": subscription["payment"]["invoiceId"],
        "invoice": world.invoices(subscription["id"])[1]["id"],
    }


def act(world: World, invoice: str, what: str, expect: int = 200, **body: Any) -> Any:
    return world.api.post(f"/v2/invoices/{invoice}/{what}", body or WRONG, expect=expect)


def shown(world: World, invoice: str) -> Any:
    return world.api.get(f"/v2/invoices/{invoice}")


def force(rows: Any, status: str) -> None:
    """Write a state past the services, to the end of a transaction."""
    with transaction.atomic():
        rows.update(status=status)
        connection.check_constraints()


def test_a_voided_invoice_keeps_its_number_and_nothing_is_due(world: World, billed: dict[str, Any]) -> None:
    world.api.post(f"/v2/invoices/{billed['invoice']}/payment", {"method": "hosted_link"}, expect=200)
    before = shown(world, billed["invoice"])
    voided = act(world, billed["invoice"], "void")
    assert (voided["status"], voided["invoiceNumber"]) == ("CANCELLED", before["invoiceNumber"])
    assert (voided["grandTotal"], voided["amountDue"], voided["paymentUrl"]) == ("51.60", "0.00", None)
    assert PaymentSession.objects.filter(invoice__public_id=billed["invoice"]).latest("pk").status == "cancelled"
    [decision] = voided["decisions"]
    assert (decision["kind"], decision["amount"], decision["reason"]) == ("void", "51.60", "Wrong customer")
    assert decision["decidedBy"] == world.owner.public_id
    assert OutboxEvent.objects.filter(event_type="invoice.voided.v0").count() == 1
    # Twice is fine, and adds nothing.
    assert act(world, billed["invoice"], "void")["decisions"] == [decision]
    assert OutboxEvent.objects.filter(event_type="invoice.voided.v0").count() == 1
    # The next number follows; neither its usage nor late usage of it is billed again.
    world.send(billed["customer"], "2026-01-06T10:00:00Z", tokens=1_000_000)
    world.advance(billed["clock"], "2026-03-01T02:00:00Z")
    following = world.invoices(billed["subscription"])[2]
    assert following["grandTotal"] == "49.00"
    assert int(following["invoiceNumber"][-6:]) == int(before["invoiceNumber"][-6:]) + 1


def test_what_is_paid_or_open_or_awaited_is_not_voided(world: World, billed: dict[str, Any]) -> None:
    assert act(world, billed["zero"], "void", expect=409)["code"] == "INVOICE_STATE"
    live = world.invoices(billed["subscription"])[2]["id"]
    assert act(world, live, "void", expect=409)["code"] == "INVOICE_STATE"
    product = world.product()
    plan = world.plan(product, [world.fee_price(product)])
    waiting = world.subscribe(world.customer(), plan, at=JANUARY, clock=world.clock(JANUARY))
    for what in ("void", "writeOff"):
        refused = act(world, waiting["payment"]["invoiceId"], what, expect=409)
        assert refused["code"] == "SUBSCRIPTION_WAITS"
    world.api.post(f"/v2/invoices/{billed['invoice']}/void", {"reason": ""}, expect=400)
    world.api.post(f"/v2/invoices/{billed['invoice']}/void", {}, expect=400)
    assert not InvoiceDecision.objects.exists()


def test_ending_a_subscription_that_waits_says_why_its_invoice_is_void(world: World) -> None:
    product = world.product()
    waiting = world.subscribe(
        world.customer(), world.plan(product, [world.fee_price(product)]), at=JANUARY, clock=world.clock(JANUARY)
    )
    world.api.post(f"/v0/subscriptions/{waiting['id']}/termination", {"reason": "Changed their mind"}, expect=200)
    row = Invoice.objects.get(public_id=waiting["payment"]["invoiceId"])
    decision = row.decisions.get()
    assert (row.status, decision.kind, decision.reason) == ("CANCELLED", "void", "Changed their mind")


def test_a_credited_invoice_is_voided_once_its_credits_are(world: World, billed: dict[str, Any]) -> None:
    path = f"/v2/invoices/{billed['invoice']}/creditNotes"
    note = world.api.post(path, {"amount": "10.00", "reason": "x"})
    assert act(world, billed["invoice"], "void", expect=409)["code"] == "INVOICE_CREDITED"
    world.api.post(f"/v2/creditNotes/{note['id']}/void", {}, expect=200)
    assert act(world, billed["invoice"], "void")["status"] == "CANCELLED"
    # Nothing can be given back of it any more.
    assert world.api.post(path, {"reason": "x"}, expect=409)["code"] == "INVOICE_NOT_CREDITABLE"


def test_the_balance_has_back_what_it_paid_of_a_voided_invoice_once(world: World, billed: dict[str, Any]) -> None:
    world.api.post(f"/v2/invoices/{billed['zero']}/creditNotes", {"amount": "20.00", "reason": "x"})
    world.advance(billed["clock"], "2026-03-01T02:00:00Z")
    latest = world.invoices(billed["subscription"])[2]
    assert (latest["balanceApplied"], latest["amountDue"]) == ("20.00", "29.00")
    act(world, latest["id"], "void")
    act(world, latest["id"], "void")
    balance = world.api.get(f"/v0/customers/{billed['customer']}/balance")
    assert balance["balances"] == [{"currency": "USD", "amount": "20.00"}]
    assert BalanceEntry.objects.filter(kind="return").count() == 1
    assert shown(world, latest["id"])["balanceApplied"] == "0.00"


def test_a_corrected_invoice_is_not_voided_so_nothing_is_given_back_twice(
    world: World, billed: dict[str, Any]
) -> None:
    # Usage of January grew; February's bill has the difference, which stands on January's.
    world.send(billed["customer"], "2026-01-07T10:00:00Z", tokens=500_000)
    world.advance(billed["clock"], "2026-03-01T02:00:00Z")
    later = world.invoices(billed["subscription"])[2]
    assert later["grandTotal"] == "50.00"
    refused = act(world, billed["invoice"], "void", expect=409)
    assert (refused["code"], refused["details"]["invoices"]) == ("INVOICE_BUILT_ON", [later["invoiceNumber"]])
    act(world, later["id"], "void")
    assert act(world, billed["invoice"], "void")["status"] == "CANCELLED"


def test_a_fee_that_was_given_back_in_part_is_not_voided(world: World) -> None:
    product = world.product()
    plan = world.plan(product, [world.fee_price(product, "31.00")])
    clock, customer = world.clock(JANUARY), world.customer()
    subscription = world.subscribe(customer, plan, at=JANUARY, clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, "2026-02-01T02:00:00Z")
    issued = world.invoices(subscription["id"])[1]
    world.api.post(f"/v0/subscriptions/{subscription['id']}/pause", expect=200)
    refused = act(world, issued["id"], "void", expect=409)
    assert refused["code"] == "INVOICE_BUILT_ON"


def test_a_coupon_is_used_again_after_a_void(world: World) -> None:
    product = world.product()
    plan = world.plan(product, [world.fee_price(product, "50.00", paymentTerm="in_arrears")])
    customer, clock = world.customer(), world.clock(JANUARY)
    coupon = {"merchantId": world.id, "code": "ONCE", "name": "Once", "percentageOff": "0.1", "duration": "once"}
    world.api.post("/v0/coupons", coupon)
    subscription = world.subscribe(customer, plan, at=JANUARY, clock=clock)
    world.api.post(f"/v0/subscriptions/{subscription['id']}/coupons", {"code": "ONCE"})
    world.advance(clock, "2026-02-01T02:00:00Z")
    first = next(row for row in world.invoices(subscription["id"]) if row["sequenceNumber"] == 1)
    assert first["grandTotal"] == "45.00"
    act(world, first["id"], "void")
    world.advance(clock, "2026-04-01T02:00:00Z")
    totals = {row["sequenceNumber"]: row["grandTotal"] for row in world.invoices(subscription["id"])}
    # The void gave the one use back; the second month has it, the third has none left.
    assert (totals[2], totals[3]) == ("45.00", "50.00")


def test_an_early_bill_that_is_voided_is_billed_with_its_period(world: World) -> None:
    product = world.product()
    plan = world.plan(product, [world.usage_price(world.metric(product), "0.10")])
    customer, clock = world.customer(), world.clock(JANUARY)
    subscription = world.subscribe(customer, plan, at=JANUARY, clock=clock)["id"]
    world.advance(clock, "2026-01-10T00:00:00Z")
    world.send(customer, "2026-01-05T10:00:00Z", tokens=100)
    early = world.api.post(f"/v0/subscriptions/{subscription}/earlyBill", {})
    assert early["grandTotal"] == "10.00"
    act(world, early["id"], "void")
    world.send(customer, "2026-01-15T10:00:00Z", tokens=50)
    world.advance(clock, "2026-02-01T02:00:00Z")
    month = own_bill(world, subscription, 1)
    assert month["grandTotal"] == "15.00"


def own_bill(world: World, subscription: str, number: int) -> Any:
    return next(
        row
        for row in world.invoices(subscription)
        if row["sequenceNumber"] == number and not row["part"] and "members" not in row
    )


def test_a_document_of_several_is_voided_with_its_members(world: World) -> None:
    consolidate(world)
    clock, customer = world.clock(JANUARY), world.customer()
    first = sold(world, "10.00", JANUARY, customer, clock)
    second = sold(world, "20.00", JANUARY, customer, clock)
    world.advance(clock, "2026-02-01T02:00:00Z")
    [document] = documents(world, customer)
    part = own(world, first, 1)
    refused = act(world, part["id"], "void", expect=409)
    assert (refused["code"], refused["details"]["status"]) == ("INVOICE_STATE", "CONSOLIDATED")
    with pytest.raises(DatabaseError):
        force(Invoice.objects.filter(public_id=part["id"]), "CANCELLED")
    voided = act(world, document["id"], "void")
    assert (voided["status"], voided["amountDue"], len(voided["members"])) == ("CANCELLED", "0.00", 2)
    for subscription in (first, second):
        gone = own(world, subscription, 1)
        assert (gone["status"], gone["amountDue"]) == ("CANCELLED", "0.00")
        assert gone["consolidatedInvoiceId"] == document["id"]
    # What the member says now is what its document does.
    assert act(world, part["id"], "void", expect=409)["code"] == "INVOICE_STATE"
    world.advance(clock, "2026-03-01T02:00:00Z")
    assert [row["grandTotal"] for row in documents(world, customer)] == ["30.00", "30.00"]


def test_a_write_off_stands_can_be_paid_and_can_be_reinstated(world: World, billed: dict[str, Any]) -> None:
    written = act(world, billed["invoice"], "writeOff", reason="Insolvent")
    assert (written["status"], written["amountDue"], written["paymentUrl"]) == ("WRITTEN_OFF", "51.60", None)
    assert act(world, billed["invoice"], "writeOff")["decisions"] == written["decisions"]
    assert act(world, billed["invoice"], "void", expect=409)["code"] == "INVOICE_STATE"
    link = world.api.post(f"/v2/invoices/{billed['invoice']}/payment", {"method": "hosted_link"}, expect=422)
    assert link["code"] == "INVOICE_NOT_LINKABLE_STATUS"
    back = act(world, billed["invoice"], "reinstatement", reason="Pays after all")
    assert (back["status"], back["amountDue"]) == ("ISSUED", "51.60")
    assert act(world, billed["invoice"], "reinstatement", expect=409)["code"] == "INVOICE_STATE"
    act(world, billed["invoice"], "writeOff", reason="Again")
    world.pay(billed["invoice"])
    paid = shown(world, billed["invoice"])
    assert (paid["status"], paid["paidAmount"]) == ("PAID", "51.60")
    assert [row["kind"] for row in paid["decisions"]] == ["write_off", "reinstate", "write_off"]
    kinds = OutboxEvent.objects.filter(event_type__in=["invoice.written_off.v0", "invoice.reinstated.v0"])
    assert kinds.count() == 3


def test_a_credit_note_of_a_written_off_invoice_can_be_taken_back(world: World, billed: dict[str, Any]) -> None:
    path = f"/v2/invoices/{billed['invoice']}/creditNotes"
    note = world.api.post(path, {"reason": "Outage", "amount": "9.00"})
    assert act(world, billed["invoice"], "writeOff")["amountDue"] == "42.60"
    world.api.post(f"/v2/creditNotes/{note['id']}/void", {}, expect=200)
    given_up = shown(world, billed["invoice"])
    assert (given_up["status"], given_up["amountDue"]) == ("WRITTEN_OFF", "51.60")
    world.pay(billed["invoice"])
    assert shown(world, billed["invoice"])["paidAmount"] == "51.60"


def test_the_database_holds_the_ends(world: World, billed: dict[str, Any]) -> None:
    rows = Invoice.objects.filter(public_id=billed["invoice"])
    # Not without a reason.
    for status in ("CANCELLED", "WRITTEN_OFF"):
        with pytest.raises(IntegrityError):
            force(rows, status)
    act(world, billed["invoice"], "void")
    for status in ("ISSUED", "PAID", "WRITTEN_OFF"):
        with pytest.raises(DatabaseError), transaction.atomic():
            rows.update(status=status)
    with pytest.raises(IntegrityError), transaction.atomic():
        rows.update(paid_amount=1)
    with pytest.raises(DatabaseError), transaction.atomic():
        InvoiceDecision.objects.update(reason="Another")
    with pytest.raises(DatabaseError), transaction.atomic():
        Invoice.objects.filter(public_id=billed["zero"]).update(status="WRITTEN_OFF")


def test_the_admin_voids_writes_off_and_says_who(world: World, billed: dict[str, Any]) -> None:
    staff = member(world, "finance")
    client = browser(staff)
    row = Invoice.objects.get(public_id=billed["invoice"])
    page = reverse("admin:invoicing_invoice_change", args=[row.pk])
    written = client.post(
        reverse("admin:invoicing_invoice_write_off", args=[row.pk]), {"reason": "Insolvent", **SENT}, follow=True
    )
    assert "51.60" in written.content.decode()
    row.refresh_from_db()
    assert (row.status, row.decisions.get().decided_by) == ("WRITTEN_OFF", staff.email)
    shown_page = client.get(page).content.decode()
    assert "Written off" in shown_page
    assert "Insolvent" in shown_page
    client.post(reverse("admin:invoicing_invoice_reinstate", args=[row.pk]), {"reason": "Pays", **SENT})
    client.post(reverse("admin:invoicing_invoice_void", args=[row.pk]), {"reason": "Wrong", **SENT})
    row.refresh_from_db()
    assert row.status == "CANCELLED"
    # Who may only look does not.
    looking = browser(member(world, "viewer"))
    answer = looking.post(reverse("admin:invoicing_invoice_void", args=[row.pk]), {"reason": "x", **SENT})
    assert answer.status_code == 403
