"""Prices of every model are made and read in the admin."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.catalog.models import BillableMetric, Feature, Price, PriceRevision
from apps.rating.price_models import REGISTRY
from tests.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(world: World) -> Client:
    found = Client()
    found.force_login(world.owner)
    return found


def form_of(world: World, model: str, properties: dict[str, Any]) -> dict[str, str]:
    metric = world.metric(world.product(), groupBy={"region": "$.region"})
    return {
        "organization": str(world.merchant.pk),
        "invoice_display_name": "Units",
        "model": model,
        "properties": json.dumps(properties),
        "payment_term": "in_arrears",
        "billing_cadence": "",
        "quantity": "1",
        "supply_scope": "IN_SCOPE",
        "rate_type": "amount",
        "metric": str(BillableMetric.objects.get(public_id=metric).pk),
        "entitlement_template": "",
    }


@pytest.mark.parametrize("model", sorted(REGISTRY))
@pytest.mark.parametrize("is_grouped", [False, True])
def test_a_price_of_any_model_is_made_in_its_form(world: World, client: Client, model: str, is_grouped: bool) -> None:
    terms = dict(REGISTRY[model].EXAMPLE)
    properties = dict(terms)
    if is_grouped:
        properties["groups"] = [{"match": {"region": "eu"}, "properties": terms}]
    add = reverse("admin:catalog_price_add")
    assert "freeEvents" in client.get(add).content.decode()  # every model's example stands beside the field
    answer = client.post(add, form_of(world, model, properties))
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    price = Price.objects.get()
    assert (price.model, price.properties) == (model, properties)
    assert PriceRevision.objects.get().properties == properties
    listed = client.get(reverse("admin:catalog_price_changelist")).content.decode()
    assert not is_grouped or "region eu: " in listed
    assert client.get(reverse("admin:catalog_price_change", args=[price.pk])).status_code == 200


def test_what_is_wrong_stands_at_its_field(world: World, client: Client) -> None:
    wrong = form_of(world, "percentage", {"percentage": "11", "groups": [{"match": {"plan": "x"}, "properties": {}}]})
    answer = client.post(reverse("admin:catalog_price_add"), wrong)
    errors = answer.context["adminform"].form.errors
    assert errors == {
        "properties": [
            "properties.percentage: Must be at most 10.",
            "properties.groups.0.properties.percentage: This field is required.",
        ]
    }
    assert not Price.objects.exists()


def test_a_template_in_the_form_is_exact(world: World, client: Client) -> None:
    feature = {"key": "tokens", "name": "Tokens", "merchantId": world.id, "type": "metered"}
    form = form_of(world, "standard", {"unitPrice": "1"})
    product = BillableMetric.objects.get().product
    assert product is not None
    made = world.api.post("/v0/features", {**feature, "productId": product.public_id})["id"]
    form["feature"] = str(Feature.objects.get(public_id=made).pk)
    form["entitlement_template"] = '{"issueAfterReset": 123456789012.000000001}'
    answer = client.post(reverse("admin:catalog_price_add"), form)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    price = Price.objects.get()
    assert price.entitlement_template == {"issueAfterReset": Decimal("123456789012.000000001")}
    page = client.get(reverse("admin:catalog_price_change", args=[price.pk])).content.decode()
    assert "123456789012.000000001" in page
