"""From sign-up to the second invoice, as a calendar."""

from decimal import Decimal

import pytest

from apps.rating.reading import recompute
from tests.world import World

pytestmark = pytest.mark.django_db


def _pro_plan(world: World) -> str:
    product = world.product()
    fee = world.fee_price(product)
    usage = world.usage_price(world.metric(product))
    return world.plan(product, [fee, usage])


def test_sign_up_to_second_invoice(world: World) -> None:
    plan = _pro_plan(world)
    customer = world.customer(externalId="acme-1")
    clock = world.clock("2026-01-31T12:00:00Z")

    # 31 January: sign-up; Invoice 0 asks for the first month's fee.
    subscription = world.subscribe(customer, plan, at="2026-01-31T12:00:00Z", clock=clock)
    assert subscription["status"] == "pending_payment"
    payment = subscription["payment"]
    assert payment["status"] == "pending"
    assert payment["amount"] == "49.00"
    assert payment["breakdown"] == {"upfrontCharges": "49.00", "walletCharge": "0.00"}

    # Paid: active, and the first period is open to the end of February.
    paid = world.pay(payment["invoiceId"])["invoice"]
    assert paid["status"] == "PAID"
    assert paid["invoiceNumber"] == "INV-2026-000001"
    assert world.api.get(f"/v0/subscriptions/{subscription['id']}")["status"] == "active"
    zero, first = world.invoices(subscription["id"])
    assert (zero["sequenceNumber"], first["sequenceNumber"]) == (0, 1)
    assert first["status"] == "ACTIVE"
    assert first["periodEnd"] == "2026-02-28T12:00:00Z"

    # February: usage arrives under both ids of the customer.
    world.send(customer, "2026-02-03T10:15:00Z", tokens=1_000_000)
    body = {
        "type": "ai.inference",
        "source": "test",
        "externalSubject": "acme-1",
        "timestamp": "2026-02-28T11:59:59Z",
        "data": {"tokens": 300_000},
    }
    world.api.post("/v0/events", body, expect=202)
    world.send(customer, "2026-02-28T12:00:00Z", tokens=7)  # the first moment of the next period
    world.advance(clock, "2026-02-20T00:00:00Z")
    live = world.invoices(subscription["id"])[1]
    assert live["status"] == "ACTIVE"
    assert live["grandTotal"] == "51.60"

    # 28 February, an hour of grace later: issued, with March's fee in advance.
    world.advance(clock, "2026-02-28T13:00:00Z")
    issued = world.invoices(subscription["id"])[1]
    assert issued["status"] == "ISSUED"
    assert issued["invoiceNumber"] == "INV-2026-000002"
    assert issued["grandTotal"] == "51.60"
    assert world.amounts(issued["id"]) == [Decimal("2.60"), Decimal("49.00")]

    # March ends on the anchor's day again.
    opened = world.invoices(subscription["id"])[2]
    assert opened["periodEnd"] == "2026-03-31T12:00:00Z"
    world.advance(clock, "2026-04-01T00:00:00Z")
    second = world.invoices(subscription["id"])[2]
    assert second["status"] == "ISSUED"
    assert world.amounts(second["id"]) == [Decimal("0.00"), Decimal("49.00")]


def test_every_line_can_be_recomputed_from_its_provenance(world: World) -> None:
    plan = _pro_plan(world)
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.send(customer, "2026-01-03T10:15:00Z", tokens=1_234_567)
    world.advance(clock, "2026-02-02T00:00:00Z")
    lines = world.lines(world.invoices(subscription["id"])[1]["id"])
    assert len(lines) == 2
    for line in lines:
        assert recompute(line["provenance"]) == Decimal(line["totalPrice"])


def test_late_event_lands_on_the_next_invoice(world: World) -> None:
    plan = _pro_plan(world)
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.send(customer, "2026-01-03T10:15:00Z", tokens=1_000_000)
    world.advance(clock, "2026-02-02T00:00:00Z")
    january = world.invoices(subscription["id"])[1]
    assert january["grandTotal"] == "51.00"

    world.send(customer, "2026-01-30T23:00:00Z", tokens=500_000)
    world.advance(clock, "2026-03-02T00:00:00Z")

    assert world.invoices(subscription["id"])[1] == january
    february = world.invoices(subscription["id"])[2]
    late = [line for line in world.lines(february["id"]) if line["isLate"]]
    assert [line["totalPrice"] for line in late] == ["1.00"]
    assert late[0]["quantity"] == 500_000
    assert recompute(late[0]["provenance"]) == Decimal("1.00")
    # It is billed once: March does not see it again.
    world.advance(clock, "2026-04-02T00:00:00Z")
    march = world.invoices(subscription["id"])[3]
    assert not [line for line in world.lines(march["id"]) if line["isLate"]]


