"""From staging to events and windows: exactly once, in one statement, in one transaction."""

import logging
from dataclasses import dataclass
from datetime import datetime

from django.db import DataError, IntegrityError, connection, transaction

from apps.kernel.clock import wall_now
from apps.metering.services.merge_sql import MERGE, SET_ASIDE, SETTINGS
from apps.metering.services.staging import BUCKETS

logger = logging.getLogger(__name__)

BATCH = 50_000


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What one merge did; all zero when the bucket was empty or taken."""

    taken: int = 0
    inserted: int = 0
    conflicts: int = 0


def merge_bucket(*, bucket: int, limit: int = BATCH, wait: bool = False) -> MergeResult:
    """Merge up to `limit` staged events of one bucket: dedup, events, windows, conflicts, all or nothing.

    Args:
        bucket: a key always meets itself in the same one.
        limit: most rows taken.
        wait: wait for another worker's merge of the bucket instead of leaving it to it.

    Returns:
        Counts; nothing when the bucket is empty or another worker has it.
    """
    try:
        return _merge(bucket, limit, wait)
    except (DataError, IntegrityError):
        # Something in the batch cannot be merged: find it by halves, set the single event aside, go on.
        if limit == 1:
            logger.exception("an event of bucket %s cannot be merged; it goes to the dead letters", bucket)
            return _set_aside(bucket)
        logger.warning("a merge of bucket %s failed; trying smaller parts", bucket)
        half = max(1, min(limit, _staged(bucket)) // 2)
        return merge_bucket(bucket=bucket, limit=half, wait=True)


def drain(*, buckets: range = range(BUCKETS)) -> int:
    """Merge until nothing that was accepted before the call is left.

    Returns:
        How many staged rows were taken.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM metering_stagedevent")
        last = cursor.fetchone()[0]
    total = 0
    for bucket in buckets:
        while _has_staged(bucket, last):
            total += merge_bucket(bucket=bucket, wait=True).taken
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
def _merge(bucket: int, limit: int, wait: bool) -> MergeResult:
    if not _claim(bucket, wait):
        return MergeResult()
    with connection.cursor() as cursor:
        cursor.execute(SETTINGS)
        cursor.execute(MERGE.format(bucket=int(bucket)), {"limit": limit, "now": wall_now()})
        taken, inserted, conflicts = cursor.fetchone()
    return MergeResult(taken, inserted, conflicts)


@transaction.atomic
def _set_aside(bucket: int) -> MergeResult:
    """Move the oldest staged event of a bucket to the dead letters."""
    _claim(bucket, wait=True)
    now: datetime = wall_now()
    with connection.cursor() as cursor:
        cursor.execute(SET_ASIDE.format(bucket=int(bucket)), {"now": now})
        return MergeResult(taken=cursor.rowcount)


def _claim(bucket: int, wait: bool) -> bool:
    lock = "FOR UPDATE" if wait else "FOR UPDATE SKIP LOCKED"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 FROM metering_bucket WHERE bucket = %s {lock}", [bucket])
        return cursor.fetchone() is not None


def _staged(bucket: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_stagedevent WHERE bucket = %s", [bucket])
        return int(cursor.fetchone()[0])


def _has_staged(bucket: int, last: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM metering_stagedevent WHERE bucket = %s AND id <= %s)", [bucket, last]
        )
        return bool(cursor.fetchone()[0])
