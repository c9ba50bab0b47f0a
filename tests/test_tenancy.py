"""No endpoint shows or changes what belongs to another merchant, and none works without a key."""

import json
import re
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from apps.invoicing.models import BillingRun
from apps.organizations.services.keys import create_api_key
from tests.world import Api, World, make_world

pytestmark = pytest.mark.django_db

API = re.compile(r"^v\d/")


def routes(resolver: URLResolver | None = None, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in (resolver or get_resolver()).url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern, path)
        elif API.match(path):
            yield path, pattern


ROUTES = dict(routes())


def methods(pattern: URLPattern) -> list[str]:
    view = getattr(pattern.callback, "view_class", None) or pattern.callback.cls  # type: ignore[attr-defined]
    return [name for name in ("get", "post", "patch", "put", "delete") if hasattr(view, name)]


CALLS = [(path, method) for path, pattern in ROUTES.items() for method in methods(pattern)]


@pytest.fixture
def owned(world: World) -> dict[str, str]:
    """One object of every kind, by the first segment of its path."""
    product = world.product()
    metric = world.metric(product)
    fee_price = world.fee_price(product)
    feature = world.api.post(
        "/v0/features", {"key": "sso", "name": "SSO", "merchantId": world.id, "productId": product, "type": "metered"}
    )["id"]
    plan = world.plan(product, [fee_price, world.usage_price(metric)])
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    coupon = {"merchantId": world.id, "code": "X", "name": "X", "percentageOff": "0.1", "duration": "once"}
    terms = {"name": "A", "subscriptionId": subscription["id"], "type": "usage_amount", "thresholds": ["1"]}
    alert = world.api.post("/v0/alerts", terms)["id"]
    void = world.api.post("/v0/events/void", {"reason": "test", "filter": {"source": "nobody"}}, expect=202)["id"]
    invoice = subscription["payment"]["invoiceId"]
    note = world.api.post(f"/v2/invoices/{invoice}/creditNotes", {"amount": "1.00", "reason": "x"})["id"]
    run = BillingRun.objects.create(
        organization=world.merchant, name="R", closed_until=world.merchant.created_at
    ).public_id
    right = {"customerId": customer, "featureId": feature, "template": {"issueAfterReset": 9}}
    entitlement = world.api.post("/v1/entitlements", right)["id"]
    grant = world.api.post(f"/v1/entitlements/{entitlement}/grants", {"amount": 1, "idempotencyKey": "g"})["id"]
    question = {"customerId": customer, "featureId": feature, "quantity": 1, "reserveSeconds": 60}
    held = world.api.post("/v1/entitlements/check", {"questions": [question]}, expect=200)["data"][0]
    deploys = {"key": "deploys", "name": "D", "merchantId": world.id, "productId": product, "type": "static"}
    static = world.api.post("/v0/features", deploys)["id"]
    right = {"customerId": customer, "featureId": static, "template": {"slots": 1}}
    slotted = world.api.post("/v1/entitlements", right)["id"]
    burst = {"slots": 1, "endsAt": "2026-02-01T00:00:00Z", "idempotencyKey": "b"}
    slot = {"customerId": customer, "featureId": static, "idempotencyKey": "s"}
    unit = {"merchantId": world.id, "key": "credits", "name": "Credits"}
    return {
        "v1/pricingUnits": world.api.post("/v1/pricingUnits", unit)["id"],
        "v1/slots": world.api.post("/v1/slots", slot)["id"],
        "burst": world.api.post(f"/v1/entitlements/{slotted}/bursts", burst)["id"],
        "v1/entitlements": entitlement,
        "v1/reservations": held["reservation"]["id"],
        "grant": grant,
        "v0/products": product,
        "v0/billableMetrics": metric,
        "v0/events": void,
        "v0/fees": world.api.get(f"/v0/fees?merchantId={world.id}")["data"][0]["id"],
        "v0/features": feature,
        "v0/prices": fee_price,
        "v0/plans": plan,
        "v0/customers": customer,
        "v0/subscriptions": subscription["id"],
        "v0/testClocks": clock,
        "v0/coupons": world.api.post("/v0/coupons", coupon)["id"],
        "v0/rateFeeds": world.api.post("/v0/rateFeeds", {"name": "Spot", "currency": "USD"})["id"],
        "v0/taxRegistrations": world.api.post("/v0/taxRegistrations", {"country": "US", "taxId": "12-3456789"})["id"],
        "v0/taxCategories": world.api.post("/v0/taxCategories", {"code": "ebook", "name": "Books"})["id"],
        "v0/taxRates": world.api.post("/v0/taxRates", {"country": "US", "name": "Sales", "percent": "6"})["id"],
        "v0/taxExemptions": world.api.post("/v0/taxExemptions", {"customerId": customer, "reason": "x"})["id"],
        "v0/alerts": alert,
        "v0/users": world.owner.public_id,
        "v0/organizations": world.id,
        "v0/merchants": world.id,
        "v2/invoices": invoice,
        "v2/billingRuns": run,
        "v2/creditNotes": note,
        "merchant": world.id,
    }


def filled(path: str, owned: dict[str, str]) -> str:
    head = "/".join(path.split("/")[:2])
    named = path.replace("<str:public_id>", owned[head]) if "<" in path else path
    return "/" + named.replace("<str:number>", "1").replace("<str:grant_id>", owned["grant"]).replace(
        "<str:burst_id>", owned["burst"]
    )


