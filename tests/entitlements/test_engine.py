"""The burn-down engine against a slow walk, on random histories."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.entitlements.domain.access import has_balance, has_room
from apps.entitlements.domain.billable import outcome_of
from apps.entitlements.domain.engine import Run, State, cut_points, opening, refreshed, run, run_history, total
from apps.entitlements.domain.grants import Calendar, Grant
from apps.entitlements.domain.resets import ManualReset, Reset, ResetError, Schedule
from apps.entitlements.domain.standing import spent
from apps.kernel.time import Cadence
from tests.entitlements.oracle import HOUR, reset_moments, walk

START = datetime(2026, 1, 1, tzinfo=UTC)
LENGTH = 40


@dataclass(frozen=True)
class History:
    grants: tuple[Grant, ...]
    every: dict[str, tuple[datetime, timedelta]]
    resets: tuple[Reset, ...]
    usage: dict[datetime, tuple[Decimal, ...]]
    until: datetime

    def usage_of(self, start: datetime, end: datetime) -> Decimal:
        return total(amount for at, amounts in self.usage.items() if start <= at < end for amount in amounts)

    def run(
        self, *, begin: State | None = None, until: datetime | None = None, cuts: tuple[datetime, ...] = ()
    ) -> Run:
        return run_history(
            self.grants,
            self.resets,
            self.usage_of,
            begin=begin or opening(self.grants, START),
            until=until or self.until,
            cuts=cuts,
        )


def hour(n: int) -> datetime:
    return START + n * HOUR


def a_history(chance: random.Random, *, with_resets: bool = True) -> History:
    grants, every = [], {}
    for n in range(chance.randint(0, 6)):
        effective = chance.randint(-5, LENGTH)
        lives = chance.choice([None, chance.randint(1, LENGTH)])
        voided = chance.choice([None, None, chance.randint(0, LENGTH)])
        grant = Grant(
            id=f"g{n}",
            amount=an_amount(chance),
            priority=chance.randint(-1, 1),
            effective_at=hour(effective),
            created_at=hour(chance.randint(-9, -6)),
            expires_at=None if lives is None else hour(effective + lives),
            voided_at=None if voided is None else hour(voided),
            rollover_min=chance.choice([Decimal(0), Decimal(0), Decimal(3)]),
            rollover_max=chance.choice([Decimal(0), Decimal(4), Decimal("7.5"), None]),
            is_allowance=chance.random() < 0.5,
            is_paid=chance.random() < 0.5,
        )
        if chance.random() < 0.2:
            grant = replace(grant, opening=grant.amount * chance.choice([0, Decimal("0.5")]))
        if chance.random() < 0.4:
            step = chance.randint(2, 15)
            every[grant.id] = (hour(effective + 1), step * HOUR)
            grant = replace(grant, recurrence=Calendar(hour(effective + 1), Cadence(seconds=3600 * step)))
        grants.append(grant)
    resets = chance.sample(range(1, LENGTH + 1), chance.randint(0, 3)) if with_resets else []
    return History(
        tuple(grants),
        every,
        # Those made by hand carry overage or not, whatever the others do.
        tuple(a_reset(chance, hour(n)) for n in sorted(resets)),
        {
            hour(n): tuple(an_amount(chance) for _ in range(chance.randint(1, 3)))
            for n in chance.sample(range(LENGTH), chance.randint(0, 10))
        },
        hour(chance.randint(0, LENGTH)),
    )


def a_reset(chance: random.Random, at: datetime) -> Reset:
    """Give a reset that carries overage or forgives it, or the end of what a bill is of."""
    return chance.choice([Reset(at, is_preserving=True), Reset(at), Reset(at, is_billing=True)])


def an_amount(chance: random.Random) -> Decimal:
    return Decimal(chance.randint(1, 40)) / 2


def seeds(count: int) -> Iterator[random.Random]:
    """Give generators of random histories; the number of the one that failed is in the traceback's locals."""
    for seed in range(count):
        yield random.Random(seed)


@settings(max_examples=50)
@given(st.integers(1_000_000, 2**64))
def test_the_engine_equals_a_walk_unit_by_unit(seed: int) -> None:
    agrees_with_the_walk(a_history(random.Random(seed)))


