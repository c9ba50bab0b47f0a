"""Who owes which tax, decided by plain rules: each case states its facts and what follows from them."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from apps.taxes.domain.decision import Buyer, Seller, Supply, decide
from apps.taxes.domain.rules import Category, Exemption, Rate, Registration, Rules
from apps.taxes.domain.treatment import Treatment

DAY = date(2026, 1, 31)
BERLIN = Seller("DE", "", "10115")
GERMAN = Registration(date(2025, 1, 1), None, "DE", tax_id="DE136695976")
VAT = [
    Rate(date(2025, 1, 1), None, "DE", "VAT", Decimal(19)),
    Rate(date(2025, 1, 1), None, "DE", "VAT", Decimal(7), category="ebook"),
    Rate(date(2025, 1, 1), None, "FR", "VAT", Decimal(20)),
]
PARIS = Buyer("FR", "", "75001")
PARIS_SA = replace(PARIS, tax_id="FR40303265045")


def rules(*more: Registration, rates: Any = VAT, **kinds: Category) -> Rules:
    return Rules((GERMAN, *more), tuple(rates), kinds)


def decided(buyer: Buyer, known: Rules | None = None, seller: Seller = BERLIN, **supply: Any) -> Treatment:
    facts: dict[str, Any] = {"day": DAY, "category": "saas", **supply}
    found = decide(seller, buyer, Supply(**facts), known or rules())
    assert found is not None
    return found


def test_without_a_registration_nothing_is_decided() -> None:
    assert decide(BERLIN, PARIS, Supply(DAY, "saas"), Rules()) is None
    # One that begins on a day decides that day, and not the day before.
    assert decide(BERLIN, PARIS, Supply(date(2024, 12, 31), "saas"), rules()) is None
    assert decide(BERLIN, PARIS, Supply(date(2025, 1, 1), "saas"), rules()) is not None


def test_who_gave_up_its_last_registration_collects_nothing() -> None:
    over = Rules((replace(GERMAN, valid_to=date(2026, 1, 31)),), tuple(VAT))
    home = Buyer("DE")
    assert decided(home, over, day=date(2026, 1, 30)).rate == 19
    after = decided(home, over, plan_rate=Decimal(19))
    assert (after.category, after.basis, after.rate) == ("O", "not_registered", 0)


def test_at_home() -> None:
    found = decided(Buyer("DE", tax_id="DE136695976"))
    assert (found.category, found.jurisdiction, found.rate) == ("S", "DE", Decimal(19))
    assert (found.basis, found.seller_tax_id, found.buyer_tax_id) == ("registration", "DE136695976", "")


def test_a_category_with_an_own_rate_is_reduced() -> None:
    assert decided(Buyer("DE"), category="ebook").rate == 7


@pytest.mark.parametrize(("day", "rate"), [(date(2025, 6, 30), 22), (date(2025, 7, 1), 24)])
def test_the_rate_of_the_tax_point_counts(day: date, rate: int) -> None:
    dated = [
        Rate(None, date(2025, 7, 1), "EE", "VAT", Decimal(22)),
        Rate(date(2025, 7, 1), None, "EE", "VAT", Decimal(24)),
    ]
    known = rules(Registration(None, None, "EE", tax_id="EE100931558"), rates=dated)
    assert decided(Buyer("EE"), known, day=day).rate == rate


def test_a_business_of_another_member_state_owes_the_tax_itself() -> None:
    found = decided(PARIS_SA)
    assert (found.category, found.reason_code, found.basis) == ("AE", "VATEX-EU-AE", "eu_business")
    assert (found.components, found.buyer_tax_id, found.seller_tax_id) == ((), "FR40303265045", "DE136695976")
    # Its letters may be missing; the country of its address tells them.
    assert decided(replace(PARIS, tax_id="40 303 265 045")).buyer_tax_id == "FR40303265045"


@pytest.mark.parametrize("tax_id", ["FR40303265046", "DE136695976", "ACME", ""])
def test_an_id_that_is_wrong_or_of_the_sellers_state_shows_no_business(tax_id: str) -> None:
    assert decided(replace(PARIS, tax_id=tax_id)).category == "S"


def test_goods_for_a_business_of_another_member_state_and_beyond() -> None:
    known = rules(books=Category("books", is_goods=True))
    within = decided(PARIS_SA, known, category="books")
    assert (within.category, within.reason_code) == ("K", "VATEX-EU-IC")
    beyond = decided(Buyer("US", "OR"), known, category="books")
    assert (beyond.category, beyond.reason_code, beyond.basis) == ("G", "VATEX-EU-G", "export")


def test_a_consumer_of_another_member_state() -> None:
    at_home = decided(PARIS)
    assert (at_home.jurisdiction, at_home.rate, at_home.basis) == ("DE", Decimal(19), "home_threshold")
    shop = Registration(date(2026, 1, 1), None, "DE", tax_id="DE136695976", scheme="oss")
    there = decided(PARIS, rules(shop))
    assert (there.jurisdiction, there.rate, there.basis) == ("FR", Decimal(20), "one_stop_shop")
    local = Registration(None, None, "FR", tax_id="FR40303265045")
    registered = decided(PARIS, rules(local))
    assert (registered.rate, registered.seller_tax_id) == (Decimal(20), "FR40303265045")


def test_a_registration_may_say_that_businesses_are_charged_or_owe_the_tax() -> None:
    local = Registration(None, None, "FR", tax_id="FR40303265045", businesses="charged")
    assert decided(PARIS_SA, rules(local)).rate == 20
    australian = Registration(None, None, "AU", tax_id="83914571673", businesses="reverse_charge")
    known = rules(australian, rates=[Rate(None, None, "AU", "GST", Decimal(10))])
    business = decided(Buyer("AU", tax_id="83 914 571 673"), known)
    # The code is of European law.
    assert (business.category, business.reason_code, business.basis) == ("AE", "", "business_owes")
    assert decided(Buyer("AU"), known).rate == 10


def test_a_seller_outside_the_union_with_its_one_stop_shop() -> None:
    shop = Registration(None, None, "IE", tax_id="EU372000041", scheme="oss")
    known = Rules((shop,), tuple(VAT))
    assert decided(PARIS, known, Seller("US", "OR")).rate == 20
    assert decided(PARIS_SA, known, Seller("US", "OR")).category == "AE"
    assert decided(Buyer("BR"), known, Seller("US", "OR")).category == "O"


def test_where_nobody_is_registered_nothing_is_subject_to_tax() -> None:
    found = decided(Buyer("US", "OR", "97204"))
    assert (found.category, found.basis, found.reason_code) == ("O", "not_registered", "VATEX-EU-O")
    assert "US" in found.reason


def test_taxes_of_different_names_are_added_up() -> None:
    canada = (
        Registration(None, None, "CA", tax_id="123026635RT0001"),
        Registration(None, None, "CA", region="QC", tax_id="1234567890TQ0001"),
    )
    rates = (
        Rate(None, None, "CA", "GST/HST", Decimal(5)),
        Rate(None, None, "CA", "GST/HST", Decimal(13), region="ON"),
        Rate(None, None, "CA", "QST", Decimal("9.975"), region="QC"),
    )
    montreal = Seller("CA", "QC", "H2X")
    found = decided(Buyer("CA", "QC", "H2Y1C6"), Rules(canada, rates), montreal)
    assert [(one.name, one.percent, one.jurisdiction) for one in found.components] == [
        ("GST/HST", Decimal(5), "CA"), ("QST", Decimal("9.975"), "CA-QC"),
    ]  # fmt: skip
    assert (found.rate, found.jurisdiction) == (Decimal("14.975"), "CA-QC")
    assert decided(Buyer("CA", "ON"), Rules(canada, rates), montreal).rate == 13
    assert decided(Buyer("CA", "AB"), Rules(canada, rates), montreal).rate == 5
    # Registered in the province alone: its tax alone, and nothing elsewhere.
    province = Rules(canada[1:], rates)
    assert decided(Buyer("CA", "QC"), province, montreal).rate == Decimal("9.975")
    assert decided(Buyer("CA", "AB"), province, montreal).category == "O"


def test_a_county_is_told_by_postal_codes() -> None:
    texas = Rules(
        (Registration(None, None, "US", region="TX", tax_id="32012345678"),),
        (
            Rate(None, None, "US", "State", Decimal("6.25"), region="TX"),
            Rate(None, None, "US", "Local", Decimal(2), region="TX", postal_prefix="787"),
            Rate(None, None, "US", "Local", Decimal("1.5"), region="TX", postal_prefix="78701"),
        ),
    )
    seller = Seller("US", "TX", "73301")
    assert decided(Buyer("US", "TX", "78702"), texas, seller).rate == Decimal("8.25")
    assert decided(Buyer("US", "TX", "78701"), texas, seller).rate == Decimal("7.75")
    assert decided(Buyer("US", "TX", "75001"), texas, seller).rate == Decimal("6.25")
    assert decided(Buyer("US", "CA", "94105"), texas, seller).category == "O"


def test_an_exempt_customer_is_exempt_where_and_while_its_certificate_holds() -> None:
    paper = Exemption(None, date(2026, 2, 1), "DE", "", "E", "2024/17", "§ 4 Nr. 21 UStG")
    found = decided(Buyer("DE", exemptions=(paper,)))
    assert (found.category, found.reason) == ("E", "§ 4 Nr. 21 UStG (certificate 2024/17)")
    assert decided(Buyer("DE", exemptions=(paper,)), day=date(2026, 2, 1)).rate == 19
    assert decided(Buyer("FR", exemptions=(paper,))).rate == 19


def test_exempt_products_subscriptions_and_rates() -> None:
    known = rules(school=Category("school", is_exempt=True, reason="Education", reason_code="VATEX-EU-132-1I"))
    found = decided(Buyer("DE"), known, category="school")
    assert (found.category, found.reason, found.reason_code) == ("E", "Education", "VATEX-EU-132-1I")
    assert decided(Buyer("DE"), is_exempt=True).category == "E"
    assert decided(Buyer("DE", zero_reason="Z", zero_note="Art. 7"), is_exempt=True).reason == "Art. 7"
    free = [Rate(None, None, "DE", "VAT", Decimal(0), is_exempt=True, reason="§ 4"), VAT[2]]
    assert decided(Buyer("DE"), rules(rates=free)).reason == "§ 4"
    zero = [Rate(None, None, "DE", "VAT", Decimal(0))]
    assert decided(Buyer("DE"), rules(rates=zero)).category == "Z"


def test_money_outside_the_scope_of_tax_is_untaxed_whoever_buys() -> None:
    assert decided(Buyer("DE"), is_in_scope=False, own_rate=Decimal(9)).category == "O"


def test_the_customers_own_rate_stands_before_the_jurisdiction() -> None:
    found = decided(PARIS_SA, own_rate=Decimal("5.5"))
    assert (found.category, found.rate, found.basis) == ("S", Decimal("5.5"), "customer_rate")
    free = decided(replace(PARIS, zero_reason="E", zero_note="Art. 132"), own_rate=Decimal(0))
    assert (free.category, free.reason, free.rate) == ("E", "Art. 132", 0)


def test_without_a_rate_of_the_jurisdiction_the_plans_counts_and_says_so() -> None:
    found = decided(Buyer("DE"), rules(rates=[]), plan_rate=Decimal(19))
    assert (found.category, found.rate, found.basis) == ("S", Decimal(19), "plan_rate")
    assert "No rate is kept for DE" in found.reason
    # Nobody knows why it is nothing.
    assert decided(Buyer("DE"), rules(rates=[])).category == ""


def test_without_an_address_the_seller_is_where_it_is_taxed() -> None:
    found = decided(Buyer(""))
    assert (found.jurisdiction, found.rate, found.basis) == ("DE", Decimal(19), "no_address")


def test_a_decision_is_kept_as_it_was() -> None:
    for found in (decided(PARIS_SA), decided(Buyer("DE"))):
        assert Treatment.of_facts(found.as_facts()) == found
        assert Treatment.of_facts(found.as_facts()).digest == found.digest
