"""The published client, unmodified, from nothing to the second invoice."""

import asyncio
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from paygentic_sdk import Paygentic, errors, models

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live")]

NOW = datetime(2026, 1, 22, 12, tzinfo=UTC)


@pytest.fixture
def client(stack: dict[str, Any]) -> Paygentic:
    return Paygentic(bearer_auth=stack["api_key"], server_url=stack["base_url"])


def _retry(check: Any, seconds: float = 20.0) -> Any:
    """Call until the result is true: the merge runs in the background."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found or time.monotonic() > end:
            return found
        time.sleep(0.1)


def test_quickstart_from_nothing_to_the_second_invoice(client: Paygentic, stack: dict[str, Any]) -> None:
    merchant = stack["merchant_id"]
    product = client.products.create(name="Gateway", description="LLM gateway", merchant_id=merchant)
    event_type = f"ai.{uuid.uuid4().hex[:8]}"
    metric = client.billable_metrics.create(
        aggregation="SUM",
        description="tokens in",
        merchant_id=merchant,
        name="Input tokens",
        unit="tokens",
        event_type=event_type,
        product_id=product.id,
        value_property="$.tokens",
        group_by={"model": "$.model"},
    )
    assert metric.item_id is None
    feature = client.features.create(
        key="input-tokens", name="Input tokens", merchant_id=merchant, product_id=product.id, type_="metered"
    )
    fee = client.fees.create(name="Platform fee", description="base", merchant_id=merchant, product_id=product.id)
    upfront = client.prices.create(
        invoice_display_name="Platform fee",
        payment_term="in_advance",
        properties={"unit_price": "49.00"},
        fee_id=fee.id,
        billing_cadence="P1M",
    )
    assert upfront.quantity == 1
    usage = client.prices.create(
        invoice_display_name="Input tokens",
        payment_term="in_arrears",
        properties={"unit_price": "0.000002"},
        billable_metric_id=metric.id,
        model="standard",
        feature={"feature_id": feature.id},
    )
    plan = client.plans.create(
        currency="USD",
        merchant_id=merchant,
        name="Pro",
        product_id=product.id,
        billing_cadence="P1M",
        prices=[upfront.id, {"price_id": usage.id, "key": "tokens"}],
    )
    assert plan.prices is not None
    assert [price.id for price in plan.prices] == [upfront.id, usage.id]
    customer = client.customers.create(
        merchant_id=merchant,
        consumer={
            "name": "Acme",
            "email": f"ap-{uuid.uuid4().hex[:8]}@acme.test",
            "address": {"line1": "1 Main", "city": "SF", "state": "CA", "country": "US", "zip_code": "94105"},
        },
        external_id=f"acme-{uuid.uuid4().hex[:8]}",
    )
    assert customer.valid_tax_address.valid
    clock = client.test_clocks.create(current_time=NOW, name="quickstart")
    subscription = client.subscriptions.create(
        name="Acme Pro", plan_id=plan.id, started_at=NOW, customer_id=customer.customer_id, test_clock_id=clock.id
    )
    assert subscription.status == "pending_payment"
    assert isinstance(subscription.payment, models.PaymentPending)
    assert subscription.payment.amount == "49.00"
    settled = client.invoices_v2.record_invoice_payment(id=subscription.payment.invoice_id, method="out_of_band")
    assert settled.invoice.status == "PAID"
    assert client.subscriptions.get(id=subscription.id).status == "active"

    event = client.events.ingest(
        request={
            "type": event_type,
            "source": "https://app.test",
            "subject": customer.customer_id,
            "data": {"tokens": 1_300_000, "model": "m1"},
            "timestamp": NOW + timedelta(minutes=5),
            "idempotency_key": f"req-{uuid.uuid4().hex}",
        }
    )
    assert event.id

    def total() -> float:
        return client.billable_metrics.meter(
            id=metric.id, from_=NOW, to=NOW + timedelta(days=1), subject=customer.customer_id
        ).total_value

    assert _retry(lambda: total() == 1_300_000)
    grouped = client.billable_metrics.meter(
        id=metric.id, from_=NOW, to=NOW + timedelta(days=1), group_by="model", window_size="HOUR"
    )
    assert grouped.grouped_values is not None
    assert grouped.grouped_values[0].group_by == {"model": "m1"}
    raw = client.billable_metrics.list_events(id=metric.id, from_=NOW, to=NOW + timedelta(days=1))
    assert [entry.subject for entry in raw.events] == [customer.customer_id]

    listed = client.invoices_v2.list(request={"subscription_id": subscription.id}).data
    assert sorted(invoice.status for invoice in listed) == ["ACTIVE", "PAID"]

    client.test_clocks.advance(id=clock.id, request_body={"advance_by": "P1M"})
    client.test_clocks.advance(id=clock.id, request_body={"advance_by": "PT2H"})
    assert _retry(lambda: client.test_clocks.get(id=clock.id).current_time == datetime(2026, 2, 22, 14, tzinfo=UTC))
    invoices = client.invoices_v2.list(request={"subscription_id": subscription.id}).data
    issued = next(invoice for invoice in invoices if invoice.sequence_number == 1)
    assert issued.status == "ISSUED"
    assert issued.grand_total == "51.60"
    lines = client.invoices_v2.get_line_items(id=issued.id, expand="lineProvenance").line_items
    assert sorted(line.total_amount for line in lines) == ["2.60", "49.00"]
    ledger = client.invoices_v2.list_line_items(request={"subscription_id": subscription.id, "status": "invoiced"})
    assert ledger.total_count == 3
    with_lines = client.invoices_v2.get(id=issued.id, expand="lineItems")
    assert with_lines.line_items is not None
    assert with_lines.line_items.total_count == 2
    projected = client.invoices_v2.list_projected_invoices(subscription_id=subscription.id)
    assert [invoice.grand_total for invoice in projected.data] == ["49.00"]


def test_the_other_operations_of_this_part(client: Paygentic, stack: dict[str, Any]) -> None:
    merchant = stack["merchant_id"]
    product = client.products.create(name="P", description="d", merchant_id=merchant)
    assert client.products.get(id=product.id).name == "P"
    assert client.products.update(id=product.id, name="P2").name == "P2"
    assert client.products.list(request={"merchant_id": merchant}).data
    metric = client.billable_metrics.create(
        aggregation="COUNT", description="d", merchant_id=merchant, name="Calls", unit="calls", event_type="t.calls",
        product_id=product.id,
    )  # fmt: skip
    assert client.billable_metrics.get(id=metric.id).aggregation == "COUNT"
    assert client.billable_metrics.update(id=metric.id, name="Calls 2").name == "Calls 2"
    assert client.billable_metrics.list(merchant_id=merchant, product_id=product.id).pagination.total == 1
    fee = client.fees.create(name="F", description="d", merchant_id=merchant, product_id=product.id)
    assert client.fees.get(id=fee.id).item_id is None
    assert client.fees.update(id=fee.id, name="F2").name == "F2"
    assert client.fees.list(merchant_id=merchant, product_id=product.id).data
    feature = client.features.create(key="sso", name="SSO", merchant_id=merchant, product_id=product.id)
    assert client.features.get(id=feature.id).type == "boolean"
    assert client.features.update(id=feature.id, name="SSO 2").name == "SSO 2"
    assert client.features.list(product_id=product.id).data
    with pytest.raises(errors.Error) as duplicate:
        client.features.create(key="sso", name="SSO", merchant_id=merchant, product_id=product.id)
    assert duplicate.value.status_code == 409
    price = client.prices.create(
        invoice_display_name="Fee", payment_term="in_advance", properties={"unit_price": "5"}, fee_id=fee.id,
        billing_cadence="P1M",
    )  # fmt: skip
    tiers = client.prices.create(
        invoice_display_name="Calls", payment_term="in_arrears", model="volume", billable_metric_id=metric.id,
        properties={"tiers": [{"up_to": "100", "unit_price": "5"}, {"up_to": None, "unit_price": "3"}]},
    )  # fmt: skip
    assert client.prices.get(id=tiers.id).model == "volume"
    assert client.prices.update(id=price.id, invoice_display_name="Fee 2").invoice_display_name == "Fee 2"
    assert client.prices.list(request={"billable_metric_id": metric.id}).data
    with pytest.raises(errors.DeleteFeeConflictError):
        client.fees.delete(id=fee.id)
    plan = client.plans.create(
        currency="EUR", merchant_id=merchant, name="Basic", product_id=product.id, prices=[price.id]
    )
    with pytest.raises(errors.DeletePriceConflictError):
        client.prices.delete(id=price.id)
    assert client.plans.get(id=plan.id).currency == "EUR"
    assert client.plans.update(id=plan.id, prices=[price.id, tiers.id]).prices[1].id == tiers.id
    assert client.plans.list_plan_versions(id=plan.id).data[0].version_number == 2
    assert client.plans.list(request={"merchant_id": merchant, "product_id": product.id}).data
    customer = client.customers.create(
        merchant_id=merchant,
        consumer={"name": "Solo", "email": f"{uuid.uuid4().hex[:8]}@x.test", "address": {"country": "DE"}},
    )
    assert client.plans.list_available(customer_id=customer.customer_id, product_id=product.id).data[0].id == plan.id
    assert client.customers.get(id=customer.customer_id).notification_settings.invoice_paid
    assert client.customers.update(id=customer.customer_id, tax_rates=19.0).tax_rates == {"default": 19.0}
    assert client.customers.list(organization_id=merchant, name="Solo").data
    subscription = client.subscriptions.create(
        name="S", plan_id=plan.id, started_at=datetime.now(UTC), customer_id=customer.customer_id,
        metadata={"seats": 1},
    )  # fmt: skip
    again = client.subscriptions.create(
        name="S", plan_id=plan.id, started_at=datetime.now(UTC), customer_id=customer.customer_id
    )
    assert again.id == subscription.id
    assert (
        client.subscriptions.list(request={"customer_id": customer.customer_id, "include": "customer"})
        .data[0]
        .customer
        is not None
    )
    assert client.subscriptions.update_subscription(id=subscription.id, payment_term_days=14).payment_term_days == 14
    with pytest.raises(errors.DeleteCustomerConflictError) as blocked:
        client.customers.delete(id=customer.customer_id)
    assert {b.type for b in blocked.value.data.details.blockers} == {"subscriptions", "invoices"}
    client.invoices_v2.record_invoice_payment(id=subscription.payment.invoice_id, method="out_of_band")
    manual = client.invoices_v2.create_line_item(
        display_name="Credit", currency="EUR", quantity=2, unit_price=-1.5, subscription_id=subscription.id,
        idempotency_key=uuid.uuid4().hex,
    )  # fmt: skip
    assert manual.subtotal == "-3.00"
    assert client.subscriptions.terminate(id=subscription.id, reason="done").status == "terminated"
    with pytest.raises(errors.Error) as gone:
        client.subscriptions.terminate(id=subscription.id, reason="done")
    assert gone.value.status_code == 409
    clock = client.test_clocks.create()
    assert client.test_clocks.list(request={}).data
    assert client.test_clocks.delete(id=clock.id).deleted_at is not None
    other = client.features.create(key="tmp", name="T", merchant_id=merchant, product_id=product.id)
    client.features.delete(id=other.id)
    with pytest.raises(errors.Error) as absent:
        client.features.get(id=other.id)
    assert absent.value.status_code == 404


def test_wrong_fields_are_all_named(client: Paygentic, stack: dict[str, Any]) -> None:
    with pytest.raises(errors.BadRequest) as refused:
        client.plans.create(currency="XXX", merchant_id=stack["merchant_id"], name="x" * 300, product_id="prod_none")
    assert "name" in str(refused.value)
    with pytest.raises(errors.Error) as anonymous:
        Paygentic(server_url=stack["base_url"]).products.list(request={})
    assert anonymous.value.status_code == 401


def test_async_client(stack: dict[str, Any]) -> None:
    async def run() -> str:
        async with Paygentic(bearer_auth=stack["api_key"], server_url=stack["base_url"]) as client:
            products = await client.products.list_async(request={"merchant_id": stack["merchant_id"]})
            invoices = await client.invoices_v2.list_async(
                request={"merchant_id": stack["merchant_id"], "status": "ACTIVE"}
            )
            assert invoices.data
            return products.data[0].merchant_id

    assert asyncio.run(run()) == stack["merchant_id"]
