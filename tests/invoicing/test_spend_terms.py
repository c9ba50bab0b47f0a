"""Commitments and caps as pure rules: what periods come to over many invoices, against adding up each by itself."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from apps.invoicing.domain.settling import Label, Settling, with_cap, with_true_ups
from apps.invoicing.domain.spend import (
    CAP,
    COMMITMENT,
    Entry,
    Span,
    SpendRule,
    Timeline,
    find_role,
    timeline,
)
from apps.invoicing.domain.targets import TargetLine, limit_rebates
from apps.kernel.time import Cadence, Period, add_months
from apps.rating.reading import recompute
from apps.subscriptions.domain.grid import Grid

# Two prices, each by a revision of its own.
PRICES = {11: 1, 12: 2}
MONTHS = 6
START = datetime(2026, 1, 1, tzinfo=UTC)


def month(n: int) -> datetime:
    day = add_months(START.date(), n)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


GRID = Grid(START, START, None, "UTC", is_own=True)


def rule(kind: str, amount: int, months: int, price_id: int | None) -> SpendRule:
    return SpendRule(kind, price_id, Decimal(amount), Cadence(months=months))


def line(n: int, cents: int, revision: int, of: int) -> TargetLine:
    """A charge on some invoice, of a month's service."""
    return TargetLine(
        kind="metered", reference=f"price_{revision}:{n}", display_name="Usage", payment_term="in_arrears",
        period_start=month(of), period_end=month(of + 1), quantity=Decimal(1), unit_price=Decimal(0),
        gross=Decimal(cents) / 100, tax_rate=Decimal(revision), price_revision_id=revision,
    )  # fmt: skip


def entry_of(row: TargetLine) -> Entry | None:
    key = row.price_revision_id
    role = find_role(row.kind, row.reference, has_price=key is not None)
    return Entry(role, PRICES.get(key or 0), key, row.period_start, row.gross) if role else None


def bill(
    rules: list[SpendRule], charges: list[TargetLine], earlier: list[Entry], until: datetime
) -> list[TargetLine]:
    """Settle one invoice, whose window ends at an instant, by all rules in their order."""
    found = list(charges)
    order = sorted(rules, key=lambda known: (known.kind != CAP, known.price_id is None, known.price_id or 0))
    for known in order:
        settling = Settling(
            line=timeline(lambda at, known=known: known, [START], GRID, starts_at=START, until=until),  # type: ignore[misc]
            share=lambda span: Fraction(1),
            earlier=earlier,
            entry_of=entry_of,
            is_due=lambda span: span.service.end <= until,
            label=lambda key, known=known: Label(  # type: ignore[misc]
                f"{known.price_id}.{key}", "Own", Decimal(key or 0), 10 + known.price_id if known.price_id else key
            ),
            currency="USD",
        )
        found = (with_cap if known.kind == CAP else with_true_ups)(found, settling, price_id=known.price_id)
    return found


months = st.sampled_from([1, 2, 3])
# Usage by invoice: of its own month, and later of earlier ones; (price revision, which month, cents).
histories = st.lists(
    st.lists(st.tuples(st.sampled_from([11, 12]), st.integers(0, MONTHS - 1), st.integers(-6000, 9000)), max_size=4),
    min_size=MONTHS,
    max_size=MONTHS,
)


def possible(history: list[list[tuple[int, int, int]]]) -> list[list[TargetLine]]:
    """Give lines of a history in which no month comes before its own invoice, or below zero."""
    sums: dict[tuple[int, int], int] = {}
    invoices = []
    for number, rows in enumerate(history):
        lines = []
        for n, (revision, of, cents) in enumerate(rows):
            of = min(of, number)
            before = sums.get((revision, of), 0)
            cents = max(cents, -before)
            sums[revision, of] = before + cents
            lines.append(line(n, cents, revision, of))
        invoices.append(lines)
    return invoices


