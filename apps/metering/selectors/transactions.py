"""The single events of a period, for prices that look at each of them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db import connection

from apps.kernel.money import EXACT
from apps.metering.domain.paths import steps_of
from apps.metering.models import Dimension
from apps.metering.selectors.gone import require_raw
from apps.metering.selectors.states import EVENTS, UsageRequest
from apps.rating.grouped import GroupedPrice
from apps.rating.price_models import TransactionPriceModel
from apps.rating.usage import Transaction, Usage

CHUNK = 5_000
RATE_PLACES, RATE_LIMIT = 15, Decimal("1e15")

# What an event says beside its value is in the database's own rows alone.
SINGLE = f"""
SELECT r.n, x.v, x.d, e.data #>> r.path {EVENTS.replace("<events>", "metering_event")}
ORDER BY r.n, e.occurred_at, e.public_id
"""


@dataclass(frozen=True, slots=True)
class TransactionRequest:
    """One question: the events that a metric counts in `usage`, reduced to what a price needs of them."""

    usage: UsageRequest
    price: TransactionPriceModel | GroupedPrice


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
        usage, path = request.usage, steps_of(request.price.rate_path())
        for span in usage.subjects:
            part = span.within(usage.start, usage.end)
            if part is not None:
                record = {"n": n, "o": usage.organization_id, "m": usage.metric_id, "s": span.subject}
                spans.append({**record, "a": part[0], "z": part[1], "path": path})
    counters = [request.price.counter() for request in requests]
    quantities = [Decimal(0) for _ in requests]
    is_priced = [bool(request.price.rate_path()) for request in requests]
    is_grouped = [isinstance(request.price, GroupedPrice) for request in requests]
    known: dict[int | None, Mapping[str, str]] = {None: {}}
    for rows in _events(spans):
        _learn(known, {dimension for n, _, dimension, _ in rows if is_grouped[n]})
        for n, value, dimension, text in rows:
            rate = _rate(text) if is_priced[n] else None
            counters[n].add(Transaction(value, rate, known[dimension] if is_grouped[n] else {}))
            quantities[n] = EXACT.add(quantities[n], value)
    require_raw([span["a"] for span in spans], is_listed=True)
    return [Usage(quantity, counter.counted()) for quantity, counter in zip(quantities, counters, strict=True)]


def _events(spans: Sequence[dict[str, Any]]) -> Iterator[list[tuple[int, Decimal, int | None, str | None]]]:
    if not spans:
        return
    with connection.chunked_cursor() as cursor:
        cursor.execute(SINGLE, [json.dumps(spans, default=datetime.isoformat)])
        while chunk := cursor.fetchmany(CHUNK):
            yield chunk


def _learn(known: dict[int | None, Mapping[str, str]], dimensions: set[int | None]) -> None:
    """Read the values of combinations that are not known yet."""
    new = [dimension for dimension in dimensions if dimension is not None and dimension not in known]
    if new:
        known.update(Dimension.objects.filter(pk__in=new).values_list("pk", "values"))


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
