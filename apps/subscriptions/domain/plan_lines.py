"""Which line of a plan a price is: versions of the plan may exchange the prices of two keys."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

Since = tuple[datetime, Mapping[int, str]]


@dataclass(frozen=True, slots=True)
class PlanLines:
    """The lines that prices are for one subscription, by when a charge of theirs falls due.

    Attributes:
        in_arrears: instants in order, each with the keys of lines by the price (its key), for charges that fall due
            after it. The first holds before as well.
        in_advance: the same for charges that fall due at the instant or after it.
    """

    in_arrears: tuple[Since, ...] = ()
    in_advance: tuple[Since, ...] = ()

    @classmethod
    def always(cls, keys: Mapping[int, str]) -> "PlanLines":
        """Give lines that are the same at any time."""
        since = ((datetime.min.replace(tzinfo=UTC), keys),)
        return cls(since, since)

    def line_of(self, price_id: int, due_at: datetime, *, is_in_advance: bool) -> str:
        """Give the key of the line that a price is where a charge falls due; empty: it is none."""
        known = self.in_advance if is_in_advance else self.in_arrears
        passed = (bisect_right if is_in_advance else bisect_left)(known, due_at, key=lambda since: since[0])
        return known[max(passed - 1, 0)][1].get(price_id, "") if known else ""
