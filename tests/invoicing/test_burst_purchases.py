"""Bursts that are bought: an invoice that raises how much may run at once when it is paid in time."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client

from apps.entitlements.models import SlotBurst
from apps.invoicing.models import Invoice, InvoiceDecision, PaymentSession, Purchase
from apps.invoicing.services.buying import PurchaseTerms, purchase_burst
from apps.kernel.errors import ConflictError
from apps.kernel.time import parse_instant
from apps.outbox.models import OutboxEvent
from apps.rating.reading import recompute
from tests.entitlements.kit import MILLION, START, Kit
from tests.invoicing.test_purchases import page_of, run_to_its_end, settle_constraints
from tests.recomputing import _issued_is_recomputed  # noqa: F401 - a fixture
from tests.world import make_world

END = "2026-01-20T00:00:00Z"
ORDER: dict[str, Any] = {"slots": 4, "price": "10.00", "endsAt": END, "idempotencyKey": "k"}


@pytest.fixture
def kit(db: None) -> Kit:
    return Kit.make(make_world())


class Deal:
    """A subscriber to two deployments at once, who can be sold more for a time."""

    def __init__(self, kit: Kit, **plan: Any) -> None:
        self.kit, self.api = kit, kit.world.api
        self.feature = kit.feature("deploys", "static")
        self.customer, self.subscription, self.clock = kit.subscriber([self.price(2)], **plan)
        self.right = str(kit.right(self.customer)["entitlementId"])

    def price(self, slots: int) -> str:
        attached = {"featureId": self.feature, "entitlementTemplate": {"slots": slots}}
        return self.kit.world.fee_price(self.kit.product, "0.00", feature=attached)

    def buy(self, expect: int = 201, **terms: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.api.post(f"{self.path}/purchase", {**ORDER, **terms}, expect=expect)
        return found

    @property
    def path(self) -> str:
        return f"/v1/entitlements/{self.right}/bursts"

    @property
    def bursts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get(self.path)["data"]
        return found

    @property
    def limit(self) -> int:
        right = self.kit.right(self.customer)["entitlementId"]
        return int(self.api.get(f"/v1/entitlements/{right}/slots")["limit"])

    def advance(self, to: str) -> None:
        self.kit.world.advance(self.clock, to)

    def set_clock(self, to: str) -> None:
        """Let it be later, without the work that this makes due."""
        clock = Invoice.objects.filter(is_purchase=True)[0].subscription.test_clock
        assert clock is not None
        clock.current_time = clock.target_time = parse_instant(to)
        clock.save()

    def invoice(self, sold: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"/v2/invoices/{sold['invoiceId']}")
        return found

    def pay(self, sold: dict[str, Any], expect: int = 200) -> dict[str, Any]:
        body = {"method": "out_of_band"}
        found: dict[str, Any] = self.api.post(f"/v2/invoices/{sold['invoiceId']}/payment", body, expect=expect)
        return found

    def terminate(self) -> None:
        self.api.post(f"/v0/subscriptions/{self.subscription}/termination", {"reason": "gone"}, expect=200)


def test_a_purchase_is_an_issued_invoice_and_no_burst_yet(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy(startsAt="2026-01-02T00:00:00Z")
    asked = ("object", "status", "entitlementId", "burstId", "slots", "startsAt", "endsAt", "price", "unitPrice")
    assert {name: sold[name] for name in asked} == {
        "object": "burst_purchase", "status": "open", "entitlementId": deal.right, "burstId": None, "slots": 4,
        "startsAt": "2026-01-02T00:00:00Z", "endsAt": END, "price": "10.00", "unitPrice": "2.5",
    }  # fmt: skip
    # Nobody can pay for what is over.
    assert sold["paymentExpiresAt"] == END
    (page,) = sold["paymentSessions"]
    assert (page["amount"], page["expiresAt"]) == (1000, END)
    invoice = deal.invoice(sold)
    assert (invoice["status"], invoice["grandTotal"], invoice["burstPurchase"]["id"]) == (
        "ISSUED", "10.00", sold["id"],
    )  # fmt: skip
    assert "grantPurchase" not in invoice
    (line,) = kit.world.lines(sold["invoiceId"])
    assert (line["invoiceDisplayName"], line["totalPrice"]) == ("deploys: 4 more slots", "10.00")
    assert recompute(line["provenance"]) == Decimal("10.00")
    assert line["provenance"]["sources"]["price"]["type"] == "burstPurchase"
    assert (deal.bursts, deal.limit) == ([], 2)
    settle_constraints()


def test_paying_on_the_page_makes_the_burst_once(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy(successUrl="https://shop.test/done", cancelUrl="https://shop.test/no")
    deal.advance("2026-01-03T00:00:00Z")
    shown = Client().get(page_of(sold)).content.decode()
    assert "deploys: 4 more slots" in shown
    assert "https://shop.test/no" in shown
    answer = Client().post(page_of(sold))
    assert (answer.status_code, answer["Location"]) == (302, "https://shop.test/done")
    (burst,) = deal.bursts
    names = ("slots", "startsAt", "endsAt", "price", "unitPrice", "currency", "invoiceId")
    assert {name: burst[name] for name in names} == {
        "slots": 4, "startsAt": "2026-01-03T00:00:00Z", "endsAt": END, "price": "10.00", "unitPrice": "2.5",
        "currency": "usd", "invoiceId": sold["invoiceId"],
    }  # fmt: skip
    assert deal.limit == 6
    invoice = deal.invoice(sold)
    assert (invoice["status"], invoice["burstPurchase"]["burstId"]) == ("PAID", burst["id"])
    paid = OutboxEvent.objects.get(event_type="invoice.paid.v0", object_id=sold["invoiceId"])
    assert (paid.payload["slotBurstId"], paid.payload["grantId"]) == (burst["id"], None)
    created = OutboxEvent.objects.get(event_type="slot_burst.created.v0", object_id=burst["id"])
    assert (created.payload["slots"], created.payload["customerId"]) == (4, deal.customer)
    assert deal.pay(sold, expect=409)["code"] == "INVOICE_PAID"
    Client().post(page_of(sold))
    assert len(deal.bursts) == 1
    settle_constraints()
    deal.advance(END)
    assert deal.limit == 2


@pytest.mark.parametrize(
    ("paid_at", "starts_at"),
    [
        (START, "2026-01-05T00:00:00Z"),
        ("2026-01-05T00:00:00Z", "2026-01-05T00:00:00Z"),
        ("2026-01-08T00:00:00Z", "2026-01-08T00:00:00Z"),
    ],
)
def test_what_is_paid_when_it_has_begun_holds_from_then_on(kit: Kit, paid_at: str, starts_at: str) -> None:
    deal = Deal(kit)
    sold = deal.buy(startsAt="2026-01-05T00:00:00Z")
    deal.advance(paid_at)
    deal.pay(sold)
    (burst,) = deal.bursts
    assert (burst["startsAt"], burst["endsAt"]) == (starts_at, END)
    assert deal.limit == (6 if starts_at == paid_at else 2)
    assert not PaymentSession.objects.filter(status="pending").exists()
    settle_constraints()


def test_a_payment_after_the_end_is_refused_before_the_schedule_says_so(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy()
    deal.set_clock(END)
    assert deal.pay(sold, expect=409)["code"] == "PURCHASE_EXPIRED"
    assert Client().post(page_of(sold)).status_code == 409
    assert PaymentSession.objects.get().status == "pending"
    link = deal.api.post(f"/v2/invoices/{sold['invoiceId']}/payment", {"method": "hosted_link"}, expect=422)
    assert link["code"] == "INVOICE_NOT_LINKABLE_STATUS"
    assert (deal.invoice(sold)["paidAmount"], deal.bursts) == ("0.00", [])


def test_what_is_not_paid_in_time_is_voided_and_never_there(kit: Kit) -> None:
    deal = Deal(kit)
    early, sold = deal.buy(idempotencyKey="early", paymentExpiresAt="2026-01-02T00:00:00Z"), deal.buy()
    deal.advance("2026-01-02T00:00:00Z")
    assert deal.invoice(early)["burstPurchase"]["status"] == "expired"
    deal.advance(END)
    invoice = deal.invoice(sold)
    assert (invoice["status"], invoice["burstPurchase"]["status"]) == ("CANCELLED", "expired")
    assert {row.reason for row in InvoiceDecision.objects.all()} == {"The time to pay was over."}
    assert deal.pay(sold, expect=409)["code"] == "INVOICE_STATE"
    assert (deal.bursts, deal.limit) == ([], 2)
    settle_constraints()


def test_a_repeated_call_gives_the_same_purchase_and_another_is_refused(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy()
    assert deal.buy() == sold
    for other in (
        {"slots": 1}, {"price": "5.01"}, {"endsAt": "2026-01-21T00:00:00Z"}, {"startsAt": START},
        {"successUrl": "https://shop.test/done"}, {"paymentExpiresAt": "2026-01-05T00:00:00Z"},
    ):  # fmt: skip
        assert deal.buy(expect=409, **other)["code"] == "IDEMPOTENCY_KEY_REUSED"
    deal.pay(sold)
    again = deal.buy()
    assert (again["id"], again["status"], again["burstId"]) == (sold["id"], "paid", deal.bursts[0]["id"])
    assert Invoice.objects.filter(is_purchase=True).count() == 1


def test_bursts_that_are_given_and_sold_share_their_keys(kit: Kit) -> None:
    deal = Deal(kit)
    given = {"slots": 4, "endsAt": END, "idempotencyKey": "given"}
    deal.api.post(deal.path, given)
    assert deal.buy(expect=409, idempotencyKey="given")["code"] == "IDEMPOTENCY_KEY_REUSED"
    sold = deal.buy()
    body = {**given, "idempotencyKey": "k"}
    assert deal.api.post(deal.path, body, expect=409)["code"] == "IDEMPOTENCY_KEY_REUSED"
    deal.pay(sold)
    # Not even for the same slots at the same time.
    assert deal.api.post(deal.path, body, expect=409)["code"] == "IDEMPOTENCY_KEY_REUSED"
    row = Purchase.objects.get()
    row.pk, row.public_id, row.idempotency_key, row.burst = None, "pur_other", "given", None
    with pytest.raises(IntegrityError, match="belongs to a grant or a burst"), transaction.atomic():
        row.save(force_insert=True)


def test_every_bad_field_is_named(kit: Kit) -> None:
    deal = Deal(kit)
    bad = {
        "slots": 0, "price": "0.49", "idempotencyKey": 7, "startsAt": "x", "endsAt": None, "successUrl": "no",
        "cancelUrl": "no", "paymentExpiresAt": 1,
    }  # fmt: skip
    assert {error["field"] for error in deal.buy(expect=400, **bad)["errors"]} == set(bad)
    missing = deal.api.post(f"{deal.path}/purchase", {}, expect=400)
    assert {error["field"] for error in missing["errors"]} == {"slots", "price", "endsAt", "idempotencyKey"}
    for slots in (1.5, 1_000_001, -1, "x"):
        assert [error["field"] for error in deal.buy(expect=400, slots=slots)["errors"]] == ["slots"]
    for dates, fields in (
        ({"endsAt": START}, ["endsAt"]),
        ({"startsAt": END}, ["endsAt"]),
        ({"paymentExpiresAt": START}, ["paymentExpiresAt"]),
        ({"paymentExpiresAt": "2026-01-20T00:00:01Z"}, ["paymentExpiresAt"]),
        ({"paymentExpiresAt": START, "endsAt": START}, ["endsAt", "paymentExpiresAt"]),
    ):
        assert [error["field"] for error in deal.buy(expect=400, **dates)["errors"]] == fields
    assert not Invoice.objects.filter(is_purchase=True).exists()


def test_only_slots_of_an_active_subscription_are_sold(kit: Kit) -> None:
    deal = Deal(kit)
    customer = kit.world.customer()
    issue = {"customerId": customer, "featureId": deal.feature, "template": {"slots": 1}}
    path = f"/v1/entitlements/{deal.api.post('/v1/entitlements', issue)['id']}/bursts/purchase"
    assert deal.api.post(path, ORDER, expect=409)["code"] == "ENTITLEMENT_WITHOUT_SUBSCRIPTION"
    metered, _, _ = kit.subscriber([kit.price(kit.feature(), MILLION)])
    path = f"/v1/entitlements/{kit.right(metered)['entitlementId']}/bursts/purchase"
    assert "no slots" in deal.api.post(path, ORDER, expect=400)["message"]
    assert deal.api.post("/v1/entitlements/ent_none/bursts/purchase", ORDER, expect=404)["code"] == "NOT_FOUND"
    deal.terminate()
    assert deal.buy(expect=409)["code"] == "ENTITLEMENT_NOT_ACTIVE"


def test_the_end_of_the_subscription_cancels_what_is_not_paid(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy()
    deal.advance("2026-01-10T00:00:00Z")
    deal.terminate()
    invoice = deal.invoice(sold)
    assert (invoice["status"], invoice["burstPurchase"]["status"]) == ("CANCELLED", "cancelled")
    assert not SlotBurst.objects.exists()
    settle_constraints()


def test_a_right_that_took_the_place_of_the_first_has_the_slots(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy()
    deal.api.delete(f"/v1/entitlements/{deal.right}", expect=200)
    # Nothing could use them, and no money is taken for that.
    assert deal.pay(sold, expect=409)["code"] == "ENTITLEMENT_NOT_ACTIVE"
    assert deal.invoice(sold)["status"] == "ISSUED"
    deal.api.post(f"/v0/subscriptions/{deal.subscription}/reconciliations", {})
    successor = str(kit.right(deal.customer)["entitlementId"])
    assert successor != deal.right
    # Its keys are those of the customer's slots, whichever right they are of.
    path = f"/v1/entitlements/{successor}/bursts/purchase"
    assert deal.api.post(path, ORDER, expect=409)["code"] == "IDEMPOTENCY_KEY_REUSED"
    deal.pay(sold)
    assert deal.limit == 6
    settle_constraints()


def test_voiding_cancels_it(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy()
    path = f"/v2/invoices/{sold['invoiceId']}"
    assert deal.api.post(f"{path}/writeOff", {"reason": "x"}, expect=409)["code"] == "PURCHASE_OPEN"
    assert deal.api.post(f"{path}/creditNotes", {"reason": "x"}, expect=409)["code"] == "PURCHASE_OPEN"
    deal.api.post(f"{path}/void", {"reason": "mistake"}, expect=200)
    assert deal.invoice(sold)["burstPurchase"]["status"] == "cancelled"
    assert deal.bursts == []
    settle_constraints()


def test_crediting_leaves_the_burst_unless_it_is_asked_for(kit: Kit) -> None:
    deal = Deal(kit)
    first, second = deal.buy(), deal.buy(idempotencyKey="k2")
    deal.pay(first)
    deal.pay(second)
    deal.advance("2026-01-10T00:00:00Z")
    deal.api.post(f"/v2/invoices/{first['invoiceId']}/refunds", {})
    assert deal.limit == 10
    body = {"reason": "x", "destination": "refund"}
    path = f"/v2/invoices/{second['invoiceId']}/creditNotes"
    refused = deal.api.post(path, {**body, "voidGrant": True}, expect=400)
    assert [error["field"] for error in refused["errors"]] == ["voidGrant"]
    deal.api.post(path, {**body, "voidBurst": True})
    assert deal.limit == 6
    ended, kept = deal.bursts
    assert (ended["voidedAt"], kept["voidedAt"]) == ("2026-01-10T00:00:00Z", None)
    assert OutboxEvent.objects.get(event_type="slot_burst.voided.v0").object_id == ended["id"]
    units, _, _ = kit.subscriber([kit.price(kit.feature(), MILLION)])
    order = {"amount": 5, "price": "5.00", "idempotencyKey": "k"}
    sold = deal.api.post(f"/v1/entitlements/{kit.right(units)['entitlementId']}/grants/purchase", order)
    deal.pay(sold)
    path = f"/v2/invoices/{sold['invoiceId']}/creditNotes"
    refused = deal.api.post(path, {"reason": "x", "voidBurst": True}, expect=400)
    assert [error["field"] for error in refused["errors"]] == ["voidBurst"]


def test_the_balance_of_the_customer_buys_at_once(kit: Kit) -> None:
    deal = Deal(kit)
    first = deal.buy(price="20.00")
    deal.pay(first)
    deal.api.post(f"/v2/invoices/{first['invoiceId']}/creditNotes", {"reason": "x", "voidBurst": True})
    at_once = deal.buy(idempotencyKey="k2", price="5.00", startsAt="2025-12-01T00:00:00Z")
    assert (at_once["status"], at_once["paymentSessions"]) == ("paid", [])
    assert (deal.limit, deal.bursts[0]["startsAt"]) == (6, START)
    settle_constraints()


def test_it_is_taxed_as_the_plan_is(kit: Kit) -> None:
    deal = Deal(kit, taxBehavior="exclusive", defaultTaxRate=19)
    sold = deal.buy(slots=1)
    assert sold["paymentSessions"][0]["amount"] == 1190
    assert deal.invoice(sold)["totalTax"] == "1.90"
    assert kit.world.lines(sold["invoiceId"])[0]["invoiceDisplayName"] == "deploys: 1 more slot"


def test_purchases_are_listed_by_state_and_by_what_they_sell(kit: Kit) -> None:
    deal = Deal(kit)
    first, second = deal.buy(), deal.buy(idempotencyKey="k2")
    deal.pay(second)
    listed = deal.api.get(f"{deal.path}/purchases")["data"]
    assert [row["id"] for row in listed] == [second["id"], first["id"]]
    assert deal.api.get(f"{deal.path}/purchases?status=open")["data"] == [first]
    assert deal.api.get(f"{deal.path}/purchases?status=lost", expect=400)["errors"][0]["field"] == "status"
    assert deal.api.get(f"/v1/entitlements/{deal.right}/grants/purchases")["data"] == []


def test_the_service_refuses_what_has_no_end(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy()
    right = Purchase.objects.get().entitlement
    endless = PurchaseTerms(amount=Decimal(1), price=Decimal(1), idempotency_key="endless")
    with pytest.raises(IntegrityError, match="purchase_of_slots_is_a_burst"), transaction.atomic():
        purchase_burst(entitlement_id=right.pk, terms=endless, as_of=parse_instant(START))
    terms = PurchaseTerms(
        amount=Decimal(4), price=Decimal("10.00"), idempotency_key="k", expires_at=parse_instant(END)
    )
    known, is_new = purchase_burst(entitlement_id=right.pk, terms=terms, as_of=parse_instant(START))
    assert (known.public_id, is_new) == (sold["id"], False)
    deal.api.post(deal.path, {"slots": 1, "endsAt": END, "idempotencyKey": "given"})
    with pytest.raises(ConflictError):
        purchase_burst(
            entitlement_id=right.pk,
            terms=PurchaseTerms(Decimal(1), Decimal(1), "given", expires_at=parse_instant(END)),
            as_of=parse_instant(START),
        )


def test_the_database_holds_purchase_invoice_and_burst_together(kit: Kit) -> None:
    deal = Deal(kit)
    sold, other = deal.buy(), deal.buy(idempotencyKey="k2")
    given = deal.api.post(deal.path, {"slots": 4, "endsAt": END, "idempotencyKey": "given"})
    deal.api.post(deal.path, {"slots": 4, "endsAt": END, "idempotencyKey": "given"}, expect=200)
    paid = f"SET status = 'paid', ended_at = now() WHERE public_id = '{sold['id']}'"
    for change in (
        "UPDATE invoicing_purchase SET amount = 6",
        "UPDATE invoicing_purchase SET pool_id = NULL",
        f"UPDATE invoicing_purchase {paid}",
        f"""UPDATE invoicing_purchase SET burst_id = b.id, status = 'paid', ended_at = '{START}'
            FROM entitlements_slotburst b WHERE b.public_id = '{given["id"]}'
            AND invoicing_purchase.public_id = '{sold["id"]}'""",
        "UPDATE invoicing_purchase SET status = 'expired', ended_at = now()",
        "UPDATE invoicing_invoice SET status = 'PAID', paid_amount = 10 WHERE is_purchase",
        "UPDATE entitlements_slotburst SET price = 5",
        "DELETE FROM invoicing_purchase",
    ):
        with pytest.raises(Exception, match=r"purchase|bought|slotburst"), transaction.atomic():
            run_to_its_end(change)
    deal.pay(sold)
    settle_constraints()
    row = SlotBurst.objects.get(invoice_reference=sold["invoiceId"])
    row.pk, row.public_id, row.idempotency_key = None, "sbt_other", "other"
    with pytest.raises(IntegrityError, match="slotburst_once_of_an_invoice"), transaction.atomic():
        row.save(force_insert=True)
    row.invoice_reference = ""
    with pytest.raises(IntegrityError, match="slotburst_bought_for_a_price"), transaction.atomic():
        row.save(force_insert=True)
    half = Purchase.objects.get(public_id=other["id"])
    half.pk, half.public_id, half.idempotency_key, half.amount = None, "pur_other", "other", Decimal("1.5")
    with pytest.raises(IntegrityError, match="purchase_of_slots_is_a_burst"), transaction.atomic():
        half.save(force_insert=True)
    with pytest.raises(Exception, match="ends_once"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE invoicing_purchase SET status = 'open', ended_at = NULL, burst_id = NULL")


def test_a_reset_takes_what_was_bought_along(kit: Kit) -> None:
    deal = Deal(kit)
    deal.pay(deal.buy())
    deal.buy(idempotencyKey="k2")
    settle_constraints()
    reset = {"scope": "merchant", "keepCatalog": True}
    assert deal.api.call("post", f"/v0/merchants/{kit.world.id}/reset", reset).status_code == 204
    assert not Purchase.objects.exists()
    assert not SlotBurst.objects.exists()
