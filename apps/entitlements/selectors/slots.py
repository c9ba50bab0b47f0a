"""What runs at once: how much may, how much does, and how much did."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Count, Q, QuerySet, Sum

from apps.entitlements.models import Entitlement, Slot, SlotBurst, SlotPool
from apps.entitlements.selectors.entitlements import in_force
from apps.kernel.money import EXACT, round_to

SHOWN_STEPS = 2_000
AVERAGE_PLACES = 6
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Room:
    """Slots of a customer and a feature at a moment.

    Attributes:
        limit: what the plan gives, with bursts; 0 without a right.
        held: of those who hold one.
    """

    limit: int
    held: int

    @property
    def free(self) -> int:
        return max(self.limit - self.held, 0)


@dataclass(frozen=True, slots=True)
class SlotUse:
    """How many slots were held over `[start, end)`.

    Attributes:
        peak: most at one moment.
        average: weighted by time; of an empty span 0.
        steps: from when on how many were held; the last ones where there are very many.
    """

    start: datetime
    end: datetime
    peak: int
    average: Decimal
    steps: list[tuple[datetime, int]]


def slots_of(*, organization_id: int) -> QuerySet[Slot]:
    """Give a merchant's slots with what shows them at hand, newest first."""
    rows = Slot.objects.filter(organization_id=organization_id)
    return rows.select_related("pool__customer", "pool__feature__product", "pool__test_clock").order_by("-pk")


def bursts_of(entitlement: Entitlement) -> QuerySet[SlotBurst]:
    """Give the bursts of who holds an entitlement, newest first."""
    rows = SlotBurst.objects.select_related("pool__test_clock").filter(
        pool__customer_id=entitlement.customer_id, pool__feature_id=entitlement.right_to_id
    )
    return rows.order_by("-pk")


def find_pool(*, customer_id: int, feature_id: int) -> SlotPool | None:
    rows = SlotPool.objects.select_related("test_clock")
    return rows.filter(customer_id=customer_id, feature_id=feature_id).first()


def present_of_pool(pool: SlotPool) -> datetime:
    """Give the present of who holds slots: a test clock's, or the database's.

    The database's, because servers whose clocks differ must agree on what has expired.
    """
    return database_now() if pool.test_clock is None else pool.test_clock.current_time


def database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def limit_of(*, customer_id: int, feature_id: int, at: datetime) -> int:
    """Give how many slots a customer may hold of a feature at a moment: the plan's and those of bursts."""
    rows = in_force(Entitlement.objects.filter(customer_id=customer_id, feature_id=feature_id), at)
    slots = rows.values_list("slots", flat=True).first()
    if slots is None:
        return 0
    bursts = SlotBurst.objects.filter(
        _in_burst(at), pool__customer_id=customer_id, pool__feature_id=feature_id
    ).aggregate(more=Sum("slots"))
    return int(slots + (bursts["more"] or 0))


ROOMS = """
SELECT r.key, coalesce((
           SELECT e.slots + coalesce((
               SELECT sum(burst.slots) FROM entitlements_slotburst AS burst
               JOIN entitlements_slotpool AS pool ON pool.id = burst.pool_id
               WHERE pool.customer_id = r.customer AND pool.feature_id = r.feature
                 AND burst.starts_at <= r.at AND burst.ends_at > r.at
                 AND (burst.voided_at IS NULL OR burst.voided_at > r.at)
           ), 0)
           FROM entitlements_entitlement AS e
           WHERE e.customer_id = r.customer AND e.feature_id = r.feature
             AND e.active_from <= r.at AND (e.active_to IS NULL OR e.active_to > r.at)
       ), 0)::int,
       (
           SELECT count(*) FROM entitlements_slot AS slot JOIN entitlements_slotpool AS pool ON pool.id = slot.pool_id
           WHERE pool.customer_id = r.customer AND pool.feature_id = r.feature
             AND slot.ended_at IS NULL AND slot.expires_at > r.at
       )
FROM unnest(%(keys)s::bigint[], %(customers)s::bigint[], %(features)s::bigint[], %(moments)s::timestamptz[])
    AS r(key, customer, feature, at)
"""


def rooms_of(rows: Iterable[Entitlement], *, at: dict[int, datetime]) -> dict[int, Room]:
    """Give limit and use of entitlements that have slots, by key, with one query; the others are left out.

    Args:
        at: the present, by entitlement.
    """
    asked = [row for row in rows if row.slots is not None]
    if not asked:
        return {}
    values: dict[str, Any] = {
        "keys": [row.pk for row in asked],
        "customers": [row.customer_id for row in asked],
        "features": [row.right_to_id for row in asked],
        "moments": [at[row.pk] for row in asked],
    }
    with connection.cursor() as cursor:
        cursor.execute(ROOMS, values)
        return {key: Room(limit, held) for key, limit, held in cursor.fetchall()}


