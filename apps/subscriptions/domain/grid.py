"""The periods of a subscription: where they begin and end, and which of them are cut short."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from apps.kernel.time import Cadence, Period, boundary, floor_hour, index_at


@dataclass(frozen=True, slots=True)
class Grid:
    """The calendar a subscription bills on.

    Attributes:
        anchor: the instant periods count from.
        starts_at: when the service begins; the period that holds it is the first.
        ends_at: when it ends, exclusive; None while no end is known.
        tz: time zone of calendar steps.
        is_own: the anchor comes from the subscription's own start, so that its first period is a whole one
            although the anchor was moved back to the full hour. With a trial it is the trial's end, and the trial
            is a period of its own.
        trial_ends_at: until when the service is tried, exclusive. It always ends a period: what is tried and what is
            paid for never lie in the same one.
    """

    anchor: datetime
    starts_at: datetime
    ends_at: datetime | None
    tz: str
    is_own: bool
    trial_ends_at: datetime | None = None

    def slot_at(self, cadence: Cadence, instant: datetime) -> "Slot | None":
        """Give the period that holds an instant, None when the service does not cover it."""
        parts = self._parts(cadence, index_at(self.anchor, cadence, instant, self.tz))
        return next((slot for slot in parts if slot.service.contains(instant)), None)

    def slots(self, cadence: Cadence, *, touching: Period) -> "list[Slot]":
        """Give all periods that begin or end within an interval (both ends counted), in order."""
        first = index_at(self.anchor, cadence, touching.start, self.tz) - 1
        last = index_at(self.anchor, cadence, touching.end, self.tz)
        found = (slot for index in range(first, last + 1) for slot in self._parts(cadence, index))
        # A trial that is one period lies on several steps of the calendar.
        return list(dict.fromkeys(found))

    def is_tried(self, instant: datetime) -> bool:
        """Whether an instant lies in the trial."""
        return self.trial_ends_at is not None and instant < self.trial_ends_at

    def _parts(self, cadence: Cadence, index: int) -> "Iterable[Slot]":
        """Give the index-th step of a cadence as far as the service covers it, in two where the trial ends in it."""
        whole_start = boundary(self.anchor, cadence, index, self.tz)
        whole_end = boundary(self.anchor, cadence, index + 1, self.tz)
        trial = self.trial_ends_at
        if self.is_own and trial is not None and index < 0:
            whole_start, whole_end = self.starts_at, self.anchor
        elif self.is_own and whole_start <= self.starts_at < whole_end:
            whole_start = self.starts_at
        start = max(whole_start, self.starts_at)
        end = whole_end if self.ends_at is None else min(whole_end, self.ends_at)
        if start >= end:
            return
        whole = Period(whole_start, whole_end)
        if trial is not None and start < trial < end:
            yield Slot(service=Period(start, trial), whole=whole)
            start = trial
        yield Slot(service=Period(start, end), whole=whole)


@dataclass(frozen=True, slots=True)
class Slot:
    """One period: what of it is served, and the whole it is a part of."""

    service: Period
    whole: Period

    @property
    def is_cut_at_start(self) -> bool:
        return self.service.start > self.whole.start


def own_anchor(started_at: datetime, trial_ends_at: datetime | None = None) -> datetime:
    """Give the anchor of a subscription whose plan sets none.

    It is the end of its trial; without one its start, moved back to the full hour.
    """
    return trial_ends_at if trial_ends_at is not None else floor_hour(started_at)
