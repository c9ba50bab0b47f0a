"""From staging to events and windows: exactly once, in one statement, in one transaction."""

import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime

from django.db import DataError, IntegrityError, connection, transaction

from apps.kernel.clock import wall_now
from apps.metering.services.consuming import await_log
from apps.metering.services.merge_sql import COUNT, MERGE, SET_ASIDE, SETTINGS, SPAN, SPECIAL
from apps.metering.services.staging import BUCKETS

logger = logging.getLogger(__name__)

# More rows of a busy hour share its windows; fewer take less memory of the database.
BATCH = 100_000


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What one merge did; all zero when the buckets were empty or taken."""

    taken: int = 0
    inserted: int = 0
    conflicts: int = 0


def merge_buckets(*, buckets: Sequence[int], limit: int = BATCH, wait: bool = False) -> MergeResult:
    """Merge up to `limit` staged events of some buckets: dedup, events, windows, conflicts, all or nothing.

    Args:
        buckets: which ones; a key always meets itself in the same one. Several in one merge share more windows.
        limit: most rows taken.
        wait: wait for another worker's merge of a bucket instead of leaving the bucket to it.

    Returns:
        Counts; nothing when the buckets are empty or other workers have them.
    """
    try:
        return _merge(buckets, limit, wait)
    except (DataError, IntegrityError):
        # Something in the batch cannot be merged: find it by halves, set the single event aside, go on.
        if len(buckets) > 1:
            results = [merge_buckets(buckets=[bucket], limit=limit, wait=True) for bucket in buckets]
            return MergeResult(*(sum(column) for column in zip(*map(astuple, results), strict=True)))
        bucket = buckets[0]
        if limit == 1:
            logger.exception("an event of bucket %s cannot be merged; it goes to the dead letters", bucket)
            return _set_aside(bucket)
        logger.warning("a merge of bucket %s failed; trying smaller parts", bucket)
        half = max(1, min(limit, _staged(bucket)) // 2)
        return merge_buckets(buckets=buckets, limit=half, wait=True)


def drain() -> int:
    """Merge until nothing that was accepted before the call is left.

    Returns:
        How many staged rows were taken.

    Raises:
        LogUnavailableError: an event log in front of staging was not read to that point in time.
    """
    await_log()
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM metering_stagedevent")
        last = cursor.fetchone()[0]
    total = 0
    # Nothing is staged as a rule; a second look would read past all that is merged and not vacuumed yet once more.
    while last and _has_staged(last):
        total += merge_buckets(buckets=range(BUCKETS), wait=True).taken
    return total


def buckets_with_work() -> list[int]:
    """Give the buckets that have staged events."""
    return [bucket for bucket in range(BUCKETS) if bucket_has_work(bucket)]


def bucket_has_work(bucket: int) -> bool:
    """Tell whether a bucket has staged events."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM metering_staged_{int(bucket)})")
        return bool(cursor.fetchone()[0])


def vacuum_bucket(bucket: int) -> None:
    """Free the pages of merged rows, so that the next rows take them; never inside a transaction."""
    if connection.in_atomic_block:
        return
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM (TRUNCATE false) metering_staged_{int(bucket)}")


@transaction.atomic
def _merge(buckets: Sequence[int], limit: int, wait: bool) -> MergeResult:
    claimed = _claim(buckets, wait)
    if not claimed:
        return MergeResult()
    with connection.cursor() as cursor:
        cursor.execute(SETTINGS)
        cursor.execute(SPAN, {"buckets": claimed})
        lowest, highest, count = cursor.fetchone()
        if not count:
            return MergeResult()
        cursor.execute(SPECIAL)
        latest, levels = cursor.fetchone()
        values = {
            "buckets": claimed,
            "last": highest if count <= limit else lowest + limit - 1,
            "latest": latest,
            "levels": levels,
            "now": wall_now(),
        }
        cursor.execute(MERGE, values)
        taken, inserted, conflicts = cursor.fetchone()
        counts = {"inserted": inserted, "repeated": taken - inserted, "conflicts": conflicts, "bucket": claimed[0]}
        cursor.execute(COUNT, counts)
    return MergeResult(taken, inserted, conflicts)


@transaction.atomic
def _set_aside(bucket: int) -> MergeResult:
    """Move the oldest staged event of a bucket to the dead letters."""
    _claim([bucket], wait=True)
    now: datetime = wall_now()
    with connection.cursor() as cursor:
        cursor.execute(SET_ASIDE, {"bucket": bucket, "now": now})
        return MergeResult(taken=cursor.rowcount)


def _claim(buckets: Sequence[int], wait: bool) -> list[int]:
    """Lock the control rows of buckets, always in the same order; gives those that were had."""
    lock = "FOR UPDATE" if wait else "FOR UPDATE SKIP LOCKED"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT bucket FROM metering_bucket WHERE bucket = ANY (%s) ORDER BY bucket {lock}", [list(buckets)]
        )
        return [row[0] for row in cursor.fetchall()]


def _staged(bucket: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_stagedevent WHERE bucket = %s", [bucket])
        return int(cursor.fetchone()[0])


def _has_staged(last: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM metering_stagedevent WHERE id <= %s)", [last])
        return bool(cursor.fetchone()[0])
