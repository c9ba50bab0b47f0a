"""Prices that look at single events, from the event to the invoice and its corrections."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.invoicing.models import Invoice, InvoiceLine
from apps.metering.models import Retention
from apps.rating.reading import recompute
from tests.world import World, at

pytestmark = pytest.mark.django_db

CARD = {"percentage": "0.029", "fixedCharge": "0.30", "maxCharge": "10", "freeEvents": 1}


def subscribed(world: World, model: str, properties: dict[str, Any], **metric: Any) -> tuple[str, str, str]:
    """Give customer, clock and subscription on a plan of one metered price."""
    product = world.product()
    counted = world.metric(product, path="$.amount", unit="USD", **metric)
    price = world.usage_price(counted, model=model, properties=properties, invoiceDisplayName="Payments")
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, world.plan(product, [price]), at="2026-01-01T00:00:00Z", clock=clock)
    return customer, clock, str(subscription["id"])


def only_line(world: World, subscription: str, number: int) -> dict[str, Any]:
    (line,) = [line for line in world.lines(world.invoices(subscription)[number]["id"]) if not line["isLate"]]
    assert recompute(line["provenance"]) == Decimal(line["totalPrice"])
    return line


def late_line(world: World, subscription: str, number: int) -> dict[str, Any]:
    (line,) = [line for line in world.lines(world.invoices(subscription)[number]["id"]) if line["isLate"]]
    assert recompute(line["provenance"]) == Decimal(line["totalPrice"])
    return line


def test_a_share_of_each_payment_month_by_month(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.invoicing.selectors.late.OVERLAP", timedelta(0))
    customer, clock, subscription = subscribed(world, "percentage", CARD)
    for key, moment, amount in (
        ("a", "2026-01-03T10:15:00Z", "100"),
        ("b", "2026-01-03T10:15:01Z", "50.50"),
        ("c", "2026-01-20T23:59:59.999999Z", "9999"),
        ("d", "2026-02-01T00:00:00Z", "7"),
    ):
        world.send(customer, moment, key=key, amount=amount)
    world.advance(clock, "2026-01-25T00:00:00Z")
    # The first is free, 50.50 × 2.9 % + 0.30 = 1.7645, and the large one is held at 10: live and issued alike.
    live = world.invoices(subscription)[0]
    assert (live["status"], live["grandTotal"]) == ("ACTIVE", "11.76")
    world.advance(clock, "2026-02-02T00:00:00Z")
    january = world.invoices(subscription)[0]
    assert (january["status"], january["grandTotal"]) == ("ISSUED", "11.76")
    line = only_line(world, subscription, 0)
    assert line["quantity"] == 10149.5
    assert line["provenance"]["steps"][0]["params"] == {
        "quantity": "10149.5",
        "counted": {
            "free": {"events": 1, "value": "100"},
            "atRate": {"events": 1, "value": "50.5"},
            "atMinimum": {"events": 0},
            "atMaximum": {"events": 1},
            "givenBack": {"value": "0"},
        },
    }

    # A payment that comes late happened first, so it takes the gift: the 100 are paid now.
    world.send(customer, "2026-01-02T00:00:00Z", amount="20")
    world.advance(clock, "2026-03-02T00:00:00Z")
    late = late_line(world, subscription, 1)
    assert (late["totalPrice"], late["quantity"]) == ("3.20", 20)
    assert late["invoiceDisplayName"] == "Payments (late usage)"

    # One is voided: its 1.7645 goes back, over as many invoices as it takes.
    world.api.post("/v0/events/void", {"reason": "fraud", "idempotencyKeys": ["b"]}, expect=200)
    for month in ("03", "04", "05"):
        world.send(customer, f"2026-{month}-05T00:00:00Z", amount="1")
        world.send(customer, f"2026-{month}-06T00:00:00Z", amount="10")
    world.advance(clock, "2026-04-02T00:00:00Z")
    march = late_line(world, subscription, 2)
    assert (march["totalPrice"], march["quantity"]) == ("-0.59", -50.5)
    assert march["invoiceDisplayName"] == "Payments (correction)"
    assert world.invoices(subscription)[2]["grandTotal"] == "0.00"
    # What is left to give back needs no raw events: those of January are gone by now.
    Retention.objects.update_or_create(pk=1, defaults={"raw_gone_until": at("2026-02-01T00:00:00Z")})
    world.advance(clock, "2026-06-02T00:00:00Z")
    assert [late_line(world, subscription, number)["totalPrice"] for number in (3, 4)] == ["-0.59", "-0.58"]
    assert world.invoices(subscription)[4]["grandTotal"] == "0.01"


def test_a_price_that_comes_with_the_usage(world: World) -> None:
    customer, clock, subscription = subscribed(
        world, "dynamic", {"minPrice": "0.10", "maxPrice": "0.50", "priceProperty": "$.spot.price"}
    )
    world.send(customer, "2026-01-03T10:15:00Z", amount=3, spot={"price": 0.2})
    world.send(customer, "2026-01-03T10:16:00Z", amount=2, spot={"price": "0.20"})
    world.send(customer, "2026-01-04T00:00:00Z", amount=10)
    world.send(customer, "2026-01-05T00:00:00Z", amount=1, spot={"price": "cheap"})
    world.send(customer, "2026-01-06T00:00:00Z", key="dear", amount=4, spot={"price": 70})
    world.advance(clock, "2026-02-02T00:00:00Z")
    line = only_line(world, subscription, 0)
    # 5 × 0.20 + 11 × 0.10 + 4 × 0.50
    assert (line["totalPrice"], line["quantity"]) == ("4.10", 20)
    assert line["provenance"]["steps"][0]["params"]["counted"] == {
        "withoutPrice": 2,
        "belowMinimum": 0,
        "aboveMaximum": 1,
        "rates": [
            {"rate": "0.1", "quantity": "11"},
            {"rate": "0.2", "quantity": "5"},
            {"rate": "0.5", "quantity": "4"},
        ],
    }
    # The same quantity at another price in the place of a voided one is worth the difference.
    world.api.post("/v0/events/void", {"reason": "wrong price", "idempotencyKeys": ["dear"]}, expect=200)
    world.send(customer, "2026-01-06T00:00:00Z", amount=4, spot={"price": "0.30"})
    world.send(customer, "2026-02-06T00:00:00Z", amount=100, spot={"price": "0.30"})
    world.advance(clock, "2026-03-02T00:00:00Z")
    late = late_line(world, subscription, 1)
    assert (late["totalPrice"], late["quantity"]) == ("-0.80", 0)
    assert late["invoiceDisplayName"] == "Payments (correction)"
    assert world.invoices(subscription)[1]["grandTotal"] == "29.20"


def test_shares_by_tier_of_the_months_sum(world: World) -> None:
    tiers = [
        {"upTo": "1000", "percentage": "0.03"},
        {"upTo": None, "percentage": "0.01", "flatFee": "5"},
    ]
    customer, clock, subscription = subscribed(world, "graduated_percentage", {"tiers": tiers})
    world.send(customer, "2026-01-03T10:15:00Z", amount="900")
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert only_line(world, subscription, 0)["totalPrice"] == "27.00"
    world.send(customer, "2026-01-04T10:15:00Z", amount="300")
    world.advance(clock, "2026-03-02T00:00:00Z")
    # 1,000 × 3 % + 200 × 1 % + 5 − 27
    assert late_line(world, subscription, 1)["totalPrice"] == "10.00"


def test_single_events_that_are_gone_are_not_guessed(world: World) -> None:
    customer, clock, _ = subscribed(world, "percentage", CARD)
    world.send(customer, "2026-01-03T10:15:00Z", amount="100")
    Retention.objects.create(pk=1, raw_gone_until=at("2026-01-02T00:00:00Z"))
    world.advance(clock, "2026-02-02T00:00:00Z")
    invoice = Invoice.objects.get(sequence_number=1)
    assert invoice.status == "FAILED"
    assert "are dropped" in invoice.failure_reason


def test_the_paper_says_what_was_counted(world: World) -> None:
    customer, clock, _ = subscribed(world, "percentage", CARD)
    world.send(customer, "2026-01-03T10:15:00Z", amount="100")
    world.send(customer, "2026-01-04T10:15:00Z", amount="50")
    world.advance(clock, "2026-02-02T00:00:00Z")
    client = Client()
    client.force_login(world.owner)
    invoice = InvoiceLine.objects.get(kind="metered", invoice__number__isnull=False).invoice
    page = client.get(reverse("admin:invoicing_invoice_change", args=[invoice.pk])).content.decode()
    assert (
        "price the quantity: 150 at percentage (rate 2.9 %, fixed 0.3, max 10, free events 1);"
        " free: events 1, value 100; at rate: events 1, value 50 → 1.75" in page
    )


def test_a_price_of_single_events_wants_a_metric_that_adds_up(world: World) -> None:
    product = world.product()
    highest = world.metric(product, aggregation="MAX")
    body = {
        "invoiceDisplayName": "Payments",
        "paymentTerm": "in_arrears",
        "model": "percentage",
        "properties": CARD,
        "billableMetricId": highest,
    }
    refused = world.api.post("/v0/prices", body, expect=400)
    assert [problem["field"] for problem in refused["errors"]] == ["model"]
    listed = world.api.post("/v0/prices", {**body, "model": "guess"}, expect=400)
    assert "graduated_percentage" in str(listed)
    calls = world.metric(product, path="", aggregation="COUNT", valueProperty=None)
    made = world.api.post("/v0/prices", {**body, "billableMetricId": calls})
    # The published client knows no percentage without bounds; it is told what the first unit costs.
    assert made["properties"] == {**CARD, "unitPrice": "0"}
