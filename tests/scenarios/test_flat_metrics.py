"""Metrics that charge what a subscriber chooses: users of a seat plan through a quarter."""

from decimal import Decimal
from typing import Any

import pytest

from apps.catalog.models import Price
from tests.scenarios.lives import Shop
from tests.world import World

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"
TIERS = {"tiers": [{"upTo": "5", "unitPrice": "10"}, {"unitPrice": "8"}]}


class Seats(Shop):
    """A plan whose users are a flat metric, billed in advance, beside usage."""

    def __init__(self, world: World) -> None:
        super().__init__(world, JANUARY)
        self.users = self.flat("Active users", "users")

    def flat(self, name: str, unit: str) -> str:
        body = {
            "mode": "flat", "name": name, "unit": unit, "description": "", "merchantId": self.world.id,
            "productId": self.product,
        }  # fmt: skip
        made = self.world.api.post("/v0/billableMetrics", body)
        assert (made["mode"], made["eventType"], made["valueProperty"]) == ("flat", "", None)
        return str(made["id"])

    def price(self, metric: str = "", **extra: Any) -> str:
        body: dict[str, Any] = {
            "invoiceDisplayName": "Users", "paymentTerm": "in_advance", "model": "standard",
            "properties": {"unitPrice": "10.00"}, "billableMetricId": metric or self.users,
        }  # fmt: skip
        return str(self.world.api.post("/v0/prices", {**body, **extra})["id"])

    def subscriber(self, users: int, **price: Any) -> str:
        plan = self.world.plan(self.product, [self.price(**price), self.world.usage_price(self.metric, "1")])
        return self.start(plan, JANUARY, items=[{"billableMetricId": self.users, "quantity": users}])

    def change(self, subscription: str, users: int, **more: Any) -> None:
        items = [{"billableMetricId": self.users, "quantity": users}]
        self.do(subscription, "quantityChange", items=items, **more)


@pytest.fixture
def seats(world: World) -> Seats:
    return Seats(world)


def test_users_are_charged_at_each_period_start_and_changes_prorated(seats: Seats) -> None:
    subscription = seats.subscriber(5)
    assert seats.bills(subscription) == [[("Users", "50.00")]]
    # Half of January is left: three more users for half a month.
    seats.advance("2026-01-16T12:00:00Z")
    seats.change(subscription, 8)
    seats.advance("2026-02-02T00:00:00Z")
    # Half of February is left: two users less.
    seats.advance("2026-02-15T00:00:00Z")
    seats.change(subscription, 6)
    seats.advance("2026-03-10T00:00:00Z")
    seats.change(subscription, 20, timing="period_end")
    seats.advance("2026-04-02T00:00:00Z")
    bills = seats.bills(subscription)
    assert [sum(Decimal(amount) for _, amount in bill) for bill in bills] == [
        Decimal(50),
        Decimal(15 + 80),
        Decimal(-10 + 60),
        Decimal(200),
    ]
    assert [name for name, _ in bills[3]] == ["Tokens", "Users"]


def test_events_never_feed_it_and_its_usage_cannot_be_asked(seats: Seats) -> None:
    subscription = seats.subscriber(5)
    customer = seats.world.api.get(f"/v0/subscriptions/{subscription}")["customerId"]
    seats.world.send(customer, "2026-01-02T00:00:00Z", tokens=3)
    seats.advance("2026-02-02T00:00:00Z")
    assert [amount for _, amount in seats.bills(subscription)[1]] == ["3.00", "50.00"]
    span = "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z"
    for path in (f"meter?{span}", f"events?{span}"):
        refused = seats.world.api.get(f"/v0/billableMetrics/{seats.users}/{path}", expect=409)
        assert refused["code"] == "METRIC_IS_FLAT"
    seats.world.api.post(f"/v0/billableMetrics/{seats.users}/backfill", {}, expect=409)
    alert = {"name": "A", "subscriptionId": subscription, "type": "usage_quantity", "thresholds": ["1"]}
    seats.world.api.post("/v0/alerts", {**alert, "billableMetricId": seats.users}, expect=400)


def test_without_a_choice_the_price_says_how_many(seats: Seats) -> None:
    plan = seats.world.plan(seats.product, [seats.price(quantity=3)])
    assert seats.bills(seats.start(plan, JANUARY)) == [[("Users", "30.00")]]


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([{"billableMetricId": "bm_unknown", "quantity": 1}], "items.0.billableMetricId"),
        ([{"billableMetricId": "{users}", "quantity": 1}] * 2, "items.1.billableMetricId"),
        ([{"billableMetricId": "{tokens}", "quantity": 1}], "items.0.billableMetricId"),
        ([{"billableMetricId": "{users}", "quantity": -1}], "items.0.quantity"),
        ([{"billableMetricId": "{users}"}], "items.0.quantity"),
        ([{"billableMetricId": "{users}", "priceKey": "x", "quantity": 1}], "items.0.priceKey"),
    ],
)
def test_bad_items_are_refused_by_name(seats: Seats, items: list[dict[str, Any]], field: str) -> None:
    plan = seats.world.plan(seats.product, [seats.price(), seats.world.usage_price(seats.metric, "1")])
    names = {"{users}": seats.users, "{tokens}": seats.metric}
    given_items = [
        {**item, "billableMetricId": names.get(item["billableMetricId"], item["billableMetricId"])} for item in items
    ]
    body = {
        "name": "S", "planId": plan, "customerId": seats.world.customer(), "startedAt": JANUARY,
        "testClockId": seats.clock, "items": given_items,
    }  # fmt: skip
    refused = seats.world.api.post("/v0/subscriptions", body, expect=400)
    assert field in {error["field"] for error in refused["errors"]}


