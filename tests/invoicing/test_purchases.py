"""Units that are bought: an invoice that makes the grant when it is paid in time."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client

from apps.entitlements.models import Grant
from apps.invoicing.models import Invoice, InvoiceDecision, PaymentSession, Purchase
from apps.kernel.time import parse_instant
from apps.organizations.models import Organization
from apps.outbox.models import OutboxEvent
from apps.rating.reading import recompute
from tests.documents.papers import equip
from tests.documents.rules import problems
from tests.entitlements.kit import MILLION, START, Kit
from tests.recomputing import _issued_is_recomputed  # noqa: F401 - a fixture
from tests.world import make_world

SOFT = {**MILLION, "isSoftLimit": True}
ORDER: dict[str, Any] = {"amount": 500_000, "price": "5.00", "idempotencyKey": "k"}


@pytest.fixture
def kit(db: None) -> Kit:
    return Kit.make(make_world())


class Deal:
    """A subscriber to tokens whose right can be sold more of."""

    def __init__(self, kit: Kit, template: dict[str, Any] = SOFT, **plan: Any) -> None:
        self.kit, self.api = kit, kit.world.api
        self.price = kit.price(kit.feature(), template)
        self.customer, self.subscription, self.clock = kit.subscriber([self.price], **plan)
        self.right = str(kit.right(self.customer)["entitlementId"])

    def buy(self, expect: int = 201, **terms: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.api.post(f"{self.path}/purchase", {**ORDER, **terms}, expect=expect)
        return found

    @property
    def path(self) -> str:
        return f"/v1/entitlements/{self.right}/grants"

    @property
    def grants(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get(f"{self.path}?includeVoided=true")["data"]
        return found

    def invoice(self, sold: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"/v2/invoices/{sold['invoiceId']}")
        return found

    def pay(self, sold: dict[str, Any], expect: int = 200) -> dict[str, Any]:
        body = {"method": "out_of_band"}
        found: dict[str, Any] = self.api.post(f"/v2/invoices/{sold['invoiceId']}/payment", body, expect=expect)
        return found


def page_of(sold: dict[str, Any]) -> str:
    (page,) = sold["paymentSessions"]
    return "/checkout/" + str(page["url"]).rsplit("/", 1)[1]


def settle_constraints() -> None:
    """Let what is checked at the end of a transaction be checked now."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def run_to_its_end(statement: str) -> None:
    """Run a statement with all that is checked when its transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
    settle_constraints()


def test_a_purchase_is_an_issued_invoice_with_a_page_and_no_grant_yet(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy()
    assert {name: sold[name] for name in ("object", "entitlementId", "grantAmount", "price", "currency")} == {
        "object": "grant_purchase", "entitlementId": deal.right, "grantAmount": 500_000, "price": "5.00",
        "currency": "usd",
    }  # fmt: skip
    assert sold["unitPrice"] == "0.00001"
    (page,) = sold["paymentSessions"]
    assert (page["amount"], page["expiresAt"]) == (500, "2026-01-31T00:00:00Z")
    invoice = deal.invoice(sold)
    assert (invoice["status"], invoice["grandTotal"], invoice["unpaidAmount"]) == ("ISSUED", "5.00", "5.00")
    assert invoice["invoiceNumber"]
    assert invoice["paymentUrl"] == page["url"]
    assert (invoice["sequenceNumber"], invoice["itemCount"]) == (1, 1)
    assert invoice["grantPurchase"]["grantId"] is None
    (line,) = kit.world.lines(sold["invoiceId"])
    assert (line["invoiceDisplayName"], line["eventType"], line["totalPrice"]) == (
        "tokens: 500,000 units", "fee", "5.00",
    )  # fmt: skip
    assert recompute(line["provenance"]) == Decimal("5.00")
    assert line["provenance"]["sources"]["price"]["ref"]["entitlementId"] == deal.right
    assert deal.grants == []
    assert kit.right(deal.customer)["balance"] == 1_000_000
    settle_constraints()


def test_nobody_has_to_approve_it(kit: Kit) -> None:
    deal = Deal(kit)
    Organization.objects.filter(pk=kit.world.merchant.pk).update(auto_approve=False)
    sold = deal.buy()
    assert deal.invoice(sold)["status"] == "ISSUED"
    deal.pay(sold)
    kit.world.advance(deal.clock, "2026-03-02T00:00:00Z")
    assert "DRAFT" in {row["status"] for row in kit.world.invoices(deal.subscription)}
    assert len(deal.grants) == 1


def test_paying_on_the_page_makes_the_grant_once(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy(successUrl="https://shop.test/done", cancelUrl="https://shop.test/no", resetMaxRollover=0)
    kit.world.advance(deal.clock, "2026-01-03T00:00:00Z")
    shown = Client().get(page_of(sold)).content.decode()
    assert "tokens: 500,000 units" in shown
    assert "https://shop.test/no" in shown
    answer = Client().post(page_of(sold))
    assert (answer.status_code, answer["Location"]) == (302, "https://shop.test/done")
    (grant,) = deal.grants
    assert (grant["amount"], grant["price"], grant["unitPrice"]) == (500_000, "5", "0.00001")
    # It begins when it is paid, where nobody said otherwise.
    assert (grant["effectiveAt"], grant["createdAt"]) == ("2026-01-03T00:00:00Z", "2026-01-03T00:00:00Z")
    assert grant["resetMaxRollover"] == 0
    assert kit.right(deal.customer)["balance"] == 1_500_000
    invoice = deal.invoice(sold)
    assert (invoice["status"], invoice["paidAmount"]) == ("PAID", "5.00")
    assert invoice["grantPurchase"]["grantId"] == grant["id"]
    paid = OutboxEvent.objects.get(event_type="invoice.paid.v0", object_id=sold["invoiceId"])
    assert paid.payload["grantId"] == grant["id"]
    assert deal.pay(sold, expect=409)["code"] == "INVOICE_PAID"
    Client().post(page_of(sold))
    assert len(deal.grants) == 1
    settle_constraints()


def test_a_recorded_payment_makes_the_grant_too(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy(effectiveAt="2026-01-05T00:00:00Z", expiresAt="2026-03-01T00:00:00Z")
    deal.pay(sold)
    (grant,) = deal.grants
    assert (grant["effectiveAt"], grant["expiresAt"]) == ("2026-01-05T00:00:00Z", "2026-03-01T00:00:00Z")
    assert not PaymentSession.objects.filter(status="pending").exists()


def test_bought_units_pay_for_usage_before_money_does(kit: Kit) -> None:
    deal = Deal(kit)
    deal.pay(deal.buy())
    kit.use(deal.customer, "2026-01-10T00:00:00Z", 1_800_000)
    kit.world.advance(deal.clock, "2026-02-02T00:00:00Z")
    # Of 1.8 million the allowance pays 1, the purchase 0.5; the purchase is on an invoice of its own.
    period = next(row for row in kit.world.invoices(deal.subscription) if row["status"] == "ISSUED")
    assert (period["grandTotal"], period["sequenceNumber"]) == ("0.60", 1)


def test_what_is_not_paid_in_time_is_voided_and_never_granted(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy(paymentExpiresAt="2026-01-02T00:00:00Z")
    kit.world.advance(deal.clock, "2026-01-01T23:00:00Z")
    assert deal.invoice(sold)["status"] == "ISSUED"
    kit.world.advance(deal.clock, "2026-01-02T00:00:00Z")
    invoice = deal.invoice(sold)
    assert (invoice["status"], invoice["grantPurchase"]["status"], invoice["unpaidAmount"]) == (
        "CANCELLED", "expired", "0.00",
    )  # fmt: skip
    assert InvoiceDecision.objects.get().reason == "The time to pay was over."
    assert deal.grants == []
    assert deal.pay(sold, expect=409)["code"] == "INVOICE_STATE"
    assert Client().post(page_of(sold)).status_code == 409
    assert PaymentSession.objects.get().status == "expired"
    settle_constraints()


def test_a_payment_that_comes_late_is_refused_before_the_schedule_says_so(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy(paymentExpiresAt="2026-01-02T00:00:00Z")
    # The clock is there, and the work that it makes due is not done yet.
    clock = Invoice.objects.get(public_id=sold["invoiceId"]).subscription.test_clock
    assert clock is not None
    clock.current_time = clock.target_time = parse_instant("2026-01-02T00:00:00Z")
    clock.save()
    assert deal.pay(sold, expect=409)["code"] == "PURCHASE_EXPIRED"
    link = deal.api.post(f"/v2/invoices/{sold['invoiceId']}/payment", {"method": "hosted_link"}, expect=422)
    assert link["code"] == "INVOICE_NOT_LINKABLE_STATUS"
    assert deal.grants == []


def test_a_new_link_lives_no_longer_than_the_offer(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy(paymentExpiresAt="2026-01-02T00:00:00Z")
    deal.api.post(f"/v2/invoices/{sold['invoiceId']}/payment", {"method": "hosted_link"}, expect=200)
    assert PaymentSession.objects.get(status="pending").expires_at == parse_instant("2026-01-02T00:00:00Z")


def test_a_repeated_call_gives_the_same_purchase_and_another_is_refused(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy()
    assert deal.buy() == sold
    assert Invoice.objects.filter(is_purchase=True).count() == 1
    for other in ({"amount": 1}, {"price": "5.01"}, {"expiresAt": "2026-06-01T00:00:00Z"}, {"resetMinRollover": 1}):
        assert deal.buy(expect=409, **other)["code"] == "IDEMPOTENCY_KEY_REUSED"
    deal.pay(sold)
    again = deal.buy()
    assert (again["invoiceId"], again["status"]) == (sold["invoiceId"], "paid")
    assert len(deal.grants) == 1


def test_grants_that_are_given_and_sold_share_their_keys(kit: Kit) -> None:
    deal = Deal(kit)
    given = {"amount": 500_000, "idempotencyKey": "given"}
    deal.api.post(deal.path, given)
    assert deal.buy(expect=409, idempotencyKey="given")["code"] == "IDEMPOTENCY_KEY_REUSED"
    deal.buy()
    body = {"amount": 500_000, "idempotencyKey": "k"}
    assert deal.api.post(deal.path, body, expect=409)["code"] == "IDEMPOTENCY_KEY_REUSED"
    row = Purchase.objects.get()
    row.pk, row.public_id, row.idempotency_key = None, "gpu_other", "given"
    with pytest.raises(IntegrityError, match="belongs to a grant"), transaction.atomic():
        row.save(force_insert=True)


def test_every_bad_field_is_named(kit: Kit) -> None:
    deal = Deal(kit)
    bad = {
        "amount": 0.123456789, "price": "0.49", "idempotencyKey": 7, "effectiveAt": "x", "successUrl": "no",
        "cancelUrl": "no", "paymentExpiresAt": 1, "resetMaxRollover": -1, "resetMinRollover": "1", "expiresAt": "y",
    }  # fmt: skip
    refused = deal.buy(expect=400, **bad)
    assert {error["field"] for error in refused["errors"]} == set(bad)
    missing = deal.api.post(f"{deal.path}/purchase", {}, expect=400)
    assert {error["field"] for error in missing["errors"]} == {"amount", "price", "idempotencyKey"}
    for price in ("4503599.63", "1.0000000001", 5, "-1", "NaN", "1e400"):
        assert [error["field"] for error in deal.buy(expect=400, price=price)["errors"]] == ["price"]
    for dates, fields in (
        ({"expiresAt": START}, ["expiresAt"]),
        ({"expiresAt": "2026-02-01T00:00:00Z", "effectiveAt": "2026-03-01T00:00:00Z"}, ["expiresAt"]),
        ({"paymentExpiresAt": START}, ["paymentExpiresAt"]),
        ({"paymentExpiresAt": START, "expiresAt": START}, ["expiresAt", "paymentExpiresAt"]),
        (
            {"paymentExpiresAt": "2026-02-02T00:00:00Z", "expiresAt": "2026-02-01T00:00:00Z"},
            ["paymentExpiresAt"],
        ),
    ):
        assert [error["field"] for error in deal.buy(expect=400, **dates)["errors"]] == fields
    assert not Invoice.objects.filter(is_purchase=True).exists()


def test_only_a_metered_right_of_an_active_subscription_is_sold_more(kit: Kit) -> None:
    deal = Deal(kit)
    customer = kit.world.customer()
    sso = {"customerId": customer, "featureId": kit.feature("sso", "boolean"), "template": {"type": "boolean"}}
    by_hand = deal.api.post("/v1/entitlements", sso)["id"]
    path = f"/v1/entitlements/{by_hand}/grants/purchase"
    assert deal.api.post(path, ORDER, expect=409)["code"] == "ENTITLEMENT_WITHOUT_SUBSCRIPTION"
    tied = {
        "customerId": deal.customer, "featureId": kit.feature("sso2", "boolean"), "template": {"type": "boolean"},
        "subscriptionId": deal.subscription,
    }  # fmt: skip
    path = f"/v1/entitlements/{deal.api.post('/v1/entitlements', tied)['id']}/grants/purchase"
    assert deal.api.post(path, ORDER, expect=409)["code"] == "ENTITLEMENT_NOT_METERED"
    assert deal.api.post("/v1/entitlements/ent_none/grants/purchase", ORDER, expect=404)["code"] == "NOT_FOUND"
    deal.api.post(f"/v0/subscriptions/{deal.subscription}/termination", {"reason": "x"}, expect=200)
    assert deal.buy(expect=409)["code"] == "ENTITLEMENT_NOT_ACTIVE"


def test_the_end_of_the_subscription_cancels_what_is_not_paid(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy()
    kit.world.advance(deal.clock, "2026-01-10T00:00:00Z")
    deal.api.post(f"/v0/subscriptions/{deal.subscription}/termination", {"reason": "gone"}, expect=200)
    invoice = deal.invoice(sold)
    assert (invoice["status"], invoice["grantPurchase"]["status"]) == ("CANCELLED", "cancelled")
    settle_constraints()


def test_so_does_an_end_that_comes_by_itself(kit: Kit) -> None:
    price = kit.price(kit.feature(), SOFT)
    plan, clock, customer = kit.world.plan(kit.product, [price]), kit.world.clock(START), kit.world.customer()
    kit.world.subscribe(customer, plan, at=START, clock=clock, endingAt="2026-01-11T00:00:00Z")
    right = kit.right(customer)["entitlementId"]
    kit.world.api.post(f"/v1/entitlements/{right}/grants/purchase", ORDER)
    kit.world.advance(clock, "2026-01-12T00:00:00Z")
    sold = Purchase.objects.get()
    assert (sold.status, sold.invoice.status, sold.ended_at) == (
        "cancelled", "CANCELLED", parse_instant("2026-01-11T00:00:00Z"),
    )  # fmt: skip
    settle_constraints()


def test_another_right_that_took_its_place_gets_what_was_bought(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy()
    deal.api.delete(f"/v1/entitlements/{deal.right}", expect=200)
    assert deal.pay(sold, expect=409)["code"] == "ENTITLEMENT_NOT_ACTIVE"
    assert deal.invoice(sold)["status"] == "ISSUED"
    deal.api.post(f"/v0/subscriptions/{deal.subscription}/reconciliations", {})
    successor = kit.right(deal.customer)["entitlementId"]
    assert successor != deal.right
    # A key of the other right is no matter.
    deal.api.post(f"/v1/entitlements/{successor}/grants", {"amount": 1, "idempotencyKey": "k"})
    deal.pay(sold)
    assert deal.grants == []
    assert kit.right(deal.customer)["balance"] == 1_500_001


def test_voiding_cancels_it_and_nothing_else_is_held_by_it(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy()
    path = f"/v2/invoices/{sold['invoiceId']}"
    assert deal.api.post(f"{path}/writeOff", {"reason": "x"}, expect=409)["code"] == "PURCHASE_OPEN"
    assert deal.api.post(f"{path}/creditNotes", {"reason": "x"}, expect=409)["code"] == "PURCHASE_OPEN"
    kit.world.advance(deal.clock, "2026-02-02T00:00:00Z")
    late = deal.buy(idempotencyKey="k2")
    deal.api.post(f"/v2/invoices/{late['invoiceId']}/void", {"reason": "mistake"}, expect=200)
    assert deal.invoice(late)["grantPurchase"]["status"] == "cancelled"
    # The bill of January comes before a purchase, which does not build on it.
    january = next(
        row for row in kit.world.invoices(deal.subscription) if "grantPurchase" not in row and row["status"] == "PAID"
    )
    assert january["periodStart"] == START
    settle_constraints()


def test_crediting_leaves_the_grant_unless_it_is_asked_for(kit: Kit) -> None:
    deal = Deal(kit)
    first, second = deal.buy(), deal.buy(idempotencyKey="k2")
    deal.pay(first)
    deal.pay(second)
    deal.api.post(f"/v2/invoices/{first['invoiceId']}/refunds", {})
    assert [row["voidedAt"] for row in deal.grants] == [None, None]
    body = {"reason": "x", "destination": "refund", "voidGrant": True}
    deal.api.post(f"/v2/invoices/{second['invoiceId']}/creditNotes", body)
    assert [row["voidedAt"] for row in deal.grants] == [START, None]
    zero = kit.world.fee_price(kit.product, "10.00")
    other = kit.world.subscribe(
        kit.world.customer(), kit.world.plan(kit.product, [zero]), at=START, clock=kit.world.clock(START)
    )
    refused = deal.api.post(
        f"/v2/invoices/{other['payment']['invoiceId']}/creditNotes", {"reason": "x", "voidGrant": True}, expect=400
    )
    assert [error["field"] for error in refused["errors"]] == ["voidGrant"]


def test_the_balance_of_the_customer_buys_at_once(kit: Kit) -> None:
    deal = Deal(kit)
    first = deal.buy(price="20.00")
    deal.pay(first)
    deal.api.post(f"/v2/invoices/{first['invoiceId']}/creditNotes", {"reason": "x", "destination": "balance"})
    part = deal.buy(idempotencyKey="k2", price="5.00")
    assert (part["status"], part["paymentSessions"]) == ("paid", [])
    rest = deal.buy(idempotencyKey="k3", price="25.00")
    assert rest["paymentSessions"][0]["amount"] == 1000
    # What the balance paid comes back when the rest is not paid.
    kit.world.advance(deal.clock, "2026-02-02T00:00:00Z")
    assert deal.invoice(rest)["grantPurchase"]["status"] == "expired"
    assert deal.buy(idempotencyKey="k4", price="15.00")["status"] == "paid"
    settle_constraints()


@pytest.mark.parametrize(("behavior", "due", "tax"), [("exclusive", 595, "0.95"), ("inclusive", 500, "0.80")])
def test_it_is_taxed_as_the_plan_is(kit: Kit, behavior: str, due: int, tax: str) -> None:
    deal = Deal(kit, taxBehavior=behavior, defaultTaxRate=19)
    sold = deal.buy()
    assert sold["paymentSessions"][0]["amount"] == due
    assert deal.invoice(sold)["totalTax"] == tax


def test_a_fine_price_is_kept_exactly_and_billed_in_minor_units(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy(amount=0.00000003, price="0.505")
    assert (sold["price"], sold["paymentSessions"][0]["amount"]) == ("0.505", 51)
    deal.pay(sold)
    grant = Grant.objects.get()
    assert (grant.price, grant.unit_price) == (Decimal("0.505"), Decimal("16833333.333333333333333"))
    settle_constraints()


def test_its_document_can_be_had(kit: Kit) -> None:
    equip(kit.world)
    deal = Deal(kit, currency="EUR", defaultTaxRate=19)
    sold = deal.buy(price="5.005")
    for kind in ("ubl", "cii"):
        xml = deal.api.call("get", f"/v2/invoices/{sold['invoiceId']}/eInvoice?format={kind}", expect=200).content
        assert problems(xml, kind) == []
    answer = deal.api.call("get", f"/v2/invoices/{sold['invoiceId']}/pdf", expect=200)
    assert b"".join(answer.streaming_content)[:4] == b"%PDF" if answer.streaming else answer.content[:4] == b"%PDF"
    listed = deal.api.get(f"/v2/invoices/lineItems?subscriptionId={deal.subscription}")["data"]
    assert [row["type"] for row in listed if row["invoiceId"] == sold["invoiceId"]] == ["manual"]


def test_purchases_are_listed_by_state(kit: Kit) -> None:
    deal = Deal(kit)
    first, second = deal.buy(), deal.buy(idempotencyKey="k2")
    deal.pay(second)
    listed = deal.api.get(f"{deal.path}/purchases")["data"]
    assert [row["invoiceId"] for row in listed] == [second["invoiceId"], first["invoiceId"]]
    (open_one,) = deal.api.get(f"{deal.path}/purchases?status=open")["data"]
    assert open_one == first
    assert deal.api.get(f"{deal.path}/purchases?status=lost", expect=400)["errors"][0]["field"] == "status"
    everything = deal.api.get(f"/v2/invoices?subscriptionId={deal.subscription}")["data"]
    assert {row["id"] for row in everything} >= {first["invoiceId"], second["invoiceId"]}


def test_the_database_holds_purchase_invoice_and_grant_together(kit: Kit) -> None:
    deal = Deal(kit)
    sold = deal.buy()
    row = Purchase.objects.get()
    for change in (
        "UPDATE invoicing_purchase SET price = 6",
        "UPDATE invoicing_purchase SET status = 'paid', ended_at = now()",
        "UPDATE invoicing_purchase SET status = 'expired', ended_at = now()",
        "UPDATE invoicing_invoice SET status = 'PAID', paid_amount = 5 WHERE is_purchase",
        "DELETE FROM invoicing_purchase",
    ):
        with pytest.raises(Exception, match=r"purchase|bought"), transaction.atomic():
            run_to_its_end(change)
    deal.pay(sold)
    settle_constraints()
    row.refresh_from_db()
    with pytest.raises(Exception, match="ends_once"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE invoicing_purchase SET status = 'open', ended_at = NULL, grant_id = NULL")
