"""Twenty customers on five plans: closed late, twice, by two workers at once, they get the bills of those on time."""

from typing import Any

import pytest

from apps.invoicing.models import Invoice
from apps.kernel.lifecycle import run_due
from apps.metering.services.merge import drain
from apps.subscriptions.models import Subscription, TestClock
from tests.concurrency import at_once
from tests.scenarios.lives import Shop
from tests.world import World, at, make_world

pytestmark = pytest.mark.django_db(transaction=True)

START, END = "2026-01-31T00:00:00Z", "2026-05-02T00:00:00Z"


def sold(world: World, shop: Shop) -> list[tuple[str, dict[str, Any]]]:
    """Give five plans, each with what subscribing to it says."""
    tiers = {"model": "graduated", "properties": {"tiers": [
        {"upTo": "10", "unitPrice": "0.335"}, {"upTo": None, "unitPrice": "0.1"}]}}  # fmt: skip
    return [
        (shop.plan("Monthly", "31.00", "0.07"), {}),
        (shop.plan("Weekly", "7.00", "0.5", every="P2W", proration="day"), {}),
        (shop.plan("Tried", "49.99", usage_terms=tiers, trialPeriod="P10D"), {}),
        (shop.plan("Calendar", "100.00", "0.125", billingDay=1, proration="day", defaultTaxRate=19), {}),
        (shop.plan("Ends", "12.34", "1", credits=True), {"endingAt": "2026-04-11T06:00:00Z"}),
    ]


def twenty(world: World, shop: Shop, plans: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Subscribe twenty customers; each sends usage of its own, also at the edges of months."""
    found = []
    for number in range(20):
        plan, extra = plans[number % 5]
        zone = ("UTC", "Australia/Sydney", "America/New_York", "Asia/Kolkata")[number // 5]
        customer = world.customer(timezone=zone)
        subscription = shop.start(plan, START, customer=customer, **extra)
        moments = ("2026-02-03T10:15:00Z", "2026-02-27T23:59:59Z", "2026-02-28T00:00:00Z", "2026-03-31T12:30:00Z",
                   "2026-04-20T00:00:00Z")  # fmt: skip
        for place, moment in enumerate(moments):
            world.send(customer, moment, tokens=3 * number + place)
        if number % 4 == 1:
            shop.do(subscription, "cancellation", cancelsAt="2026-03-12T12:00:00Z", reason="x")
        if number % 5 == 0 and number % 4 == 2:
            other = plans[3][0]
            shop.do(subscription, "planChange", planId=other, effectiveAt="2026-03-10T00:00:00Z")
        found.append(subscription)
    return found


def read(shop: Shop, subscription: str) -> list[Any]:
    """Give all that bills of a subscription and of what followed it say, but for ids and when it was done."""
    invoices = [
        (invoice["sequenceNumber"], invoice["status"], invoice["periodStart"], invoice["periodEnd"],
         invoice["grandTotal"], invoice["totalTax"],
         [(line["invoiceDisplayName"], line["periodStart"], line["periodEnd"], line["quantity"], line["totalPrice"])
          for line in shop.world.lines(invoice["id"])])
        for invoice in shop.world.invoices(subscription)
    ]  # fmt: skip
    for follower in Subscription.objects.filter(replaces__public_id=subscription):
        invoices += read(shop, follower.public_id)
    return invoices


def run_late(clock: TestClock, until: str) -> None:
    """Do all that is due as a worker does on the wall clock: everything sees the late moment as the present."""
    run_due(clock_id=clock.pk, until=at(until), in_simulated_time=False)


def test_late_twice_and_by_two_workers_the_bills_are_those_of_who_came_on_time() -> None:
    world = make_world()
    on_time, late = Shop(world, START), Shop(world, START)
    late.product, late.metric = on_time.product, on_time.metric
    plans = sold(world, on_time)
    punctual = twenty(world, on_time, plans)
    drain()
    for day in ("2026-02-15", "2026-03-01", "2026-03-15", "2026-04-01", "2026-04-15", "2026-05-02"):
        on_time.advance(f"{day}T00:00:00Z")
    tardy = twenty(world, late, plans)
    drain()
    clock = TestClock.objects.get(public_id=late.clock)
    # Nothing ran for three months, then two workers at once, and both again a month later.
    for _ in range(3):
        at_once([lambda: run_late(clock, END)] * 2)
    run_late(clock, END)
    TestClock.objects.filter(pk=clock.pk).update(current_time=at(END), target_time=at(END))

    expected, found = ([read(on_time, one) for one in ids] for ids in (punctual, tardy))
    assert found == expected
    assert not Subscription.objects.exclude(parked_reason="").exists()
    issued = Invoice.objects.filter(number__isnull=False)
    numbers = sorted(issued.values_list("number", flat=True))
    assert len(set(numbers)) == len(numbers)
    assert numbers[-1].endswith(f"{len(numbers):06}")
    assert all(len(bills) >= 3 for bills in expected)
    # Once more does nothing.
    before = list(Invoice.objects.order_by("pk").values())
    at_once([lambda: run_late(clock, END)] * 2)
    assert list(Invoice.objects.order_by("pk").values()) == before
