"""Every screen of the admin opens for those who may see it, and only acts for those who may act."""

import re
from collections.abc import Iterator
from decimal import Decimal

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.catalog.models import Plan, Price
from apps.invoicing.models import Invoice
from apps.kernel.adminsite.base import BillingModelAdmin
from apps.organizations.models import ApiKey, Membership, Organization, User
from apps.subscriptions.models import Subscription, TestClock
from tests.world import World, make_world

pytestmark = pytest.mark.django_db

# Who is signed in, and what they may do.
PLUMBING = re.compile(
    r'django_session|"organizations_user"."id" = \d+ LIMIT|"organizations_membership"."role" AS "role"'
)


@pytest.fixture
def billed(world: World) -> Iterator[World]:
    """A merchant with a customer whose first month is invoiced."""
    product = world.product()
    plan = world.plan(product, [world.fee_price(product), world.usage_price(world.metric(product))])
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.send(customer, "2026-01-03T10:15:00Z", tokens=1_000_000)
    world.advance(clock, "2026-02-02T00:00:00Z")
    return world


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def member(world: World, role: str) -> User:
    user = User.objects.create_user(f"{role}-{world.id}@merchant.test", "correct horse battery", is_staff=True)
    Membership.objects.create(organization=world.merchant, user=user, role=role)
    return user


def screens() -> list[tuple[type, admin.ModelAdmin]]:
    return [
        (model, screen) for model, screen in admin.site._registry.items() if isinstance(screen, BillingModelAdmin)
    ]


def test_every_list_and_page_opens(billed: World) -> None:
    client = browser(billed.owner)
    assert client.get("/admin/").status_code == 200
    for model, _ in screens():
        base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        answer = client.get(reverse(f"{base}_changelist"))
        assert answer.status_code == 200, base
        # A link to the row around a link to another row would be an empty one.
        assert not re.search(rb"<t[hd][^>]*>\s*<a [^>]*>\s*</?a", answer.content), base
        row = model._default_manager.first()
        if row is not None:
            assert client.get(reverse(f"{base}_change", args=[row.pk])).status_code == 200, base
            assert client.get(reverse(f"{base}_history", args=[row.pk])).status_code == 200, base


def test_sign_in_page_opens_for_nobody_in_particular() -> None:
    answer = Client().get("/admin/", follow=True)
    assert answer.status_code == 200
    assert b'name="username"' in answer.content


def test_lists_never_show_another_merchants_rows(billed: World) -> None:
    other = make_world()
    client = browser(other.owner)
    for model, _ in screens():
        base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        client.get(reverse(f"{base}_changelist"))
    for row in (Invoice.objects.first(), Subscription.objects.first(), TestClock.objects.first()):
        assert row is not None
        base = f"admin:{row._meta.app_label}_{row._meta.model_name}"
        answer = client.get(reverse(f"{base}_change", args=[row.pk]))
        assert answer.status_code == 302  # "does not exist, perhaps it was deleted"
        assert row.public_id.encode() not in client.get(reverse(f"{base}_changelist")).content


def test_nobody_edits_a_state_by_hand(billed: World) -> None:
    invoice = Invoice.objects.get(sequence_number=1)
    client = browser(billed.owner)
    url = reverse("admin:invoicing_invoice_change", args=[invoice.pk])
    assert client.post(url, {"status": "PAID"}).status_code == 403
    invoice.refresh_from_db()
    assert invoice.status == "ISSUED"


def test_settling_runs_the_use_case_and_only_on_post(billed: World) -> None:
    invoice = Invoice.objects.get(sequence_number=1)
    url = f"/admin/invoicing/invoice/{invoice.pk}/settle-out-of-band/"
    viewer = browser(member(billed, "viewer"))
    assert viewer.post(url, {"reason": "x", "_form_submitted": "1"}).status_code == 403
    finance = browser(member(billed, "finance"))
    assert b"recorded as received" in finance.get(url).content  # the dialog says what will happen
    invoice.refresh_from_db()
    assert invoice.status == "ISSUED"
    assert finance.post(url, {"reason": "Bank transfer", "_form_submitted": "1"}).status_code == 302
    invoice.refresh_from_db()
    assert invoice.status == "PAID"
    assert invoice.paid_amount == Decimal("51")
    assert invoice.settlement_note == "Bank transfer"
    # Again: a message, no second payment.
    assert finance.post(url, {"reason": "again", "_form_submitted": "1"}).status_code == 302
    invoice.refresh_from_db()
    assert invoice.settlement_note == "Bank transfer"


def test_export_is_for_those_who_may(billed: World) -> None:
    url = reverse("admin:invoicing_invoice_export")
    assert browser(member(billed, "viewer")).get(url).status_code == 403
    assert browser(member(billed, "finance")).get(url).status_code == 200


def test_a_key_is_shown_once_and_can_be_revoked(billed: World) -> None:
    client = browser(member(billed, "engineer"))
    add = reverse("admin:organizations_apikey_add")
    form = {"organization": billed.merchant.pk, "name": "CI", "scopes": ["*"]}
    answer = client.post(add, form, follow=True)
    assert b"sk_test_" in answer.content
    key = ApiKey.objects.get(name="CI")
    page = client.get(reverse("admin:organizations_apikey_change", args=[key.pk]))
    assert page.content.count(b"sk_test_") <= 2  # the prefix alone
    assert (
        client.post(f"/admin/organizations/apikey/{key.pk}/revoke-key/", {"_form_submitted": "1"}).status_code == 302
    )
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_every_action_names_a_permission() -> None:
    for _, screen in screens():
        # Buttons of a page may stand in menus.
        detail = [
            name
            for entry in screen.actions_detail
            for name in (entry["items"] if isinstance(entry, dict) else [entry])
        ]
        for name in (*detail, *screen.actions_list, *screen.actions_row):
            method = getattr(screen, str(name))
            assert method.allowed_permissions, (screen, name)
            assert method.dialog is not None, (screen, name)


