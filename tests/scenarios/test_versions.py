"""What living subscriptions pay when their plan gets new prices, as a calendar."""

from dataclasses import dataclass
from typing import Any

import pytest

from apps.catalog.models import PlanVersion
from apps.subscriptions.models import Subscription
from tests.world import World

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


@dataclass
class Sold:
    """A plan of 10.00 a month and 1.00 a token, to be sold for 20.00 and 2.00 as its second version."""

    world: World
    plan: str
    clock: str
    product: str
    metric: str

    def mint(self) -> None:
        world = self.world
        fee = world.fee_price(self.product, "20.00")
        usage = world.usage_price(self.metric, unit_price="2")
        lines = [{"priceId": fee, "key": "fee"}, {"priceId": usage, "key": "usage"}]
        world.api.post(f"/v0/plans/{self.plan}/versions", {"prices": lines})

    def subscribe(self, **extra: Any) -> str:
        world = self.world
        customer = world.customer()
        subscription = world.subscribe(customer, self.plan, at=JANUARY, clock=self.clock, **extra)
        world.pay(subscription["payment"]["invoiceId"])
        for month in ("01", "02", "03"):
            world.send(customer, f"2026-{month}-10T00:00:00Z", tokens=1)
        return str(subscription["id"])

    def totals(self, subscription: str) -> list[str]:
        return [i["grandTotal"] for i in self.world.invoices(subscription) if i["status"] in {"ISSUED", "PAID"}]

    def migrate(self, subscription: str, number: int, expect: int = 200, **extra: Any) -> dict[str, Any]:
        body = {"targetVersionNumber": number, **extra}
        found: dict[str, Any] = self.world.api.post(
            f"/v0/subscriptions/{subscription}/versionMigration", body, expect=expect
        )
        return found


@pytest.fixture
def sold(world: World) -> Sold:
    return sell(world)


def sell(world: World, **extra: Any) -> Sold:
    product = world.product()
    metric = world.metric(product)
    lines = [
        {"priceId": world.fee_price(product, "10.00"), "key": "fee"},
        {"priceId": world.usage_price(metric, unit_price="1"), "key": "usage"},
    ]
    body = {"currency": "USD", "merchantId": world.id, "name": "Pro", "productId": product, "billingCadence": "P1M"}
    plan = world.api.post("/v0/plans", {**body, "prices": lines, **extra})["id"]
    return Sold(world, plan, world.clock(JANUARY), product, metric)


def test_floating_ones_follow_at_the_boundary_and_pinned_ones_stay(sold: Sold) -> None:
    floating, pinned = sold.subscribe(), sold.subscribe(versionPolicy="pinned")
    sold.world.advance(sold.clock, "2026-01-15T00:00:00Z")
    sold.mint()
    later = sold.world.subscribe(sold.world.customer(), sold.plan, at="2026-01-15T00:00:00Z", clock=sold.clock)
    assert (later["versionNumber"], later["payment"]["amount"]) == (2, "20.00")
    sold.world.advance(sold.clock, "2026-03-02T00:00:00Z")
    # January's usage by what January opened with, February's fee and usage by the new prices.
    assert sold.totals(floating) == ["10.00", "21.00", "22.00"]
    assert sold.totals(pinned) == ["10.00", "11.00", "11.00"]
    assert sold.world.api.get(f"/v0/subscriptions/{floating}")["versionNumber"] == 2
    # Rolled back: March's usage is by the terms March opened with, April's fee by the old ones.
    sold.world.api.patch(f"/v0/plans/{sold.plan}/versions/1", {"default": True})
    sold.world.advance(sold.clock, "2026-04-02T00:00:00Z")
    assert sold.totals(floating)[3:] == ["12.00"]
    assert sold.totals(pinned)[3:] == ["11.00"]


def test_a_plan_that_moves_at_once_bills_the_whole_open_periods_arrears_anew(world: World) -> None:
    sold = sell(world, versionTransition={"effectiveDate": "immediate"})
    floating, pinned = sold.subscribe(), sold.subscribe(versionPolicy="pinned")
    sold.world.advance(sold.clock, "2026-01-15T00:00:00Z")
    sold.mint()
    open_one = sold.world.invoices(floating)[1]
    assert open_one["grandTotal"] == "22.00"
    sold.world.advance(sold.clock, "2026-02-02T00:00:00Z")
    assert sold.totals(floating) == ["10.00", "22.00"]
    assert sold.totals(pinned) == ["10.00", "11.00"]


