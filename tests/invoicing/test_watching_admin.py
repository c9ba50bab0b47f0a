"""Thresholds, early bills and alerts by hand, in the admin."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.catalog.models import Plan, PlanVersion
from apps.invoicing.models import Alert, Invoice, PassedThreshold
from apps.invoicing.services.watching import look_at_usage
from apps.metering.services.merge import drain
from apps.subscriptions.models import Subscription
from tests.world import World

pytestmark = pytest.mark.django_db

SENT = {"_form_submitted": "1"}


class Case:
    def __init__(self, world: World) -> None:
        self.world = world
        product = world.product()
        self.metric = world.metric(product)
        plan = world.plan(product, [world.usage_price(self.metric, "1")])
        self.plan = Plan.objects.get(public_id=plan)
        self.customer, clock = world.customer(), world.clock("2026-01-01T00:00:00Z")
        made = world.subscribe(self.customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
        self.row = Subscription.objects.get(public_id=made["id"])
        self.client = Client()
        self.client.force_login(world.owner)

    def press(self, screen: str, row: Any, **data: str) -> str:
        url = reverse(f"admin:{screen}", args=[row.pk])
        return self.client.post(url, {**SENT, **data}, follow=True).content.decode()

    def use(self, tokens: int) -> None:
        self.world.send(self.customer, "2026-01-05T00:00:00Z", tokens=tokens)
        drain()
        look_at_usage()


def test_usage_is_billed_now_and_bills_have_names(world: World) -> None:
    case = Case(world)
    said = case.press("subscriptions_subscription_bill_usage", case.row)
    assert "There is no usage that could be billed" in said
    case.use(25)
    said = case.press("subscriptions_subscription_bill_usage", case.row)
    early = Invoice.objects.get(part=1)
    assert f"{early.number}: $25.00 of usage is billed." in said
    assert "Period 1, early bill 1" in said
    listed = case.client.get(reverse("admin:invoicing_invoice_changelist"), {"early": "yes"}).content.decode()
    assert "Period 1, early bill 1, to 2026-01-01" in listed
    own = case.client.get(reverse("admin:invoicing_invoice_changelist"), {"early": "no"}).content.decode()
    assert "early bill" not in own.replace("Early bills", "").replace("early bills", "")
    paper = case.client.get(reverse("admin:invoicing_invoice_change", args=[early.pk])).content.decode()
    assert "Period 1, early bill 1" in paper


def test_usage_is_billed_now_over_the_api(world: World) -> None:
    case = Case(world)
    path = f"/v0/subscriptions/{case.row.public_id}/earlyBill"
    assert world.api.post(path, expect=409)["code"] == "NOTHING_TO_BILL"
    case.use(25)
    made = world.api.post(path)
    assert (made["part"], made["sequenceNumber"], made["status"], made["grandTotal"]) == (1, 1, "ISSUED", "25.00")


def test_thresholds_of_a_plan_and_of_a_subscription(world: World) -> None:
    case = Case(world)
    wrong = case.press("catalog_plan_billing_thresholds", case.plan, values="100 50", scope="period")
    assert "Give ascending values, each once." in wrong
    said = case.press("catalog_plan_billing_thresholds", case.plan, values="100 500", every="500", scope="period")
    assert "usage is billed at 100, 500, then every 500 of each period" in said
    version = PlanVersion.objects.get(plan=case.plan, number=2)
    assert version.billing_thresholds == {"amounts": ["100", "500"], "every": "500", "scope": "period"}
    # The open period goes by version 1; this subscription gets its own.
    press = "subscriptions_subscription_billing_thresholds"
    wrong = case.press(press, case.row, bills="own", values="ten", scope="period")
    assert "Give a decimal number" in wrong
    case.press(press, case.row, bills="own", values="10", scope="period")
    case.use(12)
    assert Invoice.objects.get(part=1).grand_total == 12
    passed = case.client.get(reverse("admin:invoicing_passedthreshold_changelist")).content.decode()
    assert "$10.00" in passed
    assert "$12.00" in passed
    assert PassedThreshold.objects.count() == 1
    case.press(press, case.row, bills="none", scope="period")
    case.row.refresh_from_db()
    assert case.row.billing_thresholds == {}
    case.press(press, case.row, bills="plan", scope="period")
    case.row.refresh_from_db()
    assert case.row.billing_thresholds is None
    case.press("catalog_plan_billing_thresholds", case.plan, scope="period")
    assert PlanVersion.objects.get(plan=case.plan, number=3).billing_thresholds is None


def test_alerts_are_set_changed_and_removed(world: World) -> None:
    case = Case(world)
    press = "subscriptions_subscription_add_alert"
    terms = {"name": "Spend", "type": "usage_amount", "scope": "period", "direction": "rising", "values": "10"}
    assert "There is no such metric." in case.press(press, case.row, **{**terms, "metric": "bm_none"})
    assert "Only the quantity" in case.press(press, case.row, **{**terms, "direction": "falling"})
    assert "Alert Spend is set." in case.press(press, case.row, **terms)
    case.use(15)
    alert = Alert.objects.get()
    page = case.client.get(reverse("admin:invoicing_alert_change", args=[alert.pk])).content.decode()
    assert "10 on 2026-01-01" in page
    assert "Spend" in case.client.get(reverse("admin:invoicing_alertfiring_changelist")).content.decode()
    assert "Use at most 2 decimal places." in case.press("invoicing_alert_change_values", alert, values="0.001")
    case.press("invoicing_alert_change_values", alert, values="10 20", every="5")
    alert.refresh_from_db()
    assert (alert.thresholds, alert.every) == (["10", "20"], "5")
    case.press("invoicing_alert_remove", alert)
    alert.refresh_from_db()
    assert alert.deleted_at is not None
    case.use(100)
    assert alert.firings.count() == 1
