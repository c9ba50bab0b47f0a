"""Terms: for how many periods a subscription is agreed."""

from dataclasses import replace
from datetime import datetime

from apps.kernel.time import Cadence, boundary, index_at
from apps.subscriptions.domain.grid import Grid
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.subscriptions import cadence_of, grid_of


def first_term_end(grid: Grid, cadence: Cadence, periods: int) -> datetime:
    """Give the end of a subscription's first term: so many whole periods from its first paid one on.

    A trial, and a first period that is cut at its start, come on top.
    """
    starts_at = max(grid.starts_at, grid.trial_ends_at or grid.starts_at)
    first = replace(grid, ends_at=None).slot_at(cadence, starts_at)
    assert first is not None, "a service without an end has a period at every instant"
    index = index_at(grid.anchor, cadence, starts_at, grid.tz) + (1 if first.is_cut_at_start else 0)
    return boundary(grid.anchor, cadence, index + periods, grid.tz)


def following_term_end(subscription: Subscription, at: datetime) -> datetime:
    """Give the end of the term that begins where the running one ends, at a boundary."""
    assert subscription.term_periods is not None
    grid, cadence = grid_of(subscription), cadence_of(subscription)
    index = index_at(grid.anchor, cadence, at, grid.tz)
    return boundary(grid.anchor, cadence, index + subscription.term_periods, grid.tz)
