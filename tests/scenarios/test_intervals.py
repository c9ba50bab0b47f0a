"""Plans that bill by any interval, as calendars."""

from decimal import Decimal

import pytest
from django.db import IntegrityError

from apps.catalog.models import Plan
from tests.world import World

pytestmark = pytest.mark.django_db


def started(world: World, cadence: str, start: str, **extra: object) -> tuple[str, str]:
    product = world.product()
    prices = [
        world.fee_price(product, "28.00", billingCadence=cadence),
        world.usage_price(world.metric(product), unit_price="0.01"),
    ]
    plan = world.plan(product, prices, billingCadence=cadence, **extra)
    clock = world.clock(start)
    customer = world.customer()
    subscription = world.subscribe(customer, plan, at=start, clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    return str(subscription["id"]), clock


def bills(world: World, subscription: str) -> list[tuple[str, str, str]]:
    found = world.invoices(subscription)
    return [(i["periodStart"][:10], i["periodEnd"][:10], i["grandTotal"]) for i in found[1:]]


def test_every_fortnight(world: World) -> None:
    subscription, clock = started(world, "P2W", "2026-01-05T00:00:00Z")
    customer = world.api.get(f"/v0/subscriptions/{subscription}")["customerId"]
    world.send(customer, "2026-01-18T23:59:59Z", tokens=100)
    world.send(customer, "2026-01-19T00:00:00Z", tokens=300)
    world.advance(clock, "2026-02-03T00:00:00Z")
    assert bills(world, subscription) == [
        ("2026-01-05", "2026-01-19", "29.00"),
        ("2026-01-19", "2026-02-02", "31.00"),
        ("2026-02-02", "2026-02-16", "28.00"),  # open: what its end will bring
    ]


def test_every_two_years_from_a_leap_day(world: World) -> None:
    subscription, clock = started(world, "P2Y", "2024-02-29T00:00:00Z")
    world.advance(clock, "2028-03-01T00:00:00Z")
    assert [row[:2] for row in bills(world, subscription)] == [
        ("2024-02-29", "2026-02-28"),
        ("2026-02-28", "2028-02-29"),
        ("2028-02-29", "2030-02-28"),
    ]


def test_half_years_on_the_last_of_the_month_begin_with_a_stub(world: World) -> None:
    """The plan bills on every 31 August and last of February; the first bill is a part of its half year."""
    subscription, clock = started(
        world, "P6M", "2026-01-31T00:00:00Z", billingAnchor="2021-08-31T00:00:00Z", proration="day"
    )
    zero = world.invoices(subscription)[0]
    # 28 of the 181 days from 31 August to 28 February.
    assert Decimal(zero["grandTotal"]) == Decimal("4.33")
    world.advance(clock, "2027-03-01T00:00:00Z")
    assert [row[:2] for row in bills(world, subscription)] == [
        ("2026-01-31", "2026-02-28"),
        ("2026-02-28", "2026-08-31"),
        ("2026-08-31", "2027-02-28"),
        ("2027-02-28", "2027-08-31"),
    ]


def test_a_monthly_fee_in_a_plan_by_the_fortnight(world: World) -> None:
    """A price may have an interval of its own; it falls due on the bill of the period that holds its day."""
    product = world.product()
    plan = world.plan(product, [world.fee_price(product, "31.00")], billingCadence="P14D")
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(world.customer(), plan, at="2026-01-01T00:00:00Z", clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, "2026-03-13T00:00:00Z")
    found = [(i["periodEnd"][:10], i["grandTotal"]) for i in world.invoices(subscription["id"])]
    assert found == [
        ("2026-01-15", "31.00"),
        ("2026-01-15", "0.00"),
        ("2026-01-29", "0.00"),
        ("2026-02-12", "31.00"),
        ("2026-02-26", "0.00"),
        ("2026-03-12", "31.00"),
        ("2026-03-26", "0.00"),
    ]


@pytest.mark.parametrize(
    ("cadence", "interval"),
    [("P1M", "monthly"), ("P3M", "quarterly"), ("P12M", "yearly"), ("P14D", "P14D"), ("P2W", "P2W"), ("P2Y", "P2Y")],
)
def test_a_plan_says_its_interval_as_it_was_given(world: World, cadence: str, interval: str) -> None:
    plan = world.plan(world.product(), [], billingCadence=cadence)
    found = world.api.get(f"/v0/plans/{plan}")
    assert (found["billingCadence"], found["billingInterval"]) == (cadence, interval)


@pytest.mark.parametrize(
    "cadence", ["", "P", "P0D", "P0M", "PT1H", "P1M14D", "P1M0D", "P1MT0S", "P11Y", "P4000D", "1M"]
)
def test_what_is_no_interval_is_refused_by_name(world: World, cadence: str) -> None:
    body = {"currency": "USD", "merchantId": world.id, "name": "x", "productId": world.product()}
    answer = world.api.post("/v0/plans", {**body, "billingCadence": cadence}, expect=400)
    assert [error["field"] for error in answer["errors"]] == ["billingCadence"]


@pytest.mark.parametrize("cadence", ["P0D", "P1M1D", "PT1H", "x"])
def test_the_database_keeps_what_is_no_interval_out(world: World, cadence: str) -> None:
    world.plan(world.product(), [])
    with pytest.raises(IntegrityError, match="plan_cadence_is_a_step"):
        Plan.objects.update(billing_cadence=cadence)
