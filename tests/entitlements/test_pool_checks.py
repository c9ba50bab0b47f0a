"""May credits be used: asked of a feature in units of use, or of the pool itself."""

from typing import Any

import pytest

from tests.entitlements.pools import PoolKit
from tests.world import World


@pytest.fixture
def kit(world: World) -> PoolKit:
    return PoolKit.make(world)


def test_checks_are_in_units_of_use_and_hold_credits(kit: PoolKit) -> None:
    chat, images = kit.kit.feature("chat"), kit.kit.feature("images")
    prices = [
        kit.price("2", feature={"featureId": chat}),
        kit.price("30", kit.output, feature={"featureId": images}),
    ]
    customer, _, _ = kit.subscriber(prices, **kit.given(100, None))

    def ask(feature: str, quantity: float, **more: Any) -> dict[str, Any]:
        return {"customerId": customer, "featureId": feature, "quantity": quantity, **more}

    first, second, third = kit.kit.check(
        ask(chat, 20, reserveSeconds=60, idempotencyKey="a"),
        ask(images, 2, reserveSeconds=60, idempotencyKey="b"),
        ask(chat, 1),
    )
    # 20 × 2 and 2 × 30 are all there is.
    held = first["reservation"]
    assert (first["allowed"], first["cost"], held["quantity"], held["askedQuantity"]) == (True, 40, 40, 20)
    assert (second["allowed"], second["available"], second["pricingUnitId"]) == (True, 0, kit.unit)
    assert (third["allowed"], third["reason"], third["cost"]) == (False, "limit_reached", 2)
    (again,) = kit.kit.check(ask(chat, 20, reserveSeconds=60, idempotencyKey="a"))
    assert again["reservation"]["id"] == first["reservation"]["id"]
    kit.kit.check(ask(chat, 21, reserveSeconds=60, idempotencyKey="a"), expect=409)
    assert (kit.pool(customer)["held"], kit.pool(customer)["available"]) == (100, 0)
    kit.world.api.post(f"/v1/reservations/{second['reservation']['id']}/release", expect=200)
    (third,) = kit.kit.check(ask(chat, 30))
    assert third["allowed"] is True


def test_the_pool_itself_is_asked_in_credits_and_shares_what_is_held(kit: PoolKit) -> None:
    chat = kit.kit.feature("chat")
    customer, _, _ = kit.subscriber([kit.price("2", feature={"featureId": chat})], **kit.given(100, None))
    pool = {"customerId": customer, "pricingUnitId": kit.unit}
    use = {"customerId": customer, "featureId": chat, "reserveSeconds": 60, "idempotencyKey": "k", "quantity": 20}
    first, second, third = kit.kit.check(use, {**pool, "quantity": 60}, {**pool, "quantity": 61})
    assert [row["allowed"] for row in (first, second, third)] == [True, True, False]
    assert (second["cost"], second["held"], second["available"]) == (60, 40, 60)
    # As many credits as units of use is another question of the same key, and so is the other way around.
    same = {**pool, "reserveSeconds": 60, "idempotencyKey": "k"}
    for quantity in (20, 40):
        kit.kit.check({**same, "quantity": quantity}, expect=409)
    (made,) = kit.kit.check({**same, "quantity": 30, "idempotencyKey": "l"})
    kit.kit.check({**use, "quantity": 30, "idempotencyKey": "l"}, expect=409)
    assert (made["reservation"]["quantity"], kit.pool(customer)["available"]) == (30, 30)
    kit.world.api.post(f"/v1/reservations/{made['reservation']['id']}/settlement", expect=200)
    assert kit.pool(customer)["available"] == 60
    other = kit.world.customer()
    assert kit.kit.check({"customerId": other, "pricingUnitId": kit.unit})[0]["reason"] == "not_entitled"


@pytest.mark.parametrize(
    ("named", "field", "says"),
    [
        ({}, "featureId", "Give featureId, featureKey with productId, or pricingUnitId."),
        ({"featureId": "feat_1", "pricingUnitId": "pu_1"}, "pricingUnitId", "not about both"),
        ({"featureKey": "a", "productId": "p", "pricingUnitId": "pu_1"}, "pricingUnitId", "not about both"),
        ({"featureId": "feat_1", "featureKey": "a"}, "featureId", "Give either featureId"),
    ],
)
def test_a_question_is_about_a_feature_or_a_unit(kit: PoolKit, named: dict[str, str], field: str, says: str) -> None:
    body = {"questions": [{"customerId": "cus_1", **named}]}
    answer = kit.world.api.post("/v1/entitlements/check", body, expect=400)
    (error,) = answer["errors"]
    assert error["field"] == f"questions.0.{field}"
    assert says in error["message"]


def test_a_cheaper_band_is_not_given_out_of_hand(kit: PoolKit) -> None:
    chat = kit.kit.feature("chat")
    bands = {"tiers": [{"upTo": "100", "unitPrice": "5"}, {"upTo": None, "unitPrice": "3"}]}
    price = kit.price(model="volume", properties=bands, feature={"featureId": chat})
    customer, _, clock = kit.subscriber([price], **kit.given(600, None))
    kit.kit.use(customer, "2026-01-10T00:00:00Z", 90)
    kit.world.advance(clock, "2026-01-11T00:00:00Z")
    costs = [
        kit.kit.check({"customerId": customer, "featureId": chat, "quantity": quantity})[0]["cost"]
        for quantity in (10, 20, 70)
    ]
    assert costs == [50, 0, 30]
