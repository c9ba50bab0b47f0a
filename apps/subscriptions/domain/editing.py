"""Changing a price timeline: pure functions from one timeline to the next, each with its refusals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.time import format_instant
from apps.subscriptions.domain.lines import ONE, Line, Shown
from apps.subscriptions.domain.timeline import CLOSED, OVERRIDE, OWNED, Interval, Step, Timeline, quantity_at

UNSET: Any = object()


@dataclass(frozen=True, slots=True)
class Addition:
    """An interval to add, with the line it bills; one of the subscription's own when the plan has no such key."""

    public_id: str
    line: Line
    start: datetime
    end: datetime | None
    unit_price: Decimal | None
    quantity: Decimal
    transitions: tuple[Step, ...] = ()
    bills_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """What to change of an interval; what is unset stays."""

    unit_price: Decimal | None = UNSET
    quantity: Decimal = UNSET
    transitions: tuple[Step, ...] = UNSET
    end: datetime | None = UNSET


def added(timeline: Timeline, addition: Addition, *, field: str) -> Timeline:
    """Give the timeline with an interval more.

    Args:
        field: of the request, for refusals.

    Raises:
        InvalidError: the interval contradicts itself, or its line cannot have such terms.
        ConflictError: it overlaps one that is there.
    """
    line = addition.line
    _check_terms(line, addition.unit_price, field)
    _check_quantities(line, addition.start, addition.end, addition.quantity, addition.transitions, field)
    if addition.end is not None and addition.end <= addition.start:
        raise invalid(f"{field}.endDate", "Must be after startDate.")
    steps = () if line.is_usage else (Step(addition.start, addition.quantity), *addition.transitions)
    interval = Interval(
        public_id=addition.public_id,
        key=line.key,
        kind=OWNED if line.is_owned else OVERRIDE,
        start=addition.start,
        end=addition.end,
        unit_price=addition.unit_price,
        steps=steps,
        price_id=line.price_id if line.is_owned else None,
        revision_id=line.revision_id if line.is_owned else None,
        bills_at=addition.bills_at,
    )
    if line.is_owned and interval.unit_price is None:
        interval = replace(interval, unit_price=line.unit_price)
    return _with(timeline, interval)


def edited(timeline: Timeline, shown: Shown, edit: Edit, *, field: str) -> Timeline:
    """Give the timeline with an interval changed.

    Raises:
        InvalidError: the line cannot have such terms, or the end is not after the start.
        ConflictError: the new end leaves a gap or overlaps another interval.
    """
    line = shown.line
    if edit.unit_price is not UNSET and edit.unit_price != shown.unit_price:
        _check_terms(line, edit.unit_price, field)
        price = line.unit_price if shown.line.is_owned and edit.unit_price is None else edit.unit_price
        timeline = _with(timeline, replace(_row(timeline, shown) or _new_row(shown), unit_price=price))
    quantity = shown.quantity if edit.quantity is UNSET else edit.quantity
    transitions = shown.transitions if edit.transitions is UNSET else edit.transitions
    if (quantity, transitions) != (shown.quantity, shown.transitions):
        _check_quantities(line, shown.start, shown.end, quantity, transitions, field)
        timeline = _with_quantities(timeline, shown, quantity, transitions)
    if edit.end is not UNSET and edit.end != shown.end:
        timeline = _with_end(timeline, shown, edit.end, field)
    return _tidy(timeline, shown.public_id)


def removed(timeline: Timeline, shown: Shown) -> Timeline:
    """Give the timeline without an interval; on a line of the plan, the plan's terms hold in its place.

    Raises:
        ConflictError: it is the plan's own.
    """
    if shown.row is None:
        raise ConflictError(
            "The plan's own interval cannot be removed; set its endDate to close the price.", code="INTERVAL_OF_PLAN"
        )
    left = tuple(row for row in timeline.intervals if row.public_id != shown.public_id)
    return replace(timeline, intervals=left)


