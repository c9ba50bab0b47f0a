"""Raw events are kept in a partition a month, made before its first event or around those that came before it."""

import logging
from datetime import date, datetime

from django.db import OperationalError, connection, transaction

from apps.metering.domain.months import bounds, month_of, month_of_partition, next_month, partition_name

logger = logging.getLogger(__name__)

AHEAD = 3
DEFAULT = "metering_event_other"
# Whoever changes partitions holds this; several at once take turns.
LOCK = 7_101
# Rather later than in the way of merges and readers: the next run tries again.
LOCK_TIMEOUT = "5s"


def stored_months() -> list[date]:
    """Give the months that have a partition, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT child.relname FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid"
            " WHERE inhparent = 'metering_event'::regclass"
        )
        found = [month_of_partition(name) for (name,) in cursor.fetchall()]
    return sorted(month for month in found if month is not None)


def months_without_partition() -> list[date]:
    """Give the months whose events are kept in the default partition, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT DISTINCT date_trunc('month', occurred_at, 'UTC') FROM {DEFAULT} ORDER BY 1")
        return [month_of(moment) for (moment,) in cursor.fetchall()]


def months_ahead(as_of: datetime) -> list[date]:
    """Give the months that must have a partition: this one and those to come."""
    months = [month_of(as_of)]
    for _ in range(AHEAD):
        months.append(next_month(months[-1]))
    return months


def make_partitions(*, as_of: datetime) -> list[date]:
    """Make the partitions that are missing; safe to run twice and at once.

    Returns:
        The months that got one; a month whose locks were not to be had is left to the next run.
    """
    made = []
    for month in sorted({*months_ahead(as_of), *months_without_partition()} - set(stored_months())):
        try:
            if make_partition(month=month):
                made.append(month)
        except OperationalError as error:
            logger.warning("no partition for %s this time: %s", month, error)
    return made


@transaction.atomic
def make_partition(*, month: date) -> bool:
    """Give a month its partition, and move its events there from the default one; False when it has one.

    Merges wait for as long as the move takes, ingest does not; readers see the events in one place or the other.
    """
    name, (start, end) = partition_name(month), bounds(month)
    take_partition_lock()
    if month in stored_months():
        return False
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE {name} (LIKE metering_event INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)"
        )
        # Nobody adds to the default partition between the move and the moment the new one takes over.
        cursor.execute(f"LOCK TABLE {DEFAULT} IN SHARE ROW EXCLUSIVE MODE")
        columns = _columns()
        cursor.execute(
            f"WITH moved AS (DELETE FROM {DEFAULT} WHERE occurred_at >= %s AND occurred_at < %s RETURNING {columns})"
            f" INSERT INTO {name} ({columns}) SELECT {columns} FROM moved",
            [start, end],
        )
        moved = cursor.rowcount
        cursor.execute(
            f"ALTER TABLE metering_event ATTACH PARTITION {name}"
            f" FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
        )
    if moved:
        logger.info("%s events of %s moved to their own partition", moved, month)
    return True


def take_partition_lock() -> None:
    """Wait for one's turn to change partitions, and never long for locks in use (caller's transaction)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")


def _columns() -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute"
            " WHERE attrelid = 'metering_event'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"
        )
        return str(cursor.fetchone()[0])
