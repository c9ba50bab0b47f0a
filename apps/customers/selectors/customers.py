from django.db.models import QuerySet

from apps.customers.models import Customer
from apps.organizations.models import Organization

# Countries whose tax depends on the state, so that an address without one cannot be taxed.
NEED_STATE = frozenset({"US", "CA"})


def customers_of(*, organization_id: int) -> QuerySet[Customer]:
    """Give a merchant's customers, newest first."""
    rows = Customer.objects.filter(organization_id=organization_id, deleted_at__isnull=True)
    return rows.select_related("organization", "consumer").order_by("-id")


def tax_address_problem(consumer: Organization) -> str | None:
    """Say why an address cannot be taxed; None when it can."""
    if len(consumer.country) != 2 or not consumer.country.isalpha():
        return "The address needs a two-letter country code."
    if consumer.country in NEED_STATE and not consumer.state:
        return "Addresses in the US and Canada need a state."
    if consumer.country in NEED_STATE and not consumer.zip_code:
        return "Addresses in the US and Canada need a postal code."
    return None
