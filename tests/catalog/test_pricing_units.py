"""Pricing units, prices in them, and plans that give credits."""

import json
from typing import Any

import pytest

from tests.world import World, make_world


@pytest.fixture
def product(world: World) -> str:
    return world.product()


@pytest.fixture
def unit(world: World) -> str:
    return make_unit(world)


def make_unit(world: World, key: str = "tokens") -> str:
    return str(world.api.post("/v1/pricingUnits", {"merchantId": world.id, "key": key, "name": key.title()})["id"])


def wrong(world: World, path: str, body: dict[str, Any], method: str = "post") -> dict[str, str]:
    answer = json.loads(world.api.call(method, path, body, expect=400).content)
    return {error["field"]: error["message"] for error in answer["errors"]}


def test_a_unit_is_made_renamed_and_archived(world: World, unit: str) -> None:
    path = f"/v1/pricingUnits/{unit}"
    found = world.api.get(path)
    assert (found["object"], found["key"], found["name"], found["archivedAt"]) == (
        "pricing_unit",
        "tokens",
        "Tokens",
        None,
    )
    assert world.api.patch(path, {"name": "LLM tokens"})["name"] == "LLM tokens"
    archived = world.api.post(f"{path}/archive", expect=200)["archivedAt"]
    assert world.api.post(f"{path}/archive", expect=200)["archivedAt"] == archived is not None
    assert [row["id"] for row in world.api.get("/v1/pricingUnits?key=tokens")["data"]] == [unit]
    assert world.api.get("/v1/pricingUnits?key=other")["data"] == []


def test_a_key_is_one_units_of_a_merchant(world: World, unit: str) -> None:
    body = {"merchantId": world.id, "key": "tokens", "name": "Again"}
    assert json.loads(world.api.call("post", "/v1/pricingUnits", body, expect=409).content)["code"] == (
        "PRICING_UNIT_KEY_TAKEN"
    )
    assert list(wrong(world, "/v1/pricingUnits", {**body, "key": "No Spaces"})) == ["key"]
    assert make_unit(make_world())


def test_every_form_of_a_price_shows_its_unit(world: World, product: str, unit: str) -> None:
    price = world.usage_price(world.metric(product), "1", pricingUnitId=unit)
    plain = world.usage_price(world.metric(product, path="$.calls"), "1")
    plan = world.plan(product, [price, plain])
    shown = [
        world.api.get(f"/v0/prices/{price}"),
        world.api.get(f"/v0/prices?merchantId={world.id}")["data"][1],
        world.api.get(f"/v0/plans/{plan}")["prices"][0],
        world.api.get(f"/v0/plans/{plan}/versions/1")["prices"][0],
    ]
    assert [row["pricingUnitId"] for row in shown] == [unit] * 4
    assert "pricingUnitId" not in world.api.get(f"/v0/prices/{plain}")


def test_a_price_comes_to_be_in_credits_and_back(world: World, product: str, unit: str) -> None:
    path = f"/v0/prices/{world.usage_price(world.metric(product), '1')}"
    assert world.api.patch(path, {"pricingUnitId": unit})["pricingUnitId"] == unit
    assert world.api.patch(path, {"invoiceDisplayName": "T"})["pricingUnitId"] == unit
    assert "pricingUnitId" not in world.api.patch(path, {"pricingUnitId": None})


GROUPED = {"unitPrice": "1", "groups": [{"match": {"model": "big"}, "properties": {"unitPrice": "2"}}]}
RULES = [
    ({"properties": {"unitPrice": "-1"}}, "properties.unitPrice"),
    ({"model": "graduated", "properties": {"tiers": [{"upTo": None, "unitPrice": "1"}]}}, "model"),
    ({"properties": GROUPED}, "properties.groups"),
    ({"paymentTerm": "in_advance"}, "paymentTerm"),
    ({"minimumCommitment": {"amount": "5"}}, "minimumCommitment"),
    (
        {"model": "volume", "properties": {"tiers": [{"upTo": None, "unitPrice": "1"}]}, "billingCadence": "P1M"},
        "billingCadence",
    ),
]


@pytest.mark.parametrize(("change", "field"), RULES)
def test_what_cannot_draw_credits_is_refused(
    world: World, product: str, unit: str, change: dict[str, Any], field: str
) -> None:
    body = {
        "invoiceDisplayName": "T", "paymentTerm": "in_arrears", "model": "standard",
        "billableMetricId": world.metric(product, groupBy={"model": "$.model"}), "properties": {"unitPrice": "1"},
    }  # fmt: skip
    world.api.post("/v0/prices", {**body, **change} if field != "properties.unitPrice" else body)
    assert list(wrong(world, "/v0/prices", {**body, "pricingUnitId": unit, **change})) == [field]


def test_a_fee_and_a_level_draw_no_credits(world: World, product: str, unit: str) -> None:
    fee = world.api.get(f"/v0/prices/{world.fee_price(product)}")["feeId"]
    body = {
        "invoiceDisplayName": "T", "paymentTerm": "in_arrears", "properties": {"unitPrice": "1"},
        "pricingUnitId": unit,
    }  # fmt: skip
    assert list(wrong(world, "/v0/prices", {**body, "feeId": fee, "billingCadence": "P1M"})) == ["pricingUnitId"]
    latest = {**body, "model": "standard", "billableMetricId": world.metric(product, aggregation="LATEST")}
    assert list(wrong(world, "/v0/prices", latest)) == ["pricingUnitId"]


