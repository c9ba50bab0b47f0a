from typing import Any

from apps.catalog.models import BillableMetric, MetricMode
from apps.kernel.errors import ConflictError


def require_counting(metric: BillableMetric) -> None:
    """Refuse to tell the usage of a metric that counts none.

    Raises:
        ConflictError: it is flat.
    """
    if metric.mode == MetricMode.FLAT:
        raise ConflictError(
            "The metric is flat: it charges the quantity that subscribers choose and counts no events.",
            code="METRIC_IS_FLAT",
        )


def event_types_of(*, metric_id: int) -> list[str]:
    """Give every event type that a metric ever counted, its present one among them.

    What was counted before a change of the type stays counted, so its events must be found as well.
    """
    metrics: Any = BillableMetric
    changes = metrics.pgh_event_model.objects.filter(pgh_obj_id=metric_id)
    present = BillableMetric.objects.filter(pk=metric_id)
    return sorted(changes.values_list("event_type", flat=True).union(present.values_list("event_type", flat=True)))
