"""What is found after a subscription's last invoice: usage that came late, and money to be given back."""

from decimal import Decimal
from typing import Any

import pytest

from apps.invoicing.models import BalanceEntry, Invoice
from apps.invoicing.services.afterwards import open_due_corrections
from apps.rating.reading import recompute
from tests.concurrency import at_once
from tests.world import World, make_world


def ended(world: World, *, tokens: int = 5_000_000, unit_price: str = "0.000002") -> tuple[str, str, dict[str, Any]]:
    """Give customer, clock and a subscription that used tokens in January and ended with its 20th."""
    product = world.product()
    plan = world.plan(product, [world.usage_price(world.metric(product), unit_price)])
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    if tokens:
        world.send(customer, "2026-01-03T10:15:00Z", key="first", tokens=tokens)
    world.advance(clock, "2026-01-20T00:00:00Z")
    world.api.post(f"/v0/subscriptions/{subscription['id']}/termination", {"reason": "over"}, expect=200)
    world.advance(clock, "2026-01-21T00:00:00Z")
    return customer, clock, subscription


def balance(world: World, customer: str) -> dict[str, str]:
    found = world.api.get(f"/v0/customers/{customer}/balance")
    return {row["currency"]: row["amount"] for row in found["balances"]}


@pytest.mark.django_db
def test_late_usage_of_an_ended_subscription_has_a_bill_of_its_own(world: World) -> None:
    customer, clock, subscription = ended(world)
    assert [i["grandTotal"] for i in world.invoices(subscription["id"])] == ["10.00"]
    world.send(customer, "2026-01-19T23:00:00Z", tokens=1_000_000)
    world.send(customer, "2026-01-20T01:00:00Z", tokens=9_000_000)  # after the end: nobody owes it
    world.advance(clock, "2026-01-21T00:30:00Z")
    assert open_due_corrections() == 0  # a day of them is one document
    world.advance(clock, "2026-01-25T00:00:00Z")
    assert open_due_corrections() == 1
    assert open_due_corrections() == 0
    world.advance(clock, "2026-01-25T01:00:00Z")
    first, more = world.invoices(subscription["id"])
    assert (first["grandTotal"], more["grandTotal"], more["status"]) == ("10.00", "2.00", "ISSUED")
    (line,) = world.lines(more["id"])
    assert (line["invoiceDisplayName"], line["isLate"]) == ("Tokens (late usage)", True)
    assert recompute(line["provenance"]) == Decimal("2.00")
    world.advance(clock, "2026-03-25T00:00:00Z")
    assert open_due_corrections() == 0


@pytest.mark.django_db
def test_voided_usage_of_an_ended_subscription_goes_to_the_balance(world: World) -> None:
    customer, _, subscription = ended(world)
    world.api.post("/v0/events/void", {"reason": "test traffic", "idempotencyKeys": ["first"]}, expect=200)
    made = world.api.post(f"/v0/subscriptions/{subscription['id']}/corrections")
    assert (made["status"], made["grandTotal"]) == ("PAID", "-10.00")
    assert balance(world, customer) == {"USD": "10.00"}
    # It is given back once, and what is sent again is asked for again.
    refused = world.api.post(f"/v0/subscriptions/{subscription['id']}/corrections", expect=409)
    assert refused["code"] == "NOTHING_TO_BILL"
    world.send(customer, "2026-01-05T00:00:00Z", tokens=3_000_000)
    again = world.api.post(f"/v0/subscriptions/{subscription['id']}/corrections")
    assert (again["grandTotal"], again["status"]) == ("6.00", "PAID")
    assert balance(world, customer) == {"USD": "4.00"}
    assert sum(Invoice.objects.values_list("grand_total", flat=True)) == Decimal("6.00")


@pytest.mark.django_db
def test_a_late_rebate_never_pays_out(world: World) -> None:
    customer, _, subscription = ended(world, tokens=0, unit_price="-0.000002")
    world.send(customer, "2026-01-05T00:00:00Z", tokens=3_000_000)
    made = world.api.post(f"/v0/subscriptions/{subscription['id']}/corrections")
    assert (made["grandTotal"], balance(world, customer)) == ("0.00", {})
    world.api.post(f"/v0/subscriptions/{subscription['id']}/corrections", expect=409)


@pytest.mark.django_db
def test_what_the_last_invoice_could_not_give_back_follows_it(world: World) -> None:
    product = world.product()
    plan = world.plan(product, [world.usage_price(world.metric(product))])
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    world.send(customer, "2026-01-03T10:15:00Z", key="first", tokens=5_000_000)
    world.advance(clock, "2026-02-02T00:00:00Z")
    world.api.post("/v0/events/void", {"reason": "test traffic", "idempotencyKeys": ["first"]}, expect=200)
    world.send(customer, "2026-02-01T10:15:00Z", tokens=2_000_000)
    world.api.post(f"/v0/subscriptions/{subscription['id']}/termination", {"reason": "over"}, expect=200)
    world.advance(clock, "2026-02-10T00:00:00Z")
    assert [i["grandTotal"] for i in world.invoices(subscription["id"])] == ["10.00", "0.00"]
    assert open_due_corrections() == 1
    world.advance(clock, "2026-02-10T01:00:00Z")
    assert [i["grandTotal"] for i in world.invoices(subscription["id"])] == ["10.00", "0.00", "-6.00"]
    assert balance(world, customer) == {"USD": "6.00"}
    assert open_due_corrections() == 0


@pytest.mark.django_db
def test_unused_prepaid_time_above_the_last_bill_goes_to_the_balance_and_pays(world: World) -> None:
    product = world.product()
    plans = [world.plan(product, [world.fee_price(product, amount)]) for amount in ("31.00", "310.00")]
    assert world.api.patch(f"/v0/plans/{plans[1]}", {"creditUnusedAtEnd": True})["creditUnusedAtEnd"] is True
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, plans[1], at="2026-01-01T00:00:00Z", clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, "2026-01-11T00:00:00Z")
    world.api.post(f"/v0/subscriptions/{subscription['id']}/termination", {"reason": "over"}, expect=200)
    world.advance(clock, "2026-01-12T00:00:00Z")
    last = world.invoices(subscription["id"])[-1]
    assert (last["status"], last["grandTotal"]) == ("PAID", "-210.00")
    assert balance(world, customer) == {"USD": "210.00"}
    assert [(row.kind, row.invoice.public_id) for row in BalanceEntry.objects.all() if row.invoice] == [
        ("credit", last["id"])
    ]
    again = world.subscribe(customer, plans[0], at="2026-01-12T00:00:00Z", clock=clock)
    assert again["status"] == "active"
    assert balance(world, customer) == {"USD": "179.00"}


@pytest.mark.django_db(transaction=True)
def test_two_workers_bill_what_follows_the_end_once() -> None:
    world = make_world()
    customer, clock, subscription = ended(world)
    world.send(customer, "2026-01-19T23:00:00Z", tokens=1_000_000)
    world.advance(clock, "2026-01-25T00:00:00Z")
    assert sum(at_once([open_due_corrections] * 4)) == 1
    world.advance(clock, "2026-01-26T00:00:00Z")
    assert [i["grandTotal"] for i in world.invoices(subscription["id"])] == ["10.00", "2.00"]