def repriced(
    timeline: Timeline, line: Line, start: datetime, end: datetime | None, unit_price: Decimal, *, public_id: str
) -> Timeline:
    """Give the timeline with another price of a line from an instant on; its quantities stay what they are.

    An interval that covers the instant ends there. Without an end the price holds up to the next interval.

    Args:
        public_id: of the interval that begins, unless one begins there already.

    Raises:
        InvalidError: the line cannot have such a price, or the end is not after the start.
        ConflictError: another interval begins before the end, or the price is closed then.
    """
    _check_terms(line, unit_price, "")
    if end is not None and end <= start:
        raise invalid("endDate", "Must be after startDate.")
    rows = timeline.of_key(line.key)
    covering = next((row for row in rows if row.holds(start)), None)
    if (covering is None and line.is_owned) or (covering is not None and covering.kind == CLOSED):
        raise ConflictError(f"{line.key} is not billed at {format_instant(start)}.", code="INTERVAL_CLOSED")
    upcoming = min((row.start for row in rows if row.start > start), default=None)
    if end is None:
        end = upcoming if covering is None or covering.end is None else covering.end
    steps: tuple[Step, ...] = ()
    if covering is not None and covering.steps:
        quantity = quantity_at(covering.steps, start)
        assert quantity is not None
        later = (step for step in covering.steps if step.at > start and (end is None or step.at < end))
        steps = (Step(start, quantity), *later)
    kind = OWNED if line.is_owned else OVERRIDE
    new = Interval(public_id, line.key, kind, start, end, unit_price, steps)
    if covering is not None:
        new = replace(new, price_id=covering.price_id, revision_id=covering.revision_id)
        if covering.start == start:
            return _with(timeline, replace(new, public_id=covering.public_id))
        timeline = _with(timeline, _until(covering, start))
    return replace(timeline, intervals=(*timeline.intervals, new))


def with_quantity(timeline: Timeline, line: Line, at: datetime, quantity: Decimal) -> Timeline:
    """Give the timeline with another quantity of a line from an instant on, up to its next step.

    It goes to the interval that has quantities of its own at that instant, else to the line.
    """
    key = line.key
    interval = next((one for one in timeline.of_key(key) if one.holds(at) and one.steps), None)
    steps = interval.steps if interval is not None else timeline.steps.get(key, ())
    others = tuple(step for step in steps if step.at != at)
    was = quantity_at(others, at)
    is_first = interval is not None and interval.start == at
    if is_first or quantity != (line.quantity if was is None else was):
        others = tuple(sorted((*others, Step(at, quantity)), key=lambda step: step.at))
    if interval is not None:
        return _with(timeline, replace(interval, steps=others))
    return _tidy(replace(timeline, steps={**timeline.steps, key: others}), "")


def check_tiles(timeline: Timeline, keys: Iterable[str]) -> None:
    """Check that the intervals of keys neither overlap nor, where the subscription alone has them, leave a gap.

    Raises:
        ConflictError: they do; the instant is named.
    """
    for key in keys:
        rows = timeline.of_key(key)
        for before, after in pairwise(rows):
            if before.end is None or before.end > after.start:
                raise _overlap(key, after.start)
            if before.end < after.start and before.kind == OWNED:
                raise ConflictError(
                    f"The intervals of {key} leave a gap from {format_instant(before.end)} to"
                    f" {format_instant(after.start)}.",
                    code="INTERVAL_GAP",
                )


def invalid(field: str, message: str) -> InvalidError:
    return InvalidError("The change of intervals is malformed.", errors=[FieldError(field, message, "invalid")])


def _row(timeline: Timeline, shown: Shown) -> Interval | None:
    """Find what says so; an earlier step of the same edit may have changed it."""
    return next((one for one in timeline.intervals if one.public_id == shown.public_id), None)


def _new_row(shown: Shown) -> Interval:
    """Give the row of an interval of the plan in which something will differ."""
    return Interval(shown.public_id, shown.line.key, OVERRIDE, shown.start, shown.end)


def _with(timeline: Timeline, interval: Interval) -> Timeline:
    others = tuple(row for row in timeline.intervals if row.public_id != interval.public_id)
    return replace(timeline, intervals=(*others, interval))


