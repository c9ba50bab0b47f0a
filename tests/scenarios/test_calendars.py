"""Calendars worked out by hand: months that end early, leap years, summer time, bills at a customer's midnight."""

from typing import Any

import pytest

from apps.customers.models import Customer
from tests.world import World

pytestmark = pytest.mark.django_db


class Shop:
    """A fee of 31.00 in advance and usage at 1.00, on whatever calendar the plan has."""

    def __init__(self, world: World) -> None:
        self.world, self.product = world, world.product()
        self.metric = world.metric(self.product)

    def plan(self, amount: str = "31.00", *, cadence: str = "P1M", usage: str | None = None, **extra: Any) -> str:
        fee = self.world.fee_price(self.product, amount, billingCadence=cadence)
        price = self.world.usage_price(self.metric, unit_price="1", **({"billingCadence": usage} if usage else {}))
        return self.world.plan(self.product, [fee, price], billingCadence=cadence, **extra)

    def start(self, plan: str, at: str, tz: str | None = None, **extra: Any) -> tuple[dict[str, Any], str]:
        customer = self.world.customer(**({"timezone": tz} if tz else {}))
        clock = self.world.clock(at)
        subscription = self.world.subscribe(customer, plan, at=at, clock=clock, **extra)
        if "payment" in subscription:
            self.world.pay(subscription["payment"]["invoiceId"])
        return subscription, clock

    def bills(self, subscription: dict[str, Any]) -> list[tuple[str, str, str]]:
        """Give the calculated bills of the periods: from, to, total."""
        return [
            (i["periodStart"], i["periodEnd"], i["grandTotal"])
            for i in self.world.invoices(subscription["id"])
            if i["sequenceNumber"] and i["status"] in {"ISSUED", "PAID"}
        ]


@pytest.fixture
def shop(world: World) -> Shop:
    return Shop(world)


def midnights(days: list[str]) -> list[str]:
    return [f"{day}T00:00:00Z" for day in days]


def ends(bills: list[tuple[str, str, str]]) -> list[str]:
    return [end for _, end, _ in bills]


def test_started_on_31_january_bills_the_last_day_of_every_month(shop: Shop) -> None:
    subscription, clock = shop.start(shop.plan(), "2027-01-31T00:00:00Z")
    for day in ("2027-02-27", "2027-02-28", "2027-03-30", "2027-03-31"):
        shop.world.send(subscription["customerId"], f"{day}T12:00:00Z", tokens=1)
    shop.world.advance(clock, "2028-03-31T02:00:00Z")
    bills = shop.bills(subscription)
    assert ends(bills) == midnights(
        [
            "2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31", "2027-06-30", "2027-07-31", "2027-08-31",
            "2027-09-30", "2027-10-31", "2027-11-30", "2027-12-31", "2028-01-31", "2028-02-29", "2028-03-31",
        ]
    )  # fmt: skip
    # A month's fee whatever its length; 27 February, then 28 February and 30 March, then 31 March.
    assert [total for *_, total in bills] == ["32.00", "33.00", "32.00", *["31.00"] * 11]


def test_on_29_february_a_year_is_to_the_28th_and_the_leap_day_comes_back(shop: Shop) -> None:
    subscription, clock = shop.start(shop.plan("365.00", cadence="P1Y"), "2028-02-29T00:00:00Z")
    shop.world.advance(clock, "2032-02-29T02:00:00Z")
    assert ends(shop.bills(subscription)) == midnights(["2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29"])


