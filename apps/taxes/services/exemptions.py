"""Customers that pay no tax somewhere."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from django.db import transaction

from apps.customers.models import Customer
from apps.taxes.domain.rules import normal_region
from apps.taxes.models import TaxExemption
from apps.taxes.services.checks import check_place, days, refused, store


def create_exemption(
    *,
    customer: Customer,
    reason: str,
    category: str = "E",
    country: str = "",
    region: str = "",
    certificate: str = "",
    valid_from: date | None = None,
    valid_to: date | None = None,
) -> TaxExemption:
    """Say that a customer pays no tax, everywhere or in a place, on which grounds.

    Raises:
        InvalidError: a field is wrong.
        ConflictError: another exemption of the place is in force on some of the days.
    """
    row = TaxExemption(
        organization_id=customer.organization_id,
        customer=customer,
        country=country,
        region=normal_region(country, region),
        category=category,
        certificate=certificate,
        reason=reason,
        valid=days(valid_from, valid_to),
    )
    _check(row)
    store(row.save, what="exemption of this customer")
    return row


@transaction.atomic
def update_exemption(*, exemption_id: int, changes: Mapping[str, Any]) -> TaxExemption:
    """Change the reason, the certificate or the days of an exemption; issued invoices stay as they are.

    Raises:
        InvalidError: a field is wrong.
        ConflictError: another exemption of the place is in force on some of the days.
    """
    row = TaxExemption.objects.select_for_update().get(pk=exemption_id)
    for name, value in changes.items():
        if name not in ("valid_from", "valid_to"):
            setattr(row, name, value)
    row.valid = days(changes.get("valid_from", row.valid.lower), changes.get("valid_to", row.valid.upper))
    _check(row)
    store(row.save, what="exemption of this customer")
    return row


@transaction.atomic
def delete_exemption(*, exemption_id: int) -> None:
    """Take back an exemption that was a mistake; one that is over is ended instead."""
    TaxExemption.objects.filter(pk=exemption_id).delete()


def _check(row: TaxExemption) -> None:
    check_place(row.country, row.region, may_be_anywhere=True)
    if not row.reason.strip():
        raise refused("reason", "Quote the rule that exempts the customer.")
