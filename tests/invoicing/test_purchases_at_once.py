"""Purchases at the same moment: one invoice, one grant or burst, and either the money or the end of the offer."""

import pytest
from django.test import Client

from apps.entitlements.models import Grant, SlotBurst
from apps.invoicing.models import Invoice, PaymentSession, Purchase
from apps.invoicing.services.buying import run_purchases
from apps.kernel.time import parse_instant
from apps.subscriptions.models import TestClock
from tests.concurrency import at_once
from tests.entitlements.kit import MILLION, START, Kit
from tests.world import Api, make_world

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 5


@pytest.fixture
def kit() -> Kit:
    return Kit.make(make_world())


def right_of(kit: Kit) -> str:
    customer, _, _ = kit.subscriber([kit.price(kit.feature(), MILLION)])
    return str(kit.right(customer)["entitlementId"])


def test_eight_calls_with_one_key_make_one_invoice(kit: Kit) -> None:
    path = f"/v1/entitlements/{right_of(kit)}/grants/purchase"
    body = {"amount": 5, "price": "5.00", "idempotencyKey": "k"}
    answers = at_once([lambda: Api(kit.world.secret).post(path, body) for _ in range(8)])
    assert len({answer["invoiceId"] for answer in answers}) == 1
    assert len({answer["paymentSessions"][0]["url"] for answer in answers}) == 1
    assert Invoice.objects.filter(is_purchase=True).count() == 1
    assert PaymentSession.objects.count() == 1


def test_a_key_is_given_or_sold_and_never_both(kit: Kit) -> None:
    path = f"/v1/entitlements/{right_of(kit)}/grants"
    for number in range(ROUNDS):
        key = {"amount": 5, "idempotencyKey": f"k{number}"}
        answers = at_once(
            [
                lambda key=key: Api(kit.world.secret).call("post", path, key).status_code,
                lambda key=key: (
                    Api(kit.world.secret).call("post", f"{path}/purchase", {**key, "price": "5.00"}).status_code
                ),
            ]
        )
        assert sorted(answers) == [201, 409]
    assert Grant.objects.count() + Purchase.objects.count() == ROUNDS


def test_payments_at_once_make_one_grant(kit: Kit) -> None:
    path = f"/v1/entitlements/{right_of(kit)}/grants/purchase"
    sold = kit.world.api.post(path, {"amount": 5, "price": "5.00", "idempotencyKey": "k"})
    page = "/checkout/" + sold["paymentSessions"][0]["url"].rsplit("/", 1)[1]
    pay = f"/v2/invoices/{sold['invoiceId']}/payment"
    answers = at_once(
        [lambda: Client().post(page).status_code for _ in range(3)]
        + [lambda: Api(kit.world.secret).call("post", pay, {"method": "out_of_band"}).status_code for _ in range(3)]
    )
    assert set(answers) <= {200, 302, 409}
    assert Purchase.objects.get().status == "paid"
    assert Grant.objects.get().amount == 5


def test_either_the_payment_or_the_end_of_the_offer_wins(kit: Kit) -> None:
    right = right_of(kit)
    path = f"/v1/entitlements/{right}/grants/purchase"
    clock = TestClock.objects.get()
    end = parse_instant("2026-01-02T00:00:00Z")
    for number in range(ROUNDS):
        body = {
            "amount": 5,
            "price": "5.00",
            "idempotencyKey": f"k{number}",
            "paymentExpiresAt": "2026-01-02T00:00:00Z",
        }
        sold = kit.world.api.post(path, body)
        pay = f"/v2/invoices/{sold['invoiceId']}/payment"
        paid, _ = at_once(
            [
                lambda pay=pay: Api(kit.world.secret).call("post", pay, {"method": "out_of_band"}).status_code,
                # What the schedule does once the clock is there; the payment was on its way before.
                lambda: run_purchases(clock.pk, end),
            ]
        )
        row = Purchase.objects.select_related("invoice").get(invoice__public_id=sold["invoiceId"])
        found = (paid, row.status, row.invoice.status, row.grant_id is not None)
        assert found in {(200, "paid", "PAID", True), (409, "expired", "CANCELLED", False)}
    assert Grant.objects.count() == Purchase.objects.filter(status="paid").count()


