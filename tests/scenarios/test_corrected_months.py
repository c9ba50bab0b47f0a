"""Events corrected after their month was invoiced, as a calendar."""

from decimal import Decimal
from typing import Any

import pytest

from apps.metering.models import BackfillJob, UsageWindow
from apps.metering.services.jobs import run_backfill
from apps.rating.reading import recompute
from tests.world import World

pytestmark = pytest.mark.django_db


def subscribed(world: World, *, fee: str | None = "49.00") -> tuple[str, str, dict[str, Any]]:
    """Give customer, clock and subscription on a plan of usage, and a monthly fee if one is named."""
    product = world.product()
    prices = [world.usage_price(world.metric(product))]
    if fee is not None:
        prices.append(world.fee_price(product, fee))
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    plan = world.plan(product, prices)
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    if fee is not None:
        world.pay(subscription["payment"]["invoiceId"])
    return customer, clock, subscription


def void(world: World, *keys: str) -> None:
    answer = world.api.post("/v0/events/void", {"reason": "test traffic", "idempotencyKeys": list(keys)}, expect=200)
    assert answer["voided"] == len(keys)


def late_lines(world: World, invoice: dict[str, Any]) -> list[dict[str, Any]]:
    return [line for line in world.lines(invoice["id"]) if line["isLate"]]


def test_a_void_after_the_invoice_is_given_back_on_the_next_one(world: World) -> None:
    customer, clock, subscription = subscribed(world)
    world.send(customer, "2026-01-03T10:15:00Z", key="a", tokens=1_000_000)
    world.send(customer, "2026-01-03T10:45:00Z", key="b", tokens=500_000)
    world.advance(clock, "2026-02-02T00:00:00Z")
    january = world.invoices(subscription["id"])[1]
    assert january["grandTotal"] == "52.00"

    # February: both events of the hour are voided, so that its window vanishes.
    void(world, "a", "b")
    assert not UsageWindow.objects.exists()
    open_now = world.invoices(subscription["id"])[2]
    assert open_now["grandTotal"] == "46.00"
    world.advance(clock, "2026-03-02T00:00:00Z")
    assert world.invoices(subscription["id"])[1] == january
    february = world.invoices(subscription["id"])[2]
    assert february["grandTotal"] == "46.00"
    (line,) = late_lines(world, february)
    assert (line["totalPrice"], line["quantity"]) == ("-3.00", -1_500_000)
    assert line["invoiceDisplayName"] == "Tokens (correction)"
    assert line["provenance"]["period"] == {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}
    assert recompute(line["provenance"]) == Decimal("-3.00")
    assert [step["op"] for step in line["provenance"]["steps"]] == ["evaluate", "subtract", "round"]

    # It is given back once, and what comes late after it adds to what is left.
    world.send(customer, "2026-01-04T00:00:00Z", tokens=250_000)
    world.advance(clock, "2026-04-02T00:00:00Z")
    march = world.invoices(subscription["id"])[3]
    assert [line["totalPrice"] for line in late_lines(world, march)] == ["0.50"]
    world.advance(clock, "2026-05-02T00:00:00Z")
    assert late_lines(world, world.invoices(subscription["id"])[4]) == []


def test_a_correction_larger_than_the_invoice_goes_on_to_the_next(world: World) -> None:
    customer, clock, subscription = subscribed(world, fee=None)
    world.send(customer, "2026-01-03T10:15:00Z", key="a", tokens=5_000_000)
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert world.invoices(subscription["id"])[0]["grandTotal"] == "10.00"
    void(world, "a")
    totals, corrections = [], []
    for month, tokens in ((2, 2_000_000), (3, 0), (4, 3_000_000), (5, 2_000_000), (6, 1_000_000)):
        if tokens:
            world.send(customer, f"2026-{month:02d}-10T00:00:00Z", tokens=tokens)
        world.advance(clock, f"2026-{month + 1:02d}-02T00:00:00Z")
        invoice = world.invoices(subscription["id"])[month - 1]
        assert invoice["status"] in {"ISSUED", "PAID"}
        totals.append(invoice["grandTotal"])
        lines = late_lines(world, invoice)
        corrections.append([line["totalPrice"] for line in lines])
        for line in lines:
            assert recompute(line["provenance"]) == Decimal(line["totalPrice"])
    # 10.00 are given back: 4.00, nothing, 6.00 of the 6.00, and then it is done.
    assert totals == ["0.00", "0.00", "0.00", "4.00", "2.00"]
    assert corrections == [["-4.00"], ["0.00"], ["-6.00"], [], []]


def test_a_backfill_after_the_invoice_is_billed_on_the_next_one(world: World) -> None:
    product = world.product()
    calls = world.metric(product, path="", aggregation="COUNT", valueProperty=None)
    beginning = world.metric(product, eventFrom="2026-01-20T00:00:00Z")
    plan = world.plan(product, [world.usage_price(beginning), world.usage_price(calls, "1.00")])
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    world.send(customer, "2026-01-10T00:00:00Z", tokens=1_000_000)
    world.send(customer, "2026-01-25T00:00:00Z", tokens=1_000_000)
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert world.invoices(subscription["id"])[0]["grandTotal"] == "4.00"
    world.api.patch(f"/v0/billableMetrics/{beginning}", {"eventFrom": "2026-01-01T00:00:00Z"})
    world.api.post(f"/v0/billableMetrics/{beginning}/backfill", expect=202)
    assert not run_backfill(job_id=BackfillJob.objects.get().pk, seconds=10)
    world.advance(clock, "2026-03-02T00:00:00Z")
    february = world.invoices(subscription["id"])[1]
    assert [line["totalPrice"] for line in late_lines(world, february)] == ["2.00"]
