"""The tax of a line: which category, in which jurisdiction, at which rates, and why."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache

from apps.kernel.money import format_decimal
from apps.organizations.domain.identifiers import full_vat_id, tax_id_country
from apps.taxes.domain.rules import (
    CHARGED,
    COMMUNITY,
    EUROPEAN_UNION,
    EXEMPT,
    EXPORT,
    OSS,
    OUTSIDE,
    REVERSE,
    REVERSED,
    STANDARD,
    ZERO,
    Category,
    Exemption,
    Rate,
    Registration,
    Rules,
)
from apps.taxes.domain.treatment import REASON_CODES, REASONS, Component, Treatment

NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Seller:
    """Where a merchant is at home."""

    country: str
    region: str = ""
    postal_code: str = ""


@dataclass(frozen=True, slots=True)
class Buyer:
    """A customer as tax law sees it.

    Attributes:
        zero_reason, zero_note: the merchant's words for why it pays no tax where it pays none.
    """

    country: str
    region: str = ""
    postal_code: str = ""
    tax_id: str = ""
    exemptions: tuple[Exemption, ...] = ()
    zero_reason: str = ""
    zero_note: str = ""


@dataclass(frozen=True, slots=True)
class Supply:
    """What is billed.

    Attributes:
        day: the tax point.
        category: code of the product tax category.
        is_in_scope: it is a supply at all.
        is_exempt: the subscription is exempt.
        own_rate: percent agreed with the customer.
        plan_rate: percent of the plan, where no rate is kept for the jurisdiction.
    """

    day: date
    category: str
    is_in_scope: bool = True
    is_exempt: bool = False
    own_rate: Decimal | None = None
    plan_rate: Decimal = NOTHING


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a line is taxed."""

    country: str
    region: str
    postal_code: str
    registration: Registration
    registrations: tuple[Registration, ...]
    basis: str
    words: str


def decide(seller: Seller, buyer: Buyer, supply: Supply, rules: Rules) -> Treatment | None:
    """Decide the tax of a line; None where no registration was in force by its tax point.

    The first that speaks decides: a supply outside the scope of tax, an exempt subscription, an exempt customer,
    the customer's own rate, then the place: outside of every registration, reverse charge, the product's exemption,
    the rates of the jurisdiction, and at last the plan's rate.
    """
    if not rules.are_in_force(supply.day):
        return None
    if not supply.is_in_scope:
        return _untaxed(OUTSIDE, "outside_scope_supply", "", "Not subject to VAT")
    country, region = buyer.country or seller.country, buyer.region if buyer.country else seller.region
    home = _home(seller, supply.day, rules)
    home_id = home.tax_id if home is not None else ""
    if supply.is_exempt:
        category = buyer.zero_reason or EXEMPT
        reason = buyer.zero_note or REASONS.get(category, "")
        return _untaxed(category, "subscription_exempt", country, reason, seller_tax_id=home_id)
    for exemption in buyer.exemptions:
        if exemption.holds_on(supply.day) and exemption.covers(country, region):
            return _exempt(exemption, buyer, country, home_id)
    if supply.own_rate is not None:
        return _own_rate(supply.own_rate, buyer, country, home_id)
    product = rules.categories.get(supply.category) or Category(supply.category)
    place = _place_of(seller, home, buyer, product, supply.day, rules)
    if isinstance(place, Treatment):
        return place
    if product.is_exempt:
        return _untaxed(
            EXEMPT,
            "product_exempt",
            place.country,
            product.reason or REASONS[EXEMPT],
            reason_code=product.reason_code,
            seller_tax_id=place.registration.tax_id,
        )
    return _rated(place, supply, rules)


def _home(seller: Seller, day: date, rules: Rules) -> Registration | None:
    rows = _covering(rules.registrations, seller.country, seller.region, day)
    return rows[0] if rows else None


