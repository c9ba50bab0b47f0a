"""What decides taxes, read once for many invoices."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from apps.customers.models import Customer
from apps.organizations.models import Organization
from apps.taxes.domain.decision import Buyer, Seller, Supply, decide
from apps.taxes.domain.rules import (
    Category,
    Exemption,
    Rate,
    Registration,
    Rules,
    normal_postal_code,
    normal_region,
)
from apps.taxes.domain.treatment import Treatment
from apps.taxes.models import RateKind, TaxCategory, TaxExemption, TaxRate, TaxRegistration


@dataclass
class TaxBook:
    """The rules of merchants and the exemptions of customers; a decision is made once, however many lines ask.

    Attributes:
        rules: by organization; one without a registration is not in it.
        exemptions: by customer.
    """

    rules: dict[int, Rules] = field(default_factory=dict)
    exemptions: dict[int, tuple[Exemption, ...]] = field(default_factory=dict)
    _buyers: dict[int, Buyer] = field(default_factory=dict)
    _decided: dict[tuple[int, Buyer, Supply], Treatment | None] = field(default_factory=dict)

    def decide(self, organization: Organization, customer: Customer, supply: Supply) -> Treatment | None:
        """Decide the tax of a line; None where the settings of plan and customer decide alone."""
        rules = self.rules.get(organization.pk)
        if rules is None:
            return None
        buyer = self._buyer(customer, rules)
        # Customers of one place and kind are taxed alike.
        key = (organization.pk, buyer, supply)
        if key not in self._decided:
            self._decided[key] = decide(_seller(organization), buyer, supply, rules)
        return self._decided[key]

    def _buyer(self, customer: Customer, rules: Rules) -> Buyer:
        if customer.pk not in self._buyers:
            found = _buyer(customer, self.exemptions.get(customer.pk, ()))
            self._buyers[customer.pk] = found if rules.go_by_postal_codes else replace(found, postal_code="")
        return self._buyers[customer.pk]


def tax_book(*, organization_ids: Collection[int], customer_ids: Collection[int]) -> TaxBook:
    """Read what decides the taxes of bills of some merchants and customers: one query where nobody is registered."""
    registrations: dict[int, list[Registration]] = defaultdict(list)
    for row in TaxRegistration.objects.filter(organization_id__in=set(organization_ids)).order_by("pk"):
        registrations[row.organization_id].append(
            Registration(
                row.valid.lower, row.valid.upper, row.country, row.region, row.tax_id, row.scheme, row.businesses
            )
        )
    if not registrations:
        return TaxBook()
    rates: dict[int, list[Rate]] = defaultdict(list)
    for rate in TaxRate.objects.filter(organization_id__in=registrations).select_related("category").order_by("pk"):
        rates[rate.organization_id].append(_rate(rate))
    categories: dict[int, dict[str, Category]] = defaultdict(dict)
    for kind in TaxCategory.objects.filter(organization_id__in=registrations):
        categories[kind.organization_id][kind.code] = Category(
            kind.code, kind.is_exempt, kind.is_goods, kind.reason, kind.reason_code
        )
    exemptions: dict[int, list[Exemption]] = defaultdict(list)
    for found in TaxExemption.objects.filter(
        organization_id__in=registrations, customer_id__in=set(customer_ids)
    ).order_by("-country", "-region", "pk"):
        exemptions[found.customer_id].append(
            Exemption(
                found.valid.lower,
                found.valid.upper,
                found.country,
                found.region,
                found.category,
                found.certificate,
                found.reason,
            )
        )
    return TaxBook(
        {key: Rules(tuple(rows), tuple(rates[key]), categories[key]) for key, rows in registrations.items()},
        {key: tuple(rows) for key, rows in exemptions.items()},
    )


def _rate(row: TaxRate) -> Rate:
    return Rate(
        row.valid.lower,
        row.valid.upper,
        row.country,
        row.name,
        row.percent.normalize() + 0,
        row.region,
        row.postal_prefix,
        row.category.code if row.category is not None else "",
        row.kind == RateKind.EXEMPT,
        row.reason,
    )


def _seller(merchant: Organization) -> Seller:
    return Seller(
        merchant.country, normal_region(merchant.country, merchant.state), normal_postal_code(merchant.zip_code)
    )


def _buyer(customer: Customer, exemptions: tuple[Exemption, ...]) -> Buyer:
    if customer.consumer_id is None:
        # Nobody in particular, of whom a price is tried out.
        return Buyer("")
    consumer = customer.consumer
    return Buyer(
        consumer.country,
        normal_region(consumer.country, consumer.state),
        normal_postal_code(consumer.zip_code),
        customer.tax_id,
        exemptions,
        customer.zero_tax_reason,
        customer.zero_tax_note,
    )
