"""Whole lives of subscribers, from the trial to the last credit, each amount worked out by hand."""

from decimal import Decimal

import pytest

from apps.subscriptions.models import Subscription
from tests.scenarios.lives import Shop
from tests.world import World

pytestmark = pytest.mark.django_db


def test_from_a_trial_to_a_credit_with_its_share_of_a_coupon(world: World) -> None:
    shop = Shop(world, "2026-01-01T00:00:00Z")
    small = shop.plan("Small", "31.00", "1", credits=True, trialPeriod="P14D")
    large = shop.plan("Large", "62.00", "0.50")
    customer = world.customer()

    # 1 January: a trial of 14 days costs no fee; its usage does.
    first = shop.start(small, "2026-01-01T00:00:00Z", customer=customer)
    world.send(customer, "2026-01-14T23:59:59Z", tokens=5)
    # 15 January to 15 February, in advance and with usage; until 1 March 6 more.
    world.send(customer, "2026-01-15T00:00:00Z", tokens=10)
    world.send(customer, "2026-02-28T23:59:59Z", tokens=6)
    shop.advance("2026-03-01T00:00:00Z")
    # 1 March: up. Half of 15 February to 15 March is over: 14 of 28 days come back.
    previewed = shop.do(first, "planChange/preview", planId=large)
    assert (previewed["credit"], previewed["opening"]["total"]) == ("-15.50", "31.00")
    second = str(shop.do(first, "planChange", planId=large)["id"])

    # 5 March: a quarter off everything that is billed from now on.
    world.api.post(
        "/v0/coupons",
        {"merchantId": world.id, "code": "DEAL", "name": "Deal", "duration": "forever", "percentageOff": "0.25"},
    )
    shop.advance("2026-03-05T00:00:00Z")
    world.api.post(f"/v0/customers/{customer}/coupons", {"code": "DEAL"})
    world.send(customer, "2026-03-06T00:00:00Z", tokens=20)
    shop.advance("2026-03-20T00:00:00Z")
    # Sent when its bill is out.
    world.send(customer, "2026-03-10T00:00:00Z", tokens=8)
    world.send(customer, "2026-03-25T00:00:00Z", tokens=40)

    # 2 April: down, with the period. Asked for, taken back, asked for again.
    shop.advance("2026-04-02T00:00:00Z")
    shop.do(second, "planChange", planId=small, timing="period_end")
    world.api.delete(f"/v0/subscriptions/{second}/cancellation", expect=200)
    shop.do(second, "planChange", planId=small, timing="period_end")
    shop.advance("2026-04-16T00:00:00Z")
    third = shop.follower(second)
    world.send(customer, "2026-04-16T00:00:00Z", tokens=4)

    # 20 April: it will end on 25 April, ten of thirty days into the month.
    shop.advance("2026-04-20T00:00:00Z")
    shop.do(third, "cancellation", cancelsAt="2026-04-25T00:00:00Z", reason="moved on")
    shop.advance("2026-06-01T00:00:00Z")

    assert shop.bills(first) == [
        [("Tokens", "5.00"), ("Fee", "31.00")],
        [("Tokens", "10.00"), ("Fee", "31.00")],
        # 31.00 x 14/28 is owed of the 31.00 that were billed.
        [("Unused: Fee", "-15.50"), ("Tokens", "6.00")],
    ]
    assert shop.bills(second) == [
        # The rest of the same period: 62.00 x 14/28. Invoice 0 is older than the coupon.
        [("Fee", "31.00")],
        # 20 x 0.50 and 62.00; a quarter of each.
        [("Tokens", "10.00"), ("Fee", "62.00"), ("Deal: Tokens", "-2.50"), ("Deal: Fee", "-15.50")],
        # 8 x 0.50 late and 40 x 0.50; nothing in advance, as it ends.
        [("Tokens", "20.00"), ("Tokens (late usage)", "4.00"), ("Deal: Tokens", "-5.00"),
         ("Deal: Tokens (late usage)", "-1.00")],
    ]  # fmt: skip
    assert shop.bills(third) == [
        [("Fee", "31.00"), ("Deal: Fee", "-7.75")],
        # 23.25 was paid for 30 days, 7.75 is owed for ten; no coupon takes an invoice further below zero.
        [("Unused: Fee", "-15.50"), ("Tokens", "4.00")],
    ]
    assert shop.totals(first) == ["36.00", "41.00", "-9.50"]
    assert shop.totals(second) == ["31.00", "54.00", "18.00"]
    assert shop.totals(third) == ["23.25", "-11.50"]
    # A month and two halves at 31.00 and 62.00, then at three quarters a month of 62.00 and a third of one of 31.00;
    # 21 tokens at 1.00, 20 and 48 at 0.50 with a quarter off, and 4 at 1.00.
    fees = Decimal("31") + Decimal("15.50") + 31 + Decimal("46.50") + Decimal("7.75")
    usage = Decimal(21) + (Decimal(10) + 24) * Decimal("0.75") + 4
    every = Subscription.objects.values_list("public_id", flat=True)
    assert sum(Decimal(total) for one in every for total in shop.totals(one)) == fees + usage


