"""When rights reset, from what is stored of them."""

from collections.abc import Iterable
from datetime import datetime

from apps.entitlements.domain.grants import Calendar
from apps.entitlements.domain.resets import ManualReset, Schedule
from apps.entitlements.models import Entitlement, UsageReset
from apps.kernel.time import Cadence


def schedule_of(entitlement: Entitlement, by_hand: Iterable[UsageReset] = ()) -> Schedule:
    """Give when a right resets.

    Args:
        by_hand: all resets that somebody made, in order of time.
    """
    calendar = None
    if entitlement.reset_cadence:
        assert entitlement.reset_anchor is not None
        cadence = Cadence.parse(entitlement.reset_cadence)
        calendar = Calendar(entitlement.reset_anchor, cadence, entitlement.timezone)
    made = tuple(ManualReset(row.effective_at, row.preserves_overage, row.retains_anchor) for row in by_hand)
    return Schedule(entitlement.active_from, calendar, entitlement.preserves_overage, made, _billing_of(entitlement))


def _billing_of(entitlement: Entitlement) -> Calendar | None:
    if not entitlement.billing_cadence:
        return None
    assert entitlement.subscription is not None
    subscription = entitlement.subscription
    return Calendar(subscription.billing_anchor, Cadence.parse(entitlement.billing_cadence), subscription.timezone)


def period_of(entitlement: Entitlement, schedule: Schedule, at: datetime) -> tuple[datetime, datetime | None]:
    """Give the usage period that holds a moment; its end is None where nothing resets.

    Before the right begins it is the time until then.
    """
    if at < entitlement.active_from:
        subscription = entitlement.subscription
        start = entitlement.active_from if subscription is None else subscription.started_at
        return min(start, entitlement.active_from), entitlement.active_from
    start, end = schedule.period(at)
    return start, entitlement.active_to if schedule.calendar is None else end
