"""A metric that rounds what a period used before it is priced."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.catalog.models import BillableMetric
from apps.rating.reading import recompute
from tests.world import World

pytestmark = pytest.mark.django_db
UP = {"function": "ceil", "precision": 0}


def subscribed(world: World, properties: dict[str, Any], **metric: Any) -> tuple[str, str, str]:
    product = world.product()
    price = world.usage_price(world.metric(product, **metric), properties=properties)
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, world.plan(product, [price]), at="2026-01-01T00:00:00Z", clock=clock)
    return customer, clock, str(subscription["id"])


def lines(world: World, subscription: str, number: int) -> list[dict[str, Any]]:
    found = world.lines(world.invoices(subscription)[number]["id"])
    for line in found:
        assert recompute(line["provenance"]) == Decimal(line["totalPrice"])
    return found


def test_begun_hours_are_billed_whole(world: World) -> None:
    customer, clock, subscription = subscribed(world, {"unitPrice": "3"}, rounding=UP)
    world.send(customer, "2026-01-03T10:15:00Z", tokens="1.2")
    world.send(customer, "2026-01-04T10:15:00Z", key="second", tokens="2.3")
    world.advance(clock, "2026-02-02T00:00:00Z")
    # 3.5 hours are 4, at 3 each.
    (january,) = lines(world, subscription, 0)
    assert (january["totalPrice"], january["quantity"]) == ("12.00", 4)
    asked = january["provenance"]["sources"]["usage"]["asUsed"]
    assert asked["rounding"] == UP


def test_late_usage_within_a_begun_hour_is_billed_already(world: World) -> None:
    customer, clock, subscription = subscribed(world, {"unitPrice": "3"}, rounding=UP)
    world.send(customer, "2026-01-03T10:15:00Z", tokens="3.5")
    world.advance(clock, "2026-02-02T00:00:00Z")
    world.send(customer, "2026-01-05T10:15:00Z", key="within", tokens="0.4")
    world.advance(clock, "2026-03-02T00:00:00Z")
    # 3.9 are 4 as well.
    assert [line["totalPrice"] for line in lines(world, subscription, 1)] == ["0.00"]
    world.send(customer, "2026-01-05T11:15:00Z", key="beyond", tokens="0.4")
    world.advance(clock, "2026-04-02T00:00:00Z")
    # 4.3 are 5: one more.
    assert sorted(line["totalPrice"] for line in lines(world, subscription, 2)) == ["0.00", "3.00"]


def test_each_dimension_rounds_what_is_priced_together(world: World) -> None:
    properties = {"unitPrice": "1", "groups": [{"match": {"model": "opus"}, "properties": {"unitPrice": "10"}}]}
    customer, clock, subscription = subscribed(world, properties, rounding=UP, groupBy={"model": "$.model"})
    world.send(customer, "2026-01-03T10:15:00Z", tokens="0.2", model="opus")
    world.send(customer, "2026-01-03T10:16:00Z", key="b", tokens="0.4", model="mini")
    world.send(customer, "2026-01-03T10:17:00Z", key="c", tokens="0.4", model="haiku")
    world.advance(clock, "2026-02-02T00:00:00Z")
    # 0.2 of opus are 1 at 10; 0.8 of the rest are 1 at 1.
    (january,) = lines(world, subscription, 0)
    assert january["totalPrice"] == "11.00"


def test_rounding_is_said_once(world: World) -> None:
    metric = world.metric(world.product(), rounding={"function": "floor", "precision": -3})
    path = f"/v0/billableMetrics/{metric}"
    assert world.api.get(path)["rounding"] == {"function": "floor", "precision": -3}
    assert world.api.patch(path, {"rounding": UP, "name": "Hours"})["rounding"]["function"] == "floor"


def test_unknown_roundings_are_refused(world: World) -> None:
    metric = BillableMetric.objects.get(public_id=world.metric(world.product()))
    for function, precision in (("", 2), ("even", 0), ("ceil", 13)):
        with pytest.raises(IntegrityError), transaction.atomic():
            BillableMetric.objects.filter(pk=metric.pk).update(
                rounding_function=function, rounding_precision=precision
            )
