from collections.abc import Sequence
from datetime import datetime

from django.db.models import QuerySet

from apps.catalog.models import BillableMetric
from apps.catalog.selectors.metrics import event_types_of
from apps.metering.models import MeterEvent


def counted_events(
    *, metric: BillableMetric, start: datetime, end: datetime, subjects: Sequence[int] | None
) -> QuerySet[MeterEvent]:
    """Give the events in `[start, end)` that a metric counts, the newest first.

    Events of a type that it had before are among them.

    Args:
        metric: the metric.
        start: start of the interval.
        end: its end.
        subjects: only these; None means everybody's.
    """
    rows = MeterEvent.objects.filter(
        organization_id=metric.organization_id,
        occurred_at__gte=start,
        occurred_at__lt=end,
        metrics__contains=[metric.pk],
    )
    types = event_types_of(metric_id=metric.pk)
    # One type as a plain comparison keeps the order of its index.
    rows = rows.filter(event_type=types[0]) if len(types) == 1 else rows.filter(event_type__in=types)
    if subjects is not None:
        rows = rows.filter(subject_id__in=subjects)
    return rows.order_by("-occurred_at", "-public_id")
