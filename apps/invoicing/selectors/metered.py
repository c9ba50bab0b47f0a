"""The usage that charges are priced by: quantities, those of groups, or single events, as the price asks."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from apps.catalog.models import BillableMetric
from apps.metering.selectors.grouped import grouped_usage
from apps.metering.selectors.transactions import TransactionRequest, count_transactions
from apps.metering.selectors.usage import UsageRequest, period_usage
from apps.rating.grouped import AnyPrice, GroupedPrice
from apps.rating.pipeline import round_quantity
from apps.rating.price_models import TransactionPriceModel
from apps.rating.usage import Usage


@dataclass(frozen=True, slots=True)
class MeteredRequest:
    """The usage that one charge asks for, the price that will be put on it, and the metric that counts it."""

    usage: UsageRequest
    price: AnyPrice
    metric: BillableMetric


def metered_usage(requests: Sequence[MeteredRequest]) -> list[Usage]:
    """Give the usage of many charges; n requests in, n answers out, same order.

    A quantity, or each group's, is rounded as its metric says; single events are priced as they are.
    Plain quantities, and single events, are read with one set of queries for all; groups with one for each charge.

    Raises:
        RawEventsGoneError: events that are needed one by one, or at the edge of an hour, are dropped.
    """
    plain: dict[int, UsageRequest] = {}
    grouped: dict[int, tuple[UsageRequest, GroupedPrice]] = {}
    single: dict[int, TransactionRequest] = {}
    for n, request in enumerate(requests):
        price = request.price
        if isinstance(price, TransactionPriceModel) or (isinstance(price, GroupedPrice) and price.looks_at_events):
            single[n] = TransactionRequest(request.usage, price)
        elif isinstance(price, GroupedPrice):
            grouped[n] = (request.usage, price)
        else:
            plain[n] = request.usage
    found = dict(zip(single, count_transactions(requests=list(single.values())), strict=True))
    quantities = period_usage(requests=list(plain.values()))
    found |= {
        n: Usage(_rounded(requests[n].metric, quantity or Decimal(0)))
        for n, quantity in zip(plain, quantities, strict=True)
    }
    by_group = grouped_usage(requests=[(usage, price.dimensions) for usage, price in grouped.values()])
    for (n, (_, price)), known in zip(grouped.items(), by_group, strict=True):
        found[n] = price.usage_of(known, partial(_rounded, requests[n].metric))
    return [found[n] for n in range(len(requests))]


def _rounded(metric: BillableMetric, quantity: Decimal) -> Decimal:
    return round_quantity(quantity, function=metric.rounding_function or None, precision=metric.rounding_precision)