def test_the_engine_equals_a_walk_in_thousands_of_histories() -> None:
    for chance in seeds(3000):
        agrees_with_the_walk(a_history(chance))


def agrees_with_the_walk(history: History) -> None:
    found = history.run()
    left = walk(
        history.grants,
        {reset.at: reset.is_preserving for reset in history.resets if not reset.is_billing},
        history.usage,
        start=START,
        until=history.until,
        every=history.every,
        billed={reset.at for reset in history.resets if reset.is_billing},
    )
    assert found.state.balances == left.balances
    assert found.state.overage == left.overage
    assert found.state.usage == left.usage
    assert left.lowest == 0
    by_id = {grant.id: grant for grant in history.grants}
    for key, rest in left.after_reset:
        grant = by_id[key]
        high = grant.rollover_max if grant.rollover_max is not None else max(rest, grant.rollover_min)
        assert min(grant.rollover_min, high) <= rest <= high


def test_usage_is_what_grants_covered_and_overage() -> None:
    for chance in seeds(1000):
        history = a_history(chance, with_resets=False)
        found = history.run()
        assert found.state.usage == found.covered + found.state.overage
        amounts = {grant.id: grant.amount for grant in history.grants}
        for segment in found.segments:
            assert all(0 <= left <= amounts[key] for key, left in segment.left.items())


def test_a_run_cut_anywhere_equals_the_uncut_run() -> None:
    """So a state that was kept is as good as the history before it."""
    for chance in seeds(2000):
        history, at = a_history(chance), chance.randint(0, LENGTH)
        whole = history.run()
        cut = min(hour(at), history.until)
        assert history.run(cuts=(cut,)).state == whole.state
        kept = history.run(until=cut).state
        assert history.run(begin=kept).state == whole.state


def test_sums_alone_give_what_the_engine_gives_where_nothing_begins_or_ends() -> None:
    """From any state, with usage taken back and usage dated ahead, for a hard and a soft limit."""
    for chance in seeds(3000):
        history = a_history(chance)
        kept = history.run(until=hour(chance.randint(0, LENGTH - 1))).state
        if chance.random() < 0.3:
            kept = replace(kept, credit=an_amount(chance))
        later = cut_points(history.grants, history.resets, start=kept.at, until=hour(2 * LENGTH))[1]
        until = kept.at + (later - kept.at) * chance.choice([0.25, 0.5, 0.99])
        used = an_amount(chance) * chance.choice([-1, 0, 1, 2])
        beyond = an_amount(chance) * chance.choice([-1, 0, 0, 1])
        state = run(
            history.grants,
            history.resets,
            begin=kept,
            points=[kept.at, until],
            usages=[used],
            beyond=beyond,
        ).state
        balance, overage = spent(kept, balance=kept.balance, used=used, beyond=beyond)
        assert (balance, overage) == (state.balance, state.overage)
        assert has_balance(balance=balance, is_soft=False) == (state.balance > 0)
        assert has_balance(balance=balance, is_soft=True)


def test_sums_alone_are_enough_while_grants_only_begin_and_usage_only_grows() -> None:
    """However usage lies between the beginnings; what was taken back before counts, too."""
    for chance in seeds(3000):
        history = a_history(chance)
        kept = history.run(until=hour(chance.randint(0, LENGTH - 1))).state
        if chance.random() < 0.3:
            kept = replace(kept, credit=an_amount(chance))
        known = [
            replace(grant, expires_at=None, voided_at=None, recurrence=None)
            for grant in history.grants
            if grant.is_active_at(kept.at)
        ]
        starts = [kept.at + chance.randint(1, 6) * HOUR for _ in range(chance.randint(1, 4))]
        begun = [
            Grant(f"new-{n}", an_amount(chance) + 1, chance.randint(-2, 2), start) for n, start in enumerate(starts)
        ]
        points = cut_points([*known, *begun], [], start=kept.at, until=kept.at + 6 * HOUR)
        usages = [abs(an_amount(chance)) * chance.choice([0, 1, 2]) for _ in points[1:]]
        beyond = an_amount(chance) * chance.choice([-1, 0, 0, 1])
        state = run([*known, *begun], [], begin=kept, points=points, usages=usages, beyond=beyond).state
        balance = total([kept.balance, *(grant.amount for grant in begun)])
        found = spent(kept, balance=balance, used=total(usages), beyond=beyond)
        assert found == (state.balance, state.overage)


