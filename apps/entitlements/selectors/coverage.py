"""What rights pay of usage that is billed.

A price whose usage draws on a metered right bills only what the right's units do not cover: with a soft limit the
overage, with a hard limit nothing. Where several prices draw on one right, they share what is not covered in
proportion to their usage. Overage that is carried over resets is paid by the next units instead of in money; what is
left of it when the right ends is billed then. A reset by hand that forgives such overage forgives it for good.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Q

from apps.entitlements.domain.billable import Outcome, outcome_of
from apps.entitlements.domain.grants import ZERO
from apps.entitlements.models import Entitlement, EntitlementMeter
from apps.entitlements.selectors.histories import History, histories
from apps.kernel.money import EXACT, round_to
from apps.kernel.rows import many

PLACES = 9


@dataclass(frozen=True, slots=True)
class CoverageRequest:
    """A customer's usage of a price in `[start, end)`."""

    customer_id: int
    price_id: int
    start: datetime
    end: datetime


def coverage(requests: Sequence[CoverageRequest]) -> list[Decimal]:
    """Give the units of usage that must not be billed; n requests in, n answers out, same order.

    Where nobody has a right that the prices draw on, that is one query.
    """
    if not requests:
        return []
    prices, customers = {one.price_id for one in requests}, {one.customer_id for one in requests}
    meters = list(
        EntitlementMeter.objects.filter(
            price_id__in=prices,
            entitlement__customer_id__in=many(customers),
            entitlement__is_metered=True,
            entitlement__active_from__lt=max(one.end for one in requests),
        )
        .filter(
            Q(entitlement__active_to__isnull=True) | Q(entitlement__active_to__gt=min(one.start for one in requests))
        )
        .select_related("entitlement__subscription")
    )
    drawn: dict[tuple[int, int], list[Entitlement]] = defaultdict(list)
    for meter in meters:
        drawn[meter.entitlement.customer_id, meter.price_id].append(meter.entitlement)
    spans = [
        [(right, *_common(right, one)) for right in drawn[one.customer_id, one.price_id] if _meets(right, one)]
        for one in requests
    ]
    rights = {right.pk: right for row in spans for right, _, _ in row}
    if not rights:
        return [ZERO] * len(requests)
    ends: dict[int, datetime] = {}
    cuts: dict[int, set[datetime]] = defaultdict(set)
    for row in spans:
        for right, start, end in row:
            cuts[right.pk] |= {start, end}
            ends[right.pk] = max(end, ends.get(right.pk, end))
    past = histories(
        [(right, ends[key]) for key, right in rights.items()],
        cuts={key: sorted(instants) for key, instants in cuts.items()},
    )
    metrics = _metrics_of(rights)
    found = []
    for one, row in zip(requests, spans, strict=True):
        covered = ZERO
        for right, start, end in row:
            covered = EXACT.add(covered, _covered(past[right.pk], metrics[right.pk], one.price_id, start, end))
        found.append(covered)
    return found


def _meets(right: Entitlement, one: CoverageRequest) -> bool:
    start, end = _common(right, one)
    return start < end


def _common(right: Entitlement, one: CoverageRequest) -> tuple[datetime, datetime]:
    end = one.end if right.active_to is None else min(one.end, right.active_to)
    return max(one.start, right.active_from), end


def _metrics_of(rights: dict[int, Entitlement]) -> dict[int, list[tuple[int, int]]]:
    """Give, by right, its prices with their metrics, in a fixed order."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    rows = EntitlementMeter.objects.filter(entitlement_id__in=rights).order_by("price_id")
    for entitlement_id, price_id, metric_id in rows.values_list("entitlement_id", "price_id", "metric_id"):
        found[entitlement_id].append((price_id, metric_id))
    return found


def _covered(
    history: History, metrics: Sequence[tuple[int, int]], price_id: int, start: datetime, end: datetime
) -> Decimal:
    """Give what of a price's usage of a span is not billed."""
    own = dict(metrics)[price_id]
    used = _usage(history, start, end)
    mine = used.get(own, ZERO)
    if mine <= 0:
        return ZERO
    outcome = outcome_of(history.run.segments, start=start, end=end)
    billed = _billed(history.entitlement, outcome, end)
    # Prices that share a metric bill the same units, each at its own rate.
    shares = {metric: quantity for metric, quantity in sorted(used.items()) if quantity > 0}
    whole = sum(shares.values(), ZERO)
    before = ZERO
    for metric, quantity in shares.items():
        upto = EXACT.add(before, quantity)
        if metric == own:
            share = EXACT.subtract(_part(billed, upto, whole), _part(billed, before, whole))
            return max(EXACT.subtract(mine, share), ZERO)
        before = upto
    return ZERO


def _part(billed: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """Give a part of what is billed, rounded so that the parts of all metrics sum to it."""
    return round_to(EXACT.divide(EXACT.multiply(billed, part), whole), PLACES)


def _billed(right: Entitlement, outcome: Outcome, end: datetime) -> Decimal:
    if not right.is_soft_limit:
        return ZERO
    if right.preserves_overage and (right.active_to is None or right.active_to > end):
        return ZERO
    # Where overage is paid in units, what a reset by hand forgave is given: it is paid in neither.
    uncovered = outcome.left if right.preserves_overage else outcome.uncovered
    return min(uncovered, max(outcome.usage, ZERO))


def _usage(history: History, start: datetime, end: datetime) -> dict[int, Decimal]:
    found: dict[int, Decimal] = defaultdict(Decimal)
    for segment, usage in zip(history.run.segments, history.usage, strict=True):
        if start <= segment.start < end:
            for metric, quantity in usage.items():
                found[metric] = EXACT.add(found[metric], quantity)
    return found
