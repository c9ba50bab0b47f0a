"""The statements behind a meter question: windows for whole hours, events for the spans that boundaries cut."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from apps.catalog.models import BillableMetric
from apps.catalog.selectors.metrics import event_types_of
from apps.metering.aggregations import Latest, UniqueCount, WeightedSum
from apps.metering.domain.grid import HourPlan, plan_hours
from apps.metering.eventstore import Span, event_store
from apps.metering.selectors.gone import require_raw
from apps.metering.selectors.links import SubjectSpan, moved_spans
from apps.metering.selectors.stored import BEGINNING

SUBJECT = "subject"

# Whom a part counts for: who is named beside it, else who had its subject when the interval began; a subject that
# stands for nobody stands for itself. Two subjects of one customer are one group.
NAMES = """
    JOIN metering_subject AS s ON s.id = p.subject_id
    LEFT JOIN customers_externalidlink AS link ON s.is_external AND link.organization_id = s.organization_id
     AND link.external_id = s.value AND link.valid @> %(start)s::timestamptz
    LEFT JOIN customers_customer AS customer ON customer.id = link.customer_id
"""
NAME = "coalesce(p.owner, customer.public_id, s.value)"
# Stands for what the event store says to read from.
EVENTS = "<events>"
DIMENSIONS = "LEFT JOIN metering_dimension AS d ON d.id = p.dimension_id"

Owned = tuple[SubjectSpan, str | None]


@dataclass(frozen=True, slots=True)
class Part:
    """What one window of time and one group combine to; `tail` is value × seconds until the interval's end."""

    sum: Decimal
    count: int
    uniques: int
    min: Decimal | None
    max: Decimal | None
    latest: Decimal | None
    tail: Decimal | None


