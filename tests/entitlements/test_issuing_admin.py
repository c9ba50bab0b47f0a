"""Entitlements issued by hand, in the admin."""

from decimal import Decimal
from typing import Any

from django.test import Client
from django.urls import reverse

from apps.catalog.models import Feature
from apps.customers.models import Customer
from apps.entitlements.models import Entitlement, Grant
from apps.outbox.models import OutboxEvent
from apps.subscriptions.models import Subscription
from tests.catalog.test_versions_admin import act
from tests.entitlements.kit import MILLION, Kit
from tests.entitlements.pools import PoolKit
from tests.test_admin import browser, member
from tests.world import make_world

ADD = reverse("admin:entitlements_entitlement_add")


def issue(client: Client, customer: str, feature: str, **terms: Any) -> Any:
    sent = {
        "customer": Customer.objects.get(public_id=customer).pk,
        "feature": Feature.objects.get(public_id=feature).pk,
        **terms,
    }
    return client.post(ADD, sent)


def problems(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 200
    found: dict[str, list[str]] = answer.context["adminform"].form.errors
    return found


def test_a_metered_feature_is_issued_with_terms_in_plain_words(kit: Kit) -> None:
    support = browser(member(kit.world, "support"))
    customer, feature = kit.world.customer(), kit.feature()
    kit.price(feature, None)
    terms = {
        "allowance": "1000.5", "reset_every": "P1M", "limit": "soft", "rollover_min": "1", "rollover_max": "200",
        "carries_overage": "on", "priority": "3", "active_from_0": "2026-01-01", "active_from_1": "00:00:00",
        "active_to_0": "2027-01-01", "active_to_1": "00:00:00",
    }  # fmt: skip
    answer = issue(support, customer, feature, **terms)
    assert answer.status_code == 302, problems(answer)
    row = Entitlement.objects.get()
    assert (row.allowance, row.reset_cadence, row.is_soft_limit) == (Decimal("1000.5"), "P1M", True)
    assert (row.rollover_min, row.rollover_max, row.preserves_overage) == (1, 200, True)
    assert (row.allowance_priority, row.is_of_plan, row.meters.count()) == (3, False, 1)
    assert (row.active_from.isoformat(), row.active_to and row.active_to.year) == ("2026-01-01T00:00:00+00:00", 2027)
    assert OutboxEvent.objects.filter(event_type="entitlement.created.v0").count() == 1
    assert kit.world.api.get(f"/v1/entitlements/{row.public_id}")["id"] == row.public_id
    page = support.get(reverse("admin:entitlements_entitlement_change", args=[row.pk]))
    assert "tokens of" in page.context["subtitle"]
    assert f"“tokens of {row.customer}” was added" in page.content.decode()
    act(support, "entitlements/entitlement", row.pk, "end-entitlement")
    row.refresh_from_db()
    assert row.is_canceled


def test_terms_of_another_kind_do_not_count(kit: Kit) -> None:
    client = browser(kit.world.owner)
    customer = kit.world.customer()
    assert issue(client, customer, kit.feature("sso", "boolean"), allowance="5", slots="3").status_code == 302
    row = Entitlement.objects.get()
    assert (row.template, row.allowance, row.slots, row.config) == ({}, None, None, None)
    static = kit.feature("runs", "static")
    assert client.get(ADD).context["adminform"].form["config"].value() == ""
    assert "config" in problems(issue(client, customer, static))
    assert "config" in problems(issue(client, customer, static, config="[1]"))
    assert issue(client, customer, static, slots="3", config='{"region": "eu"}').status_code == 302
    row = Entitlement.objects.latest("pk")
    assert (row.config, row.slots) == ({"region": "eu", "slots": 3}, 3)


def test_refusals_stand_at_their_fields(kit: Kit) -> None:
    client = browser(kit.world.owner)
    customer, subscription, _ = kit.subscriber([kit.price(kit.feature(), MILLION)])
    other, feature = kit.world.customer(), kit.feature("calls")
    assert "customer" in problems(client.post(ADD, {"feature": Feature.objects.get(public_id=feature).pk}))
    assert "feature" in problems(client.post(ADD, {"customer": Customer.objects.get(public_id=other).pk}))
    assert "above zero" in str(problems(issue(client, other, feature, allowance="0"))["allowance"])
    assert "rollover_max" in problems(issue(client, other, feature, rollover_max="-1"))
    assert "reset_every" in problems(issue(client, other, feature, reset_every="monthly"))
    ending = {"active_to_0": "2020-01-01", "active_to_1": "00:00:00"}
    assert "after the start" in str(problems(issue(client, other, feature, **ending))["active_to"])
    # A right to it is there, by the plan.
    twice = issue(client, customer, Entitlement.objects.get().right_to.public_id)
    assert "in that time already" in str(problems(twice)["feature"])
    own = Subscription.objects.get(public_id=subscription)
    assert "subscription" in problems(issue(client, other, feature, subscription=own.pk))
    assert Entitlement.objects.count() == 1
    assert issue(client, customer, feature, subscription=own.pk).status_code == 302
    row = Entitlement.objects.latest("pk")
    # In the time of the subscription's clock.
    assert (row.subscription, row.active_from.isoformat()) == (own, "2026-01-01T00:00:00+00:00")


def test_terms_that_credits_cannot_have_are_refused(kit: Kit) -> None:
    pools = PoolKit.make(kit.world)
    feature = kit.feature("chat")
    pools.price("2", feature={"featureId": feature})
    client = browser(kit.world.owner)
    refused = issue(client, kit.world.customer(), feature, rollover_max="5")
    assert "do not roll over" in str(problems(refused)["rollover_max"])


def test_only_what_is_of_the_customers_merchant_is_offered(kit: Kit) -> None:
    other = make_world()
    stranger, secret = other.customer(), Kit.make(other).feature("secret")
    feature = kit.feature()
    customer = kit.world.customer()
    client = browser(kit.world.owner)
    assert "secret" not in client.get(ADD).content.decode()
    # Someone who works for both sees both, those of the customer once one is chosen, and may not mix them.
    both = member(other, "support")
    both.memberships.create(organization=kit.world.merchant, role="viewer")
    client = browser(both)
    page = client.get(ADD).content.decode()
    assert "secret (metered)" in page
    assert "tokens (metered)" in page
    chosen = client.get(ADD, {"customer": Customer.objects.get(public_id=stranger).pk}).content.decode()
    assert "secret (metered)" in chosen
    assert "tokens (metered)" not in chosen
    assert "feature" in problems(issue(client, stranger, feature))
    # Looking is no right to act.
    assert "may not" in str(problems(issue(client, customer, feature))["customer"])
    assert issue(client, stranger, secret).status_code == 302
    assert Entitlement.objects.get().organization == other.merchant


def test_it_is_reached_from_the_customers_page(kit: Kit) -> None:
    customer = Customer.objects.get(public_id=kit.world.customer())
    address = reverse("admin:customers_customer_change", args=[customer.pk])
    page = browser(member(kit.world, "support")).get(address).content.decode()
    assert f"{ADD}?customer={customer.pk}" in page
    assert f"{reverse('admin:entitlements_entitlement_changelist')}?customer__id__exact={customer.pk}" in page
    viewer = browser(member(kit.world, "viewer"))
    assert ADD not in viewer.get(address).content.decode()
    assert viewer.get(ADD).status_code == 403


def test_units_are_granted_by_a_number_above_zero(kit: Kit) -> None:
    client = browser(kit.world.owner)
    kit.subscriber([kit.price(kit.feature(), MILLION)])
    row = Entitlement.objects.get()
    for wrong in ("0", "-5", "0.0"):
        said = act(client, "entitlements/entitlement", row.pk, "grant-units", amount=wrong, priority="0")
        assert "above zero" in said
        assert "dempotency" not in said
    act(client, "entitlements/entitlement", row.pk, "grant-units", amount="0.5", priority="0")
    grant = Grant.objects.get()
    page = client.get(reverse("admin:entitlements_grant_change", args=[grant.pk]))
    assert page.context["subtitle"].startswith("0.5 units of tokens of ")
