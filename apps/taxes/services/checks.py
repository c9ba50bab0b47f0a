"""What places, days and percents of taxes must be."""

import re
from collections.abc import Callable
from datetime import date
from typing import TypeVar

from django.db import IntegrityError, transaction
from psycopg.types.range import DateRange

from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.organizations.domain.countries import COUNTRIES

Made = TypeVar("Made")
REGION = re.compile(r"[A-Z0-9]{1,20}")
POSTAL = re.compile(r"[A-Z0-9-]{0,12}")
TAX_ID = re.compile(r"[A-Z0-9/+&]{1,50}")


def refused(field: str, message: str) -> InvalidError:
    return InvalidError(message, errors=[FieldError(field, message, "invalid")])


def check_place(country: str, region: str, *, may_be_anywhere: bool = False) -> None:
    """Check a country and a region.

    Raises:
        InvalidError: one of them is no code.
    """
    if country not in COUNTRIES and not (may_be_anywhere and not country):
        raise refused("country", "Give the country by its two letters, such as DE.")
    if region and not (country and REGION.fullmatch(region)):
        raise refused("region", "Give the code of a state or province of the country, such as QC.")


def days(valid_from: date | None, valid_to: date | None) -> DateRange:
    """Give the days from one on, up to another that is not in it.

    Raises:
        InvalidError: there are none.
    """
    if valid_from is not None and valid_to is not None and valid_to <= valid_from:
        raise refused("validTo", "Give a day after validFrom; it is not in it itself.")
    return DateRange(valid_from, valid_to)


def store(save: Callable[[], Made], *, what: str) -> Made:
    """Write a row; what overlaps another one is refused.

    Raises:
        ConflictError: another of the same kind is in force on some of the days.
    """
    try:
        with transaction.atomic():
            return save()
    except IntegrityError as error:
        if "one_at_a_time" in str(error):
            raise ConflictError(
                f"Another {what} is in force on some of these days; end it first.", code="TAX_DATES_OVERLAP"
            ) from None
        if "code_once" in str(error):
            raise ConflictError(f"Another {what} has this code.", code="TAX_CODE_TAKEN") from None
        raise
