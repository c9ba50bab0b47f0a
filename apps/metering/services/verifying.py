"""Checking that windows are what the events say, and mending those that are not."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from apps.catalog.models import BillableMetric
from apps.kernel.time import floor_hour
from apps.metering.aggregations import Latest, WeightedSum
from apps.metering.models import Subject
from apps.metering.selectors.differences import Difference, find_differences
from apps.metering.selectors.stored import BEGINNING, END, has_events_in_month
from apps.metering.services.recompute import WindowKey, recompute_windows

# Subjects compared by one statement, and windows mended in one transaction.
SUBJECTS = 200
REPAIRED = 500
HOUR = timedelta(hours=1)

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Extent:
    """What is checked: windows of a merchant, of all metrics or one, whose hour touches `[start, end)`."""

    organization_id: int
    metric_id: int | None = None
    start: datetime | None = None
    end: datetime | None = None


def count_subjects(extent: Extent) -> int:
    """Count the subjects that a check goes through, for a progress bar."""
    return Subject.objects.filter(organization_id=extent.organization_id).count()


def verify_windows(extent: Extent, *, is_repairing: bool, on_progress: Callable[[int], None]) -> Iterator[Difference]:
    """Give every window that is not what its events say; the caller may read on as slowly as it likes.

    Args:
        is_repairing: rebuild each from its events, a part at a time, after it is given; not those of a month
            without any events, because windows outlive events that were dropped.
        on_progress: called with the number of subjects done.
    """
    metrics = BillableMetric.objects.filter(organization_id=extent.organization_id)
    if extent.metric_id is not None:
        metrics = metrics.filter(pk=extent.metric_id)
    kinds = dict(metrics.values_list("pk", "aggregation"))
    for subjects in _parts(
        Subject.objects.filter(organization_id=extent.organization_id)
        .order_by("pk")
        .values_list("pk", flat=True)
        .iterator(chunk_size=SUBJECTS),
        SUBJECTS,
    ):
        found = find_differences(
            organization_id=extent.organization_id,
            metric_ids=list(kinds),
            latest_metric_ids=[pk for pk, kind in kinds.items() if kind == Latest.CODE],
            level_metric_ids=[pk for pk, kind in kinds.items() if kind == WeightedSum.CODE],
            subject_ids=subjects,
            start=floor_hour(extent.start) if extent.start is not None else BEGINNING,
            end=_next_hour(extent.end) if extent.end is not None else END,
        )
        for part in _parts(found, REPAIRED):
            yield from part
            if is_repairing:
                recompute_windows(windows=_repairable(extent.organization_id, part))
        on_progress(len(subjects))


def _repairable(organization_id: int, differences: Iterable[Difference]) -> list[WindowKey]:
    months: dict[tuple[int, int], bool] = {}
    keys = []
    for found in differences:
        month = (found.hour.year, found.hour.month)
        if month not in months:
            months[month] = has_events_in_month(organization_id=organization_id, moment=found.hour)
        if months[month]:
            keys.append(WindowKey(organization_id, found.metric_id, found.subject_id, found.hour, found.dimension_id))
    return keys


def _next_hour(moment: datetime) -> datetime:
    hour = floor_hour(moment)
    return hour if hour == moment else hour + HOUR


def _parts(rows: Iterable[Item], size: int) -> Iterator[list[Item]]:
    part: list[Item] = []
    for row in rows:
        part.append(row)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