@given(
    history=histories,
    least=st.one_of(st.none(), st.tuples(st.integers(1, 200), months)),
    most=st.one_of(st.none(), st.tuples(st.integers(0, 200), months)),
    least_of_price=st.one_of(st.none(), st.tuples(st.integers(1, 90), months)),
    most_of_price=st.one_of(st.none(), st.tuples(st.integers(0, 90), months)),
)
def test_periods_come_to_what_adding_them_up_says(
    history: list[list[tuple[int, int, int]]],
    least: tuple[int, int] | None,
    most: tuple[int, int] | None,
    least_of_price: tuple[int, int] | None,
    most_of_price: tuple[int, int] | None,
) -> None:
    given_rules = [
        (COMMITMENT, None, least), (CAP, None, most), (COMMITMENT, 1, least_of_price), (CAP, 1, most_of_price)
    ]  # fmt: skip
    rules = [rule(kind, terms[0], terms[1], price_id) for kind, price_id, terms in given_rules if terms]
    earlier: list[Entry] = []
    for number, charges in enumerate(possible(history)):
        until = month(number + 1)
        found = bill(rules, charges, earlier, until)
        assert all(recompute(row.provenance) == row.gross for row in found if row.provenance)
        assert len({row.reference for row in found}) == len(found)
        earlier.extend(entry for entry in map(entry_of, found) if entry)
        # A calculation that is done again finds nothing left to do.
        assert bill(rules, [], earlier, until) == []
        check(rules, earlier, number + 1)


def check(rules: list[SpendRule], entries: list[Entry], done: int) -> None:
    """Hold every period that is over to its rules, in the order in which they look at amounts."""
    for known in rules:
        step = known.cadence.months
        for first in range(0, done, step):
            if first + step > done:
                continue
            window = Period(month(first), month(first + step))
            own = [
                entry for entry in entries
                if window.contains(entry.at) and known.price_id in (None, entry.price_id)
            ]  # fmt: skip

            def total(*roles: str, own: list[Entry] = own) -> Decimal:
                return sum((entry.amount for entry in own if entry.role in roles), Decimal(0))

            if known.kind == CAP:
                base = ("charge",) if known.price_id else ("charge", "cap-price")
                cut = "cap-price" if known.price_id else "cap-plan"
                assert total(*base, cut) == min(total(*base), known.amount)
            else:
                base = ("charge", "cap-price", "cap-plan") + (() if known.price_id else ("true-up-price",))
                own_role = "true-up-price" if known.price_id else "true-up-plan"
                assert total(*base, own_role) == max(total(*base), known.amount)


@given(history=histories, most=st.integers(0, 200), seed=st.randoms())
def test_the_order_of_the_charges_changes_no_total(
    history: list[list[tuple[int, int, int]]], most: int, seed: object
) -> None:
    charges = possible(history)[-1]
    shuffled = list(charges)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    rules = [rule(CAP, most, 1, None), rule(COMMITMENT, 100, 1, None)]
    one, other = (bill(rules, rows, [], month(MONTHS)) for rows in (charges, shuffled))
    assert sum(row.gross for row in one) == sum(row.gross for row in other)
    # What is cut is in the tax rates of what it is cut of.
    for row in one:
        if row.kind == "discount":
            assert row.tax_rate == row.price_revision_id


def test_a_rule_lasts_to_the_end_of_its_period_and_the_next_takes_over() -> None:
    year, quarter = Cadence(months=12), Cadence(months=3)
    first = SpendRule(COMMITMENT, None, Decimal(1), year)
    then = SpendRule(COMMITMENT, None, Decimal(2), quarter)
    found = timeline(
        lambda at: None if at < month(2) else first if at < month(5) else then,
        [month(n) for n in range(20)],
        GRID,
        starts_at=START,
        until=month(16),
    )
    assert [(span.rule.amount, span.service, span.whole) for span in found.spans] == [
        (1, Period(month(2), month(12)), Period(START, month(12))),
        (2, Period(month(12), month(15)), Period(month(12), month(15))),
        (2, Period(month(15), month(18)), Period(month(15), month(18))),
    ]
    assert [found.find(at) for at in (START, month(2), month(11), month(12), month(18))] == [None, 0, 0, 1, None]


def test_what_lies_beyond_the_end_or_before_the_first_bill_counts_in_the_next_period_there_is() -> None:
    grid = Grid(START, START, month(4), "UTC", is_own=True)
    known = rule(CAP, 5, 3, None)
    found = timeline(lambda at: known, [], grid, starts_at=month(1), until=month(9))
    assert [span.service for span in found.spans] == [Period(month(1), month(3)), Period(month(3), month(4))]
    assert [found.find(at) for at in (START, month(4), month(7))] == [0, 1, 1]


