"""Beginning anew in a test environment."""

from collections.abc import Iterable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection, models
from django.test import Client
from django.urls import reverse

from apps.catalog.models import Coupon, Plan
from apps.customers.models import Customer
from apps.documents.models import InvoiceDocument
from apps.invoicing.models import Invoice, NumberSeries
from apps.metering.models import Dimension, MeterEvent, Subject, UsageWindow
from apps.organizations.models import ApiKey, Organization, User
from apps.subscriptions.models import Subscription
from config.resetting import CATALOG, TRIED, _models, _path
from tests.scenarios.lives import Shop
from tests.test_admin import member
from tests.world import World, make_world

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


def counts(world: World, labels: Iterable[str]) -> dict[str, int]:
    """Give how many rows of each model a merchant has."""
    found = {}
    for model in _models(labels):
        path = _path(model, Organization)
        if path is not None and model not in (Subject, Dimension):
            manager: models.Manager[Any] = model._base_manager
            found[model.__name__] = manager.filter(**{path: world.merchant.pk}).count()
    return {name: count for name, count in found.items() if count}


class Tried(Shop):
    """A merchant whose two customers did a bit of everything."""

    def __init__(self, world: World) -> None:
        super().__init__(world, JANUARY)
        feature = {"key": "tokens", "name": "Tokens", "merchantId": world.id, "productId": self.product}
        right = world.api.post("/v0/features", {**feature, "type": "metered"})["id"]
        attached = {"featureId": right, "entitlementTemplate": {"issueAfterReset": 2, "isSoftLimit": True}}
        self.pro = self.plan("Pro", "49.00", usage_terms={"feature": attached})
        coupon = {"merchantId": world.id, "code": "X", "name": "X", "percentageOff": "0.1", "duration": "forever"}
        world.api.post("/v0/coupons", coupon)
        self.customers = [world.customer(externalId=f"crm-{number}") for number in range(2)]
        self.subscriptions = [self.start(self.pro, JANUARY, customer=customer) for customer in self.customers]
        for customer, subscription in zip(self.customers, self.subscriptions, strict=True):
            world.api.post(f"/v0/subscriptions/{subscription}/coupons", {"code": "X"})
            world.send(customer, "2026-01-05T00:00:00Z", tokens=5, key=f"first-{customer}")
            world.api.post("/v0/taxExemptions", {"customerId": customer, "reason": "x"})
        self.advance("2026-03-02T00:00:00Z")
        for subscription in self.subscriptions:
            zero = world.invoices(subscription)[0]["id"]
            world.api.call("get", f"/v2/invoices/{zero}/pdf")
            world.api.post(f"/v2/invoices/{zero}/creditNotes", {"amount": "1.00", "reason": "x"})
        with connection.cursor() as cursor:
            # What a commit would have checked.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")

    def reset(self, expect: int = 204, **body: Any) -> None:
        answer = self.world.api.call("post", f"/v0/merchants/{self.world.id}/reset", body)
        assert answer.status_code == expect, answer.content


def test_a_merchant_begins_anew_with_its_catalog(world: World) -> None:
    tried, other = Tried(world), Tried(make_world())
    untouched = counts(other.world, (*TRIED, "customers", *CATALOG))
    assert InvoiceDocument.objects.filter(organization=world.merchant).exists()
    tried.reset(scope="merchant", keepCatalog=True)
    assert counts(world, (*TRIED, "customers")) == {}
    assert counts(other.world, (*TRIED, "customers", *CATALOG)) == untouched
    assert ApiKey.objects.filter(organization=world.merchant).exists()
    assert Coupon.objects.get(organization=world.merchant).redemption_count == 0
    tried.reset(scope="merchant", keepCatalog=True)
    # The same keys, names and numbers are new again.
    tried.clock = world.clock(JANUARY)
    customer = world.customer(externalId="crm-0")
    subscription = tried.start(tried.pro, JANUARY, customer=customer)
    world.send(customer, "2026-01-05T00:00:00Z", tokens=5, key=f"first-{tried.customers[0]}")
    tried.advance("2026-02-02T00:00:00Z")
    assert tried.totals(subscription) == ["49.00", "52.00"]
    assert NumberSeries.objects.get(organization=world.merchant, kind="invoice").last_number == 2


def test_a_merchant_begins_anew_from_nothing(world: World) -> None:
    tried, other = Tried(world), Tried(make_world())
    untouched = counts(other.world, (*TRIED, "customers", *CATALOG))
    tried.reset(scope="merchant")
    assert counts(world, (*TRIED, "customers", *CATALOG)) == {}
    assert counts(other.world, (*TRIED, "customers", *CATALOG)) == untouched
    assert not Plan.objects.filter(organization=world.merchant).exists()


