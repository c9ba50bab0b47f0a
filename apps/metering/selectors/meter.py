"""The meter question of the API: totals, windows over time, groups, filters."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from apps.catalog.models import BillableMetric
from apps.kernel.money import EXACT
from apps.metering.aggregations import UsageState, WeightedSum, get
from apps.metering.domain.grid import TooManyWindowsError, boundaries
from apps.metering.selectors.links import SubjectSpan
from apps.metering.selectors.meter_sql import SUBJECT, Part, Reading

# More values than this in one answer are a mistyped interval.
MAXIMUM_VALUES = 50_000


@dataclass(frozen=True, slots=True)
class MeterQuestion:
    """What is asked of one metric.

    Attributes:
        subjects: only these, each in its time; None means everybody.
        window_size: MINUTE, HOUR, DAY or MONTH, None for the total alone.
        group_by: dimension names, `subject` among them.
        filters: accepted values by dimension name.
        tz: time zone of the windows.
        only_groups: values of the groups that are wanted; None means all.
        owner: public id of the customer that `subjects` are of.
    """

    metric: BillableMetric
    start: datetime
    end: datetime
    subjects: Sequence[SubjectSpan] | None = None
    window_size: str | None = None
    group_by: Sequence[str] = ()
    filters: Mapping[str, Sequence[str]] | None = None
    tz: str = "UTC"
    only_groups: Sequence[tuple[str, ...]] | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class MeterRow:
    """One answer: its window (the interval itself without a size), its group values, and the quantity.

    A window at the interval's edge keeps its full bounds; what is counted is the part of it in the interval.
    """

    window_start: datetime
    window_end: datetime
    group: tuple[str, ...]
    quantity: Decimal | None
    event_count: int


def meter_rows(question: MeterQuestion) -> list[MeterRow]:
    """Answer a meter question, ordered by window, then by group.

    Returns:
        A row for each window and group that has events. A time-weighted sum has one for each window from the group's
        first event on, because its level goes on without events.

    Raises:
        TooManyWindowsError: the answer would hold more than `MAXIMUM_VALUES`.
        RawEventsGoneError: minutes, or an edge inside an hour, are asked of a time whose raw events are dropped.
    """
    edges = boundaries(question.start, question.end, question.window_size, question.tz, limit=MAXIMUM_VALUES)
    subjects = None if question.subjects is None else [(span, question.owner) for span in question.subjects]
    reading = Reading(
        metric=question.metric,
        start=question.start,
        end=question.end,
        edges=edges,
        subjects=subjects,
        groups=question.group_by,
        filters=question.filters or {},
        only=question.only_groups,
    )
    parts = reading.parts()
    if question.window_size is not None and len(parts) > MAXIMUM_VALUES:
        raise TooManyWindowsError(f"the answer has more than {MAXIMUM_VALUES} values")
    if question.metric.aggregation == WeightedSum.CODE:
        return sorted(_levels(question, edges, parts), key=lambda row: (row.window_start, row.group))
    of_state = get(question.metric.aggregation).of_state
    return [
        MeterRow(
            window_start=edges[key[0] - 1],
            window_end=edges[key[0]],
            group=key[1:],
            quantity=of_state(UsageState(part.sum, part.count, part.min, part.max, part.latest, part.uniques)),
            event_count=part.count,
        )
        for key, part in parts.items()
    ]


def _levels(
    question: MeterQuestion, edges: Sequence[datetime], parts: Mapping[tuple[Any, ...], Part]
) -> Iterator[MeterRow]:
    """Carry each group's level from window to window."""
    groups: dict[tuple[str, ...], dict[int, Part]] = {}
    for key, known in parts.items():
        groups.setdefault(key[1:], {})[key[0]] = known
    if len(groups) * (len(edges) - 1) > MAXIMUM_VALUES:
        raise TooManyWindowsError(f"the answer has more than {MAXIMUM_VALUES} values")
    of_state = get(WeightedSum.CODE).of_state
    for group, own in groups.items():
        level = own[0].sum if 0 in own else None
        for number, (edge, next_edge) in enumerate(pairwise(edges), start=1):
            start, end = max(edge, question.start), min(next_edge, question.end)
            part = own.get(number)
            if part is None and level is None:
                continue
            seconds = _seconds(end - start)
            area = EXACT.multiply(level or Decimal(0), seconds)
            if part is not None:
                # What is held until the interval's end, less what of it lies beyond this window.
                beyond = EXACT.multiply(part.sum, _seconds(question.end - end))
                area = EXACT.add(area, EXACT.subtract(part.tail or Decimal(0), beyond))
                level = EXACT.add(level or Decimal(0), part.sum)
            yield MeterRow(
                window_start=edge,
                window_end=next_edge,
                group=group,
                quantity=of_state(UsageState(area=area, seconds=seconds)),
                event_count=0 if part is None else part.count,
            )


def _seconds(span: timedelta) -> Decimal:
    return Decimal(span // timedelta(microseconds=1)).scaleb(-6)


def parse_filters(text: str) -> dict[str, list[str]]:
    """Read `filterGroupBy`: a JSON object of a value, or of a list of values, per dimension.

    Raises:
        ValueError: it is not one.
    """
    try:
        decoded = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(decoded, dict):
        raise ValueError("not an object")
    found = {}
    for name, accepted in decoded.items():
        values = accepted if isinstance(accepted, list) else [accepted]
        if not all(isinstance(value, str) for value in values):
            raise ValueError("not text")
        if any("\x00" in value or any("\ud800" <= c <= "\udfff" for c in value) for value in values):
            raise ValueError("text that no event can carry")
        found[name] = values
    return found


__all__ = ["SUBJECT", "MeterQuestion", "MeterRow", "TooManyWindowsError", "meter_rows", "parse_filters"]
