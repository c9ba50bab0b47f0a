"""Burn-down the slow way: minute by minute, unit by unit, with nothing of the product's engine."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from apps.entitlements.domain.grants import Grant

HOUR = timedelta(hours=1)


@dataclass
class Left:
    balances: dict[str, Decimal]
    overage: Decimal
    usage: Decimal
    lowest: Decimal
    after_reset: list[tuple[str, Decimal]]


def walk(
    grants: Sequence[Grant],
    resets: Mapping[datetime, bool],
    usage: Mapping[datetime, Sequence[Decimal]],
    *,
    start: datetime,
    until: datetime,
    every: Mapping[str, tuple[datetime, timedelta]],
    billed: Collection[datetime] = (),
) -> Left:
    """Walk from hour to hour; all instants are whole hours.

    Args:
        resets: by their moment, whether overage is carried over.
        every: anchor and step of the grants that are filled up.
        billed: when overage is paid in money; none of them is a reset.
    """
    left = {grant.id: _at_first(grant) for grant in grants if _is_there(grant, start)}
    overage = used = lowest = Decimal(0)
    after_reset: list[tuple[str, Decimal]] = []
    moment = start
    while True:
        if moment > start:
            here = [grant for grant in grants if _is_there(grant, moment)]
            left = {key: value for key, value in left.items() if key in {grant.id for grant in here}}
            old = set(left)
            if moment in resets:
                used = Decimal(0)
                for grant in here:
                    if grant.id in old:
                        rest = max(grant.rollover_min, left[grant.id])
                        if grant.rollover_max is not None and rest > grant.rollover_max:
                            rest = grant.rollover_max
                        left[grant.id] = rest
                        after_reset.append((grant.id, rest))
                overage = _take(left, here, overage) if resets[moment] else Decimal(0)
                for grant in here:
                    if grant.is_allowance and grant.id in old:
                        left[grant.id] += grant.amount
            if moment in billed:
                overage = Decimal(0)
            for grant in here:
                if grant.id not in old:
                    left[grant.id] = _at_first(grant)
                if grant.id in every:
                    anchor, step = every[grant.id]
                    if (moment - anchor) % step == timedelta(0):
                        left[grant.id] = grant.amount
        here = [grant for grant in grants if _is_there(grant, moment)]
        overage = _take(left, here, overage)
        if moment == until:
            return Left(left, overage, used, lowest, after_reset)
        for amount in usage.get(moment, ()):
            used += amount
            overage += _take(left, here, amount)
        lowest = min([lowest, *left.values()])
        moment += HOUR


def _at_first(grant: Grant) -> Decimal:
    return grant.amount if grant.opening is None else grant.opening


def _is_there(grant: Grant, at: datetime) -> bool:
    if at < grant.effective_at:
        return False
    return not (grant.expires_at is not None and at >= grant.expires_at) and not (
        grant.voided_at is not None and at >= grant.voided_at
    )


def _take(left: dict[str, Decimal], here: Sequence[Grant], amount: Decimal) -> Decimal:
    """Take one unit after the other, each from the grant that comes first by then."""
    while amount > 0:
        step = min(amount, Decimal(1))
        candidates = [grant for grant in here if left.get(grant.id, Decimal(0)) > 0]
        if not candidates:
            return amount
        first = candidates[0]
        for grant in candidates[1:]:
            if _comes_before(grant, first):
                first = grant
        taken = min(step, left[first.id])
        left[first.id] -= taken
        amount -= taken
    return Decimal(0)


def _comes_before(one: Grant, other: Grant) -> bool:
    if one.priority != other.priority:
        return one.priority < other.priority
    if one.expires_at != other.expires_at:
        if one.expires_at is None or other.expires_at is None:
            return other.expires_at is None
        return one.expires_at < other.expires_at
    if one.created_at != other.created_at and one.created_at is not None and other.created_at is not None:
        return one.created_at < other.created_at
    if one.is_paid != other.is_paid:
        return other.is_paid
    return one.id < other.id


def reset_moments(
    *,
    start: datetime,
    until: datetime,
    step: timedelta,
    anchor: datetime,
    by_hand: Mapping[datetime, tuple[bool, bool]],
    is_preserving: bool,
) -> dict[datetime, bool]:
    """Walk from hour to hour and say which of them are resets, and whether they carry overage.

    Args:
        by_hand: by moment, whether the calendar goes on and whether overage is carried.
    """
    found, counted_from, moment = {}, anchor, start + HOUR
    while moment <= until:
        if moment in by_hand:
            goes_on, found[moment] = by_hand[moment]
            if not goes_on:
                counted_from = moment
        elif (moment - counted_from) % step == timedelta(0):
            found[moment] = is_preserving
        moment += HOUR
    return found
