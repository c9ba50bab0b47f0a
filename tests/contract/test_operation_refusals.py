"""What operations of the published client refuse, and what the refusals say."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from paygentic_sdk import errors

from tests.contract.caller import NOW, Caller, event, word

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live")]


def test_what_another_merchant_owns_is_absent(call: Caller, stack: dict[str, Any]) -> None:
    absent = {
        "products": "prod_", "billable_metrics": "bm_", "fees": "fee_", "features": "feat_", "prices": "price_",
        "plans": "plan_", "customers": "cus_", "subscriptions": "sub_", "test_clocks": "tc_", "invoices_v2": "inv_",
        "users": "usr_",
    }  # fmt: skip
    for group, prefix in absent.items():
        refused = call.refused(404, group, "get", id=f"{prefix}{'0' * 20}")
        assert refused.raw_response.json()["code"] == "NOT_FOUND", group
    foreign = {"merchant_id": "org_00000000000000000000", "name": "x", "description": "d"}
    assert call.refused(403, "products", "create", **foreign).raw_response.json()["reason"] == "not_member"
    call.refused(403, "products", "list", request={"merchant_id": foreign["merchant_id"]})


def test_conflicts_and_refusals_say_why(call: Caller, stack: dict[str, Any]) -> None:
    merchant = stack["merchant_id"]
    product = call("products", "create", name="P", description="d", merchant_id=merchant)
    feature = {"key": "sso", "name": "SSO", "merchant_id": merchant, "product_id": product.id}
    call("features", "create", **feature)
    assert call.refused(409, "features", "create", **feature).raw_response.json()["code"] == "FEATURE_KEY_TAKEN"
    fee = call("fees", "create", name="F", description="d", merchant_id=merchant, product_id=product.id)
    price = call(
        "prices", "create", invoice_display_name="Fee", payment_term="in_advance",
        properties={"unit_price": "5"}, fee_id=fee.id, billing_cadence="P1M",
    )  # fmt: skip
    call("plans", "create", currency="EUR", name="B", merchant_id=merchant, product_id=product.id, prices=[price.id])
    blocked = call.refused(409, "prices", "delete", id=price.id)
    assert isinstance(blocked, errors.DeletePriceConflictError)
    assert blocked.data.details.blockers[0].count == 1
    assert isinstance(call.refused(409, "fees", "delete", id=fee.id), errors.DeleteFeeConflictError)
    # An event that nothing counts, and a line in another currency than its invoice.
    call.refused(422, "events", "ingest", request=event(f"none.{word()}", "cus_x", 1))
    clock = call("test_clocks", "create", current_time=NOW)
    call.refused(400, "test_clocks", "advance", id=clock.id, request_body={"current_time": NOW - timedelta(days=1)})
    call.refused(400, "test_clocks", "advance", id=clock.id, request_body={"advance_by": "a month"})


@pytest.mark.parametrize(
    ("path", "body", "bad"),
    [
        ("/v0/products", {"name": 5, "metadata": []}, {"name", "description", "merchantId", "metadata"}),
        (
            "/v0/billableMetrics",
            {"aggregation": "MODE", "name": "", "groupBy": {"a": 1}, "eventFrom": "soon"},
            {"aggregation", "name", "groupBy", "eventFrom", "description", "unit", "eventType", "productId"},
        ),
        ("/v0/fees", {"name": "x" * 256}, {"name", "description", "merchantId", "productId"}),
        ("/v0/features", {"key": "No Slug", "type": "x"}, {"key", "type", "name", "merchantId", "productId"}),
        (
            "/v0/prices",
            {"paymentTerm": "later", "quantity": 0, "properties": 3},
            {"paymentTerm", "quantity", "properties", "invoiceDisplayName"},
        ),
        (
            "/v0/plans",
            {"currency": "usd", "billingCadence": "PT2H", "defaultTaxRate": 101, "prices": [5]},
            {"currency", "billingCadence", "defaultTaxRate", "prices.0", "name", "merchantId", "productId"},
        ),
        ("/v0/customers", {"consumer": {"name": "x", "email": "no"}}, {"merchantId", "consumer.email"}),
        (
            "/v0/subscriptions",
            {"startedAt": "then", "versionPolicy": "x", "sessionExpiryMinutes": 0},
            {"startedAt", "versionPolicy", "sessionExpiryMinutes", "name", "planId"},
        ),
        ("/v0/events", {"data": 3, "timestamp": "x"}, {"data", "timestamp", "type", "source"}),
        ("/v0/testClocks", {"currentTime": "x", "name": 3}, {"currentTime", "name"}),
        (
            "/v2/invoices/lineItems",
            {"currency": "usd", "quantity": "x", "unitPrice": "NaN"},
            {"currency", "quantity", "unitPrice", "displayName"},
        ),
    ],
)  # fmt: skip
def test_a_wrong_body_is_answered_with_every_bad_field(
    stack: dict[str, Any], path: str, body: dict[str, Any], bad: set[str]
) -> None:
    headers = {"Authorization": f"Bearer {stack['api_key']}"}
    answer = httpx.post(f"{stack['base_url']}{path}", json={**body, "unknownField": 1}, headers=headers, timeout=20)
    assert answer.status_code == 400, answer.text
    found = answer.json()
    assert found["message"]
    assert {error["field"] for error in found["errors"]} >= bad, found
    assert "unknownField" not in answer.text
