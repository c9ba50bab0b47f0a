"""Keys are forgotten when no repeat of their event can count any more."""

from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Max

from apps.metering.services.partitions import take_partition_lock
from apps.organizations.models import Organization

HASH_PARTITIONS = 16
# Pages of a partition in one transaction: some twenty thousand keys.
PAGES = 400


def forget_keys(*, as_of: datetime, key_days: int) -> int:
    """Delete the keys that were accepted so long ago that nothing they guard against can happen.

    A key stays for `key_days`; for a day longer than any merchant accepts events; and for as long as any raw event
    that was accepted with it or before is stored. Before anything is deleted, the moment is written down up to which
    keys may be gone: from then on an event from before it is parked, however far back a merchant looks.

    Returns:
        How many keys were forgotten.
    """
    if not key_days:
        return 0
    until = _forgettable_until(as_of, key_days)
    _write_down(until)
    total = 0
    for number in range(HASH_PARTITIONS):
        name = f"metering_key_p{number:02d}"
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::bigint", [name])
            pages = int(cursor.fetchone()[0])
        for first in range(0, pages, PAGES):
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(
                    f"DELETE FROM {name} WHERE ctid >= '({first},0)'::tid AND ctid < '({first + PAGES},0)'::tid"
                    " AND accepted_at < %s",
                    [until],
                )
                total += cursor.rowcount
    return total


def _forgettable_until(as_of: datetime, key_days: int) -> datetime:
    with connection.cursor() as cursor:
        # What waits in staging was accepted before now and will be looked up by its key.
        cursor.execute("SELECT min(accepted_at) FROM metering_stagedevent")
        waiting = cursor.fetchone()[0]
        cursor.execute("SELECT min(accepted_at) FROM metering_event")
        oldest = cursor.fetchone()[0]
    widest = Organization.objects.aggregate(back=Max("event_days_back"), ahead=Max("event_seconds_ahead"))
    reach = timedelta(days=(widest["back"] or 0) + 1, seconds=widest["ahead"] or 0)
    present = as_of if waiting is None else min(as_of, waiting)
    until = present - max(timedelta(days=key_days), reach)
    return until if oldest is None else min(until, oldest)


@transaction.atomic
def _write_down(until: datetime) -> None:
    take_partition_lock()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO metering_retention AS r (id, keys_gone_until) VALUES (1, %s) ON CONFLICT (id) DO UPDATE"
            " SET keys_gone_until = greatest(r.keys_gone_until, excluded.keys_gone_until)",
            [until],
        )
