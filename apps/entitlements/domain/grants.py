"""Units given to a customer: when they are there, in which order they are used, what a reset leaves of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from apps.kernel.time import Cadence, boundary, index_at

ZERO = Decimal(0)
FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Instants that recur, counted from an anchor in the local calendar of a time zone."""

    anchor: datetime
    cadence: Cadence
    tz: str = "UTC"

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Give the instants after one moment and not later than another."""
        if after >= until:
            return
        n = index_at(self.anchor, self.cadence, after, self.tz) + 1
        while (instant := boundary(self.anchor, self.cadence, n, self.tz)) <= until:
            yield instant
            n += 1

    def around(self, instant: datetime) -> tuple[datetime, datetime]:
        """Give the half-open period that holds an instant."""
        n = index_at(self.anchor, self.cadence, instant, self.tz)
        return tuple(boundary(self.anchor, self.cadence, m, self.tz) for m in (n, n + 1))  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Grant:
    """Units that usage may burn while they are there. A grant never changes; it can only be voided.

    Attributes:
        amount: what it holds when it begins, more than 0.
        number: of those made at the same moment, as on a clock that stands, the lower was made first.
        opening: what it holds when it begins, where that is not its amount.
        priority: the lower, the sooner it is burned.
        effective_at: from when it is there, included.
        expires_at: until when, excluded; None for ever.
        voided_at: when somebody took back what was left.
        recurrence: when it is filled up to its amount again; what was left then is lost.
        rollover_min: at least what a reset leaves it with.
        rollover_max: at most what a reset leaves it with; None without a bound.
        is_allowance: whether each reset adds its amount to what the reset left.
        is_paid: whether it was bought; it only decides between grants that are alike otherwise.
    """

    id: str
    amount: Decimal
    priority: int
    effective_at: datetime
    created_at: datetime | None = None
    expires_at: datetime | None = None
    voided_at: datetime | None = None
    recurrence: Calendar | None = None
    rollover_min: Decimal = ZERO
    rollover_max: Decimal | None = ZERO
    is_allowance: bool = False
    is_paid: bool = False
    number: int = 0
    opening: Decimal | None = None

    @property
    def begins_with(self) -> Decimal:
        return self.amount if self.opening is None else self.opening

    @property
    def ends_at(self) -> datetime | None:
        """When it is gone: the first of expiry and void."""
        ends = [end for end in (self.expires_at, self.voided_at) if end is not None]
        return min(ends) if ends else None

    def is_active_at(self, instant: datetime) -> bool:
        end = self.ends_at
        return self.effective_at <= instant and (end is None or instant < end)

    def rolled_over(self, remaining: Decimal) -> Decimal:
        """Give what a reset leaves of a rest."""
        kept = max(self.rollover_min, remaining)
        return kept if self.rollover_max is None else min(self.rollover_max, kept)


def burn_order(grants: Iterable[Grant]) -> list[Grant]:
    """Sort grants as they are burned: priority, earliest expiry, creation, given before bought, id.

    The order is total, so that it does not matter in which order grants are read.
    """
    return sorted(
        grants,
        key=lambda grant: (
            grant.priority,
            grant.expires_at or FOREVER,
            grant.created_at or FOREVER,
            grant.number,
            grant.is_paid,
            grant.id,
        ),
    )
