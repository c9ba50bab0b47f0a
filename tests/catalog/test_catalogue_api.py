"""What a merchant sells: rules of metrics, fees, features, prices and plans, every bad field named at once."""

from typing import Any

import pytest
from paygentic_sdk import models

from apps.catalog.models import PriceRevision
from apps.rating.price_models import REGISTRY
from tests.world import World, make_world

pytestmark = pytest.mark.django_db


def fields(answer: dict[str, Any]) -> set[str]:
    return {error["field"] for error in answer["errors"]}


def test_products_are_made_read_changed_and_listed(world: World) -> None:
    product = world.product()
    changed = world.api.patch(f"/v0/products/{product}", {"name": "Renamed", "unknown": 1})
    assert (changed["name"], changed["description"], changed["object"]) == ("Renamed", "LLM gateway", "product")
    listed = world.api.get(f"/v0/products?merchantId={world.id}")
    assert [row["id"] for row in listed["data"]] == [product]
    assert fields(world.api.post("/v0/products", {"name": 1, "metadata": {"a": 1}}, expect=400)) == {
        "name", "description", "merchantId", "metadata",
    }  # fmt: skip
    world.api.call("post", "/v0/products", ["a list"], expect=400)


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ({"aggregation": "MEDIAN"}, {"aggregation"}),
        ({"valueProperty": None}, {"valueProperty"}),
        ({"valueProperty": "tokens["}, {"valueProperty"}),
        ({"groupBy": {"model": "$.", "region": "$["}}, {"groupBy.model", "groupBy.region"}),
        ({"eventFrom": "yesterday"}, {"eventFrom"}),
        ({"name": "", "unit": "x" * 51}, {"name", "unit"}),
    ],
)
def test_wrong_metrics_are_refused(world: World, sent: dict[str, Any], named: set[str]) -> None:
    body = {
        "aggregation": "SUM", "description": "", "merchantId": world.id, "name": "Tokens", "unit": "tokens",
        "eventType": "call", "productId": world.product(), "valueProperty": "$.tokens", **sent,
    }  # fmt: skip
    assert fields(world.api.post("/v0/billableMetrics", body, expect=400)) == named


def test_absent_keeps_and_null_clears_on_a_metric(world: World) -> None:
    metric = world.metric(world.product(), groupBy={"model": "$.model"}, eventFrom="2026-01-01T00:00:00Z")
    url = f"/v0/billableMetrics/{metric}"
    kept = world.api.patch(url, {"name": "Renamed"})
    assert (kept["groupBy"], kept["eventFrom"]) == ({"model": "$.model"}, "2026-01-01T00:00:00Z")
    cleared = world.api.patch(url, {"groupBy": None, "eventFrom": None})
    assert (cleared["groupBy"], cleared["eventFrom"]) == (None, None)
    assert fields(world.api.patch(url, {"valueProperty": None}, expect=400)) == {"valueProperty"}


def test_a_feature_key_is_taken_once_in_a_product(world: World) -> None:
    product, other = world.product(), world.product()
    body = {"key": "sso-login", "name": "SSO", "merchantId": world.id, "productId": product}
    first = world.api.post("/v0/features", body)
    assert first["type"] == "boolean"
    assert world.api.post("/v0/features", body, expect=409)["code"] == "FEATURE_KEY_TAKEN"
    world.api.post("/v0/features", {**body, "productId": other})
    second = world.api.post("/v0/features", {**body, "key": "api"})
    world.api.patch(f"/v0/features/{second['id']}", {"key": "sso-login"}, expect=409)
    assert fields(world.api.post("/v0/features", {**body, "key": "SSO login"}, expect=400)) == {"key"}
    found = world.api.get(f"/v0/features?productId={product}&key=api")
    assert [row["id"] for row in found["data"]] == [second["id"]]
    world.api.delete(f"/v0/features/{first['id']}")
    world.api.post("/v0/features", body)


def test_a_fee_in_use_stays(world: World) -> None:
    product = world.product()
    price = world.api.get(f"/v0/prices/{world.fee_price(product)}")
    kept = world.api.delete(f"/v0/fees/{price['feeId']}", expect=409)
    assert kept["details"]["blockers"][0]["items"][0]["id"] == price["id"]
    world.api.delete(f"/v0/prices/{price['id']}")
    world.api.delete(f"/v0/fees/{price['feeId']}")
    world.api.get(f"/v0/fees/{price['feeId']}", expect=404)