def _with_quantities(timeline: Timeline, shown: Shown, quantity: Decimal, transitions: Sequence[Step]) -> Timeline:
    row, key = _row(timeline, shown), shown.line.key
    if row is not None and row.steps:
        return _with(timeline, replace(row, steps=(Step(shown.start, quantity), *transitions)))
    steps = timeline.steps.get(key, ())
    after = quantity_at(steps, shown.end) if shown.end is not None else None
    kept = [step for step in steps if step.at < shown.start or (shown.end is not None and step.at >= shown.end)]
    was = quantity_at(tuple(step for step in kept if step.at < shown.start), shown.start)
    if quantity != (shown.line.quantity if was is None else was):
        kept.append(Step(shown.start, quantity))
    kept.extend(transitions)
    if shown.end is not None and not any(step.at == shown.end for step in steps):
        # What follows stays as it was.
        last = max((step for step in kept if step.at < shown.end), key=lambda step: step.at, default=None)
        resumed = shown.line.quantity if after is None else after
        if last is not None and last.quantity != resumed:
            kept.append(Step(shown.end, resumed))
    return replace(timeline, steps={**timeline.steps, key: tuple(sorted(kept, key=lambda step: step.at))})


def _with_end(timeline: Timeline, shown: Shown, end: datetime | None, field: str) -> Timeline:
    key = shown.line.key
    if end is not None and end <= shown.start:
        raise invalid(f"{field}.endDate", "Must be after startDate.")
    if end is not None and shown.bills_at is not None and end <= shown.bills_at:
        raise invalid(f"{field}.endDate", f"It is billed at {format_instant(shown.bills_at)}; end it later.")
    row = _row(timeline, shown)
    if shown.line.is_owned:
        assert row is not None
        return _with(timeline, _until(row, end))
    closed = next((one for one in timeline.of_key(key) if one.kind == CLOSED), None)
    if shown.end is not None and (closed is None or closed.start != shown.end):
        if row is None:
            raise ConflictError(
                f"The plan's own interval of {key} lasts up to the next one at {format_instant(shown.end)}.",
                code="INTERVAL_GAP",
            )
        return _with(timeline, _until(row, end))
    # The last of the line: its end closes the price.
    left = tuple(one for one in timeline.intervals if one.kind != CLOSED or one.key != key)
    timeline = replace(timeline, intervals=left)
    if row is not None:
        timeline = _with(timeline, _until(row, end))
    if end is None:
        return timeline
    public_id = closed.public_id if closed is not None else ""
    return replace(timeline, intervals=(*timeline.intervals, Interval(public_id, key, CLOSED, end, None)))


def _until(row: Interval, end: datetime | None) -> Interval:
    return replace(row, end=end, steps=tuple(step for step in row.steps if end is None or step.at < end))


def _tidy(timeline: Timeline, public_id: str) -> Timeline:
    """Leave out what says nothing any more: an override without a difference, and lines without a step."""
    return replace(
        timeline,
        intervals=tuple(
            row
            for row in timeline.intervals
            if row.public_id != public_id or row.kind != OVERRIDE or row.unit_price is not None or row.steps
        ),
        steps={key: steps for key, steps in timeline.steps.items() if steps},
    )


def _check_terms(line: Line, unit_price: Decimal | None, field: str) -> None:
    if unit_price is None:
        return
    if not line.takes_unit_price:
        raise invalid(_at(field, "unitPrice"), "This price looks at single events or groups; send null.")
    if unit_price < 0 and not line.is_usage:
        raise invalid(_at(field, "unitPrice"), "Only metered prices can be rebates.")


def _at(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _check_quantities(
    line: Line, start: datetime, end: datetime | None, quantity: Decimal, transitions: Sequence[Step], field: str
) -> None:
    if line.is_usage and (quantity not in (0, ONE) or transitions):
        raise invalid(f"{field}.baseQuantity", "Usage is the quantity of this price; send 1 and no transitions.")
    if line.cadence.is_once and transitions:
        raise invalid(f"{field}.quantityTransitions", "What is charged once has one quantity.")
    before = start
    for number, step in enumerate(transitions):
        if step.at <= before or (end is not None and step.at >= end):
            raise invalid(
                f"{field}.quantityTransitions.{number}.effectiveDate",
                "Transitions lie inside the interval, each after the one before.",
            )
        before = step.at


def _overlap(key: str, at: datetime) -> ConflictError:
    return ConflictError(
        f"Another interval of {key} covers {format_instant(at)}; edit it, or remove it first.",
        code="INTERVAL_OVERLAP",
    )
