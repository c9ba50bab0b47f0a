"""What documents say of an organization: kept without blanks, and only where it can be right."""

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse

from apps.organizations.domain.identifiers import bic_problem, iban_problem, vat_id_problem
from apps.organizations.models import Organization
from tests.test_admin import browser
from tests.world import World, make_world

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("DE136695976", True), ("de 136 695 976", True), ("DE136695977", False), ("FR40303265045", True),
        ("FR41303265045", False), ("ATU13585627", True), ("ATU13585626", False), ("EL094259216", True),
        ("GR094259216", True), ("GB980780684", True), ("GB802311781", False), ("XI980780684", True),
        ("CHE-107.787.577 MWST", True), ("CHE-107.787.578 MWST", False), ("NO995525828MVA", True),
        ("NO995525829MVA", False), ("US1234567", True), ("12-3456789", False), ("", False), ("D", False),
    ],
)  # fmt: skip
def test_vat_ids_are_checked_by_their_countrys_rule(text: str, is_right: bool) -> None:
    assert (vat_id_problem(text) is None) is is_right


def test_accounts_are_checked() -> None:
    assert iban_problem("DE75 5121 0800 1245 1261 99") is None
    assert iban_problem("DE75 5121 0800 1245 1261 98") is not None
    assert bic_problem("SOLADEST600") is None
    assert bic_problem("SOLA") is not None


def test_they_are_changed_and_read_over_the_api(world: World) -> None:
    url = f"/v0/organizations/{world.id}/billingDetails"
    sent: dict[str, Any] = {
        "legalName": "Northlight GmbH", "vatId": "DE 136 695 976", "iban": "de75 5121 0800 1245 1261 99",
        "bic": "SOLADEST600", "registrationNumber": "HRB 1", "address": {"line1": "Straße 1", "country": "DE"},
    }  # fmt: skip
    changed = world.api.patch(url, sent)
    assert changed == world.api.get(url)
    assert (changed["vatId"], changed["iban"]) == ("DE136695976", "DE75512108001245126199")
    assert changed["address"]["country"] == "DE"
    kept = world.api.patch(url, {"bic": ""})
    assert (kept["bic"], kept["legalName"], kept["address"]["line1"]) == ("", "Northlight GmbH", "Straße 1")
    wrong = world.api.patch(url, {"vatId": "DE136695977", "iban": "DE1", "bic": "x"}, expect=400)
    assert {error["field"] for error in wrong["errors"]} == {"vatId", "iban", "bic"}
    assert world.api.get(url) == kept


def test_a_merchant_reaches_its_own_and_its_consumers_alone(world: World) -> None:
    customer = world.api.get(f"/v0/customers/{world.customer()}")
    url = f"/v0/organizations/{customer['consumerId']}/billingDetails"
    assert world.api.patch(url, {"legalName": "Acme SA"})["legalName"] == "Acme SA"
    other = make_world().api
    assert other.call("get", url).status_code == 404
    assert other.call("patch", url, {"legalName": "Mine"}).status_code == 404


def test_the_form_checks_them_too(world: World) -> None:
    client = browser(world.owner)
    url = reverse("admin:organizations_organization_change", args=[world.merchant.pk])
    form = client.get(url).context["adminform"].form
    sent = {name: value for name, value in form.initial.items() if value not in (None, False)}
    sent["billing_emails"] = ""
    wrong = client.post(url, {**sent, "vat_id": "DE136695977", "iban": "DE1"})
    assert set(wrong.context["adminform"].form.errors) == {"vat_id", "iban"}
    assert (
        client.post(url, {**sent, "vat_id": "DE 136695976", "iban": "DE75 5121 0800 1245 1261 99"}).status_code == 302
    )
    world.merchant.refresh_from_db()
    assert (world.merchant.vat_id, world.merchant.iban) == ("DE136695976", "DE75512108001245126199")


def test_the_database_holds_their_shape(world: World) -> None:
    for column, value in (("vat_id", "136"), ("iban", "DE75 5121"), ("bic", "sola")):
        with pytest.raises(IntegrityError), transaction.atomic():
            Organization.objects.filter(pk=world.merchant.pk).update(**{column: value})


def test_a_customer_says_why_it_pays_no_tax(world: World) -> None:
    url = f"/v0/customers/{world.customer()}"
    assert "zeroTax" not in world.api.get(url)
    said = world.api.patch(url, {"zeroTax": {"category": "AE", "note": "Art. 196"}, "billingReference": "PO 7"})
    assert (said["zeroTax"], said["billingReference"]) == ({"category": "AE", "note": "Art. 196"}, "PO 7")
    assert world.api.patch(url, {"billingReference": None})["zeroTax"]["category"] == "AE"
    assert "zeroTax" not in world.api.patch(url, {"zeroTax": None})
    wrong = world.api.patch(url, {"zeroTax": {"category": "X"}}, expect=400)
    assert wrong["errors"][0]["field"] == "zeroTax.category"
