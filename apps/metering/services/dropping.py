"""Raw events go when nothing needs them any more; the windows stay."""

import logging
from collections.abc import Callable
from datetime import date, datetime, timedelta

from django.db import OperationalError, connection, transaction
from django.db.models import Max

from apps.kernel.errors import ConflictError
from apps.kernel.time import format_instant
from apps.metering.domain.months import bounds, partition_name
from apps.metering.eventstore import event_store
from apps.metering.models import EventExport
from apps.metering.services.exporting import Contents, stored_contents, verify_export
from apps.metering.services.partitions import (
    make_partitions,
    months_without_partition,
    stored_months,
    take_partition_lock,
)
from apps.metering.services.relaying import has_carried
from apps.organizations.models import Organization

logger = logging.getLogger(__name__)

DAY = timedelta(days=1)
# Says who still needs the raw events of an interval at a moment; None when nobody does.
Keeper = Callable[[datetime, datetime, datetime], str | None]

_keepers: list[Keeper] = []


def register_keeper(find: Keeper) -> None:
    """Let a higher app say what still needs the raw events of an interval."""
    _keepers.append(find)


def droppable_until(*, as_of: datetime, raw_days: int) -> datetime | None:
    """Give the moment before which raw events are old enough to go; None when they are kept for ever.

    However short they are kept: longer than any merchant accepts events, so that a key outlives its repeats.
    """
    if not raw_days:
        return None
    widest = Organization.objects.aggregate(days=Max("event_days_back"))["days"] or 0
    return as_of - max(timedelta(days=raw_days), timedelta(days=widest) + DAY)


@transaction.atomic
def drop_month(*, month: date, as_of: datetime, raw_days: int, without_export: bool = False) -> int:
    """Drop the raw events of the oldest month that has any, where all it touches is settled.

    Args:
        raw_days: how long raw events are kept at least; 0 is for ever.
        without_export: drop them although no verified export holds them.

    Returns:
        How many events were dropped.

    Raises:
        ConflictError: saying what still needs them, or what has to be done first.
    """
    start, end = bounds(month)
    take_partition_lock()
    _require_due(month, end, as_of, raw_days)
    name = partition_name(month)
    with connection.cursor() as cursor:
        # From here on nobody adds to the month, so that what is compared is what is dropped.
        cursor.execute(f"LOCK TABLE {name} IN SHARE MODE")
        cursor.execute("SELECT EXISTS (SELECT FROM metering_stagedevent WHERE occurred_at < %s)", [end])
        if cursor.fetchone()[0]:
            raise ConflictError("Events of that time wait to be merged; try again in a moment.", code="NOT_MERGED")
        for find in _keepers:
            reason = find(start, end, as_of)
            if reason is not None:
                raise ConflictError(reason, code="RAW_EVENTS_IN_USE")
        store = event_store()
        if store.is_relayed and not has_carried(store=store, partition=name, start=start, end=end):
            raise ConflictError(
                f"The event store has not all events of {month:%Y-%m} yet; try again in a moment.", code="NOT_RELAYED"
            )
        held = stored_contents(start, end)
        export = EventExport.objects.select_for_update().filter(month=month, dropped_at__isnull=True).first()
        if held.rows and not without_export:
            _require_export(month, export, held, as_of)
        # Shorter than the database looks for deadlocks: a merge that waits for the month must not be the one to die.
        cursor.execute("SET LOCAL lock_timeout = '500ms'")
        cursor.execute(f"ALTER TABLE metering_event DETACH PARTITION {name}")
        cursor.execute(f"DROP TABLE {name}")
        cursor.execute(
            "INSERT INTO metering_retention AS r (id, raw_gone_until) VALUES (1, %s) ON CONFLICT (id) DO UPDATE"
            " SET raw_gone_until = greatest(r.raw_gone_until, excluded.raw_gone_until)",
            [end],
        )
    if export is not None:
        export.dropped_at = as_of
        export.save(update_fields=["dropped_at"])
    logger.info("%s raw events of %s are dropped", held.rows, f"{month:%Y-%m}")
    return held.rows


def drop_old_events(*, as_of: datetime, raw_days: int) -> list[date]:
    """Drop every month that is old enough, exported and settled, the oldest first, up to one that is not.

    Returns:
        The months that were dropped.
    """
    until = droppable_until(as_of=as_of, raw_days=raw_days)
    dropped: list[date] = []
    if until is None:
        return dropped
    make_partitions(as_of=as_of)
    for month in stored_months():
        if bounds(month)[1] > until:
            break
        try:
            drop_month(month=month, as_of=as_of, raw_days=raw_days)
        except (ConflictError, OperationalError) as error:
            logger.warning("raw events of %s stay: %s", f"{month:%Y-%m}", error)
            break
        dropped.append(month)
    return dropped


def _require_due(month: date, end: datetime, as_of: datetime, raw_days: int) -> None:
    until = droppable_until(as_of=as_of, raw_days=raw_days)
    if until is None:
        raise ConflictError("Raw events are kept for ever; set RAW_EVENT_DAYS first.", code="KEPT_FOR_EVER")
    if end > until:
        raise ConflictError(
            f"Raw events are kept until they are from before {format_instant(until)}.", code="TOO_YOUNG"
        )
    stored = stored_months()
    if month not in stored:
        raise ConflictError(f"There are no raw events of {month:%Y-%m}.", code="NO_SUCH_MONTH")
    if month != stored[0] or any(other < month for other in months_without_partition()):
        raise ConflictError(f"Drop the months before {month:%Y-%m} first.", code="NOT_THE_OLDEST")


def _require_export(month: date, export: EventExport | None, held: Contents, as_of: datetime) -> None:
    text = f"{month:%Y-%m}"
    if export is None:
        raise ConflictError(
            f"{text} is not exported; run `manage.py events_export --month {text}`.", code="NOT_EXPORTED"
        )
    if export.verified_at is None:
        raise ConflictError(
            f"The export of {text} is not verified; run `manage.py events_export --month {text} --verify`.",
            code="NOT_VERIFIED",
        )
    if held != Contents(export.row_count, int(export.digest)):
        raise ConflictError(
            f"{text} changed since it was exported; export and verify it again.", code="EXPORT_OUTDATED"
        )
    verify_export(export=export, as_of=as_of)