def test_a_yearly_plan_bills_its_usage_with_the_year_by_its_own_months(shop: Shop) -> None:
    """Usage of a yearly plan with a monthly price: twelve lines of a month each."""
    subscription, clock = shop.start(shop.plan("120.00", cadence="P1Y", usage="P1M"), "2026-01-31T00:00:00Z")
    for day in ("2026-02-15", "2026-02-28", "2026-12-31", "2027-01-30"):
        shop.world.send(subscription["customerId"], f"{day}T12:00:00Z", tokens=3)
    shop.world.advance(clock, "2027-01-31T02:00:00Z")
    assert [total for *_, total in shop.bills(subscription)] == ["132.00"]
    (invoice,) = (i for i in shop.world.invoices(subscription["id"]) if i["sequenceNumber"] == 1)
    used = [
        (line["periodStart"][:10], line["periodEnd"][:10], line["totalPrice"])
        for line in shop.world.lines(invoice["id"])
        if line["paymentTerm"] == "in_arrears"
    ]
    assert len(used) == 12
    assert [row for row in used if row[2] != "0.00"] == [
        ("2026-01-31", "2026-02-28", "3.00"),
        ("2026-02-28", "2026-03-31", "3.00"),
        ("2026-12-31", "2027-01-31", "6.00"),
    ]


def test_first_of_the_month_at_midnight_in_sydney_and_new_york(shop: Shop) -> None:
    """One plan: each customer's months begin at its own midnight, in summer time and out of it."""
    plan = shop.plan(billingDay=1)
    sydney, clock = shop.start(plan, "2026-02-28T13:00:00Z", "Australia/Sydney")  # 1 March 00:00
    shop.world.advance(clock, "2026-11-01T00:00:00Z")
    # Summer time ends on 5 April (UTC+11 to +10) and begins on 4 October.
    assert ends(shop.bills(sydney)) == [
        "2026-03-31T13:00:00Z", "2026-04-30T14:00:00Z", "2026-05-31T14:00:00Z", "2026-06-30T14:00:00Z",
        "2026-07-31T14:00:00Z", "2026-08-31T14:00:00Z", "2026-09-30T14:00:00Z", "2026-10-31T13:00:00Z",
    ]  # fmt: skip
    assert {total for *_, total in shop.bills(sydney)} == {"31.00"}
    york, clock = shop.start(plan, "2026-02-01T05:00:00Z", "America/New_York")  # 1 February 00:00
    shop.world.advance(clock, "2026-12-01T12:00:00Z")
    # Summer time begins on 8 March (UTC-5 to -4) and ends on 1 November at 02:00.
    assert ends(shop.bills(york)) == [
        "2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z", "2026-05-01T04:00:00Z", "2026-06-01T04:00:00Z",
        "2026-07-01T04:00:00Z", "2026-08-01T04:00:00Z", "2026-09-01T04:00:00Z", "2026-10-01T04:00:00Z",
        "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z",
    ]  # fmt: skip


def test_a_stub_in_the_month_that_summer_time_begins(shop: Shop) -> None:
    """New York, 16 March to 1 April: 16 days of March's 31, which is an hour short."""
    by_second = shop.plan("743.00", billingDay=1)
    subscription, _ = shop.start(by_second, "2026-03-16T04:00:00Z", "America/New_York")
    # 384 hours of 743.
    assert subscription["payment"]["amount"] == "384.00"
    by_day = shop.plan("31.00", billingDay=1, proration="day")
    subscription, _ = shop.start(by_day, "2026-03-16T04:00:00Z", "America/New_York")
    assert subscription["payment"]["amount"] == "16.00"


def test_usage_at_the_edge_of_a_local_month_is_billed_on_its_own_side(shop: Shop) -> None:
    subscription, clock = shop.start(shop.plan(billingDay=1), "2026-03-31T13:00:00Z", "Australia/Sydney")
    for moment, tokens in (("2026-04-30T13:59:59Z", 1), ("2026-04-30T14:00:00Z", 20)):
        shop.world.send(subscription["customerId"], moment, tokens=tokens)
    shop.world.advance(clock, "2026-06-01T00:00:00Z")
    assert [total for *_, total in shop.bills(subscription)] == ["32.00", "51.00"]


