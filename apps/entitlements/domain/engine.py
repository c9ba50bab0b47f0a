"""Burn-down: what usage leaves of grants, segment by segment.

History is cut wherever the set of grants changes: where one begins, ends or is filled up, and at resets. Within a
segment it does not matter when usage happened, so its sum is burned in the order of the grants. Usage that finds
nothing to burn is overage; it is burned by the next units that come.

At one instant things happen in this order: grants end; a reset leaves each grant its rollover; overage is burned from
that if it is preserved, else forgiven; allowances are issued; grants begin; grants are filled up. Where overage is
billed it is forgiven, too, and nothing else is reset: it is paid in money, and units that come later do not pay it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from apps.entitlements.domain.grants import ZERO, Grant, burn_order
from apps.entitlements.domain.resets import Reset
from apps.kernel.money import EXACT

Balances = Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class State:
    """What is left at an instant, everything that happens at that instant included.

    Attributes:
        balances: units left by grant; grants that are not active have none.
        overage: usage that nothing covered.
        usage: since the last reset.
        credit: usage taken back that later usage is set off against.
    """

    at: datetime
    balances: Balances = field(default_factory=dict)
    overage: Decimal = ZERO
    usage: Decimal = ZERO
    credit: Decimal = ZERO

    @property
    def balance(self) -> Decimal:
        return total(self.balances.values())


@dataclass(frozen=True, slots=True)
class Burn:
    """Units taken from one grant."""

    grant_id: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Segment:
    """A half-open span in which the set of grants does not change.

    Attributes:
        is_reset: whether it begins with a reset.
        forgiven: overage that this reset forgave, or that was billed when it begins.
        repaid: burns that this reset took from what rolled over, for preserved overage.
        balances: by grant when it begins, before anything is burned.
        overage_before: overage that the segment begins with.
        usage: of the segment; below 0 where more was taken back.
        burns: what overage and usage took from grants.
        overage: when it ends.
        left: balances when it ends.
    """

    start: datetime
    end: datetime
    is_reset: bool
    forgiven: Decimal
    repaid: tuple[Burn, ...]
    balances: Balances
    overage_before: Decimal
    usage: Decimal
    burns: tuple[Burn, ...]
    overage: Decimal
    left: Balances

    @property
    def balance(self) -> Decimal:
        """Units there when it begins."""
        return total(self.balances.values())

    @property
    def burned(self) -> Decimal:
        return total(burn.amount for burn in self.burns)


@dataclass(frozen=True, slots=True)
class Run:
    """A history, and what it leaves.

    Attributes:
        repaid: what overage took from units that came at the last instant.
    """

    segments: tuple[Segment, ...]
    state: State
    repaid: tuple[Burn, ...] = ()

    @property
    def covered(self) -> Decimal:
        """What grants paid in it, of usage and of overage that it began with."""
        burns = [burn for segment in self.segments for burn in (*segment.repaid, *segment.burns)]
        return total(burn.amount for burn in (*burns, *self.repaid))


@dataclass(slots=True)
class _Opening:
    """What happened at an instant, before anything more is burned."""

    balances: dict[str, Decimal]
    overage: Decimal
    usage: Decimal
    credit: Decimal
    is_reset: bool = False
    forgiven: Decimal = ZERO
    repaid: tuple[Burn, ...] = ()


def opening(grants: Iterable[Grant], at: datetime) -> State:
    """Give the state of a history that begins: every active grant is full."""
    return State(at, {grant.id: grant.begins_with for grant in grants if grant.is_active_at(at)})


def refreshed(grants: Iterable[Grant], at: datetime) -> State | None:
    """Give the state right after a reset that keeps nothing; None where it depends on what was before.

    Overage must not be preserved.
    """
    balances = {}
    for grant in grants:
        if not grant.is_active_at(at):
            continue
        if grant.effective_at == at:
            balances[grant.id] = grant.begins_with
        elif grant.rolled_over(ZERO) != grant.rolled_over(grant.amount) or grant.rollover_max is None:
            return None
        elif grant.recurrence is not None and at in _instants(grant, at):
            balances[grant.id] = grant.amount
        else:
            kept = grant.rolled_over(ZERO)
            balances[grant.id] = EXACT.add(kept, grant.amount) if grant.is_allowance else kept
    return State(at, balances)


def cut_points(
    grants: Sequence[Grant],
    resets: Iterable[Reset],
    *,
    start: datetime,
    until: datetime,
    cuts: Iterable[datetime] = (),
) -> list[datetime]:
    """Give the edges of the segments of a history, its start and its end among them.

    Args:
        cuts: further instants to cut at; they change no balance.
    """
    found = {start, until}
    for grant in grants:
        end = grant.ends_at
        if end is not None and end <= grant.effective_at:
            continue
        found.add(grant.effective_at)
        if end is not None:
            found.add(end)
        if grant.recurrence is not None:
            last = until if end is None else min(end, until)
            found.update(grant.recurrence.between(max(start, grant.effective_at), last))
    return sorted(
        instant for instant in {*found, *(reset.at for reset in resets), *cuts} if start <= instant <= until
    )


def run(
    grants: Sequence[Grant],
    resets: Iterable[Reset],
    *,
    begin: State,
    points: Sequence[datetime],
    usages: Sequence[Decimal],
    beyond: Decimal = ZERO,
) -> Run:
    """Burn the usage of a history.

    Args:
        resets: instants at which a period ends and the next begins.
        begin: where it begins; what happens at that instant has happened in it.
        points: edges of its segments as `cut_points` gives them, n + 1 of them.
        usages: of each of the n segments.
        beyond: usage at the last edge or dated after it, which counts already.

    Returns:
        n segments, and the state at the last edge with everything that happens at that instant.
    """
    by_id = {grant.id: grant for grant in grants}
    order = burn_order(grants)
    resets_at = {reset.at: reset for reset in resets}
    now = _Opening(
        {key: left for key, left in begin.balances.items() if key in by_id and by_id[key].is_active_at(begin.at)},
        begin.overage,
        begin.usage,
        begin.credit,
    )
    segments = []
    for (start, end), used in zip(pairwise(points), usages, strict=True):
        before = dict(now.balances)
        overage_before = now.overage
        due = EXACT.subtract(used, now.credit)
        credit, due = (-due, ZERO) if due < 0 else (ZERO, due)
        # Usage taken back settles overage first; what it exceeds that by is set off against later usage.
        settled = min(credit, now.overage)
        credit = EXACT.subtract(credit, settled)
        burns, overage = _burn(now.balances, order, EXACT.add(EXACT.subtract(now.overage, settled), due))
        segments.append(
            Segment(
                start=start,
                end=end,
                is_reset=now.is_reset,
                forgiven=now.forgiven,
                repaid=now.repaid,
                balances=before,
                overage_before=overage_before,
                usage=used,
                burns=burns,
                overage=overage,
                left=dict(now.balances),
            )
        )
        known = _Opening(now.balances, overage, EXACT.add(now.usage, used), credit)
        now = _open(known, order, end, resets_at.get(end))
    repaid, overage = _burn(now.balances, order, now.overage)
    # What is taken back beyond the edge is seen in the segment it will be of.
    _, more = _burn(now.balances, order, max(EXACT.subtract(beyond, now.credit), ZERO))
    used = EXACT.add(now.usage, beyond)
    state = State(points[-1], dict(now.balances), EXACT.add(overage, more), used, now.credit)
    return Run(tuple(segments), state, (*now.repaid, *repaid))


def run_history(
    grants: Sequence[Grant],
    resets: Sequence[Reset],
    usage_of: Callable[[datetime, datetime], Decimal],
    *,
    begin: State,
    until: datetime,
    cuts: Iterable[datetime] = (),
) -> Run:
    """Burn a history whose usage is asked for one segment after the other."""
    points = cut_points(grants, resets, start=begin.at, until=until, cuts=cuts)
    usages = [usage_of(start, end) for start, end in pairwise(points)]
    return run(grants, resets, begin=begin, points=points, usages=usages)


def total(amounts: Iterable[Decimal]) -> Decimal:
    summed = ZERO
    for amount in amounts:
        summed = EXACT.add(summed, amount)
    return summed


def _open(known: _Opening, order: Sequence[Grant], at: datetime, reset: Reset | None) -> _Opening:
    active = [grant for grant in order if grant.is_active_at(at)]
    balances = {grant.id: known.balances[grant.id] for grant in active if grant.id in known.balances}
    is_reset = reset is not None and not reset.is_billing
    now = _Opening(balances, known.overage, known.usage, known.credit, is_reset)
    if reset is not None and reset.is_billing:
        now.forgiven, now.overage = now.overage, ZERO
    elif reset is not None:
        now.usage = now.credit = ZERO
        for grant in active:
            if grant.id in balances:
                balances[grant.id] = grant.rolled_over(balances[grant.id])
        if reset.is_preserving:
            now.repaid, now.overage = _burn(balances, active, now.overage)
        else:
            now.forgiven, now.overage = now.overage, ZERO
    for grant in active:
        if grant.id not in balances:
            balances[grant.id] = grant.begins_with
        elif is_reset and grant.is_allowance:
            balances[grant.id] = EXACT.add(balances[grant.id], grant.amount)
        if grant.recurrence is not None and at in _instants(grant, at):
            balances[grant.id] = grant.amount
    return now


def _instants(grant: Grant, at: datetime) -> tuple[datetime, ...]:
    assert grant.recurrence is not None
    return grant.recurrence.around(at)


def _burn(balances: dict[str, Decimal], order: Sequence[Grant], amount: Decimal) -> tuple[tuple[Burn, ...], Decimal]:
    """Take units from grants in their order; gives what was taken, and what found nothing."""
    burns = []
    for grant in order:
        if amount <= 0:
            break
        taken = min(balances.get(grant.id, ZERO), amount)
        if taken > 0:
            balances[grant.id] = EXACT.subtract(balances[grant.id], taken)
            amount = EXACT.subtract(amount, taken)
            burns.append(Burn(grant.id, taken))
    return tuple(burns), amount
