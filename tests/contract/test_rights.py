"""Entitlements, grants, reconciliation and reset through the unmodified client, in this process."""

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
from paygentic_sdk import Paygentic, errors

from config.wsgi import application
from tests.entitlements.kit import MILLION, START, Kit
from tests.world import make_world

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def kit() -> Kit:
    return Kit.make(make_world())


@pytest.fixture
def client(kit: Kit) -> Iterator[Paygentic]:
    transport = httpx.WSGITransport(app=application)
    with httpx.Client(transport=transport, base_url="http://testserver") as inner:
        yield Paygentic(bearer_auth=kit.world.secret, server_url="http://testserver", client=inner)


def test_the_features_of_a_price_become_rights(kit: Kit, client: Paygentic) -> None:
    feature = kit.feature()
    price = client.prices.create(
        invoice_display_name="Tokens",
        payment_term="in_arrears",
        properties={"unit_price": "0.000002"},
        billable_metric_id=kit.metric,
        model="standard",
        feature={"feature_id": feature, "entitlement_template": {**MILLION, "isSoftLimit": True}},
    )
    assert price.features is not None
    assert price.features[0].entitlement_template["issueAfterReset"] == 1_000_000
    customer, subscription, _ = kit.subscriber([price.id])
    kit.use(customer, START, 1500)
    listed = client.entitlements.list(
        request={
            "customer_id": customer,
            "feature_key": "tokens",
            "product_id": kit.product,
            "merchant_id": kit.world.id,
            "subscription_id": subscription,
            "at": datetime(2026, 1, 2, tzinfo=UTC),
        }
    )
    (item,) = listed.data
    assert item.feature_type == "metered"
    assert (item.balance, item.usage_in_period, item.overage) == (998_500, 1500, 0)
    found = client.entitlements.get(entitlement_id=item.entitlement_id)
    assert (found.id, found.is_soft_limit, found.has_access) == (item.entitlement_id, True, True)
    done = client.subscriptions.reconcile_subscription_features(id=subscription)
    assert [row.feature_key for row in done.features.skipped] == ["tokens"]


def test_rights_are_issued_by_hand(kit: Kit, client: Paygentic) -> None:
    customer = kit.world.customer()
    for key, template in (
        ("sso", {"type": "boolean"}),
        ("tier", {"type": "static", "config": {"seats": 3}}),
        ("calls", {"type": "metered", "issue_after_reset": 10, "is_soft_limit": False}),
    ):
        feature = kit.feature(key, str(template["type"]))
        made = client.entitlements.issue(
            customer_id=customer, feature_id=feature, template=template, metadata={"by": "hand"}
        )
        assert made.feature_type == template["type"]
        assert made.has_access is True
        with pytest.raises(errors.PaygenticError) as refused:
            client.entitlements.issue(customer_id=customer, feature_id=feature, template=template)
        assert refused.value.status_code == 409
    assert client.entitlements.list(request={"customer_id": customer}).pagination.total == 3


def test_grants_are_made_listed_read_and_voided(kit: Kit, client: Paygentic) -> None:
    customer, _, _ = kit.subscriber([kit.price(kit.feature(), MILLION)])
    right = str(kit.right(customer)["entitlementId"])
    grants = client.entitlements.grants
    made = grants.create(entitlement_id=right, amount=100, idempotency_key="k", priority=-2, reset_min_rollover=0)
    assert grants.create(entitlement_id=right, amount=100, idempotency_key="k", priority=-2).id == made.id
    with pytest.raises(errors.PaygenticError) as refused:
        grants.create(entitlement_id=right, amount=101, idempotency_key="k", priority=-2)
    assert refused.value.status_code == 409
    assert grants.get(entitlement_id=right, grant_id=made.id).amount == 100
    assert [row.id for row in grants.list(entitlement_id=right).data] == [made.id]
    assert grants.void(entitlement_id=right, grant_id=made.id).voided_at is not None
    assert grants.list(entitlement_id=right).data == []
    assert len(grants.list(entitlement_id=right, include_voided=True).data) == 1


