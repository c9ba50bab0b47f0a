"""Credit notes over the API: what is given back, where it goes, and what stays as it was."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, ProgrammingError, transaction

from apps.invoicing.models import BalanceEntry, CreditNote, CreditNoteLine, CustomerBalance, Invoice, PaymentSession
from apps.outbox.models import OutboxEvent
from apps.subscriptions.models import Subscription
from tests.world import World

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"
D = Decimal


@pytest.fixture
def billed(world: World) -> dict[str, Any]:
    """A customer with 20 % tax: Invoice 0 of 49.00 + 9.80, and a clock."""
    product, other = world.product(), world.product()
    plan = world.plan(product, [world.fee_price(product), world.usage_price(world.metric(product))])
    customer = world.customer(taxRates={"default": 20})
    clock = world.clock(JANUARY)
    subscription = world.subscribe(customer, plan, at=JANUARY, clock=clock)
    return {
        "customer": customer,
        "clock": clock,
        # A customer has one subscription of a product.
        "other_plan": world.plan(other, [world.fee_price(other)]),
        "subscription": subscription["id"],
        "invoice": subscription["payment"]["invoiceId"],
        "session": subscription["payment"]["paymentSessionId"],
    }


def credit(world: World, invoice: str, expect: int = 201, **body: Any) -> Any:
    return world.api.post(f"/v2/invoices/{invoice}/creditNotes", {"reason": "Outage", **body}, expect=expect)


def preview(world: World, invoice: str, expect: int = 200, **body: Any) -> Any:
    return world.api.post(f"/v2/invoices/{invoice}/creditNotes/preview", body, expect=expect)


def invoice_of(world: World, public_id: str) -> Any:
    return world.api.get(f"/v2/invoices/{public_id}")


def balance(world: World, customer: str) -> dict[str, str]:
    found = world.api.get(f"/v0/customers/{customer}/balance")
    return {row["currency"]: row["amount"] for row in found["balances"]}


def test_crediting_an_unpaid_invoice_reduces_what_is_due(world: World, billed: dict[str, Any]) -> None:
    planned = preview(world, billed["invoice"], amount="12.00")
    assert (planned["subtotal"], planned["totalTax"], planned["dueAfter"]) == ("10.00", "2.00", "46.80")
    assert not CreditNote.objects.exists()
    note = credit(world, billed["invoice"], amount="12.00")
    assert note["creditNoteNumber"] == "INV-CN-2026-000001"
    assert {name: note[name] for name in ("subtotal", "totalTax", "total")} == {
        "subtotal": "10.00", "totalTax": "2.00", "total": "12.00",
    }  # fmt: skip
    assert (note["dueAmount"], note["balanceAmount"], note["refundAmount"]) == ("12.00", "0.00", "0.00")
    assert note["lines"][0]["taxRate"] == "20"
    shown = invoice_of(world, billed["invoice"])
    assert (shown["grandTotal"], shown["creditedAmount"], shown["amountDue"]) == ("58.80", "12.00", "46.80")
    assert shown["status"] == "ISSUED"
    # The payment page asks for what is due now, and pays it.
    assert PaymentSession.objects.get(public_id=billed["session"]).amount == D("46.80")
    assert world.api.client.post(f"/checkout/{billed['session']}").status_code == 302
    paid = invoice_of(world, billed["invoice"])
    assert (paid["status"], paid["paidAmount"], paid["unpaidAmount"]) == ("PAID", "46.80", "0.00")


def test_a_whole_credit_settles_an_unpaid_invoice(world: World, billed: dict[str, Any]) -> None:
    note = credit(world, billed["invoice"])
    assert (note["total"], note["dueAmount"]) == ("58.80", "58.80")
    shown = invoice_of(world, billed["invoice"])
    assert (shown["status"], shown["paidAmount"], shown["amountDue"]) == ("PAID", "0.00", "0.00")
    assert PaymentSession.objects.get(public_id=billed["session"]).status == "cancelled"
    # What waited for it goes on, as after a payment.
    assert Subscription.objects.get(public_id=billed["subscription"]).status == "active"
    assert balance(world, billed["customer"]) == {}
    again = credit(world, billed["invoice"], expect=409)
    assert again["code"] == "INVOICE_CREDITED"


def test_a_paid_invoice_is_credited_to_the_balance_which_pays_the_next(world: World, billed: dict[str, Any]) -> None:
    world.pay(billed["invoice"])
    first = credit(world, billed["invoice"], amount="12.00")
    second = credit(world, billed["invoice"], amount="24.00")
    assert (first["balanceAmount"], second["balanceAmount"]) == ("12.00", "24.00")
    assert balance(world, billed["customer"]) == {"USD": "36.00"}
    world.advance(billed["clock"], "2026-02-01T02:00:00Z")
    issued = world.invoices(billed["subscription"])[1]
    assert (issued["grandTotal"], issued["balanceApplied"], issued["amountDue"]) == ("58.80", "36.00", "22.80")
    assert (issued["status"], issued["paidAmount"]) == ("ISSUED", "0.00")
    assert balance(world, billed["customer"]) == {"USD": "0.00"}
    entries = world.api.get(f"/v0/customers/{billed['customer']}/balance")["data"]
    assert [(row["kind"], row["amount"], row["creditNoteId"]) for row in entries] == [
        ("use", "-24.00", second["id"]),
        ("use", "-12.00", first["id"]),
        ("credit", "24.00", second["id"]),
        ("credit", "12.00", first["id"]),
    ]
    world.pay(issued["id"])
    assert invoice_of(world, issued["id"])["paidAmount"] == "22.80"


def test_a_balance_pays_a_whole_invoice_and_the_next_in_part(world: World, billed: dict[str, Any]) -> None:
    world.pay(billed["invoice"])
    credit(world, billed["invoice"])
    # Another subscription of the same customer: its Invoice 0 is paid by the balance, so it is active at once.
    other = world.subscribe(billed["customer"], billed["other_plan"], at=JANUARY, clock=billed["clock"])
    assert other["status"] == "active"
    zero = world.invoices(other["id"])[0]
    assert (zero["status"], zero["balanceApplied"], zero["paidAmount"]) == ("PAID", "58.80", "0.00")
    assert Invoice.objects.get(public_id=zero["id"]).settlement_note == "Paid from the customer's balance"
    # What the balance paid goes back to it when that is credited, never out as money.
    note = credit(world, zero["id"], amount="10.00", destination="refund")
    assert (note["balanceAmount"], note["refundAmount"]) == ("10.00", "0.00")


def test_a_preview_says_what_the_balance_would_pay_and_leaves_it(world: World, billed: dict[str, Any]) -> None:
    world.pay(billed["invoice"])
    credit(world, billed["invoice"], amount="12.00")
    body = {"name": "S", "planId": billed["other_plan"], "customerId": billed["customer"], "startedAt": JANUARY,
            "testClockId": billed["clock"]}  # fmt: skip
    planned = world.api.post("/v0/subscriptions/preview", body, expect=200)
    assert (planned["opening"]["total"], planned["dueToday"]) == ("58.80", "46.80")
    assert balance(world, billed["customer"]) == {"USD": "12.00"}
    assert BalanceEntry.objects.count() == 1


def test_a_refund_is_pending_until_it_is_recorded(world: World, billed: dict[str, Any]) -> None:
    world.pay(billed["invoice"])
    note = credit(world, billed["invoice"], amount="12.00", destination="refund")
    assert (note["refundAmount"], note["refundStatus"], note["balanceAmount"]) == ("12.00", "pending", "0.00")
    done = world.api.post(f"/v2/creditNotes/{note['id']}/refund", {"reference": "SEPA 1"}, expect=200)
    assert (done["refundStatus"], done["refundReference"]) == ("paid_out", "SEPA 1")
    again = world.api.post(f"/v2/creditNotes/{note['id']}/refund", {"reference": "SEPA 2"}, expect=200)
    assert again["refundReference"] == "SEPA 1"
    refused = world.api.post(f"/v2/creditNotes/{note['id']}/void", {}, expect=409)
    assert refused["code"] == "CREDIT_NOTE_REFUNDED"
    kept = credit(world, billed["invoice"], amount="1.20")
    assert world.api.post(f"/v2/creditNotes/{kept['id']}/refund", {"reference": "x"}, expect=409)["code"] == (
        "CREDIT_NOTE_HAS_NO_REFUND"
    )


def test_voiding_undoes_what_nothing_came_of(world: World, billed: dict[str, Any]) -> None:
    note = credit(world, billed["invoice"], amount="12.00")
    void = world.api.post(f"/v2/creditNotes/{note['id']}/void", {"reason": "Mistake"}, expect=200)
    assert (void["status"], void["voidReason"]) == ("VOIDED", "Mistake")
    assert world.api.post(f"/v2/creditNotes/{note['id']}/void", {}, expect=200)["voidReason"] == "Mistake"
    assert invoice_of(world, billed["invoice"])["amountDue"] == "58.80"
    assert PaymentSession.objects.get(public_id=billed["session"]).amount == D("58.80")
    # The whole can be credited again; its number is another one.
    world.pay(billed["invoice"])
    kept = credit(world, billed["invoice"])
    assert (kept["creditNoteNumber"], kept["total"]) == ("INV-CN-2026-000002", "58.80")
    world.api.post(f"/v2/creditNotes/{kept['id']}/void", {}, expect=200)
    assert balance(world, billed["customer"]) == {"USD": "0.00"}


def test_a_used_credit_cannot_be_voided(world: World, billed: dict[str, Any]) -> None:
    world.pay(billed["invoice"])
    note = credit(world, billed["invoice"], amount="12.00")
    world.advance(billed["clock"], "2026-02-01T02:00:00Z")
    refused = world.api.post(f"/v2/creditNotes/{note['id']}/void", {}, expect=409)
    assert refused["code"] == "CREDIT_NOTE_USED"
    issued = world.invoices(billed["subscription"])[1]
    settling = credit(world, issued["id"])
    assert settling["dueAmount"] == "46.80"
    # What the balance had paid of it goes back to the balance.
    assert (settling["balanceAmount"], settling["total"]) == ("12.00", "58.80")
    assert world.api.post(f"/v2/creditNotes/{settling['id']}/void", {}, expect=409)["code"] == "CREDIT_NOTE_USED"


def test_a_cancelled_invoice_gives_the_balance_back(world: World, billed: dict[str, Any]) -> None:
    world.pay(billed["invoice"])
    credit(world, billed["invoice"], amount="12.00")
    waiting = world.subscribe(billed["customer"], billed["other_plan"], at=JANUARY, clock=billed["clock"])
    assert waiting["payment"]["amount"] == "46.80"
    assert balance(world, billed["customer"]) == {"USD": "0.00"}
    world.api.post(f"/v0/subscriptions/{waiting['id']}/termination", {"reason": "no"}, expect=200)
    shown = invoice_of(world, waiting["payment"]["invoiceId"])
    assert (shown["status"], shown["balanceApplied"]) == ("CANCELLED", "0.00")
    assert balance(world, billed["customer"]) == {"USD": "12.00"}


def test_lines_are_credited_without_tax_and_at_most_once(world: World, billed: dict[str, Any]) -> None:
    [line] = world.lines(billed["invoice"])
    note = credit(world, billed["invoice"], lines=[{"lineId": line["id"], "amount": "40.00"}])
    assert (note["subtotal"], note["totalTax"]) == ("40.00", "8.00")
    refused = credit(world, billed["invoice"], expect=400, lines=[{"lineId": line["id"], "amount": "9.01"}])
    assert "$9.00" in refused["message"]
    rest = credit(world, billed["invoice"], lines=[{"lineId": line["id"], "amount": "9.00"}])
    assert (rest["totalTax"], rest["dueAmount"]) == ("1.80", "10.80")
    listed = world.api.get(f"/v2/creditNotes?invoiceId={billed['invoice']}")
    assert [row["id"] for row in listed["data"]] == [rest["id"], note["id"]]
    assert world.api.get(f"/v2/creditNotes/{note['id']}") == listed["data"][1]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"amount": "58.81"}, "At most $58.80"),
        ({"amount": "0"}, "above 0"),
        ({"amount": "1.005"}, "whole minor units"),
        ({"amount": "1", "lines": []}, "not both"),
        ({"lines": []}, "at least one line"),
        ({"lines": [{"lineId": "li_x", "amount": "1"}]}, "no charge li_x"),
        ({"lines": [{"lineId": "a", "amount": "1"}, {"lineId": "a", "amount": "1"}]}, "once"),
        ({"destination": "elsewhere"}, ""),
        ({"reason": ""}, ""),
    ],
)
def test_wrong_requests_say_what_is_wrong(
    world: World, billed: dict[str, Any], body: dict[str, Any], words: str
) -> None:
    refused = credit(world, billed["invoice"], expect=400, **body)
    assert words in json.dumps(refused, ensure_ascii=False)
    assert not CreditNote.objects.exists()


def test_an_open_invoice_cannot_be_credited(world: World, billed: dict[str, Any]) -> None:
    world.pay(billed["invoice"])
    opened = world.invoices(billed["subscription"])[1]
    assert credit(world, opened["id"], expect=409)["code"] == "INVOICE_NOT_CREDITABLE"
    assert preview(world, opened["id"], expect=409)["code"] == "INVOICE_NOT_CREDITABLE"


def test_a_repeated_key_credits_once(world: World, billed: dict[str, Any]) -> None:
    body = {"reason": "Outage", "amount": "5.00"}
    path = f"/v2/invoices/{billed['invoice']}/creditNotes"
    first = world.api.post(path, body, **{"Idempotency-Key": "k1"})
    assert world.api.post(path, body, **{"Idempotency-Key": "k1"}) == first
    assert CreditNote.objects.count() == 1


def test_the_contract_refunds_a_paid_invoice_once(world: World, billed: dict[str, Any]) -> None:
    path = f"/v2/invoices/{billed['invoice']}/refunds"
    assert world.api.post(path, {}, expect=400)["code"] == "INVOICE_NOT_PAID"
    world.pay(billed["invoice"])
    made = world.api.post(path, {"reason": "Goodwill"})
    assert (made["amount"], made["taxAmount"], made["total"]) == ("49.00", "9.80", "58.80")
    assert world.api.post(path, {}, expect=400)["code"] == "INVOICE_CREDITED"
    assert invoice_of(world, billed["invoice"])["status"] == "PAID"
    assert world.api.get(path)["data"] == [made]
    void = world.api.post(f"{path}/{made['id']}/void", {}, expect=200)
    assert void["status"] == "VOIDED"
    assert world.api.post(path, {})["total"] == "58.80"


def test_what_happened_is_announced(world: World, billed: dict[str, Any]) -> None:
    world.pay(billed["invoice"])
    note = credit(world, billed["invoice"], amount="12.00")
    [issued] = OutboxEvent.objects.filter(event_type="credit_note.issued.v0")
    assert issued.payload["creditNoteNumber"] == note["creditNoteNumber"]
    assert issued.payload["balanceAmount"] == "12"
    world.advance(billed["clock"], "2026-02-01T02:00:00Z")
    kinds = OutboxEvent.objects.filter(event_type="customer_balance.changed.v0").order_by("pk")
    assert [row.payload["kind"] for row in kinds] == ["credit", "use"]


def test_the_database_keeps_credit_notes_as_they_are(world: World, billed: dict[str, Any]) -> None:
    world.pay(billed["invoice"])
    credit(world, billed["invoice"], amount="12.00")
    refusals = [
        lambda: CreditNote.objects.update(total=1),
        lambda: CreditNote.objects.update(number="X"),
        lambda: CreditNote.objects.all()._raw_delete("default"),
        lambda: CreditNoteLine.objects.update(subtotal=1),
        lambda: CreditNoteLine.objects.all().delete(),
        lambda: BalanceEntry.objects.update(amount=1),
        lambda: BalanceEntry.objects.all().delete(),
        lambda: CustomerBalance.objects.update(amount=1000),
        lambda: CustomerBalance.objects.all().delete(),
    ]
    for refused in refusals:
        with pytest.raises(ProgrammingError), transaction.atomic():
            refused()


def test_the_database_never_lets_credits_exceed(world: World, billed: dict[str, Any]) -> None:
    world.pay(billed["invoice"])
    credit(world, billed["invoice"], amount="58.00")
    note, line = CreditNote.objects.get(), CreditNoteLine.objects.get()
    entry = BalanceEntry.objects.get()

    def another_note() -> None:
        note.pk, note.public_id, note.number = None, "", "X"
        note.save(force_insert=True)

    def more_of_the_line() -> None:
        line.pk, line.public_id = None, ""
        line.save(force_insert=True)

    def below_zero() -> None:
        BalanceEntry.objects.create(
            organization=world.merchant, customer=entry.customer, currency="USD", kind="void", amount=D("-58.01"),
            credit_note=entry.credit_note, source=BalanceEntry.objects.get(), occurred_at=entry.occurred_at,
        )  # fmt: skip

    for refused in (another_note, more_of_the_line, below_zero):
        with pytest.raises(IntegrityError), transaction.atomic():
            refused()
    assert CustomerBalance.objects.get().amount == 58
