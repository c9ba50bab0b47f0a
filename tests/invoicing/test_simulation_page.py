"""The simulation screen: who may look, what it shows, and that it stores nothing."""

import json
from typing import Any

import pytest
from django.test import Client

from apps.organizations.models import Membership, User
from tests.invoicing.test_simulations import Shop
from tests.untouched import fingerprint
from tests.world import World, make_world

pytestmark = pytest.mark.django_db

PAGE = "/admin/simulation/"


def browser(world: World, role: str) -> Client:
    user = User.objects.create_user(f"{role}-{world.id}@merchant.test", "correct horse battery", is_staff=True)
    Membership.objects.create(organization=world.merchant, user=user, role=role)
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def shop(world: World) -> Shop:
    return Shop(world)


def asked(shop: Shop, **extra: Any) -> dict[str, Any]:
    return {"plan": shop.plan, "first": "2026-01-01", "last": "2026-01-31", "compare": "present", **extra}


def test_only_those_who_see_all_figures_may_simulate(shop: Shop) -> None:
    assert browser(shop.world, "viewer").get(PAGE).status_code == 403
    assert browser(shop.world, "support").post(PAGE, asked(shop)).status_code == 403
    assert Client().get(PAGE).status_code == 302
    finance = browser(shop.world, "finance")
    assert b"Simulate" in finance.get(PAGE).content
    assert PAGE.encode() in finance.get("/admin/").content


def test_a_changed_price_shows_who_pays_more(shop: Shop) -> None:
    client = browser(shop.world, "finance")
    changed = {
        "rows_of": f"{shop.plan} ",
        "model-1": "graduated",
        "properties-1": json.dumps({"tiers": [{"upTo": "100", "unitPrice": "2"}, {"upTo": None, "unitPrice": "0"}]}),
        "open": shop.customers[1],
    }
    client.get(PAGE)
    before = fingerprint()
    page = client.post(PAGE, asked(shop, **changed))
    assert fingerprint() == before
    text = page.content.decode()
    # 50 × 2 against 50; 100 × 2 against 300; nothing against nothing.
    assert "$50.00" in text
    assert "−$100.00" in text
    assert page.context["counts"] == {"more": 1, "less": 1, "same": 1, "notCompared": 0}
    assert "−$50.00" in text  # together
    assert "How it was calculated" in text
    assert "graduated (up to 100: 2; beyond: 0)" in text
    rows = client.post(PAGE, asked(shop, **changed, format="csv")).content.decode().splitlines()
    assert rows[0] == "customerId,name,currency,compared,simulated,difference"
    assert rows[1].startswith(f"{shop.customers[0]},")
    assert rows[1].endswith(",USD,81.00,131.00,50.00")
    assert len(rows) == 4


def test_what_cannot_be_used_is_said(shop: Shop) -> None:
    client = browser(shop.world, "finance")

    def said(**extra: Any) -> str:
        return str(client.post(PAGE, asked(shop, **extra)).content.decode())

    rows = {"rows_of": f"{shop.plan} "}
    assert "is no JSON" in said(**rows, **{"properties-1": "{"})
    assert "prices.1.properties.unitPrice" in said(**rows, **{"properties-1": '{"unitPrice": "x"}'})
    # Rows of another version say nothing, and neither do those that are to be written anew.
    assert "Pay more" in said(rows_of="plan_x 1", **{"properties-1": "{"})
    assert "Pay more" not in said(**rows, **{"properties-1": "{"}, write="1")
    assert "The plan has no version 9" in said(number="9")
    assert "has no customer cus_x" in said(customers="cus_x")
    assert "is no date" in said(first="soon")
    assert "Nobody had" in said(first="2020-01-01", last="2020-01-31")


def test_nothing_of_another_merchant_is_offered_or_priced(shop: Shop) -> None:
    other = make_world()
    client = browser(other, "finance")
    assert shop.plan.encode() not in client.get(PAGE).content
    product = other.product()
    own = other.plan(product, [other.fee_price(product)])
    page = client.post(PAGE, asked(shop, whose=shop.plan, customers=" ".join(shop.customers)))
    assert page.status_code == 200
    assert page.context["asked"].plan.public_id == own
    assert "made" not in page.context
    assert "has no customer" in page.content.decode()
