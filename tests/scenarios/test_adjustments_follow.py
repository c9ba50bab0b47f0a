"""Units waived and bounds stay with a line of the plan when a version puts another price in its place."""

from decimal import Decimal
from typing import Any

import pytest

from apps.invoicing.models import Invoice, SubscriptionAdjustment
from apps.invoicing.services.issuing import approve_invoice
from tests.scenarios.lives import Shop
from tests.world import World, at

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


class Sold:
    """A plan of 30.00 for a seat in arrears and 1.00 a token, and a second version at 60.00 and 2.00."""

    def __init__(self, world: World, **plan: Any) -> None:
        self.world, self.shop = world, Shop(world, JANUARY)
        prices = self._prices("30.00", "1")
        body = {
            "currency": "USD", "merchantId": world.id, "name": "Pro", "productId": self.shop.product,
            "billingCadence": "P1M", "prices": prices, **plan,
        }  # fmt: skip
        self.plan = str(world.api.post("/v0/plans", body)["id"])
        self.ids = [price["priceId"] for price in prices]

    def _prices(self, fee: str, usage: str) -> list[dict[str, str]]:
        made = {
            "seats": self.world.fee_price(
                self.shop.product, fee, paymentTerm="in_arrears", invoiceDisplayName="Seats"
            ),
            "tokens": self.world.usage_price(self.shop.metric, usage),
        }
        return [{"priceId": price, "key": key} for key, price in made.items()]

    def mint(self) -> None:
        self.world.api.post(f"/v0/plans/{self.plan}/versions", {"prices": self._prices("60.00", "2")})

    def subscribe(self, **extra: Any) -> str:
        subscription = self.shop.start(self.plan, JANUARY, **extra)
        customer = self.world.api.get(f"/v0/subscriptions/{subscription}")["customerId"]
        for month in ("01", "02", "03"):
            self.world.send(customer, f"2026-{month}-10T00:00:00Z", tokens=15)
        for type, value, price in (("usageDiscount", "10", self.ids[1]), ("minimumQuantity", "3", self.ids[0])):
            body = {"type": type, type: value, "effectiveFrom": JANUARY, "targetPriceIds": [price]}
            self.world.api.post(f"/v0/subscriptions/{subscription}/adjustments", body)
        return subscription

    def end_agreements(self, subscription: str) -> list[Any]:
        path = f"/v0/subscriptions/{subscription}/adjustments"
        found = []
        for row in self.world.api.get(path)["data"]:
            found.append(self.world.api.delete(f"{path}/{row['id']}", expect=200)["effectiveTo"])
        return found


@pytest.mark.parametrize("stable", [True, False])
@pytest.mark.parametrize("policy", ["floating", "pinned"])
def test_what_was_agreed_of_a_price_holds_for_what_replaces_it(world: World, stable: bool, policy: str) -> None:
    sold = Sold(world, stablePriceIds=stable)
    subscription = sold.subscribe(versionPolicy=policy)
    sold.shop.advance("2026-01-15T00:00:00Z")
    sold.mint()
    sold.shop.advance("2026-03-02T00:00:00Z")
    # Three seats at least, and ten tokens of fifteen free: January by the first version, February by the second.
    january = [("Seats", "90.00"), ("Tokens", "5.00")]
    february = [("Seats", "180.00"), ("Tokens", "10.00")] if policy == "floating" else january
    assert sold.shop.bills(subscription) == [january, february]
    # Both were billed with it up to 1 March, whatever price they went by.
    assert sold.end_agreements(subscription) == ["2026-03-01T00:00:00Z"] * 2
    sold.shop.advance("2026-04-02T00:00:00Z")
    without = [("Seats", "60.00"), ("Tokens", "30.00")] if policy == "floating" else [
        ("Seats", "30.00"), ("Tokens", "15.00")]  # fmt: skip
    assert sold.shop.bills(subscription)[2] == without


def test_what_was_agreed_of_one_line_is_not_of_another(world: World) -> None:
    """Two lines under keys of their own, one of which is replaced: the other's bound stays its own."""
    sold = Sold(world, stablePriceIds=False)
    subscription = sold.subscribe()
    seats, tokens = SubscriptionAdjustment.objects.order_by("pk").values_list("price__public_id", flat=True)[::-1]
    assert [seats, tokens] == sold.ids
    usage = world.usage_price(sold.shop.metric, "2")
    world.api.post(
        f"/v0/plans/{sold.plan}/versions",
        {"prices": [{"priceId": sold.ids[0], "key": "seats"}, {"priceId": usage, "key": "calls"}]},
    )
    sold.shop.advance("2026-03-02T00:00:00Z")
    # The tokens of February are another line, of which nothing was agreed.
    assert sold.shop.bills(subscription)[1] == [("Seats", "90.00"), ("Tokens", "30.00")]


