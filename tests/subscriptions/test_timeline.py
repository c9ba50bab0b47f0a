"""The price timeline as pure data: whatever is edited, it tiles the subscription, and taking back leaves nothing."""

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kernel.errors import DomainError, InvalidError
from apps.kernel.time import Period
from apps.rating.adjustments import QuantityTerms
from apps.rating.lines import rate_fee
from apps.rating.price_models.standard import StandardPrice
from apps.rating.reading import recompute
from apps.rating.splits import FeePart, rate_fee_parts, rate_fee_sum, split_terms
from apps.subscriptions.domain.editing import (
    Addition,
    Edit,
    added,
    check_tiles,
    edited,
    removed,
    repriced,
    with_quantity,
)
from apps.subscriptions.domain.lines import Line, Shown, shown_intervals
from apps.subscriptions.domain.pauses import Pauses
from apps.subscriptions.domain.timeline import EMPTY, Step, Terms, Timeline

START = datetime(2026, 1, 1, tzinfo=UTC)
HORIZON = START + timedelta(days=400)


def line(key: str, *, is_owned: bool = False, price_id: int = 1, **changes: Any) -> Line:
    fields: dict[str, Any] = {
        "key": key, "price_id": price_id, "price_public_id": f"price_{key}", "revision_id": price_id,
        "quantity": Decimal(1), "unit_price": Decimal(10), "unit_cost": Decimal(10), "period": "P1M",
        "is_in_advance": True, "is_usage": False, "is_obligation": False, "takes_unit_price": True,
        "is_owned": is_owned,
    }  # fmt: skip
    return Line(**fields | changes)


SEATS, BACKUPS, SUPPORT = line("seats"), line("backups", price_id=2), line("support", price_id=3, is_owned=True)
LINES = (SEATS, BACKUPS, SUPPORT)


def shown(timeline: Timeline, *lines: Line) -> list[Shown]:
    return shown_intervals(timeline, lines or LINES, subscription="sub_1", version="pver_1", starts_at=START)


def day(number: int) -> datetime:
    return START + timedelta(days=number)


days = st.integers(0, 40).map(lambda n: day(n * 7))
quantities = st.integers(0, 4).map(Decimal)
prices = st.none() | st.integers(0, 9).map(Decimal)
transitions = st.lists(st.tuples(days, quantities), max_size=2)
ops = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(LINES), days, st.none() | days, prices, quantities),
    st.tuples(st.just("price"), st.integers(0, 9), prices),
    st.tuples(st.just("quantities"), st.integers(0, 9), quantities, transitions),
    st.tuples(st.just("end"), st.integers(0, 9), st.none() | days),
    st.tuples(st.just("remove"), st.integers(0, 9)),
    st.tuples(st.just("count"), st.sampled_from((SEATS, BACKUPS)), days, quantities),
    st.tuples(st.just("reprice"), st.sampled_from((SEATS, BACKUPS)), days, st.none() | days, prices),
)


def apply(timeline: Timeline, op: tuple[Any, ...], number: int) -> Timeline:
    """Apply one operation, or none where it is refused."""
    kind, *rest = op
    public_id = f"pint_{number}"
    try:
        if kind == "add":
            of, start, end, price, quantity = rest
            after = added(timeline, Addition(public_id, of, start, end, price, quantity), field="add.0")
        elif kind == "count":
            of, at, quantity = rest
            after = with_quantity(timeline, of, at, quantity)
        elif kind == "reprice":
            of, start, end, price = rest
            after = repriced(timeline, of, start, end, price or Decimal(0), public_id=public_id)
        else:
            known = shown(timeline)
            chosen = known[rest[0] % len(known)]
            if kind == "remove":
                after = removed(timeline, chosen)
            else:
                change = {
                    "price": lambda: Edit(unit_price=rest[1]),
                    "quantities": lambda: Edit(quantity=rest[1], transitions=tuple(Step(*one) for one in rest[2])),
                    "end": lambda: Edit(end=rest[1]),
                }[kind]()
                after = edited(timeline, chosen, change, field="edit.0")
        check_tiles(after, [of.key for of in LINES])
    except DomainError:
        return timeline
    return after


def built(operations: list[tuple[Any, ...]]) -> Timeline:
    timeline = EMPTY
    for number, op in enumerate(operations):
        timeline = apply(timeline, op, number)
    return timeline