@dataclass(slots=True)
class Reading:
    """Builds and runs the statements of one question.

    Attributes:
        edges: edges of its windows of time; a part's number is that of its window, from 1, and 0 is before the start.
        subjects: only these, each in its time, with the public id of whom they are of; None means everybody.
        groups: names of the dimensions, `subject` among them.
        only: values of the groups to read; None means all.
    """

    metric: BillableMetric
    start: datetime
    end: datetime
    edges: Sequence[datetime]
    subjects: Sequence[Owned] | None
    groups: Sequence[str]
    filters: Mapping[str, Sequence[str]]
    only: Sequence[tuple[str, ...]] | None
    values: dict[str, Any] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)

    @property
    def reads_level(self) -> bool:
        """Whether all that was before the interval is needed as well."""
        return self.metric.aggregation == WeightedSum.CODE

    def parts(self) -> dict[tuple[Any, ...], Part]:
        """Give the combined state by window number and group values.

        Raises:
            RawEventsGoneError: a boundary lies inside an hour whose raw events are dropped.
        """
        is_latest = self.metric.aggregation == Latest.CODE
        latest = "(array_agg(p.latest ORDER BY p.latest_at DESC, p.latest_event DESC))[1]" if is_latest else "NULL"
        tail = "sum(p.tail)" if self.reads_level else "NULL"
        sql = self._grouped(
            self._states(is_latest=is_latest), f"sum(p.sum), sum(p.count), min(p.min), max(p.max), {latest}, {tail}"
        )
        width = 1 + len(self.groups)
        keys = ", ".join(f"k{position}" for position in range(width))
        uniques = "0"
        if self.metric.aggregation == UniqueCount.CODE:
            # In the same statement, so that both see the same merges.
            distinct = self._grouped(self._hashes(), "count(DISTINCT p.h) AS n")
            sql = f"SELECT * FROM ({sql}) AS state LEFT JOIN ({distinct}) AS distinct_values USING ({keys})"
            uniques = "n"
        sql = f"SELECT *, {uniques} FROM ({sql}) AS found ORDER BY {keys}"
        with event_store().events_in(self.spans) as events, connection.cursor() as cursor:
            cursor.execute(sql.replace(EVENTS, events), self.values)
            rows = cursor.fetchall()
        require_raw(span.start for span in self.spans)
        return {
            row[:width]: Part(row[width], int(row[width + 1]), row[-1] or 0, *row[width + 2 : width + 6])
            for row in rows
        }

    def _grouped(self, source: str, answers: str) -> str:
        keys = [self._key(position, name) for position, name in enumerate(self.groups)]
        where = ["true"]
        for position, (name, accepted) in enumerate(self.filters.items()):
            self.values |= {f"filter{position}": name, f"accepted{position}": list(accepted)}
            where.append(f"coalesce(d.values ->> %(filter{position})s, '') = ANY (%(accepted{position})s)")
        if self.only is not None and self.groups:
            columns = zip(*self.only, strict=True) if self.only else [()] * len(self.groups)
            self.values |= {f"only{position}": list(column) for position, column in enumerate(columns)}
            arrays = ", ".join(f"%(only{position})s::text[]" for position in range(len(self.groups)))
            where.append(f"({', '.join(keys)}) IN (SELECT * FROM unnest({arrays}))")
        joins = []
        if self.filters or any(name != SUBJECT for name in self.groups):
            joins.append(DIMENSIONS)
        if SUBJECT in self.groups:
            self.values["start"] = self.start
            joins.append(NAMES)
        named = ", ".join(f"{key} AS k{position}" for position, key in enumerate(["p.w", *keys]))
        order = ", ".join(str(position + 1) for position in range(1 + len(keys)))
        return (
            f"WITH p AS ({source}) SELECT {named}, {answers} FROM p {' '.join(joins)}"
            f" WHERE {' AND '.join(where)} GROUP BY {order}"
        )

    def _key(self, position: int, name: str) -> str:
        if name == SUBJECT:
            return NAME
        self.values[f"group{position}"] = name
        return f"coalesce(d.values ->> %(group{position})s, '')"

    def _states(self, *, is_latest: bool) -> str:
        last = ", w.latest, w.latest_at, w.latest_event" if is_latest else ""
        tail = (
            ", w.moment + w.sum * extract(epoch FROM %(end)s::timestamptz - w.hour - interval '1 hour') AS tail"
            if self.reads_level
            else ""
        )
        windows = (
            f"{self._number('w.hour')} AS w, w.subject_id, w.dimension_id, w.sum, w.count, w.min, w.max{last}{tail}"
        )
        last = ", x.v, e.occurred_at, e.public_id" if is_latest else ""
        tail = ", x.v * extract(epoch FROM %(end)s::timestamptz - e.occurred_at)" if self.reads_level else ""
        events = f"{self._number('e.occurred_at')}, e.subject_id, x.d, x.v, 1, x.v, x.v{last}{tail}"
        return self._source("metering_window", windows, events)

    def _hashes(self) -> str:
        windows = f"{self._number('w.hour')} AS w, w.subject_id, w.dimension_id, w.value_hash AS h"
        return self._source(
            "metering_windowvalue", windows, f"{self._number('e.occurred_at')}, e.subject_id, x.d, x.h"
        )

    def _number(self, instant: str) -> str:
        """Give the number of the window that holds an instant."""
        if len(self.edges) == 2 and not self.reads_level:
            return "1"
        self.values["grid"] = [max(edge, self.start) for edge in self.edges[:-1]]
        return f"width_bucket({instant}, %(grid)s::timestamptz[])"

    def _source(self, table: str, windows: str, events: str) -> str:
        """Give everybody's states, or those of some subjects each in its time.

        When everybody is asked for by subject, one whose owner changes is read in parts, one an owner. A level is
        made of all that came before it, so it is read from the beginning.
        """
        self.values |= {"metric": self.metric.pk, "organization": self.metric.organization_id, "end": self.end}
        if self.subjects is not None:
            return self._spanned(table, windows, events, self.subjects)
        moved: Sequence[Owned] = ()
        if SUBJECT in self.groups:
            moved = moved_spans(
                organization_id=self.metric.organization_id,
                start=BEGINNING if self.reads_level else self.start,
                end=self.end,
            )
        everybody = self._everybody(table, windows, events, apart=sorted({span.subject for span, _ in moved}))
        return f"{everybody} UNION ALL {self._spanned(table, windows, events, moved)}" if moved else everybody

    def _everybody(self, table: str, windows: str, events: str, *, apart: Sequence[int]) -> str:
        plan = self._plan(None if self.reads_level else self.start, self.end)
        where = ["w.metric_id = %(metric)s", "w.hour < %(last)s"]
        self.values |= {"last": plan.last, "apart": list(apart)}
        if plan.first is not None:
            self.values["first"] = plan.first
            where.append("w.hour >= %(first)s")
        if plan.cut_hours:
            self.values["cut"] = list(plan.cut_hours)
            where.append("w.hour <> ALL (%(cut)s)")
        if apart:
            where.append("w.subject_id <> ALL (%(apart)s)")
        source = f"SELECT {windows}, NULL::text AS owner FROM {table} AS w WHERE {' AND '.join(where)}"
        if not plan.ranges:
            return source
        types = event_types_of(metric_id=self.metric.pk)
        self.spans += [Span(self.metric.organization_id, a, z, event_types=types) for a, z in plan.ranges]
        self.values |= {
            "types": types,
            "froms": [a for a, _ in plan.ranges],
            "tos": [z for _, z in plan.ranges],
        }
        whose = "AND e.subject_id <> ALL (%(apart)s)" if apart else ""
        return f"""
            {source} UNION ALL
            SELECT {events}, NULL FROM unnest(%(froms)s::timestamptz[], %(tos)s::timestamptz[]) AS r(a, z)
            JOIN {EVENTS} AS e ON e.occurred_at >= r.a AND e.occurred_at < r.z
            CROSS JOIN LATERAL unnest(e.metrics, e.dimensions, e.quantities, e.hashes) AS x(m, d, v, h)
            WHERE e.organization_id = %(organization)s AND e.event_type = ANY (%(types)s) AND x.m = %(metric)s {whose}
        """

    def _spanned(self, table: str, windows: str, events: str, owned: Sequence[Owned]) -> str:
        hours: list[dict[str, Any]] = []
        ranges: list[dict[str, Any]] = []
        for span, owner in owned:
            part = span.within(BEGINNING if self.reads_level else self.start, self.end)
            if part is None:
                continue
            plan = self._plan(span.start if self.reads_level else part[0], part[1])
            whose = {"s": span.subject, "owner": owner}
            first = plan.first or BEGINNING
            hours.append({**whose, "first": first, "last": plan.last, "cut": plan.cut_hours})
            ranges += [{**whose, "a": a, "z": z} for a, z in plan.ranges]
            self.spans += [Span(self.metric.organization_id, a, z, [span.subject]) for a, z in plan.ranges]
        self.values |= {
            "hours": json.dumps(hours, default=datetime.isoformat),
            "ranges": json.dumps(ranges, default=datetime.isoformat),
        }
        source = f"""
            SELECT {windows}, r.owner FROM jsonb_to_recordset(%(hours)s::jsonb)
                AS r(s bigint, owner text, first timestamptz, last timestamptz, cut timestamptz[])
            JOIN {table} AS w ON w.metric_id = %(metric)s AND w.subject_id = r.s
             AND w.hour >= r.first AND w.hour < r.last AND w.hour <> ALL (r.cut)
        """
        if not ranges:
            return source
        return f"""
            {source} UNION ALL
            SELECT {events}, r.owner FROM jsonb_to_recordset(%(ranges)s::jsonb)
                AS r(s bigint, owner text, a timestamptz, z timestamptz)
            CROSS JOIN LATERAL (
                -- A subquery of its own, so that the planner never reads all of a subject to keep an hour of it.
                SELECT * FROM {EVENTS} AS stored
                WHERE stored.organization_id = %(organization)s AND stored.subject_id = r.s
                  AND stored.occurred_at >= r.a AND stored.occurred_at < r.z OFFSET 0
            ) AS e
            CROSS JOIN LATERAL unnest(e.metrics, e.dimensions, e.quantities, e.hashes) AS x(m, d, v, h)
            WHERE x.m = %(metric)s
        """

    def _plan(self, start: datetime | None, end: datetime) -> HourPlan:
        return plan_hours(start, end, [self.start, *self.edges])
