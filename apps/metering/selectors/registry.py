"""Which metrics an event type feeds, remembered for a few seconds in every process."""

import threading
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from django.db import connection

from apps.catalog.models import BillableMetric

CACHE_SECONDS = 5.0
# A type nobody knows is asked for again sooner: a metric may just be being made.
MISS_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class MetricShape:
    """What ingest needs to know of a metric."""

    id: int
    public_id: str
    aggregation: str
    value_path: str
    group_paths: tuple[tuple[str, str], ...]
    event_from: datetime | None


_cache: dict[tuple[str, int, str], tuple[float, tuple[MetricShape, ...]]] = {}
_lock = threading.Lock()


def metrics_fed_by(*, organization_id: int, event_type: str) -> tuple[MetricShape, ...]:
    """Give the metrics of a merchant that count events of a type; empty when none does."""
    key = (str(connection.settings_dict["NAME"]), organization_id, event_type)
    hit = _cache.get(key)
    if hit is not None and hit[0] > monotonic():
        return hit[1]
    shapes = tuple(
        MetricShape(
            id=metric.pk,
            public_id=metric.public_id,
            aggregation=metric.aggregation,
            value_path=metric.value_property,
            group_paths=tuple(sorted(metric.group_by.items())),
            event_from=metric.event_from,
        )
        for metric in BillableMetric.objects.filter(
            organization_id=organization_id, event_type=event_type, deleted_at__isnull=True
        ).order_by("pk")
    )
    with _lock:
        if len(_cache) > 50_000:
            _cache.clear()
        _cache[key] = (monotonic() + (CACHE_SECONDS if shapes else MISS_SECONDS), shapes)
    return shapes


def forget_metrics() -> None:
    """Drop what this process remembers, as after changing a metric here."""
    with _lock:
        _cache.clear()
