"""A flat metric made, chosen and changed by hand."""

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from apps.catalog.models import BillableMetric, Product
from apps.invoicing.models import InvoiceLine
from apps.kernel.clock import wall_now
from apps.subscriptions.models import Subscription
from tests.test_admin import browser
from tests.test_admin_adding import add_subscription, problems
from tests.world import World

pytestmark = pytest.mark.django_db

METRIC = reverse("admin:catalog_billablemetric_add")


@pytest.fixture
def client(world: World) -> Client:
    return browser(world.owner)


def add_metric(client: Client, world: World, **changes: Any) -> Any:
    product = Product.objects.get(public_id=world.product())
    form = {
        "organization": world.merchant.pk, "product": product.pk, "name": "Active users", "unit": "users",
        "mode": "flat", "aggregation": "SUM", "event_type": "", "value_property": "", "group_by": "{}",
        "rounding_function": "", "rounding_precision": "0", "description": "", "tax_code": "", **changes,
    }  # fmt: skip
    return client.post(METRIC, form)


def test_users_are_chosen_and_changed_on_pages(world: World, client: Client) -> None:
    assert add_metric(client, world).status_code == 302
    metric = BillableMetric.objects.get()
    assert (metric.mode, metric.event_type) == ("flat", "")
    page = client.get(reverse("admin:catalog_billablemetric_change", args=[metric.pk]))
    assert page.status_code == 200
    assert "mode" not in page.context["adminform"].form.fields
    assert "Flat" in client.get("/admin/catalog/billablemetric/?mode__exact=flat").content.decode()

    price = {
        "invoiceDisplayName": "Users", "paymentTerm": "in_advance", "model": "standard",
        "properties": {"unitPrice": "10.00"}, "billableMetricId": metric.public_id,
    }  # fmt: skip
    plan = world.plan(metric.product.public_id, [world.api.post("/v0/prices", price)["id"]])
    items = f"{metric.public_id} 5"
    refused = add_subscription(client, world.customer(), plan, wall_now(), items="bm_unknown 5")
    assert "no such price" in str(problems(refused))
    assert add_subscription(client, world.customer(), plan, wall_now(), items=items).status_code == 302
    subscription = Subscription.objects.get()
    line = InvoiceLine.objects.get()
    assert (line.quantity, line.subtotal) == (5, 50)

    world.pay(world.invoices(subscription.public_id)[0]["id"])
    path = f"/admin/subscriptions/subscription/{subscription.pk}/"
    assert ">5<" in client.get(f"{path}change/").content.decode().replace(" ", "").replace("\n", "")
    asked = {"items": f"{metric.public_id} 8", "timing": "period_end", "effective_at": "", "_form_submitted": "1"}
    answer = client.post(f"{path}change-quantity/", asked)
    assert "changed" in " ".join(str(message) for message in get_messages(answer.wsgi_request))


def test_what_counts_events_is_refused_of_a_flat_metric(world: World, client: Client) -> None:
    assert "event_type" in problems(add_metric(client, world, event_type="call"))
    assert "value_property" in problems(add_metric(client, world, value_property="$.x"))
    assert "event_type" in problems(add_metric(client, world, mode="usage", value_property="$.x"))
    assert not BillableMetric.objects.exists()
