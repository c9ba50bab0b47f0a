"""Which moments an event may tell of without being put aside, remembered for a few seconds in every process."""

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from time import monotonic

from django.db import connection

CACHE_SECONDS = 5.0
# A name without a test clock is asked for again sooner: its subscription may just be being made.
MISS_SECONDS = 0.5
CACHE_ENTRIES = 100_000

EVER = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))

# Whether it is the merchant's own id, and the id: what an event names as its customer.
Name = tuple[bool, str]
Find = Callable[[int, frozenset[Name]], Iterable[Name]]

_windows: dict[int, tuple[float, timedelta, timedelta, datetime]] = {}
_simulated: dict[tuple[int, Name], tuple[float, bool]] = {}
_finders: list[Find] = []
_lock = threading.Lock()


def register_simulated(find: Find) -> None:
    """Let a higher app say which of some names of a merchant's customers live in simulated time."""
    _finders.append(find)


def accepted_interval(*, organization_id: int, as_of: datetime) -> tuple[datetime, datetime]:
    """Give the half-open interval in which an event that is accepted now is not odd.

    It never reaches behind what is dropped or forgotten, however far back the merchant accepts events: there, a
    repeat could not be told from a first.
    """
    hit = _windows.get(organization_id)
    if hit is None or hit[0] < monotonic():
        hit = _read_window(organization_id)
        with _lock:
            _windows[organization_id] = hit
    _, back, ahead, floor = hit
    return max(as_of - back, floor), as_of + ahead


def memory_floor(*, organization_id: int) -> datetime:
    """Give the moment before which an event could count twice, or its raw neighbours are dropped; not cached."""
    return _read_window(organization_id)[3]


def remembered_simulated(*, organization_id: int, name: Name) -> bool | None:
    """Tell whether a name lives in simulated time, as far as this process remembers; None when it does not."""
    hit = _simulated.get((organization_id, name))
    return hit[1] if hit is not None and hit[0] > monotonic() else None


def live_in_simulated_time(*, organization_id: int, names: Iterable[Name]) -> frozenset[Name]:
    """Give those of some names whose customer lives on a test clock: their events may tell of any time."""
    wanted = frozenset(names)
    found = {name for find in _finders for name in find(organization_id, wanted)}
    now = monotonic()
    with _lock:
        if len(_simulated) > CACHE_ENTRIES:
            _simulated.clear()
        for name in wanted:
            until = now + (CACHE_SECONDS if name in found else MISS_SECONDS)
            _simulated[organization_id, name] = until, name in found
    return frozenset(found)


def forget_timing() -> None:
    """Drop what this process remembers, as after changing a merchant's settings here."""
    with _lock:
        _windows.clear()
        _simulated.clear()


def _read_window(organization_id: int) -> tuple[float, timedelta, timedelta, datetime]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT organization.event_days_back, organization.event_seconds_ahead, retention.raw_gone_until,
                   retention.keys_gone_until
            FROM organizations_organization AS organization LEFT JOIN metering_retention AS retention ON true
            WHERE organization.id = %s
            """,
            [organization_id],
        )
        days, seconds, raw_gone, keys_gone = cursor.fetchone()
    ahead = timedelta(seconds=seconds)
    floors = [EVER[0]]
    if raw_gone is not None:
        floors.append(raw_gone)
    if keys_gone is not None:
        # A key accepted just before may belong to an event that told of a moment so far ahead.
        floors.append(keys_gone + ahead)
    return monotonic() + CACHE_SECONDS, timedelta(days=days), ahead, max(floors)
