"""What an allowance leaves to be paid."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F

from apps.entitlements.selectors.coverage import CoverageRequest, coverage
from apps.invoicing.domain.words import steps_in_words
from apps.kernel.time import parse_instant
from apps.metering.models import UsageWindow
from apps.rating.reading import recompute
from tests.entitlements.kit import MILLION, Kit

SOFT = {**MILLION, "isSoftLimit": True}


@pytest.mark.parametrize(("template", "total"), [(SOFT, "0.60"), (MILLION, "0.00"), (None, "2.60")])
def test_only_what_is_beyond_the_allowance_is_billed(kit: Kit, template: dict[str, Any] | None, total: str) -> None:
    price = kit.world.usage_price(kit.metric) if template is None else kit.price(kit.feature(), template)
    customer, subscription, clock = kit.subscriber([price])
    kit.use(customer, "2026-01-10T00:00:00Z", 1_300_000)
    kit.world.advance(clock, "2026-02-02T00:00:00Z")
    (line,) = kit.world.lines(kit.world.invoices(subscription)[-2]["id"])
    assert Decimal(line["totalPrice"]) == Decimal(total)


def test_late_usage_is_billed_beyond_the_allowance_of_its_own_period(kit: Kit) -> None:
    customer, subscription, clock = kit.subscriber([kit.price(kit.feature(), SOFT)])
    kit.use(customer, "2026-01-10T00:00:00Z", 900_000)
    kit.world.advance(clock, "2026-02-02T00:00:00Z")
    kit.use(customer, "2026-01-11T00:00:00Z", 300_000)
    kit.world.advance(clock, "2026-03-02T00:00:00Z")
    february = kit.world.invoices(subscription)[-2]["id"]
    assert sum(kit.world.amounts(february)) == Decimal("0.40")


def test_two_prices_share_one_allowance(kit: Kit) -> None:
    feature = kit.feature()
    out = kit.world.metric(kit.product, path="$.output")
    prices = [kit.price(feature, SOFT), kit.price(feature, None, metric=out, unit_price="0.00001")]
    customer, subscription, clock = kit.subscriber(prices)
    kit.use(customer, "2026-01-10T00:00:00Z", 900_000, output=300_000)
    assert kit.right(customer, "&at=2026-01-20T00:00:00Z")["overage"] == 200_000
    kit.world.advance(clock, "2026-02-02T00:00:00Z")
    bill = kit.world.invoices(subscription)[-2]["id"]
    # Three quarters of the overage at one price, a quarter at the other.
    assert kit.world.amounts(bill) == [Decimal("0.30"), Decimal("0.50")]


def test_a_grant_pays_before_money_does(kit: Kit) -> None:
    customer, subscription, clock = kit.subscriber([kit.price(kit.feature(), SOFT)])
    path = f"/v1/entitlements/{kit.right(customer)['entitlementId']}/grants"
    kit.world.api.post(path, {"amount": 200_000, "idempotencyKey": "a"})
    kit.use(customer, "2026-01-10T00:00:00Z", 1_300_000)
    kit.world.advance(clock, "2026-02-02T00:00:00Z")
    assert kit.world.amounts(kit.world.invoices(subscription)[-2]["id"]) == [Decimal("0.20")]


def test_carried_overage_is_paid_in_units_and_not_in_money(kit: Kit) -> None:
    price = kit.price(kit.feature(), {**SOFT, "preserveOverageAtReset": True})
    customer, subscription, clock = kit.subscriber([price])
    kit.use(customer, "2026-01-10T00:00:00Z", 1_300_000)
    kit.world.advance(clock, "2026-02-02T00:00:00Z")
    assert sum(kit.world.amounts(kit.world.invoices(subscription)[-2]["id"])) == 0
    assert kit.right(customer)["balance"] == 700_000


@pytest.mark.parametrize(("march", "owed"), [(0, "0.60"), (100_000, "0.80"), (-100_000, "0.40")])
def test_what_is_left_of_carried_overage_is_billed_when_the_right_ends(kit: Kit, march: int, owed: str) -> None:
    """Of all periods, once: 1.8 and 1.5 million of which three times a million are covered."""
    price = kit.price(kit.feature(), {**SOFT, "preserveOverageAtReset": True})
    customer, subscription, clock = kit.subscriber([price])
    kit.use(customer, "2026-01-10T00:00:00Z", 1_800_000)
    kit.use(customer, "2026-02-10T00:00:00Z", 1_500_000)
    kit.world.advance(clock, "2026-03-05T00:00:00Z")
    if march:
        kit.use(customer, "2026-03-03T00:00:00Z", march)
    kit.world.api.post(f"/v0/subscriptions/{subscription}/termination", {"reason": "gone"}, expect=200)
    kit.world.advance(clock, "2026-03-07T00:00:00Z")
    bills = [kit.world.amounts(bill["id"]) for bill in kit.world.invoices(subscription)]
    assert sum((sum(bill) for bill in bills), Decimal(0)) == Decimal(owed)
    (line,) = kit.world.lines(kit.world.invoices(subscription)[-1]["id"])
    assert recompute(line["provenance"]) == Decimal(owed)
    assert steps_in_words(line["provenance"])[0].startswith(
        "add what carried overage leaves to be paid when the right ends"
    )


@pytest.mark.parametrize(
    ("february", "amounts"), [(900_000, ["0.80", "1.20", "1.00"]), (0, ["0.00", "0.40", "0.20"])]
)
def test_late_usage_of_any_period_is_billed_where_its_right_has_ended(
    kit: Kit, february: int, amounts: list[str]
) -> None:
    """Of January, whose overage was carried on: what is left of it at the end is more, and then less again."""
    price = kit.price(kit.feature(), {**SOFT, "preserveOverageAtReset": True})
    customer, subscription, clock = kit.subscriber([price])
    kit.use(customer, "2026-01-10T00:00:00Z", 1_500_000 if february else 2_000_000)
    if february:
        kit.use(customer, "2026-02-10T00:00:00Z", february)
    kit.world.advance(clock, "2026-02-20T00:00:00Z")
    kit.world.api.post(f"/v0/subscriptions/{subscription}/termination", {"reason": "gone"}, expect=200)
    kit.world.advance(clock, "2026-02-22T00:00:00Z")

    def billed() -> Decimal:
        bills = [kit.world.amounts(bill["id"]) for bill in kit.world.invoices(subscription)]
        return sum((sum(bill) for bill in bills), Decimal(0))

    first, more, less = (Decimal(amount) for amount in amounts)
    assert billed() == first
    for late, owed in ((200_000, more), (-100_000, less)):
        # Hours that changed lately are looked at again anyhow.
        UsageWindow.objects.update(changed_at=F("changed_at") - timedelta(hours=1))
        kit.use(customer, "2026-01-20T00:00:00Z", late)
        kit.world.api.post(f"/v0/subscriptions/{subscription}/corrections")
        assert billed() == owed
        kit.world.api.post(f"/v0/subscriptions/{subscription}/corrections", expect=409)


def test_prices_share_what_is_left_of_carried_overage_by_what_made_it(kit: Kit) -> None:
    feature = kit.feature()
    out = kit.world.metric(kit.product, path="$.output")
    template = {**SOFT, "preserveOverageAtReset": True}
    prices = [kit.price(feature, template), kit.price(feature, None, metric=out, unit_price="0.00001")]
    customer, subscription, clock = kit.subscriber(prices)
    kit.use(customer, "2026-01-10T00:00:00Z", 1_800_000, output=600_000)
    kit.world.advance(clock, "2026-02-05T00:00:00Z")
    kit.world.api.post(f"/v0/subscriptions/{subscription}/termination", {"reason": "gone"}, expect=200)
    kit.world.advance(clock, "2026-02-07T00:00:00Z")
    # Three quarters of the 400,000 that are left at one price, a quarter at the other.
    assert kit.world.amounts(kit.world.invoices(subscription)[-1]["id"]) == [Decimal("0.60"), Decimal("1.00")]


def test_the_allowance_is_a_step_of_the_calculation(kit: Kit) -> None:
    customer, subscription, clock = kit.subscriber([kit.price(kit.feature(), SOFT)])
    kit.use(customer, "2026-01-10T00:00:00Z", 1_300_000)
    kit.world.advance(clock, "2026-02-02T00:00:00Z")
    (line,) = kit.world.lines(kit.world.invoices(subscription)[-2]["id"])
    provenance = line["provenance"]
    first = provenance["steps"][0]
    assert (first["source"], first["in"], first["params"], first["out"]) == (
        "entitlement", "1300000", {"units": "1000000"}, "300000",
    )  # fmt: skip
    assert recompute(provenance) == Decimal("0.60")


def test_whoever_has_no_allowance_costs_one_query(kit: Kit, django_assert_num_queries: Any) -> None:
    one = CoverageRequest(1, 2, parse_instant("2026-01-01T00:00:00Z"), parse_instant("2026-02-01T00:00:00Z"))
    with django_assert_num_queries(1):
        assert coverage([one] * 50) == [0] * 50


@pytest.mark.parametrize("template", [None, {**SOFT, "usagePeriod": {"interval": "P1Y"}}])
def test_units_that_come_later_do_not_pay_what_a_bill_took_money_for(
    kit: Kit, template: dict[str, Any] | None
) -> None:
    """Of 1.3 million in January 0.3, or all where nothing is allowed; the grant of February is for February."""
    customer, subscription, clock = kit.subscriber([kit.price(kit.feature(), template)])
    kit.use(customer, "2026-01-10T00:00:00Z", 1_300_000)
    kit.world.advance(clock, "2026-02-10T00:00:00Z")
    assert kit.right(customer)["overage"] == 0
    right = kit.right(customer)["entitlementId"]
    kit.world.api.post(f"/v1/entitlements/{right}/grants", {"amount": 2_000_000, "idempotencyKey": "more"})
    assert kit.right(customer)["balance"] == 2_000_000
    kit.use(customer, "2026-02-11T00:00:00Z", 2_100_000)
    assert kit.right(customer, "&at=2026-02-12T00:00:00Z")["overage"] == 100_000
    kit.world.advance(clock, "2026-03-02T00:00:00Z")
    bills = [kit.world.amounts(bill["id"]) for bill in kit.world.invoices(subscription)]
    first = Decimal("0.60") if template else Decimal("2.60")
    assert sum((sum(bill) for bill in bills), Decimal(0)) == first + Decimal("0.20")