def test_buying_paying_and_ending_the_subscription_never_deadlocks(kit: Kit) -> None:
    feature = kit.feature()
    price = kit.price(feature, MILLION)
    plan = kit.world.plan(kit.product, [price])
    for _ in range(ROUNDS):
        customer = kit.world.customer()
        subscription = kit.world.subscribe(customer, plan, at=START, clock=kit.world.clock(START))["id"]
        path = f"/v1/entitlements/{kit.right(customer)['entitlementId']}/grants/purchase"
        body = {"amount": 5, "price": "5.00", "idempotencyKey": "k"}
        sold = kit.world.api.post(path, body)
        calls = [
            (path, {**body, "idempotencyKey": "k2"}),
            (f"/v2/invoices/{sold['invoiceId']}/payment", {"method": "out_of_band"}),
            (f"/v0/subscriptions/{subscription}/termination", {"reason": "no"}),
        ]
        answers = at_once([lambda call=call: Api(kit.world.secret).call("post", *call).status_code for call in calls])
        assert set(answers) <= {200, 201, 409}
        of_this = Purchase.objects.filter(invoice__subscription__public_id=subscription)
        assert not of_this.filter(status="open").exists()


def slotted(kit: Kit) -> tuple[str, str, str]:
    """Give customer, subscription and right of somebody who may deploy twice at once."""
    attached = {"featureId": kit.feature("deploys", "static"), "entitlementTemplate": {"slots": 2}}
    price = kit.world.fee_price(kit.product, "0.00", feature=attached)
    customer, subscription, _ = kit.subscriber([price])
    return customer, subscription, str(kit.right(customer)["entitlementId"])


BURST = {"slots": 4, "price": "10.00", "endsAt": "2026-01-20T00:00:00Z", "idempotencyKey": "k"}


def test_eight_calls_with_one_key_sell_one_burst(kit: Kit) -> None:
    _, _, right = slotted(kit)
    path = f"/v1/entitlements/{right}/bursts/purchase"
    answers = at_once([lambda: Api(kit.world.secret).post(path, BURST) for _ in range(8)])
    assert len({answer["id"] for answer in answers}) == 1
    assert len({answer["paymentSessions"][0]["url"] for answer in answers}) == 1
    assert Invoice.objects.filter(is_purchase=True).count() == 1
    assert PaymentSession.objects.count() == 1


def test_a_key_of_a_burst_is_given_or_sold_and_never_both(kit: Kit) -> None:
    _, _, right = slotted(kit)
    path = f"/v1/entitlements/{right}/bursts"
    for number in range(ROUNDS):
        body = {**BURST, "idempotencyKey": f"k{number}"}
        given = {name: value for name, value in body.items() if name != "price"}
        answers = at_once(
            [
                lambda given=given: Api(kit.world.secret).call("post", path, given).status_code,
                lambda body=body: Api(kit.world.secret).call("post", f"{path}/purchase", body).status_code,
            ]
        )
        assert sorted(answers) == [201, 409]
    assert SlotBurst.objects.count() + Purchase.objects.count() == ROUNDS


def test_payments_at_once_make_one_burst(kit: Kit) -> None:
    _, _, right = slotted(kit)
    sold = kit.world.api.post(f"/v1/entitlements/{right}/bursts/purchase", BURST)
    page = "/checkout/" + sold["paymentSessions"][0]["url"].rsplit("/", 1)[1]
    pay = f"/v2/invoices/{sold['invoiceId']}/payment"
    answers = at_once(
        [lambda: Client().post(page).status_code for _ in range(3)]
        + [lambda: Api(kit.world.secret).call("post", pay, {"method": "out_of_band"}).status_code for _ in range(3)]
    )
    assert set(answers) <= {200, 302, 409}
    assert Purchase.objects.get().status == "paid"
    assert SlotBurst.objects.get().slots == 4


def test_selling_paying_and_giving_bursts_while_slots_are_taken_never_deadlocks(kit: Kit) -> None:
    customer, subscription, right = slotted(kit)
    path = f"/v1/entitlements/{right}/bursts"
    for number in range(ROUNDS):
        sold = kit.world.api.post(f"{path}/purchase", {**BURST, "idempotencyKey": f"k{number}"})
        given = {"slots": 1, "endsAt": BURST["endsAt"], "idempotencyKey": f"given{number}"}
        slot = {"customerId": customer, "featureKey": "deploys", "productId": kit.product}
        calls = [
            (f"{path}/purchase", {**BURST, "idempotencyKey": f"other{number}"}),
            (f"/v2/invoices/{sold['invoiceId']}/payment", {"method": "out_of_band"}),
            (path, given),
            *(("/v1/slots", {**slot, "idempotencyKey": f"s{number}.{each}"}) for each in range(2)),
        ]
        if number == ROUNDS - 1:
            calls.append((f"/v0/subscriptions/{subscription}/termination", {"reason": "no"}))
        answers = at_once([lambda call=call: Api(kit.world.secret).call("post", *call).status_code for call in calls])
        assert set(answers) <= {200, 201, 409}
    assert not Purchase.objects.filter(status="open").exists()
    bought = SlotBurst.objects.exclude(invoice_reference="").count()
    assert bought == Purchase.objects.filter(status="paid").count() >= ROUNDS - 1