def _covering(rows: Iterable[Registration], country: str, region: str, day: date) -> tuple[Registration, ...]:
    """Give the registrations for a place, that of the whole country first."""
    found = [row for row in rows if row.holds_on(day) and row.covers(country, region)]
    return tuple(sorted(found, key=lambda row: row.region))


def _place_of(
    seller: Seller, home: Registration | None, buyer: Buyer, category: Category, day: date, rules: Rules
) -> _Place | Treatment:
    """Say where a line is taxed, or why nowhere."""
    if not buyer.country:
        known = _covering(rules.registrations, seller.country, seller.region, day)
        if not known:
            return _outside(seller.country, "Not subject to VAT")
        words = f"no address is known, so it is taxed in {seller.country}"
        return _Place(seller.country, seller.region, seller.postal_code, known[0], known, "no_address", words)
    country = buyer.country
    local = _covering(rules.registrations, country, buyer.region, day)
    local_rule = local[0].businesses if local else ""
    shop = next((row for row in rules.registrations if row.scheme == OSS and row.holds_on(day)), None)
    is_member = seller.country in EUROPEAN_UNION
    abroad = home if is_member else shop
    if country in EUROPEAN_UNION and country != seller.country and abroad is not None:
        business_id = business_tax_id(buyer, seller)
        if business_id and local_rule != CHARGED:
            code = COMMUNITY if category.is_goods and is_member else REVERSE
            own_id = abroad.tax_id
            return _untaxed(code, "eu_business", country, REASONS[code], buyer=business_id, seller_tax_id=own_id)
        if not local:
            return _consumer_abroad(seller, abroad, shop, buyer, day, rules)
    business_id = business_tax_id(buyer, None)
    if not local:
        if home is not None and category.is_goods and seller.country in EUROPEAN_UNION:
            return _untaxed(EXPORT, "export", country, REASONS[EXPORT], seller_tax_id=home.tax_id)
        return _outside(country, f"Not subject to VAT: supplied in {country}, where the seller is not registered")
    if business_id and local_rule == REVERSED:
        return _untaxed(
            REVERSE,
            "business_owes",
            country,
            REASONS[REVERSE],
            buyer=business_id,
            # The code is of the Union's law.
            reason_code=REASON_CODES[REVERSE] if country in EUROPEAN_UNION else "",
            seller_tax_id=local[0].tax_id,
        )
    return _Place(country, buyer.region, buyer.postal_code, local[0], local, "registration", "where it is supplied")


def _consumer_abroad(
    seller: Seller, home: Registration, shop: Registration | None, buyer: Buyer, day: date, rules: Rules
) -> _Place:
    """Tax a consumer of another member state there through the one stop shop, or, below its threshold, at home."""
    if shop is not None:
        words = "where the consumer is, through the one stop shop"
        there = Registration(shop.valid_from, shop.valid_to, buyer.country, tax_id=home.tax_id)
        return _Place(buyer.country, buyer.region, buyer.postal_code, there, (there,), "one_stop_shop", words)
    words = f"at home: a consumer in {buyer.country}, without a one stop shop"
    known = _covering(rules.registrations, seller.country, seller.region, day)
    return _Place(seller.country, seller.region, seller.postal_code, home, known, "home_threshold", words)


def business_tax_id(buyer: Buyer, seller: Seller | None) -> str:
    """Give a customer's tax id if it shows a business there; within the Union, one of another member state."""
    found = _id_country(buyer.tax_id, buyer.country)
    is_business = bool(found) and (
        found == buyer.country if seller is None else found in EUROPEAN_UNION and found != seller.country
    )
    return full_vat_id(buyer.tax_id, found) if is_business else ""


@lru_cache(maxsize=65_536)
def _id_country(tax_id: str, country: str) -> str:
    return tax_id_country(tax_id, country) if tax_id else ""


