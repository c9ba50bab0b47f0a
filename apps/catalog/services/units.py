"""Pricing units: what credits are counted in."""

import re
from datetime import datetime

from django.db import IntegrityError, transaction

from apps.catalog.models import PricingUnit
from apps.kernel.errors import ConflictError, FieldError, InvalidError

KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)


@transaction.atomic
def create_unit(*, organization_id: int, key: str, name: str) -> PricingUnit:
    """Make a pricing unit.

    Raises:
        InvalidError: the key is not plain, or there is no name.
        ConflictError: another unit has the key.
    """
    unit = PricingUnit(organization_id=organization_id, key=key, name=name)
    check_unit(unit)
    try:
        with transaction.atomic():
            unit.save()
    except IntegrityError:
        raise ConflictError(
            f"The key {key} is another pricing unit's; choose a new one.", code="PRICING_UNIT_KEY_TAKEN"
        ) from None
    return unit


@transaction.atomic
def rename_unit(*, unit_id: int, name: str) -> PricingUnit:
    """Change what a unit is called; what it counts, and its key, stay."""
    unit = PricingUnit.objects.select_for_update().get(pk=unit_id)
    unit.name = name
    check_unit(unit)
    unit.save(update_fields=["name", "updated_at"])
    return unit


@transaction.atomic
def archive_unit(*, unit_id: int, as_of: datetime) -> PricingUnit:
    """Let no price or plan take a unit any more; those that have it, and pools, go on. Twice is fine."""
    unit = PricingUnit.objects.select_for_update().get(pk=unit_id)
    if unit.archived_at is None:
        unit.archived_at = as_of
        unit.save(update_fields=["archived_at", "updated_at"])
    return unit


def check_unit(unit: PricingUnit) -> None:
    """Check all rules of a unit at once.

    Raises:
        InvalidError: naming every bad field.
    """
    errors = []
    if not KEY.fullmatch(unit.key):
        errors.append(
            FieldError("key", "Use 1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit.", "invalid")
        )
    if not unit.name.strip():
        errors.append(FieldError("name", "Give a name.", "required"))
    if errors:
        raise InvalidError("The pricing unit is malformed.", errors=errors)