def test_no_list_asks_more_than_twelve_questions(billed: World) -> None:
    """However many rows a list shows; a question a row would show here as two more."""
    for _ in range(2):
        product = billed.product()
        billed.api.post("/v0/features", {"key": "sso", "name": "SSO", "merchantId": billed.id, "productId": product})
        prices = [billed.fee_price(product), billed.usage_price(billed.metric(product, groupBy={"model": "$.model"}))]
        plan, customer = billed.plan(product, prices), billed.customer()
        clock = billed.clock("2026-01-01T00:00:00Z")
        subscription = billed.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
        billed.pay(subscription["payment"]["invoiceId"])
        billed.send(customer, "2026-01-03T10:15:00Z", tokens=5, model="m")
        billed.advance(clock, "2026-02-02T00:00:00Z")
    client = browser(billed.owner)
    asked = {}
    for model, _ in screens():
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        client.get(url)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url).status_code == 200
        # The session and the person are the same on every page.
        asked[url] = len([q for q in queries if not PLUMBING.search(str(q["sql"]))])
    # Live totals take some more (pauses, timelines, late usage, coupons, allowances, taxes), for all rows.
    assert asked.pop("/admin/invoicing/invoice/") <= 32
    assert {url: count for url, count in asked.items() if count > 12} == {}


def test_filters_never_name_another_merchants_rows(billed: World) -> None:
    other = make_world()
    Organization.objects.filter(pk=billed.merchant.pk).update(name="Secretive Ltd")
    Plan.objects.update(name="Secret plan")
    Price.objects.update(invoice_display_name="Secret price")
    client = browser(other.owner)
    for model, screen in screens():
        base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        shown = [client.get(reverse(f"{base}_changelist")).content]
        if screen.add_right is not None:
            shown.append(client.get(reverse(f"{base}_add")).content)
        assert b"Secret" not in b"".join(shown), base


def test_a_plan_saved_as_it_is_stays_as_it_is(billed: World) -> None:
    plan = Plan.objects.get()
    client = browser(billed.owner)
    url = reverse("admin:catalog_plan_change", args=[plan.pk])
    form = client.get(url).context["adminform"].form
    sent = {name: value for name, value in form.initial.items() if value is not None and value is not False}
    kept = list(plan.default_version.slots.order_by("position").values_list("price_id", flat=True))
    # A browser sends the chosen prices in the order of the list, not of the plan.
    sent["prices"] = sorted(sent["prices"], reverse=True)
    answer = client.post(url, sent)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    plan.refresh_from_db()
    assert plan.default_version.number == 1
    extra = billed.fee_price(plan.product.public_id, "5.00")
    sent["prices"] = [Price.objects.get(public_id=extra).pk, *sent["prices"]]
    assert client.post(url, sent).status_code == 302
    plan.refresh_from_db()
    assert plan.default_version.number == 2
    now = list(plan.default_version.slots.order_by("position").values_list("price_id", flat=True))
    assert now == [*kept, sent["prices"][0]]


def test_a_period_that_is_not_over_cannot_be_closed(billed: World) -> None:
    client = browser(billed.owner)
    open_one = Invoice.objects.get(status="ACTIVE")
    page = client.get(reverse("admin:invoicing_invoice_change", args=[open_one.pk]))
    assert b"Close period now" not in page.content
    Invoice.objects.filter(pk=open_one.pk).update(status="CLOSING")
    page = client.get(reverse("admin:invoicing_invoice_change", args=[open_one.pk]))
    assert b"Close period now" in page.content


def test_an_empty_list_says_what_would_be_here(world: World) -> None:
    client = browser(world.owner)
    page = client.get(reverse("admin:invoicing_invoice_changelist")).content.decode()
    assert "No invoices yet" in page
    assert "An invoice is opened with each period" in page
    assert "Create a new item" not in page
    assert [model for model, screen in screens() if not getattr(screen, "empty_text", "")] == []
    # Not the same as finding nothing, which offers the way back.
    found = client.get(reverse("admin:catalog_product_changelist"), {"q": "nothing like it"}).content.decode()
    assert "Nothing fits" in found
    assert "Show all" in found


def test_pages_write_money_as_money(billed: World) -> None:
    client = browser(billed.owner)
    invoice = Invoice.objects.get(sequence_number=1)
    line = invoice.lines.get(kind="metered")
    page = client.get(reverse("admin:invoicing_invoiceline_change", args=[line.pk])).content.decode()
    assert "$2.00" in page
    assert "$0.000002" in page
    assert "1. price the quantity" in page
    assert "2.000000000" not in page
    paper = client.get(reverse("admin:invoicing_invoice_change", args=[invoice.pk])).content.decode()
    assert '<td class="num">$49.00</td><td class="num">$49.00</td>' in paper
    # Due on a day; the hour of the issue has nothing to do with it.
    rows = client.get(reverse("admin:invoicing_invoice_changelist")).content.decode()
    assert re.search(r"field-due[^>]*>\s*2026-02-01\s*<", rows)