def test_repeated_and_reordered_delivery_counts_once(world: World) -> None:
    plan = _pro_plan(world)
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.send(customer, "2026-01-09T00:00:00Z", key="b", tokens=2_000_000)
    world.advance(clock, "2026-01-10T00:00:00Z")
    for _ in range(3):
        world.send(customer, "2026-01-05T00:00:00Z", key="a", tokens=1_000_000)
        world.send(customer, "2026-01-09T00:00:00Z", key="b", tokens=2_000_000)
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert world.amounts(world.invoices(subscription["id"])[1]["id"]) == [Decimal("6.00"), Decimal("49.00")]


def test_one_time_fee_is_on_invoice_zero_only(world: World) -> None:
    product = world.product()
    setup = world.fee_price(product, "100.00", billingCadence="P0D", invoiceDisplayName="Set-up")
    fee = world.fee_price(product)
    plan = world.plan(product, [setup, fee])
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(world.customer(), plan, at="2026-01-01T00:00:00Z", clock=clock)
    assert subscription["payment"]["amount"] == "149.00"
    world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, "2026-03-02T00:00:00Z")
    assert [invoice["grandTotal"] for invoice in world.invoices(subscription["id"])] == [
        "149.00",
        "49.00",
        "49.00",
        "49.00",
    ]


def test_termination_bills_usage_up_to_the_instant_and_no_further_fee(world: World) -> None:
    plan = _pro_plan(world)
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.send(customer, "2026-01-03T10:15:00Z", tokens=1_000_000)
    world.send(customer, "2026-01-20T00:00:00Z", tokens=9_000_000)
    world.advance(clock, "2026-01-15T06:30:00Z")
    ended = world.api.post(f"/v0/subscriptions/{subscription['id']}/termination", {"reason": "moves on"}, expect=200)
    assert ended["status"] == "terminated"
    assert ended["terminatedAt"] == "2026-01-15T06:30:00Z"
    world.advance(clock, "2026-04-01T00:00:00Z")
    _, final = world.invoices(subscription["id"])
    assert final["status"] == "ISSUED"
    assert final["grandTotal"] == "2.00"
    again = world.api.post(f"/v0/subscriptions/{subscription['id']}/termination", {"reason": "x"}, expect=409)
    assert again["code"] == "SUBSCRIPTION_TERMINATED"


def test_advancing_twice_and_late_changes_nothing(world: World) -> None:
    plan = _pro_plan(world)
    customer = world.customer()
    clocks = [world.clock("2026-01-01T00:00:00Z") for _ in range(2)]
    totals = []
    for clock, steps in zip(
        clocks, (["2026-05-02T00:00:00Z"], [f"2026-{m:02d}-02T00:00:00Z" for m in (1, 2, 3, 4, 5)]), strict=True
    ):
        customer = world.customer()
        subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
        world.pay(subscription["payment"]["invoiceId"])
        for month in (1, 2, 3, 4):
            world.send(customer, f"2026-{month:02d}-11T10:15:00Z", tokens=month * 1_000_000)
        for step in steps:
            world.advance(clock, step)
            world.advance(clock, step)
        totals.append(
            [
                (invoice["sequenceNumber"], invoice["grandTotal"], invoice["periodEnd"], invoice["issuedAt"])
                for invoice in world.invoices(subscription["id"])
            ]
        )
    assert totals[0] == totals[1]
    assert [total for _, total, *_ in totals[0]] == ["49.00", "51.00", "53.00", "55.00", "57.00", "49.00"]


def test_plan_anchor_makes_a_prorated_stub(world: World) -> None:
    product = world.product()
    fee = world.fee_price(product, "31.00")
    plan = world.plan(product, [fee], billingAnchor="2025-01-01T00:00:00Z")
    clock = world.clock("2026-01-22T00:00:00Z")
    subscription = world.subscribe(world.customer(), plan, at="2026-01-22T00:00:00Z", clock=clock)
    # 10 of January's 31 days are left.
    assert subscription["payment"]["amount"] == "10.00"
    world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert [invoice["grandTotal"] for invoice in world.invoices(subscription["id"])][:2] == ["10.00", "31.00"]