@given(operations=st.lists(ops, max_size=12))
def test_intervals_tile_the_subscription_after_any_edits(operations: list[tuple[Any, ...]]) -> None:
    timeline = built(operations)
    assert len({one.public_id for one in shown(timeline)}) == len(shown(timeline))
    for of in LINES:
        pieces = shown(timeline, of)
        for before, after in itertools.pairwise(pieces):
            assert before.end == after.start
        if pieces and not of.is_owned:
            assert pieces[0].start == START
        for piece in pieces:
            assert piece.end is None or piece.start < piece.end
            ends = piece.end or HORIZON
            assert all(piece.start < step.at < ends for step in piece.transitions)
            # What is shown is what holds: at the start, and at each transition.
            terms = timeline.terms_at(of.key, piece.start, is_owned=of.is_owned)
            assert terms is not None
            quantity = of.quantity if terms.quantity is None else terms.quantity
            assert (terms.unit_price, quantity) == (piece.unit_price, piece.quantity)
            for step in piece.transitions:
                later = timeline.terms_at(of.key, step.at, is_owned=of.is_owned)
                assert later is not None
                assert later.quantity == step.quantity


@given(operations=st.lists(ops, max_size=12), first=st.integers(0, 300), length=st.integers(1, 100))
def test_parts_are_what_holds_day_by_day(operations: list[tuple[Any, ...]], first: int, length: int) -> None:
    """The slow way: look at every day."""
    timeline = built(operations)
    period = Period(day(first), day(first + length))
    for of in LINES:
        parts = timeline.parts(of.key, period, is_owned=of.is_owned)
        for before, after in itertools.pairwise(parts):
            assert before.period.end <= after.period.start
            assert before.terms != after.terms or before.period.end < after.period.start
        found: list[Terms | None] = []
        for number in range(first, first + length):
            holding = [part.terms for part in parts if part.period.contains(day(number))]
            assert len(holding) <= 1
            found.append(holding[0] if holding else None)
        assert found == [
            timeline.terms_at(of.key, day(n), is_owned=of.is_owned) for n in range(first, first + length)
        ]


@given(operations=st.lists(ops, max_size=10), op=ops)
def test_an_edit_changes_nothing_before_the_first_difference(
    operations: list[tuple[Any, ...]], op: tuple[Any, ...]
) -> None:
    before = built(operations)
    after = apply(before, op, 99)
    for of in LINES:
        differs_at = before.first_difference(after, of.key)
        until = differs_at or HORIZON
        for number in range((until - START).days):
            for is_owned in (False, True):
                assert before.terms_at(of.key, day(number), is_owned=is_owned) == after.terms_at(
                    of.key, day(number), is_owned=is_owned
                )


@given(operations=st.lists(ops, max_size=10), of=st.sampled_from((SEATS, BACKUPS)), at=days, quantity=quantities)
def test_a_quantity_set_back_in_the_same_moment_leaves_what_held(
    operations: list[tuple[Any, ...]], of: Line, at: datetime, quantity: Decimal
) -> None:
    before = built(operations)
    held = before.terms_at(of.key, at)
    changed = with_quantity(before, of, at, quantity)
    back = with_quantity(changed, of, at, of.quantity if held is None or held.quantity is None else held.quantity)
    for number in range(400):
        was, now = (timeline.terms_at(of.key, day(number)) for timeline in (before, back))
        assert (was is None) == (now is None)
        if was is not None and now is not None:
            assert (of.quantity if was.quantity is None else was.quantity) == (
                of.quantity if now.quantity is None else now.quantity
            )


@given(operations=st.lists(ops, max_size=10), start=days, end=st.none() | days, price=prices, quantity=quantities)
def test_added_and_removed_leaves_nothing(
    operations: list[tuple[Any, ...]], start: datetime, end: datetime | None, price: Decimal | None, quantity: Decimal
) -> None:
    before = built(operations)
    try:
        after = added(before, Addition("pint_new", SEATS, start, end, price, quantity), field="add.0")
        check_tiles(after, ["seats"])
    except DomainError:
        return
    new = next(one for one in shown(after) if one.public_id == "pint_new")
    assert removed(after, new) == before