def test_a_migration_takes_effect_at_the_boundary_and_pins(sold: Sold) -> None:
    subscription = sold.subscribe(versionPolicy="pinned")
    sold.mint()
    answer = sold.migrate(subscription, 2)
    assert answer["migration"] == {
        "fromVersionNumber": 1, "toVersionNumber": 2, "effectiveAt": "2026-02-01T00:00:00Z",
        "entitlementsEffectiveAt": "2026-02-01T00:00:00Z", "changed": True,
    }  # fmt: skip
    assert answer["subscription"]["versionPolicy"] == "pinned"
    assert answer["lineItems"] == {"syncFailed": False}
    assert sold.migrate(subscription, 2)["migration"]["changed"] is False
    sold.world.advance(sold.clock, "2026-01-15T00:00:00Z")
    assert sold.world.invoices(subscription)[1]["grandTotal"] == "21.00"
    projected = sold.world.api.get(f"/v2/invoices/projected?subscriptionId={subscription}&to=2026-02-15T00:00:00Z")
    assert [row["grandTotal"] for row in projected["data"]] == ["20.00"]
    sold.world.advance(sold.clock, "2026-03-02T00:00:00Z")
    assert sold.totals(subscription) == ["10.00", "21.00", "22.00"]


def test_the_last_migration_before_the_boundary_is_the_one_that_counts(sold: Sold) -> None:
    subscription = sold.subscribe()
    sold.mint()
    sold.migrate(subscription, 2)
    assert sold.migrate(subscription, 1)["migration"]["changed"] is True
    assert Subscription.objects.get(public_id=subscription).next_version is None
    sold.world.advance(sold.clock, "2026-02-02T00:00:00Z")
    assert sold.totals(subscription) == ["10.00", "11.00"]


def test_an_immediate_migration_bills_usage_of_the_whole_period_by_the_target(sold: Sold) -> None:
    subscription = sold.subscribe(versionPolicy="pinned")
    sold.world.advance(sold.clock, "2026-01-15T00:00:00Z")
    sold.mint()
    moved = sold.migrate(subscription, 2, timing="immediate")["migration"]
    assert (moved["entitlementsEffectiveAt"], moved["effectiveAt"]) == (
        "2026-01-15T00:00:00Z",
        "2026-02-01T00:00:00Z",
    )
    assert sold.migrate(subscription, 2, timing="immediate")["migration"]["effectiveAt"] is None
    sold.world.advance(sold.clock, "2026-02-02T00:00:00Z")
    assert sold.totals(subscription) == ["10.00", "22.00"]


def test_a_floating_subscription_forgets_where_it_was_sent(sold: Sold) -> None:
    subscription = sold.subscribe()
    sold.mint()
    sold.world.api.patch(f"/v0/plans/{sold.plan}/versions/1", {"default": True})
    sold.migrate(subscription, 2)
    sold.world.api.patch(f"/v0/subscriptions/{subscription}", {"versionPolicy": "floating"})
    sold.world.advance(sold.clock, "2026-02-02T00:00:00Z")
    assert sold.totals(subscription) == ["10.00", "11.00"]


def test_migrations_that_cannot_be(sold: Sold) -> None:
    subscription = sold.subscribe()
    sold.mint()
    assert sold.migrate(subscription, 9, expect=404)["code"] == "NOT_FOUND"
    PlanVersion.objects.filter(number=1).update(status="archived")
    assert sold.migrate(subscription, 1, expect=404)["code"] == "NOT_FOUND"
    assert sold.migrate(subscription, 2, expect=400, timing="tomorrow")["errors"][0]["field"] == "timing"
    unpaid = sold.world.subscribe(sold.world.customer(), sold.plan, at=JANUARY, clock=sold.clock)["id"]
    assert sold.migrate(unpaid, 2, expect=409)["code"] == "SUBSCRIPTION_NOT_ACTIVE"
    sold.world.api.patch(f"/v0/subscriptions/{subscription}", {"endingAt": "2026-02-01T00:00:00Z"})
    assert sold.migrate(subscription, 2, expect=409)["code"] == "SUBSCRIPTION_ENDS"
