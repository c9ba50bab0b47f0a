"""What the contract says of prices, plans, subscriptions and invoices beyond the forms of their bodies."""

from collections.abc import Iterator

import httpx
import pytest
from paygentic_sdk import Paygentic

from apps.entitlements.api import reconciling
from apps.subscriptions.models import TestClock
from config.wsgi import application
from tests.world import World, at, make_world

pytestmark = pytest.mark.django_db(transaction=True)

START = "2026-01-01T00:00:00Z"


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def client(world: World) -> Iterator[Paygentic]:
    transport = httpx.WSGITransport(app=application)
    with httpx.Client(transport=transport, base_url="http://testserver") as inner:
        yield Paygentic(bearer_auth=world.secret, server_url="http://testserver", client=inner)


def subscribed(world: World, **extra: object) -> dict[str, object]:
    product = world.product()
    plan = world.plan(product, [world.fee_price(product, "31.00"), world.usage_price(world.metric(product), "0.5")])
    return world.subscribe(world.customer(), plan, at=START, clock=world.clock(START), **extra)


def refused(world: World, path: str, body: dict[str, object], method: str = "post") -> dict[str, str]:
    """Give the refused fields of a call with what is said of them."""
    answer = world.api.call(method, path, body, expect=400).json()
    return {error["field"]: error["message"] for error in answer["errors"]}


def test_a_rebate_has_no_hard_limit(world: World) -> None:
    product = world.product()
    feature = {"key": "tokens", "name": "T", "merchantId": world.id, "productId": product, "type": "metered"}
    feature_id = world.api.post("/v0/features", feature)["id"]
    price = {
        "invoiceDisplayName": "Back", "paymentTerm": "in_arrears", "model": "standard",
        "billableMetricId": world.metric(product), "properties": {"unitPrice": "-0.01"},
    }  # fmt: skip
    for template in ({}, {"isSoftLimit": False, "issueAfterReset": 5}):
        body = {**price, "feature": {"featureId": feature_id, "entitlementTemplate": template}}
        assert list(refused(world, "/v0/prices", body)) == ["feature.entitlementTemplate.isSoftLimit"]
    soft = {"featureId": feature_id, "entitlementTemplate": {"isSoftLimit": True}}
    made = world.api.post("/v0/prices", {**price, "feature": soft})["id"]
    hard = {"feature": {"featureId": feature_id, "entitlementTemplate": {}}}
    assert refused(world, f"/v0/prices/{made}", hard, "patch")
    # Without an allowance nothing ends.
    world.api.post("/v0/prices", {**price, "feature": {"featureId": feature_id}})


def test_what_would_bill_by_other_terms_than_meant_is_refused(world: World) -> None:
    product = world.product()
    price = {
        "invoiceDisplayName": "T", "paymentTerm": "in_arrears", "model": "standard",
        "billableMetricId": world.metric(product), "properties": {"unitPrice": "1"},
    }  # fmt: skip
    assert "pu_1" in refused(world, "/v0/prices", {**price, "pricingUnitId": "pu_1"})["pricingUnitId"]
    made = world.api.post("/v0/prices", {**price, "pricingUnitId": None})["id"]
    assert list(refused(world, f"/v0/prices/{made}", {"pricingUnitId": "pu_1"}, "patch")) == ["pricingUnitId"]
    plan = {"currency": "USD", "merchantId": world.id, "name": "P", "productId": product, "prices": [made]}
    credits = {"creditAllocations": [{"pricingUnitId": "pu_1", "amount": 100}]}
    assert list(refused(world, "/v0/plans", {**plan, **credits})) == ["creditAllocations.0.pricingUnitId"]
    assert world.api.post("/v0/plans", {**plan, "creditAllocations": []})["creditAllocations"] == []


def test_a_price_that_is_sold_names_every_version_of_its_plan_that_has_it(world: World) -> None:
    product = world.product()
    fee, usage = world.fee_price(product), world.usage_price(world.metric(product))
    plan = world.plan(product, [fee])
    world.api.post(f"/v0/plans/{plan}/versions", {"prices": [fee, usage]})
    blocker = world.api.call("delete", f"/v0/prices/{fee}", expect=409).json()["details"]["blockers"][0]
    assert blocker == {
        "type": "plans", "count": 1,
        "items": [{"id": plan, "name": "Pro", "versionNumber": 2, "versionNumbers": [1, 2]}],
    }  # fmt: skip