FEE = {"paymentTerm": "in_advance", "billingCadence": "P1M", "properties": {"unitPrice": "1"}}


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ({**FEE, "billingCadence": None}, {"billingCadence"}),
        ({**FEE, "billingCadence": "monthly"}, {"billingCadence"}),
        ({**FEE, "billingCadence": "PT1H"}, {"billingCadence"}),
        ({**FEE, "properties": {"unitPrice": "-1"}}, {"properties.unitPrice"}),
        ({**FEE, "properties": {"unitPrice": "1e400"}}, {"properties.unitPrice"}),
        ({**FEE, "properties": {}}, {"properties.unitPrice"}),
        ({**FEE, "model": "graduated", "properties": {"tiers": []}}, {"model", "properties.tiers"}),
        ({**FEE, "quantity": 0}, {"quantity"}),
        ({**FEE, "tax": {"supplyScope": "OUTSIDE_SCOPE"}}, {"tax.outsideScopeLabel"}),
        ({**FEE, "grantDiscountEnabled": True}, {"grantDiscountEnabled"}),
        ({"paymentTerm": "never", "properties": "x"}, {"paymentTerm", "properties"}),
    ],
)
def test_wrong_fee_prices_are_refused(world: World, sent: dict[str, Any], named: set[str]) -> None:
    fee = {"name": "f", "description": "", "merchantId": world.id, "productId": world.product()}
    body = {"invoiceDisplayName": "F", "feeId": world.api.post("/v0/fees", fee)["id"], **sent}
    assert fields(world.api.post("/v0/prices", body, expect=400)) == named


USAGE = {"paymentTerm": "in_arrears", "model": "standard", "properties": {"unitPrice": "1"}}


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ({**USAGE, "paymentTerm": "in_advance", "model": "volume", "properties": {"tiers": [
            {"upTo": None, "unitPrice": "1"},
        ]}}, {"paymentTerm"}),
        ({**USAGE, "isObligation": True, "quantity": 2}, {"isObligation", "quantity"}),
        ({**USAGE, "billingCadence": "P0D"}, {"billingCadence"}),
        ({**USAGE, "model": "guess"}, {"model"}),
        ({**USAGE, "model": "volume", "properties": {"tiers": [
            {"upTo": "10", "unitPrice": "1"}, {"upTo": "5", "unitPrice": "1"}, {"upTo": None, "unitPrice": "1"},
        ]}}, {"properties.tiers.1.upTo"}),
        ({**USAGE, "model": "graduated", "invoiceDisplayGroup": "G", "properties": {"tiers": [
            {"upTo": None, "unitPrice": "1"},
        ]}}, {"invoiceDisplayGroup"}),
    ],
)  # fmt: skip
def test_wrong_usage_prices_are_refused(world: World, sent: dict[str, Any], named: set[str]) -> None:
    body = {"invoiceDisplayName": "U", "billableMetricId": world.metric(world.product()), **sent}
    assert fields(world.api.post("/v0/prices", body, expect=400)) == named


def test_a_price_has_one_parent(world: World) -> None:
    product = world.product()
    metric = world.metric(product)
    fee = world.api.get(f"/v0/prices/{world.fee_price(product)}")["feeId"]
    body = {"invoiceDisplayName": "U", **USAGE}
    assert "billableMetricId" in fields(world.api.post("/v0/prices", body, expect=400))
    both = {**body, "billableMetricId": metric, "feeId": fee}
    assert "billableMetricId" in fields(world.api.post("/v0/prices", both, expect=400))
    world.api.post("/v0/prices", {**body, "billableMetricId": "bm_nothing"}, expect=404)
    foreign = make_world()
    world.api.post("/v0/prices", {**body, "billableMetricId": foreign.metric(foreign.product())}, expect=404)


def test_every_edit_of_a_price_leaves_a_revision(world: World) -> None:
    price = world.usage_price(world.metric(world.product()), "0.01")
    url = f"/v0/prices/{price}"
    world.api.patch(url, {"properties": {"unitPrice": "0.02"}})
    world.api.patch(url, {"properties": {"unitPrice": "0.02"}})  # nothing changes
    world.api.patch(url, {"model": "volume", "properties": {"tiers": [{"upTo": None, "unitPrice": "0.01"}]}})
    assert world.api.patch(url, {"model": "package"}, expect=400)["errors"]
    found = PriceRevision.objects.filter(price__public_id=price).order_by("number").values_list("number", "model")
    assert list(found) == [(1, "standard"), (2, "standard"), (3, "volume")]