def _rated(place: _Place, supply: Supply, rules: Rules) -> Treatment:
    """Tax a line by the rates of its place."""
    best: dict[str, Rate] = {}
    for rate in rules.rates:
        if not (rate.holds_on(supply.day) and _is_there(rate, place) and rate.category in ("", supply.category)):
            continue
        known = best.get(rate.name)
        if known is None or _weight(rate) > _weight(known):
            best[rate.name] = rate
    rates = sorted(best.values(), key=lambda row: (bool(row.region), row.postal_prefix, row.name))
    where = f"{place.country}-{place.region}" if any(row.region for row in rates) else place.country
    seller_tax_id = place.registration.tax_id
    if not rates:
        rows = (Component("Tax", place.country, supply.plan_rate),) if supply.plan_rate else ()
        reason = f"No rate is kept for {place.country}, so the plan's {format_decimal(supply.plan_rate)} % is used"
        category = STANDARD if supply.plan_rate else ""
        return Treatment(category, "plan_rate", place.country, rows, reason, seller_tax_id=seller_tax_id)
    charged = [row for row in rates if row.percent]
    if not charged:
        exempt = next((row for row in rates if row.is_exempt), None)
        if exempt is not None:
            return _untaxed(
                EXEMPT, "rate_exempt", where, exempt.reason or REASONS[EXEMPT], seller_tax_id=seller_tax_id
            )
        return _untaxed(ZERO, "rate_zero", where, f"Zero rated in {where}", seller_tax_id=seller_tax_id)
    components = tuple(Component(row.name, row.jurisdiction, row.percent) for row in charged)
    return Treatment(
        STANDARD,
        place.basis,
        where,
        components,
        f"Taxed in {where}, {place.words}",
        seller_tax_id=seller_tax_id,
    )


def _is_there(rate: Rate, place: _Place) -> bool:
    """Whether a rate is of a place, and one of the merchant's registrations there is for it."""
    return (
        rate.country == place.country
        and rate.region in ("", place.region)
        and place.postal_code.startswith(rate.postal_prefix)
        # Who is registered in a province alone collects that province's tax, not the country's.
        and any(row.region in ("", rate.region) for row in place.registrations)
    )


def _weight(rate: Rate) -> tuple[bool, bool, int]:
    """Tell which of two rates of one tax is the more specific: an own one of the product, then the narrower place."""
    return bool(rate.category), bool(rate.region), len(rate.postal_prefix)


def _exempt(exemption: Exemption, buyer: Buyer, country: str, seller_tax_id: str) -> Treatment:
    reason = exemption.reason or REASONS.get(exemption.category, "")
    if exemption.certificate:
        reason = f"{reason} (certificate {exemption.certificate})"
    return _untaxed(
        exemption.category,
        "customer_exempt",
        country,
        reason,
        buyer=buyer.tax_id if exemption.category in (REVERSE, COMMUNITY) else "",
        seller_tax_id=seller_tax_id,
    )


def _own_rate(rate: Decimal, buyer: Buyer, country: str, seller_tax_id: str) -> Treatment:
    """Tax a line by the percent that was set for the customer."""
    if not rate:
        reason = buyer.zero_note or REASONS.get(buyer.zero_reason, "")
        return _untaxed(buyer.zero_reason, "customer_rate", country, reason, seller_tax_id=seller_tax_id)
    return Treatment(
        STANDARD,
        "customer_rate",
        country,
        (Component("Tax", country, rate),),
        "Taxed at the customer's own rate",
        seller_tax_id=seller_tax_id,
    )


def _outside(country: str, reason: str) -> Treatment:
    return _untaxed(OUTSIDE, "not_registered", country, reason)


def _untaxed(
    category: str,
    basis: str,
    jurisdiction: str,
    reason: str,
    *,
    reason_code: str | None = None,
    buyer: str = "",
    seller_tax_id: str = "",
) -> Treatment:
    code = REASON_CODES.get(category, "") if reason_code is None else reason_code
    return Treatment(category, basis, jurisdiction, (), reason, code, buyer, seller_tax_id)
