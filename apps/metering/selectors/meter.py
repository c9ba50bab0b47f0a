"""The meter question of the API: totals, windows over time, groups, filters."""

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

SIZES = {"MINUTE": "minute", "HOUR": "hour", "DAY": "day", "MONTH": "month"}
SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class MeterQuestion:
    """What is asked of one metric.

    Attributes:
        subjects: only these; None means everybody.
        window_size: MINUTE, HOUR, DAY or MONTH (UTC), None for the total alone.
        group_by: dimension names, `subject` among them.
        filters: accepted values by dimension name.
    """

    metric: BillableMetric
    start: datetime
    end: datetime
    subjects: Sequence[int] | None = None
    window_size: str | None = None
    group_by: Sequence[str] = ()
    filters: Mapping[str, Sequence[str]] | None = None


@dataclass(frozen=True, slots=True)
class MeterRow:
    """One answer: its window (None without one), its group values, and the quantity."""

    window_start: datetime | None
    group: tuple[str, ...]
    quantity: Decimal | None
    event_count: int


def meter_rows(question: MeterQuestion) -> list[MeterRow]:
    """Answer a meter question, ordered by window, then by group."""
    parts, values = _parts(question)
    window = "NULL::timestamptz"
    if question.window_size is not None:
        window = f"date_trunc('{SIZES[question.window_size]}', at, 'UTC')"
    groups = [
        "p.subject_id::text" if name == SUBJECT else "coalesce(d.values ->> %s, '')" for name in question.group_by
    ]
    group_values = [name for name in question.group_by if name != SUBJECT]
    where, filter_values = _filters(question)
    keys = ", ".join(str(n + 1) for n in range(1 + len(groups)))
    head = ", ".join([f"{window} AS w", *groups])
    sql = f"""
        WITH p AS ({parts})
        SELECT {head}, sum(p.sum), sum(p.count), min(p.min), max(p.max),
               (array_agg(p.latest ORDER BY p.latest_at DESC, p.latest_event DESC))[1]
        FROM p LEFT JOIN metering_dimension AS d ON d.id = p.dimension_id
        WHERE {where}
        GROUP BY {keys} ORDER BY {keys}
    """
    uniques: dict[tuple[Any, ...], int] = {}
    with connection.cursor() as cursor:
        cursor.execute(sql, [*values, *group_values, *filter_values])
        rows = cursor.fetchall()
        if question.metric.aggregation == "UNIQUE_COUNT":
            unique_parts, unique_values = _unique_parts(question)
            cursor.execute(
                f"""
                WITH p AS ({unique_parts})
                SELECT {head}, count(DISTINCT p.h)
                FROM p LEFT JOIN metering_dimension AS d ON d.id = p.dimension_id
                WHERE {where} GROUP BY {keys}
                """,
                [*unique_values, *group_values, *filter_values],
            )
            uniques = {tuple(row[:-1]): row[-1] for row in cursor.fetchall()}
    aggregation = get(question.metric.aggregation)
    width = 1 + len(groups)
    found = []
    for row in rows:
        total, count, low, high, latest = row[width:]
        state = UsageState(total, int(count), low, high, latest, uniques.get(tuple(row[:width]), 0))
        found.append(MeterRow(row[0], tuple(row[1:width]), aggregation.of_state(state), int(count)))
    return found


def _parts(question: MeterQuestion) -> tuple[str, list[Any]]:
    """Give the states that make up the interval: windows for whole hours, single events for the rest."""
    first, last = _hours(question)
    subjects, subject_values = _subject_clause(question)
    window_sql = f"""
        SELECT hour AS at, subject_id, dimension_id, sum, count, min, max, latest, latest_at, latest_event
        FROM metering_window WHERE metric_id = %s AND hour >= %s AND hour < %s {subjects}
    """
    event_sql = f"""
        SELECT e.occurred_at AS at, e.subject_id, x.d AS dimension_id, x.v AS sum, 1 AS count, x.v AS min, x.v AS max,
               x.v AS latest, e.occurred_at AS latest_at, e.public_id AS latest_event
        FROM metering_event AS e
        CROSS JOIN LATERAL unnest(e.metrics, e.dimensions, e.quantities, e.hashes) AS x(m, d, v, h)
        WHERE e.organization_id = %s AND e.event_type = %s AND x.m = %s
          AND e.occurred_at >= %s AND e.occurred_at < %s
          AND NOT (e.occurred_at >= %s AND e.occurred_at < %s) {subjects}
    """
    metric = question.metric
    window_values = [metric.pk, first, last, *subject_values]
    if (first, last) == (question.start, question.end):
        return window_sql, window_values
    event_values = _event_values(question, first, last, subject_values)
    return f"{window_sql} UNION ALL {event_sql}", window_values + event_values


def _unique_parts(question: MeterQuestion) -> tuple[str, list[Any]]:
    first, last = _hours(question)
    subjects, subject_values = _subject_clause(question)
    sql = f"""
        SELECT hour AS at, subject_id, dimension_id, value_hash AS h
        FROM metering_windowvalue WHERE metric_id = %s AND hour >= %s AND hour < %s {subjects}
        UNION ALL
        SELECT e.occurred_at, e.subject_id, x.d, x.h
        FROM metering_event AS e
        CROSS JOIN LATERAL unnest(e.metrics, e.dimensions, e.quantities, e.hashes) AS x(m, d, v, h)
        WHERE e.organization_id = %s AND e.event_type = %s AND x.m = %s
          AND e.occurred_at >= %s AND e.occurred_at < %s
          AND NOT (e.occurred_at >= %s AND e.occurred_at < %s) {subjects}
    """
    values = [question.metric.pk, first, last, *subject_values]
    return sql, values + _event_values(question, first, last, subject_values)


def _event_values(question: MeterQuestion, first: datetime, last: datetime, subjects: list[Any]) -> list[Any]:
    metric = question.metric
    return [
        metric.organization_id,
        metric.event_type,
        metric.pk,
        question.start,
        question.end,
        first,
        last,
        *subjects,
    ]


def _hours(question: MeterQuestion) -> tuple[datetime, datetime]:
    """Give the whole hours to read from windows; minutes always come from the events themselves."""
    if question.window_size == "MINUTE":
        return question.end, question.end
    first = floor_hour(question.start)
    if first < question.start:
        first += timedelta(hours=1)
    last = floor_hour(question.end)
    return (first, last) if first < last else (question.end, question.end)


def _subject_clause(question: MeterQuestion) -> tuple[str, list[Any]]:
    if question.subjects is None:
        return "", []
    return "AND subject_id = ANY(%s)", [list(question.subjects)]


def _filters(question: MeterQuestion) -> tuple[str, list[Any]]:
    clauses, values = ["true"], []
    for name, accepted in (question.filters or {}).items():
        clauses.append("coalesce(d.values ->> %s, '') = ANY(%s)")
        values.extend([name, list(accepted)])
    return " AND ".join(clauses), values


def parse_filters(text: str) -> dict[str, list[str]]:
    """Read `filterGroupBy`: a JSON object of a value, or of a list of values, per dimension.

    Raises:
        ValueError: it is not one.
    """
    decoded = json.loads(text)
    if not isinstance(decoded, dict):
        raise ValueError("not an object")
    found = {}
    for name, accepted in decoded.items():
        values = accepted if isinstance(accepted, list) else [accepted]
        if not all(isinstance(value, str) for value in values):
            raise ValueError("not text")
        found[name] = values
    return found
