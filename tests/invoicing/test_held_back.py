"""One subscription that cannot go on is held back and named; after its cause is repaired its page lets it go on."""

import pytest
from django.contrib.messages import get_messages
from django.test import Client

from apps.subscriptions.models import Subscription
from tests.test_admin import browser, member
from tests.world import World

pytestmark = pytest.mark.django_db

START = "2026-01-01T00:00:00Z"


def press(client: Client, row: Subscription) -> str:
    answer = client.post(f"/admin/subscriptions/subscription/{row.pk}/resume-work/", {"_form_submitted": "1"})
    assert answer.status_code == 302
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


def test_what_is_held_back_goes_on_from_its_page_where_it_stopped(world: World) -> None:
    product = world.product()
    plan = world.plan(product, [world.usage_price(world.metric(product))])
    clock = world.clock(START)
    broken, other = (world.subscribe(world.customer(), plan, at=START, clock=clock)["id"] for _ in range(2))
    Subscription.objects.filter(public_id=broken).update(timezone="No/Where")
    world.advance(clock, "2026-03-02T00:00:00Z")
    assert [len(world.invoices(key)) for key in (broken, other)] == [1, 3]
    row = Subscription.objects.get(public_id=broken)
    client = browser(member(world, "finance"))
    listed = client.get("/admin/subscriptions/subscription/?parked_reason__isempty=0").content.decode()
    assert "held back" in listed
    assert "No/Where" in client.get(f"/admin/subscriptions/subscription/{row.pk}/change/").content.decode()

    # Let go on without a repair, it is held back again, and nothing is half done.
    assert "next run" in press(client, row)
    world.advance(clock, "2026-03-03T00:00:00Z")
    row.refresh_from_db()
    assert row.parked_reason
    assert len(world.invoices(broken)) == 1

    Subscription.objects.filter(pk=row.pk).update(timezone="UTC")
    press(client, row)
    assert "not held back" in press(client, row)
    world.advance(clock, "2026-03-04T00:00:00Z")
    bills = [
        [(i["status"], i["periodStart"], i["grandTotal"]) for i in world.invoices(key)] for key in (broken, other)
    ]
    assert bills[0] == bills[1]
