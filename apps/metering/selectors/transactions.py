"""The single events of a period, for prices that look at each of them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db import connection

from apps.kernel.money import EXACT
from apps.metering.domain.paths import steps_of
from apps.metering.selectors.gone import require_raw
from apps.metering.selectors.states import EVENTS, UsageRequest
from apps.rating.price_models import TransactionPriceModel
from apps.rating.usage import Transaction, Usage

CHUNK = 5_000
RATE_PLACES, RATE_LIMIT = 15, Decimal("1e15")

# What an event says beside its value is in the database's own rows alone.
SINGLE = f"""
SELECT r.n, x.v, e.data #>> r.path {EVENTS.replace("<events>", "metering_event")}
ORDER BY r.n, e.occurred_at, e.public_id
"""


@dataclass(frozen=True, slots=True)
class TransactionRequest:
    """One question: the events that a metric counts in `usage`, reduced to what a price needs of them."""

    usage: UsageRequest
    price: TransactionPriceModel


def count_transactions(*, requests: Sequence[TransactionRequest]) -> list[Usage]:
    """Answer many questions with one query; n questions in, n answers out, same order.

    Events are streamed, so a period with millions of them takes time and no memory. The quantity is the sum of their
    values, from the same reading as what the price counted.

    Raises:
        RawEventsGoneError: raw events of one of the intervals are dropped.
    """
    if not requests:
        return []
    spans: list[dict[str, Any]] = []
    for n, request in enumerate(requests):
        usage, path = request.usage, list(steps_of(request.price.rate_path()))
        for span in usage.subjects:
            part = span.within(usage.start, usage.end)
            if part is not None:
                known = {"n": n, "o": usage.organization_id, "m": usage.metric_id, "s": span.subject}
                spans.append({**known, "a": part[0], "z": part[1], "path": path})
    counters = [request.price.counter() for request in requests]
    quantities = [Decimal(0) for _ in requests]
    for n, value, text in _events(spans):
        counters[n].add(Transaction(value, _rate(text) if requests[n].price.rate_path() else None))
        quantities[n] = EXACT.add(quantities[n], value)
    require_raw([span["a"] for span in spans], is_listed=True)
    return [Usage(quantity, counter.counted()) for quantity, counter in zip(quantities, counters, strict=True)]


def _events(spans: Sequence[dict[str, Any]]) -> Iterator[tuple[int, Decimal, str | None]]:
    if not spans:
        return
    with connection.chunked_cursor() as cursor:
        cursor.execute(SINGLE, [json.dumps(spans, default=datetime.isoformat)])
        while chunk := cursor.fetchmany(CHUNK):
            yield from chunk


def _rate(text: str | None) -> Decimal | None:
    """Read the price that came with an event; None when there is none that can be one."""
    if text is None or not 0 < len(text) <= 60:
        return None
    try:
        rate = Decimal(text)
    except InvalidOperation:
        return None
    if not rate.is_finite() or abs(rate) >= RATE_LIMIT:
        return None
    exponent = rate.normalize().as_tuple().exponent
    return rate if isinstance(exponent, int) and -exponent <= RATE_PLACES else None