def test_another_merchants_unit_is_not_there(world: World, product: str) -> None:
    foreign = make_unit(make_world())
    body = {
        "invoiceDisplayName": "T", "paymentTerm": "in_arrears", "model": "standard", "pricingUnitId": foreign,
        "billableMetricId": world.metric(product), "properties": {"unitPrice": "1"},
    }  # fmt: skip
    assert "There is no pricing unit" in wrong(world, "/v0/prices", body)["pricingUnitId"]
    plan = {"currency": "USD", "merchantId": world.id, "name": "P", "productId": product}
    given = {**plan, "creditAllocations": [{"pricingUnitId": foreign, "amount": 1}]}
    assert list(wrong(world, "/v0/plans", given)) == ["creditAllocations.0.pricingUnitId"]


def test_an_archived_unit_is_kept_and_not_taken(world: World, product: str, unit: str) -> None:
    metric = world.metric(product)
    price = world.usage_price(metric, "1", pricingUnitId=unit)
    plan = world.plan(product, [price], creditAllocations=[{"pricingUnitId": unit, "amount": 5}])
    world.api.post(f"/v1/pricingUnits/{unit}/archive", expect=200)
    world.api.patch(f"/v0/prices/{price}", {"properties": {"unitPrice": "2"}})
    changed = world.api.patch(f"/v0/plans/{plan}", {"creditAllocations": [{"pricingUnitId": unit, "amount": 6}]})
    assert changed["creditAllocations"] == [{"pricingUnitId": unit, "amount": 6}]
    other = world.usage_price(metric, "1")
    assert list(wrong(world, f"/v0/prices/{other}", {"pricingUnitId": unit}, "patch")) == ["pricingUnitId"]


def test_credits_stand_on_versions(world: World, product: str, unit: str) -> None:
    second = make_unit(world, "images")
    price = world.usage_price(world.metric(product), "1", pricingUnitId=unit)
    first = [{"pricingUnitId": unit, "amount": 10_000, "recurrencePeriod": "P1M"}]
    plan = world.plan(product, [price], creditAllocations=first)
    path = f"/v0/plans/{plan}"
    assert world.api.get(path)["creditAllocations"] == first
    world.api.patch(path, {"name": "Pro 2", "creditAllocations": first})
    assert len(world.api.get(f"{path}/versions")["data"]) == 1
    both = [*first, {"pricingUnitId": second, "amount": 0.5}]
    assert world.api.patch(path, {"creditAllocations": both})["creditAllocations"] == both
    assert world.api.get(f"{path}/versions/1")["creditAllocations"] == first
    assert world.api.get(f"{path}/versions/2")["creditAllocations"] == both
    # A version of other prices gives what the one before gave, unless it says otherwise.
    minted = world.api.post(f"{path}/versions", {"prices": [price]})
    assert minted["creditAllocations"] == both
    assert world.api.post(f"{path}/versions", {"prices": [price], "creditAllocations": []})["creditAllocations"] == []


def test_credits_are_given_once_a_unit_and_in_proper_amounts(world: World, product: str, unit: str) -> None:
    plan = {"currency": "USD", "merchantId": world.id, "name": "P", "productId": product}
    rows = [
        {"pricingUnitId": unit, "amount": 0},
        {"pricingUnitId": unit, "amount": 1, "recurrencePeriod": "P0D"},
    ]
    assert sorted(wrong(world, "/v0/plans", {**plan, "creditAllocations": rows})) == [
        "creditAllocations.0.amount",
        "creditAllocations.1.pricingUnitId",
        "creditAllocations.1.recurrencePeriod",
    ]


def test_prices_of_one_feature_are_in_one_unit(world: World, product: str, unit: str) -> None:
    body = {"key": "chat", "name": "C", "merchantId": world.id, "productId": product, "type": "metered"}
    feature = {"featureId": world.api.post("/v0/features", body)["id"]}
    prices = [
        world.usage_price(world.metric(product), "1", pricingUnitId=unit, feature=feature),
        world.usage_price(world.metric(product, path="$.out"), "1", feature=feature),
    ]
    plan = {"currency": "USD", "merchantId": world.id, "name": "P", "productId": product, "prices": prices}
    assert list(wrong(world, "/v0/plans", plan)) == ["prices.1"]


def test_credits_of_a_feature_do_not_roll_over(world: World, product: str, unit: str) -> None:
    body = {"key": "chat", "name": "C", "merchantId": world.id, "productId": product, "type": "metered"}
    feature = world.api.post("/v0/features", body)["id"]
    template = {"issueAfterReset": 5, "resetMaxRollover": 5, "preserveOverageAtReset": True}
    price = {
        "invoiceDisplayName": "T", "paymentTerm": "in_arrears", "model": "standard", "pricingUnitId": unit,
        "billableMetricId": world.metric(product), "properties": {"unitPrice": "1"},
        "feature": {"featureId": feature, "entitlementTemplate": template},
    }  # fmt: skip
    path = "feature.entitlementTemplate"
    assert sorted(wrong(world, "/v0/prices", price)) == [f"{path}.preserveOverageAtReset", f"{path}.resetMaxRollover"]
