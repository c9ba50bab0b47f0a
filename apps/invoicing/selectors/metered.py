"""The usage that charges are priced by: quantities, and single events where the price looks at them."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from apps.metering.selectors.transactions import TransactionRequest, count_transactions
from apps.metering.selectors.usage import UsageRequest, period_usage
from apps.rating.price_models import PriceModel, TransactionPriceModel
from apps.rating.usage import Usage


@dataclass(frozen=True, slots=True)
class MeteredRequest:
    """The usage that one charge asks for, and the price that will be put on it."""

    usage: UsageRequest
    price: PriceModel


def metered_usage(requests: Sequence[MeteredRequest]) -> list[Usage]:
    """Give the usage of many charges with one set of queries; n requests in, n answers out, same order.

    Raises:
        RawEventsGoneError: events that are needed one by one, or at the edge of an hour, are dropped.
    """
    plain: dict[int, UsageRequest] = {}
    single: dict[int, TransactionRequest] = {}
    for n, request in enumerate(requests):
        if isinstance(request.price, TransactionPriceModel):
            single[n] = TransactionRequest(request.usage, request.price)
        else:
            plain[n] = request.usage
    found = dict(zip(single, count_transactions(requests=list(single.values())), strict=True))
    quantities = period_usage(requests=list(plain.values()))
    found |= {n: Usage(quantity or Decimal(0)) for n, quantity in zip(plain, quantities, strict=True)}
    return [found[n] for n in range(len(requests))]