@given(
    cuts=st.sets(st.integers(1, 743), max_size=6),
    unit_price=st.decimals(0, 1000, places=3),
    quantity=st.integers(0, 20),
)
def test_a_split_that_changes_nothing_costs_what_the_whole_does(
    cuts: set[int], unit_price: Decimal, quantity: int
) -> None:
    whole = Period(START, day(31))
    edges = [START, *(START + timedelta(hours=hour) for hour in sorted(cuts)), day(31)]
    parts = [
        FeePart(StandardPrice(unit_price), Decimal(quantity), part, Fraction(part.microseconds, whole.microseconds))
        for part in (Period(start, end) for start, end in itertools.pairwise(edges))
    ]
    unsplit = rate_fee(
        price=StandardPrice(unit_price), quantity=Decimal(quantity), currency="USD", period=whole, sources={},
        calculated_at=START,
    )  # fmt: skip
    given_all: dict[str, Any] = {"currency": "USD", "whole": whole, "basis": "second", "calculated_at": START}
    lines = rate_fee_parts(parts, sources=[{}] * len(parts), **given_all)
    summed = rate_fee_sum(parts, period=whole, sources={}, **given_all)
    assert sum(one.subtotal for one in lines) == summed.subtotal == unsplit.subtotal
    for rated in (*lines, summed):
        assert recompute(rated.provenance) == rated.subtotal >= 0


@given(
    counted=st.lists(st.decimals(0, 1000, places=2), min_size=1, max_size=5),
    waived=st.decimals(0, 1500, places=2),
    bounds=st.tuples(st.none() | st.integers(0, 2000), st.none() | st.integers(0, 2000)),
)
def test_bounds_and_waived_units_hold_the_whole_of_split_usage(
    counted: list[Decimal], waived: Decimal, bounds: tuple[int | None, int | None]
) -> None:
    low, high = (None if bound is None else Decimal(bound) for bound in bounds)
    terms = QuantityTerms(waived=waived, minimum=low, maximum=high)
    shared = split_terms(terms, counted)
    priced = []
    for quantity, own in zip(counted, shared, strict=True):
        assert own is not None
        priced.append(own.fit(own.bound(own.waive(quantity))))
    whole = terms.bound(terms.waive(sum(counted, Decimal(0))))
    assert abs(sum(priced, Decimal(0)) - whole) <= Decimal(len(counted)) * Decimal("1e-9")


@pytest.mark.parametrize(("weights", "priced"), [([1, 1], ["5", "10"]), ([3, 1], ["6", "12"])])
def test_a_held_quantity_is_measured_by_its_average(weights: list[int], priced: list[str]) -> None:
    # 4 and 8 of at least 7.5: on average 6, or 5 where the first holds three times as long.
    shares = [Fraction(weight, 10) for weight in weights]
    shared = split_terms(QuantityTerms(minimum=Decimal("7.5")), [Decimal(4), Decimal(8)], shares)
    assert [str(own.fit(n).normalize()) for own, n in zip(shared, (Decimal(4), Decimal(8)), strict=True) if own] == [
        str(Decimal(one).normalize()) for one in priced
    ]
    nothing = split_terms(QuantityTerms(minimum=Decimal(2)), [Decimal(0), Decimal(0)], shares)
    assert [own.fit(Decimal(0)) for own in nothing if own] == [2, 2]


@given(
    cuts=st.sets(st.integers(1, 743), max_size=6),
    paused=st.lists(st.integers(0, 743), unique=True, min_size=2, max_size=2).map(sorted),
    basis=st.sampled_from(["second", "day"]),
    tz=st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"]),
)
def test_shares_of_parts_add_up_to_the_whole(cuts: set[int], paused: list[int], basis: str, tz: str) -> None:
    whole = Period(START, day(31))
    pauses = Pauses(((START + timedelta(hours=paused[0]), START + timedelta(hours=paused[1])),))
    edges = [START, *(START + timedelta(hours=hour) for hour in sorted(cuts)), day(31)]
    shares = [
        pauses.part_share(Period(start, end), whole, whole, basis=basis, tz=tz)
        for start, end in itertools.pairwise(edges)
    ]
    assert all(share >= 0 for share in shares)
    assert sum(shares) == pauses.active_share(whole, whole, basis=basis, tz=tz)


def test_what_a_price_cannot_have_is_refused() -> None:
    events = line("calls", takes_unit_price=False, is_usage=True)
    for of, price in ((events, Decimal(1)), (SEATS, Decimal(-1))):
        with pytest.raises(InvalidError):
            repriced(EMPTY, of, day(1), None, price, public_id="pint_1")
    once = line("setup", period="P0D")
    later = (Step(day(2), Decimal(2)),)
    with pytest.raises(InvalidError):
        added(EMPTY, Addition("pint_1", once, day(1), None, None, Decimal(1), later), field="add")
