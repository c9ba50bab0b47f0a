"""Every aggregation that there is; a new one adds its file and its line here."""

from apps.metering.aggregations.avg import Avg
from apps.metering.aggregations.base import Aggregation, CountedEvent, UsageState
from apps.metering.aggregations.count import Count
from apps.metering.aggregations.latest import Latest
from apps.metering.aggregations.max import Max
from apps.metering.aggregations.min import Min
from apps.metering.aggregations.sum import Sum
from apps.metering.aggregations.unique_count import UniqueCount
from apps.metering.aggregations.weighted_sum import WeightedSum

REGISTRY: dict[str, type[Aggregation]] = {
    Sum.CODE: Sum,
    Count.CODE: Count,
    Avg.CODE: Avg,
    Min.CODE: Min,
    Max.CODE: Max,
    UniqueCount.CODE: UniqueCount,
    Latest.CODE: Latest,
    WeightedSum.CODE: WeightedSum,
}


def get(code: str) -> type[Aggregation]:
    """Give the aggregation of a code."""
    return REGISTRY[code]


__all__ = [
    "REGISTRY",
    "Aggregation",
    "Count",
    "CountedEvent",
    "Latest",
    "Sum",
    "UniqueCount",
    "UsageState",
    "WeightedSum",
    "get",
]