def test_a_reset_that_keeps_nothing_forgets_its_past() -> None:
    known = 0
    for chance in seeds(1000):
        history = a_history(chance)
        for reset in history.resets:
            state = refreshed(history.grants, reset.at)
            if state is not None and reset.at <= history.until and not (reset.is_preserving or reset.is_billing):
                known += 1
                assert state == history.run(until=reset.at).state
    assert known > 100


def test_the_order_in_which_grants_are_read_does_not_matter() -> None:
    for chance in seeds(500):
        history = a_history(chance)
        mixed = list(history.grants)
        chance.shuffle(mixed)
        assert replace(history, grants=tuple(mixed)).run().state == history.run().state


def test_one_more_grant_lowers_no_other_and_raises_no_overage() -> None:
    for chance in seeds(1000):
        history, amount = a_history(chance), an_amount(chance)
        before = history.run().state
        extra = Grant("extra", amount, 0, START, hour(-7))
        after = replace(history, grants=(*history.grants, extra)).run().state
        assert after.overage <= before.overage
        assert all(after.balances[key] >= left for key, left in before.balances.items())


def test_bills_of_touching_spans_hold_every_uncovered_unit_once() -> None:
    """Without resets, what bills hold is the overage of the end and what units paid of billed overage."""
    for chance in seeds(1000):
        history = a_history(chance)
        one, other = chance.randint(0, LENGTH), chance.randint(0, LENGTH)
        cuts = sorted({START, min(hour(one), history.until), min(hour(other), history.until), history.until})
        segments = history.run(cuts=tuple(cuts)).segments
        outcomes = [outcome_of(segments, start=a, end=z) for a, z in pairwise(cuts)]
        assert total(each.usage for each in outcomes) == history.usage_of(START, history.until)
        whole = outcome_of(segments, start=START, end=history.until)
        assert all(0 <= each.uncovered <= each.usage for each in outcomes)
        # A bill in the middle cannot know of units that come later, so parts are never less than the whole.
        assert total(each.uncovered for each in outcomes) >= whole.uncovered
        if not history.resets:
            assert whole.uncovered == (segments[-1].overage if segments else 0)


def test_usage_taken_back_settles_overage_and_then_later_usage() -> None:
    grant = Grant("g", Decimal(10), 0, START)
    edges = [hour(n) for n in range(5)]
    found = run([grant], [], begin=opening([grant], START), points=edges, usages=[Decimal(n) for n in (14, -6, 1, 3)])
    assert [segment.overage for segment in found.segments] == [4, 0, 0, 2]
    assert found.state.balances == {"g": 0}
    assert found.state.usage == 12


def test_a_reset_adds_the_allowance_to_what_rolls_over() -> None:
    allowance = Grant("a", Decimal(100), 1, START, rollover_max=Decimal(30), is_allowance=True)
    points = cut_points([allowance], [Reset(hour(10))], start=START, until=hour(20))
    found = run(
        [allowance],
        [Reset(hour(10))],
        begin=opening([allowance], START),
        points=points,
        usages=[Decimal(20), Decimal(1)],
    )
    assert found.segments[1].balances == {"a": 130}
    assert found.state.balance == 129


def test_a_bill_never_takes_off_overage_that_an_earlier_bill_had() -> None:
    late = Grant("late", Decimal(5), 1, hour(12))
    found = run(
        [late],
        [],
        begin=opening([late], START),
        points=[START, hour(10), hour(12), hour(20)],
        usages=[Decimal(4), Decimal(3), Decimal(0)],
    )
    assert outcome_of(found.segments, start=START, end=hour(10)).uncovered == 4
    # Five units come: four pay what was billed before, so one of the three is paid.
    assert outcome_of(found.segments, start=hour(10), end=hour(20)).uncovered == 2


def test_access_goes_by_what_is_left_beside_what_is_held() -> None:
    zero, five = Decimal(0), Decimal(5)
    assert not has_balance(balance=zero, is_soft=False)
    assert has_balance(balance=zero, is_soft=True)
    assert has_room(balance=five, held=zero, quantity=five, is_soft=False)
    assert not has_room(balance=five, held=Decimal(1), quantity=five, is_soft=False)
    assert not has_room(balance=five, held=five, quantity=zero, is_soft=False)
    assert has_room(balance=zero, held=five, quantity=five, is_soft=True)


