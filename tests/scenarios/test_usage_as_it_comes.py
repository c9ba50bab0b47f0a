"""Usage with a price in advance: billed as it comes, and in sum what arrears would have billed."""

from decimal import Decimal
from typing import Any

import pytest

from apps.invoicing.models import Invoice
from apps.invoicing.services.watching import look_at_usage
from apps.metering.services.merge import drain
from tests.world import World

pytestmark = pytest.mark.django_db

GRADUATED = {
    "model": "graduated",
    "properties": {"tiers": [{"upTo": "3", "unitPrice": "1.005"}, {"upTo": None, "unitPrice": "0.335"}]},
}


class Case:
    """A subscription from 1 January to usage in advance, and if wanted to other usage in arrears beside it."""

    def __init__(self, world: World, price: dict[str, Any], *, beside: bool = False, **plan: Any) -> None:
        self.world = world
        product = world.product()
        prices = [world.usage_price(world.metric(product), **{"paymentTerm": "in_advance", **price})]
        if beside:
            prices.append(world.usage_price(world.metric(product, path="$.calls"), "2"))
        self.plan = world.plan(product, prices, **plan)
        self.customer, self.clock = world.customer(), world.clock("2026-01-01T00:00:00Z")
        self.id = world.subscribe(self.customer, self.plan, at="2026-01-01T00:00:00Z", clock=self.clock)["id"]

    def use(self, moment: str, **data: Any) -> None:
        self.world.send(self.customer, moment, **data)
        drain()
        look_at_usage()

    @property
    def bills(self) -> list[tuple[int, int, Decimal]]:
        rows = Invoice.objects.filter(subscription__public_id=self.id).order_by("sequence_number", "part")
        return [(row.sequence_number, row.part, row.grand_total) for row in rows]


def test_each_event_is_billed_and_the_sum_is_that_of_arrears(world: World) -> None:
    case = Case(world, GRADUATED)
    arrears = Case(world, {**GRADUATED, "paymentTerm": "in_arrears"})
    for minute, tokens in enumerate([1, 1, 1, 1, 2]):
        case.world.advance(case.clock, f"2026-01-05T00:{minute:02d}:00Z")
        case.use(f"2026-01-05T00:{minute:02d}:00Z", tokens=tokens)
        arrears.use(f"2026-01-05T00:{minute:02d}:00Z", tokens=tokens)
    # 1.005, 2.01, 3.015, 3.35, 4.02 in all: 1.01, then what is new of the rounded whole.
    assert [total for _, part, total in case.bills if part] == [
        Decimal("1.01"), Decimal("1.00"), Decimal("1.01"), Decimal("0.33"), Decimal("0.67"),
    ]  # fmt: skip
    for each in (case, arrears):
        world.advance(each.clock, "2026-02-02T00:00:00Z")
    assert case.bills[0] == (1, 0, 0)
    assert arrears.bills[0] == (1, 0, Decimal("4.02"))
    lines = world.lines(world.invoices(case.id)[1]["id"])
    assert [line["paymentTerm"] for line in lines] == ["in_advance"]


def test_bills_wait_for_the_interval_of_the_plan(world: World) -> None:
    case = Case(world, {"unit_price": "1"}, usageBillingInterval="PT1H")
    case.use("2026-01-01T00:00:00Z", tokens=1)
    assert case.bills == [(1, 0, 0), (1, 1, 1)]
    world.advance(case.clock, "2026-01-01T00:30:00Z")
    case.use("2026-01-01T00:20:00Z", tokens=2)
    case.use("2026-01-01T00:25:00Z", tokens=3)
    assert len(case.bills) == 2
    # The clock makes the next bill when the hour is over, without any further usage.
    world.advance(case.clock, "2026-01-01T12:00:00Z")
    assert case.bills[2:] == [(1, 2, 5)]
    second = Invoice.objects.get(part=2)
    assert second.issued_at is not None
    assert second.issued_at.isoformat() == "2026-01-01T01:00:00+00:00"
    look_at_usage()
    assert len(case.bills) == 3


def test_usage_in_arrears_beside_it_waits_for_the_end(world: World) -> None:
    case = Case(world, {"unit_price": "1"}, beside=True)
    case.use("2026-01-05T00:00:00Z", tokens=3, calls=10)
    assert case.bills[1:] == [(1, 1, 3)]
    world.advance(case.clock, "2026-02-02T00:00:00Z")
    assert case.bills[:2] == [(1, 0, 20), (1, 1, 3)]


def test_a_threshold_bills_the_usage_in_arrears_along(world: World) -> None:
    case = Case(world, {"unit_price": "1"}, beside=True, billingThresholds={"amounts": ["20"]})
    case.use("2026-01-05T00:00:00Z", tokens=3, calls=5)
    assert case.bills[1:] == [(1, 1, 3)]
    world.advance(case.clock, "2026-01-06T00:00:00Z")
    case.use("2026-01-06T00:00:00Z", tokens=1, calls=3)
    assert case.bills[1:] == [(1, 1, 3), (1, 2, 17)]
    world.advance(case.clock, "2026-02-02T00:00:00Z")
    assert case.bills[0] == (1, 0, 0)


def test_late_usage_of_a_closed_period_is_a_line_of_the_next_bill(world: World) -> None:
    case = Case(world, {"unit_price": "1"})
    case.use("2026-01-05T00:00:00Z", tokens=3)
    world.advance(case.clock, "2026-02-03T00:00:00Z")
    case.use("2026-01-20T00:00:00Z", tokens=4)
    assert case.bills[-1] == (2, 0, 0)
    world.advance(case.clock, "2026-03-02T00:00:00Z")
    assert [row for row in case.bills if row[2]] == [(1, 1, 3), (2, 0, 4)]


@pytest.mark.parametrize(
    ("price", "aggregation", "field"),
    [
        ({"model": "volume", "properties": {"tiers": [{"upTo": None, "unitPrice": "1"}]}}, "SUM", "paymentTerm"),
        ({"unit_price": "1"}, "AVG", "paymentTerm"),
        ({"unit_price": "1"}, "LATEST", "paymentTerm"),
    ],
)
def test_what_only_the_end_of_a_period_knows_is_refused(
    world: World, price: dict[str, Any], aggregation: str, field: str
) -> None:
    product = world.product()
    metric = world.metric(product, aggregation=aggregation)
    body = {
        "invoiceDisplayName": "Tokens",
        "paymentTerm": "in_advance",
        "model": "standard",
        "properties": {"unitPrice": "1"},
        "billableMetricId": metric,
        **{name: value for name, value in price.items() if name != "unit_price"},
    }
    answer = world.api.post("/v0/prices", body, expect=400)
    assert [problem["field"] for problem in answer["errors"]] == [field]
    assert "in arrears" in answer["errors"][0]["message"]


@pytest.mark.parametrize("interval", ["P1M", "PT30S", "P32D", "P0D", "often", "P99999999999999999D"])
def test_an_interval_has_a_fixed_length(world: World, interval: str) -> None:
    product = world.product()
    body = {"currency": "USD", "merchantId": world.id, "name": "P", "productId": product, "billingCadence": "P1M"}
    answer = world.api.post("/v0/plans", {**body, "usageBillingInterval": interval}, expect=400)
    assert [problem["field"] for problem in answer["errors"]] == ["usageBillingInterval"]
