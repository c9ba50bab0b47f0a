"""How events flow: what waits, since when, and what became of those before."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import redis
from django.db import connection, transaction

from apps.kernel.broker import broker

# Where web processes add up what they took and refused; gone with the broker's data, as counters may be.
COUNTERS = "metergate:ingest"
# A staged row takes more of a file than this, whatever it says.
ROW_BYTES = 128


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is accepted and not merged yet.

    Attributes:
        count: events, at most as many as were asked for.
        lag_seconds: age of the oldest of them; 0 without any.
    """

    count: int
    lag_seconds: Decimal


@dataclass(frozen=True, slots=True)
class Merged:
    """What all merges did since the database was made.

    Attributes:
        inserted: events counted.
        repeated: events whose key was known, those of `conflicts` among them.
        busy_seconds: time spent merging, added up over the workers.
        last_at: when windows changed last; None before the first merge.
    """

    inserted: int
    repeated: int
    conflicts: int
    busy_seconds: Decimal
    last_at: datetime | None


def waiting_events(*, at_most: int = 10_000_000) -> Waiting:
    """Count what waits to be merged, up to a number from which on it does not matter."""
    with transaction.atomic(), connection.cursor() as cursor:
        # Helpers of the query would take the cores from the merges that it waits for.
        cursor.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        cursor.execute(
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(accepted_at)), 0)"
            " FROM (SELECT accepted_at FROM metering_stagedevent LIMIT %s) AS waiting",
            [at_most],
        )
        count, lag = cursor.fetchone()
    return Waiting(int(count), max(Decimal(lag), Decimal(0)))


def may_wait(events: int) -> bool:
    """Tell whether so many events can wait at all, going by the size of staging's files: no row is read for that."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(pg_relation_size(inhrelid)), 0) FROM pg_inherits"
            " WHERE inhparent = 'metering_stagedevent'::regclass"
        )
        return int(cursor.fetchone()[0]) >= events * ROW_BYTES


def merged_events() -> Merged:
    """Give what the merges did."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(merged), sum(repeated), sum(conflicts), sum(busy_seconds), max(merged_at)"
            " FROM metering_bucket"
        )
        inserted, repeated, conflicts, busy, last_at = cursor.fetchone()
    return Merged(int(inserted), int(repeated), int(conflicts), busy, last_at)


def taken_events() -> dict[str, int]:
    """Give what web processes took and refused, by kind; empty when the broker is away or has forgotten."""
    try:
        found = broker().hgetall(COUNTERS)
    except redis.RedisError:
        return {}
    return {name.decode(): int(count) for name, count in found.items()}  # type: ignore[union-attr]
