"""Work that time makes due, in one order, on the wall clock and on test clocks alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.utils.module_loading import import_string


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of due work.

    Attributes:
        name: what the step does, for logs.
        next_due: `(clock_id, horizon) -> instant` of the earliest work due at or before the horizon, else None;
            asked in simulated time. `clock_id` is a test clock's key, or None for everything on the wall clock.
        run: `(clock_id, as_of) -> count` does what is due at `as_of`, or some of it, and says how many rows it moved.
    """

    name: str
    next_due: Callable[[int | None, datetime], datetime | None]
    run: Callable[[int | None, datetime], int]


class StuckError(RuntimeError):
    """Work stays due although every step ran."""


def configured_steps() -> Sequence[Step]:
    """Give the ordered steps that `settings.LIFECYCLE_STEPS` names."""
    steps: Sequence[Step] = import_string(settings.LIFECYCLE_STEPS)
    return steps


def run_due(*, clock_id: int | None, until: datetime, in_simulated_time: bool) -> int:
    """Do everything due up to `until`, earliest first, every app's part in the configured order.

    Args:
        clock_id: the test clock, or None for the wall clock.
        until: end of the span, inclusive.
        in_simulated_time: True lets each piece of work see its own due moment as the present, as a test clock
            must; False lets it see `until`, because on the wall clock late work is done late.

    Returns:
        How many rows were moved.

    Raises:
        StuckError: a step leaves its own work due; going on would never end.
    """
    steps = configured_steps()
    total = 0
    while True:
        # Late work is not looked for first: a step that finds nothing due has looked.
        as_of = _earliest(steps, clock_id, until) if in_simulated_time else until
        if as_of is None:
            return total
        moved = sum(step.run(clock_id, as_of) for step in steps)
        if moved == 0:
            if in_simulated_time:
                raise StuckError(f"Work due at {as_of.isoformat()} did not get done.")
            return total  # nothing is due, or another worker holds it
        total += moved


def _earliest(steps: Sequence[Step], clock_id: int | None, until: datetime) -> datetime | None:
    """Give the moment of the earliest work that is due."""
    return min((due for step in steps if (due := step.next_due(clock_id, until)) is not None), default=None)
