"""One price for each model and region, from the event to the invoice and its corrections."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.catalog.models import BillableMetric
from apps.invoicing.models import InvoiceLine
from apps.rating.reading import recompute
from tests.world import World

pytestmark = pytest.mark.django_db

DIMENSIONS = {"model": "$.model", "region": "$.region"}
PRICES = {
    "unitPrice": "0.01",
    "groups": [
        {"match": {"model": "opus"}, "properties": {"unitPrice": "0.05"}},
        {"match": {"model": "opus", "region": "eu"}, "properties": {"unitPrice": "0.06"}},
        {"match": {"model": "mini"}, "properties": {"unitPrice": "-0.001"}},
    ],
}


def subscribed(world: World, model: str, properties: dict[str, Any], **metric: Any) -> tuple[str, str, str]:
    """Give customer, clock and subscription on a plan of one metered price."""
    product = world.product()
    price = world.usage_price(world.metric(product, groupBy=DIMENSIONS, **metric), model=model, properties=properties)
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, world.plan(product, [price]), at="2026-01-01T00:00:00Z", clock=clock)
    return customer, clock, str(subscription["id"])


def lines(world: World, subscription: str, number: int) -> list[dict[str, Any]]:
    found = world.lines(world.invoices(subscription)[number]["id"])
    for line in found:
        assert recompute(line["provenance"]) == Decimal(line["totalPrice"])
    return found


def test_each_model_and_region_has_its_price(world: World) -> None:
    customer, clock, subscription = subscribed(world, "standard", PRICES)
    world.send(customer, "2026-01-03T10:15:00Z", tokens=100, model="opus", region="us")
    world.send(customer, "2026-01-04T10:15:00Z", key="eu", tokens=100, model="opus", region="eu")
    world.send(customer, "2026-01-04T10:16:00Z", tokens=300, model="haiku", region="eu")
    world.send(customer, "2026-01-05T10:16:00Z", tokens=400)
    world.send(customer, "2026-01-06T10:16:00Z", tokens=500, model="mini")
    world.advance(clock, "2026-01-25T00:00:00Z")
    # 5 + 6 + 7 − 0.50: live and issued alike.
    assert world.invoices(subscription)[0]["grandTotal"] == "17.50"
    world.advance(clock, "2026-02-02T00:00:00Z")
    (january,) = lines(world, subscription, 0)
    assert (january["totalPrice"], january["quantity"]) == ("17.50", 1400)
    assert january["provenance"]["steps"][0]["params"]["counted"] == {
        "groups": [
            {"price": None, "quantity": "700"},
            {"price": 0, "quantity": "100"},
            {"price": 1, "quantity": "100"},
            {"price": 2, "quantity": "500"},
        ]
    }
    client = Client()
    client.force_login(world.owner)
    line = InvoiceLine.objects.get(kind="metered", invoice__number__isnull=False)
    page = client.get(reverse("admin:invoicing_invoice_change", args=[line.invoice.pk])).content.decode()
    assert (
        "1400 by model, region: the rest: units 700 × 0.01 = 7; model opus: units 100 × 0.05 = 5;"
        " model opus, region eu: units 100 × 0.06 = 6; model mini: units 500 × -0.001 = -0.5 → 17.5" in page
    )
    listed = client.get(reverse("admin:catalog_price_changelist")).content.decode()
    assert "unitPrice 0.01<br>model opus: unitPrice 0.05<br>model opus, region eu: unitPrice 0.06" in listed

    # A model that was sent wrongly is voided and sent again: the same quantity at another price.
    world.api.post("/v0/events/void", {"reason": "wrong region", "idempotencyKeys": ["eu"]}, expect=200)
    world.send(customer, "2026-01-04T10:15:00Z", tokens=100, model="opus", region="us")
    world.send(customer, "2026-02-04T10:15:00Z", tokens=1000)
    world.advance(clock, "2026-03-02T00:00:00Z")
    february = lines(world, subscription, 1)
    assert [(line["totalPrice"], line["quantity"], line["isLate"]) for line in february] == [
        ("10.00", 1000, False),
        ("-1.00", 0, True),
    ]


@pytest.mark.parametrize(("tiers", "total"), [("shared", "23.00"), ("own", "35.00")])
def test_tiers_are_shared_or_own(world: World, tiers: str, total: str) -> None:
    ladder = {"tiers": [{"upTo": "100", "unitPrice": "0.10"}, {"upTo": None, "unitPrice": "0.05"}]}
    dear = {"tiers": [{"upTo": "50", "unitPrice": "0.20"}, {"upTo": None, "unitPrice": "0.01"}]}
    customer, clock, subscription = subscribed(
        world,
        "graduated",
        {**ladder, "groups": [{"match": {"model": "opus"}, "properties": dear}], "groupTiers": tiers,
         "groupBy": ["model", "region"]},
    )  # fmt: skip
    for model, region, tokens in (("a", "eu", 90), ("b", "eu", 60), ("opus", "eu", 50), ("opus", "us", 50)):
        world.send(customer, "2026-01-03T10:15:00Z", tokens=tokens, model=model, region=region)
    world.advance(clock, "2026-02-02T00:00:00Z")
    # Shared: 100 × 0.10 + 50 × 0.05, and 50 × 0.20 + 50 × 0.01. Own: 90 × 0.10, 60 × 0.10, and 50 × 0.20 twice.
    assert [line["totalPrice"] for line in lines(world, subscription, 0)] == [total]


def test_shares_of_payments_by_country(world: World) -> None:
    customer, clock, subscription = subscribed(
        world,
        "percentage",
        {
            "percentage": "0.03",
            "fixedCharge": "0.10",
            "groups": [{"match": {"region": "eu"}, "properties": {"percentage": "0.01", "freeEvents": 1}}],
        },
    )
    for moment, region, amount in (
        ("2026-01-03T10:15:00Z", "us", 100),
        ("2026-01-03T10:16:00Z", "eu", 1000),
        ("2026-01-04T10:15:00Z", "eu", 500),
    ):
        world.send(customer, moment, tokens=amount, region=region)
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert [line["totalPrice"] for line in lines(world, subscription, 0)] == ["8.10"]
    # One that comes late and was first is free in its region; the 1,000 are paid now.
    world.send(customer, "2026-01-02T10:15:00Z", tokens=7, region="eu")
    world.advance(clock, "2026-03-02T00:00:00Z")
    assert [line["totalPrice"] for line in lines(world, subscription, 1) if line["isLate"]] == ["10.00"]


def test_the_highest_of_each_region_has_tiers_of_its_own(world: World) -> None:
    customer, clock, subscription = subscribed(
        world, "standard", {"unitPrice": "2", "groupTiers": "own", "groupBy": ["region"]}, aggregation="MAX"
    )
    for region, tokens in (("eu", 3), ("eu", 5), ("us", 4)):
        world.send(customer, "2026-01-03T10:15:00Z", tokens=tokens, region=region)
    world.advance(clock, "2026-02-02T00:00:00Z")
    (line,) = lines(world, subscription, 0)
    assert (line["totalPrice"], line["quantity"]) == ("18.00", 9)


def test_a_dimension_that_a_price_goes_by_stays(world: World) -> None:
    product = world.product()
    metric = world.metric(product, groupBy=DIMENSIONS)
    price = world.usage_price(metric, properties=PRICES)
    kept = {"groupBy": {"model": "$.model"}}
    answer = world.api.patch(f"/v0/billableMetrics/{metric}", kept, expect=409)
    assert answer["code"] == "METRIC_IN_USE"
    assert [(row["id"], row["dimensions"]) for row in answer["details"]["blockers"][0]["items"]] == [
        (price, ["region"])
    ]
    row = BillableMetric.objects.get(public_id=metric)
    client = Client()
    client.force_login(world.owner)
    url = reverse("admin:catalog_billablemetric_change", args=[row.pk])
    form = client.get(url).context["adminform"].form
    sent = {name: "" if value is None else value for name, value in form.initial.items()}
    refused = client.post(url, {**sent, "metadata": "{}", "group_by": '{"model": "$.model"}'})
    assert "Prices go by the dimension region" in refused.content.decode()
    row.refresh_from_db()
    assert row.group_by == DIMENSIONS
    world.api.patch(f"/v0/prices/{price}", {"properties": {"unitPrice": "0.01"}})
    assert world.api.patch(f"/v0/billableMetrics/{metric}", kept)["groupBy"] == kept["groupBy"]


def test_what_groups_ask_of_their_metric_is_checked(world: World) -> None:
    product = world.product()

    def refused(metric: str, model: str = "standard", **properties: Any) -> set[str]:
        body = {
            "invoiceDisplayName": "Tokens",
            "paymentTerm": "in_arrears",
            "model": model,
            "properties": properties,
            "billableMetricId": metric,
        }
        return {problem["field"] for problem in world.api.post("/v0/prices", body, expect=400)["errors"]}

    plain = world.metric(product)
    assert refused(plain, **PRICES) == {"properties.groups"}
    highest = world.metric(product, aggregation="MAX", groupBy=DIMENSIONS)
    assert refused(highest, **PRICES) == {"properties.groupTiers"}
    assert refused(highest, "percentage", percentage="0.1", groupTiers="own", groupBy=["model"]) == {"model"}
    fee = world.api.post(
        "/v0/fees", {"name": "Fee", "description": "", "merchantId": world.id, "productId": product}
    )["id"]
    body = {
        "invoiceDisplayName": "F",
        "paymentTerm": "in_advance",
        "properties": {**PRICES, "groups": PRICES["groups"][:2]},  # type: ignore[index]
        "feeId": fee,
        "billingCadence": "P1M",
    }
    answer = world.api.post("/v0/prices", body, expect=400)
    assert {problem["field"] for problem in answer["errors"]} == {"properties.groups"}
