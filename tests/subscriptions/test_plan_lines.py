"""Which line a price is, against looking at every change."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from apps.subscriptions.domain.plan_lines import PlanLines

START = datetime(2026, 1, 1, tzinfo=UTC)
changes = st.lists(
    st.tuples(st.integers(0, 5), st.dictionaries(st.integers(1, 3), st.sampled_from(["a", "b"]))),
    min_size=1,
    max_size=6,
    unique_by=lambda change: change[0],
).map(lambda found: sorted(found, key=lambda change: change[0]))
Changes = list[tuple[int, dict[int, str]]]


@given(arrears=changes, advance=changes, day=st.integers(-1, 6), price=st.integers(1, 3))
def test_the_latest_change_before_a_charge_decides(arrears: Changes, advance: Changes, day: int, price: int) -> None:
    since = [tuple((START + timedelta(days=at), keys) for at, keys in known) for known in (arrears, advance)]
    lines, due_at = PlanLines(*since), START + timedelta(days=day)
    # A charge in arrears ends with its period, and goes by the terms of that one; in advance it begins the next.
    before, since_then = arrears[0][1], advance[0][1]
    for at, keys in arrears:
        before = keys if at < day else before
    for at, keys in advance:
        since_then = keys if at <= day else since_then
    assert lines.line_of(price, due_at, is_in_advance=False) == before.get(price, "")
    assert lines.line_of(price, due_at, is_in_advance=True) == since_then.get(price, "")


def test_without_changes_there_is_one_answer_or_none() -> None:
    assert PlanLines.always({1: "a"}).line_of(1, START, is_in_advance=True) == "a"
    assert PlanLines.always({1: "a"}).line_of(2, START, is_in_advance=False) == ""
    assert PlanLines().line_of(1, START, is_in_advance=False) == ""
