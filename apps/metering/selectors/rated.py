"""Quantities of a period by the rate of a feed that was in force: hours from windows where it held throughout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from apps.catalog.selectors.feeds import changes_inside_hours
from apps.metering.aggregations import UsageState, get
from apps.metering.domain.grid import plan_hours
from apps.metering.selectors.grouped import dimension_values
from apps.metering.selectors.states import EVENTS, Record, UsageRequest, combined_rows, in_json, record_of
from apps.metering.selectors.usage import aggregations_of

# The newest rate at or before a moment; none where the feed begins later.
IN_FORCE = """(
    SELECT rate.value FROM catalog_feedrate AS rate
    WHERE rate.feed_id = r.f AND rate.effective_from <= {moment} ORDER BY rate.effective_from DESC LIMIT 1
)"""
WINDOWS = f"""
SELECT r.n, w.dimension_id AS d, {IN_FORCE.format(moment="w.hour")} AS rate, w.sum, w.count
FROM jsonb_to_recordset(%s::jsonb)
    AS r(n int, m bigint, s bigint, a timestamptz, z timestamptz, cut timestamptz[], f bigint)
JOIN metering_window AS w ON w.metric_id = r.m AND w.subject_id = r.s AND w.hour >= r.a AND w.hour < r.z
 AND w.hour <> ALL (r.cut)
"""
SINGLE = f"SELECT r.n, x.d, {IN_FORCE.format(moment='e.occurred_at')}, x.v, 1 {EVENTS}"


@dataclass(frozen=True, slots=True)
class RatedUsage:
    """Usage of one combination of dimension values at one rate; no rate where the feed had none yet."""

    rate: Decimal | None
    group: Mapping[str, str]
    quantity: Decimal
    events: int


def usage_by_rate(*, requests: Sequence[tuple[UsageRequest, int]]) -> list[list[RatedUsage]]:
    """Answer many questions with a few queries; n questions in, n answers out, same order.

    Hours in which a rate changes are read from the events themselves, all others from windows.

    Args:
        requests: of metrics that sum or count, each with the key of the feed whose rates tell its usage apart.

    Raises:
        RawEventsGoneError: events of an hour in which a rate changes, or that the interval cuts, are dropped.
    """
    found: list[list[RatedUsage]] = [[] for _ in requests]
    if not requests:
        return found
    kinds = aggregations_of({request.metric_id for request, _ in requests})
    changes = changes_inside_hours(
        {feed_id for _, feed_id in requests},
        start=min(request.start for request, _ in requests),
        end=max(request.end for request, _ in requests),
    )
    hours: list[Record] = []
    spans: list[Record] = []
    for n, (request, feed_id) in enumerate(requests):
        for span in request.subjects:
            part = span.within(request.start, request.end)
            if part is None:
                continue
            plan = plan_hours(*part, changes[feed_id])
            known = {**record_of(n, request, span.subject), "f": feed_id}
            hours.append({**known, "a": plan.first, "z": plan.last, "cut": plan.cut_hours})
            spans += [{**known, "a": a, "z": z} for a, z in plan.ranges]
    if not hours:
        return found
    sources, values = [WINDOWS], [in_json(hours)]
    if spans:
        sources.append(SINGLE)
        values.append(in_json(spans))
    rows = combined_rows(
        " UNION ALL ".join(sources), values, spans, "n, d, rate, sum(sum), sum(count)", by="n, d, rate"
    )
    names = dimension_values({dimension for _, dimension, *_ in rows})
    for n, dimension, rate, total, count in rows:
        quantity = get(kinds[requests[n][0].metric_id]).of_state(UsageState(total, int(count)))
        found[n].append(RatedUsage(rate, names[dimension], quantity or Decimal(0), int(count)))
    return found
