"""Quantities of a period by the values of a metric's dimensions, for prices that differ by them."""

from collections.abc import Sequence
from decimal import Decimal

from apps.catalog.models import BillableMetric
from apps.metering.selectors.meter import MeterQuestion, meter_rows
from apps.metering.selectors.states import UsageRequest


def grouped_usage(*, requests: Sequence[tuple[UsageRequest, Sequence[str]]]) -> list[dict[tuple[str, ...], Decimal]]:
    """Answer questions by dimension; n questions in, n answers out, same order.

    Args:
        requests: each with the names of the dimensions that tell its groups apart.

    Returns:
        By the values of the dimensions, in their order; a missing value is the empty text. Groups without usage are
        left out.

    Raises:
        RawEventsGoneError: an edge of an interval lies inside an hour whose raw events are dropped.
    """
    metrics = BillableMetric.objects.in_bulk({request.metric_id for request, _ in requests})
    return [
        {
            row.group: row.quantity
            for row in meter_rows(
                MeterQuestion(
                    metric=metrics[request.metric_id],
                    start=request.start,
                    end=request.end,
                    subjects=request.subjects,
                    group_by=names,
                )
            )
            if row.quantity is not None
        }
        for request, names in requests
    ]
