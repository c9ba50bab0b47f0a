"""What decides the tax of a line, as plain data: where a merchant is registered, its rates, and who is exempt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

# EN 16931's codes of what happens to a line's tax.
STANDARD, ZERO, EXEMPT, REVERSE, COMMUNITY, EXPORT, OUTSIDE = "S", "Z", "E", "AE", "K", "G", "O"
# How businesses of a country are treated that have a valid tax id.
BY_LAW, REVERSED, CHARGED = "by_law", "reverse_charge", "charged"
DOMESTIC, OSS = "domestic", "oss"

_MEMBERS = "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE"
EUROPEAN_UNION = frozenset(_MEMBERS.split())


@dataclass(frozen=True, slots=True)
class Dated:
    """Something that holds from a day on, up to a day that is not in it; None has no bound."""

    valid_from: date | None
    valid_to: date | None

    def holds_on(self, day: date) -> bool:
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_to is None or day < self.valid_to)


@dataclass(frozen=True, slots=True)
class Registration(Dated):
    """Where a merchant collects tax, and under which id.

    Attributes:
        region: a state or province; empty for the whole country.
        scheme: of its country alone, or of the one stop shop for consumers in the European Union.
        businesses: whether those of other countries, or all, owe the tax themselves.
    """

    country: str
    region: str = ""
    tax_id: str = ""
    scheme: str = DOMESTIC
    businesses: str = BY_LAW

    def covers(self, country: str, region: str) -> bool:
        """Whether it is for supplies to a place."""
        return self.scheme == DOMESTIC and self.country == country and self.region in ("", region)


@dataclass(frozen=True, slots=True)
class Rate(Dated):
    """A percent of one tax in one place; taxes of different names are added up.

    Attributes:
        name: of the tax, such as VAT, GST or State; the most specific rate of a name is the one that counts.
        region, postal_prefix: narrower than the country, or empty.
        category: code of the product tax category; empty for everything without an own rate.
        is_exempt: 0 % because the law exempts it, not because its rate is zero.
    """

    country: str
    name: str
    percent: Decimal
    region: str = ""
    postal_prefix: str = ""
    category: str = ""
    is_exempt: bool = False
    reason: str = ""

    @property
    def jurisdiction(self) -> str:
        place = f"{self.country}-{self.region}" if self.region else self.country
        return f"{place} {self.postal_prefix}" if self.postal_prefix else place


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of product as tax law sees it.

    Attributes:
        is_exempt: exempt wherever it is sold.
        is_goods: is shipped, so that leaving the country is an export or a supply within the Union.
    """

    code: str
    is_exempt: bool = False
    is_goods: bool = False
    reason: str = ""
    reason_code: str = ""


@dataclass(frozen=True, slots=True)
class Exemption(Dated):
    """Why a customer pays no tax, where and for how long; an empty country is everywhere."""

    country: str
    region: str
    category: str
    certificate: str = ""
    reason: str = ""

    def covers(self, country: str, region: str) -> bool:
        return self.country in ("", country) and self.region in ("", region)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a merchant set about taxes; without a registration the settings of plans and customers decide alone."""

    registrations: Sequence[Registration] = ()
    rates: Sequence[Rate] = ()
    categories: Mapping[str, Category] = field(default_factory=dict)

    @property
    def go_by_postal_codes(self) -> bool:
        return any(row.postal_prefix for row in self.rates)

    def are_in_force(self, day: date) -> bool:
        """Whether the merchant was registered anywhere by a day.

        One that gave up its last registration collects nothing; it does not go back to what plans say.
        """
        return any(row.valid_from is None or row.valid_from <= day for row in self.registrations)


def normal_region(country: str, text: str) -> str:
    """Give a state or province as rates name it: its code in capitals, without the country that may stand before."""
    return text.strip().upper().removeprefix(f"{country}-")


def normal_postal_code(text: str) -> str:
    return "".join(text.split()).upper()
