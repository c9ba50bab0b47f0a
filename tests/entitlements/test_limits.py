"""What would hold nothing, or keep a server busy for ever, is refused; ties are broken as they were made."""

from typing import Any

import pytest

from tests.entitlements.kit import START, Kit

HARD = {"usagePeriod": {"interval": "P1M"}, "issueAfterReset": 10}


@pytest.fixture
def kit(world: Any) -> Kit:
    return Kit.make(world)


def test_a_reservation_that_is_over_answers_nobody(kit: Kit) -> None:
    """Not as allowed: what it held may be somebody else's by now."""
    customer, _, clock = kit.subscriber([kit.price(kit.feature(), HARD)])
    ask = {
        "customerId": customer,
        "featureKey": "tokens",
        "productId": kit.product,
        "reserveSeconds": 60,
        "quantity": 10,
    }
    (held,) = kit.check({**ask, "idempotencyKey": "mine"})
    assert kit.check({**ask, "idempotencyKey": "mine"})[0]["reservation"] == held["reservation"]
    kit.world.advance(clock, "2026-01-01T00:01:00Z")
    assert kit.check({**ask, "idempotencyKey": "another's"})[0]["allowed"]
    body = {"questions": [{**ask, "idempotencyKey": "mine"}]}
    assert kit.world.api.post("/v1/entitlements/check", body, expect=409)["code"] == "RESERVATION_ENDED"
    assert not kit.check({**ask, "idempotencyKey": "new"})[0]["allowed"]


def test_units_are_not_issued_every_minute(kit: Kit) -> None:
    feature = kit.feature()
    customer, _, _ = kit.subscriber([kit.price(feature, HARD)])
    right = kit.right(customer)["entitlementId"]
    path = f"/v1/entitlements/{right}/grants"
    for period in ("PT1S", "PT59M", "P0D"):
        body = {"amount": 1, "idempotencyKey": period, "recurrencePeriod": period}
        refused = kit.world.api.post(path, body, expect=400)
        assert "recurrencePeriod" in str(refused)
    assert kit.world.api.post(path, {"amount": 1, "idempotencyKey": "h", "recurrencePeriod": "PT1H"})
    template = {"type": "metered", **HARD, "usagePeriod": {"interval": "PT1M"}}
    issue = {"customerId": kit.world.customer(), "featureId": feature, "template": template}
    assert "usagePeriod.interval" in str(kit.world.api.post("/v1/entitlements", issue, expect=400))
    old = {**issue, "template": {"type": "metered", **HARD}, "activeFrom": "2000-01-01T00:00:00Z"}
    assert "activeFrom" in str(kit.world.api.post("/v1/entitlements", old, expect=400))
    assert "at" in str(kit.world.api.get(f"/v1/entitlements/{right}?at=9999-01-01T00:00:00Z", expect=400))


def test_of_two_grants_of_one_instant_the_first_is_used_first(kit: Kit) -> None:
    """Their ids are random; a test clock stands while both are made."""
    customer, _, clock = kit.subscriber([kit.price(kit.feature(), None)])
    right = kit.right(customer)["entitlementId"]
    path = f"/v1/entitlements/{right}/grants"
    made = [kit.world.api.post(path, {"amount": 10, "idempotencyKey": str(n)})["id"] for n in range(6)]
    kit.world.advance(clock, "2026-01-02T00:00:00Z")
    kit.use(customer, START, 35)
    left = 25
    for number, grant in enumerate(made):
        kit.world.api.delete(f"{path}/{grant}", expect=200)
        left -= (0, 0, 0, 5, 10, 10)[number]
        kit.world.advance(clock, f"2026-01-{3 + number:02}T00:00:00Z")
        assert kit.right(customer)["balance"] == left


def test_nothing_is_no_grant(kit: Kit) -> None:
    customer, _, _ = kit.subscriber([kit.price(kit.feature(), HARD)])
    right = kit.right(customer)["entitlementId"]
    refused = kit.world.api.post(f"/v1/entitlements/{right}/grants", {"amount": 0, "idempotencyKey": "n"}, expect=400)
    assert "amount" in str(refused)
