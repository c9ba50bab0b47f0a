"""Coupons: making them, and counting who redeems them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from apps.catalog.models import BillableMetric, Coupon, CouponDuration, CouponTarget, Plan, Price
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.money import is_currency, round_money

CODE = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
# What may change while people use it; what it takes off never does.
CHANGEABLE = ("name", "expires_at", "max_redemptions", "max_redemptions_per_customer")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a coupon is off: everything where nothing is named, else what any of them names."""

    prices: Sequence[Price] = ()
    metrics: Sequence[BillableMetric] = ()
    plans: Sequence[Plan] = ()


@transaction.atomic
def create_coupon(*, organization_id: int, limits: Limits, **fields: Any) -> Coupon:
    """Make a coupon.

    Raises:
        InvalidError: the fields contradict each other; every bad one is named.
        ConflictError: another coupon that is not archived has the code.
    """
    coupon = Coupon(organization_id=organization_id, **fields)
    check_coupon(coupon)
    try:
        with transaction.atomic():
            coupon.save()
    except IntegrityError:
        if not _live(organization_id).filter(code=coupon.code).exists():
            raise
        raise ConflictError(
            f"The code {coupon.code} is taken; archive that coupon first.", code="COUPON_CODE_TAKEN"
        ) from None
    rows = [
        *(CouponTarget(price=price) for price in dict.fromkeys(limits.prices)),
        *(CouponTarget(metric=metric) for metric in dict.fromkeys(limits.metrics)),
        *(CouponTarget(plan=plan) for plan in dict.fromkeys(limits.plans)),
    ]
    for row in rows:
        row.organization_id, row.coupon = organization_id, coupon
    CouponTarget.objects.bulk_create(rows)
    return coupon


@transaction.atomic
def update_coupon(*, coupon_id: int, changes: dict[str, Any]) -> Coupon:
    """Change a coupon's name, or who may still redeem it.

    Raises:
        InvalidError: a limit is below what is redeemed already.
    """
    coupon = Coupon.objects.select_for_update().get(pk=coupon_id)
    for name in CHANGEABLE:
        if name in changes:
            setattr(coupon, name, changes[name])
    check_coupon(coupon)
    coupon.save()
    return coupon


@transaction.atomic
def archive_coupon(*, coupon_id: int, as_of: datetime) -> Coupon:
    """Let nobody redeem a coupon any more; who has it keeps it. Its code is free again; twice is fine."""
    coupon = Coupon.objects.select_for_update().get(pk=coupon_id)
    if coupon.archived_at is None:
        coupon.archived_at = as_of
        coupon.save(update_fields=["archived_at", "updated_at"])
    return coupon


def redeem(*, organization_id: int, code: str, as_of: datetime) -> Coupon:
    """Count one more redemption of a coupon, under its lock (caller's transaction).

    Raises:
        InvalidError: no coupon has the code.
        ConflictError: it is expired, or redeemed as often as it may be.
    """
    coupon: Coupon | None = _live(organization_id).select_for_update().filter(code=code).first()
    if coupon is None:
        raise InvalidError(
            f"There is no coupon {code}.", errors=[FieldError("code", f"There is no coupon {code}.", "not_found")]
        )
    if coupon.expires_at is not None and coupon.expires_at <= as_of:
        raise ConflictError("The coupon has expired.", code="COUPON_EXPIRED")
    if coupon.max_redemptions is not None and coupon.redemption_count >= coupon.max_redemptions:
        raise ConflictError("The coupon is redeemed as often as it may be.", code="COUPON_EXHAUSTED")
    coupon.redemption_count += 1
    coupon.save(update_fields=["redemption_count", "updated_at"])
    return coupon


def give_back(*, coupon_id: int) -> None:
    """Uncount a redemption that was never used (caller's transaction)."""
    coupon = Coupon.objects.select_for_update().get(pk=coupon_id)
    coupon.redemption_count -= 1
    coupon.save(update_fields=["redemption_count", "updated_at"])


def check_coupon(coupon: Coupon) -> None:
    """Check all rules of a coupon at once.

    Raises:
        InvalidError: naming every bad field.
    """
    errors = []
    if not CODE.fullmatch(coupon.code):
        errors.append(FieldError("code", "Use 1 to 64 letters, digits, - and _.", "invalid"))
    errors.extend(_value_errors(coupon))
    is_repeating = coupon.duration == CouponDuration.REPEATING
    if is_repeating and not coupon.duration_periods:
        errors.append(FieldError("durationPeriods", "Say how many invoices it reduces.", "required"))
    if not is_repeating and coupon.duration_periods is not None:
        errors.append(FieldError("durationPeriods", "Only for a coupon that repeats.", "invalid"))
    if coupon.max_redemptions is not None and coupon.max_redemptions < max(coupon.redemption_count, 1):
        least = max(coupon.redemption_count, 1)
        errors.append(FieldError("maxRedemptions", f"Give at least {least}; so many are redeemed.", "too_small"))
    if coupon.max_redemptions_per_customer is not None and coupon.max_redemptions_per_customer < 1:
        errors.append(FieldError("maxRedemptionsPerCustomer", "Give at least 1.", "too_small"))
    if errors:
        raise InvalidError("The coupon is malformed.", errors=errors)


def _value_errors(coupon: Coupon) -> list[FieldError]:
    if (coupon.percentage is None) == (coupon.amount is None):
        return [FieldError("percentageOff", "Give either percentageOff or amountOff.", "required")]
    if coupon.percentage is not None:
        errors = []
        if not 0 < coupon.percentage <= 1:
            message = "Give a fraction above 0, at most 1: 0.2 is 20 %."
            errors.append(FieldError("percentageOff", message, "out_of_range"))
        if coupon.currency:
            errors.append(FieldError("currency", "Only an amount has a currency.", "invalid"))
        return errors
    assert coupon.amount is not None
    if not is_currency(coupon.currency):
        return [FieldError("currency", "Give an ISO 4217 code, such as USD.", "invalid")]
    if coupon.amount <= 0 or coupon.amount != round_money(coupon.amount, coupon.currency):
        return [FieldError("amountOff", "Give an amount above 0 in whole minor units.", "invalid")]
    return []


def _live(organization_id: int) -> Any:
    return Coupon.objects.filter(organization_id=organization_id, archived_at__isnull=True)
