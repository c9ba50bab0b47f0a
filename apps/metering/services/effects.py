"""Changing what stored events count for. What they say stays; the database's trigger sees to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection

from apps.kernel.time import floor_hour
from apps.metering.selectors.stored import EventRef
from apps.metering.services.recompute import WindowKey


@dataclass(frozen=True, slots=True)
class Effect:
    """What an event counts for in one metric."""

    dimension_id: int | None
    quantity: Decimal
    value_hash: UUID | None


@dataclass(frozen=True, slots=True)
class HeldEvent:
    """A stored event whose row is locked, with what it counts for by the keys of its metrics.

    Attributes:
        data: its data as JSON text.
    """

    key: int
    organization_id: int
    public_id: str
    idempotency_key: str
    event_type: str
    subject_id: int
    occurred_at: datetime
    data: str
    effects: dict[int, Effect]

    def windows(self) -> Iterator[WindowKey]:
        """Give the windows it is counted in."""
        for metric_id, effect in self.effects.items():
            yield self.window_of(metric_id, effect)

    def window_of(self, metric_id: int, effect: Effect) -> WindowKey:
        hour = floor_hour(self.occurred_at)
        return WindowKey(self.organization_id, metric_id, self.subject_id, hour, effect.dimension_id)


_FIND = """
FROM unnest(%(keys)s::bigint[], %(types)s::text[], %(moments)s::timestamptz[]) AS t(id, type, at)
JOIN metering_event AS e ON e.organization_id = %(organization)s AND e.event_type = t.type
 AND e.occurred_at = t.at AND e.id = t.id
"""

# One order for everybody: two corrections of the same events cannot deadlock.
HOLD = f"""
SELECT e.id, e.organization_id, e.public_id, e.idempotency_key, e.event_type, e.subject_id, e.occurred_at,
       e.data::text, e.metrics, e.dimensions, e.quantities, e.hashes
{_FIND} ORDER BY e.id FOR UPDATE OF e
"""

CLEAR = """
UPDATE metering_event AS e SET metrics = '{}', dimensions = '{}', quantities = '{}', hashes = NULL
FROM unnest(%(keys)s::bigint[], %(types)s::text[], %(moments)s::timestamptz[]) AS t(id, type, at)
WHERE e.organization_id = %(organization)s AND e.event_type = t.type AND e.occurred_at = t.at AND e.id = t.id
"""

# The effect of one metric is taken out and, where the event counts, put in again at the end.
REPLACE = """
UPDATE metering_event AS e SET (metrics, dimensions, quantities, hashes) = (
    SELECT coalesce(array_agg(x.m ORDER BY x.n), '{}'), coalesce(array_agg(x.d ORDER BY x.n), '{}'),
           coalesce(array_agg(x.v ORDER BY x.n), '{}'),
           CASE WHEN count(x.h) > 0 THEN array_agg(x.h ORDER BY x.n) END
    FROM (
        SELECT o.m, o.d, o.v, o.h, o.n
        FROM unnest(e.metrics, e.dimensions, e.quantities, e.hashes) WITH ORDINALITY AS o(m, d, v, h, n)
        WHERE o.m <> %(metric)s
        UNION ALL
        SELECT %(metric)s, t.d, t.v, t.h, 1000000 WHERE t.v IS NOT NULL
    ) AS x
)
FROM unnest(%(keys)s::bigint[], %(types)s::text[], %(moments)s::timestamptz[], %(dimensions)s::bigint[],
            %(quantities)s::numeric[], %(hashes)s::uuid[]) AS t(id, type, at, d, v, h)
WHERE e.organization_id = %(organization)s AND e.event_type = t.type AND e.occurred_at = t.at AND e.id = t.id
"""

ALLOW = "SELECT set_config('metergate.effects', %s, true)"


def hold_events(*, organization_id: int, refs: Sequence[EventRef]) -> list[HeldEvent]:
    """Lock stored events to the end of the caller's transaction and give them as they are now."""
    with connection.cursor() as cursor:
        cursor.execute(
            HOLD,
            {
                "organization": organization_id,
                "keys": [ref.key for ref in refs],
                "types": [ref.event_type for ref in refs],
                "moments": [ref.occurred_at for ref in refs],
            },
        )
        return [
            HeldEvent(
                key=row[0],
                organization_id=row[1],
                public_id=row[2],
                idempotency_key=row[3],
                event_type=row[4],
                subject_id=row[5],
                occurred_at=row[6],
                data=row[7],
                effects=_effects(*row[8:]),
            )
            for row in cursor.fetchall()
        ]


def _effects(
    metrics: list[int],
    dimensions: list[int | None],
    quantities: list[Decimal],
    hashes: list[UUID | None] | None,
) -> dict[int, Effect]:
    columns = zip(metrics, dimensions, quantities, hashes or [None] * len(metrics), strict=True)
    return {metric: Effect(dimension, quantity, hashed) for metric, dimension, quantity, hashed in columns}


def clear_effects(events: Sequence[HeldEvent]) -> None:
    """Let held events count for nothing; their windows are still to be rebuilt."""
    _change(CLEAR, events, {})


def replace_effects(*, metric_id: int, effects: Sequence[tuple[HeldEvent, Effect | None]]) -> None:
    """Let held events count for one metric as given (None: not at all); their windows are still to be rebuilt."""
    _change(
        REPLACE,
        [event for event, _ in effects],
        {
            "metric": metric_id,
            "dimensions": [effect and effect.dimension_id for _, effect in effects],
            "quantities": [effect and effect.quantity for _, effect in effects],
            "hashes": [effect and effect.value_hash for _, effect in effects],
        },
    )


def _change(sql: str, events: Sequence[HeldEvent], values: dict[str, Any]) -> None:
    if not events:
        return
    named: dict[str, Any] = {
        "organization": events[0].organization_id,
        "keys": [event.key for event in events],
        "types": [event.event_type for event in events],
        "moments": [event.occurred_at for event in events],
        **values,
    }
    with connection.cursor() as cursor:
        cursor.execute(ALLOW, ["on"])
        cursor.execute(sql, named)
        cursor.execute(ALLOW, ["off"])
