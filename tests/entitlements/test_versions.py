"""What a right becomes when another version of the plan takes the place of the one that gave it."""

from decimal import Decimal
from typing import Any

import pytest

from tests.entitlements.kit import Kit

MONTHLY = {"usagePeriod": {"interval": "P1M"}, "isSoftLimit": True}


@pytest.fixture
def kit(world: Any) -> Kit:
    return Kit.make(world)


@pytest.mark.parametrize("is_stable", [True, False])
@pytest.mark.parametrize(
    ("allowance", "granted", "left", "billed"),
    [
        # 900 of 1,000 were used: 100 and 200 more are left, so that of the next thousand 700 are beyond.
        (1_200, 0, 300, "700.00"),
        (1_200, 50, 350, "650.00"),
        # Less than was used already leaves nothing, and takes nothing back.
        (500, 0, 0, "1000.00"),
    ],
)
def test_an_immediate_version_goes_on_from_what_was_used(
    kit: Kit, is_stable: bool, allowance: int, granted: int, left: int, billed: str
) -> None:
    """Also where the price is another one, which bills the whole month: what the old right covered stays covered."""
    feature = kit.feature()
    price = kit.price(feature, {**MONTHLY, "issueAfterReset": 1_000}, unit_price="1")
    plan_terms = {"versionTransition": {"effectiveDate": "immediate"}, "stablePriceIds": is_stable}
    customer, subscription, clock = kit.subscriber([{"key": "tok", "priceId": price}], **plan_terms)  # type: ignore[list-item]
    plan = kit.world.api.get(f"/v0/subscriptions/{subscription}")["planId"]
    kit.use(customer, "2026-01-05T00:00:00Z", 900)
    kit.world.advance(clock, "2026-01-10T00:00:00Z")
    if granted:
        right = kit.right(customer)["entitlementId"]
        kit.world.api.post(f"/v1/entitlements/{right}/grants", {"amount": granted, "idempotencyKey": "g"})
    second = kit.price(feature, {**MONTHLY, "issueAfterReset": allowance}, unit_price="1")
    kit.world.api.post(f"/v0/plans/{plan}/versions", {"prices": [{"key": "tok", "priceId": second}]})
    kit.world.advance(clock, "2026-01-11T00:00:00Z")
    assert kit.right(customer)["balance"] == left
    kit.use(customer, "2026-01-20T00:00:00Z", 1_000)
    kit.world.advance(clock, "2026-02-03T00:00:00Z")
    bills = [kit.world.amounts(bill["id"]) for bill in kit.world.invoices(subscription)]
    assert sum((sum(bill) for bill in bills), Decimal(0)) == Decimal(billed)
    # From the next reset on the allowance is the new one.
    assert kit.right(customer)["balance"] == allowance


def test_a_version_that_says_the_same_in_other_words_keeps_the_right(kit: Kit) -> None:
    feature = kit.feature()
    first = kit.price(feature, {**MONTHLY, "issueAfterReset": 1_000})
    customer, subscription, clock = kit.subscriber([first], versionTransition={"effectiveDate": "immediate"})
    plan = kit.world.api.get(f"/v0/subscriptions/{subscription}")["planId"]
    kit.use(customer, "2026-01-05T00:00:00Z", 400)
    right = kit.right(customer)["entitlementId"]
    second = kit.price(feature, {**MONTHLY, "issueAfterReset": 1_000, "resetMaxRollover": 0})
    kit.world.api.post(f"/v0/plans/{plan}/versions", {"prices": [second]})
    kit.world.advance(clock, "2026-01-10T00:00:00Z")
    found = kit.right(customer)
    assert (found["entitlementId"], found["balance"]) == (right, 600)


def test_another_usage_period_begins_anew(kit: Kit) -> None:
    feature = kit.feature()
    first = kit.price(feature, {**MONTHLY, "issueAfterReset": 1_000})
    customer, subscription, clock = kit.subscriber([first], versionTransition={"effectiveDate": "immediate"})
    plan = kit.world.api.get(f"/v0/subscriptions/{subscription}")["planId"]
    kit.use(customer, "2026-01-05T00:00:00Z", 400)
    kit.world.advance(clock, "2026-01-06T00:00:00Z")
    weekly = {**MONTHLY, "issueAfterReset": 200, "usagePeriod": {"interval": "P1W"}}
    kit.world.api.post(f"/v0/plans/{plan}/versions", {"prices": [kit.price(feature, weekly)]})
    kit.world.advance(clock, "2026-01-07T00:00:00Z")
    assert kit.right(customer)["balance"] == 200
