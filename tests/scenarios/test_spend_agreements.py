"""Commitments and caps agreed with one subscriber, over the API and in the admin."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.catalog.models import Plan, Price
from apps.invoicing.models import Invoice, SpendAgreement
from apps.outbox.models import OutboxEvent
from apps.subscriptions.models import Subscription
from tests.concurrency import at_once
from tests.scenarios.commitments import JANUARY, Case, agree
from tests.world import World, at

pytestmark = pytest.mark.django_db


def test_what_is_agreed_takes_the_place_of_the_plans(world: World) -> None:
    case = Case(world, minimumCommitment={"amount": "100.00"})
    # February and March at 40.00, then the plan's again; a cap that the plan does not have, from March on.
    agree(case, amount="40.00", effectiveFrom="2026-02-01T00:00:00Z", effectiveTo="2026-04-01T00:00:00Z")
    agree(case, type="spendCap", amount="70.00", effectiveFrom="2026-03-01T00:00:00Z", priceId=case.usage)
    for month in range(1, 5):
        case.use(f"2026-{month:02d}-10T10:00:00Z", 30 * month)
    case.advance("2026-05-02T00:00:00Z")
    assert [case.lines(n) for n in range(1, 5)] == [
        [("Tokens", "30.00"), ("Minimum commitment", "70.00")],
        [("Tokens", "60.00")],
        [("Tokens", "90.00"), ("Spend cap: Tokens", "-20.00")],
        [("Tokens", "120.00"), ("Spend cap: Tokens", "-50.00"), ("Minimum commitment", "30.00")],
    ]


def test_a_year_is_agreed_and_ends_on_its_date(world: World) -> None:
    case = Case(world)
    # From 1 March on for ten months of a year, by the second: 306 of 365 days of 3,650.00.
    agree(
        case,
        amount="3650.00",
        cadence="P1Y",
        effectiveFrom="2026-03-01T00:00:00Z",
        effectiveTo="2027-01-01T00:00:00Z",
    )
    for month in range(1, 13):
        case.use(f"2026-{month:02d}-10T10:00:00Z", 100)
    case.advance("2027-03-02T00:00:00Z")
    trued_up = {n: case.lines(n)[1:] for n in range(1, 15) if case.lines(n)[1:]}
    assert trued_up == {12: [("Minimum commitment", "2060.00")]}


def test_nothing_of_the_plans_holds_where_that_is_agreed(world: World) -> None:
    case = Case(world, minimumCommitment={"amount": "100.00"})
    agree(case, amount=None, effectiveTo="2026-03-01T00:00:00Z")
    case.advance("2026-04-02T00:00:00Z")
    assert [case.lines(n)[1:] for n in range(1, 4)] == [[], [], [("Minimum commitment", "100.00")]]


def test_what_is_over_is_not_reached_and_the_latest_agreed_holds(world: World) -> None:
    case = Case(world)
    case.advance("2026-02-01T00:30:00Z")
    agree(case, amount="50.00")
    agree(case, amount="60.00", effectiveFrom="2026-03-01T00:00:00Z")
    case.advance("2026-04-02T00:00:00Z")
    assert [case.lines(n)[1:] for n in range(1, 4)] == [
        [], [("Minimum commitment", "50.00")], [("Minimum commitment", "60.00")],
    ]  # fmt: skip


def test_withdrawing_deletes_what_was_never_billed_and_ends_what_was(world: World) -> None:
    case = Case(world)
    path = f"{case.path}/spendAgreements"
    unused = agree(case, amount="50.00", idempotencyKey="deal")
    assert agree(case, amount="99.00", idempotencyKey="deal", expect=200) == unused
    world.api.delete(f"{path}/{unused['id']}", expect=204)
    world.api.delete(f"{path}/{unused['id']}", expect=404)
    used = agree(case, amount="50.00")
    case.advance("2026-02-15T00:00:00Z")
    left = world.api.delete(f"{path}/{used['id']}", expect=200)
    assert left == {**used, "effectiveTo": "2026-02-01T00:00:00Z"}
    assert world.api.delete(f"{path}/{used['id']}", expect=200) == left
    assert world.api.get(path)["data"] == [left]
    case.use("2026-01-20T00:00:00Z", 10)
    case.advance("2026-03-02T00:00:00Z")
    # February is free of it; January still has it, so that what comes late is paid already.
    assert case.lines(2) == [
        ("Tokens", "0.00"), ("Tokens (late usage)", "10.00"), ("Minimum commitment", "-10.00"),
    ]  # fmt: skip
    told = OutboxEvent.objects.filter(event_type__startswith="spend_agreement.").order_by("pk")
    assert [event.event_type.split(".")[1] for event in told] == ["created", "withdrawn", "created", "withdrawn"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "minimum", "amount": "1"}, "type"),
        ({"amount": "0"}, "amount"),
        ({"amount": "-1"}, "amount"),
        ({"amount": "1.001"}, "amount"),
        ({}, "amount"),
        ({"amount": "1", "cadence": "PT1H"}, "cadence"),
        ({"amount": "1", "effectiveTo": JANUARY}, "effectiveTo"),
        ({"amount": "1", "priceId": "price_x"}, "priceId"),
    ],
)
def test_wrong_agreements_are_refused(world: World, body: dict[str, Any], field: str) -> None:
    case = Case(world)
    answer = agree(case, expect=400, **body)
    assert {problem["field"] for problem in answer["errors"]} == {field}


def test_nothing_more_is_agreed_with_an_ended_subscription(world: World) -> None:
    case = Case(world)
    world.api.post(f"{case.path}/termination", {"reason": "x"}, expect=200)
    assert agree(case, amount="1.00", expect=409)["code"] == "SUBSCRIPTION_TERMINATED"


def test_people_see_set_and_agree_them_in_the_admin(world: World) -> None:
    case = Case(world, minimumCommitment={"amount": "100.00"})
    client = Client()
    client.force_login(world.owner)
    plan = Plan.objects.get()
    url = reverse("admin:catalog_plan_change", args=[plan.pk])
    form = client.get(url).context["adminform"].form
    sent = {name: value for name, value in form.initial.items() if value is not None and value is not False}
    assert (sent["commitment_amount"], sent["commitment_cadence"]) == (Decimal(100), "")
    assert client.post(url, sent).status_code == 302
    assert plan.versions.count() == 1
    assert "below the commitment" in client.post(url, {**sent, "cap_amount": "99"}).content.decode()
    assert client.post(url, {**sent, "cap_amount": "500", "cap_cadence": "P1Y"}).status_code == 302
    plan.refresh_from_db()
    assert plan.default_version is not None
    page = reverse("admin:catalog_planversion_change", args=[plan.default_version.pk])
    assert "Spend cap" in client.get(page).content.decode()
    price = Price.objects.get()
    url = reverse("admin:catalog_price_change", args=[price.pk])
    form = client.get(url).context["adminform"].form
    sent = {name: value for name, value in form.initial.items() if value is not None and value is not False}
    sent["properties"] = '{"unitPrice": "1"}'
    assert client.post(url, {**sent, "commitment_amount": "0"}).status_code == 200
    assert client.post(url, {**sent, "commitment_amount": "5"}).status_code == 302
    assert world.api.get(f"/v0/prices/{case.usage}")["minimumCommitment"] == {"amount": "5", "cadence": None}
    row = Subscription.objects.get()
    url = reverse("admin:subscriptions_subscription_agree_spend", args=[row.pk])
    deal = {"kind": "commitment", "amount": "40", "effective_from": JANUARY, "_form_submitted": "1"}
    assert "Give an instant" in client.post(url, {**deal, "effective_from": "soon"}).content.decode()
    said = client.post(url, {**deal, "price": "price_x"}, follow=True).content.decode()
    assert "Name a price of this subscription." in said
    client.post(url, deal)
    agreed = SpendAgreement.objects.get()
    page = client.get(reverse("admin:subscriptions_subscription_change", args=[row.pk])).content.decode()
    assert "Minimum commitment 40" in page
    assert "$100.00" in page
    assert "$40.00" in client.get(reverse("admin:invoicing_spendagreement_changelist")).content.decode()
    case.use("2026-01-10T10:00:00Z", 10)
    case.advance("2026-02-02T00:00:00Z")
    invoice = Invoice.objects.get(sequence_number=1)
    paper = client.get(reverse("admin:invoicing_invoice_change", args=[invoice.pk])).content.decode()
    assert "take off what counts for it: 10 → 30" in paper
    client.post(f"/admin/invoicing/spendagreement/{agreed.pk}/withdraw/", {"_form_submitted": "1"})
    agreed.refresh_from_db()
    assert agreed.effective_to == at("2026-02-01T00:00:00Z")


@pytest.mark.django_db(transaction=True)
def test_one_key_at_once_agrees_once(world: World) -> None:
    case = Case(world)
    body = {"type": "spendCap", "amount": "5.00", "effectiveFrom": JANUARY, "idempotencyKey": "deal"}
    path = f"{case.path}/spendAgreements"
    answers = at_once([lambda: world.api.call("post", path, body).status_code] * 6)
    assert sorted(answers) == [200] * 5 + [201]
    assert SpendAgreement.objects.count() == 1
