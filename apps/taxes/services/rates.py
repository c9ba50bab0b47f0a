"""Tax rates by place, product and day, and the kinds of products they are for."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import ProtectedError

from apps.kernel.errors import ConflictError
from apps.taxes.domain.rules import normal_postal_code, normal_region
from apps.taxes.models import RateKind, TaxCategory, TaxRate
from apps.taxes.services.checks import POSTAL, check_place, days, refused, store

UNTAXED = (RateKind.ZERO, RateKind.EXEMPT)


def create_category(
    *,
    organization_id: int,
    code: str,
    name: str,
    is_exempt: bool = False,
    is_goods: bool = False,
    reason: str = "",
    reason_code: str = "",
) -> TaxCategory:
    """Make a kind of product with rates of its own, or one that is exempt.

    Raises:
        InvalidError: an exempt one says no reason, or another one does.
        ConflictError: the code is taken.
    """
    row = TaxCategory(
        organization_id=organization_id, code=code, name=name, is_exempt=is_exempt, is_goods=is_goods, reason=reason,
        reason_code=reason_code,
    )  # fmt: skip
    _check_category(row)
    store(row.save, what="tax category")
    return row


@transaction.atomic
def update_category(*, category_id: int, changes: Mapping[str, Any]) -> TaxCategory:
    """Change a kind of product; issued invoices stay as they are.

    Raises:
        InvalidError: an exempt one says no reason, or another one does.
    """
    row = TaxCategory.objects.select_for_update().get(pk=category_id)
    for name, value in changes.items():
        setattr(row, name, value)
    _check_category(row)
    row.save()
    return row


@transaction.atomic
def delete_category(*, category_id: int) -> None:
    """Take a kind of product away that has no rates.

    Raises:
        ConflictError: it has some.
    """
    try:
        TaxCategory.objects.filter(pk=category_id).delete()
    except ProtectedError:
        raise ConflictError("Rates are of this category; delete them first.", code="TAX_CATEGORY_IN_USE") from None


def create_rate(
    *,
    organization_id: int,
    country: str,
    name: str,
    percent: Decimal,
    region: str = "",
    postal_prefix: str = "",
    category: TaxCategory | None = None,
    kind: str = RateKind.STANDARD,
    reason: str = "",
    valid_from: date | None = None,
    valid_to: date | None = None,
) -> TaxRate:
    """Say what one tax of a place is from a day on; taxes of different names are added up.

    Args:
        percent: 0 to 100, at most 4 decimal places; 0 is zero rated or exempt, which `kind` says.
        reason: of an exempt one.

    Raises:
        InvalidError: a field is wrong.
        ConflictError: another rate of that tax, place and category is in force on some of the days.
    """
    row = TaxRate(
        organization_id=organization_id,
        country=country,
        region=normal_region(country, region),
        postal_prefix=normal_postal_code(postal_prefix),
        name=name.strip(),
        category=category,
        kind=kind,
        percent=percent,
        reason=reason,
        valid=days(valid_from, valid_to),
    )
    _check_rate(row)
    store(row.save, what="rate of this tax")
    return row


@transaction.atomic
def update_rate(*, rate_id: int, changes: Mapping[str, Any]) -> TaxRate:
    """Correct the percent, kind, reason or days of a rate; issued invoices stay as they are.

    Raises:
        InvalidError: a field is wrong.
        ConflictError: another rate of that tax, place and category is in force on some of the days.
    """
    row = TaxRate.objects.select_for_update().get(pk=rate_id)
    for name, value in changes.items():
        if name not in ("valid_from", "valid_to"):
            setattr(row, name, value)
    row.valid = days(changes.get("valid_from", row.valid.lower), changes.get("valid_to", row.valid.upper))
    _check_rate(row)
    store(row.save, what="rate of this tax")
    return row


@transaction.atomic
def delete_rate(*, rate_id: int) -> None:
    """Take back a rate that was a mistake; one that is over is ended instead."""
    TaxRate.objects.filter(pk=rate_id).delete()


def _check_category(row: TaxCategory) -> None:
    if row.is_exempt and not row.reason:
        raise refused("reason", "Quote the rule that exempts it.")
    if not row.is_exempt and (row.reason or row.reason_code):
        raise refused("reason", "Only what is exempt has a reason.")


def _check_rate(row: TaxRate) -> None:
    check_place(row.country, row.region)
    if not POSTAL.fullmatch(row.postal_prefix):
        raise refused("postalPrefix", "Give the beginning of postal codes, in letters and digits, such as 787.")
    if not row.name:
        raise refused("name", "Name the tax, such as VAT.")
    if not 0 <= row.percent <= 100 or row.percent != round(row.percent, 4):
        raise refused("percent", "Give a percent from 0 to 100 with at most 4 decimal places.")
    if (row.kind in UNTAXED) != (not row.percent):
        raise refused("kind", "0 % is zero rated or exempt; more is standard or reduced.")
    if (row.kind == RateKind.EXEMPT) != bool(row.reason):
        raise refused("reason", "Quote the rule where a rate is exempt, and only there.")
