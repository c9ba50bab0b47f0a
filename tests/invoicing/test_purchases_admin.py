"""Selling units on the page of a right, and seeing what became of it."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.entitlements.models import Entitlement, Grant
from apps.invoicing.models import GrantPurchase, PaymentSession
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
    sold = GrantPurchase.objects.get()
    assert "Open" in page(browser, sold)
    invoice = page(browser, sold.invoice)
    assert "Purchase of a grant" in invoice
    assert "tokens: 500,000 units" in invoice
    complete_session(session_id=PaymentSession.objects.get().pk, as_of=parse_instant(START))
    grant = page(browser, Grant.objects.get())
    assert f"invoicing/grantpurchase/{sold.pk}/" in grant
    assert f"invoicing/invoice/{sold.invoice_id}/" in grant
    for state, count in (("paid", 1), ("open", 0), ("expired", 0), ("cancelled", 0)):
        listed = browser.get(reverse("admin:invoicing_grantpurchase_changelist"), {"status__exact": state})
        assert len(listed.context["cl"].result_list) == count
    listed = browser.get(reverse("admin:invoicing_invoice_changelist"), {"early": "purchase"})
    assert [row.pk for row in listed.context["cl"].result_list] == [sold.invoice_id]
    listed = browser.get(reverse("admin:invoicing_invoice_changelist"), {"early": "no"})
    assert sold.invoice_id not in [row.pk for row in listed.context["cl"].result_list]


def test_an_open_purchase_is_cancelled_with_a_reason(browser: Client, right: Entitlement) -> None:
    sell(browser, right)
    sold = GrantPurchase.objects.get()
    address = reverse("admin:invoicing_grantpurchase_cancel_purchase", args=[sold.pk])
    browser.post(address, {"reason": "mistake", "_form_submitted": "1"}, follow=True)
    sold.refresh_from_db()
    assert (sold.status, sold.invoice.status) == ("cancelled", "CANCELLED")
    assert "Cancel purchase" not in page(browser, sold)


def test_nothing_is_sold_for_nothing(browser: Client, right: Entitlement) -> None:
    for terms in ({"amount": "0"}, {"price": "0.49"}, {"pay_until_0": "2025-01-01", "pay_until_1": "00:00:00"}):
        sell(browser, right, **terms)
    assert not GrantPurchase.objects.exists()
