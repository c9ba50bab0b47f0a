"""Storing a changed price timeline (in the caller's transaction)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from apps.kernel.ids import new_id
from apps.outbox.services import publish
from apps.subscriptions.domain.lines import Shown, copy_of
from apps.subscriptions.domain.timeline import Interval, Step, Timeline
from apps.subscriptions.events import SubscriptionUpdated
from apps.subscriptions.models import (
    ChangeReason,
    Subscription,
    SubscriptionInterval,
    SubscriptionIntervalChange,
    SubscriptionQuantity,
)


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why a timeline changes, and who says so."""

    by: str = ""
    reason: str = ChangeReason.UNSPECIFIED
    description: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    is_undoable: bool = False


def store_timeline(
    *,
    subscription: Subscription,
    before: Timeline,
    after: Timeline,
    shown_before: Sequence[Shown],
    shown_after: Sequence[Shown],
    occasion: Occasion,
    as_of: datetime,
) -> SubscriptionIntervalChange:
    """Write a changed timeline of a locked subscription, with the record of the change.

    Args:
        before: as it is stored.
        after: as it shall be.
        shown_before: its intervals as they are shown, for the record; `shown_after` likewise.
    """
    change = SubscriptionIntervalChange.objects.create(
        organization_id=subscription.organization_id,
        subscription=subscription,
        change_reason=occasion.reason,
        description=occasion.description,
        metadata=occasion.metadata,
        made_by=occasion.by,
        made_at=as_of,
        is_undoable=occasion.is_undoable,
        intervals=_entries(shown_before, shown_after),
    )
    _store_intervals(subscription, before, after, change)
    for key in sorted({*before.steps, *after.steps}):
        _store_steps(subscription, key, None, before.steps.get(key, ()), after.steps.get(key, ()), change)
    publish(
        SubscriptionUpdated(subscription_id=subscription.public_id, status=subscription.status),
        organization_id=subscription.organization_id,
        object_id=subscription.public_id,
        at=as_of,
    )
    return change


def _store_intervals(
    subscription: Subscription, before: Timeline, after: Timeline, change: SubscriptionIntervalChange
) -> None:
    old = {interval.public_id: interval for interval in before.intervals}
    new = {interval.public_id: interval for interval in after.intervals}
    rows = {row.public_id: row for row in SubscriptionInterval.objects.filter(subscription=subscription)}
    for public_id in old.keys() - new.keys():
        rows[public_id].delete()
    # What gives up time comes before what takes it.
    changed = [interval for key, interval in new.items() if key in old and interval != old[key]]
    for interval in sorted(changed, key=lambda one: _takes_time(old[one.public_id], one)):
        row = rows[interval.public_id]
        row.unit_price, row.span = interval.unit_price, DateTimeTZRange(interval.start, interval.end)
        row.save()
        _store_steps(subscription, row.price_key, row, old[row.public_id].steps, interval.steps, change)
    # What has no id yet is given one.
    for interval in _in_order(one for one in after.intervals if one.public_id not in old):
        row = SubscriptionInterval.objects.create(
            public_id=interval.public_id or new_id(SubscriptionInterval.PREFIX),
            organization_id=subscription.organization_id,
            subscription=subscription,
            plan_version_id=subscription.plan_version_id,
            price_key=interval.key,
            kind=interval.kind,
            price_id=interval.price_id,
            price_revision_id=interval.revision_id,
            unit_price=interval.unit_price,
            span=DateTimeTZRange(interval.start, interval.end),
            bills_at=interval.bills_at,
        )
        _store_steps(subscription, row.price_key, row, (), interval.steps, change)


def _takes_time(old: Interval, new: Interval) -> bool:
    return new.start < old.start or new.end is None or (old.end is not None and new.end > old.end)


def _in_order(intervals: Iterable[Interval]) -> list[Interval]:
    return sorted(intervals, key=lambda interval: (interval.key, interval.start))


def _store_steps(
    subscription: Subscription,
    key: str,
    interval: SubscriptionInterval | None,
    before: Sequence[Step],
    after: Sequence[Step],
    change: SubscriptionIntervalChange,
) -> None:
    gone, new = set(before) - set(after), set(after) - set(before)
    stored = SubscriptionQuantity.objects.filter(subscription=subscription, price_key=key, interval=interval)
    if gone:
        stored.filter(effective_at__in=[step.at for step in gone]).delete()
    SubscriptionQuantity.objects.bulk_create(
        SubscriptionQuantity(
            organization_id=subscription.organization_id,
            subscription=subscription,
            interval=interval,
            change=change,
            price_key=key,
            effective_at=step.at,
            quantity=step.quantity,
        )
        for step in sorted(new, key=lambda step: step.at)
    )


def _entries(before: Sequence[Shown], after: Sequence[Shown]) -> list[dict[str, Any]]:
    """Give each interval that differs, as it was and as it is."""
    old = {shown.public_id: copy_of(shown) for shown in before}
    new = {shown.public_id: copy_of(shown) for shown in after}
    return [
        {"intervalId": key, "before": old.get(key), "after": new.get(key)}
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]