def test_months_from_31_january_are_as_long_as_they_are(world: World) -> None:
    """2028: 29 days from 31 January, 31 from 29 February, 30 from 31 March, 31 from 30 April, each paused for ten."""
    shop = Shop(world, "2028-01-31T00:00:00Z")
    subscription = shop.start(shop.plan("Pro", "870.00"), "2028-01-31T00:00:00Z")
    customer = world.api.get(f"/v0/subscriptions/{subscription}")["customerId"]
    for day, tokens in (("02-28", 1), ("02-29", 2), ("03-30", 4), ("03-31", 8), ("04-29", 16), ("04-30", 32)):
        world.send(customer, f"2028-{day}T00:00:00Z", tokens=tokens)
    for start, end in (("02-05", "02-15"), ("03-05", "03-15"), ("04-05", "04-15"), ("05-05", "05-15")):
        shop.pause(subscription, f"2028-{start}", f"2028-{end}")
    # Ends on 20 June, 20 of 30 days into the month from 31 May.
    shop.do(subscription, "cancellation", cancelsAt="2028-06-20T00:00:00Z", reason="x")
    shop.advance("2028-07-02T00:00:00Z")
    assert shop.bills(subscription) == [
        [("Fee", "870.00")],
        # 870 x 10/29
        [("Unused: Fee", "-300.00"), ("Tokens", "1.00"), ("Fee", "870.00")],
        # 870 x 21/31 = 589.3548… is owed
        [("Unused: Fee", "-280.65"), ("Tokens", "6.00"), ("Fee", "870.00")],
        # 870 x 10/30
        [("Unused: Fee", "-290.00"), ("Tokens", "24.00"), ("Fee", "870.00")],
        [("Unused: Fee", "-280.65"), ("Tokens", "32.00"), ("Fee", "580.00")],
        [("Tokens", "0.00")],
    ]
    ends = [invoice["periodEnd"][:10] for invoice in world.invoices(subscription)[1:]]
    assert ends == ["2028-02-29", "2028-03-31", "2028-04-30", "2028-05-31", "2028-06-20"]


@pytest.mark.parametrize("day", [29, 30, 31])
def test_another_plan_keeps_the_day_that_february_lacks(world: World, day: int) -> None:
    """Up on 29 February 2028, as the period ends: the other plan's months begin and end where the first one's did."""
    shop = Shop(world, f"2028-01-{day}T00:00:00Z")
    small, large = shop.plan("Small", "31.00"), shop.plan("Large", "62.00")
    first = shop.start(small, f"2028-01-{day}T00:00:00Z")
    shop.advance("2028-02-29T00:00:00Z")
    second = str(shop.do(first, "planChange", planId=large)["id"])
    shop.advance("2028-05-02T00:00:00Z")
    assert shop.totals(first) == ["31.00", "0.00"]
    assert shop.totals(second) == ["62.00", "62.00", "62.00"]
    assert [i["periodEnd"][:10] for i in world.invoices(second)[1:3]] == [f"2028-03-{day}", f"2028-04-{min(day, 30)}"]
