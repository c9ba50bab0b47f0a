"""What a subscription agreed on its prices over time, as differences from its plan."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from apps.kernel.time import Period
from apps.subscriptions.domain.plan_lines import PlanLines

OVERRIDE, OWNED, CLOSED = "override", "owned", "closed"


@dataclass(frozen=True, slots=True)
class Step:
    """From an instant on the quantity is this."""

    at: datetime
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds at an instant; None is as the catalogue says.

    Attributes:
        source: id of the interval that says so; terms of two intervals may be the same.
    """

    unit_price: Decimal | None = None
    quantity: Decimal | None = None
    source: str = field(default="", compare=False)


PLAIN = Terms()


@dataclass(frozen=True, slots=True)
class Part:
    """A time in which the terms stay the same."""

    period: Period
    terms: Terms = PLAIN


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of one price's time in which something differs from the plan.

    Attributes:
        kind: an override of a line of the plan, a price that only this subscription has, or the time after a line of
            the plan was closed.
        unit_price: instead of the catalogue's; None keeps it.
        steps: its own quantities, the first at its start; without any it goes by the line's.
        price_id: key of the price; of an owned one only.
        revision_id: key of the terms that an owned one was made with.
        bills_at: when a price that is charged once falls due.
        version: id of the plan version that it was made under; empty: the present one.
    """

    public_id: str
    key: str
    kind: str
    start: datetime
    end: datetime | None
    unit_price: Decimal | None = None
    steps: tuple[Step, ...] = ()
    price_id: int | None = None
    revision_id: int | None = None
    bills_at: datetime | None = None
    version: str = ""

    def holds(self, instant: datetime) -> bool:
        return self.start <= instant and (self.end is None or instant < self.end)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The prices of one subscription over time.

    What is not said here is as the plan has it, so most subscriptions have an empty one.

    Attributes:
        intervals: where something differs; those of one key do not overlap.
        steps: by key, the quantities that were chosen or changed beside intervals, in order of time.
        lines: which line of the plan a price (its key) is.
    """

    intervals: tuple[Interval, ...] = ()
    steps: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)
    lines: PlanLines = field(default_factory=PlanLines)

    @property
    def is_plain(self) -> bool:
        return not self.intervals and not self.steps

    def owned(self) -> list[Interval]:
        """Give the intervals of prices that only this subscription has, in order of time."""
        found = [interval for interval in self.intervals if interval.kind == OWNED]
        return sorted(found, key=lambda interval: (interval.start, interval.public_id))

    def of_key(self, key: str) -> list[Interval]:
        """Give the intervals of a key in order of time."""
        return sorted((one for one in self.intervals if one.key == key), key=lambda interval: interval.start)

    def terms_at(
        self, key: str, instant: datetime, *, is_owned: bool = False, price_id: int | None = None
    ) -> Terms | None:
        """Give what holds for a key at an instant; None where it is not billed.

        Args:
            is_owned: ask for the price that only this subscription has, not for the line of the plan. Where there is
                one, it goes before a line with its key or its price, so that nothing is billed twice.
            price_id: of the line.
        """
        interval = next((one for one in self.intervals if one.key == key and one.holds(instant)), None)
        if is_owned:
            return self._terms_of(interval, instant) if interval is not None and interval.kind == OWNED else None
        same_price = (one for one in self.owned() if one.price_id == price_id and one.holds(instant))
        if next(same_price, None) is not None:
            return None
        if interval is None:
            return Terms(quantity=quantity_at(self.steps.get(key, ()), instant))
        return self._terms_of(interval, instant) if interval.kind == OVERRIDE else None

    def _terms_of(self, interval: Interval, instant: datetime) -> Terms:
        steps = interval.steps or self.steps.get(interval.key, ())
        return Terms(interval.unit_price, quantity_at(steps, instant), interval.public_id)

    def parts(self, key: str, period: Period, *, is_owned: bool = False, price_id: int | None = None) -> list[Part]:
        """Split a period where the terms of a key change; time that is not billed is left out, equals are one."""
        changes = [*self.changes(key)]
        for one in self.owned():
            if one.price_id == price_id:
                changes.extend(at for at in (one.start, one.end) if at is not None)
        edges = [*sorted({period.start, *(at for at in changes if period.contains(at))}), period.end]
        found: list[Part] = []
        for start, end in pairwise(edges):
            terms = self.terms_at(key, start, is_owned=is_owned, price_id=price_id)
            if terms is None:
                continue
            before = found[-1] if found else None
            if before is not None and before.terms == terms and before.period.end == start:
                found[-1] = Part(Period(before.period.start, end), terms)
            else:
                found.append(Part(Period(start, end), terms))
        return found

    def parts_of_price(
        self, price_id: int, period: Period, *, due_at: datetime, is_in_advance: bool, own_key: str = ""
    ) -> list[Part]:
        """Give the same for a price.

        Args:
            due_at: when it is charged for the period; with the next argument it decides which line the price is.
            own_key: its key where only this subscription has it; empty: it is one of the plan.
        """
        if self.is_plain:
            return [Part(period)]
        if own_key:
            return self.parts(own_key, period, is_owned=True)
        key = self.lines.line_of(price_id, due_at, is_in_advance=is_in_advance)
        return self.parts(key, period, price_id=price_id)

    def first_difference(self, other: "Timeline", key: str) -> datetime | None:
        """Give the earliest instant from which two timelines differ for a key; None when they never do."""
        for at in sorted({*self.changes(key), *other.changes(key)}):
            for is_owned in (False, True):
                if self.terms_at(key, at, is_owned=is_owned) != other.terms_at(key, at, is_owned=is_owned):
                    return at
        return None

    def changes(self, key: str) -> Iterable[datetime]:
        """Give every instant at which the terms of a key may change."""
        yield from (step.at for step in self.steps.get(key, ()))
        for interval in self.intervals:
            if interval.key == key:
                yield interval.start
                if interval.end is not None:
                    yield interval.end
                yield from (step.at for step in interval.steps)


EMPTY = Timeline()


def quantity_at(steps: tuple[Step, ...], instant: datetime) -> Decimal | None:
    """Give the quantity that holds at an instant; None before the first step."""
    index = bisect_right(steps, instant, key=lambda step: step.at)
    return steps[index - 1].quantity if index else None
