"""Which charges fall due when: pure calendar work, before any amount is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from apps.kernel.time import Cadence, Period, format_instant
from apps.subscriptions.domain.grid import Grid, Slot


@dataclass(frozen=True, slots=True)
class ChargeTerms:
    """What of a price decides when it is charged.

    Attributes:
        is_billed_in_trial: whether it costs anything while the service is tried, as usage may.
    """

    revision_id: int
    price_id: str
    is_in_advance: bool
    cadence: Cadence
    is_obligation: bool
    is_billed_in_trial: bool = False


@dataclass(frozen=True, slots=True)
class Charge:
    """One price for one service period, due at one instant.

    Attributes:
        service: what is billed, half-open.
        whole: the full period it is a part of; the part decides the proration.
        due_at: start of the service in advance, its end in arrears.
    """

    revision_id: int
    price_id: str
    service: Period
    whole: Period
    due_at: datetime

    @property
    def reference(self) -> str:
        """The same for the same charge at every calculation."""
        return f"{self.price_id}:{format_instant(self.service.start)}"


def charges_due(
    terms: Sequence[ChargeTerms], grid: Grid, *, after: datetime, until: datetime, plan_cadence: Cadence
) -> list[Charge]:
    """Give every charge due in `(after, until]`, in the order of the prices, then of time."""
    found: list[Charge] = []
    for term in terms:
        if term.cadence.is_once:
            charge = _one_time(term, grid, plan_cadence)
            candidates = [charge] if charge is not None else []
        else:
            window = Period(after, max(until, after + timedelta(microseconds=1)))
            candidates = [_charge(term, slot) for slot in grid.slots(term.cadence, touching=window)]
            if term.is_obligation:
                # Owed whole or not at all: a stub at the start is left out.
                candidates = [c for c in candidates if c.service.start == c.whole.start]
        if not term.is_billed_in_trial:
            candidates = [c for c in candidates if not grid.is_tried(c.service.start)]
        found.extend(charge for charge in candidates if after < charge.due_at <= until)
    return found


def _charge(term: ChargeTerms, slot: Slot) -> Charge:
    return Charge(
        revision_id=term.revision_id,
        price_id=term.price_id,
        service=slot.service,
        whole=slot.whole,
        due_at=slot.service.start if term.is_in_advance else slot.service.end,
    )


def _one_time(term: ChargeTerms, grid: Grid, plan_cadence: Cadence) -> Charge | None:
    """Give the single charge of a one-time price: over the first period, due at the start whatever its term.

    With a trial it is the first period after it, so that who leaves before owes nothing.
    """
    first = grid.slot_at(plan_cadence, max(grid.starts_at, grid.trial_ends_at or grid.starts_at))
    if first is None:
        return None
    return Charge(
        revision_id=term.revision_id,
        price_id=term.price_id,
        service=first.service,
        whole=first.whole,
        due_at=first.service.start,
    )
