"""Yearly fees with usage by the month, and pauses over a year."""

from decimal import Decimal

import pytest

from tests.scenarios.lives import Shop
from tests.world import World

pytestmark = pytest.mark.django_db


def test_a_year_in_advance_with_usage_month_by_month(world: World) -> None:
    """The fee of a leap year in a plan that bills by the month, ended in its second year."""
    shop = Shop(world, "2027-03-31T00:00:00Z")
    plan = shop.plan("Pro", "366.00", credits=True, fee_every="P1Y", proration="day")
    subscription = shop.start(plan, "2027-03-31T00:00:00Z")
    customer = world.api.get(f"/v0/subscriptions/{subscription}")["customerId"]
    # The last instant of one month, the first of the next, a leap day and the day after.
    for at, tokens in (
        ("2027-04-29T23:59:59Z", 1), ("2027-04-30T00:00:00Z", 2), ("2028-02-28T23:59:59Z", 4),
        ("2028-02-29T00:00:00Z", 8), ("2028-03-30T23:59:59Z", 16), ("2028-03-31T00:00:00Z", 32),
    ):  # fmt: skip
        world.send(customer, at, tokens=tokens)
    shop.advance("2028-05-10T00:00:00Z")
    previewed = shop.do(subscription, "cancellation/preview", cancelsAt="2028-05-30T00:00:00Z", reason="x")
    # 60 of 365 days of the second year are over by then: 366.00 x 60/365 = 60.164… is owed.
    assert previewed["credit"] == "-305.84"
    shop.do(subscription, "cancellation", cancelsAt="2028-05-30T00:00:00Z", reason="x")
    shop.advance("2028-07-01T00:00:00Z")
    months = {
        (invoice["periodStart"][:10], invoice["periodEnd"][:10]): invoice["grandTotal"]
        for invoice in world.invoices(subscription)[1:]
    }
    assert {key: total for key, total in months.items() if total != "0.00"} == {
        ("2027-03-31", "2027-04-30"): "1.00",
        ("2027-04-30", "2027-05-31"): "2.00",
        ("2028-01-31", "2028-02-29"): "4.00",
        # Usage of the twelfth month, and the next year.
        ("2028-02-29", "2028-03-31"): "390.00",
        ("2028-03-31", "2028-04-30"): "32.00",
        ("2028-04-30", "2028-05-30"): "-305.84",
    }
    assert len(months) == 14
    assert shop.totals(subscription)[0] == "366.00"


@pytest.mark.parametrize("proration", ["second", "day"])
def test_paused_ten_times_in_a_year_that_was_prepaid(world: World, proration: str) -> None:
    """Three days in each of ten months: 30 of 365 days come back, in sum and not a cent more."""
    shop = Shop(world, "2026-01-01T00:00:00Z")
    plan = shop.plan("Pro", "365.00", every="P1Y", proration=proration)
    subscription = shop.start(plan, "2026-01-01T00:00:00Z")
    for month in range(2, 12):
        shop.pause(subscription, f"2026-{month:02}-05", f"2026-{month:02}-08")
    shop.advance("2027-01-02T00:00:00Z")
    assert shop.bills(subscription) == [
        [("Fee", "365.00")],
        [("Unused: Fee", "-30.00"), ("Tokens", "0.00"), ("Fee", "365.00")],
    ]


@pytest.mark.parametrize("proration", ["day", "second"])
@pytest.mark.parametrize("term", ["in_arrears", "in_advance"])
def test_paused_across_ten_boundaries(world: World, proration: str, term: str) -> None:
    """From the 26th to the 6th over ten ends of months: each month is owed for what was not paused in it."""
    shop = Shop(world, "2026-01-01T00:00:00Z")
    fee = world.fee_price(shop.product, "28.00", paymentTerm=term, invoiceDisplayName="Fee")
    plan = world.plan(shop.product, [fee], proration=proration)
    subscription = shop.start(plan, "2026-01-01T00:00:00Z")
    for month in range(1, 11):
        shop.pause(subscription, f"2026-{month:02}-26", f"2026-{month + 1:02}-06")
    shop.do(subscription, "cancellation", cancelsAt="2026-12-01T00:00:00Z", reason="x")
    shop.advance("2026-12-02T00:00:00Z")
    # 28.00 x 25/31 of January is 22.58, 28.00 x 20/28 of February; 20 days of five months of 31 days are 18.06 each,
    # of three months of 30 days 18.67; and November has 25 of 30, 23.33.
    owed = Decimal("22.58") + 20 + 5 * Decimal("18.06") + 3 * Decimal("18.67") + Decimal("23.33")
    assert sum(map(Decimal, shop.totals(subscription))) == owed
