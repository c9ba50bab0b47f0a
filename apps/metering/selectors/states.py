"""Combined states of many usage questions at once: what windows and edge events of each add up to."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from django.db import connection

from apps.kernel.rows import instants, integers
from apps.metering.aggregations import UsageState
from apps.metering.domain.grid import edge_spans, plan_hours, whole_hours
from apps.metering.eventstore import Span, event_store
from apps.metering.selectors.gone import require_raw
from apps.metering.selectors.links import SubjectSpan
from apps.metering.selectors.stored import BEGINNING


class UsageRequest(msgspec.Struct, frozen=True):
    """One question: the quantity of a metric for some subjects, each in its time, in `[start, end)`."""

    organization_id: int
    metric_id: int
    subjects: Sequence[SubjectSpan]
    start: datetime
    end: datetime


Record = dict[str, Any]
Numbered = Sequence[tuple[int, UsageRequest]]

# Arrays, which are read faster than JSON: there may be thousands of questions.
WINDOWS = """
    FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::timestamptz[], %s::timestamptz[]) AS r(n, m, s, a, z)
    CROSS JOIN LATERAL (
        -- By the index for each: the planner believes that many windows fit, and would read all there are.
        SELECT * FROM {table} AS stored
        WHERE stored.metric_id = r.m AND stored.subject_id = r.s AND stored.hour >= r.a AND stored.hour < r.z OFFSET 0
    ) AS w
"""
# Each span is its own record: one with two spans could not use the order of the index. The event store says what to
# read for `<events>`.
EVENTS = """
    FROM jsonb_to_recordset(%s::jsonb)
        AS r(n int, o bigint, m bigint, s bigint, a timestamptz, z timestamptz, start timestamptz, "end" timestamptz,
             path text[], f bigint)
    CROSS JOIN LATERAL (
        -- A subquery of its own, so that the planner never reads all of a subject to keep an hour of it.
        SELECT * FROM <events> AS stored
        WHERE stored.organization_id = r.o AND stored.subject_id = r.s
          AND stored.occurred_at >= r.a AND stored.occurred_at < r.z OFFSET 0
    ) AS e
    CROSS JOIN LATERAL unnest(e.metrics, e.dimensions, e.quantities, e.hashes) AS x(m, d, v, h)
    WHERE x.m = r.m
