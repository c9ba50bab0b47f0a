"""Customers: one per consumer, own ids once, absent keeps and null clears."""

from typing import Any

import pytest

from apps.kernel.http import ratelimit
from tests.world import World, make_world

pytestmark = pytest.mark.django_db


def consumer(email: str = "ap@acme.test", **address: str) -> dict[str, Any]:
    return {"name": "Acme", "email": email, "address": {"country": "FR", **address}}


def test_the_same_consumer_is_one_customer(world: World) -> None:
    first = world.api.post("/v0/customers", {"merchantId": world.id, "consumer": consumer()})
    again = world.api.post(
        "/v0/customers", {"merchantId": world.id, "consumer": consumer("AP@acme.test")}, expect=200
    )
    assert again["customerId"] == first["customerId"]
    shown = world.api.get(f"/v0/customers/{first['customerId']}")
    by_id = {"merchantId": world.id, "consumerId": shown["consumerId"]}
    assert world.api.post("/v0/customers", by_id, expect=200) == first


def test_addresses_that_cannot_be_taxed_are_told(world: World) -> None:
    made = world.api.post("/v0/customers", {"merchantId": world.id, "consumer": consumer(country="US")})
    assert made["validTaxAddress"] == {"valid": False, "message": "Addresses in the US and Canada need a state."}


@pytest.mark.parametrize(
    ("sent", "fields"),
    [
        ({}, {"consumer"}),
        ({"consumer": consumer(), "consumerId": "org_x"}, {"consumer"}),
        (
            {"consumer": {"name": 3, "email": "no", "address": "x"}},
            {"consumer.name", "consumer.email", "consumer.address"},
        ),
        ({"consumer": consumer(), "taxRates": {"default": 101, "x": "7"}}, {"taxRates.default", "taxRates.x"}),
        ({"consumer": consumer(), "externalId": 7}, {"externalId"}),
    ],
)  # fmt: skip
def test_wrong_fields_are_all_named(world: World, sent: dict[str, Any], fields: set[str]) -> None:
    answer = world.api.post("/v0/customers", {"merchantId": world.id, **sent}, expect=400)
    assert {error["field"] for error in answer["errors"]} == fields


def test_absent_keeps_and_null_clears(world: World) -> None:
    customer = world.customer(externalId="crm-1", taxId="FR40303265045")
    url = f"/v0/customers/{customer}"
    kept = world.api.patch(url, {"notificationSettings": {"invoicePaid": False}})
    assert (kept["externalId"], kept["taxId"]) == ("crm-1", "FR40303265045")
    assert kept["notificationSettings"] == {"invoiceIssued": True, "invoicePaid": False, "renewalReminder": True}
    cleared = world.api.patch(url, {"externalId": None, "taxId": None, "taxRates": 20})
    assert "externalId" not in cleared
    assert "taxId" not in cleared
    assert cleared["taxRates"] == {"default": 20}


def test_an_external_id_is_taken_once(world: World) -> None:
    first, second = world.customer(externalId="crm-1"), world.customer()
    conflict = world.api.patch(f"/v0/customers/{second}", {"externalId": "crm-1"}, expect=409)
    assert conflict["code"] == "EXTERNAL_ID_TAKEN"
    body = {"merchantId": world.id, "consumer": consumer(), "externalId": "crm-1"}
    world.api.post("/v0/customers", body, expect=409)
    found = world.api.get(f"/v0/customers?organizationId={world.id}&externalId=crm-1")
    assert [row["id"] for row in found["data"]] == [first]
    # Another merchant may use the same own id.
    make_world().customer(externalId="crm-1")


def test_lists_are_searched_and_paged(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.customers.api.customers.LIST_CALLS_PER_SECOND", 1_000)
    ids = [world.customer() for _ in range(3)]
    url = f"/v0/customers?organizationId={world.id}"
    page = world.api.get(f"{url}&limit=2&offset=1")
    assert [row["id"] for row in page["data"]] == ids[1::-1]
    assert page["pagination"] == {"limit": 2, "offset": 1, "total": 3}
    assert world.api.get(f"{url}&name=CUSTOMER")["pagination"]["total"] == 3
    world.api.get(f"{url}&name=ab", expect=400)
    named = world.api.get(f"{url}&limit=0&offset=-1", expect=400)
    assert {error["field"] for error in named["errors"]} == {"limit", "offset"}
    world.api.get("/v0/customers", expect=400)


def test_more_than_ten_lists_a_second_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_760_000_000.25]

    class Clock:
        @staticmethod
        def timestamp() -> float:
            return now[0]

    monkeypatch.setattr(ratelimit, "wall_now", Clock)
    url = f"/v0/customers?organizationId={world.id}"
    for _ in range(10):
        world.api.get(url)
    refused = world.api.call("get", url, expect=429)
    assert refused["Retry-After"] == "1"
    now[0] += 1
    world.api.get(url)


def test_a_customer_with_a_subscription_stays(world: World) -> None:
    product = world.product()
    plan = world.plan(product, [world.fee_price(product)])
    customer = world.customer()
    subscription = world.subscribe(
        customer, plan, at="2026-01-01T00:00:00Z", clock=world.clock("2026-01-01T00:00:00Z")
    )
    kept = world.api.delete(f"/v0/customers/{customer}", expect=409)
    kinds = {blocker["type"]: blocker for blocker in kept["details"]["blockers"]}
    assert kinds["subscriptions"]["items"] == [{"id": subscription["id"], "status": "pending_payment"}]
    world.api.post(f"/v0/subscriptions/{subscription['id']}/termination", {"reason": "left"}, expect=200)
    world.api.delete(f"/v0/customers/{customer}")
    world.api.get(f"/v0/customers/{customer}", expect=404)
