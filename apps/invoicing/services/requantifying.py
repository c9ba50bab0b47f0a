"""Another quantity of what a subscription pays for: now, with the period, or on a date; undone before it comes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction

from apps.invoicing.models import Invoice
from apps.invoicing.services.changing import NOW
from apps.invoicing.services.pausing import locked_at_present
from apps.invoicing.services.prepaid import reconcile_prepaid
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.time import format_instant
from apps.subscriptions.domain.editing import with_quantity
from apps.subscriptions.domain.lines import Line
from apps.subscriptions.domain.timeline import Timeline
from apps.subscriptions.models import Subscription, SubscriptionIntervalChange, SubscriptionQuantity
from apps.subscriptions.selectors.subscriptions import endless_grid_of, known_end
from apps.subscriptions.selectors.timeline import lines_of, shown_of, timeline_of
from apps.subscriptions.services.pauses import require_active
from apps.subscriptions.services.quantities import ChosenItem
from apps.subscriptions.services.timeline import Occasion, store_timeline


@dataclass(frozen=True, slots=True)
class QuantityChange:
    """What a change of quantities did.

    Attributes:
        effective_at: from when it holds.
        record: of the change; None when the quantities are as asked for already.
    """

    effective_at: datetime
    record: SubscriptionIntervalChange | None


@transaction.atomic
def change_quantities(
    *,
    subscription_id: int,
    items: Sequence[ChosenItem],
    as_of: datetime,
    by: str,
    timing: str = NOW,
    at: datetime | None = None,
) -> QuantityChange:
    """Let a subscription have another quantity of what it pays for; usage is no such quantity.

    A fee in arrears is split at the change. What was prepaid is settled on the open invoice at once: more is charged
    for the rest of the period, less is credited, never above what was billed. Where the plan never prorates, the next
    period is the first with it.

    Args:
        by: who asked for it.
        timing: `now` or `period_end`; `at` goes before.
        at: a date, not before the present.

    Raises:
        ConflictError: the subscription is not active.
        InvalidError: an item has no quantity that could change then, or the date does not fit.
    """
    subscription = locked_at_present(subscription_id, as_of)
    require_active(subscription)
    effective_at = _effective_at(subscription, as_of, timing, at)
    before = timeline_of(subscription)
    lines = lines_of(subscription, before)
    chosen = _chosen(subscription, before, lines, items, effective_at)

    def changed(timeline: Timeline) -> Timeline:
        for line, item in zip(chosen, items, strict=True):
            timeline = with_quantity(timeline, line, effective_at, item.quantity)
        return timeline

    made = _store(subscription, before, lines, changed, Occasion(by=by, is_undoable=True), as_of)
    return QuantityChange(effective_at, made)


@transaction.atomic
def undo_quantity_change(*, subscription_id: int, as_of: datetime, by: str) -> Subscription:
    """Take back the changes of quantities that lie ahead: bills are as if they had not been asked for.

    Raises:
        ConflictError: none lies ahead, or the subscription is not active.
    """
    subscription = locked_at_present(subscription_id, as_of)
    require_active(subscription)
    ahead = SubscriptionQuantity.objects.filter(
        subscription=subscription, effective_at__gt=as_of, change__is_undoable=True
    ).select_related("interval")
    dropped = {
        (row.price_key, row.interval.public_id if row.interval else "", row.effective_at)
        for row in ahead
        # The first quantity of an interval is what it is made of.
        if row.interval is None or row.interval.span.lower != row.effective_at
    }
    if not dropped:
        raise ConflictError("No change of quantities lies ahead of this subscription.", code="NO_QUANTITY_CHANGE")
    before = timeline_of(subscription)

    def undone(timeline: Timeline) -> Timeline:
        intervals = tuple(
            replace(one, steps=tuple(s for s in one.steps if (one.key, one.public_id, s.at) not in dropped))
            for one in timeline.intervals
        )
        steps = {
            key: tuple(step for step in known if (key, "", step.at) not in dropped)
            for key, known in timeline.steps.items()
        }
        return replace(timeline, intervals=intervals, steps={key: known for key, known in steps.items() if known})

    _store(subscription, before, lines_of(subscription, before), undone, Occasion(by=by), as_of)
    return subscription


def _store(
    subscription: Subscription,
    before: Timeline,
    lines: Sequence[Line],
    change: Callable[[Timeline], Timeline],
    occasion: Occasion,
    as_of: datetime,
) -> SubscriptionIntervalChange | None:
    after = change(before)
    if after == before:
        return None
    # A calculation that goes on is waited for: its lines are then among what was billed.
    list(Invoice.objects.select_for_update(no_key=True).filter(subscription=subscription, calculated_at__isnull=True))
    made = store_timeline(
        subscription=subscription,
        before=before,
        after=after,
        shown_before=shown_of(subscription, before, lines),
        shown_after=shown_of(subscription, after, lines),
        occasion=occasion,
        as_of=as_of,
    )
    reconcile_prepaid(subscription=subscription, ends_at=known_end(subscription), as_of=as_of)
    return made


def _effective_at(subscription: Subscription, as_of: datetime, timing: str, at: datetime | None) -> datetime:
    if at is None:
        at = as_of if timing == NOW else subscription.period_end
        assert at is not None
    if at < as_of:
        raise _invalid(FieldError("effectiveAt", "Must not lie in the past.", "invalid"))
    end = known_end(subscription)
    if end is not None and at >= end:
        message = f"The subscription ends on {format_instant(end)}; nothing is billed from then on."
        raise _invalid(FieldError("effectiveAt", message, "invalid"))
    return at


def _chosen(
    subscription: Subscription,
    timeline: Timeline,
    lines: Sequence[Line],
    items: Sequence[ChosenItem],
    at: datetime,
) -> list[Line]:
    """Find the lines whose quantity changes; n items in, n lines out, same order."""
    errors: list[FieldError] = []
    found: list[Line] = []
    for number, item in enumerate(items):
        field = f"items.{number}.{item.field}"
        line = next((one for one in lines if _is_named(one, item)), None)
        problem = _problem(subscription, timeline, line, at)
        if line is not None and line in found:
            problem = "Name each price once."
        if line is None or problem is not None:
            errors.append(FieldError(field, problem or "The subscription has no such price.", "invalid"))
        else:
            found.append(line)
    if errors:
        raise _invalid(*errors)
    return found


def _is_named(line: Line, item: ChosenItem) -> bool:
    if item.price_key is not None:
        return line.key == item.price_key
    if item.price_id is not None:
        return line.price_public_id == item.price_id
    return line.metric_public_id == item.metric_id


def _problem(subscription: Subscription, timeline: Timeline, line: Line | None, at: datetime) -> str | None:
    """Say why the quantity of a line cannot change at an instant; None when it can."""
    if line is None:
        return None
    if line.is_usage:
        return "Usage is the quantity of this price; it cannot be chosen."
    if line.cadence.is_once:
        return "This price is charged once."
    if timeline.terms_at(line.key, at, is_owned=line.is_owned) is None:
        return f"This price is not billed at {format_instant(at)}."
    if line.is_obligation:
        slot = endless_grid_of(subscription).slot_at(line.cadence, at)
        assert slot is not None
        if at not in (slot.service.start, slot.whole.start):
            return f"It is owed whole, so it changes with its period: at {format_instant(slot.service.end)}."
    return None


def _invalid(*errors: FieldError) -> InvalidError:
    return InvalidError("The quantities cannot change so.", errors=list(errors))
