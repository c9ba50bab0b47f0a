"""Quantities and prices of a subscription, changed by hand on its page."""

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client

from apps.invoicing.models import InvoiceLine
from apps.subscriptions.models import Subscription, SubscriptionInterval, SubscriptionIntervalChange
from tests.invoicing.test_quantity_changes import Team
from tests.test_admin import browser, member
from tests.world import World

pytestmark = pytest.mark.django_db

FEBRUARY, MARCH = "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"


@pytest.fixture
def team(world: World) -> Team:
    team = Team(world)
    team.advance("2026-01-11T00:00:00Z")
    return team


@pytest.fixture
def client(world: World) -> Client:
    return browser(member(world, "finance"))


def page(team: Team) -> str:
    return f"/admin/subscriptions/subscription/{Subscription.objects.get(public_id=team.id).pk}/"


def press(client: Client, team: Team, button: str, **data: Any) -> str:
    answer = client.post(f"{page(team)}{button}/", {**data, "_form_submitted": "1"})
    assert answer.status_code == 302, answer.content
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


def ask(client: Client, team: Team, button: str, **data: Any) -> str:
    """Ask a dialog what it would bill."""
    answer = client.post(f"{page(team)}{button}/", {**data, "_form_submitted": "1", "preview": "1"})
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_quantity_is_previewed_changed_and_undone(team: Team, client: Client) -> None:
    asked = {"items": "seats 5", "timing": "now", "effective_at": ""}
    said = ask(client, team, "change-quantity", **asked)
    assert "$65.10" in said
    assert "$221.10" in said
    assert not SubscriptionIntervalChange.objects.exists()
    assert "changed" in press(client, team, "change-quantity", **asked)
    assert InvoiceLine.objects.filter(reference__startswith="extended:").exists()
    assert "so already" in press(client, team, "change-quantity", **asked)
    assert "lies ahead" in press(client, team, "undo-quantity-change")
    press(client, team, "change-quantity", **{**asked, "items": "seats 9", "timing": "period_end"})
    assert "taken back" in press(client, team, "undo-quantity-change")
    made = SubscriptionIntervalChange.objects.order_by("pk")
    assert [row.made_by.startswith("finance-") for row in made] == [True, True, True]


def test_what_does_not_fit_is_said_in_words(team: Team, client: Client) -> None:
    asked = {"timing": "now", "effective_at": ""}
    for pressed in (press, ask):
        assert "cannot be chosen" in pressed(client, team, "change-quantity", items="tokens 5", **asked)
    price = {"price": "seats", "unit_price": "20", "start": FEBRUARY, "end": "", "reason": "commercial"}
    assert "no such price" in press(client, team, "schedule-price", **{**price, "price": "x"})
    assert "instant" in press(client, team, "schedule-price", **{**price, "start": "soon"})
    said = press(client, team, "schedule-price", **{**price, "start": "2026-01-20T00:00:00Z"})
    assert "exists would change" in said
    assert not SubscriptionIntervalChange.objects.exists()


def test_a_ramp_is_scheduled_step_by_step(team: Team, client: Client) -> None:
    step = {"price": "seats", "end": "", "reason": "commercial", "description": "Ramp"}
    # In any order: each holds up to the next.
    press(client, team, "schedule-price", unit_price="29", start=MARCH, **step)
    assert "$61.10" in ask(client, team, "schedule-price", unit_price="29", start=FEBRUARY, **step)
    press(client, team, "schedule-price", unit_price="28", start=FEBRUARY, **step)
    press(client, team, "schedule-price", unit_price="27.5", start=FEBRUARY, **step)
    team.change("4", timing="period_end")
    html = client.get(f"{page(team)}change/").content.decode()
    for shown in ("$27.50", "$29.00", "<td>4</td>", "as the catalogue says"):
        assert shown in html
    assert [(row.unit_price, row.span.upper is None) for row in SubscriptionInterval.objects.order_by("span")] == [
        (27.5, False), (29, True),
    ]  # fmt: skip
    team.advance("2026-03-02T00:00:00Z")
    # Four seats: at 27.50 in February, at 29.00 in March; and a backup each month.
    assert team.totals()[:3] == ["67.00", "113.10", "119.10"]
