"""Quantities of a period by the values of a metric's dimensions, for prices that differ by them."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from apps.catalog.models import BillableMetric
from apps.kernel.money import EXACT
from apps.metering.aggregations import Count, Sum, get
from apps.metering.models import Dimension
from apps.metering.selectors.meter import MeterQuestion, meter_rows
from apps.metering.selectors.states import UsageRequest, read_groups

Grouped = tuple[UsageRequest, Sequence[str]]
Quantities = dict[tuple[str, ...], Decimal]


def grouped_usage(*, requests: Sequence[Grouped]) -> list[Quantities]:
    """Answer questions by dimension; n questions in, n answers out, same order.

    Metrics that sum or count are read with two queries for all questions, others with one for each.

    Args:
        requests: each with the names of the dimensions that tell its groups apart.

    Returns:
        By the values of the dimensions, in their order; a missing value is the empty text. Groups without usage are
        left out.

    Raises:
        RawEventsGoneError: an edge of an interval lies inside an hour whose raw events are dropped.
    """
    metrics = BillableMetric.objects.in_bulk({request.metric_id for request, _ in requests})
    kinds = {key: metric.aggregation for key, metric in metrics.items()}
    additive = {n: asked for n, asked in enumerate(requests) if kinds[asked[0].metric_id] in (Sum.CODE, Count.CODE)}
    found = _added_up(additive, kinds)
    for n, (request, names) in enumerate(requests):
        if n not in additive:
            found[n] = _of_meter(metrics[request.metric_id], request, names)
    return [found[n] for n in range(len(requests))]


def _added_up(asked: Mapping[int, Grouped], kinds: Mapping[int, str]) -> dict[int, Quantities]:
    """Add up what came with each combination of values, over the dimensions that are not asked for."""
    found: dict[int, Quantities] = {n: {} for n in asked}
    states = read_groups([(n, request) for n, (request, _) in asked.items()])
    values = dimension_values({dimension for _, dimension in states})
    for (n, dimension), state in states.items():
        request, names = asked[n]
        quantity = get(kinds[request.metric_id]).of_state(state) or Decimal(0)
        group = tuple(values[dimension].get(name, "") for name in names)
        found[n][group] = EXACT.add(found[n].get(group, Decimal(0)), quantity)
    return found


def dimension_values(keys: set[int | None]) -> dict[int | None, Mapping[str, str]]:
    """Give the values of combinations by their keys; those of none are none."""
    rows = Dimension.objects.filter(pk__in=[key for key in keys if key is not None]).values_list("pk", "values")
    return {None: {}, **dict(rows)}


def _of_meter(metric: BillableMetric, request: UsageRequest, names: Sequence[str]) -> Quantities:
    rows = meter_rows(
        MeterQuestion(
            metric=metric, start=request.start, end=request.end, subjects=request.subjects, group_by=tuple(names)
        )
    )
    return {row.group: row.quantity for row in rows if row.quantity is not None}