def test_tiers_are_put_on_the_chosen_quantity(seats: Seats) -> None:
    graduated = seats.subscriber(8, model="graduated", properties=TIERS)
    assert seats.bills(graduated) == [[("Users", "74.00")]]
    # A quarter of January is left: three users at the second tier for it.
    seats.advance("2026-01-24T06:00:00Z")
    seats.change(graduated, 11)
    seats.advance("2026-02-02T00:00:00Z")
    assert sum(Decimal(amount) for _, amount in seats.bills(graduated)[1]) == Decimal(6 + 98)


def test_a_plan_change_gives_back_and_charges_users(seats: Seats) -> None:
    subscription = seats.subscriber(4)
    larger = seats.flat("Editors", "editors")
    plan = seats.world.plan(seats.product, [seats.price(larger, properties={"unitPrice": "30.00"})], name="Large")
    seats.advance("2026-01-16T12:00:00Z")
    items = [{"billableMetricId": larger, "quantity": 2}]
    seats.do(subscription, "planChange", planId=plan, timing="now")
    following = seats.follower(subscription)
    seats.do(following, "quantityChange", items=items)
    seats.advance("2026-02-02T00:00:00Z")
    billed = [Decimal(amount) for one in (subscription, following) for bill in seats.bills(one) for _, amount in bill]
    # 40.00 ahead, 20.00 of it back; half a month of two editors, then all of February.
    assert sum(billed) == Decimal(40 - 20 + 30 + 60)


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"model": "percentage", "properties": {"percentage": "1"}}, "model"),
        ({"properties": {"unitPrice": "-1"}}, "properties.unitPrice"),
        ({"isObligation": True}, "isObligation"),
        ({"grantDiscountEnabled": True}, "grantDiscountEnabled"),
    ],
)
def test_prices_that_need_events_are_refused(seats: Seats, terms: dict[str, Any], field: str) -> None:
    body: dict[str, Any] = {
        "invoiceDisplayName": "Users", "paymentTerm": "in_advance", "model": "standard",
        "properties": {"unitPrice": "10.00"}, "billableMetricId": seats.users,
    }  # fmt: skip
    refused = seats.world.api.post("/v0/prices", {**body, **terms}, expect=400)
    assert field in {error["field"] for error in refused["errors"]}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"mode": "flat", "eventType": "x"}, "eventType"),
        ({"mode": "flat", "groupBy": {"model": "$.model"}}, "groupBy"),
        ({"mode": "flat", "valueProperty": "$.x"}, "valueProperty"),
        ({"mode": "usage"}, "eventType"),
        ({"mode": "neither"}, "mode"),
    ],
)
def test_a_flat_metric_says_nothing_of_events(seats: Seats, fields: dict[str, Any], field: str) -> None:
    body = {"name": "M", "unit": "u", "description": "", "merchantId": seats.world.id, "productId": seats.product}
    refused = seats.world.api.post("/v0/billableMetrics", {**body, **fields}, expect=400)
    assert field in {error["field"] for error in refused["errors"]}
    changed = seats.world.api.call("patch", f"/v0/billableMetrics/{seats.users}", {"eventType": "x"})
    assert changed.status_code == 400


def test_what_is_chosen_never_becomes_usage_for_who_subscribed(seats: Seats) -> None:
    seats.subscriber(5)
    price = Price.objects.get(metric__public_id=seats.users)
    changed = seats.world.api.call(
        "patch", f"/v0/prices/{price.public_id}", {"billableMetricId": seats.metric, "paymentTerm": "in_arrears"}
    )
    assert changed.status_code == 409


@pytest.mark.parametrize(("before", "after", "day"), [(1, 7, 3), (7, 0, 3), (40, 41, 30), (13, 2, 17)])
def test_any_change_costs_the_days_it_holds(seats: Seats, before: int, after: int, day: int) -> None:
    subscription = seats.subscriber(before)
    items = [{"billableMetricId": seats.users, "quantity": after}]
    seats.do(subscription, "quantityChange", items=items, effectiveAt=f"2026-01-{day + 1:02}T00:00:00Z")
    seats.advance("2026-02-02T00:00:00Z")
    billed = sum(Decimal(amount) for bill in seats.bills(subscription) for _, amount in bill)
    exact = Decimal(10) * (before * day + after * (31 - day)) / 31
    # February is charged ahead.
    assert abs(billed - after * 10 - exact) <= Decimal("0.005")