def test_an_agreed_end_cuts_a_period() -> None:
    known = SpendRule(CAP, None, Decimal(5), Cadence(months=12), {}, month(4))
    found = timeline(lambda at: known if at < month(4) else None, [START], GRID, starts_at=START, until=month(9))
    assert found.spans == [Span(known, Period(START, month(4)), Period(START, month(12)))]


def test_a_cap_that_is_lowered_cuts_what_is_still_to_be_billed() -> None:
    earlier = [Entry("charge", 1, 11, START, Decimal(100))]
    found = bill([rule(CAP, 30, 3, None)], [line(0, 1000, 11, 1)], earlier, month(2))
    assert [row.gross for row in found] == [10, -10]
    assert recompute(found[1].provenance) == -10
    assert bill([rule(CAP, 30, 3, None)], [], earlier, month(3)) == []


def test_a_cent_is_cut_of_one_line_and_comes_back_to_it() -> None:
    known = [rule(CAP, 20, 1, None)]
    first = bill(known, [line(0, 1000, 11, 0), line(1, 1001, 12, 0)], [], month(1))
    assert [(row.price_revision_id, row.gross) for row in first if row.kind == "discount"] == [(12, Decimal("-0.01"))]
    earlier = [entry for entry in map(entry_of, first) if entry]
    then = bill(known, [line(0, -500, 11, 0)], earlier, month(2))
    assert [(row.kind, row.tax_rate, row.gross) for row in then] == [
        ("metered", 11, -5), ("discount", 12, Decimal("0.01")),
    ]  # fmt: skip
    # Two cents of two lines come back one by one, to the cent.
    cuts = [Entry("cap-plan", PRICES[key], key, START, Decimal("-0.01")) for key in (11, 12)]
    charged = [Entry("charge", PRICES[key], key, START, Decimal("10.01")) for key in (11, 12)]
    then = bill(known, [line(0, -1, 11, 0)], [*cuts, *charged], month(2))
    assert [(row.kind, row.tax_rate, row.gross) for row in then] == [
        ("metered", 11, Decimal("-0.01")), ("discount", 11, Decimal("0.01")),
    ]  # fmt: skip


def test_a_short_period_commits_to_its_part() -> None:
    known = SpendRule(COMMITMENT, None, Decimal(100), Cadence(months=3))
    span = Span(known, Period(START, month(1)), Period(START, month(3)))
    settling = Settling(
        line=Timeline([span], START, month(1)),
        share=lambda span: Fraction(31, 90),
        earlier=[],
        entry_of=entry_of,
        is_due=lambda span: True,
        label=lambda key: Label("plan", "Minimum commitment", Decimal(0)),
        currency="USD",
    )
    (row,) = with_true_ups([], settling, price_id=None)
    assert (row.gross, recompute(row.provenance)) == (Decimal("34.44"), Decimal("34.44"))
    assert [step["op"] for step in row.provenance["steps"]] == ["replace", "prorate", "round", "subtract"]
    enough = [line(0, 5000, 11, 0)]
    assert with_true_ups(enough, settling, price_id=None) == enough


def test_a_true_up_given_back_never_takes_an_invoice_below_zero() -> None:
    charge = line(0, 1000, 11, 0)
    given_back = TargetLine(
        kind="commitment", reference="commitment:plan:x", display_name="True-up", payment_term="in_arrears",
        period_start=START, period_end=month(1), quantity=Decimal(1), unit_price=Decimal(-5), gross=Decimal(-5),
        tax_rate=Decimal(0), provenance={"steps": [], "result": {"amount": "-5"}},
    )  # fmt: skip
    found = limit_rebates([charge, given_back])
    assert [row.gross for row in found] == [10, -5]
    rebate = TargetLine(**{**fields(given_back), "kind": "metered", "gross": Decimal(-3)})
    assert [row.gross for row in limit_rebates([rebate, given_back])] == [0, 0]
    found = limit_rebates([charge, TargetLine(**{**fields(given_back), "gross": Decimal(-15)})])
    assert [row.gross for row in found] == [10, -10]
    assert Timeline([], START, None).find(START) is None
    assert find_role("manual", "manual:x", has_price=False) is None
    assert find_role("discount", "discount:cpa_x:price:y", has_price=True) is None


def fields(row: TargetLine) -> dict[str, object]:
    return {name: getattr(row, name) for name in TargetLine.__slots__}
