"""The demo merchant's taxes: registered in Germany, with the rates that its customers need."""

from datetime import date
from decimal import Decimal

from apps.organizations.models import Organization
from apps.taxes.services.rates import create_category, create_rate
from apps.taxes.services.registrations import create_registration

# Nobody's, with check digits that are right.
GERMAN_VAT_ID, FRENCH_VAT_ID = "DE123456788", "FR25900000019"


def seed_taxes(merchant: Organization) -> None:
    """Register the demo merchant, whose customers are then at home, businesses of the EU, or beyond it."""
    create_registration(organization_id=merchant.pk, country="DE", tax_id=GERMAN_VAT_ID)
    since = date(2021, 1, 1)
    create_rate(organization_id=merchant.pk, country="DE", name="VAT", percent=Decimal(19), valid_from=since)
    books = create_category(organization_id=merchant.pk, code="ebook", name="Electronic books")
    create_rate(
        organization_id=merchant.pk,
        country="DE",
        name="VAT",
        percent=Decimal(7),
        kind="reduced",
        category=books,
        valid_from=since,
    )