def test_the_last_day_of_the_month_whatever_the_month(shop: Shop) -> None:
    """Billing day 31; from 10 February there are 18 days of the 28 that began on 31 January."""
    subscription, clock = shop.start(shop.plan("28.00", billingDay=31), "2026-02-10T00:00:00Z")
    assert subscription["payment"]["amount"] == "18.00"
    shop.world.advance(clock, "2026-06-30T02:00:00Z")
    assert ends(shop.bills(subscription)) == midnights(
        ["2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31", "2026-06-30"]
    )


def test_mondays(shop: Shop) -> None:
    """From Wednesday 7 January 2026: five of seven days, then weeks; the hour stays through summer time."""
    subscription, clock = shop.start(shop.plan("7.00", cadence="P1W", billingDay=1), "2026-01-07T00:00:00Z")
    assert subscription["payment"]["amount"] == "5.00"
    shop.world.advance(clock, "2026-01-26T02:00:00Z")
    assert ends(shop.bills(subscription)) == midnights(["2026-01-12", "2026-01-19", "2026-01-26"])


def test_a_fiscal_year_in_quarters(shop: Shop) -> None:
    subscription, clock = shop.start(
        shop.plan("90.00", cadence="P3M", billingDay=1, billingMonth=2), "2026-02-01T00:00:00Z"
    )
    shop.world.advance(clock, "2027-02-01T02:00:00Z")
    assert ends(shop.bills(subscription)) == midnights(["2026-05-01", "2026-08-01", "2026-11-01", "2027-02-01"])


def test_a_day_of_ones_own_goes_before_the_plans(shop: Shop) -> None:
    subscription, _ = shop.start(shop.plan(billingDay=1), "2026-01-10T00:00:00Z", billingDay=15)
    assert subscription["billingAnchor"] == "2000-01-15T00:00:00Z"
    assert subscription["payment"]["amount"] == "5.00"  # five days of 31
    body = {"name": "Sub", "planId": shop.plan(cadence="P10D"), "customerId": shop.world.customer()}
    refused = shop.world.api.post(
        "/v0/subscriptions", {**body, "startedAt": "2026-01-10T00:00:00Z", "billingDay": 3}, expect=400
    )
    assert refused["errors"][0]["field"] == "billingDay"


def test_a_zone_that_changes_later_moves_no_period(shop: Shop) -> None:
    subscription, clock = shop.start(shop.plan(billingDay=1), "2026-02-28T13:00:00Z", "Australia/Sydney")
    path = f"/v0/customers/{subscription['customerId']}"
    assert shop.world.api.patch(path, {"timezone": "Europe/Paris"})["timezone"] == "Europe/Paris"
    assert Customer.objects.get(public_id=subscription["customerId"]).timezone == "Europe/Paris"
    shop.world.advance(clock, "2026-05-01T00:00:00Z")
    assert ends(shop.bills(subscription)) == ["2026-03-31T13:00:00Z", "2026-04-30T14:00:00Z"]
    assert shop.world.api.patch(path, {"timezone": None})["timezone"] is None
    assert "IANA" in str(shop.world.api.patch(path, {"timezone": "No/Where"}, expect=400))


def test_days_that_do_not_fit_a_plan_are_refused(shop: Shop) -> None:
    plan = shop.plan()
    path = f"/v0/plans/{plan}"
    for body, field in (
        ({"billingMonth": 3}, "billingDay"),
        ({"billingDay": 3, "billingMonth": 3}, "billingMonth"),
        ({"billingDay": 3, "billingAnchor": "2026-01-01T00:00:00Z"}, "billingDay"),
        ({"billingCadence": "P2W", "billingDay": 9}, "billingDay"),
    ):
        assert shop.world.api.patch(path, body, expect=400)["errors"][0]["field"] == field, body
    assert shop.world.api.patch(path, {"billingDay": 3})["billingDay"] == 3
    assert shop.world.api.patch(path, {"billingDay": None})["billingDay"] is None
