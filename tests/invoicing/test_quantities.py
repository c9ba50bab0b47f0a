"""Quantities that are chosen when a customer subscribes."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.subscriptions.models import Subscription, SubscriptionQuantity
from tests.world import World, make_world

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


class Seats:
    """A plan of 10.00 a seat in advance, 2.00 a backup in arrears, and usage at 1.00."""

    def __init__(self, world: World, **plan: Any) -> None:
        self.world = world
        product = world.product()
        self.seats = world.fee_price(product, "10.00")
        self.backups = world.fee_price(product, "2.00", paymentTerm="in_arrears", quantity=3)
        self.usage = world.usage_price(world.metric(product), unit_price="1")
        lines = [(self.seats, "seats"), (self.backups, "backups"), (self.usage, "usage")]
        self.plan = world.plan(product, [{"priceId": p, "key": k} for p, k in lines], **plan)  # type: ignore[misc]
        self.clock = world.clock(JANUARY)

    def subscribe(self, *items: dict[str, Any], **extra: Any) -> dict[str, Any]:
        return self.world.subscribe(
            self.world.customer(), self.plan, at=JANUARY, clock=self.clock, items=list(items), **extra
        )

    def refused(self, *items: Any) -> list[tuple[str, str]]:
        body = {"name": "x", "planId": self.plan, "customerId": self.world.customer(), "startedAt": JANUARY}
        answer = self.world.api.post("/v0/subscriptions", {**body, "items": list(items)}, expect=400)
        assert not Subscription.objects.exists()
        return [(error["field"], error["code"]) for error in answer["errors"]]


@pytest.fixture
def seats(world: World) -> Seats:
    return Seats(world)


def test_chosen_quantities_are_billed_every_period(seats: Seats) -> None:
    world = seats.world
    made = seats.subscribe({"priceKey": "seats", "quantity": "5"}, {"priceId": seats.backups, "quantity": 2})
    assert made["items"] == [{"priceKey": "backups", "quantity": "2"}, {"priceKey": "seats", "quantity": "5"}]
    assert made["payment"]["amount"] == "50.00"
    world.pay(made["payment"]["invoiceId"])
    projected = world.api.get(f"/v2/invoices/projected?subscriptionId={made['id']}")["data"]
    assert projected[0]["grandTotal"] == "54.00"
    world.advance(seats.clock, "2026-02-02T00:00:00Z")
    # Two backups of January, five seats of February.
    assert [invoice["grandTotal"] for invoice in world.invoices(made["id"])][:2] == ["50.00", "54.00"]
    first = world.lines(world.invoices(made["id"])[0]["id"])[0]
    assert (first["quantity"], first["unitPrice"]) == (5, "10")
    assert world.api.get(f"/v0/subscriptions/{made['id']}")["items"] == made["items"]


def test_without_a_choice_the_price_says_how_many(seats: Seats) -> None:
    made = seats.subscribe()
    seats.world.pay(made["payment"]["invoiceId"])
    assert made["items"] == []
    assert not SubscriptionQuantity.objects.exists()
    seats.world.advance(seats.clock, "2026-02-02T00:00:00Z")
    assert [i["grandTotal"] for i in seats.world.invoices(made["id"])][:2] == ["10.00", "16.00"]


def test_none_and_a_part_can_be_chosen(seats: Seats) -> None:
    made = seats.subscribe({"priceKey": "seats", "quantity": "0"}, {"priceKey": "backups", "quantity": "1.5"})
    assert (made["status"], made["payment"]["status"]) == ("active", "paid")
    seats.world.advance(seats.clock, "2026-02-02T00:00:00Z")
    assert [i["grandTotal"] for i in seats.world.invoices(made["id"])][:2] == ["0.00", "3.00"]


@pytest.mark.parametrize(
    ("items", "problems"),
    [
        ([{"priceKey": "nothing", "quantity": "1"}], [("items.0.priceKey", "unknown")]),
        ([{"priceKey": "usage", "quantity": "1"}], [("items.0.priceKey", "invalid")]),
        (
            [{"priceKey": "seats", "quantity": "1"}, {"priceKey": "seats", "quantity": "2"}],
            [("items.1.priceKey", "duplicate")],
        ),
        ([{"quantity": "1"}], [("items.0.priceKey", "required")]),
        ([{"priceKey": "seats", "priceId": "x", "quantity": "1"}], [("items.0.priceKey", "required")]),
        ([{"priceKey": "seats"}], [("items.0.quantity", "required")]),
        ([{"priceKey": "seats", "quantity": "-1"}], [("items.0.quantity", "out_of_range")]),
        ([{"priceKey": "seats", "quantity": "0.0000000001"}], [("items.0.quantity", "out_of_range")]),
        ([{"priceKey": "seats", "quantity": "many"}], [("items.0.quantity", "invalid")]),
        ([7], [("items.0", "invalid")]),
    ],
)
def test_what_does_not_fit_the_plan_is_named(seats: Seats, items: Any, problems: list[tuple[str, str]]) -> None:
    found = seats.refused(*items)
    assert [(field.removesuffix(".non_field_errors"), code) for field, code in found] == problems


def test_a_price_of_another_merchant_is_none_of_the_plan(seats: Seats) -> None:
    foreign = Seats(make_world())
    assert seats.refused({"priceId": foreign.seats, "quantity": "1"}) == [("items.0.priceId", "unknown")]


def test_the_database_knows_no_negative_quantity_and_no_second_one(seats: Seats) -> None:
    made = seats.subscribe({"priceKey": "seats", "quantity": "5"})
    row = SubscriptionQuantity.objects.get()
    assert row.quantity == Decimal(5)
    with pytest.raises(IntegrityError, match="quantity_not_negative"), transaction.atomic():
        SubscriptionQuantity.objects.update(quantity=-1)
    row.pk = None
    with pytest.raises(IntegrityError, match="quantity_once_at_a_time"), transaction.atomic():
        row.save()
    assert made["id"]
