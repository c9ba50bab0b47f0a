"""The periods of a subscription: where they begin and end, and which of them are cut short."""

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
            although the anchor was moved back to the full hour.
    """

    anchor: datetime
    starts_at: datetime
    ends_at: datetime | None
    tz: str
    is_own: bool

    def slot(self, cadence: Cadence, index: int) -> "Slot | None":
        """Give the index-th period of a cadence as far as the service covers it; None outside of it."""
        whole_start = boundary(self.anchor, cadence, index, self.tz)
        whole_end = boundary(self.anchor, cadence, index + 1, self.tz)
        is_first = whole_start <= self.starts_at < whole_end
        if is_first and self.is_own:
            whole_start = self.starts_at
        start = max(whole_start, self.starts_at)
        end = whole_end if self.ends_at is None else min(whole_end, self.ends_at)
        if start >= end:
            return None
        return Slot(service=Period(start, end), whole=Period(whole_start, whole_end))

    def slot_at(self, cadence: Cadence, instant: datetime) -> "Slot | None":
        """Give the period that holds an instant, None when the service does not cover it."""
        slot = self.slot(cadence, index_at(self.anchor, cadence, instant, self.tz))
        return slot if slot is not None and slot.service.contains(instant) else None

    def slots(self, cadence: Cadence, *, touching: Period) -> "list[Slot]":
        """Give all periods that begin or end within an interval (both ends counted), in order."""
        first = index_at(self.anchor, cadence, touching.start, self.tz) - 1
        last = index_at(self.anchor, cadence, touching.end, self.tz)
        found = (self.slot(cadence, index) for index in range(first, last + 1))
        return [slot for slot in found if slot is not None]


@dataclass(frozen=True, slots=True)
class Slot:
    """One period: what of it is served, and the whole it is a part of."""

    service: Period
    whole: Period

    @property
    def is_cut_at_start(self) -> bool:
        return self.service.start > self.whole.start


def own_anchor(started_at: datetime) -> datetime:
    """Give the anchor of a subscription whose plan sets none: its start, moved back to the full hour."""
    return floor_hour(started_at)
