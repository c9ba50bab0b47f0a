"""Selling units and bursts on the page of a right, and seeing what became of it."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.entitlements.models import Entitlement, Grant, SlotBurst
from apps.invoicing.models import PaymentSession, Purchase
from apps.invoicing.services.sessions import complete_session
from apps.kernel.time import parse_instant
from tests.entitlements.kit import MILLION, START, Kit
from tests.world import make_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def kit(db: None) -> Kit:
    return Kit.make(make_world())


@pytest.fixture
def browser(kit: Kit) -> Client:
    client = Client()
    client.force_login(kit.world.owner)
    return client


@pytest.fixture
def right(kit: Kit) -> Entitlement:
    kit.subscriber([kit.price(kit.feature(), MILLION)])
    return Entitlement.objects.get()


def sell(browser: Client, right: Entitlement, **terms: Any) -> str:
    address = reverse("admin:entitlements_entitlement_sell_grant", args=[right.pk])
    body = {"amount": "500000", "price": "5.00", "_form_submitted": "1", **terms}
    return browser.post(address, body, follow=True).content.decode()


def page(browser: Client, row: Any) -> str:
    screen = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    answer = browser.get(reverse(screen, args=[row.pk]))
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_grant_is_sold_on_the_page_of_a_right_and_shown_everywhere(browser: Client, right: Entitlement) -> None:
    assert "Sell a grant" in page(browser, right)
    assert "is to be paid until 2026-01-31" in sell(browser, right)
    sold = Purchase.objects.get()
    assert "Open" in page(browser, sold)
    invoice = page(browser, sold.invoice)
    assert "Purchase of a grant" in invoice
    assert "tokens: 500,000 units" in invoice
    complete_session(session_id=PaymentSession.objects.get().pk, as_of=parse_instant(START))
    grant = page(browser, Grant.objects.get())
    assert f"invoicing/purchase/{sold.pk}/" in grant
    assert f"invoicing/invoice/{sold.invoice_id}/" in grant
    for state, count in (("paid", 1), ("open", 0), ("expired", 0), ("cancelled", 0)):
        listed = browser.get(reverse("admin:invoicing_purchase_changelist"), {"status__exact": state})
        assert len(listed.context["cl"].result_list) == count
    listed = browser.get(reverse("admin:invoicing_invoice_changelist"), {"early": "purchase"})
    assert [row.pk for row in listed.context["cl"].result_list] == [sold.invoice_id]
    listed = browser.get(reverse("admin:invoicing_invoice_changelist"), {"early": "no"})
    assert sold.invoice_id not in [row.pk for row in listed.context["cl"].result_list]


def test_an_open_purchase_is_cancelled_with_a_reason(browser: Client, right: Entitlement) -> None:
    sell(browser, right)
    sold = Purchase.objects.get()
    address = reverse("admin:invoicing_purchase_cancel_purchase", args=[sold.pk])
    browser.post(address, {"reason": "mistake", "_form_submitted": "1"}, follow=True)
    sold.refresh_from_db()
    assert (sold.status, sold.invoice.status) == ("cancelled", "CANCELLED")
    assert "Cancel purchase" not in page(browser, sold)


def test_nothing_is_sold_for_nothing(browser: Client, right: Entitlement) -> None:
    for terms in ({"amount": "0"}, {"price": "0.49"}, {"pay_until_0": "2025-01-01", "pay_until_1": "00:00:00"}):
        sell(browser, right, **terms)
    assert not Purchase.objects.exists()


def test_a_burst_is_sold_on_the_page_of_a_right_with_slots(browser: Client, kit: Kit) -> None:
    attached = {"featureId": kit.feature("deploys", "static"), "entitlementTemplate": {"slots": 2}}
    kit.subscriber([kit.world.fee_price(kit.product, "0.00", feature=attached)])
    right = Entitlement.objects.get()
    shown = page(browser, right)
    assert "Sell a burst" in shown
    assert "Sell a grant" not in shown
    address = reverse("admin:entitlements_entitlement_sell_burst", args=[right.pk])
    form = {
        "slots": "4", "price": "10.00", "ends_0": "2026-01-20", "ends_1": "00:00:00", "_form_submitted": "1",
    }  # fmt: skip
    for bad in ({"slots": "0"}, {"price": "0.49"}, {"ends_0": ""}, {"ends_0": "2025-01-01"}):
        browser.post(address, {**form, **bad}, follow=True)
    assert not Purchase.objects.exists()
    told = browser.post(address, form, follow=True).content.decode()
    assert "is to be paid until 2026-01-20" in told
    sold = Purchase.objects.get()
    assert "Purchase of a burst" in page(browser, sold.invoice)
    complete_session(session_id=PaymentSession.objects.get().pk, as_of=parse_instant(START))
    burst = page(browser, SlotBurst.objects.get())
    assert f"invoicing/purchase/{sold.pk}/" in burst
    assert f"invoicing/invoice/{sold.invoice_id}/" in burst
    assert "4 more slots" in page(browser, sold)
    assert "4 more slots" in page(browser, sold.invoice)
    for kind, count in (("burst", 1), ("units", 0), ("", 1)):
        listed = browser.get(reverse("admin:invoicing_purchase_changelist"), {"sold": kind} if kind else {})
        assert len(listed.context["cl"].result_list) == count
        assert count == 0 or "4 slots" in listed.content.decode()


def test_a_burst_that_is_given_was_not_bought(browser: Client, kit: Kit) -> None:
    attached = {"featureId": kit.feature("deploys", "static"), "entitlementTemplate": {"slots": 2}}
    kit.subscriber([kit.world.fee_price(kit.product, "0.00", feature=attached)])
    right = Entitlement.objects.get()
    body = {"slots": 1, "endsAt": "2026-01-20T00:00:00Z", "idempotencyKey": "k"}
    kit.world.api.post(f"/v1/entitlements/{right.public_id}/bursts", body)
    assert "Given" in page(browser, SlotBurst.objects.get())
