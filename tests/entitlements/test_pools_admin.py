"""Pricing units and pools as people of the merchant see and change them."""

import pytest
from django.test import Client
from django.urls import reverse

from apps.catalog.models import Plan, Price, PricingUnit
from apps.entitlements.models import CreditPool, Entitlement
from tests.catalog.test_versions_admin import act
from tests.entitlements.pools import PoolKit
from tests.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def kit(world: World) -> PoolKit:
    return PoolKit.make(world)


@pytest.fixture
def owner(world: World) -> Client:
    client = Client()
    client.force_login(world.owner)
    return client


def page(client: Client, address: str, *args: object) -> str:
    answer = client.get(reverse(f"admin:{address}", args=args))
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_unit_is_made_renamed_and_archived_on_its_page(kit: PoolKit, owner: Client) -> None:
    kit.price("1", invoiceDisplayName="Chat tokens")
    sent = {"organization": kit.world.merchant.pk, "key": "images", "name": "Images"}
    owner.post(reverse("admin:catalog_pricingunit_add"), sent)
    made = PricingUnit.objects.get(key="images")
    assert (
        "Use 1 to 64"
        in owner.post(reverse("admin:catalog_pricingunit_add"), {**sent, "key": "No Good"}).content.decode()
    )
    owner.post(reverse("admin:catalog_pricingunit_change", args=[made.pk]), {"name": "Pictures", "key": "other"})
    made.refresh_from_db()
    assert (made.name, made.key) == ("Pictures", "images")
    act(owner, "catalog/pricingunit", made.pk, "archive")
    made.refresh_from_db()
    assert made.archived_at is not None
    assert "Chat tokens" in page(owner, "catalog_pricingunit_changelist")


def test_a_price_form_takes_a_unit_and_its_rules(kit: PoolKit, owner: Client) -> None:
    price = Price.objects.get(public_id=kit.price("1"))
    unit = PricingUnit.objects.get()
    address = reverse("admin:catalog_price_change", args=[price.pk])
    assert f'value="{unit.pk}" selected' in owner.get(address).content.decode()
    sent = {
        "organization": price.organization_id, "metric": price.metric_id, "model": "standard",
        "properties": '{"unitPrice": "-1"}', "payment_term": "in_arrears", "quantity": "1",
        "invoice_display_name": "T", "supply_scope": "IN_SCOPE", "rate_type": "amount", "pricing_unit": unit.pk,
    }  # fmt: skip
    assert "no rebate" in owner.post(address, sent).content.decode()
    owner.post(address, {**sent, "properties": '{"unitPrice": "4"}'})
    price.refresh_from_db()
    assert (price.properties, price.pricing_unit) == ({"unitPrice": "4"}, unit)


def test_the_credits_of_a_plan_are_a_line_each(kit: PoolKit, owner: Client) -> None:
    plan = Plan.objects.get(public_id=kit.world.plan(kit.kit.product, [kit.price("1")]))
    for wrong, said in (
        ("nothing 5", "There is no pricing unit nothing"),
        ("tokens", "Give the key of a pricing unit"),
        ("tokens many", "many is no number"),
        ("tokens 5 P0D", "Give an ISO 8601 duration"),
    ):
        assert said in act(owner, "catalog/plan", plan.pk, "credits", credits=wrong)
    said = act(owner, "catalog/plan", plan.pk, "credits", credits="tokens 10000 P1M")
    assert "10000 tokens every P1M" in said
    assert "10000 tokens every P1M" in page(owner, "catalog_plan_change", plan.pk)
    assert "10,000" in page(owner, "catalog_creditallocation_changelist")
    act(owner, "catalog/plan", plan.pk, "credits", credits="")
    plan.refresh_from_db()
    assert plan.default_version is not None
    assert (plan.default_version.number, list(plan.default_version.allocations.all())) == (3, [])


def test_a_pool_shows_its_balance_over_time_and_takes_credits(kit: PoolKit, owner: Client) -> None:
    feature = {"featureId": kit.kit.feature("chat")}
    prices = [kit.price("2", feature=feature), kit.price("3", kit.output)]
    customer, _, clock = kit.subscriber(prices, **kit.given())
    kit.kit.use(customer, "2026-01-10T00:00:00Z", 100)
    kit.world.advance(clock, "2026-01-20T00:00:00Z")
    pool, right = CreditPool.objects.get(), Entitlement.objects.get(feature__isnull=False)
    shown = page(owner, "entitlements_creditpool_change", pool.pk)
    assert "9,800" in shown
    assert "Balance over time" in shown
    assert "Usage that draws credits" in shown
    assert "granted as" in act(owner, "entitlements/creditpool", pool.pk, "grant-credits", amount="5", priority="0")
    # By a feature's page they come into the pool as well.
    act(owner, "entitlements/entitlement", right.pk, "grant-units", amount="6", priority="0")
    assert kit.left(customer) == (9_811, 0)
    assert "9,811" in page(owner, "entitlements_entitlement_change", right.pk)
    assert f"/entitlements/creditpool/{pool.pk}/" in page(owner, "entitlements_grant_changelist")
    assert pool.public_id not in page(owner, "entitlements_entitlement_changelist")
    assert pool.public_id in page(owner, "entitlements_creditpool_changelist")
    grant = pool.grants.order_by("pk").last()
    assert grant is not None
    act(owner, "entitlements/grant", grant.pk, "void-grant")
    page(owner, "entitlements_grant_change", grant.pk)
    question = {"customerId": customer, "featureId": feature["featureId"], "quantity": 1, "reserveSeconds": 60}
    kit.kit.check(question)
    assert pool.public_id in page(owner, "entitlements_reservation_changelist")
