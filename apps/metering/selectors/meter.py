"""The meter question of the API: totals, windows over time, groups, filters."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from apps.catalog.models import BillableMetric
from apps.metering.aggregations import UsageState, get
from apps.metering.selectors.gone import first_raw, require_raw
from apps.metering.selectors.links import SubjectSpan, moved_spans
from apps.metering.selectors.usage import whole_hours

SIZES = {"MINUTE": "minute", "HOUR": "hour", "DAY": "day", "MONTH": "month"}
SUBJECT = "subject"


# Whom a part counts for: who is named beside it, else who had its subject when the interval began; a subject that
# stands for nobody stands for itself.
OWNER = "coalesce(p.owner, customer.public_id, subject.value)"
OWNERS = """
JOIN metering_subject AS subject ON subject.id = p.subject_id
LEFT JOIN customers_externalidlink AS link ON subject.is_external AND link.organization_id = %s
 AND link.external_id = subject.value AND link.valid @> %s
LEFT JOIN customers_customer AS customer ON customer.id = link.customer_id
"""


@dataclass(frozen=True, slots=True)
class MeterQuestion:
    """What is asked of one metric.

    Attributes:
        subjects: only these, each in its time; None means everybody.
        window_size: MINUTE, HOUR, DAY or MONTH (UTC), None for the total alone.
        group_by: dimension names, `subject` among them.
        filters: accepted values by dimension name.
        owner: public id of the customer that `subjects` are of.
    """

    metric: BillableMetric
    start: datetime
    end: datetime
    subjects: Sequence[SubjectSpan] | None = None
    window_size: str | None = None
    group_by: Sequence[str] = ()
    filters: Mapping[str, Sequence[str]] | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class MeterRow:
    """One answer: its window (None without one), its group values, and the quantity."""

    window_start: datetime | None
    group: tuple[str, ...]
    quantity: Decimal | None
    event_count: int


def meter_rows(question: MeterQuestion) -> list[MeterRow]:
    """Answer a meter question, ordered by window, then by group.

    Raises:
        RawEventsGoneError: minutes, or an edge inside an hour, are asked of a time whose raw events are dropped.
    """
    parts, values = _parts(question)
    window = "NULL::timestamptz"
    if question.window_size is not None:
        window = f"date_trunc('{SIZES[question.window_size]}', at, 'UTC')"
    groups = [OWNER if name == SUBJECT else "coalesce(d.values ->> %s, '')" for name in question.group_by]
    group_values = [name for name in question.group_by if name != SUBJECT]
    owners = ""
    owner_values: list[Any] = []
    if SUBJECT in question.group_by:
        owners, owner_values = OWNERS, [question.metric.organization_id, question.start]
    source = f"p LEFT JOIN metering_dimension AS d ON d.id = p.dimension_id {owners}"
    where, filter_values = _filters(question)
    keys = ", ".join(str(n + 1) for n in range(1 + len(groups)))
    head = ", ".join([f"{window} AS w", *groups])
    sql = f"""
        WITH p AS ({parts})
        SELECT {head}, sum(p.sum), sum(p.count), min(p.min), max(p.max),
               (array_agg(p.latest ORDER BY p.latest_at DESC, p.latest_event DESC))[1]
        FROM {source}
        WHERE {where}
        GROUP BY {keys} ORDER BY {keys}
    """
    uniques: dict[tuple[Any, ...], int] = {}
    with connection.cursor() as cursor:
        cursor.execute(sql, [*values, *group_values, *owner_values, *filter_values])
        rows = cursor.fetchall()
        if question.metric.aggregation == "UNIQUE_COUNT":
            unique_parts, unique_values = _unique_parts(question)
            cursor.execute(
                f"""
                WITH p AS ({unique_parts})
                SELECT {head}, count(DISTINCT p.h)
                FROM {source}
                WHERE {where} GROUP BY {keys}
                """,
                [*unique_values, *group_values, *owner_values, *filter_values],
            )
            uniques = {tuple(row[:-1]): row[-1] for row in cursor.fetchall()}
    require_raw(_edges(question))
    aggregation = get(question.metric.aggregation)
    width = 1 + len(groups)
    found = []
    for row in rows:
        total, count, low, high, latest = row[width:]
        state = UsageState(total, int(count), low, high, latest, uniques.get(tuple(row[:width]), 0))
        found.append(MeterRow(row[0], tuple(row[1:width]), aggregation.of_state(state), int(count)))
    return found


@dataclass(frozen=True, slots=True)
class _Source:
    """Whose states are read, and within which bounds: SQL, and the values for its places.

    Attributes:
        has_edges: some of the interval lies outside of whole hours.
        joined, picked: values of `join` and of `where`.
        hours: values of `first` and `last`.
        bounds: values of `start`, `first`, `last` and `end`.
    """

    has_edges: bool
    join: str = ""
    joined: Sequence[Any] = ()
    where: str = ""
    picked: Sequence[Any] = ()
    owner: str = "NULL::text"
    start: str = "%s"
    first: str = "%s"
    last: str = "%s"
    end: str = "%s"
    hours: Sequence[Any] = ()
    bounds: Sequence[Any] = ()


def _sources(question: MeterQuestion) -> list[_Source]:
    """Give everybody in the whole interval, or some subjects each in its part of it.

    When it is asked by subject, one whose owner changes inside the interval is read in parts, one an owner.
    """
    start, end = question.start, question.end
    if question.subjects is not None:
        return [_spanned(question, [(span, question.owner) for span in question.subjects])]
    moved = []
    if SUBJECT in question.group_by:
        moved = moved_spans(organization_id=question.metric.organization_id, start=start, end=end)
    hours = _hours(question, start, end)
    apart = sorted({span.subject for span, _ in moved})
    everybody = _Source(
        has_edges=hours != (start, end),
        where="AND r.subject_id <> ALL (%s::bigint[])" if moved else "",
        picked=[apart] if moved else (),
        hours=hours,
        bounds=[start, *hours, end],
    )
    return [everybody, _spanned(question, moved)] if moved else [everybody]


def _spanned(question: MeterQuestion, spans: Sequence[tuple[SubjectSpan, str | None]]) -> _Source:
    rows = [
        (span.subject, owner, *part, *_hours(question, *part))
        for span, owner in spans
        for part in [span.within(question.start, question.end)]
        if part is not None
    ]
    return _Source(
        has_edges=any((start, end) != (first, last) for _, _, start, end, first, last in rows),
        join="JOIN unnest(%s::bigint[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::timestamptz[],"
        " %s::timestamptz[]) AS s(subject_id, owner, a, z, ha, hz) ON s.subject_id = r.subject_id",
        joined=[list(column) for column in zip(*rows, strict=True)] or [[]] * 6,
        owner="s.owner",
        start="s.a",
        first="s.ha",
        last="s.hz",
        end="s.z",
    )


def _union(question: MeterQuestion, table: str, whole: str, single: str) -> tuple[str, list[Any]]:
    """Give whole hours from a table of windows and the rest from the events, over all sources."""
    metric = question.metric
    parts: list[str] = []
    values: list[Any] = []
    for source in _sources(question):
        parts.append(
            f"SELECT {whole}, {source.owner} AS owner FROM {table} AS r {source.join}"
            f" WHERE r.metric_id = %s AND r.hour >= {source.first} AND r.hour < {source.last} {source.where}"
        )
        values += [*source.joined, metric.pk, *source.hours, *source.picked]
        if not source.has_edges:
            continue
        parts.append(
            f"""
            SELECT {single}, {source.owner} AS owner FROM metering_event AS r {source.join}
            CROSS JOIN LATERAL unnest(r.metrics, r.dimensions, r.quantities, r.hashes) AS x(m, d, v, h)
            WHERE r.organization_id = %s AND r.event_type = %s AND x.m = %s
              AND (r.occurred_at >= {source.start} AND r.occurred_at < {source.first}
                OR r.occurred_at >= {source.last} AND r.occurred_at < {source.end}) {source.where}
            """
        )
        values += [*source.joined, metric.organization_id, metric.event_type, metric.pk, *source.bounds]
        values += source.picked
    return " UNION ALL ".join(parts), values


def _parts(question: MeterQuestion) -> tuple[str, list[Any]]:
    """Give the states that make up the interval: windows for whole hours, single events for the rest."""
    return _union(
        question,
        "metering_window",
        "r.hour AS at, r.subject_id, r.dimension_id, r.sum, r.count, r.min, r.max, r.latest, r.latest_at,"
        " r.latest_event",
        "r.occurred_at AS at, r.subject_id, x.d AS dimension_id, x.v AS sum, 1 AS count, x.v AS min, x.v AS max,"
        " x.v AS latest, r.occurred_at AS latest_at, r.public_id AS latest_event",
    )


def _unique_parts(question: MeterQuestion) -> tuple[str, list[Any]]:
    return _union(
        question,
        "metering_windowvalue",
        "r.hour AS at, r.subject_id, r.dimension_id, r.value_hash AS h",
        "r.occurred_at, r.subject_id, x.d, x.h",
    )


def _edges(question: MeterQuestion) -> list[datetime | None]:
    """Give from when raw events are read, for each subject that is read."""
    spans = [SubjectSpan(0)] if question.subjects is None else question.subjects
    if question.subjects is None and SUBJECT in question.group_by:
        moved = moved_spans(organization_id=question.metric.organization_id, start=question.start, end=question.end)
        spans = [*spans, *(span for span, _ in moved)]
    return [
        first_raw(*part, *_hours(question, *part))
        for span in spans
        for part in [span.within(question.start, question.end)]
        if part is not None
    ]


def _hours(question: MeterQuestion, start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Give the whole hours to read from windows; minutes always come from the events themselves."""
    return (end, end) if question.window_size == "MINUTE" else whole_hours(start, end)


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
