"""Which metrics an event type feeds, remembered for a few seconds in every process."""

import threading
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from apps.catalog.models import BillableMetric
from apps.kernel.database import database_name
from apps.kernel.outage import read_or_recall
from apps.metering.domain.paths import steps_of

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
    value_steps: tuple[str, ...]
    group_names: tuple[str, ...]
    group_steps: tuple[tuple[str, ...], ...]
    event_from: datetime | None


_cache: dict[tuple[str, int, str], tuple[float, tuple[MetricShape, ...]]] = {}
_names: dict[tuple[tuple[str, str], ...], tuple[str, ...]] = {}
_lock = threading.Lock()


def metrics_fed_by(*, organization_id: int, event_type: str) -> tuple[MetricShape, ...]:
    """Give the metrics of a merchant that count events of a type; empty when none does."""
    key = (database_name(), organization_id, event_type)
    hit = _cache.get(key)
    if hit is not None and hit[0] > monotonic():
        return hit[1]
    known, expired_at = (hit[1] or None, hit[0]) if hit is not None else (None, 0.0)
    found, is_fresh = read_or_recall(
        lambda: _read_shapes(organization_id, event_type), last=known, expired_at=expired_at
    )
    shapes = found or ()
    if not is_fresh:
        return shapes
    if hit is not None and hit[1] == shapes:
        # What is remembered of them goes on to hold.
        shapes = hit[1]
    with _lock:
        if len(_cache) > 50_000:
            _cache.clear()
        _cache[key] = (monotonic() + (CACHE_SECONDS if shapes else MISS_SECONDS), shapes)
    return shapes


def _read_shapes(organization_id: int, event_type: str) -> tuple[MetricShape, ...]:
    return tuple(
        shape_of(metric)
        for metric in BillableMetric.objects.filter(
            organization_id=organization_id, event_type=event_type, deleted_at__isnull=True
        ).order_by("pk")
    )


def shape_of(metric: BillableMetric) -> MetricShape:
    """Give what ingest needs to know of a metric."""
    return MetricShape(
        id=metric.pk,
        public_id=metric.public_id,
        aggregation=metric.aggregation,
        value_path=metric.value_property,
        value_steps=steps_of(metric.value_property),
        group_names=_shared(metric.group_by),
        group_steps=tuple(steps_of(metric.group_by[name]) for name in sorted(metric.group_by)),
        event_from=metric.event_from,
    )


def _shared(group_by: dict[str, str]) -> tuple[str, ...]:
    """Give dimension names, the same object for metrics that read the same dimensions from the same places."""
    names = tuple(sorted(group_by))
    return _names.setdefault(tuple(sorted(group_by.items())), names)


def forget_metrics() -> None:
    """Drop what this process remembers, as after changing a metric here."""
    with _lock:
        _cache.clear()