def test_a_draft_that_waits_for_approval_keeps_what_it_was_calculated_with(world: World) -> None:
    sold = Sold(world)
    world.merchant.auto_approve = False
    world.merchant.save()
    subscription = sold.subscribe()
    sold.shop.advance("2026-02-02T00:00:00Z")
    draft = world.invoices(subscription)[-2]
    assert (draft["status"], draft["grandTotal"]) == ("DRAFT", "95.00")
    # The draft is not calculated again, so both end with it; late usage of January still goes by them.
    assert sold.end_agreements(subscription) == ["2026-02-01T00:00:00Z"] * 2
    approved = approve_invoice(
        invoice_id=Invoice.objects.get(public_id=draft["id"]).pk, as_of=at("2026-02-02T00:00:00Z")
    )
    assert approved.grand_total == 95
    customer = world.api.get(f"/v0/subscriptions/{subscription}")["customerId"]
    world.send(customer, "2026-01-20T00:00:00Z", tokens=2)
    sold.shop.advance("2026-03-02T00:00:00Z")
    assert world.invoices(subscription)[-2]["grandTotal"] == "47.00"


class Swapped:
    """Two fees and two metrics under keys of their own, and a version that exchanges the prices of each pair."""

    def __init__(self, world: World, **plan: Any) -> None:
        self.world, self.shop = world, Shop(world, JANUARY)
        calls = world.metric(self.shop.product, path="$.calls")
        term = plan.pop("term", {"paymentTerm": "in_arrears"})
        self.prices = {
            "editors": world.fee_price(self.shop.product, "10.00", invoiceDisplayName="Ten", **term),
            "viewers": world.fee_price(self.shop.product, "1.00", invoiceDisplayName="One", **term),
            "tokens": world.usage_price(self.shop.metric, "1", invoiceDisplayName="Tokens"),
            "calls": world.usage_price(calls, "1", invoiceDisplayName="Calls"),
        }
        body = {
            "currency": "USD", "merchantId": world.id, "name": "Pro", "productId": self.shop.product,
            "billingCadence": "P1M", "prices": self._lines("editors", "viewers", "tokens", "calls"), **plan,
        }  # fmt: skip
        self.plan = str(world.api.post("/v0/plans", body)["id"])

    def _lines(self, *keys: str) -> list[dict[str, str]]:
        """Give the prices that were first under the named keys, under the keys as they are."""
        names = ("editors", "viewers", "tokens", "calls")
        return [{"priceId": self.prices[key], "key": name} for name, key in zip(names, keys, strict=True)]

    def swap(self) -> None:
        lines = self._lines("viewers", "editors", "calls", "tokens")
        self.world.api.post(f"/v0/plans/{self.plan}/versions", {"prices": lines})

    def subscribe(self, **extra: Any) -> str:
        """Subscribe with three editors at least and ten tokens free, and use fifteen of either every month."""
        subscription = self.shop.start(self.plan, JANUARY, **extra)
        self.customer = self.world.api.get(f"/v0/subscriptions/{subscription}")["customerId"]
        for month in ("01", "02", "03"):
            self.world.send(self.customer, f"2026-{month}-10T00:00:00Z", tokens=15, calls=15)
        for type, value, key in (("usageDiscount", "10", "tokens"), ("minimumQuantity", "3", "editors")):
            body = {"type": type, type: value, "effectiveFrom": JANUARY, "targetPriceIds": [self.prices[key]]}
            made = self.world.api.post(f"/v0/subscriptions/{subscription}/adjustments", body)
            assert (made["targetPriceKey"], made["targetPriceIds"]) == (key, [self.prices[key]])
        return subscription

    def bills(self, subscription: str) -> list[dict[str, str]]:
        return [dict(bill) for bill in self.shop.bills(subscription)]


BEFORE = {"Ten": "30.00", "One": "1.00", "Tokens": "5.00", "Calls": "15.00"}
AFTER = {"Ten": "10.00", "One": "3.00", "Tokens": "15.00", "Calls": "5.00"}


