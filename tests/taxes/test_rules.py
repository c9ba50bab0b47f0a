"""Registrations, rates, categories and exemptions: over the API, in the admin, and by command."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse

from apps.kernel.adminsite.base import history_of
from apps.kernel.errors import ConflictError
from apps.taxes.domain.rules import EUROPEAN_UNION
from apps.taxes.domain.treatment import Treatment
from apps.taxes.models import TaxCategory, TaxExemption, TaxRate, TaxRegistration, TaxTreatment
from apps.taxes.services.registrations import create_registration
from apps.taxes.services.treatments import keep_treatments
from tests.taxes.merchants import FRENCH_ID, GERMAN_ID, rate, register
from tests.test_admin import browser, member
from tests.world import World

pytestmark = pytest.mark.django_db


def field_of(answer: dict[str, Any]) -> str:
    return str(answer["errors"][0]["field"])


def test_a_registration_lives(world: World) -> None:
    made = register(world, country="DE", taxId="DE 136.695.976", validFrom="2025-01-01")
    assert (made["taxId"], made["object"], made["scheme"], made["businesses"]) == (
        GERMAN_ID, "taxRegistration", "domestic", "by_law",
    )  # fmt: skip
    path = f"/v0/taxRegistrations/{made['id']}"
    ended = world.api.patch(path, {"validTo": "2026-07-01", "businesses": "charged"})
    assert (ended["validFrom"], ended["validTo"], ended["businesses"]) == ("2025-01-01", "2026-07-01", "charged")
    # The next one begins on the day on which this one is over, and not before.
    assert register(world, 409, country="DE", taxId=GERMAN_ID, validFrom="2026-06-30")["code"] == "TAX_DATES_OVERLAP"
    register(world, country="DE", taxId=GERMAN_ID, validFrom="2026-07-01")
    assert world.api.patch(path, {"validTo": None}, expect=409)["code"] == "TAX_DATES_OVERLAP"
    assert [row["validFrom"] for row in world.api.get("/v0/taxRegistrations")["data"]] == ["2026-07-01", "2025-01-01"]
    row = TaxRegistration.objects.get(public_id=made["id"])
    assert len(history_of(row)) == 2
    world.api.delete(path)
    world.api.get(path, expect=404)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"country": "DE", "taxId": "DE136695977"}, "taxId"),
        ({"country": "FR", "taxId": GERMAN_ID}, "taxId"),
        ({"country": "XX", "taxId": GERMAN_ID}, "country"),
        ({"country": "US", "region": "T X", "taxId": "1"}, "region"),
        ({"country": "US", "taxId": "  "}, "taxId"),
        ({"country": "US", "region": "TX", "taxId": "\N{LATIN SMALL LETTER SHARP S}" * 50}, "taxId"),
        ({"country": "US", "taxId": "123", "scheme": "oss"}, "country"),
        ({"country": "DE", "region": "BE", "taxId": GERMAN_ID, "scheme": "oss"}, "region"),
        ({"country": "DE", "taxId": GERMAN_ID, "validFrom": "2026-01-01", "validTo": "2026-01-01"}, "validTo"),
        ({"country": "DE", "taxId": GERMAN_ID, "validFrom": "soon"}, "validFrom"),
        ({"country": "DE", "taxId": GERMAN_ID, "businesses": "never"}, "businesses"),
    ],
)
def test_a_wrong_registration_names_its_field(world: World, body: dict[str, Any], field: str) -> None:
    assert field_of(register(world, 400, **body)) == field
    assert not TaxRegistration.objects.exists()


def test_regions_and_the_one_stop_shop_stand_beside_the_country(world: World) -> None:
    register(world, country="CA", taxId="123026635 RT 0001")
    assert register(world, country="CA", region="ca-qc", taxId="1234567890 TQ0001")["region"] == "QC"
    register(world, country="DE", taxId=GERMAN_ID)
    assert register(world, country="DE", taxId=GERMAN_ID, scheme="oss")["scheme"] == "oss"


def test_rates_and_categories_live(world: World) -> None:
    world.api.post("/v0/taxCategories", {"code": "ebook", "name": "Books"})
    assert world.api.post("/v0/taxCategories", {"code": "ebook", "name": "B"}, expect=409)["code"] == "TAX_CODE_TAKEN"
    general = rate(world, country="FR", name="VAT", percent="20", validFrom="2025-01-01")
    reduced = rate(world, country="FR", name="VAT", percent="5.5", kind="reduced", category="ebook")
    assert (general["category"], reduced["category"], reduced["percent"]) == (None, "ebook", "5.5")
    assert rate(world, 409, country="FR", name="VAT", percent="21")["code"] == "TAX_DATES_OVERLAP"
    world.api.patch(f"/v0/taxRates/{general['id']}", {"validTo": "2026-01-01"})
    rate(world, country="FR", name="VAT", percent="21", validFrom="2026-01-01")
    assert len(world.api.get("/v0/taxRates?country=FR")["data"]) == 3
    category = TaxCategory.objects.get().public_id
    refused = world.api.call("delete", f"/v0/taxCategories/{category}", expect=409)
    assert b"TAX_CATEGORY_IN_USE" in refused.content
    world.api.delete(f"/v0/taxRates/{reduced['id']}")
    exempt = world.api.patch(f"/v0/taxCategories/{category}", {"isExempt": True, "reason": "Art. 132"})
    assert (exempt["isExempt"], exempt["reason"]) == (True, "Art. 132")
    world.api.delete(f"/v0/taxCategories/{category}")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"percent": "101"}, "percent"),
        ({"percent": "5.00001"}, "percent"),
        ({"percent": "0"}, "kind"),
        ({"percent": "5", "kind": "zero"}, "kind"),
        ({"percent": "0", "kind": "exempt"}, "reason"),
        ({"percent": "5", "reason": "because"}, "reason"),
        ({"percent": "5", "category": "nothing"}, "category"),
        ({"percent": "5", "name": " "}, "name"),
        # As capitals it has more letters than were sent.
        ({"percent": "5", "postalPrefix": "\N{LATIN SMALL LETTER SHARP S}" * 12}, "postalPrefix"),
    ],
)
def test_a_wrong_rate_names_its_field(world: World, body: dict[str, Any], field: str) -> None:
    assert field_of(rate(world, 400, **{"country": "FR", "name": "VAT", **body})) == field


def test_exemptions_live(world: World) -> None:
    customer = world.customer()
    body = {"customerId": customer, "country": "FR", "reason": "Art. 261", "certificate": "7"}
    made = world.api.post("/v0/taxExemptions", body)
    assert (made["customerId"], made["category"], made["certificate"]) == (customer, "E", "7")
    assert world.api.post("/v0/taxExemptions", body, expect=409)["code"] == "TAX_DATES_OVERLAP"
    assert (
        field_of(world.api.post("/v0/taxExemptions", {**body, "country": "", "region": "X"}, expect=400)) == "region"
    )
    world.api.post("/v0/taxExemptions", {**body, "customerId": "cus_none"}, expect=404)
    path = f"/v0/taxExemptions/{made['id']}"
    assert world.api.patch(path, {"validTo": "2026-01-01"})["validTo"] == "2026-01-01"
    assert len(world.api.get(f"/v0/taxExemptions?customerId={customer}")["data"]) == 1
    assert world.api.get("/v0/taxExemptions?customerId=cus_none")["data"] == []
    world.api.delete(path)
    assert not TaxExemption.objects.exists()


def test_the_rates_of_the_union_are_loaded_once_and_register_nobody(world: World) -> None:
    rate(world, country="DE", name="VAT", percent="19")
    call_command("load_tax_rates", world.id, "DE", "EE", verbosity=0)
    assert [(row.country, str(row.percent.normalize())) for row in TaxRate.objects.order_by("country", "valid")] == [
        ("DE", "19"), ("EE", "22"), ("EE", "24"),
    ]  # fmt: skip
    call_command("load_tax_rates", world.id, verbosity=0)
    call_command("load_tax_rates", world.id, verbosity=0)
    assert set(TaxRate.objects.values_list("country", flat=True)) == EUROPEAN_UNION
    for country in EUROPEAN_UNION:
        assert TaxRate.objects.filter(country=country, valid__contains=date(2026, 1, 31)).count() == 1
    assert not TaxRegistration.objects.exists()
    with pytest.raises(CommandError, match="No member states: US"):
        call_command("load_tax_rates", world.id, "US")
    with pytest.raises(CommandError, match="no merchant"):
        call_command("load_tax_rates", "org_none")


def test_finance_looks_and_owners_set(world: World) -> None:
    add = reverse("admin:taxes_taxregistration_add")
    form = {
        "organization": world.merchant.pk, "country": "FR", "region": "", "scheme": "domestic", "tax_id": FRENCH_ID,
        "businesses": "by_law", "valid_from": "2025-01-01", "valid_to": "",
    }  # fmt: skip
    assert browser(member(world, "finance")).post(add, form).status_code == 403
    owner = browser(world.owner)
    wrong = owner.post(add, {**form, "tax_id": GERMAN_ID})
    assert wrong.status_code == 200
    assert "tax_id" in wrong.context["adminform"].form.errors
    assert owner.post(add, form).status_code == 302
    row = TaxRegistration.objects.get()
    assert (row.tax_id, row.valid.lower) == (FRENCH_ID, date(2025, 1, 1))
    page = reverse("admin:taxes_taxregistration_change", args=[row.pk])
    changed = {"tax_id": FRENCH_ID, "businesses": "charged", "valid_from": "2025-01-01", "valid_to": "2027-01-01"}
    assert owner.post(page, changed).status_code == 302
    row.refresh_from_db()
    assert (row.businesses, row.valid.upper) == ("charged", date(2027, 1, 1))
    twice = owner.post(add, form)
    assert "in force on some of these days" in twice.content.decode()
    assert (
        owner.post(f"/admin/taxes/taxregistration/{row.pk}/take-back/", {"_form_submitted": "1"}).status_code == 302
    )
    assert not TaxRegistration.objects.exists()


def test_rates_and_exemptions_are_made_and_taken_back_in_the_admin(world: World) -> None:
    owner = browser(world.owner)
    category = {
        "organization": world.merchant.pk, "code": "ebook", "name": "Books", "reason": "", "reason_code": ""
    }  # fmt: skip
    assert owner.post(reverse("admin:taxes_taxcategory_add"), category).status_code == 302
    form = {
        "organization": world.merchant.pk, "country": "FR", "region": "", "postal_prefix": "", "name": "VAT",
        "category": TaxCategory.objects.get().pk, "kind": "reduced", "percent": "5.5", "reason": "",
        "valid_from": "", "valid_to": "",
    }  # fmt: skip
    assert owner.post(reverse("admin:taxes_taxrate_add"), form).status_code == 302
    made = TaxRate.objects.get()
    assert owner.post(f"/admin/taxes/taxrate/{made.pk}/take-back/", {"_form_submitted": "1"}).status_code == 302
    assert not TaxRate.objects.exists()
    customer = world.customer()
    exempt = {
        "customer": TaxExemption._meta.get_field("customer").related_model.objects.get(public_id=customer).pk,
        "country": "", "region": "", "category": "E", "certificate": "1", "reason": "Embassy", "valid_from": "",
        "valid_to": "",
    }  # fmt: skip
    page = reverse("admin:customers_customer_change", args=[exempt["customer"]])
    assert b"taxed as a consumer" in owner.get(page).content
    world.api.patch(f"/v0/customers/{customer}", {"taxId": FRENCH_ID})
    assert b"of a business in FR" in owner.get(page).content
    support = browser(member(world, "support"))
    assert support.post(reverse("admin:taxes_taxexemption_add"), exempt).status_code == 302
    assert TaxExemption.objects.get().customer.public_id == customer


@pytest.mark.django_db(transaction=True)
def test_two_registrations_of_a_place_at_once_are_one(world: World) -> None:
    def make(_: int) -> bool:
        try:
            create_registration(organization_id=world.merchant.pk, country="DE", tax_id=GERMAN_ID)
        except ConflictError:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(make, range(8))) == [False] * 7 + [True]
    assert TaxRegistration.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_decision_that_many_make_at_once_is_kept_once(world: World) -> None:
    made = [Treatment("O", "not_registered", country, (), "Not subject to VAT") for country in ("US", "BR", "JP")]

    def keep(number: int) -> dict[tuple[int, Treatment], int]:
        try:
            # Each begins with another one.
            return keep_treatments((world.merchant.pk, one) for one in made[number % 3 :] + made[: number % 3])
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(keep, range(12)))
    assert TaxTreatment.objects.count() == 3
    assert all(one == found[0] for one in found)
