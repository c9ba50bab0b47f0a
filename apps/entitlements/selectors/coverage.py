"""What rights pay of usage that is billed.

A price whose usage draws on a metered right bills only what the right's units do not cover: with a soft limit the
overage, with a hard limit nothing. Where several prices draw on one right, they share what is not covered in
proportion to their usage. Overage that is carried over resets is paid by the next units instead of in money; what is
left of it when the right ends is billed then, that of earlier periods, too: less than nothing is covered in the last
one where it is more than was used in it. A reset by hand that forgives such overage forgives it for good.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import msgspec
from django.db.models import Q

from apps.entitlements.domain.billable import Outcome, outcome_of
from apps.entitlements.domain.grants import ZERO
from apps.entitlements.models import Entitlement, EntitlementMeter
from apps.entitlements.selectors.histories import History, histories
from apps.kernel.money import EXACT, round_to
from apps.kernel.rows import many

PLACES = 9


class CoverageRequest(msgspec.Struct, frozen=True):
    """A customer's usage of a price in `[start, end)`."""

    customer_id: int
    price_id: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Draw:
    """Usage in `[start, end)` that draws on rights, each with the metric (its key) that counts it there."""

    rights: Sequence[tuple[Entitlement, int]]
    start: datetime
    end: datetime


PastOf = Callable[[Sequence[tuple[Entitlement, datetime]], Mapping[int, Sequence[datetime]]], Mapping[int, History]]


def _stored(
    asked: Sequence[tuple[Entitlement, datetime]], cuts: Mapping[int, Sequence[datetime]]
) -> Mapping[int, History]:
    return histories(asked, cuts=cuts)


def coverage(requests: Sequence[CoverageRequest]) -> list[Decimal]:
    """Give the units of usage that must not be billed; n requests in, n answers out, same order.

    Below 0 at the end of a right that carried overage from before. Where nobody has a right that the prices draw on,
    that is one query.
    """
    if not requests:
        return []
    prices, customers = {one.price_id for one in requests}, {one.customer_id for one in requests}
    meters = list(
        EntitlementMeter.objects.filter(
            price_id__in=many(prices),
            entitlement__customer_id__in=many(customers),
            entitlement__is_metered=True,
            entitlement__active_from__lt=max(one.end for one in requests),
        )
        .filter(
            Q(entitlement__active_to__isnull=True) | Q(entitlement__active_to__gt=min(one.start for one in requests))
        )
        .select_related("entitlement__subscription")
    )
    if not meters:
        return [ZERO] * len(requests)
    drawn: dict[tuple[int, int], list[tuple[Entitlement, int]]] = defaultdict(list)
    for meter in meters:
        drawn[meter.entitlement.customer_id, meter.price_id].append((meter.entitlement, meter.metric_id))
    return covered_units([Draw(drawn[one.customer_id, one.price_id], one.start, one.end) for one in requests])


def find_ends_paid(customer_ids: Collection[int]) -> set[tuple[int, int, datetime]]:
    """Give customer, price and instant of the ends of rights at which carried overage is billed.

    What `coverage` says of a span until such an end depends on usage before the span, too.
    """
    meters = EntitlementMeter.objects.filter(
        price_id__isnull=False,
        entitlement__customer_id__in=many(customer_ids),
        entitlement__is_soft_limit=True,
        entitlement__preserves_overage=True,
        entitlement__active_to__isnull=False,
    )
    rows = meters.values_list("entitlement__customer_id", "price_id", "entitlement__active_to")
    return {(customer_id, price_id, end) for customer_id, price_id, end in rows if end is not None}


def covered_units(draws: Sequence[Draw], past_of: PastOf = _stored) -> list[Decimal]:
    """Give what rights cover of usage; n draws in, n answers out, same order.

    Args:
        past_of: gives histories of rights until moments, cut at instants that are given by their keys.
    """
    spans = [
        [(right, metric, *common) for right, metric in one.rights if (common := _common(right, one)) is not None]
        for one in draws
    ]
    rights = {right.pk: right for row in spans for right, *_ in row}
    if not rights:
        return [ZERO] * len(draws)
    ends: dict[int, datetime] = {}
    cuts: dict[int, set[datetime]] = defaultdict(set)
    for row in spans:
        for right, _, start, end in row:
            cuts[right.pk] |= {start, end}
            ends[right.pk] = max(end, ends.get(right.pk, end))
    past = past_of(
        [(right, ends[key]) for key, right in rights.items()],
        {key: sorted(instants) for key, instants in cuts.items()},
    )
    found = []
    for row in spans:
        covered = ZERO
        for right, metric, start, end in row:
            covered = EXACT.add(covered, _covered(past[right.pk], metric, start, end))
        found.append(covered)
    return found


def _common(right: Entitlement, one: Draw) -> tuple[datetime, datetime] | None:
    start = max(one.start, right.active_from)
    end = one.end if right.active_to is None else min(one.end, right.active_to)
    return (start, end) if start < end else None


def _covered(history: History, own: int, start: datetime, end: datetime) -> Decimal:
    """Give what of a metric's usage of a span is not billed; below 0 where older usage is billed with it."""
    right = history.entitlement
    used = _usage(history, start, end)
    mine = used.get(own, ZERO)
    is_paid_at_end = right.is_soft_limit and right.preserves_overage and right.active_to == end
    if mine <= 0 and not is_paid_at_end:
        return ZERO
    outcome = outcome_of(history.run.segments, start=start, end=end)
    # What was taken back was paid in units, and has lowered the overage already.
    covered = min(mine, ZERO) if is_paid_at_end and outcome.older else ZERO
    if mine > 0:
        billed = _billed(right, outcome, end)
        covered = max(EXACT.subtract(mine, _share(billed, used, own)), ZERO)
    if is_paid_at_end and outcome.older:
        before = _usage(history, right.active_from, start)
        covered = EXACT.subtract(covered, _share(outcome.older, before, own))
    return covered


def _share(units: Decimal, used: Mapping[int, Decimal], own: int) -> Decimal:
    """Give what of units is a metric's, in proportion to usage.

    Prices that share a metric bill the same units, each at its own rate.
    """
    shares = {metric: quantity for metric, quantity in sorted(used.items()) if quantity > 0}
    whole = sum(shares.values(), ZERO)
    before = ZERO
    for metric, quantity in shares.items():
        upto = EXACT.add(before, quantity)
        if metric == own:
            return EXACT.subtract(_part(units, upto, whole), _part(units, before, whole))
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
