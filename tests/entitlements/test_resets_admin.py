"""Resets by hand as people of the merchant make and see them."""

from django.test import Client
from django.urls import reverse

from apps.entitlements.models import Entitlement, UsageReset
from tests.catalog.test_versions_admin import act
from tests.entitlements.kit import MILLION, Kit


def test_usage_is_reset_on_the_page_of_a_right_with_a_reason(kit: Kit) -> None:
    client = Client()
    client.force_login(kit.world.owner)
    once = kit.price(
        kit.feature("once"), {"issueAfterReset": 5}, metric=kit.world.metric(kit.product, path="$.calls")
    )
    customer, _, clock = kit.subscriber([kit.price(kit.feature(), {**MILLION, "isSoftLimit": True}), once])
    rights = {row.right_to.key: row for row in Entitlement.objects.filter(customer__public_id=customer)}
    kit.use(customer, "2026-01-05T00:00:00Z", 1_300_000)
    kit.world.advance(clock, "2026-01-10T08:00:00Z")
    page = reverse("admin:entitlements_entitlement_change", args=[rights["tokens"].pk])
    assert "reset-usage" in client.get(page).content.decode()
    other = reverse("admin:entitlements_entitlement_change", args=[rights["once"].pk])
    assert "reset-usage" not in client.get(other).content.decode()

    act(client, "entitlements/entitlement", rights["tokens"].pk, "reset-usage", overage="forgive")
    assert not UsageReset.objects.exists(), "nobody said why"
    terms = {"overage": "forgive", "reason": "double counting on the 5th", "retain_anchor": "on"}
    act(client, "entitlements/entitlement", rights["tokens"].pk, "reset-usage", **terms)
    made = UsageReset.objects.get()
    assert (made.preserves_overage, made.retains_anchor) == (False, True)
    # At the very moment, and when the clock has moved on.
    assert "A reset by hand (double counting on the 5th)" in client.get(page).content.decode()
    kit.world.advance(clock, "2026-01-11T00:00:00Z")
    shown = client.get(page).content.decode()
    told = "<div>A reset by hand (double counting on the 5th)</div><div>300,000 overage forgiven</div>"
    assert told in shown
    moved = {"overage": "carry", "reason": "moved", "effective_0": "2026-01-10", "effective_1": "12:30:40"}
    act(client, "entitlements/entitlement", rights["tokens"].pk, "reset-usage", **moved)
    latest = UsageReset.objects.latest("pk")
    assert (latest.effective_at.minute, latest.retains_anchor, latest.preserves_overage) == (30, False, True)
    assert "A reset by hand (moved), later resets count from it" in client.get(page).content.decode()
    act(client, "entitlements/entitlement", rights["tokens"].pk, "reset-usage", **moved)
    assert UsageReset.objects.count() == 2

    listed = client.get(reverse("admin:entitlements_usagereset_changelist")).content.decode()
    assert made.public_id in listed
    assert latest.public_id in listed
    one = client.get(reverse("admin:entitlements_usagereset_change", args=[made.pk])).content.decode()
    assert "double counting on the 5th" in one
