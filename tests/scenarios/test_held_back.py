"""One subscription whose work cannot be done is held back with its reason; the others are billed."""

from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from apps.invoicing.models import Invoice
from apps.kernel.errors import ConflictError
from apps.subscriptions.models import Subscription
from tests.scenarios.lives import Shop
from tests.world import World

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


def test_it_is_seen_repaired_and_resumed_from_its_page(world: World) -> None:
    shop = Shop(world, JANUARY)
    plan = shop.plan("Pro", "49.00")
    customers = [world.customer() for _ in range(3)]
    first, bad, last = (shop.start(plan, JANUARY, customer=customer) for customer in customers)
    for customer in customers:
        world.send(customer, "2026-01-20T00:00:00Z", tokens=5)
    # A time zone that the machine's calendar does not know any more.
    row = Subscription.objects.get(public_id=bad)
    Subscription.objects.filter(pk=row.pk).update(timezone="No/Where")
    shop.advance("2026-02-10T00:00:00Z")
    assert shop.totals(first) == shop.totals(last) == ["49.00", "54.00"]

    # Everybody's lists go on, and say what is wrong with the one.
    listed = world.api.get(f"/v2/invoices?merchantId={world.id}&limit=50")["data"]
    broken = {row["subscriptionId"] for row in listed if "No/Where" in (row.get("failureReason") or "")}
    assert broken == {bad}
    assert {row["subscriptionId"] for row in listed} == {first, bad, last}
    browser = Client()
    browser.force_login(world.owner)
    assert browser.get("/admin/invoicing/invoice/").status_code == 200
    opened = Invoice.objects.get(subscription=row, status="ACTIVE")
    page = browser.get(reverse("admin:invoicing_invoice_change", args=[opened.pk]))
    assert "No/Where" in page.content.decode()
    held = browser.get("/admin/subscriptions/subscription/?parked_reason__isempty=0").content.decode()
    assert bad in held
    assert first not in held
    page = browser.get(reverse("admin:subscriptions_subscription_change", args=[row.pk])).content.decode()
    assert "No/Where" in page
    assert "Resume work" in page

    # Repaired, but not resumed: it still waits.
    Subscription.objects.filter(pk=row.pk).update(timezone="UTC")
    shop.advance("2026-02-11T00:00:00Z")
    assert shop.totals(bad) == ["49.00"]
    resume = reverse("admin:subscriptions_subscription_resume_work", args=[row.pk])
    assert browser.post(resume, {"_form_submitted": "1"}).status_code == 302
    row.refresh_from_db()
    assert row.parked_reason == ""
    shop.advance("2026-03-02T00:00:00Z")
    # Nothing is lost and nothing doubled: two months, as the others have.
    assert shop.totals(bad) == shop.totals(first) == ["49.00", "54.00", "49.00"]
    assert sum(Decimal(total) for total in shop.totals(bad)) == Decimal("152.00")
    # Twice is refused with a reason.
    browser.post(resume, {"_form_submitted": "1"})
    shop.advance("2026-03-03T00:00:00Z")
    assert shop.totals(bad) == ["49.00", "54.00", "49.00"]


def test_a_list_of_one_and_its_page_say_why_it_has_no_totals(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(world, JANUARY)
    customer = world.customer()
    subscription = shop.start(shop.plan("Pro", "49.00"), JANUARY, customer=customer)

    def gone(invoices: list[Invoice], **_: object) -> None:
        if invoices:
            raise ConflictError("Its events are gone.", code="RAW_EVENTS_GONE")

    monkeypatch.setattr("apps.invoicing.selectors.invoices.target_lines", gone)
    listed = world.api.get(f"/v2/invoices?subscriptionId={subscription}&status=ACTIVE")["data"]
    assert [row["failureReason"] for row in listed] == [
        "It cannot be calculated now. ConflictError: Its events are gone."
    ]
    browser = Client()
    browser.force_login(world.owner)
    opened = Invoice.objects.get(status="ACTIVE")
    for page in ("/admin/invoicing/invoice/", reverse("admin:invoicing_invoice_change", args=[opened.pk])):
        assert browser.get(page).status_code == 200
    # Who asks for the one alone is refused with the reason.
    assert world.api.get(f"/v2/invoices/{opened.public_id}", expect=409)["code"] == "RAW_EVENTS_GONE"
    opened.refresh_from_db()
    assert opened.failure_reason == ""
