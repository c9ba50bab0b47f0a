"""What was put aside is counted or discarded, once, however many people decide at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection, transaction
from django.db.models import QuerySet

from apps.metering.models import ParkedEvent, ParkReason, ParkState
from apps.metering.selectors.timing import memory_floor
from apps.metering.services.staging import BUCKETS

# Rows decided in one transaction.
AT_ONCE = 5_000
BY_TIME = "time"


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a set of parked events.

    Attributes:
        done: how many were released or discarded.
        too_old: public ids of those that stay, because they can no longer be counted safely.
    """

    done: int = 0
    too_old: Sequence[str] = field(default_factory=list)


@transaction.atomic
def release_parked(
    *, organization_id: int, rows: QuerySet[ParkedEvent], by: str, note: str, as_of: datetime
) -> Decision:
    """Let parked events go the ordinary way, as accepted now: staged, merged, counted unless their key was.

    At most `AT_ONCE`, the oldest first. One that tells of a time whose keys may be forgotten, or whose raw events
    are dropped, stays: it could count twice, or not exactly.

    Args:
        rows: the merchant's parked events to choose from; those already decided are left alone.
        by: who decides.
        note: why.
    """
    floor = memory_floor(organization_id=organization_id)
    chosen = _choose(organization_id, rows)
    too_old = [row.public_id for row in chosen if row.occurred_at < floor]
    ids = [row.pk for row in chosen if row.occurred_at >= floor]
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, {"ids": ids, "by": by, "note": note, "now": as_of})
        return Decision(done=cursor.rowcount, too_old=too_old)


@transaction.atomic
def discard_parked(
    *, organization_id: int, rows: QuerySet[ParkedEvent], by: str, note: str, as_of: datetime
) -> Decision:
    """Decide that parked events never count; they stay in the list, marked, and their repeats change nothing."""
    ids = [row.pk for row in _choose(organization_id, rows)]
    done = ParkedEvent.objects.filter(pk__in=ids, state=ParkState.PARKED).update(
        state=ParkState.DISCARDED, settled_at=as_of, settled_by=by, note=note
    )
    return Decision(done=done)


def release_due(*, as_of: datetime) -> int:
    """Release the events that came too early and whose time has come; safe to run twice and at once."""
    total = 0
    while True:
        due = ParkedEvent.objects.filter(
            state=ParkState.PARKED, reason=ParkReason.TOO_EARLY, occurred_at__lte=as_of
        ).order_by("occurred_at")
        organization_id = due.values_list("organization_id", flat=True).first()
        if organization_id is None:
            return total
        done = release_parked(
            organization_id=organization_id,
            rows=due,
            by=BY_TIME,
            note="Its time has come.",
            as_of=as_of,
        ).done
        if not done:
            return total
        total += done


def _choose(organization_id: int, rows: QuerySet[ParkedEvent]) -> list[ParkedEvent]:
    """Lock the rows to decide on, always in the same order; a second caller waits and finds them decided."""
    waiting = rows.filter(organization_id=organization_id, state=ParkState.PARKED)
    return list(
        waiting.order_by("pk").select_for_update(no_key=True).only("pk", "public_id", "occurred_at")[:AT_ONCE]
    )


_COLUMNS = (
    "organization_id, key_hash, content_hash, public_id, idempotency_key, event_type, source, subject_id,"
    " external_id, occurred_at, data, metrics, dimensions, quantities, hashes"
)

# The first hex digit from the right chooses the bucket, as it does for every other event of the key.
_RELEASE = f"""
WITH released AS (
    UPDATE metering_parkedevent SET state = 'released', settled_at = %(now)s, settled_by = %(by)s, note = %(note)s
    WHERE id = ANY (%(ids)s) AND state = 'parked'
    RETURNING *
)
INSERT INTO metering_stagedevent (bucket, accepted_at, {_COLUMNS})
SELECT ('x' || right(key_hash::text, 1))::bit(4)::int %% {BUCKETS}, %(now)s, {_COLUMNS}
FROM released ORDER BY id
"""