"""


def read_states(asked: Numbered, *, with_latest: bool) -> dict[int, UsageState]:
    """Give sum, count, smallest, largest and latest of each question that has any usage, by its number."""
    last = ", w.latest, w.latest_at, w.latest_event" if with_latest else ""
    windows = f"SELECT r.n, w.sum, w.count, w.min, w.max{last} {WINDOWS.format(table='metering_window')}"
    last = ", x.v, e.occurred_at, e.public_id" if with_latest else ""
    events = f"SELECT r.n, x.v, 1, x.v, x.v{last} {EVENTS}"
    latest = "(array_agg(latest ORDER BY latest_at DESC, latest_event DESC))[1]" if with_latest else "NULL"
    found = _read(asked, windows, events, f"n, sum(sum), sum(count), min(min), max(max), {latest}")
    return {n: UsageState(total, int(count), low, high, latest) for n, total, count, low, high, latest in found}


def read_groups(asked: Numbered) -> dict[tuple[int, int | None], UsageState]:
    """Give sum and count of each question by the combination of dimension values (its key) that events came with."""
    windows = f"SELECT r.n, w.dimension_id AS d, w.sum, w.count {WINDOWS.format(table='metering_window')}"
    events = f"SELECT r.n, x.d, x.v, 1 {EVENTS}"
    found = _read(asked, windows, events, "n, d, sum(sum), sum(count)", by="n, d")
    return {(n, dimension): UsageState(total, int(count)) for n, dimension, total, count in found}


def read_uniques(asked: Numbered) -> dict[int, UsageState]:
    """Give the number of distinct values of each question."""
    windows = f"SELECT r.n, w.value_hash AS h {WINDOWS.format(table='metering_windowvalue')}"
    found = _read(asked, windows, f"SELECT r.n, x.h {EVENTS}", "n, count(DISTINCT h)")
    return {n: UsageState(uniques=uniques) for n, uniques in found}


def read_levels(asked: Numbered) -> dict[int, UsageState]:
    """Give level × seconds of each question: what came before its start is held throughout, the rest since it came.

    All windows before the start add up to the level that it starts with, so this reads the subject's whole past.
    """
    if not asked:
        return {}
    hours: list[Record] = []
    spans: list[Record] = []
    for n, request in asked:
        for span in request.subjects:
            part = span.within(BEGINNING, request.end)
            if part is None:
                continue
            plan = plan_hours(span.start, part[1], [request.start])
            known = {**record_of(n, request, span.subject), "start": request.start, "end": request.end}
            hours.append({**known, "a": plan.first or BEGINNING, "z": plan.last, "cut": plan.cut_hours})
            spans += [{**known, "a": a, "z": z} for a, z in plan.ranges]
    sources = [
        """
        SELECT r.n, CASE WHEN w.hour < r.start THEN w.sum * extract(epoch FROM r."end" - r.start)
               ELSE w.moment + w.sum * extract(epoch FROM r."end" - w.hour - interval '1 hour') END AS area
        FROM jsonb_to_recordset(%s::jsonb) AS r(n int, m bigint, s bigint, a timestamptz, z timestamptz,
            cut timestamptz[], start timestamptz, "end" timestamptz)
        JOIN metering_window AS w ON w.metric_id = r.m AND w.subject_id = r.s AND w.hour >= r.a AND w.hour < r.z
         AND w.hour <> ALL (r.cut)
        """
    ]
    parts = [hours]
    if spans:
        sources.append(
            f"""SELECT r.n, x.v * extract(epoch FROM r."end" - greatest(e.occurred_at, r.start)) {EVENTS}"""
        )
        parts.append(spans)
    values = [in_json(rows) for rows in parts]
    areas = dict(combined_rows(" UNION ALL ".join(sources), values, spans, "n, sum(area)"))
    return {
        n: UsageState(area=areas.get(n, Decimal(0)), seconds=_seconds(request.end - request.start))
        for n, request in asked
    }


def _read(asked: Numbered, windows: str, events: str, answers: str, by: str = "n") -> list[tuple[Any, ...]]:
    """Combine whole hours and edges; a part without anything to look for is left out of the statement."""
    hours: list[tuple[int, int, int, datetime, datetime]] = []
    spans: list[Record] = []
    for n, request in asked:
        for span in request.subjects:
            part = span.within(request.start, request.end)
            if part is None:
                continue
            first, last = whole_hours(*part)
            if first < last:
                hours.append((n, request.metric_id, span.subject, first, last))
            for a, z in edge_spans(*part):
                spans.append({**record_of(n, request, span.subject), "a": a, "z": z})
    if not (hours or spans):
        return []
    # Columns take their names from the first part, which is there whatever is asked.
    numbers, metrics, subjects, firsts, lasts = zip(*hours, strict=True) if hours else ((),) * 5
    values = [integers(numbers), integers(metrics), integers(subjects), instants(firsts), instants(lasts)]
    if not spans:
        return combined_rows(windows, values, spans, answers, by)
    return combined_rows(f"{windows} UNION ALL {events}", [*values, in_json(spans)], spans, answers, by)


def in_json(records: Sequence[Record]) -> str:
    """Give records as one value of a statement."""
    return msgspec.json.encode(records).decode()


def combined_rows(
    source: str, values: Sequence[str], spans: Sequence[Record], answers: str, by: str = "n"
) -> list[tuple[Any, ...]]:
    """Run one statement over parts of windows and events, and give its answers in groups.

    Args:
        source: statements of the parts, united; `<events>` stands for where events are read.
        values: of the source, in order.
        spans: the records that ask for events.
        answers: what is selected, from the columns of the first part.
        by: the columns of a group.

    Raises:
        RawEventsGoneError: events that were asked for are dropped.
    """
    needed = [Span(span["o"], span["a"], span["z"], [span["s"]]) for span in spans]
    with event_store().events_in(needed) as events, connection.cursor() as cursor:
        cursor.execute(
            f"WITH part AS ({source.replace('<events>', events)}) SELECT {answers} FROM part GROUP BY {by}", values
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    require_raw([span.start for span in needed])
    return rows


def record_of(n: int, request: UsageRequest, subject: int) -> Record:
    return {"n": n, "o": request.organization_id, "m": request.metric_id, "s": subject}


def _seconds(span: timedelta) -> Decimal:
    return Decimal(span // timedelta(microseconds=1)).scaleb(-6)
