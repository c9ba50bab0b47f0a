"""Minimum commitments and spend caps: what a period must come to at least, and at most.

Both are settled by difference. Whatever is known by now says what a period's true-up should be, or how much should be
cut of it; what earlier invoices billed or cut already is taken off. So late usage, a correction or an end that moves
never bills anything twice, and a calculation may be repeated.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from apps.invoicing.domain.cuts import COUPON, PREFIX, source_of
from apps.kernel.money import EXACT, round_money
from apps.kernel.time import Cadence, Period
from apps.rating.adjustments import part_of
from apps.subscriptions.domain.grid import Grid

COMMITMENT, CAP = "commitment", "cap"
KINDS = (COMMITMENT, CAP)
# What cuts a line, as the reference of the cut names it, and what gives a cut back.
CAP_OF_PRICE, CAP_OF_PLAN = "cap-price", "cap-plan"
RELEASED = "released:"
ZERO = Decimal(0)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class SpendRule:
    """The least or the most that is billed in a period.

    Attributes:
        kind: COMMITMENT or CAP.
        price_id: key of the price it is of; None: of the whole subscription.
        amount: for a full period, major units, stated as prices are.
        cadence: the periods it holds in.
        source: where it comes from, as provenance names it.
        ends_at: when it stops holding, in the midst of a period too; None while it goes on.
    """

    kind: str
    price_id: int | None
    amount: Decimal
    cadence: Cadence
    source: dict[str, Any] = field(default_factory=dict)
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A period that a rule holds in: what of it is served, and the whole that it is a part of."""

    rule: SpendRule
    service: Period
    whole: Period


@dataclass(frozen=True, slots=True)
class Entry:
    """What a line of any invoice bills.

    Attributes:
        role: "charge", or which of this module's lines it is.
        at: start of the service that it bills.
    """

    role: str
    price_id: int | None
    revision_id: int | None
    at: datetime
    amount: Decimal


CHARGE, TRUE_UP_OF_PRICE, TRUE_UP_OF_PLAN = "charge", "true-up-price", "true-up-plan"
# What each rule looks at: what is billed before it has its turn.
COUNTED: dict[tuple[str, bool], frozenset[str]] = {
    (CAP, True): frozenset({CHARGE}),
    (CAP, False): frozenset({CHARGE, CAP_OF_PRICE}),
    (COMMITMENT, True): frozenset({CHARGE, CAP_OF_PRICE, CAP_OF_PLAN}),
    (COMMITMENT, False): frozenset({CHARGE, CAP_OF_PRICE, CAP_OF_PLAN, TRUE_UP_OF_PRICE}),
}
ROLES = {
    (CAP, True): CAP_OF_PRICE,
    (CAP, False): CAP_OF_PLAN,
    (COMMITMENT, True): TRUE_UP_OF_PRICE,
    (COMMITMENT, False): TRUE_UP_OF_PLAN,
}


def find_role(kind: str, reference: str, *, has_price: bool) -> str | None:
    """Say what a line is to commitments and caps; None for what neither looks at.

    Fees, usage, corrections and credits of them are charges, and so are the percentages agreed off them. Coupons come
    after, and lines put on by hand are what they are.
    """
    if kind == COMMITMENT:
        return TRUE_UP_OF_PRICE if has_price else TRUE_UP_OF_PLAN
    if reference.startswith(RELEASED):
        return reference.split(":", 2)[1]
    if reference.startswith(PREFIX):
        source = source_of(reference)
        if source.startswith(COUPON):
            return None
        return source if source in (CAP_OF_PRICE, CAP_OF_PLAN) else CHARGE
    return CHARGE if has_price and kind != "manual" else None


@dataclass(slots=True)
class Timeline:
    """The periods of one rule of a subscription, one after the other.

    Attributes:
        starts_at: the first instant that is billed; what was served before belongs to the first period.
        ends_at: the end of the subscription; None while none is known.
    """

    spans: list[Span]
    starts_at: datetime
    ends_at: datetime | None

    def find(self, instant: datetime) -> int | None:
        """Find the place of the period that what is served from an instant counts in; None where no rule holds."""
        if self.ends_at is not None:
            # What is given back of the time after the end belongs to the last period.
            instant = min(instant, self.ends_at - MICROSECOND)
        instant = max(instant, self.starts_at)
        place = bisect_right(self.spans, instant, key=lambda span: span.service.start) - 1
        return place if place >= 0 and instant < self.spans[place].service.end else None


def timeline(
    rule_at: Callable[[datetime], SpendRule | None],
    changes: Iterable[datetime],
    grid: Grid,
    *,
    starts_at: datetime,
    until: datetime,
) -> Timeline:
    """Lay the periods of a rule out over a subscription's calendar.

    A period keeps the rule that it begins with, whatever changes meanwhile; the next one begins with the rule of its
    own start.

    Args:
        rule_at: gives what holds for a period that begins at an instant.
        changes: instants at which a rule may begin where there was none.
        grid: the subscription's calendar, up to its end.
        starts_at: the first instant that is billed.
        until: periods that begin by then are wanted.
    """
    points = sorted(set(changes))
    spans: list[Span] = []
    at: datetime | None = max(starts_at, grid.starts_at)
    while at is not None and at <= until and (grid.ends_at is None or at < grid.ends_at):
        rule = rule_at(at)
        slot = grid.slot_at(rule.cadence, at) if rule is not None else None
        if rule is None or slot is None:
            at = next((point for point in points if point > at), None)
            continue
        end = slot.service.end if rule.ends_at is None else min(slot.service.end, rule.ends_at)
        spans.append(Span(rule, Period(at, end), slot.whole))
        at = end
    return Timeline(spans, max(starts_at, grid.starts_at), grid.ends_at)


def bound_of(rule: SpendRule, share: Fraction, *, currency: str) -> Decimal:
    """Give what a period must come to, at least or at most, by the part of it that is served; rounded once."""
    return round_money(part_of(rule.amount, share), currency)


def target_of(rule: SpendRule, bound: Decimal, counted: Decimal) -> Decimal:
    """Give the true-up of a period, or the cut, by what is counted in it: 0 or more."""
    missing = EXACT.subtract(bound, counted) if rule.kind == COMMITMENT else EXACT.subtract(counted, bound)
    return max(missing, ZERO)


@dataclass(slots=True)
class Sums:
    """What is known of one period of a rule.

    Attributes:
        counted: what the rule looks at.
        done: what its own lines billed, or cut (above 0), so far.
    """

    counted: Decimal = ZERO
    done: Decimal = ZERO


def sums_of(entries: Iterable[Entry], line: Timeline, *, kind: str, price_id: int | None) -> dict[int, Sums]:
    """Give the sums of a rule's periods, by their places; one without any entry has none."""
    seen, own = COUNTED[kind, price_id is not None], ROLES[kind, price_id is not None]
    sign = -1 if kind == CAP else 1
    found: dict[int, Sums] = {}
    for entry in entries:
        if price_id is not None and entry.price_id != price_id:
            continue
        place = line.find(entry.at) if entry.role == own or entry.role in seen else None
        if place is None:
            continue
        sums = found.setdefault(place, Sums())
        if entry.role == own:
            sums.done = EXACT.add(sums.done, sign * entry.amount)
        else:
            sums.counted = EXACT.add(sums.counted, entry.amount)
    return found
