"""Months in which clocks change, in Sydney, New York and on Lord Howe Island: parts by the second and by the day."""

import pytest

from tests.scenarios.lives import Shop
from tests.world import World

pytestmark = pytest.mark.django_db

# A local month with one hour (on Lord Howe half an hour) more or less, and how many hours it has.
MONTHS = {
    # Until 5 April 3:00 UTC+11, then UTC+10: 30 days and an hour.
    ("Australia/Sydney", "longer"): ("2026-03-31T13:00:00Z", "721.00"),
    # From 4 October 2:00: 31 days less an hour.
    ("Australia/Sydney", "shorter"): ("2026-09-30T14:00:00Z", "743.00"),
    # From 8 March 2:00, UTC-5 to UTC-4; back on 1 November.
    ("America/New_York", "shorter"): ("2026-03-01T05:00:00Z", "743.00"),
    ("America/New_York", "longer"): ("2026-11-01T04:00:00Z", "721.00"),
    # From UTC+11 to UTC+10:30 on 5 April.
    ("Australia/Lord_Howe", "longer"): ("2026-03-31T13:00:00Z", "720.50"),
}


@pytest.mark.parametrize(
    ("zone", "month", "end", "hours_left", "days_left"),
    [
        # Midnight that begins 5 April, three hours before the change: 26 days and an hour are left.
        ("Australia/Sydney", "longer", "2026-04-04T13:00:00Z", "625.00", "26.00"),
        # Midnight that ends it: 25 days.
        ("Australia/Sydney", "longer", "2026-04-05T14:00:00Z", "600.00", "25.00"),
        # 4 October is over: 27 days.
        ("Australia/Sydney", "shorter", "2026-10-04T13:00:00Z", "648.00", "27.00"),
        ("America/New_York", "shorter", "2026-03-08T05:00:00Z", "575.00", "24.00"),
        ("America/New_York", "shorter", "2026-03-09T04:00:00Z", "552.00", "23.00"),
        ("America/New_York", "longer", "2026-11-02T05:00:00Z", "696.00", "29.00"),
        ("Australia/Lord_Howe", "longer", "2026-04-05T13:30:00Z", "600.00", "25.00"),
    ],
)
def test_what_is_left_of_a_month_is_given_back(
    world: World, zone: str, month: str, end: str, hours_left: str, days_left: str
) -> None:
    """A fee of 1.00 an hour by the second, and one of 1.00 a day by the day; both end at a local midnight."""
    start, hours = MONTHS[zone, month]
    shop = Shop(world, start)
    days = "31.00" if month == "shorter" else "30.00"
    by_second = shop.plan("Hours", hours, credits=True, billingDay=1)
    by_day = shop.plan("Days", days, credits=True, billingDay=1, proration="day")
    ids = [shop.start(plan, start, customer=world.customer(timezone=zone)) for plan in (by_second, by_day)]
    for subscription in ids:
        shop.do(subscription, "cancellation", cancelsAt=end, reason="x")
    shop.advance("2026-12-10T00:00:00Z")
    assert [shop.bills(subscription) for subscription in ids] == [
        [[("Fee", whole)], [("Unused: Fee", f"-{left}"), ("Tokens", "0.00")]]
        for whole, left in ((hours, hours_left), (days, days_left))
    ]


def changed_within_a_month(
    world: World, zone: str, hours: str, start: str, change: str, sent: dict[str, int], until: str
) -> list[list[list[tuple[str, str]]]]:
    """Go from usage at 1.00 to usage at 10.00 at an instant; gives the bills of both plans."""
    shop = Shop(world, start)
    small, large = (shop.plan(name, hours, price, billingDay=1) for name, price in (("Small", "1"), ("Large", "10")))
    customer = world.customer(timezone=zone)
    first = shop.start(small, start, customer=customer)
    shop.do(first, "planChange", planId=large, effectiveAt=change)
    for moment, tokens in sent.items():
        world.send(customer, change[:11] + moment, tokens=tokens)
    shop.advance(until)
    return [shop.bills(first), shop.bills(shop.follower(first))]


def test_an_hour_that_is_twice_on_the_clock_is_two_hours_of_usage(world: World) -> None:
    """Sydney, 5 April: 2:00 to 3:00 comes twice; the other plan begins with the second."""
    # 2:30 by summer time, the last instant of it, the first after it, and 2:30 again.
    sent = {"15:30:00Z": 1, "15:59:59.999999Z": 2, "16:00:00Z": 4, "16:30:00Z": 8}
    first, second = changed_within_a_month(
        world, "Australia/Sydney", "721.00", "2026-03-31T13:00:00Z", "2026-04-04T16:00:00Z", sent,
        "2026-05-02T00:00:00Z",
    )  # fmt: skip
    # 99 of 721 hours are over when it changes: 622 come back, and are charged anew.
    assert first == [[("Fee", "721.00")], [("Unused: Fee", "-622.00"), ("Tokens", "3.00")]]
    assert second == [[("Fee", "622.00")], [("Tokens", "120.00"), ("Fee", "721.00")]]


def test_an_hour_that_is_left_out_has_no_usage_and_its_neighbours_touch(world: World) -> None:
    """New York, 8 March: 1:59:59 is followed by 3:00."""
    first, second = changed_within_a_month(
        world, "America/New_York", "743.00", "2026-03-01T05:00:00Z", "2026-03-08T07:00:00Z",
        {"06:59:59.999999Z": 1, "07:00:00Z": 2}, "2026-04-02T00:00:00Z",
    )  # fmt: skip
    # Seven days and two hours, 170 of 743 hours.
    assert first == [[("Fee", "743.00")], [("Unused: Fee", "-573.00"), ("Tokens", "1.00")]]
    assert second == [[("Fee", "573.00")], [("Tokens", "20.00"), ("Fee", "743.00")]]


@pytest.mark.parametrize(
    ("zone", "edge"), [("Asia/Kolkata", "2026-03-31T18:30:00Z"), ("Australia/Lord_Howe", "2026-04-30T13:30:00Z")]
)
def test_months_that_begin_at_half_past_split_the_hour_of_their_edge(world: World, zone: str, edge: str) -> None:
    shop = Shop(world, "2026-02-28T12:00:00Z")
    customer = world.customer(timezone=zone)
    subscription = shop.start(shop.plan("Pro", "30.00", billingDay=1), "2026-02-28T12:00:00Z", customer=customer)
    hour, minute = edge[:14], int(edge[14:16])
    for at, tokens in ((f"{minute - 1}:59.999999Z", 1), (f"{minute}:00Z", 20), (f"{minute}:00.000001Z", 300)):
        world.send(customer, hour + at, tokens=tokens)
    shop.advance("2026-07-02T00:00:00Z")
    used = [
        (line["periodStart"], line["periodEnd"], line["totalPrice"])
        for invoice in world.invoices(subscription)
        for line in world.lines(invoice["id"])
        if line["invoiceDisplayName"] == "Tokens" and line["totalPrice"] != "0.00"
    ]
    assert [(used[0][1], used[0][2]), (used[1][0], used[1][2])] == [(edge, "1.00"), (edge, "320.00")]
    assert len(used) == 2
