"""How much was used: whole hours from windows, the edge hours from raw events."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from apps.catalog.models import BillableMetric
from apps.kernel.rows import instants, integers, many
from apps.kernel.time import floor_hour
from apps.metering.aggregations import Latest, UniqueCount, UsageState, WeightedSum, get
from apps.metering.selectors.states import UsageRequest, read_levels, read_states, read_uniques
from apps.metering.selectors.stored import BEGINNING


def period_usage(*, requests: Sequence[UsageRequest]) -> list[Decimal | None]:
    """Answer many usage questions with one query a kind; n questions in, n quantities out, same order.

    Returns:
        SUM, COUNT, UNIQUE_COUNT and WEIGHTED_SUM of nothing are 0; AVG, MIN, MAX and LATEST of nothing are None.

    Raises:
        RawEventsGoneError: an edge of an interval lies inside an hour whose raw events are dropped.
    """
    if not requests:
        return []
    kinds = aggregations_of({request.metric_id for request in requests})
    numbered = [(n, request, kinds[request.metric_id]) for n, request in enumerate(requests)]
    plain = [(n, request) for n, request, kind in numbered if kind not in (UniqueCount.CODE, WeightedSum.CODE)]
    states = read_states(plain, with_latest=Latest.CODE in kinds.values())
    states |= read_uniques([(n, request) for n, request, kind in numbered if kind == UniqueCount.CODE])
    states |= read_levels([(n, request) for n, request, kind in numbered if kind == WeightedSum.CODE])
    return [get(kind).of_state(states.get(n, UsageState())) for n, _, kind in numbered]


def usage_changed_since(*, requests: Sequence[UsageRequest], moments: Sequence[datetime]) -> list[bool]:
    """Tell which questions have windows that a merge or a correction touched at or after a moment; same order.

    Args:
        requests: the questions.
        moments: one wall-clock moment per question.
    """
    kinds = aggregations_of({request.metric_id for request in requests})
    rows = [
        (n, request.metric_id, span.subject, floor_hour(part[0]), part[1], moment)
        for n, (request, moment) in enumerate(zip(requests, moments, strict=True))
        for span in request.subjects
        # A level is made of all that ever was before it.
        for since in [BEGINNING if kinds[request.metric_id] == WeightedSum.CODE else request.start]
        for part in [span.within(since, request.end)]
        if part is not None
    ]
    changed = [False] * len(requests)
    if not rows:
        return changed
    columns: Any = list(zip(*rows, strict=True))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT r.n
            FROM unnest(%s::int[], %s::bigint[], %s::bigint[],
                        %s::timestamptz[], %s::timestamptz[], %s::timestamptz[]) AS r(n, m, s, a, z, c)
            WHERE EXISTS (
                SELECT FROM metering_window AS w WHERE w.metric_id = r.m AND w.subject_id = r.s
                    AND w.hour >= r.a AND w.hour < r.z AND w.changed_at >= r.c
            ) OR EXISTS (
                SELECT FROM metering_windowgone AS w WHERE w.metric_id = r.m AND w.subject_id = r.s
                    AND w.hour >= r.a AND w.hour < r.z AND w.changed_at >= r.c
            )
            """,
            [*map(integers, columns[:3]), *map(instants, columns[3:])],
        )
        for (n,) in cursor.fetchall():
            changed[n] = True
    return changed


def aggregations_of(metric_ids: set[int]) -> dict[int, str]:
    """Give the aggregation of each metric."""
    return dict(BillableMetric.objects.filter(pk__in=many(metric_ids)).values_list("pk", "aggregation"))


__all__ = ["UsageRequest", "aggregations_of", "period_usage", "usage_changed_since"]
