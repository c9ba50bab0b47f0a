"""What can no longer be answered because raw events are dropped: said, never guessed."""

from collections.abc import Iterable
from datetime import datetime

from django.db import connection

from apps.kernel.errors import ConflictError
from apps.kernel.time import format_instant
from apps.metering.eventstore import event_store
from apps.metering.models import Retention


class RawEventsGoneError(ConflictError):
    """A question needs single events of a time whose raw events are dropped."""

    default_code = "RAW_EVENTS_GONE"


def raw_gone_until() -> datetime | None:
    """Give the instant before which raw events are dropped; None while all are kept."""
    return Retention.objects.values_list("raw_gone_until", flat=True).first()


def _read_from() -> datetime | None:
    """Give the instant before which the event store has not all events; None when it has all there ever were.

    A store that is filled by the relay keeps what the database drops after that, so that only what was dropped before
    the relay began is missing.
    """
    store = event_store()
    if store.is_relayed:
        with connection.cursor() as cursor:
            cursor.execute("SELECT holds_from FROM metering_storeposition WHERE store = %s", [store.CODE])
            found = cursor.fetchone()
        if found is not None:
            holds_from: datetime | None = found[0]
            return holds_from
    return raw_gone_until()


def require_raw(starts: Iterable[datetime], *, is_listed: bool = False) -> None:
    """Refuse an answer that needed raw events of a dropped time.

    Asked *after* they were read: events are dropped and the mark is set in one commit, so that an answer which
    missed some of them always finds the mark.

    Args:
        starts: from when each part of the answer needed them.
        is_listed: they were read from the database itself, whatever the event store holds.

    Raises:
        RawEventsGoneError: one of them lies in dropped time.
    """
    needed = min(starts, default=None)
    if needed is None:
        return
    gone = raw_gone_until() if is_listed else _read_from()
    if gone is not None and needed < gone:
        raise RawEventsGoneError(
            f"Raw events before {format_instant(gone)} are dropped; only whole hours of usage are kept from then. "
            "Ask for an interval that begins and ends on the hour, without minutes.",
            details={"rawEventsFrom": format_instant(gone)},
        )
