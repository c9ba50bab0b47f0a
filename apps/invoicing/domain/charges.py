"""Which charges fall due when: pure calendar work, before any amount is known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache

import msgspec

from apps.kernel.time import Cadence, Period, format_instant
from apps.subscriptions.domain.grid import Grid, Slot


@dataclass(frozen=True, slots=True)
class ChargeTerms:
    """What of a price decides when it is charged.

    Attributes:
        starts_at: of a price that is billed for a time only: its begin; None: as long as the service.
        ends_at: its end, exclusive.
        bills_at: when such a price falls due that is charged once.
        is_billed_in_trial: whether it costs anything while the service is tried, as usage may.
        own_key: key of a price that only one subscription has.
    """

    revision_id: int
    price_id: str
    is_in_advance: bool
    cadence: Cadence
    is_obligation: bool
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    bills_at: datetime | None = None
    is_billed_in_trial: bool = False
    own_key: str = ""


class Charge(msgspec.Struct, frozen=True):
    """One price for one service period, due at one instant.

    Attributes:
        service: what is billed, half-open.
        whole: the full period it is a part of; the part decides the proration.
        due_at: start of the service in advance, its end in arrears.
        own_key: see `ChargeTerms`.
    """

    revision_id: int
    price_id: str
    service: Period
    whole: Period
    due_at: datetime
    own_key: str = ""

    @property
    def reference(self) -> str:
        """The same for the same charge at every calculation."""
        return f"{self.price_id}:{format_instant(self.service.start)}"


def charges_due(
    terms: Sequence[ChargeTerms], grid: Grid, *, after: datetime, until: datetime, plan_cadence: Cadence
) -> list[Charge]:
    """Give every charge due in `(after, until]`, in the order of the prices, then of time."""
    return [
        charge
        for term in terms
        for charge in _charges_due(term, grid, after=after, until=until, plan_cadence=plan_cadence)
    ]


def _charges_due(
    term: ChargeTerms, grid: Grid, *, after: datetime, until: datetime, plan_cadence: Cadence
) -> list[Charge]:
    spans = _spans_due(replace(term, revision_id=0, price_id="", own_key=""), grid, after, until, plan_cadence)
    return [
        Charge(term.revision_id, term.price_id, service, whole, due_at, term.own_key)
        for service, whole, due_at in spans
    ]


# Most prices of a plan share their calendar, and at a boundary most subscriptions do, so nearly all ask the same.
@lru_cache(maxsize=4096)
def _spans_due(
    term: ChargeTerms, grid: Grid, after: datetime, until: datetime, plan_cadence: Cadence
) -> list[tuple[Period, Period, datetime]]:
    """Give service, full period and due instant of each charge of a price, whichever it is."""
    if term.cadence.is_once:
        charge = _one_time(term, grid, plan_cadence)
        candidates = [charge] if charge is not None else []
    else:
        window = Period(after, max(until, after + timedelta(microseconds=1)))
        slots = grid.slots(term.cadence, touching=window)
        candidates = [charge for charge in (_charge(term, slot) for slot in slots) if charge is not None]
        if term.is_obligation:
            # Owed whole or not at all: a short first period is left out.
            candidates = [c for c in candidates if c.service.start == c.whole.start]
    if not term.is_billed_in_trial:
        candidates = [c for c in candidates if not grid.is_tried(c.service.start)]
    return [(c.service, c.whole, c.due_at) for c in candidates if after < c.due_at <= until]


def charges_running(terms: Sequence[ChargeTerms], grid: Grid, *, after: datetime, at: datetime) -> list[Charge]:
    """Give the charges in arrears whose service has begun at an instant, without those that were due by `after`."""
    window = Period(after, max(at, after) + timedelta(microseconds=1))
    return [
        charge
        for term in terms
        if not term.cadence.is_once
        for charge in (_charge(term, slot) for slot in grid.slots(term.cadence, touching=window))
        if charge is not None
        and charge.due_at > after
        and charge.service.start <= at
        and (term.is_billed_in_trial or not grid.is_tried(charge.service.start))
    ]


def _charge(term: ChargeTerms, slot: Slot) -> Charge | None:
    start = slot.service.start if term.starts_at is None else max(slot.service.start, term.starts_at)
    end = slot.service.end if term.ends_at is None else min(slot.service.end, term.ends_at)
    if start >= end:
        return None
    return Charge(
        revision_id=term.revision_id,
        price_id=term.price_id,
        service=Period(start, end),
        whole=slot.whole,
        due_at=start if term.is_in_advance else end,
        own_key=term.own_key,
    )


def _one_time(term: ChargeTerms, grid: Grid, plan_cadence: Cadence) -> Charge | None:
    """Give the single charge of a one-time price: over the first period, due at the start whatever its term.

    With a trial it is the first period after it, so that who leaves before owes nothing. One that says when it is
    billed is due then, over the rest of that period.
    """
    begins_at = max(grid.starts_at, grid.trial_ends_at or grid.starts_at)
    slot = grid.slot_at(plan_cadence, term.bills_at or begins_at)
    if slot is None:
        return None
    due_at = term.bills_at or slot.service.start
    return Charge(
        revision_id=term.revision_id,
        price_id=term.price_id,
        service=Period(due_at, slot.service.end),
        whole=slot.whole,
        due_at=due_at,
        own_key=term.own_key,
    )
