"""Slots: acquired, kept by heartbeats, released, and taken from who forgets them; never more at once than may be."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Min, QuerySet

from apps.entitlements.models import Entitlement, Slot, SlotEnd, SlotPool
from apps.entitlements.selectors.asking import Asked, find_rights
from apps.entitlements.selectors.slots import (
    Room,
    held_slots,
    limit_of,
    next_free_at,
    present_of_pool,
    rank_of,
)
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.ids import new_id
from apps.kernel.time import format_instant
from apps.metering.selectors.registry import metrics_fed_by
from apps.metering.services.staging import accept_events
from apps.organizations.models import Organization
from apps.subscriptions.selectors.clocks import find_clock, on_clock

SHORTEST_LEASE, LONGEST_LEASE = 5, 366 * 86_400
SOURCE = "metergate/slots"
CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class Acquired:
    """A slot with what the others hold.

    Attributes:
        is_new: False where the same key acquired it before.
    """

    slot: Slot
    room: Room
    is_new: bool


@transaction.atomic
def acquire_slot(*, organization_id: int, asked: Asked, key: str, lease: timedelta, holder: str = "") -> Acquired:
    """Take a slot, or give the one that the same key holds already.

    The pool is locked until the transaction ends: however many ask at once, in whatever process, no more get one
    than there are.

    Raises:
        ConflictError: the customer has no right to the feature, all slots are taken, or what the key took is over.
        InvalidError: the feature has no slots.
    """
    (right,) = find_rights(organization_id=organization_id, asked=[asked])
    if right is None:
        raise ConflictError("The customer has no right to this feature now.", code="NOT_ENTITLED")
    row = require_slots(right.entitlement)
    pool = lock_pool(row)
    at = present_of_pool(pool)
    limit = limit_of(customer_id=pool.customer_id, feature_id=pool.feature_id, at=at)
    known = Slot.objects.filter(pool=pool, idempotency_key=key).first()
    if known is not None:
        # Whoever asks believes to hold what is answered, and what is over is held by nobody.
        _require_held(known, at, "acquire another with a new key")
        return Acquired(known, Room(limit, held_slots(at).filter(pool=pool).count()), False)
    _end_lapsed(pool, at)
    held = held_slots(at).filter(pool=pool).count()
    if held >= limit:
        free_at = next_free_at(pool, at=at)
        raise ConflictError(
            f"All {limit} slots are taken; release one, or try again when one is free.",
            code="SLOTS_TAKEN",
            details={
                "limit": limit,
                "held": held,
                "nextExpiryAt": None if free_at is None else format_instant(free_at),
            },
        )
    slot = Slot.objects.create(
        organization_id=organization_id,
        pool=pool,
        holder=holder,
        acquired_at=at,
        lease_seconds=int(lease.total_seconds()),
        expires_at=at + lease,
        idempotency_key=key,
    )
    _tell(pool, [_Change(slot, "acquired", at, 1, held + 1)], at)
    return Acquired(slot, Room(limit, held + 1), True)


@transaction.atomic
def keep_slot(*, slot_id: int, lease: timedelta | None = None) -> Slot:
    """Say that a slot is still in use: it is held for its lease from now on, never for less than it was.

    Args:
        lease: another lease from now on.

    Raises:
        ConflictError: it ended, it was forgotten for too long, or the limit fell and those that were acquired before
            it take all there is.
    """
    # Not the pool: heartbeats of one do not wait for another. Whoever sweeps up looks at the row again.
    slot = Slot.objects.select_for_update(of=("self",)).select_related("pool__test_clock").get(pk=slot_id)
    at = present_of_pool(slot.pool)
    _require_held(slot, at, "acquire another")
    limit = limit_of(customer_id=slot.pool.customer_id, feature_id=slot.pool.feature_id, at=at)
    if rank_of(slot, at=at) >= limit:
        raise ConflictError(
            f"Only {limit} slots may be held now; this one ends at {format_instant(slot.expires_at)}.",
            code="SLOTS_OVER_LIMIT",
            details={"limit": limit, "expiresAt": format_instant(slot.expires_at)},
        )
    if lease is not None:
        slot.lease_seconds = int(lease.total_seconds())
    slot.expires_at = max(slot.expires_at, at + timedelta(seconds=slot.lease_seconds))
    slot.save(update_fields=["lease_seconds", "expires_at", "updated_at"])
    return slot


@transaction.atomic
def release_slot(*, slot_id: int, end: SlotEnd = SlotEnd.RELEASED) -> Slot:
    """Give a slot back; one that ended already is given as it is."""
    pool_id = Slot.objects.values_list("pool_id", flat=True).get(pk=slot_id)
    pool = _locked_pool(pool_id)
    at = present_of_pool(pool)
    _end_lapsed(pool, at)
    slot = Slot.objects.select_for_update(of=("self",)).select_related("pool__test_clock").get(pk=slot_id)
    if slot.ended_at is None:
        slot.ended_at, slot.end = max(at, slot.acquired_at), end
        slot.save(update_fields=["ended_at", "end", "updated_at"])
        left = held_slots(at).filter(pool=pool).count()
        _tell(pool, [_Change(slot, "ended", slot.ended_at, -1, left)], at)
    return slot


def require_slots(entitlement: Entitlement) -> Entitlement:
    """Refuse what only features with slots can do.

    Raises:
        InvalidError: this one has none.
    """
    if entitlement.slots is None:
        message = "The feature has no slots; its entitlement template says how many there are with `slots`."
        raise InvalidError(message, errors=[FieldError("featureId", message, "invalid")])
    return entitlement


def _require_held(slot: Slot, at: datetime, advice: str) -> None:
    """Refuse what is over, whoever ended it.

    Raises:
        ConflictError: it was released, or its lease ended.
    """
    if slot.ended_at is None and slot.expires_at > at:
        return
    ended_at = format_instant(slot.ended_at or slot.expires_at)
    raise ConflictError(
        f"The slot ended at {ended_at}; {advice}.",
        code="SLOT_ENDED",
        details={"slotId": slot.public_id, "endedAt": ended_at},
    )


def next_lapse_due(clock_id: int | None, horizon: datetime) -> datetime | None:
    found = _held_on(clock_id).filter(expires_at__lte=horizon).aggregate(earliest=Min("expires_at"))
    moment: datetime | None = found["earliest"]
    return moment


def run_lapses(clock_id: int | None, as_of: datetime) -> int:
    """End the slots that were forgotten, so that their use is metered in time."""
    pools = _held_on(clock_id).filter(expires_at__lte=as_of).order_by("pool_id").distinct()
    return sum(_sweep(pool_id, as_of) for pool_id in pools.values_list("pool_id", flat=True)[:CHUNK])


@transaction.atomic
def _sweep(pool_id: int, as_of: datetime) -> int:
    return _end_lapsed(_locked_pool(pool_id), as_of)


def _held_on(clock_id: int | None) -> QuerySet[Slot]:
    """Give the slots not ended whose leases run by a test clock, or by the wall clock."""
    return Slot.objects.filter(on_clock(clock_id, "pool__"), ended_at__isnull=True)


def lock_pool(entitlement: Entitlement) -> SlotPool:
    """Lock the pool of an entitlement's customer and feature, making it first (caller's transaction)."""
    found = _pools().filter(customer_id=entitlement.customer_id, feature_id=entitlement.right_to_id).first()
    if found is None:
        # Two at once: one makes it, the other waits for that and finds it.
        SlotPool.objects.bulk_create(
            [
                SlotPool(
                    public_id=new_id(SlotPool.PREFIX),
                    organization_id=entitlement.organization_id,
                    customer_id=entitlement.customer_id,
                    feature_id=entitlement.right_to_id,
                )
            ],
            ignore_conflicts=True,
        )
        found = _pools().get(customer_id=entitlement.customer_id, feature_id=entitlement.right_to_id)
    subscription = entitlement.subscription
    clock = subscription.test_clock if subscription is not None else find_clock(entitlement.customer_id)
    if clock is not None and found.test_clock_id != clock.pk:
        found.test_clock = clock
        found.save(update_fields=["test_clock", "updated_at"])
    return found


def _locked_pool(pool_id: int) -> SlotPool:
    return _pools().get(pk=pool_id)


def _pools() -> QuerySet[SlotPool]:
    return SlotPool.objects.select_for_update(of=("self",), no_key=True).select_related(
        "customer", "feature", "test_clock"
    )


@dataclass(frozen=True, slots=True)
class _Change:
    """That a slot was acquired or ended.

    Attributes:
        held: how many are held after it.
    """

    slot: Slot
    what: str
    at: datetime
    by: int
    held: int


def _end_lapsed(pool: SlotPool, at: datetime) -> int:
    """End the slots of a locked pool whose time is over, each at that time."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE entitlements_slot SET ended_at = expires_at, "end" = %s, updated_at = clock_timestamp()
            WHERE pool_id = %s AND ended_at IS NULL AND expires_at <= %s RETURNING id
            """,
            [SlotEnd.EXPIRED, pool.pk, at],
        )
        ids = [row[0] for row in cursor.fetchall()]
    if not ids:
        return 0
    left = held_slots(at).filter(pool=pool).count()
    ended = list(Slot.objects.filter(pk__in=ids).order_by("-ended_at", "-pk"))
    changes = [_Change(slot, "ended", slot.expires_at, -1, left + n) for n, slot in enumerate(ended)]
    _tell(pool, changes[::-1], at)
    return len(ids)


def _tell(pool: SlotPool, changes: Sequence[_Change], at: datetime) -> None:
    """Meter changes where a metric counts them: with the change itself, so that none is lost or told twice."""
    event_type = slot_event_type(pool.feature.key)
    if not metrics_fed_by(organization_id=pool.organization_id, event_type=event_type):
        return
    events = [
        {
            "type": event_type,
            "source": SOURCE,
            "subject": pool.customer.public_id,
            "timestamp": change.at.isoformat(),
            "idempotencyKey": f"{change.slot.public_id}:{change.what}",
            "data": {"change": change.by, "held": change.held, "slot": change.slot.public_id},
        }
        for change in changes
    ]
    name = Organization.objects.values_list("public_id", flat=True).get(pk=pool.organization_id)
    # Of any time: what was forgotten while nothing ran is told late.
    accept_events(
        events,
        organization_id=pool.organization_id,
        organization_public_id=name,
        as_of=max(at, changes[-1].at),
        is_import=True,
    )


def slot_event_type(feature_key: str) -> str:
    """Give the type of the meter events that tell of a feature's slots."""
    return f"slots.{feature_key}"
