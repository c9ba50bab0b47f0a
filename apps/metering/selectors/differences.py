"""Where stored windows differ from what the events say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

FETCH = 2_000


@dataclass(frozen=True, slots=True)
class WindowState:
    """What a window holds; `values_digest` is a hash of its distinct values.

    Attributes:
        moment: of a time-weighted sum, each value times the seconds until the hour's end, added up.
    """

    sum: Decimal
    count: int
    min: Decimal | None
    max: Decimal | None
    latest: Decimal | None
    latest_at: datetime | None
    latest_event: str | None
    moment: Decimal | None
    values_digest: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A window that is not what its events say; None stands for no window, or no events."""

    metric_id: int
    subject_id: int
    hour: datetime
    dimension_id: int | None
    stored: WindowState | None
    computed: WindowState | None


# Both sides in one statement, so that merges going on make no difference.
DIFFERENCES = """
WITH effect AS (
    SELECT x.m, e.subject_id AS s, date_trunc('hour', e.occurred_at, 'UTC') AS h, x.d, x.v, x.value_hash,
           e.occurred_at, e.public_id
    FROM metering_event AS e
    CROSS JOIN LATERAL unnest(e.metrics, e.dimensions, e.quantities, e.hashes) AS x(m, d, v, value_hash)
    WHERE e.organization_id = %(organization)s AND e.subject_id = ANY(%(subjects)s)
      AND e.occurred_at >= %(start)s AND e.occurred_at < %(end)s AND x.m = ANY(%(metrics)s)
), computed AS (
    SELECT m, s, h, coalesce(d, 0) AS d, sum(v) AS sum, count(*) AS count, min(v) AS min, max(v) AS max,
           (array_agg(v ORDER BY occurred_at DESC, public_id DESC) FILTER (WHERE m = ANY(%(latest)s)))[1] AS latest,
           max(occurred_at) FILTER (WHERE m = ANY(%(latest)s)) AS latest_at,
           (array_agg(public_id ORDER BY occurred_at DESC, public_id DESC) FILTER (WHERE m = ANY(%(latest)s)))[1]
               AS latest_event,
           sum(v * extract(epoch FROM h + interval '1 hour' - occurred_at)) FILTER (WHERE m = ANY(%(level)s))
               AS moment,
           md5(string_agg(DISTINCT value_hash::text, ',' ORDER BY value_hash::text)) AS digest
    FROM effect GROUP BY m, s, h, coalesce(d, 0)
), stored AS (
    SELECT w.metric_id AS m, w.subject_id AS s, w.hour AS h, coalesce(w.dimension_id, 0) AS d, w.sum, w.count,
           w.min, w.max, w.latest, w.latest_at, w.latest_event, w.moment
    FROM metering_window AS w
    WHERE w.metric_id = ANY(%(metrics)s) AND w.subject_id = ANY(%(subjects)s)
      AND w.hour >= %(start)s AND w.hour < %(end)s
), kept AS (
    SELECT metric_id AS m, subject_id AS s, hour AS h, coalesce(dimension_id, 0) AS d,
           md5(string_agg(value_hash::text, ',' ORDER BY value_hash::text)) AS digest
    FROM metering_windowvalue
    WHERE metric_id = ANY(%(metrics)s) AND subject_id = ANY(%(subjects)s) AND hour >= %(start)s AND hour < %(end)s
    GROUP BY 1, 2, 3, 4
)
SELECT m, s, h, nullif(d, 0), stored.sum, stored.count, stored.min, stored.max, stored.latest, stored.latest_at,
       stored.latest_event, stored.moment, kept.digest,
       computed.sum, computed.count, computed.min, computed.max, computed.latest, computed.latest_at,
       computed.latest_event, computed.moment, computed.digest
FROM stored FULL JOIN computed USING (m, s, h, d) FULL JOIN kept USING (m, s, h, d)
WHERE (stored.sum, stored.count, stored.min, stored.max) IS DISTINCT FROM
      (computed.sum, computed.count, computed.min, computed.max)
   OR kept.digest IS DISTINCT FROM computed.digest
   OR (m = ANY(%(latest)s) AND (stored.latest, stored.latest_at, stored.latest_event) IS DISTINCT FROM
                               (computed.latest, computed.latest_at, computed.latest_event))
   OR (m = ANY(%(level)s) AND stored.moment IS DISTINCT FROM computed.moment)
ORDER BY m, s, h, d
"""


def find_differences(
    *,
    organization_id: int,
    metric_ids: Sequence[int],
    latest_metric_ids: Sequence[int],
    level_metric_ids: Sequence[int],
    subject_ids: Sequence[int],
    start: datetime,
    end: datetime,
) -> Iterator[Difference]:
    """Give the windows that are not what their events say, a few thousand at a time in memory.

    Args:
        latest_metric_ids: those of the metrics whose windows must know their latest event.
        level_metric_ids: those of the metrics whose windows must know the moment of their values.
        start: a full hour.
        end: a full hour.
    """
    with connection.chunked_cursor() as cursor:
        cursor.execute(
            DIFFERENCES,
            {
                "organization": organization_id,
                "metrics": list(metric_ids),
                "latest": list(latest_metric_ids),
                "level": list(level_metric_ids),
                "subjects": list(subject_ids),
                "start": start,
                "end": end,
            },
        )
        while rows := cursor.fetchmany(FETCH):
            yield from (_difference(row) for row in rows)


def _difference(row: tuple[Any, ...]) -> Difference:
    stored, computed = row[4:13], row[13:22]
    return Difference(
        metric_id=row[0],
        subject_id=row[1],
        hour=row[2],
        dimension_id=row[3],
        stored=None if stored[1] is None else WindowState(*stored),
        computed=None if computed[1] is None else WindowState(*computed),
    )