QUERY = "?from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z"


def test_every_route_is_covered() -> None:
    assert len(ROUTES) > 25
    assert all(method in {"get", "post", "patch", "delete"} for _, method in CALLS)


def test_without_a_key_nothing_answers(owned: dict[str, str]) -> None:
    found = []
    for path, method in CALLS:
        for secret in ("", "sk_test_" + "x" * 40):
            answer = Api(secret).call(method, filled(path, owned), None if method == "get" else {})
            if answer.status_code != 401 or not json.loads(answer.content)["message"]:
                found.append((path, method, secret, answer.status_code, answer.content))
    assert found == []


def test_another_merchants_key_finds_nothing(owned: dict[str, str]) -> None:
    other = make_world().api
    body = {"method": "out_of_band", "reason": "x", "name": "x", "advanceBy": "P1M"}
    found = []
    for path, method in CALLS:
        if "<" not in path:
            continue
        url = filled(path, owned) + (QUERY if method == "get" else "")
        answer = other.call(method, url, None if method == "get" else body)
        if answer.status_code != 404 or json.loads(answer.content)["code"] != "NOT_FOUND":
            found.append((path, method, answer.status_code, answer.content))
    assert found == []


LISTS = {
    "v0/products": "?merchantId={merchant}",
    "v0/billableMetrics": "?merchantId={merchant}",
    "v0/fees": "?merchantId={merchant}",
    "v0/prices": "?merchantId={merchant}",
    "v0/plans": "?merchantId={merchant}",
    "v0/customers": "?organizationId={merchant}",
    "v0/subscriptions": "?merchantId={merchant}",
    "v0/testClocks": "?merchantId={merchant}",
    "v0/coupons": "?merchantId={merchant}",
    "v0/alerts": "?merchantId={merchant}",
    "v2/invoices": "?merchantId={merchant}",
    "v2/creditNotes": "?merchantId={merchant}",
}


@pytest.mark.parametrize("path", LISTS)
def test_lists_refuse_a_foreign_merchant_and_never_leak(owned: dict[str, str], path: str) -> None:
    other = make_world()
    answer = other.api.call("get", f"/{path}" + LISTS[path].format(merchant=owned["merchant"]))
    assert answer.status_code == 403
    body = json.loads(answer.content)
    assert body["reason"] == "not_member"
    own = other.api.get(f"/{path}" + LISTS[path].format(merchant=other.id))
    assert own["data"] == []
    assert own["pagination"]["total"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v0/products", {"name": "x", "description": ""}),
        ("/v0/billableMetrics", {"name": "x", "description": "", "unit": "u", "aggregation": "COUNT",
                                 "eventType": "t", "productId": "prod_x"}),
        ("/v0/fees", {"name": "x", "description": "", "productId": "prod_x"}),
        ("/v0/features", {"key": "x", "name": "x", "productId": "prod_x"}),
        ("/v0/plans", {"name": "x", "currency": "USD", "productId": "prod_x"}),
        ("/v0/customers", {"consumer": {"name": "x", "email": "a@b.test", "address": {}}}),
        ("/v0/testClocks", {}),
    ],
)  # fmt: skip
def test_creating_for_a_foreign_merchant_is_forbidden(world: World, path: str, body: dict[str, object]) -> None:
    answer = make_world().api.call("post", path, {**body, "merchantId": world.id})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v0/billableMetrics", "productId"),
        ("/v0/fees", "productId"),
        ("/v0/features", "productId"),
        ("/v0/plans", "productId"),
    ],
)
def test_a_foreign_parent_is_not_found(owned: dict[str, str], path: str, field: str) -> None:
    other = make_world()
    body = {
        "merchantId": other.id, "name": "x", "description": "", "unit": "u", "aggregation": "COUNT", "eventType": "t",
        "key": "x", "currency": "USD", field: owned["v0/products"],
    }  # fmt: skip
    assert other.api.call("post", path, body).status_code == 404


def test_usage_and_subscribing_stay_within_the_merchant(owned: dict[str, str]) -> None:
    other = make_world()
    body = {"name": "x", "planId": owned["v0/plans"], "customerId": owned["v0/customers"], "startedAt": "2026-01-01"}
    assert other.api.call("post", "/v0/subscriptions", body).status_code == 404
    # The same event type and the same subject count for the merchant whose key sent them, and for nobody else.
    event = {"type": "ai.inference", "source": "x", "subject": owned["v0/customers"], "data": {"tokens": 5}}
    assert other.api.call("post", "/v0/events", event).status_code == 422
    foreign = {**event, "namespace": owned["merchant"]}
    assert other.api.call("post", "/v0/events", foreign).status_code == 403


def test_a_key_without_the_scope_is_refused_with_its_name(world: World) -> None:
    _, secret = create_api_key(organization=world.merchant, user=world.owner, name="reader", scopes=["catalog:read"])
    reader = Api(secret)
    assert reader.call("get", f"/v0/products?merchantId={world.id}").status_code == 200
    answer = reader.call("post", "/v0/products", {})
    assert answer.status_code == 403
    assert json.loads(answer.content)["requiredPermissions"] == ["catalog:write"]
    assert reader.call("post", "/v0/events", {}).status_code == 403


def test_unknown_paths_and_methods(world: World) -> None:
    assert world.api.call("delete", "/v0/products").status_code == 405
    assert Client().get("/v0/nothing-here").status_code == 404
