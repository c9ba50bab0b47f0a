"""A subscriber's own page behind a signed link that expires."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from apps.documents.api import portal as module
from apps.documents.services.rendering import get_pdf
from apps.invoicing.models import Invoice
from apps.invoicing.selectors.invoices import with_neighbours
from apps.kernel.clock import wall_now
from apps.kernel.time import parse_instant
from apps.organizations.models import Organization
from tests.documents.papers import text_of
from tests.world import World, make_world

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def _no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "limit_rate", lambda **_: None)


def subscribed(world: World) -> str:
    product = world.product()
    plan = world.plan(product, [world.fee_price(product), world.usage_price(world.metric(product), "1")])
    clock, customer = world.clock(JANUARY), world.customer()
    made = world.subscribe(customer, plan, at=JANUARY, clock=clock)
    world.pay(made["payment"]["invoiceId"])
    world.send(customer, "2026-01-05T00:00:00Z", tokens=7)
    world.advance(clock, "2026-01-20T00:00:00Z")
    return str(made["id"])


def link(world: World, subscription: str, **body: Any) -> dict[str, Any]:
    found: dict[str, Any] = world.api.post(f"/v0/subscriptions/{subscription}/portal", body, expect=200)
    return found


def path_of(made: dict[str, Any]) -> str:
    return "/portal/" + str(made["url"]).split("/portal/")[1]


def test_the_page_shows_what_is_used_and_billed(world: World) -> None:
    subscription = subscribed(world)
    made = link(world, subscription)
    assert made["object"] == "subscriptionPortal"
    life = parse_instant(made["expiresAt"]) - wall_now()
    assert timedelta(minutes=9) < life <= timedelta(minutes=10)
    answer = Client().get(path_of(made))
    page = answer.content.decode()
    assert answer.status_code == 200
    assert (answer["Cache-Control"], answer["Referrer-Policy"]) == ("no-store", "no-referrer")
    number = Invoice.objects.get(subscription__public_id=subscription, sequence_number=0).number
    for text in ("$7.00", "$49.00", str(number), "Gateway" if "Gateway" in page else "Pro"):
        assert text in page
    pdf = page.split('href="/portal/')[1].split('"')[0]
    document = Client().get(f"/portal/{pdf}")
    assert (document.status_code, document.content[:4]) == (200, b"%PDF")


def test_its_days_are_those_of_the_documents_and_its_sums_add_up(world: World) -> None:
    Organization.objects.filter(pk=world.merchant.pk).update(timezone="Asia/Tokyo")
    product = world.product()
    plan = world.plan(product, [world.fee_price(product, "49.00")], defaultTaxRate=10, billingDay=1)
    # In Tokyo the year has begun already.
    clock = world.clock("2025-12-31T15:00:00Z")
    made = world.subscribe(world.customer(), plan, at="2025-12-31T15:00:00Z", clock=clock)
    world.pay(made["payment"]["invoiceId"])
    page = Client().get(path_of(link(world, made["id"]))).content.decode()
    assert "2026-01-01 – 2026-01-31" in page
    assert "<td>2026-01-01</td>" in page
    for said in ("$49.00", "$4.90", "$53.90"):
        assert said in page
    number = Invoice.objects.get(subscription__public_id=made["id"], sequence_number=0)
    text = text_of(get_pdf(with_neighbours(Invoice.objects.filter(pk=number.pk)).get()))
    assert "2026-01-01 – 2026-01-31" in text


def test_another_subscription_is_out_of_reach(world: World) -> None:
    mine, other = subscribed(world), subscribed(make_world())
    path = path_of(link(world, mine))
    foreign = Invoice.objects.get(subscription__public_id=other, sequence_number=0).public_id
    assert Client().get(f"{path}/invoices/{foreign}.pdf").status_code == 404
    opened = Invoice.objects.get(subscription__public_id=mine, status="ACTIVE").public_id
    assert Client().get(f"{path}/invoices/{opened}.pdf").status_code == 404
    world.api.post(f"/v0/subscriptions/{other}/portal", {}, expect=404)


def test_a_link_that_was_changed_or_is_over_opens_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = path_of(link(world, subscribed(world), expiresIn="PT1H"))
    head, token = path.rsplit("/", 1)
    for broken in (token[:-1] + ("A" if token[-1] != "A" else "B"), "x", token + "x", "e30:1:x"):
        assert Client().get(f"{head}/{broken}").status_code == 404
    assert Client().post(path).status_code == 405
    later = wall_now() + timedelta(hours=1)
    monkeypatch.setattr(module, "wall_now", lambda: later)
    assert Client().get(path).status_code == 410
    assert Client().get(f"{path}/invoices/inv_1.pdf").status_code == 410


@pytest.mark.parametrize("text", ["P8D", "P1M", "P0D", "soon", "PT0S", 7])
def test_lives_that_are_none_or_too_long_are_refused(world: World, text: Any) -> None:
    subscription = subscribed(world)
    refused = world.api.post(f"/v0/subscriptions/{subscription}/portal", {"expiresIn": text}, expect=400)
    assert refused["errors"][0]["field"] == "expiresIn"
    assert link(world, subscription, expiresIn="P7D")["url"]
