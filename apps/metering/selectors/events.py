"""The events of a metric, one by one."""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet

from apps.catalog.models import BillableMetric
from apps.catalog.selectors.metrics import event_types_of
from apps.metering.models import EventVoid, MeterEvent
from apps.metering.selectors.links import SubjectSpan, spans_filter
from apps.metering.selectors.meter import MeterQuestion, meter_rows


def counted_events(
    *, metric: BillableMetric, start: datetime, end: datetime, subjects: Sequence[SubjectSpan] | None
) -> QuerySet[MeterEvent]:
    """Give the events in `[start, end)` that a metric counts, the newest first.

    Events of a type that it had before are among them.

    Args:
        metric: the metric.
        start: start of the interval.
        end: its end.
        subjects: only these, each in its time; None means everybody's.
    """
    return _events(metric, start, end, subjects, Q(metrics__contains=[metric.pk]))


def listed_events(
    *, metric: BillableMetric, start: datetime, end: datetime, subjects: Sequence[SubjectSpan] | None
) -> QuerySet[MeterEvent]:
    """Give the events that a metric counts or had counted until they were voided; arguments as above."""
    voided = EventVoid.objects.filter(
        organization_id=metric.organization_id, event_id=OuterRef("public_id"), metrics__contains=[metric.pk]
    )
    return _events(metric, start, end, subjects, Q(metrics__contains=[metric.pk]) | Q(Exists(voided)))


def count_listed_events(
    *, metric: BillableMetric, start: datetime, end: datetime, subjects: Sequence[SubjectSpan] | None
) -> int:
    """Count the events of `listed_events`; windows know how many are counted without going through them."""
    counted = meter_rows(MeterQuestion(metric, start, end, subjects))
    return (
        sum(row.event_count for row in counted)
        + voided_events(metric=metric, start=start, end=end, subjects=subjects).count()
    )


def voided_events(
    *, metric: BillableMetric, start: datetime, end: datetime, subjects: Sequence[SubjectSpan] | None
) -> QuerySet[EventVoid]:
    """Give the voids of events in `[start, end)` that a metric had counted, the newest event first."""
    rows = EventVoid.objects.filter(
        organization_id=metric.organization_id,
        occurred_at__gte=start,
        occurred_at__lt=end,
        metrics__contains=[metric.pk],
    )
    if subjects is not None:
        rows = rows.filter(spans_filter(subjects))
    return rows.order_by("-occurred_at", "-id")


def _events(
    metric: BillableMetric, start: datetime, end: datetime, subjects: Sequence[SubjectSpan] | None, which: Q
) -> QuerySet[MeterEvent]:
    rows = MeterEvent.objects.filter(
        which, organization_id=metric.organization_id, occurred_at__gte=start, occurred_at__lt=end
    )
    types = event_types_of(metric_id=metric.pk)
    # One type as a plain comparison keeps the order of its index.
    rows = rows.filter(event_type=types[0]) if len(types) == 1 else rows.filter(event_type__in=types)
    if subjects is not None:
        rows = rows.filter(spans_filter(subjects))
    return rows.order_by("-occurred_at", "-public_id")
