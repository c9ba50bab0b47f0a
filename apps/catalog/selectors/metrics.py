from typing import Any

from apps.catalog.models import BillableMetric


def event_types_of(*, metric_id: int) -> list[str]:
    """Give every event type that a metric ever counted, its present one among them.

    What was counted before a change of the type stays counted, so its events must be found as well.
    """
    metrics: Any = BillableMetric
    changes = metrics.pgh_event_model.objects.filter(pgh_obj_id=metric_id)
    present = BillableMetric.objects.filter(pk=metric_id)
    return sorted(changes.values_list("event_type", flat=True).union(present.values_list("event_type", flat=True)))
