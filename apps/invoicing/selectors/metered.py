"""The usage that charges are priced by: quantities, those of groups, or single events, as the price asks."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from apps.catalog.models import BillableMetric, RateFeed
from apps.catalog.selectors.feeds import known_feeds
from apps.invoicing.selectors.allowances import AllowanceRequest, covered_usage
from apps.kernel.money import EXACT
from apps.metering.selectors.grouped import grouped_usage
from apps.metering.selectors.rated import usage_by_rate
from apps.metering.selectors.transactions import TransactionRequest, count_transactions
from apps.metering.selectors.usage import UsageRequest, period_usage
from apps.rating.feeds import feed_of, feeds_of
from apps.rating.grouped import AnyPrice, GroupedPrice
from apps.rating.price_models import looks_at_events
from apps.rating.price_models.base import Counter
from apps.rating.quantities import round_quantity
from apps.rating.usage import Transaction, Usage


class MeteredRequest(Struct, frozen=True):
    """The usage that one charge asks for, the price that will be put on it, and the metric that counts it.

    Attributes:
        allowance: whose allowance may pay for it; None where nobody's can.
    """

    usage: UsageRequest
    price: AnyPrice
    metric: BillableMetric
    allowance: AllowanceRequest | None = None

    @property
    def is_plain(self) -> bool:
        """Whether one quantity decides its price."""
        return not (isinstance(self.price, GroupedPrice) or looks_at_events(self.price))


def metered_usage(requests: Sequence[MeteredRequest]) -> list[Usage]:
    """Give the usage of many charges; n requests in, n answers out, same order.

    A quantity, or each group's, is rounded as its metric says; single events are priced as they are.
    Plain quantities, and single events, are read with one set of queries for all; groups with one for each charge.

    Raises:
        RawEventsGoneError: events that are needed one by one, or at the edge of an hour, are dropped.
    """
    kinds: dict[int, str] = {}
    plain: dict[int, UsageRequest] = {}
    grouped: dict[int, tuple[UsageRequest, GroupedPrice]] = {}
    single: dict[int, TransactionRequest] = {}
    fed: dict[int, MeteredRequest] = {}
    for n, request in enumerate(requests):
        price: Any = request.price
        # Very many requests have the price of few.
        kind = kinds.get(id(price))
        if kind is None:
            kind = kinds[id(price)] = _kind_of(price)
        match kind:
            case "plain":
                plain[n] = request.usage
            case "grouped":
                grouped[n] = (request.usage, price)
            case "single":
                single[n] = TransactionRequest(request.usage, price)
            case "fed":
                fed[n] = request
    found = dict(zip(single, count_transactions(requests=list(single.values())), strict=True))
    quantities = period_usage(requests=list(plain.values()))
    found |= {
        n: Usage(_rounded(requests[n].metric, quantity or Decimal(0)))
        for n, quantity in zip(plain, quantities, strict=True)
    }
    found |= dict(zip(fed, _fed_usage(list(fed.values())), strict=True))
    by_group = grouped_usage(requests=[(usage, price.dimensions) for usage, price in grouped.values()])
    for (n, (_, price)), known in zip(grouped.items(), by_group, strict=True):
        found[n] = price.usage_of(known, partial(_rounded, requests[n].metric))
    covered = covered_usage({n: requests[n].allowance for n in plain})
    found |= {n: replace(found[n], covered=min(units, found[n].quantity)) for n, units in covered.items()}
    return [found[n] for n in range(len(requests))]


def _kind_of(price: AnyPrice) -> str:
    """Say what of its usage a price is put on: its quantity, those of groups, single events, or what feeds rate."""
    if feeds_of(price):
        return "fed"
    if looks_at_events(price) or (isinstance(price, GroupedPrice) and price.looks_at_events):
        return "single"
    return "grouped" if isinstance(price, GroupedPrice) else "plain"


def _rounded(metric: BillableMetric, quantity: Decimal) -> Decimal:
    return round_quantity(quantity, function=metric.rounding_function or None, precision=metric.rounding_precision)


def _fed_usage(requests: Sequence[MeteredRequest]) -> list[Usage]:
    """Count usage by the rates of feeds; a price whose groups go by several is read once for each of them."""
    names = {feed for request in requests for feed in feeds_of(request.price)}
    feeds: dict[int, dict[str, RateFeed]] = {}
    asked: list[tuple[int, str, UsageRequest, int]] = []
    for n, request in enumerate(requests):
        organization_id = request.usage.organization_id
        if organization_id not in feeds:
            feeds[organization_id] = known_feeds(names, organization_id=organization_id)
        asked += [(n, feed, request.usage, feeds[organization_id][feed].pk) for feed in feeds_of(request.price)]
    counters: list[Counter] = []
    for request in requests:
        price = request.price
        assert isinstance(price, GroupedPrice) or looks_at_events(price)  # only they go by a feed
        counters.append(price.counter())
    quantities = [Decimal(0) for _ in requests]
    answers = usage_by_rate(requests=[(usage, feed_id) for _, _, usage, feed_id in asked])
    for (n, feed, _, _), rows in zip(asked, answers, strict=True):
        goes_by_it = _own_usage(requests[n].price, feed)
        for row in rows:
            if not goes_by_it(row.group):
                continue
            counters[n].add(Transaction(row.quantity, row.rate, row.group, row.events))
            quantities[n] = EXACT.add(quantities[n], row.quantity)
    return [Usage(quantity, counter.counted()) for quantity, counter in zip(quantities, counters, strict=True)]


def _own_usage(price: AnyPrice, feed: str) -> Callable[[Mapping[str, str]], bool]:
    """Give what tells, by its dimensions, usage that a price prices by one of its feeds."""
    if not isinstance(price, GroupedPrice) or {feed_of(one) for one in price.prices} == {feed}:
        return lambda group: True
    key_of = price.keys()

    def goes_by_it(group: Mapping[str, str]) -> bool:
        number, _ = key_of(tuple(group.get(name, "") for name in price.dimensions))
        return feed_of(price.default if number is None else price.groups[number].price) == feed

    return goes_by_it
