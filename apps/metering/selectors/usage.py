"""How much was used: whole hours from windows, the edge hours from raw events."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from apps.catalog.models import BillableMetric
from apps.kernel.time import floor_hour
from apps.metering.aggregations import UsageState, get
from apps.metering.selectors.gone import first_raw, require_raw
from apps.metering.selectors.links import SubjectSpan

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class UsageRequest:
    """One question: the quantity of a metric for some subjects, each in its time, in `[start, end)`."""

    organization_id: int
    metric_id: int
    subjects: Sequence[SubjectSpan]
    start: datetime
    end: datetime


def period_usage(*, requests: Sequence[UsageRequest]) -> list[Decimal | None]:
    """Answer many usage questions with one query; n questions in, n quantities out, same order.

    Returns:
        SUM, COUNT and UNIQUE_COUNT of nothing are 0; AVG, MIN, MAX and LATEST of nothing are None.

    Raises:
        RawEventsGoneError: an edge of an interval lies inside an hour whose raw events are dropped.
    """
    if not requests:
        return []
    kinds = _aggregations({request.metric_id for request in requests})
    rows = [
        {
            "n": n,
            "o": request.organization_id,
            "m": request.metric_id,
            "s": span.subject,
            "a": part[0].isoformat(),
            "z": part[1].isoformat(),
            "ha": hours[0].isoformat(),
            "hz": hours[1].isoformat(),
        }
        for n, request in enumerate(requests)
        for span in request.subjects
        for part in [span.within(request.start, request.end)]
        if part is not None
        for hours in [whole_hours(*part)]
    ]
    states = _states(rows)
    needs_uniques = any(kind == "UNIQUE_COUNT" for kind in kinds.values())
    uniques = _uniques(rows) if needs_uniques else {}
    edges = [
        first_raw(*part, *whole_hours(*part))
        for request in requests
        for span in request.subjects
        for part in [span.within(request.start, request.end)]
        if part is not None
    ]
    require_raw(edges)
    return [_quantity(kinds[request.metric_id], states.get(n), uniques.get(n)) for n, request in enumerate(requests)]


def usage_changed_since(*, requests: Sequence[UsageRequest], moments: Sequence[datetime]) -> list[bool]:
    """Tell which questions have windows that a merge or a correction touched at or after a moment; same order.

    Args:
        requests: the questions.
        moments: one wall-clock moment per question.
    """
    rows = [
        {
            "n": n,
            "m": request.metric_id,
            "s": span.subject,
            "a": floor_hour(part[0]).isoformat(),
            "z": part[1].isoformat(),
            "c": moment.isoformat(),
        }
        for n, (request, moment) in enumerate(zip(requests, moments, strict=True))
        for span in request.subjects
        for part in [span.within(request.start, request.end)]
        if part is not None
    ]
    changed = [False] * len(requests)
    if not rows:
        return changed
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT r.n FROM jsonb_to_recordset(%s::jsonb)
                AS r(n int, m bigint, s bigint, a timestamptz, z timestamptz, c timestamptz)
            JOIN metering_window AS w ON w.metric_id = r.m AND w.subject_id = r.s
             AND w.hour >= r.a AND w.hour < r.z AND w.changed_at >= r.c
            UNION
            SELECT r.n FROM jsonb_to_recordset(%s::jsonb)
                AS r(n int, m bigint, s bigint, a timestamptz, z timestamptz, c timestamptz)
            JOIN metering_windowgone AS w ON w.metric_id = r.m AND w.subject_id = r.s
             AND w.hour >= r.a AND w.hour < r.z AND w.changed_at >= r.c
            """,
            [json.dumps(rows)] * 2,
        )
        for (n,) in cursor.fetchall():
            changed[n] = True
    return changed


def whole_hours(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Give the full hours inside an interval; an empty pair at its end when there are none."""
    first = floor_hour(start)
    if first < start:
        first += HOUR
    last = floor_hour(end)
    return (first, last) if first < last else (end, end)


def _aggregations(metric_ids: set[int]) -> dict[int, str]:
    return dict(BillableMetric.objects.filter(pk__in=metric_ids).values_list("pk", "aggregation"))


RECORDS = (
    "jsonb_to_recordset(%s::jsonb) AS r(n int, o bigint, m bigint, s bigint, a timestamptz, z timestamptz,"
    " ha timestamptz, hz timestamptz)"
)

# The edges: raw events inside the interval and outside of its whole hours.
EDGES = """
JOIN LATERAL (
    SELECT e.occurred_at, e.public_id, x.v, x.h FROM metering_event AS e
    CROSS JOIN LATERAL unnest(e.metrics, e.dimensions, e.quantities, e.hashes) AS x(m, d, v, h)
    WHERE e.organization_id = r.o AND e.subject_id = r.s AND x.m = r.m
      AND ((e.occurred_at >= r.a AND e.occurred_at < r.ha AND e.occurred_at < r.z)
        OR (e.occurred_at >= r.hz AND e.occurred_at >= r.a AND e.occurred_at < r.z))
) AS edge ON true
"""


def _states(rows: Sequence[Mapping[str, Any]]) -> dict[int, tuple[Any, ...]]:
    """Give the combined state of each question: sum, count, min, max, latest."""
    if not rows:
        return {}
    text = json.dumps(rows)
    edged = json.dumps([row for row in rows if not (row["a"] == row["ha"] and row["z"] == row["hz"])])
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH part AS (
                SELECT r.n, w.sum, w.count, w.min, w.max, w.latest, w.latest_at, w.latest_event
                FROM {RECORDS}
                JOIN metering_window AS w ON w.metric_id = r.m AND w.subject_id = r.s
                 AND w.hour >= r.ha AND w.hour < r.hz
                UNION ALL
                SELECT r.n, edge.v, 1, edge.v, edge.v, edge.v, edge.occurred_at, edge.public_id
                FROM {RECORDS} {EDGES}
            )
            SELECT n, sum(sum), sum(count), min(min), max(max),
                   (array_agg(latest ORDER BY latest_at DESC, latest_event DESC))[1]
            FROM part GROUP BY n
            """,
            [text, edged],
        )
        return {row[0]: row[1:] for row in cursor.fetchall()}


def _uniques(rows: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Give the number of distinct values of each question."""
    text = json.dumps(rows)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT n, count(DISTINCT h) FROM (
                SELECT r.n, w.value_hash AS h FROM {RECORDS}
                JOIN metering_windowvalue AS w ON w.metric_id = r.m AND w.subject_id = r.s
                 AND w.hour >= r.ha AND w.hour < r.hz
                UNION ALL
                SELECT r.n, edge.h FROM {RECORDS} {EDGES}
            ) AS part GROUP BY n
            """,
            [text, text],
        )
        return dict(cursor.fetchall())


def _quantity(kind: str, state: tuple[Any, ...] | None, uniques: int | None) -> Decimal | None:
    """Read the quantity of one question off its combined state."""
    total, count, low, high, latest = state or (Decimal(0), 0, None, None, None)
    combined = UsageState(Decimal(total), int(count), low, high, latest, uniques or 0)
    return get(kind).of_state(combined)