def test_a_price_that_a_plan_sells_stays(world: World) -> None:
    product = world.product()
    price = world.fee_price(product)
    plan = world.plan(product, [price])
    kept = world.api.delete(f"/v0/prices/{price}", expect=409)
    assert kept["details"]["blockers"][0]["items"][0] == {
        "id": plan, "name": "Pro", "versionNumber": 1, "versionNumbers": [1],
    }  # fmt: skip
    world.api.patch(f"/v0/plans/{plan}", {"prices": []})
    world.api.delete(f"/v0/prices/{price}")


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ({"currency": "usd"}, {"currency"}),
        ({"currency": "ABC"}, {"currency"}),
        ({"billingCadence": "P1M1D"}, {"billingCadence"}),
        ({"billingAnchor": "2999-01-01T00:00:00Z"}, {"billingAnchor"}),
        ({"defaultTaxRate": 101, "taxBehavior": "none"}, {"defaultTaxRate", "taxBehavior"}),
        ({"prices": ["pr_nothing"]}, {"prices.0"}),
        ({"renewalReminderDays": 0, "proration": "week"}, {"renewalReminderDays", "proration"}),
    ],
)
def test_wrong_plans_are_refused(world: World, sent: dict[str, Any], named: set[str]) -> None:
    body = {"currency": "USD", "merchantId": world.id, "name": "Pro", "productId": world.product(), **sent}
    assert fields(world.api.post("/v0/plans", body, expect=400)) == named


def test_prices_of_a_plan_fit_together(world: World) -> None:
    product, other = world.product(), world.product()
    metric = world.metric(product)
    first, second = world.usage_price(metric), world.usage_price(metric)
    body = {"currency": "USD", "merchantId": world.id, "name": "Pro", "productId": product}
    twice = world.api.post("/v0/plans", {**body, "prices": [first, second]}, expect=400)
    assert twice["errors"] == [
        {"field": "prices.1", "message": "The plan prices this metric twice.", "code": "duplicate"}
    ]
    assert fields(world.api.post("/v0/plans", {**body, "prices": [world.fee_price(other)]}, expect=400)) == {
        "prices.0"
    }
    keyed = [{"priceId": first, "key": "tokens"}, {"priceId": world.fee_price(product), "key": "tokens"}]
    assert fields(world.api.post("/v0/plans", {**body, "prices": keyed}, expect=400)) == {"prices.1.key"}


def test_a_changed_price_set_is_a_new_version_and_keys_stay(world: World) -> None:
    product = world.product()
    usage, fee = world.usage_price(world.metric(product)), world.fee_price(product)
    plan = world.plan(product, [{"priceId": usage, "key": "tokens"}])  # type: ignore[list-item]
    world.api.patch(f"/v0/plans/{plan}", {"name": "Renamed", "prices": [usage]})
    assert len(world.api.get(f"/v0/plans/{plan}/versions")["data"]) == 1
    changed = world.api.patch(f"/v0/plans/{plan}", {"prices": [usage, fee]})
    first = changed["prices"][0]
    assert (first["id"], first["key"]) == (usage, "tokens")
    versions = world.api.get(f"/v0/plans/{plan}/versions")["data"]
    assert [row["versionNumber"] for row in versions] == [2, 1]


def test_plans_of_a_product_one_subscribes_to_are_not_offered(world: World) -> None:
    product = world.product()
    plan = world.plan(product, [world.fee_price(product)])
    customer = world.customer()
    available = world.api.get(f"/v0/plans/available?customerId={customer}")
    assert [row["id"] for row in available["data"]] == [plan]
    world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=world.clock("2026-01-01T00:00:00Z"))
    assert world.api.get(f"/v0/plans/available?customerId={customer}")["data"] == []
    world.api.get("/v0/plans/available?customerId=cus_nothing", expect=404)


@pytest.mark.parametrize("model", sorted(REGISTRY))
def test_the_published_client_reads_prices_of_every_model(world: World, model: str) -> None:
    product = world.product()
    properties = dict(REGISTRY[model].EXAMPLE)
    price = world.usage_price(world.metric(product), model=model, properties=properties)
    sent = world.api.get(f"/v0/prices/{price}")
    read = models.Price.model_validate(sent)
    assert read.model == model
    assert sent["properties"].items() >= properties.items()
    in_plan = world.api.get(f"/v0/plans/{world.plan(product, [price])}")["prices"][0]
    assert models.PlanPrice.model_validate(in_plan).id == price
    # What was read may be sent back; the hint stays a hint.
    world.api.patch(f"/v0/prices/{price}", {"properties": {**sent["properties"], "unitPrice": "77"}})
    if model in {"package", "graduated_percentage"}:
        assert world.api.get(f"/v0/prices/{price}")["properties"] == sent["properties"]