def test_subscriptions_are_listed_by_a_customer_alone_and_up_to_a_start(world: World) -> None:
    subscription = subscribed(world)
    customer = subscription["customerId"]
    assert world.api.get(f"/v0/subscriptions?startedBefore={START}")["pagination"]["total"] == 1
    assert world.api.get("/v0/subscriptions?startedBefore=2025-12-31T23:59:59Z")["data"] == []
    answer = world.api.get(f"/v0/subscriptions?customerId={customer}&merchantId={world.id}&consumerId=org_x", 400)
    assert [error["field"] for error in answer["errors"]] == ["consumerId", "merchantId"]


def test_the_published_client_reads_a_hosted_link(world: World, client: Paygentic) -> None:
    invoice = str(subscribed(world)["payment"]["invoiceId"])  # type: ignore[index]
    first = client.invoices_v2.record_invoice_payment(id=invoice, method="hosted_link")
    assert (first.method, first.provider, first.invoice.id) == ("hosted_link", "sandbox", invoice)
    second = client.invoices_v2.record_invoice_payment(id=invoice, method="hosted_link")
    assert second.payment_session_id != first.payment_session_id
    assert client.invoices_v2.get(id=invoice).payment_url == second.payment_url


def test_a_manual_line_is_of_the_open_period_or_refused(world: World) -> None:
    subscription = subscribed(world)
    world.pay(str(subscription["payment"]["invoiceId"]))  # type: ignore[index]
    line = {
        "displayName": "Help", "currency": "USD", "quantity": 1, "unitPrice": 2.5,
        "subscriptionId": subscription["id"],
    }  # fmt: skip
    path = "/v2/invoices/lineItems"
    late = refused(world, path, {**line, "invoiceAt": "2026-02-01T00:00:01Z"})
    assert "2026-02-01T00:00:00Z" in late["invoiceAt"]
    assert "itm_1" in refused(world, path, {**line, "itemId": "itm_1"})["itemId"]
    made = world.api.post(path, {**line, "invoiceAt": "2026-02-01T00:00:00Z", "itemId": None})
    assert made["invoiceAt"] == "2026-02-01T00:00:00Z"
    # Where the invoice is named, it says when.
    named = {**line, "invoiceId": made["invoiceId"], "invoiceAt": "2027-01-01T00:00:00Z"}
    del named["subscriptionId"]
    assert world.api.post(path, named)["invoiceId"] == made["invoiceId"]
    ledger = world.api.get(f"{path}?invoiceId={made['invoiceId']}&expand=items")
    assert ledger["items"] == []
    shown = world.api.get(f"/v2/invoices/{made['invoiceId']}?expand=items")["lineItems"]
    assert (shown["items"], shown["totalCount"]) == ([], 4)
    assert "items" not in world.api.get(f"/v2/invoices/{made['invoiceId']}/lineItems")


def test_invoices_are_ready_by_their_own_clock(world: World) -> None:
    subscription = subscribed(world)
    world.pay(str(subscription["payment"]["invoiceId"]))  # type: ignore[index]
    # The wall clock is far beyond the end of this period; its test clock is not.
    assert world.api.get("/v2/invoices?nextActionAt=ready")["data"] == []
    (active,) = world.api.get("/v2/invoices?status=ACTIVE")["data"]
    over = at("2026-02-01T00:00:00Z")
    TestClock.objects.update(current_time=over, target_time=over)
    assert [row["id"] for row in world.api.get("/v2/invoices?nextActionAt=ready")["data"]] == [active["id"]]
    TestClock.objects.update(current_time=at(START), target_time=at(START))
    world.advance(str(subscription["testClockId"]), "2026-02-01T00:30:00Z")
    assert world.api.get("/v2/invoices?status=CLOSING")["data"][0]["id"] == active["id"]
    assert world.api.get("/v2/invoices?nextActionAt=ready")["data"] == []
    assert world.api.call("get", "/v2/invoices?nextActionAt=soon", expect=400)


def test_reconciliations_are_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "CALLS_PER_SECOND", 0)
    path = f"/v0/subscriptions/{subscribed(world)['id']}/reconciliations"
    answer = world.api.call("post", path, {"dryRun": True}, expect=429)
    assert answer.headers["Retry-After"] == "1"
