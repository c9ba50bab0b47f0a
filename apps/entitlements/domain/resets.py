"""When usage periods end and the next begin: by a calendar, and by hand in between."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from apps.entitlements.domain.grants import Calendar

BEGINNING = datetime.min.replace(tzinfo=UTC)


class ResetError(ValueError):
    """A reset by hand does not fit what was before it, or the present."""


@dataclass(frozen=True, slots=True)
class Reset:
    """An instant at which a usage period ends and the next begins.

    Attributes:
        is_preserving: whether overage is carried over; otherwise it is forgiven.
        is_billing: whether it only ends what a bill is of: overage is paid in money then and is over, as is every
            claim on units that come later. Units and the usage period go on.
    """

    at: datetime
    is_preserving: bool = False
    is_billing: bool = False


@dataclass(frozen=True, slots=True)
class ManualReset:
    """A reset that somebody made.

    Attributes:
        retains_anchor: whether the calendar goes on as it was; otherwise it counts from this reset on.
    """

    at: datetime
    is_preserving: bool
    retains_anchor: bool = True


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a right resets.

    Attributes:
        begins_at: when the right does; that is no reset, but the first period begins then.
        calendar: None: it never resets by itself.
        is_preserving: whether resets of the calendar carry overage over.
        by_hand: in order of time, all of them after the beginning and on no instant of the calendar.
        billing: when overage is billed; None: it is not, but at an end that is carried to.
    """

    begins_at: datetime
    calendar: Calendar | None = None
    is_preserving: bool = False
    by_hand: tuple[ManualReset, ...] = ()
    billing: Calendar | None = None

    def between(self, after: datetime, until: datetime) -> list[Reset]:
        """Give the resets after one moment and not later than another, in order of time."""
        found = {one.at: Reset(one.at, one.is_preserving) for one in self.by_hand if after < one.at <= until}
        for start, end, calendar in self._stretches():
            for instant in calendar.between(max(after, start), until if end is None else min(until, end)):
                # The calendar of a stretch ends where a reset by hand begins the next.
                if instant != end:
                    found.setdefault(instant, Reset(instant, self.is_preserving))
        for instant in () if self.billing is None else self.billing.between(after, until):
            found.setdefault(instant, Reset(instant, is_billing=True))
        return [found[instant] for instant in sorted(found) if instant > self.begins_at]

    def period(self, at: datetime) -> tuple[datetime, datetime | None]:
        """Give the usage period that holds a moment of the right; its end is None where nothing resets."""
        start, end = self.begins_at, None
        for since, until, calendar in self._stretches():
            if since <= at and (until is None or at < until):
                first, end = calendar.around(at)
                start = max(start, first)
        start = max([start, *(one.at for one in self.by_hand if one.at <= at)])
        ends = [*(one.at for one in self.by_hand if one.at > at), *([] if end is None else [end])]
        return start, min(ends, default=None)

    def instant_for(self, moment: datetime, *, now: datetime) -> datetime:
        """Give when a reset that is made now takes effect: at the minute that holds the moment.

        Raises:
            ResetError: it lies ahead, or not after the last reset and the right's beginning.
        """
        if moment > now:
            raise ResetError("A reset cannot lie in the future; leave the moment out to reset now.")
        instant = floor_minute(moment)
        # Clocks may differ: one made by hand may lie after what is now to whoever makes the next.
        last = max(self.period(now)[0], *(one.at for one in self.by_hand[-1:]), self.begins_at)
        if instant <= floor_minute(last):
            raise ResetError("A reset must lie after the minute in which the running usage period began.")
        return instant

    def _stretches(self) -> Iterator[tuple[datetime, datetime | None, Calendar]]:
        """Give the calendars one after the other, each from when until when it counts."""
        if self.calendar is None:
            return
        start, calendar = BEGINNING, self.calendar
        for one in self.by_hand:
            if not one.retains_anchor:
                yield start, one.at, calendar
                start, calendar = one.at, Calendar(one.at, calendar.cadence, calendar.tz)
        yield start, None, calendar


def floor_minute(instant: datetime) -> datetime:
    return instant.replace(second=0, microsecond=0)
