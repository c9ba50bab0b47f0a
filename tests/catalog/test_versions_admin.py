"""Versions of plans as the catalogue's owner sees and moves them."""

import pytest
from django.test import Client
from django.urls import reverse

from apps.catalog.models import Plan, PlanVersion
from apps.subscriptions.models import Subscription
from tests.world import World

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


@pytest.fixture
def owner(world: World) -> Client:
    client = Client()
    client.force_login(world.owner)
    return client


def act(client: Client, kind: str, row: int, action: str, **sent: object) -> str:
    """Press a button, and give what the page then says."""
    answer = client.post(f"/admin/{kind}/{row}/{action}/", {**sent, "_form_submitted": "1"}, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_minting_selling_an_older_one_and_moving_a_subscription(world: World, owner: Client) -> None:
    product = world.product()
    fee, dearer = world.fee_price(product, "10.00"), world.fee_price(product, "12.00")
    public_id = world.plan(product, [fee])
    plan = Plan.objects.get(public_id=public_id)
    clock = world.clock(JANUARY)
    made = world.subscribe(world.customer(), public_id, at=JANUARY, clock=clock)
    world.pay(made["payment"]["invoiceId"])
    key = world.api.get(f"/v0/plans/{public_id}/versions/1")["prices"][0]["key"]

    assert b"key of its line" in owner.get(f"/admin/catalog/plan/{plan.pk}/mint-version/").content
    said = act(owner, "catalog/plan", plan.pk, "mint-version", prices=f"{dearer} {key}", based_on="pver_stale")
    assert "The plan has moved on" in said
    assert "at most a key" in act(owner, "catalog/plan", plan.pk, "mint-version", prices="a b c", based_on="")
    act(owner, "catalog/plan", plan.pk, "mint-version", prices=f"{dearer} {key}", based_on="")
    page = owner.get(reverse("admin:catalog_plan_change", args=[plan.pk])).content.decode()
    assert "(default): 0 subscriptions" in page
    second = PlanVersion.objects.get(number=2)
    assert second.slots.get().price.properties == {"unitPrice": "12.00"}

    first = PlanVersion.objects.get(number=1)
    act(owner, "catalog/planversion", first.pk, "make-default")
    plan.refresh_from_db()
    assert plan.default_version == first

    subscription = Subscription.objects.get(public_id=made["id"])
    said = act(
        owner, "subscriptions/subscription", subscription.pk, "migrate-version", version=2, timing="next_period"
    )
    assert "From version 1 to 2" in said
    subscription.refresh_from_db()
    assert (subscription.next_version, subscription.version_policy) == (second, "pinned")
    said = act(
        owner, "subscriptions/subscription", subscription.pk, "migrate-version", version=2, timing="next_period"
    )
    assert "already" in said