def test_grants_are_bought(kit: Kit, client: Paygentic) -> None:
    customer, subscription, clock = kit.subscriber([kit.price(kit.feature(), MILLION)])
    right = str(kit.right(customer)["entitlementId"])
    terms = {
        "entitlement_id": right, "amount": 500_000, "price": "5.00", "idempotency_key": "k",
        "success_url": "https://shop.test/done", "cancel_url": "https://shop.test/no",
        "payment_expires_at": datetime(2026, 1, 20, tzinfo=UTC), "expires_at": datetime(2027, 1, 1, tzinfo=UTC),
        "reset_max_rollover": 100, "reset_min_rollover": 0,
    }  # fmt: skip
    sold = client.entitlements.grants.purchase(**terms)
    assert (sold.object, sold.entitlement_id, sold.grant_amount, sold.price, sold.currency) == (
        "grant_purchase", right, 500_000, "5.00", "usd",
    )  # fmt: skip
    (session,) = sold.payment_sessions
    assert (session.amount, session.expires_at) == (500, datetime(2026, 1, 20, tzinfo=UTC))
    assert client.entitlements.grants.purchase(**terms) == sold
    for bad, status in (
        ({"price": "5.01"}, 409),
        ({"idempotency_key": "k2", "price": "0.49"}, 400),
        ({"entitlement_id": "ent_none"}, 404),
    ):
        with pytest.raises(errors.PaygenticError) as refused:
            client.entitlements.grants.purchase(**{**terms, **bad})
        assert refused.value.status_code == status
    assert client.entitlements.grants.list(entitlement_id=right).data == []
    with httpx.Client(transport=httpx.WSGITransport(app=application), base_url="http://testserver") as browser:
        path = "/checkout/" + session.url.rsplit("/", 1)[1]
        form = browser.get(path)
        assert "tokens: 500,000 units" in form.text
        token = form.text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        paid = browser.post(path, data={"csrfmiddlewaretoken": token})
        assert (paid.status_code, paid.headers["location"]) == (302, "https://shop.test/done")
    assert client.invoices_v2.get(id=sold.invoice_id).status == "PAID"
    (grant,) = client.entitlements.grants.list(entitlement_id=right).data
    assert (grant.amount, grant.idempotency_key, grant.reset_max_rollover) == (500_000, "k", 100)
    late = client.entitlements.grants.purchase(**{**terms, "idempotency_key": "late"})
    kit.world.advance(clock, "2026-01-21T00:00:00Z")
    assert client.invoices_v2.get(id=late.invoice_id).status == "CANCELLED"
    assert len(client.entitlements.grants.list(entitlement_id=right).data) == 1
    listed = client.invoices_v2.list(request={"subscription_id": subscription})
    assert {sold.invoice_id, late.invoice_id} <= {row.id for row in listed.data}
    lines = client.invoices_v2.get_line_items(id=sold.invoice_id)
    assert [line.total_price for line in lines.line_items] == ["5.00"]


def test_a_merchant_and_a_customer_begin_anew(kit: Kit, client: Paygentic) -> None:
    customer, subscription, _ = kit.subscriber([kit.price(kit.feature(), MILLION)])
    right = str(kit.right(customer)["entitlementId"])
    sold = client.entitlements.grants.purchase(entitlement_id=right, amount=5, price="5.00", idempotency_key="k")
    client.invoices_v2.record_invoice_payment(id=sold.invoice_id, method="out_of_band")
    client.merchants.reset(merchant_id=kit.world.id, merchant_reset={"scope": "customer", "customer_id": customer})
    with pytest.raises(errors.PaygenticError) as gone:
        client.subscriptions.get(id=subscription)
    assert gone.value.status_code == 404
    assert client.customers.get(id=customer).id == customer
    client.merchants.reset(merchant_id=kit.world.id, merchant_reset={"scope": "merchant", "keep_catalog": True})
    with pytest.raises(errors.PaygenticError):
        client.customers.get(id=customer)
    assert client.products.get(id=kit.product).id == kit.product
    client.merchants.reset(merchant_id=kit.world.id, merchant_reset={"scope": "merchant", "keep_catalog": False})
    with pytest.raises(errors.PaygenticError):
        client.products.get(id=kit.product)


def test_a_price_and_a_plan_in_credits(kit: Kit, client: Paygentic) -> None:
    unit = kit.world.api.post("/v1/pricingUnits", {"merchantId": kit.world.id, "key": "tokens", "name": "T"})["id"]
    feature = kit.feature()
    price = client.prices.create(
        invoice_display_name="Tokens",
        payment_term="in_arrears",
        properties={"unit_price": "2"},
        billable_metric_id=kit.metric,
        model="standard",
        pricing_unit_id=unit,
        feature={"feature_id": feature, "entitlement_template": {"usagePeriod": {"interval": "P1M"}}},
    )
    assert price.pricing_unit_id == unit
    assert client.prices.get(id=price.id).pricing_unit_id == unit
    plan = client.plans.create(
        currency="USD",
        merchant_id=kit.world.id,
        name="Credits",
        product_id=kit.product,
        billing_cadence="P1M",
        prices=[price.id],
        credit_allocations=[{"pricing_unit_id": unit, "amount": 10_000, "recurrence_period": "P1M"}],
    )
    assert plan.credit_allocations is not None
    (given,) = plan.credit_allocations
    assert (given.pricing_unit_id, given.amount, given.recurrence_period) == (unit, 10_000, "P1M")
    assert plan.prices is not None
    assert plan.prices[0].pricing_unit_id == unit
    version = client.plans.get_plan_version(id=plan.id, version_number=1)
    assert version.prices[0].pricing_unit_id == unit
    clock, customer = kit.world.clock(START), kit.world.customer()
    kit.world.subscribe(customer, plan.id, at=START, clock=clock)
    kit.use(customer, START, 1_500)
    (item,) = client.entitlements.list(request={"customer_id": customer, "at": datetime(2026, 1, 2, tzinfo=UTC)}).data
    assert (item.pricing_unit_id, item.balance, item.usage_in_period, item.overage) == (unit, 7_000, 3_000, 0)
    assert item.current_period_end == datetime(2026, 2, 1, tzinfo=UTC)
    grant = client.entitlements.grants.create(entitlement_id=item.entitlement_id, amount=5, idempotency_key="g")
    assert grant.entitlement_id == item.entitlement_id
    changed = client.plans.update(id=plan.id, credit_allocations=[{"pricing_unit_id": unit, "amount": 1}])
    assert changed.credit_allocations is not None
    assert changed.credit_allocations[0].recurrence_period is None
