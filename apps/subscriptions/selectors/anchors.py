from datetime import datetime

from apps.catalog.models import Plan
from apps.kernel.time import Cadence
from apps.subscriptions.domain.anchors import calendar_anchor


def find_anchor(*, plan: Plan, tz: str, day: int | None) -> datetime | None:
    """Give the instant that periods of a new subscription count from; None where each counts from its own start.

    Args:
        plan: has an anchor, a day of the calendar, or neither.
        tz: the customer's time zone, whose midnight a day begins at.
        day: one that was said about the subscription; goes before the plan.
    """
    if day is None and plan.billing_anchor is not None:
        return plan.billing_anchor
    day = day if day is not None else plan.billing_day
    if day is None:
        return None
    return calendar_anchor(cadence=Cadence.parse(plan.billing_cadence), day=day, month=plan.billing_month, tz=tz)
