"""Own ids of a merchant follow its customers in time."""

from collections.abc import Callable
from datetime import datetime

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import F, Max

from apps.customers.models import Customer, ExternalIdLink

_presents: list[Callable[[int], datetime | None]] = []


def register_present(find: Callable[[int], datetime | None]) -> None:
    """Let a higher app say in which present a customer lives: an instant by its key, None for the wall clock's."""
    _presents.append(find)


def follow_external_id(*, customer: Customer, as_of: datetime) -> None:
    """Make the dated links say what the customer's row says: in the transaction that changed it, and behind it.

    A link that ends does so at the customer's present; one that begins reaches back to the end of the id's last
    one, or to the beginning. So no moment changes its owner afterwards, and no event between two owners is lost.
    """
    wanted = None if customer.deleted_at is not None else customer.external_id
    current = ExternalIdLink.objects.select_for_update().filter(customer=customer, valid__upper_inf=True).first()
    if current is not None:
        if current.external_id == wanted:
            return
        start = current.valid.lower
        present = next((moment for find in _presents if (moment := find(customer.pk)) is not None), as_of)
        if start is not None and start >= present:
            current.delete()  # it never stood for anything
        else:
            current.valid = DateTimeTZRange(start, present)
            current.save(update_fields=["valid"])
    if wanted is not None:
        earlier = ExternalIdLink.objects.filter(organization_id=customer.organization_id, external_id=wanted)
        start = earlier.aggregate(end=Max(F("valid__endswith")))["end"]
        ExternalIdLink.objects.create(
            organization_id=customer.organization_id,
            customer=customer,
            external_id=wanted,
            valid=DateTimeTZRange(start, None),
        )