@pytest.mark.parametrize("stable", [True, False])
def test_exchanged_prices_take_what_was_agreed_of_their_lines(world: World, stable: bool) -> None:
    sold = Swapped(world, stablePriceIds=stable)
    subscription = sold.subscribe()
    sold.shop.advance("2026-01-15T00:00:00Z")
    sold.swap()
    # January is calculated when the subscription is on the second version already, and still goes by the first.
    sold.shop.advance("2026-02-02T00:00:00Z")
    assert sold.bills(subscription) == [BEFORE]
    world.send(sold.customer, "2026-01-20T00:00:00Z", tokens=2, calls=3)
    sold.shop.advance("2026-03-02T00:00:00Z")
    # Late usage is of the line that it was in January: all of it is beyond the ten that are free, of either.
    late = {"Tokens (late usage)": "2.00", "Calls (late usage)": "3.00"}
    assert sold.bills(subscription)[1] == AFTER | late
    opened = world.invoices(subscription)[-1]
    assert opened["status"] == "ACTIVE"
    assert Decimal(opened["subtotal"]) == Decimal("10.00") + 3 + 15 + 5
    path = f"/v0/subscriptions/{subscription}/adjustments"
    for row in world.api.get(path)["data"]:
        assert world.api.delete(f"{path}/{row['id']}", expect=200)["effectiveTo"] == "2026-03-01T00:00:00Z"
    sold.shop.advance("2026-04-02T00:00:00Z")
    assert sold.bills(subscription)[2] == {"Ten": "10.00", "One": "1.00", "Tokens": "15.00", "Calls": "15.00"}


@pytest.mark.parametrize("timing", ["immediate", "next_period"])
def test_a_pinned_subscription_that_is_moved_keeps_what_was_agreed_of_its_lines(world: World, timing: str) -> None:
    sold = Swapped(world)
    subscription = sold.subscribe(versionPolicy="pinned")
    sold.swap()
    sold.shop.advance("2026-01-15T00:00:00Z")
    sold.shop.do(subscription, "versionMigration", targetVersionNumber=2, timing=timing)
    sold.shop.advance("2026-03-02T00:00:00Z")
    january = AFTER if timing == "immediate" else BEFORE
    assert sold.bills(subscription) == [january, AFTER]


def test_prices_in_advance_go_by_the_line_that_their_period_opened_with(world: World) -> None:
    """Weekly fees in a month that moves to the other version at once: until its end they are what they were."""
    term = {"paymentTerm": "in_advance", "billingCadence": "P1W"}
    transition = {"effectiveDate": "immediate", "proration": "none"}
    sold = Swapped(world, term=term, versionTransition=transition)
    subscription = sold.subscribe()
    # Agreed when the first week was charged already.
    first, *_ = sold.shop.bills(subscription)
    assert first == [("Ten", "10.00"), ("One", "1.00")]
    sold.shop.advance("2026-01-16T00:00:00Z")
    sold.swap()
    sold.shop.advance("2026-03-02T00:00:00Z")
    january, february = sold.shop.bills(subscription)[1:]
    # 8, 15, 22 and 29 January by the first version; usage in arrears by the second.
    assert [line for line in january if line[0] in {"Ten", "One"}] == [("Ten", "30.00")] * 4 + [("One", "1.00")] * 4
    assert dict(january)["Tokens"] == AFTER["Tokens"]
    # 5, 12, 19 and 26 February.
    weeks = [line for line in february if line[0] in {"Ten", "One"}]
    assert sorted(weeks) == [("One", "3.00")] * 4 + [("Ten", "10.00")] * 4


def test_a_simulation_reads_what_was_agreed_by_the_lines_of_the_version(world: World) -> None:
    sold = Swapped(world)
    subscription = sold.subscribe()
    sold.swap()
    sold.shop.advance("2026-02-02T00:00:00Z")
    found = {}
    for number in (1, 2):
        body = {
            "planId": sold.plan, "versionNumber": number, "customerIds": [sold.customer],
            "from": JANUARY, "to": "2026-02-01T00:00:00Z", "compareWith": "none",
        }  # fmt: skip
        found[number] = Decimal(world.api.post("/v0/simulations", body, expect=200)["totals"]["simulated"])
    assert found == {1: sum(map(Decimal, BEFORE.values())), 2: sum(map(Decimal, AFTER.values()))}
    assert subscription
