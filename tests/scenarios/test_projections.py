"""Coming invoices are what the boundaries will bring, but for usage."""

from typing import Any

import pytest

from apps.invoicing.models import Invoice
from tests.world import World

pytestmark = pytest.mark.django_db

START = "2026-01-01T00:00:00Z"


def projected(world: World, subscription: str, to: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.api.get(f"/v2/invoices/projected?subscriptionId={subscription}&to={to}")[
        "data"
    ]
    return found


def test_projections_have_true_ups_caps_coupons_and_discounts_and_come_true(world: World) -> None:
    product = world.product()
    prices = [world.fee_price(product, "49.00"), world.usage_price(world.metric(product))]
    plan = world.plan(
        product, prices, minimumCommitment={"amount": "100.00"}, spendCap={"amount": "300.00"}, defaultTaxRate=20
    )
    customer = world.customer()
    clock = world.clock(START)
    made = world.subscribe(customer, plan, at=START, clock=clock)
    world.pay(made["payment"]["invoiceId"])
    path = f"/v0/subscriptions/{made['id']}"
    coupon = {"name": "Hello", "code": "HELLO", "amountOff": "30.00", "currency": "USD", "duration": "repeating"}
    world.api.post("/v0/coupons", {**coupon, "durationPeriods": 2, "merchantId": world.id})
    world.api.post(f"{path}/coupons", {"code": "HELLO"})
    world.api.post(
        f"{path}/adjustments",
        {"type": "percentageDiscount", "percentageDiscount": "0.5", "effectiveFrom": "2026-03-01T00:00:00Z"},
    )
    before = Invoice.objects.count()
    rows = projected(world, made["id"], "2026-05-02T00:00:00Z")
    assert Invoice.objects.count() == before
    assert rows == projected(world, made["id"], "2026-05-02T00:00:00Z")
    # 49.00 ahead and a true-up of 51.00, less 30.00 twice; from March on half the fee, and more true-up.
    assert [row["subtotal"] for row in rows] == ["70.00", "45.50", "100.00", "100.00"]
    world.advance(clock, "2026-05-02T00:00:00Z")
    billed = world.invoices(made["id"])[1:5]
    assert [row["grandTotal"] for row in billed] == [row["grandTotal"] for row in rows]
    assert [row["sequenceNumber"] for row in billed] == [row["sequenceNumber"] for row in rows]
    assert [row["periodEnd"] for row in billed] == [row["periodEnd"] for row in rows]


def test_projections_know_what_is_used_already_but_do_not_show_it(world: World) -> None:
    product = world.product()
    prices = [world.fee_price(product, "49.00"), world.usage_price(world.metric(product))]
    plan = world.plan(product, prices, minimumCommitment={"amount": "100.00"})
    customer = world.customer()
    clock = world.clock(START)
    made = world.subscribe(customer, plan, at=START, clock=clock)
    world.pay(made["payment"]["invoiceId"])
    world.send(customer, "2026-01-02T00:00:00Z", tokens=10_000_000)
    world.advance(clock, "2026-01-03T00:00:00Z")
    # February's fee and 31.00 that are missing of January's 100.00: 49.00 and 20.00 are there.
    assert [row["subtotal"] for row in projected(world, made["id"], "2026-02-02T00:00:00Z")] == ["80.00"]
