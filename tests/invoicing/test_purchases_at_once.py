"""Purchases at the same moment: one invoice, one grant, and either the money or the end of the offer."""

import pytest
from django.test import Client

from apps.entitlements.models import Grant
from apps.invoicing.models import GrantPurchase, Invoice, PaymentSession
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
    assert Grant.objects.count() + GrantPurchase.objects.count() == ROUNDS


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
    assert GrantPurchase.objects.get().status == "paid"
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
        row = GrantPurchase.objects.select_related("invoice").get(invoice__public_id=sold["invoiceId"])
        found = (paid, row.status, row.invoice.status, row.grant_id is not None)
        assert found in {(200, "paid", "PAID", True), (409, "expired", "CANCELLED", False)}
    assert Grant.objects.count() == GrantPurchase.objects.filter(status="paid").count()


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
        of_this = GrantPurchase.objects.filter(invoice__subscription__public_id=subscription)
        assert not of_this.filter(status="open").exists()