def held_slots(at: datetime) -> QuerySet[Slot]:
    """Give the slots that are held at a moment of the present, whoever swept up those that are not."""
    return Slot.objects.filter(ended_at__isnull=True, expires_at__gt=at)


def held_by_pool(pools: Iterable[SlotPool], *, at: datetime) -> dict[int, int]:
    """Give how many slots are held by pool; those of none are left out."""
    rows = held_slots(at).filter(pool__in=[pool.pk for pool in pools]).values_list("pool_id")
    return dict(rows.annotate(held=Count("pk")).order_by())


def bursts_in_effect(pool: SlotPool, *, at: datetime) -> QuerySet[SlotBurst]:
    return SlotBurst.objects.filter(_in_burst(at), pool=pool).order_by("ends_at", "pk")


def _in_burst(at: datetime) -> Q:
    return Q(starts_at__lte=at, ends_at__gt=at) & (Q(voided_at__isnull=True) | Q(voided_at__gt=at))


def rank_of(slot: Slot, *, at: datetime) -> int:
    """Give how many of the held slots of its pool were acquired before a slot."""
    earlier = Q(acquired_at__lt=slot.acquired_at) | Q(acquired_at=slot.acquired_at, pk__lt=slot.pk)
    return held_slots(at).filter(earlier, pool_id=slot.pool_id).count()


def next_free_at(pool: SlotPool, *, at: datetime) -> datetime | None:
    """Give when a slot becomes free if nobody keeps or releases one: a lease ends, or a burst begins.

    Where more are held than the limit allows, as many leases as are too many end before that.

    Returns:
        None where the right ends before.
    """
    right = in_force(Entitlement.objects.filter(customer_id=pool.customer_id, feature_id=pool.feature_id), at).first()
    if right is None or right.slots is None:
        return None
    leases = held_slots(at).filter(pool=pool).order_by("expires_at")
    held = leases.count()
    # When so many have ended fewer are held than the plan gives, and bursts only add to that: no later lease decides.
    decisive = max(held - right.slots + 1, 0)
    ends = list(leases.values_list("expires_at", flat=True)[:decisive])
    bursts = [
        (starts_at, min(ends_at, voided_at or ends_at), slots)
        for starts_at, ends_at, voided_at, slots in SlotBurst.objects.filter(pool=pool, ends_at__gt=at).values_list(
            "starts_at", "ends_at", "voided_at", "slots"
        )
    ]
    starts = (starts_at for starts_at, _, _ in bursts if starts_at > at)
    for moment in sorted({*ends, *starts}):
        if right.active_to is not None and right.active_to <= moment:
            return None
        more = sum(slots for starts_at, ends_at, slots in bursts if starts_at <= moment < ends_at)
        if held - bisect_right(ends, moment) < right.slots + more:
            return moment
    return None


STEPS = """
WITH span AS (
    SELECT greatest(acquired_at, %(start)s) AS a,
           least(coalesce(ended_at, least(expires_at, %(at)s)), %(end)s) AS z
    FROM entitlements_slot
    WHERE pool_id = %(pool)s AND acquired_at < %(end)s
), change AS (
    SELECT at, sum(by) AS by
    FROM (SELECT a AS at, 1 AS by FROM span WHERE a < z UNION ALL SELECT z, -1 FROM span WHERE a < z) AS each
    GROUP BY at
)
SELECT at, sum(by) OVER (ORDER BY at)::int AS held, lead(at) OVER (ORDER BY at) AS until FROM change ORDER BY at
"""


def slot_use(*, pool: SlotPool, start: datetime, end: datetime, at: datetime) -> SlotUse:
    """Give how many slots of a pool were held over a span, from the slots themselves.

    Args:
        at: the present; what is held is held up to now.
    """
    with connection.cursor() as cursor:
        cursor.execute(STEPS, {"pool": pool.pk, "start": start, "end": end, "at": at})
        rows = cursor.fetchall()
    weighted = 0
    for since, held, until in rows:
        if until is not None:
            weighted += held * ((until - since) // MICROSECOND)
    length = (end - start) // MICROSECOND
    average = round_to(EXACT.divide(Decimal(weighted), Decimal(length)), AVERAGE_PLACES) if length else Decimal(0)
    return SlotUse(
        start=start,
        end=end,
        peak=max((held for _, held, _ in rows), default=0),
        average=average,
        # What ends with the span may go on after it.
        steps=[(since, held) for since, held, _ in rows[-SHOWN_STEPS:] if since < end],
    )
