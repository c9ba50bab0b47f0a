"""Metrics that charge what a subscriber chooses: users of a seat plan through a quarter."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from apps.catalog.models import BillableMetric, Price
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


def test_a_quantity_stays_with_its_line_when_versions_exchange_the_prices(seats: Seats) -> None:
    """Editors of one metric at 10.00 and viewers of another at 1.00, and from February on the other way round."""
    ten = seats.price(invoiceDisplayName="Ten")
    one = seats.price(seats.flat("Viewers", "users"), invoiceDisplayName="One", properties={"unitPrice": "1.00"})
    lines = [{"priceId": ten, "key": "editors"}, {"priceId": one, "key": "viewers"}]
    plan = seats.world.plan(seats.product, lines)
    subscription = seats.start(plan, JANUARY, items=[{"priceKey": "editors", "quantity": 5}])
    seats.advance("2026-01-16T12:00:00Z")
    exchanged = [{"priceId": one, "key": "editors"}, {"priceId": ten, "key": "viewers"}]
    seats.world.api.post(f"/v0/plans/{plan}/versions", {"prices": exchanged})
    # Half of January is left, in which editors still cost 10.00.
    seats.do(subscription, "quantityChange", items=[{"priceKey": "editors", "quantity": 8}])
    seats.advance("2026-02-15T00:00:00Z")
    # Half of February is left, in which they cost 1.00.
    seats.do(subscription, "quantityChange", items=[{"priceKey": "editors", "quantity": 2}])
    seats.advance("2026-03-02T00:00:00Z")
    first, january, february = seats.bills(subscription)
    assert dict(first) == {"Ten": "50.00", "One": "1.00"}
    assert dict(january) == {"Ten (changed quantity)": "15.00", "Ten": "10.00", "One": "8.00"}
    assert dict(february) == {"Unused: One": "-3.00", "Ten": "10.00", "One": "2.00"}


@pytest.mark.parametrize("term", ["in_advance", "in_arrears"])
def test_bills_that_are_calculated_after_the_exchange_go_by_what_was(seats: Seats, term: str) -> None:
    ten = seats.price(invoiceDisplayName="Ten", paymentTerm=term)
    one = seats.world.fee_price(seats.product, "1.00", invoiceDisplayName="One", paymentTerm=term)
    plan = seats.world.plan(seats.product, [{"priceId": ten, "key": "a"}, {"priceId": one, "key": "b"}])
    subscription = seats.start(plan, JANUARY, items=[{"priceKey": "a", "quantity": 5}])
    seats.advance("2026-01-15T00:00:00Z")
    lines = [{"priceId": one, "key": "a"}, {"priceId": ten, "key": "b"}]
    seats.world.api.post(f"/v0/plans/{plan}/versions", {"prices": lines})
    seats.advance("2026-03-02T00:00:00Z")
    bills = [dict(bill) for bill in seats.bills(subscription)]
    assert bills[:2] == [{"Ten": "50.00", "One": "1.00"}, {"Ten": "10.00", "One": "5.00"}]


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
        ({"mode": "flat", "aggregation": "MAX"}, "aggregation"),
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


def cost(model: str, users: int) -> Decimal:
    """Say what users cost for a month, counting them one by one."""
    if model == "standard":
        return Decimal(10) * users
    if model == "package":
        # Fives at 40.00; what is begun is owed.
        packs = 0
        while packs * 5 < users:
            packs += 1
        return Decimal(40) * packs
    if model == "graduated":
        return sum((Decimal(10 if number <= 5 else 8) for number in range(1, users + 1)), Decimal(0))
    return Decimal(10 if users <= 5 else 8) * users


MODELS: dict[str, Any] = {
    "standard": {"unitPrice": "10"},
    "package": {"packageSize": "5", "packagePrice": "40"},
    "graduated": TIERS,
    "volume": TIERS,
}


@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("term", ["in_advance", "in_arrears"])
@pytest.mark.parametrize(("before", "after", "day"), [(1, 7, 3), (7, 0, 3), (5, 6, 30), (13, 2, 17)])
def test_any_change_costs_the_days_it_holds(
    seats: Seats, model: str, term: str, before: int, after: int, day: int
) -> None:
    subscription = seats.subscriber(before, model=model, properties=MODELS[model], paymentTerm=term)
    items = [{"billableMetricId": seats.users, "quantity": after}]
    seats.do(subscription, "quantityChange", items=items, effectiveAt=f"2026-01-{day + 1:02}T00:00:00Z")
    seats.advance("2026-02-02T00:00:00Z")
    billed = sum(Decimal(amount) for bill in seats.bills(subscription) for _, amount in bill)
    exact = (cost(model, before) * day + cost(model, after) * (31 - day)) / 31
    ahead = cost(model, after) if term == "in_advance" else Decimal(0)
    assert abs(billed - ahead - exact) <= Decimal("0.005")


def test_another_plan_begins_with_what_was_chosen_of_its_metrics(seats: Seats) -> None:
    """Eight users of a metric that both plans charge; machines are of the first plan alone, guests of the second."""
    machines, guests = seats.flat("Machines", "machines"), seats.flat("Guests", "users")
    small = seats.world.plan(seats.product, [seats.price(), seats.price(machines)])
    prices = [seats.price(properties={"unitPrice": "30.00"}), seats.price(guests, properties={"unitPrice": "1.00"})]
    large = seats.world.plan(seats.product, prices, name="Large")
    items = [{"billableMetricId": seats.users, "quantity": 5}, {"billableMetricId": machines, "quantity": 2}]
    subscription = seats.start(small, JANUARY, items=items)
    # Eight users from February on, when the other plan begins as well.
    seats.change(subscription, 8, timing="period_end")
    previewed = seats.do(subscription, "planChange/preview", planId=large, timing="now")
    assert "150.00" in str(previewed)
    seats.do(subscription, "planChange", planId=large, timing="period_end")
    seats.advance("2026-02-02T00:00:00Z")
    following = seats.follower(subscription)
    chosen = seats.world.api.get(f"/v0/subscriptions/{following}")["items"]
    assert [Decimal(item["quantity"]) for item in chosen] == [Decimal(8)]
    # 240.00 for the users of February, and a guest by its price.
    assert seats.world.invoices(following)[0]["grandTotal"] == "241.00"


def test_a_change_is_previewed_and_projected_as_it_is_billed(seats: Seats) -> None:
    subscription = seats.subscriber(5)
    seats.advance("2026-01-16T12:00:00Z")
    items = [{"billableMetricId": seats.users, "quantity": 8}]
    previewed = seats.do(subscription, "quantityChange/preview", items=items)
    # 15.00 for three users in half of January, 80.00 for February.
    assert "95.00" in str(previewed)
    seats.change(subscription, 8)
    projected = seats.world.api.get(f"/v2/invoices/projected?subscriptionId={subscription}&to=2026-04-02T00:00:00Z")
    assert [row["subtotal"] for row in projected["data"]] == ["95.00", "80.00", "80.00"]
    seats.advance("2026-04-02T00:00:00Z")
    assert seats.totals(subscription)[1:] == ["95.00", "80.00", "80.00"]


def test_a_line_says_whose_quantity_it_charges(seats: Seats) -> None:
    subscription = seats.subscriber(5)
    (line,) = seats.world.lines(seats.world.invoices(subscription)[0]["id"])
    assert (line["billableMetricId"], line["metricName"], line["metricUnit"]) == (
        seats.users,
        "Active users",
        "users",
    )
    told = line["provenance"]
    assert told["sources"]["quantity"] == {"type": "flatMetric", "ref": {"billableMetricId": seats.users}}
    assert told["inputs"]["quantity"] == {"value": "5", "source": "quantity"}
    assert "usage" not in told["sources"]


def test_the_mode_never_changes(seats: Seats) -> None:
    path = f"/v0/billableMetrics/{seats.users}"
    assert seats.world.api.patch(path, {"mode": "flat", "name": "Users"})["name"] == "Users"
    refused = seats.world.api.patch(path, {"mode": "usage", "eventType": "x"}, expect=409)
    assert refused["code"] == "METRIC_MODE_FIXED"
    with pytest.raises(DatabaseError, match="Cannot update"), transaction.atomic():
        BillableMetric.objects.filter(public_id=seats.users).update(mode="usage", event_type="x")


def test_usage_and_chosen_quantities_are_simulated_side_by_side(seats: Seats) -> None:
    body = {
        "draft": {
            "currency": "USD", "billingCadence": "P1M",
            "prices": [
                {"billableMetricId": seats.users, "invoiceDisplayName": "Users", "model": "standard", "quantity": 6,
                 "properties": {"unitPrice": "10.00"}},
                {"billableMetricId": seats.metric, "invoiceDisplayName": "Tokens", "model": "standard",
                 "properties": {"unitPrice": "1"}},
            ],
        },
        "usage": [{"billableMetricId": seats.metric, "quantity": "3"}],
    }  # fmt: skip
    made = seats.world.api.post("/v0/simulations", body, expect=200)
    assert Decimal(made["totals"]["simulated"]) == Decimal(63)
    body["usage"] = [{"billableMetricId": seats.users, "quantity": "3"}]
    seats.world.api.post("/v0/simulations", body, expect=400)
