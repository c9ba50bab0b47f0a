"""Bursts: more slots for some time, given or bought."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import transaction

from apps.entitlements.events import SlotBurstCreated, SlotBurstVoided
from apps.entitlements.models import Entitlement, SlotBurst
from apps.entitlements.selectors.slots import present_of_pool
from apps.entitlements.services.slots import lock_pool, require_slots
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.outbox.services import Announcement, publish_all

# Who else has keys of a pool: what is about to be bought, which a higher app knows.
_key_holders: list[Callable[[int, str], bool]] = []


def register_burst_key_holder(holds: Callable[[int, str], bool]) -> None:
    """Let a higher app tell whether an idempotency key of a slot pool (by its key) is used already."""
    _key_holders.append(holds)


@dataclass(frozen=True, slots=True)
class Paid:
    """What a burst was bought for, kept as it was then.

    Attributes:
        price: of all its slots, major units.
    """

    price: Decimal
    unit_price: Decimal
    currency: str
    invoice_reference: str


@transaction.atomic
def grant_burst(
    *,
    entitlement: Entitlement,
    slots: int,
    starts_at: datetime,
    ends_at: datetime,
    key: str,
    reason: str = "",
    paid: Paid | None = None,
) -> tuple[SlotBurst, bool]:
    """Raise how many slots may be held for some time, or give the burst that the same key made before.

    Args:
        paid: None gives it.

    Returns:
        The burst, and whether it is new.

    Raises:
        InvalidError: it does not end after its start, or the feature has no slots.
        ConflictError: the key made another burst, or bought one.
    """
    pool = lock_pool(require_slots(entitlement))
    reference = paid.invoice_reference if paid is not None else ""
    known = SlotBurst.objects.filter(pool=pool, idempotency_key=key).first()
    if known is not None:
        is_same = (known.slots, known.starts_at, known.ends_at, known.invoice_reference) == (
            slots, starts_at, ends_at, reference,
        )  # fmt: skip
        if not is_same:
            raise ConflictError(
                "This idempotency key belongs to another burst; use a new key.", code="IDEMPOTENCY_KEY_REUSED"
            )
        return known, False
    # What is bought has the key of its purchase.
    if paid is None and any(holds(pool.pk, key) for holds in _key_holders):
        raise ConflictError(
            "This idempotency key belongs to a purchase; use a new key.", code="IDEMPOTENCY_KEY_REUSED"
        )
    if ends_at <= starts_at:
        message = "The end must lie after the start."
        raise InvalidError(message, errors=[FieldError("endsAt", message, "invalid")])
    made = SlotBurst.objects.create(
        organization_id=pool.organization_id,
        pool=pool,
        slots=slots,
        starts_at=starts_at,
        ends_at=ends_at,
        reason=reason,
        idempotency_key=key,
        price=paid.price if paid is not None else None,
        unit_price=paid.unit_price if paid is not None else None,
        currency=paid.currency if paid is not None else "",
        invoice_reference=reference,
    )
    created = SlotBurstCreated(
        made.public_id, pool.customer.public_id, pool.feature.key, made.slots, made.starts_at, made.ends_at
    )
    publish_all([Announcement(created, made.organization_id, made.public_id, present_of_pool(pool))])
    return made, True


@transaction.atomic
def void_burst(*, burst_id: int, as_of: datetime) -> SlotBurst:
    """End a burst now. Twice is fine."""
    rows = SlotBurst.objects.select_for_update(of=("self",)).select_related("pool__customer", "pool__feature")
    burst = rows.get(pk=burst_id)
    if burst.voided_at is None:
        burst.voided_at = as_of
        burst.save(update_fields=["voided_at", "updated_at"])
        voided = SlotBurstVoided(
            burst.public_id, burst.pool.customer.public_id, burst.pool.feature.key, burst.voided_at
        )
        publish_all([Announcement(voided, burst.organization_id, burst.public_id, as_of)])
    return burst