def test_a_customer_begins_anew_and_the_others_go_on(world: World) -> None:
    tried = Tried(world)
    mine, other = tried.customers
    before = [invoice["grandTotal"] for invoice in world.invoices(tried.subscriptions[1])]
    tried.reset(scope="customer", customerId=mine)
    assert Customer.objects.filter(public_id=mine, deleted_at__isnull=True).exists()
    assert [row.customer.public_id for row in Subscription.objects.filter(organization=world.merchant)] == [other]
    assert {row.customer.public_id for row in Invoice.objects.filter(organization=world.merchant)} == {other}
    events = MeterEvent.objects.filter(organization_id=world.merchant.pk)
    assert [event.idempotency_key for event in events] == [f"first-{other}"]
    assert UsageWindow.objects.filter(organization_id=world.merchant.pk).count() == 1
    assert [invoice["grandTotal"] for invoice in world.invoices(tried.subscriptions[1])] == before
    assert Coupon.objects.get(organization=world.merchant).redemption_count == 1
    tried.clock = world.clock(JANUARY)
    again = tried.start(tried.pro, JANUARY, customer=mine)
    world.send(mine, "2026-01-05T00:00:00Z", tokens=5, key=f"first-{mine}")
    tried.advance("2026-02-02T00:00:00Z")
    assert tried.totals(again) == ["49.00", "52.00"]


def test_only_ones_own_test_environment(world: World) -> None:
    tried = Tried(world)
    other = make_world()
    assert other.api.call("post", f"/v0/merchants/{world.id}/reset", {"scope": "merchant"}).status_code == 404
    foreign = {"scope": "customer", "customerId": tried.customers[0]}
    assert other.api.call("post", f"/v0/merchants/{other.id}/reset", foreign).status_code == 404
    tried.reset(expect=400)
    tried.reset(expect=400, scope="everything")
    tried.reset(expect=400, scope="customer")
    tried.reset(expect=400, scope="merchant", customerId=tried.customers[0])
    Organization.objects.filter(pk=world.merchant.pk).update(environment="live")
    before = counts(world, (*TRIED, "customers", *CATALOG))
    tried.reset(expect=403, scope="merchant")
    assert counts(world, (*TRIED, "customers", *CATALOG)) == before


def press(world: World, row: Organization | Customer, person: User | None = None, **data: str) -> str:
    """Send the dialog of a page; give what is said then."""
    client = Client()
    client.force_login(person or world.owner)
    address = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_reset", args=[row.pk])
    if not data:
        return client.get(address).content.decode()
    return client.post(address, {"_form_submitted": "1", **data}, follow=True).content.decode()


def test_a_merchant_begins_anew_at_a_button_that_says_what_goes(world: World) -> None:
    Tried(world)
    row = world.merchant
    asked = press(world, row)
    for words, count in (("Customers", 2), ("Subscriptions", 2), ("Meter events", 2), ("Credit notes", 2)):
        assert f'<td>{words}</td><td class="num">{count}</td>' in asked
    assert "<td>Plans</td>" not in asked
    without = press(world, row, preview="1", name="")
    assert "<td>Plans</td>" in without
    everything = counts(world, (*TRIED, "customers", *CATALOG))
    assert "nothing is deleted" in press(world, row, keep_catalog="on", name="Somebody else")
    assert counts(world, (*TRIED, "customers", *CATALOG)) == everything
    assert "the catalog is kept" in press(world, row, keep_catalog="on", name=row.name)
    assert counts(world, (*TRIED, "customers")) == {}
    assert Plan.objects.filter(organization=row).exists()
    assert "the catalog as well" in press(world, row, name=row.name)
    assert counts(world, (*TRIED, "customers", *CATALOG)) == {}
    assert "There is nothing to delete." in press(world, row)
    assert LogEntry.objects.filter(object_id=str(row.pk), change_message__contains="everything they did").count() == 2


def test_a_customer_begins_anew_at_a_button(world: World) -> None:
    tried = Tried(world)
    row = Customer.objects.get(public_id=tried.customers[0])
    asked = press(world, row)
    for words, count in (("Subscriptions", 1), ("Meter events", 1), ("Invoices", 4)):
        assert f'<td>{words}</td><td class="num">{count}</td>' in asked
    assert "the customer stays" in press(world, row, name=row.consumer.name)
    assert [one.customer.public_id for one in Subscription.objects.filter(organization=world.merchant)] == [
        tried.customers[1]
    ]


def test_the_button_is_for_owners_of_test_environments(world: World) -> None:
    tried = Tried(world)
    row, customer = world.merchant, Customer.objects.get(public_id=tried.customers[0])
    before = counts(world, (*TRIED, "customers", *CATALOG))
    for person in [member(world, role) for role in ("finance", "engineer", "support")]:
        for page in (row, customer):
            assert "deleted" not in press(world, page, person, name=str(page))
    assert "deleted" not in press(world, row, make_world().owner, name=row.name)
    consumer = customer.consumer
    assert "Only an owner of a merchant" in press(world, consumer, name=consumer.name)
    Organization.objects.filter(pk=row.pk).update(environment="live")
    assert "Only a test environment can be reset" in press(world, row, name=row.name)
    assert "Only a test environment can be reset" in press(world, customer, name=consumer.name)
    assert counts(world, (*TRIED, "customers", *CATALOG)) == before
    client = Client()
    client.force_login(world.owner)
    for page in (row, customer):
        change = reverse(f"admin:{page._meta.app_label}_{page._meta.model_name}_change", args=[page.pk])
        assert "/reset" not in client.get(change).content.decode()
