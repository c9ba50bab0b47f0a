"""The statements behind a meter question: windows for whole hours, events for the spans that boundaries cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from apps.catalog.models import BillableMetric
from apps.catalog.selectors.metrics import event_types_of
from apps.metering.aggregations import Latest, UniqueCount, WeightedSum
from apps.metering.domain.grid import plan_hours

SUBJECT = "subject"

# Who a subject is, is found on read: its customer's id, else the name that events carry. Two subjects of one customer
# (its id here and the merchant's own) are one group.
NAMES = """
    JOIN metering_subject AS s ON s.id = p.subject_id
    LEFT JOIN customers_customer AS own ON NOT s.is_external AND own.organization_id = s.organization_id
     AND own.public_id = s.value
    LEFT JOIN customers_customer AS linked ON s.is_external AND linked.organization_id = s.organization_id
     AND linked.external_id = s.value AND linked.deleted_at IS NULL
"""
NAME = "coalesce(own.public_id, linked.public_id, s.value)"
DIMENSIONS = "LEFT JOIN metering_dimension AS d ON d.id = p.dimension_id"


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
        groups: names of the dimensions, `subject` among them.
        only: values of the groups to read; None means all.
    """

    metric: BillableMetric
    start: datetime
    end: datetime
    edges: Sequence[datetime]
    subjects: Sequence[int] | None
    groups: Sequence[str]
    filters: Mapping[str, Sequence[str]]
    only: Sequence[tuple[str, ...]] | None
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def reads_level(self) -> bool:
        """Whether all that was before the interval is needed as well."""
        return self.metric.aggregation == WeightedSum.CODE

    def parts(self) -> dict[tuple[Any, ...], Part]:
        """Give the combined state by window number and group values."""
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
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT *, {uniques} FROM ({sql}) AS found ORDER BY {keys}", self.values)
            return {
                row[:width]: Part(row[width], int(row[width + 1]), row[-1] or 0, *row[width + 2 : width + 6])
                for row in cursor.fetchall()
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
        last = ", latest, latest_at, latest_event" if is_latest else ""
        tail = (
            ", moment + sum * extract(epoch FROM %(end)s::timestamptz - hour - interval '1 hour') AS tail"
            if self.reads_level
            else ""
        )
        windows = f"SELECT {self._number('hour')} AS w, subject_id, dimension_id, sum, count, min, max{last}{tail}"
        last = ", x.v, e.occurred_at, e.public_id" if is_latest else ""
        tail = ", x.v * extract(epoch FROM %(end)s::timestamptz - e.occurred_at)" if self.reads_level else ""
        events = f"SELECT {self._number('e.occurred_at')}, e.subject_id, x.d, x.v, 1, x.v, x.v{last}{tail}"
        return self._source(f"{windows} FROM metering_window", events)

    def _hashes(self) -> str:
        windows = f"SELECT {self._number('hour')} AS w, subject_id, dimension_id, value_hash AS h"
        events = f"SELECT {self._number('e.occurred_at')}, e.subject_id, x.d, x.h"
        return self._source(f"{windows} FROM metering_windowvalue", events)

    def _number(self, instant: str) -> str:
        """Give the number of the window that holds an instant."""
        if len(self.edges) == 2 and not self.reads_level:
            return "1"
        self.values["grid"] = [max(edge, self.start) for edge in self.edges[:-1]]
        return f"width_bucket({instant}, %(grid)s::timestamptz[])"

    def _source(self, windows: str, events: str) -> str:
        plan = plan_hours(self.start, self.end, self.edges, reads_level=self.reads_level)
        self.values |= {"metric": self.metric.pk, "first": plan.first, "last": plan.last, "end": self.end}
        whose = ""
        if self.subjects is not None:
            self.values["subjects"] = list(self.subjects)
            whose = " AND subject_id = ANY (%(subjects)s)"
        hours = "" if self.reads_level else " AND hour >= %(first)s"
        if plan.cut_hours:
            self.values["cut"] = list(plan.cut_hours)
            hours += " AND hour <> ALL (%(cut)s)"
        source = f"{windows} WHERE metric_id = %(metric)s AND hour < %(last)s{hours}{whose}"
        if not plan.ranges:
            return source
        if self.subjects is None:
            self.values["types"] = event_types_of(metric_id=self.metric.pk)
            whose = " AND e.event_type = ANY (%(types)s)"
        self.values |= {
            "organization": self.metric.organization_id,
            "froms": [a for a, _ in plan.ranges],
            "tos": [z for _, z in plan.ranges],
        }
        return f"""
            {source} UNION ALL
            {events} FROM unnest(%(froms)s::timestamptz[], %(tos)s::timestamptz[]) AS r(a, z)
            JOIN metering_event AS e ON e.occurred_at >= r.a AND e.occurred_at < r.z
            CROSS JOIN LATERAL unnest(e.metrics, e.dimensions, e.quantities, e.hashes) AS x(m, d, v, h)
            WHERE e.organization_id = %(organization)s AND x.m = %(metric)s{whose}
        """
