"""Where a merchant collects tax."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from django.db import transaction

from apps.organizations.domain.identifiers import compact, tax_id_problem
from apps.taxes.domain.rules import EUROPEAN_UNION, OSS, normal_region
from apps.taxes.models import TaxRegistration
from apps.taxes.services.checks import TAX_ID, check_place, days, refused, store


def create_registration(
    *,
    organization_id: int,
    country: str,
    tax_id: str,
    region: str = "",
    scheme: str = "domestic",
    businesses: str = "by_law",
    valid_from: date | None = None,
    valid_to: date | None = None,
) -> TaxRegistration:
    """Register a merchant for tax from a day on: lines with a later tax point are taxed by jurisdiction.

    Args:
        tax_id: of the registration; a country's own is checked by its rule, a region's by nothing but being there.
        scheme: "oss" collects the tax of consumers of all member states.

    Raises:
        InvalidError: a field is wrong.
        ConflictError: another registration of the place is in force on some of the days.
    """
    row = TaxRegistration(
        organization_id=organization_id,
        country=country,
        region=normal_region(country, region),
        scheme=scheme,
        tax_id=tax_id,
        businesses=businesses,
        valid=days(valid_from, valid_to),
    )
    _check(row)
    store(row.save, what="registration of this place")
    return row


@transaction.atomic
def update_registration(*, registration_id: int, changes: Mapping[str, Any]) -> TaxRegistration:
    """Change the tax id, who owes, or the days of a registration; issued invoices stay as they are.

    Raises:
        InvalidError: a field is wrong.
        ConflictError: another registration of the place is in force on some of the days.
    """
    row = TaxRegistration.objects.select_for_update().get(pk=registration_id)
    for name, value in changes.items():
        if name not in ("valid_from", "valid_to"):
            setattr(row, name, value)
    row.valid = days(changes.get("valid_from", row.valid.lower), changes.get("valid_to", row.valid.upper))
    _check(row)
    store(row.save, what="registration of this place")
    return row


@transaction.atomic
def delete_registration(*, registration_id: int) -> None:
    """Take back a registration that was a mistake; one that is over is ended instead."""
    TaxRegistration.objects.filter(pk=registration_id).delete()


def _check(row: TaxRegistration) -> None:
    check_place(row.country, row.region)
    row.tax_id = compact(row.tax_id)
    if not TAX_ID.fullmatch(row.tax_id):
        raise refused("taxId", "Give the id under which the tax is collected, in letters and digits.")
    if row.scheme == OSS:
        if row.region:
            raise refused("region", "The one stop shop is of whole countries.")
        # Ids of the shop have no public rule where the merchant is from outside the Union.
        if row.country not in EUROPEAN_UNION:
            raise refused("country", "Give the member state where the one stop shop is.")
        return
    problem = None if row.region else tax_id_problem(row.country, row.tax_id)
    if problem is not None:
        raise refused("taxId", problem)
