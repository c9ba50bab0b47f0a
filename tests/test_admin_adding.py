"""Customers and subscriptions made by hand, in the admin."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.catalog.models import Plan
from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.kernel.clock import wall_now
from apps.organizations.models import Membership, Organization
from apps.subscriptions.models import Subscription, SubscriptionStatus
from tests.test_admin import browser, member
from tests.world import World, make_world

pytestmark = pytest.mark.django_db

CUSTOMER = reverse("admin:customers_customer_add")
SUBSCRIPTION = reverse("admin:subscriptions_subscription_add")


def add_customer(client: Client, world: World, **changes: str) -> Any:
    form = {
        "organization": world.merchant.pk, "name": "Acme", "email": "ap@acme.test", "line1": "1 Rue", "city": "Lyon",
        "zip_code": "69001", "country": "FR", "external_id": "acme-1", **changes,
    }  # fmt: skip
    return client.post(CUSTOMER, form)


def add_subscription(client: Client, customer: str, plan: str, started_at: Any, **changes: Any) -> Any:
    form = {
        "customer": Customer.objects.get(public_id=customer).pk,
        "plan": Subscription._meta.get_field("plan").related_model.objects.get(public_id=plan).pk,
        "started_at_0": f"{started_at:%Y-%m-%d}", "started_at_1": f"{started_at:%H:%M:%S}",
        "elapsed_period_billing": "none", "payment_term_days": "0", "version_policy": "floating",
        "auto_approve": "unknown", **changes,
    }  # fmt: skip
    return client.post(SUBSCRIPTION, form)


def problems(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 200
    found: dict[str, list[str]] = answer.context["adminform"].form.errors
    return found


@pytest.fixture
def plan(world: World) -> str:
    product = world.product()
    fee = world.api.post("/v0/fees", {"name": "Fee", "description": "", "productId": product, "merchantId": world.id})
    price = world.api.post(
        "/v0/prices",
        {
            "invoiceDisplayName": "Fee", "paymentTerm": "in_advance", "billingCadence": "P1M", "feeId": fee["id"],
            "properties": {"unitPrice": "49.00"},
        },
    )  # fmt: skip
    return world.plan(product, [price["id"]])


def test_support_adds_a_customer(world: World) -> None:
    client = browser(member(world, "support"))
    form = client.get(CUSTOMER).context["adminform"].form
    assert form["organization"].value() == world.merchant.pk
    assert add_customer(client, world).status_code == 302
    customer = Customer.objects.get()
    assert (customer.external_id, customer.organization, customer.consumer.name) == ("acme-1", world.merchant, "Acme")
    assert (customer.consumer.country, customer.consumer.zip_code) == ("FR", "69001")
    assert world.api.get(f"/v0/customers/{customer.public_id}")["externalId"] == "acme-1"
    # Twice is said, and nothing is made.
    assert "email" in problems(add_customer(client, world, external_id=""))
    assert Customer.objects.count() == 1


def test_a_refused_customer_leaves_nothing_behind(world: World) -> None:
    client = browser(world.owner)
    add_customer(client, world)
    before = Organization.objects.count()
    assert "acme-1" in str(problems(add_customer(client, world, email="other@acme.test")))
    assert "country" in problems(add_customer(client, world, email="other@acme.test", country="France"))
    assert (Customer.objects.count(), Organization.objects.count()) == (1, before)


def test_support_subscribes_a_customer(world: World, plan: str) -> None:
    client = browser(member(world, "support"))
    customer = world.customer()
    form = client.get(SUBSCRIPTION).context["adminform"].form
    assert form["started_at"].value() <= wall_now()
    answer = add_subscription(client, customer, plan, wall_now())
    assert answer.status_code == 302, problems(answer)
    subscription = Subscription.objects.get()
    assert (subscription.status, subscription.name) == (SubscriptionStatus.PENDING_PAYMENT, "Pro")
    assert Invoice.objects.get().grand_total == 49
    assert client.get(reverse("admin:subscriptions_subscription_change", args=[subscription.pk])).status_code == 200
    assert subscription.public_id in str(problems(add_subscription(client, customer, plan, wall_now())))
    assert Subscription.objects.count() == 1


def test_a_refused_subscription_leaves_nothing_behind(world: World, plan: str) -> None:
    customer, now = world.customer(), wall_now()
    ended = now - timedelta(days=1)
    ending = {"ending_at_0": f"{ended:%Y-%m-%d}", "ending_at_1": f"{ended:%H:%M:%S}"}
    assert "ending_at" in problems(add_subscription(browser(world.owner), customer, plan, now, **ending))
    assert (Subscription.objects.count(), Invoice.objects.count()) == (0, 0)


def test_a_plan_of_another_merchant_is_refused(world: World, plan: str) -> None:
    other = make_world()
    stranger = other.customer()
    # Someone who works for both sees both, and may still not mix them.
    Membership.objects.create(organization=other.merchant, user=world.owner, role="owner")
    assert "plan" in problems(add_subscription(browser(world.owner), stranger, plan, wall_now()))
    # Someone of the other cannot even name it.
    assert "plan" in problems(add_subscription(browser(other.owner), stranger, plan, wall_now()))
    assert Subscription.objects.count() == 0


def test_nobody_else_adds_them(world: World) -> None:
    for role in ("viewer", "engineer", "approver"):
        client = browser(member(world, role))
        assert client.get(CUSTOMER).status_code == 403
        assert client.get(SUBSCRIPTION).status_code == 403


def test_quantities_are_chosen_in_the_form(world: World, plan: str) -> None:
    client = browser(member(world, "finance"))
    version = Plan.objects.get(public_id=plan).default_version
    assert version is not None
    slot = version.slots.select_related("price").get()
    for text in ("seats", f"{slot.key} many", f"{slot.key} -1", "nothing 5"):
        answer = add_subscription(client, world.customer(), plan, wall_now(), items=text)
        assert list(problems(answer)) == ["items"], text
    for name in (slot.key, slot.price.public_id):
        answer = add_subscription(client, world.customer(), plan, wall_now(), items=f"{name} 2\n\n")
        assert answer.status_code == 302
    assert [invoice.grand_total for invoice in Invoice.objects.all()] == [98, 98]