def a_schedule(chance: random.Random) -> tuple[Schedule, dict[datetime, bool]]:
    """Give a schedule with resets by hand, each of them made as it could be, and what a slow walk finds of it."""
    step, anchor, is_preserving = chance.randint(3, 15), chance.randint(-20, 20), chance.random() < 0.5
    calendar = Calendar(hour(anchor), Cadence(seconds=3600 * step))
    schedule = Schedule(START, calendar, is_preserving)
    for n in sorted(chance.sample(range(1, LENGTH), chance.randint(0, 4))):
        try:
            at = schedule.instant_for(hour(n), now=hour(n) + chance.random() * 2 * HOUR)
        except ResetError:
            continue
        made = ManualReset(at, chance.random() < 0.5, chance.random() < 0.5)
        schedule = replace(schedule, by_hand=(*schedule.by_hand, made))
    found = reset_moments(
        start=START,
        until=hour(LENGTH),
        step=step * HOUR,
        anchor=hour(anchor),
        by_hand={one.at: (one.retains_anchor, one.is_preserving) for one in schedule.by_hand},
        is_preserving=is_preserving,
    )
    return schedule, found


def test_resets_by_hand_and_of_the_calendar_are_those_of_a_walk_from_hour_to_hour() -> None:
    moved = 0
    for chance in seeds(2000):
        schedule, wanted = a_schedule(chance)
        moved += any(not one.retains_anchor for one in schedule.by_hand)
        assert {reset.at: reset.is_preserving for reset in schedule.between(START, hour(LENGTH))} == wanted
        after, until = sorted(hour(chance.randint(0, LENGTH)) for _ in range(2))
        asked = [reset.at for reset in schedule.between(after, until)]
        assert asked == sorted(at for at in wanted if after < at <= until)
        at = hour(chance.randint(0, LENGTH - 20))
        start, end = schedule.period(at)
        assert start == max([START, *(one for one in wanted if one <= at)])
        assert end == min(one for one in [*wanted, end] if one is not None and one > at)
    assert moved > 500


def test_the_engine_equals_the_walk_with_resets_by_hand_between_those_of_the_calendar() -> None:
    for chance in seeds(1500):
        schedule, _ = a_schedule(chance)
        history = replace(a_history(chance), resets=tuple(schedule.between(START, hour(LENGTH))))
        agrees_with_the_walk(history)


def test_a_reset_by_hand_begins_at_a_whole_minute_after_the_last_and_not_ahead() -> None:
    minute = timedelta(minutes=1)
    schedule = Schedule(START, Calendar(START, Cadence(months=1)), by_hand=(ManualReset(hour(5) + minute, False),))
    now = hour(9) + 30 * timedelta(seconds=1)
    assert schedule.instant_for(now, now=now) == hour(9)
    assert schedule.instant_for(hour(5) + 2 * minute, now=now) == hour(5) + 2 * minute
    with pytest.raises(ResetError):
        schedule.instant_for(hour(4), now=hour(4))
    for refused in (hour(5) + 1.5 * minute, hour(3), START - HOUR, now + minute / 60):
        with pytest.raises(ResetError):
            schedule.instant_for(refused, now=now)


def test_a_calendar_that_a_reset_moved_counts_months_from_it() -> None:
    end = datetime(2026, 5, 1, tzinfo=UTC)
    moved = datetime(2026, 1, 31, 8, tzinfo=UTC)
    calendar = Calendar(START, Cadence(months=1))
    found = Schedule(START, calendar, by_hand=(ManualReset(moved, True, False),)).between(START, end)
    # From the anchor and never from the last step: the end of February does not stay.
    assert found == [
        Reset(moved, True),
        *(Reset(datetime(2026, month, day, 8, tzinfo=UTC)) for month, day in ((2, 28), (3, 31), (4, 30))),
    ]


def test_what_a_reset_forgave_is_told_from_what_is_left() -> None:
    points = [START, hour(10), hour(20)]
    found = run([], [Reset(hour(10))], begin=State(START), points=points, usages=[Decimal(4), Decimal(3)])
    outcome = outcome_of(found.segments, start=START, end=hour(20))
    assert (outcome.usage, outcome.uncovered, outcome.left) == (7, 7, 3)
