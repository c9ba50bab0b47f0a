"""Two at once, on real connections: one wins, the other is told so, nobody waits for ever."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import Client

from apps.invoicing.models import Invoice, InvoiceLine, PaymentSession
from apps.invoicing.services.crediting import CreditRequest, issue_credit_note
from apps.organizations.models import Organization
from apps.subscriptions.models import Subscription
from tests.world import Api, World, at, make_world

pytestmark = pytest.mark.django_db(transaction=True)

JANUARY = "2026-01-01T00:00:00Z"
ROUNDS = 6


def plan_of(world: World) -> str:
    product = world.product()
    return world.plan(product, [world.fee_price(product), world.usage_price(world.metric(product))])


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Run calls at the same moment, each on its own connection; gives their results in order."""
    start = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        try:
            start.wait()
            results[index] = calls[index]()
        except BaseException as error:
            results[index] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def poster(world: World, path: str, body: dict[str, Any]) -> Callable[[], int]:
    return lambda: int(Api(world.secret).call("post", path, body).status_code)


def test_paying_and_terminating_at_once_never_deadlocks() -> None:
    world = make_world()
    plan, clock = plan_of(world), world.clock(JANUARY)
    for _ in range(ROUNDS):
        subscription = world.subscribe(world.customer(), plan, at=JANUARY, clock=clock)
        session = subscription["payment"]["paymentSessionId"]
        answers = together(
            poster(world, f"/v2/invoices/{subscription['payment']['invoiceId']}/payment", {"method": "out_of_band"}),
            poster(world, f"/v0/subscriptions/{subscription['id']}/termination", {"reason": "no"}),
            lambda session=session: Client().post(f"/checkout/{session}").status_code,
        )
        assert set(answers) <= {200, 302, 409}, answers
        row = Subscription.objects.get(public_id=subscription["id"])
        zero = Invoice.objects.get(subscription=row, sequence_number=0)
        assert (row.status, zero.status) in {("terminated", "PAID"), ("terminated", "CANCELLED")}
        assert not PaymentSession.objects.filter(invoice=zero, status="pending").exists()


def test_one_payment_of_many_wins() -> None:
    world = make_world()
    plan, clock = plan_of(world), world.clock(JANUARY)
    subscription = world.subscribe(world.customer(), plan, at=JANUARY, clock=clock)
    path = f"/v2/invoices/{subscription['payment']['invoiceId']}/payment"
    answers = together(*[poster(world, path, {"method": "out_of_band"}) for _ in range(5)])
    assert Counter(answers) == {200: 1, 409: 4}
    assert Invoice.objects.filter(subscription__public_id=subscription["id"]).count() == 2


def test_one_sign_up_of_many_makes_the_subscription() -> None:
    world = make_world()
    plan, clock, customer = plan_of(world), world.clock(JANUARY), world.customer()
    body = {"name": "S", "planId": plan, "customerId": customer, "startedAt": JANUARY, "testClockId": clock}
    answers = together(*[poster(world, "/v0/subscriptions", body) for _ in range(5)])
    assert Counter(answers) == {201: 1, 200: 4}
    assert Invoice.objects.count() == 1


def test_an_inline_customer_is_made_once() -> None:
    world = make_world()
    plan, clock = plan_of(world), world.clock(JANUARY)
    inline = {"name": "Solo", "email": "solo@x.test", "address": {"country": "FR", "zipCode": "69001"}}
    body = {"name": "S", "planId": plan, "customer": inline, "startedAt": JANUARY, "testClockId": clock}
    answers = together(*[poster(world, "/v0/subscriptions", body) for _ in range(4)])
    assert Counter(answers) == {201: 1, 200: 3}
    assert Organization.objects.filter(email="solo@x.test").count() == 1


def test_one_key_makes_one_manual_line_wherever_it_is_sent() -> None:
    world = make_world()
    clock = world.clock(JANUARY)
    ids = []
    for _ in range(2):
        subscription = world.subscribe(world.customer(), plan_of(world), at=JANUARY, clock=clock)
        world.pay(subscription["payment"]["invoiceId"])
        ids.append(subscription["id"])
    for round_number in range(ROUNDS):
        body = {
            "displayName": "x",
            "currency": "USD",
            "quantity": 1,
            "unitPrice": 5,
            "idempotencyKey": f"k{round_number}",
        }
        calls = [poster(world, "/v2/invoices/lineItems", {**body, "subscriptionId": target}) for target in ids * 2]
        assert set(together(*calls)) <= {200, 201, 409}
        assert InvoiceLine.objects.filter(idempotency_key=f"k{round_number}").count() == 1


def test_a_clock_takes_one_target_at_a_time() -> None:
    world = make_world()
    clock = world.clock(JANUARY)
    targets = [f"2026-0{month}-01T00:00:00Z" for month in (2, 3, 4)]

    def patcher(target: str) -> Callable[[], int]:
        body = {"currentTime": target}
        return lambda: int(Api(world.secret).call("patch", f"/v0/testClocks/{clock}", body).status_code)

    answers = together(*[patcher(target) for target in targets])
    assert set(answers) <= {200, 400, 409}, answers
    assert 200 in answers


def test_settling_by_a_credit_while_others_wait_with_its_subscription_never_deadlocks() -> None:
    world = make_world()
    plan, clock = plan_of(world), world.clock(JANUARY)
    subscription = world.subscribe(world.customer(), plan, at=JANUARY, clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, "2026-02-02T00:00:00Z")
    issued = Invoice.objects.get(subscription__public_id=subscription["id"], sequence_number=1)
    path = f"/v2/invoices/{issued.public_id}"

    def credit() -> None:
        """Hold the invoice until the void, which locks the subscription first, waits for it."""
        with transaction.atomic():
            issue_credit_note(invoice_id=issued.pk, asked=CreditRequest(reason="x"), as_of=at("2026-02-02T00:00:00Z"))
            is_credited.set()
            wait_for_waiters()

    def void() -> int:
        is_credited.wait(30)
        return poster(world, f"{path}/void", {"reason": "x"})()

    is_credited = threading.Event()
    assert together(credit, void) == [None, 409]
    issued.refresh_from_db()
    assert (issued.status, issued.credited_amount) == ("PAID", issued.grand_total)


def wait_for_waiters() -> None:
    """Come back when another connection waits for a lock."""
    for _ in range(300):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
            )
            if cursor.fetchone()[0]:
                return
        time.sleep(0.1)
    raise AssertionError("nobody waits")
