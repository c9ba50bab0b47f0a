"""What is due is done in order: in its own time on a test clock, at once on the wall clock."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.kernel.lifecycle import Step, StuckError, run_due

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
END = START + 9 * DAY


class Work:
    """A step with moments at which something is due, and what it did when."""

    def __init__(self, *days: int, stays: bool = False, at_most: int = 100) -> None:
        self.due, self.stays, self.at_most = [START + day * DAY for day in days], stays, at_most
        self.asked, self.done = 0, []  # type: ignore[var-annotated]

    def next_due(self, clock_id: int | None, horizon: datetime) -> datetime | None:
        self.asked += 1
        return min((moment for moment in self.due if moment <= horizon), default=None)

    def run(self, clock_id: int | None, as_of: datetime) -> int:
        found = [] if self.stays else [moment for moment in self.due if moment <= as_of][: self.at_most]
        self.due = [moment for moment in self.due if moment not in found]
        self.done += [(moment, as_of) for moment in found]
        return len(found)


@pytest.fixture
def steps(settings: Any) -> list[Work]:
    settings.LIFECYCLE_STEPS = f"{__name__}.STEPS"
    WORK.clear()
    return WORK


WORK: list[Work] = []


class _Steps:
    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter([Step(str(number), work.next_due, work.run) for number, work in enumerate(WORK)])


STEPS = _Steps()


def test_in_simulated_time_each_piece_sees_its_own_moment(steps: list[Work]) -> None:
    steps += [Work(3, 1), Work(2)]
    assert run_due(clock_id=1, until=END, in_simulated_time=True) == 3
    assert steps[0].done == [(START + DAY, START + DAY), (START + 3 * DAY, START + 3 * DAY)]
    assert steps[1].done == [(START + 2 * DAY, START + 2 * DAY)]


def test_on_the_wall_clock_late_work_is_done_late_and_not_looked_for_first(steps: list[Work]) -> None:
    steps += [Work(3, 1, 20), Work(2, 4, at_most=1)]
    assert run_due(clock_id=None, until=END, in_simulated_time=False) == 4
    assert {as_of for work in steps for _, as_of in work.done} == {END}
    assert [work.asked for work in steps] == [0, 0]
    assert steps[0].due == [START + 20 * DAY]


def test_work_that_stays_due_ends_a_simulated_run_with_an_error(steps: list[Work]) -> None:
    steps += [Work(1), Work(2, stays=True)]
    with pytest.raises(StuckError):
        run_due(clock_id=1, until=END, in_simulated_time=True)
    assert steps[0].done
    steps[0].due = [START]
    assert run_due(clock_id=None, until=END, in_simulated_time=False) == 1, "elsewhere another worker has it"
