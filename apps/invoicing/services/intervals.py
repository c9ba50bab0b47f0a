"""Editing the price timeline of a subscription: what is ahead may change, what exists stays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from apps.catalog.models import Price
from apps.catalog.selectors.terms import get_current_revision
from apps.invoicing.models import Invoice, InvoiceStatus
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.targets import target_lines
from apps.invoicing.services.pausing import locked_at_present
from apps.kernel.errors import ConflictError, NotFoundError
from apps.kernel.ids import new_id
from apps.kernel.time import Cadence, format_instant
from apps.subscriptions.domain.editing import Addition, Edit, added, check_tiles, edited, invalid, removed, repriced
from apps.subscriptions.domain.lines import ONE_OFF, Line, Shown, copy_of
from apps.subscriptions.domain.timeline import Step, Timeline
from apps.subscriptions.models import Subscription, SubscriptionIntervalChange, SubscriptionStatus
from apps.subscriptions.selectors.subscriptions import endless_grid_of
from apps.subscriptions.selectors.timeline import line_of, lines_of, shown_of, timeline_of
from apps.subscriptions.services.timeline import Occasion, store_timeline

FIXED = ("priceId", "priceKey", "planVersionId", "billingCadence", "billingMode", "billDate", "startDate")


@dataclass(frozen=True, slots=True)
class NewInterval:
    """An interval that is asked for, by the wire's names."""

    price_key: str
    unit_price: Decimal | None
    quantity: Decimal
    billing_cadence: str
    billing_mode: str
    start: datetime
    end: datetime | None = None
    price_id: str | None = None
    version_id: str | None = None
    transitions: tuple[Step, ...] = ()
    bills_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChangedInterval:
    """A change that is asked for.

    Attributes:
        same: what was sent of what cannot change, in the wire's form.
    """

    public_id: str
    edit: Edit
    same: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an edit of a timeline did.

    Attributes:
        change: its record; None when nothing changed.
        gained: prices that have lines on the open invoice that they had not.
        lost: prices that have lines there no more.
        effective_at: the first instant at which anything differs; None when nothing does.
    """

    intervals: Sequence[Shown]
    change: SubscriptionIntervalChange | None
    gained: int = 0
    lost: int = 0
    effective_at: datetime | None = None


@transaction.atomic
def edit_intervals(
    *,
    subscription_id: int,
    add: Sequence[NewInterval] = (),
    edit: Sequence[ChangedInterval] = (),
    remove: Sequence[str] = (),
    occasion: Occasion,
    as_of: datetime,
) -> Outcome:
    """Change the price intervals of a subscription, all or nothing: removals first, then edits, then additions.

    Raises:
        InvalidError: an interval contradicts itself, its price, or what cannot change; the field is named.
        NotFoundError: there is no such interval.
        ConflictError: a billing period that exists would change, intervals overlap or leave a gap, something that is
            charged once would be twice, or the subscription has ended.
    """
    subscription = _editable(subscription_id, as_of)
    before = timeline_of(subscription)
    lines = lines_of(subscription, before)
    shown_before = shown_of(subscription, before, lines)
    after = before
    touched: dict[str, Line] = {}
    for public_id in remove:
        shown = _find(shown_before, public_id)
        after = removed(after, shown)
        touched[shown.line.key] = shown.line
    for number, change in enumerate(edit):
        shown = _find(shown_of(subscription, after, lines), change.public_id)
        _check_same(shown, change.same, f"edit.{number}")
        after = edited(after, shown, change.edit, field=f"edit.{number}")
        touched[shown.line.key] = shown.line
    limits = _Limits(subscription, before, as_of)
    for number, new in enumerate(add):
        addition = _addition(subscription, lines, new, f"add.{number}")
        limits.check_start(addition, after, f"add.{number}")
        after = added(after, addition, field=f"add.{number}")
        touched[addition.line.key] = addition.line
        if all(line.key != addition.line.key for line in lines):
            lines = [*lines, addition.line]
    return _store(subscription, before, after, lines, touched, occasion, as_of)


@transaction.atomic
def schedule_price(
    *,
    subscription_id: int,
    price_key: str,
    unit_price: Decimal,
    start: datetime,
    end: datetime | None = None,
    occasion: Occasion,
    as_of: datetime,
) -> Outcome:
    """Let one price of a subscription cost something else from a date on, whatever its quantity is by then.

    What covers the date ends there; without an end it holds up to the next price that is scheduled. So the steps of a
    ramp can be given one by one, in any order.

    Raises:
        InvalidError: the subscription has no such price, or it cannot cost so.
        ConflictError: a billing period that exists would change, another interval begins before the end, or the
            subscription has ended.
    """
    subscription = _editable(subscription_id, as_of)
    before = timeline_of(subscription)
    lines = lines_of(subscription, before)
    line = next((one for one in lines if price_key in (one.key, one.price_public_id)), None)
    if line is None:
        raise invalid("priceKey", "The subscription has no such price.")
    if line.cadence.is_once:
        raise invalid("priceKey", "This price is charged once.")
    if start < subscription.started_at:
        raise invalid("startDate", "Must not be before the start of the subscription.")
    after = repriced(before, line, start, end, unit_price, public_id=new_id("pint"))
    return _store(subscription, before, after, lines, {line.key: line}, occasion, as_of)


def _editable(subscription_id: int, as_of: datetime) -> Subscription:
    subscription = locked_at_present(subscription_id, as_of)
    if subscription.status == SubscriptionStatus.TERMINATED:
        raise ConflictError("The subscription has ended.", code="SUBSCRIPTION_TERMINATED")
    return subscription


def _store(
    subscription: Subscription,
    before: Timeline,
    after: Timeline,
    lines: Sequence[Line],
    touched: Mapping[str, Line],
    occasion: Occasion,
    as_of: datetime,
) -> Outcome:
    """Store a timeline that keeps the laws of intervals; nothing where it says what it said."""
    in_credits = Price.objects.filter(pk__in=[line.price_id for line in touched.values()], pricing_unit__isnull=False)
    for price in in_credits[:1]:
        raise ConflictError(
            f"{price.public_id} is in credits of a pool, which its plan decides; it has no intervals.",
            code="PRICE_IN_CREDITS",
        )
    check_tiles(after, touched)
    shown_before, shown_after = shown_of(subscription, before, lines), shown_of(subscription, after, lines)
    if [_form(shown) for shown in shown_after] == [_form(shown) for shown in shown_before]:
        return Outcome(shown_before, None)
    limits = _Limits(subscription, before, as_of)
    for line in touched.values():
        limits.check(after, line)
    invoice = open_invoice_of(subscription)
    lines_before = _lines(invoice, as_of)
    change_made = store_timeline(
        subscription=subscription,
        before=before,
        after=after,
        shown_before=shown_before,
        shown_after=shown_after,
        occasion=occasion,
        as_of=as_of,
    )
    lines_after = _lines(invoice, as_of)
    return Outcome(
        intervals=shown_after,
        change=change_made,
        gained=len({revision for revision, *_ in lines_after - lines_before}),
        lost=len({revision for revision, *_ in lines_before - lines_after}),
        effective_at=min(
            (at for key in touched if (at := before.first_difference(after, key)) is not None), default=None
        ),
    )


class _Limits:
    """From when on the prices of a subscription may change."""

    def __init__(self, subscription: Subscription, before: Timeline, as_of: datetime) -> None:
        self.subscription, self.before, self.as_of = subscription, before, as_of
        self.has_begun = subscription.status != SubscriptionStatus.SCHEDULED or as_of >= subscription.started_at

    def check_start(self, addition: Addition, timeline: Timeline, field: str) -> None:
        """Refuse an interval that begins in a billing period that exists."""
        line = addition.line
        if addition.start < self.subscription.started_at:
            raise invalid(f"{field}.startDate", "Must not be before the start of the subscription.")
        if line.cadence.is_once and not line.is_owned:
            raise ConflictError(f"{line.key} is charged once, at the start.", code="INTERVAL_BILLED_ONCE")
        if line.cadence.is_once and timeline.of_key(line.key):
            raise ConflictError(f"{line.key} is charged once, by another interval.", code="INTERVAL_BILLED_ONCE")
        self._require(line, addition.bills_at or addition.start)

    def check(self, after: Timeline, line: Line) -> None:
        """Refuse a timeline that changes a billing period that exists, or one that is owed whole."""
        differs_at = self.before.first_difference(after, line.key)
        if differs_at is not None:
            bills_at = [one.bills_at for one in self.before.of_key(line.key) if one.bills_at is not None]
            self._require(line, max([differs_at, *bills_at]))
        if line.is_obligation and not line.cadence.is_once:
            self._check_obligation(after, line)

    def _check_obligation(self, after: Timeline, line: Line) -> None:
        grid = endless_grid_of(self.subscription)
        for at in after.changes(line.key):
            slot = grid.slot_at(line.cadence, at)
            if slot is not None and at not in (slot.service.start, slot.whole.start):
                raise ConflictError(
                    f"{line.key} is owed whole, so it cannot change within its period, at {format_instant(at)}.",
                    code="INTERVAL_INSIDE_OBLIGATION",
                )

    def _require(self, line: Line, at: datetime) -> None:
        """Refuse an instant that an existing billing period of a price holds."""
        if not self.has_begun:
            return
        invoice = open_invoice_of(self.subscription)
        is_new = line.is_owned and not any(one.start <= self.as_of for one in self.before.of_key(line.key))
        falls_due_at_start = line.is_in_advance or line.cadence.is_once
        if is_new and invoice is not None:
            # What such a price bills in the open period is not billed yet.
            earliest = invoice.due_after
            is_fine = at > earliest if falls_due_at_start else at >= earliest
            when = (
                f"after {format_instant(earliest)}"
                if falls_due_at_start
                else f"at {format_instant(earliest)} or later"
            )
        else:
            earliest = self._end_of_existing(line)
            is_fine, when = at >= earliest, f"at {format_instant(earliest)} or later"
        if not is_fine:
            raise ConflictError(
                f"A billing period of {line.key} that exists would change; begin {when}."
                " A quantity can change at any time by quantityChange.",
                code="BILLING_PERIOD_EXISTS",
                details={"priceKey": line.key, "earliest": format_instant(earliest)},
            )

    def _end_of_existing(self, line: Line) -> datetime:
        present = max(self.as_of, self.subscription.started_at)
        if line.cadence.is_once:
            return present
        slot = endless_grid_of(self.subscription).slot_at(line.cadence, present)
        assert slot is not None
        return slot.service.end


def _addition(subscription: Subscription, lines: Sequence[Line], new: NewInterval, field: str) -> Addition:
    version = subscription.plan_version.public_id
    if new.version_id is not None and new.version_id != version:
        raise ConflictError(f"The subscription is on the plan version {version}.", code="PLAN_VERSION_CHANGED")
    line = next((one for one in lines if one.key == new.price_key), None)
    if line is None:
        line = _own_line(subscription, lines, new, field)
    elif new.price_id not in (None, line.price_public_id):
        raise invalid(f"{field}.priceId", f"{line.key} bills {line.price_public_id}; leave this out.")
    _check_billing(line, new, field=field)
    return Addition(
        public_id=new_id("pint"),
        line=line,
        start=new.start,
        end=new.end,
        unit_price=new.unit_price,
        quantity=new.quantity,
        transitions=new.transitions,
        bills_at=new.bills_at,
    )


def _own_line(subscription: Subscription, lines: Sequence[Line], new: NewInterval, field: str) -> Line:
    """Give the line of a price that the subscription alone has."""
    if new.price_id is None:
        raise invalid(f"{field}.priceId", f"The plan has no line {new.price_key}; name the price to bill.")
    prices = Price.objects.filter(organization_id=subscription.organization_id, deleted_at__isnull=True)
    price = prices.filter(public_id=new.price_id).first()
    if price is None:
        raise invalid(f"{field}.priceId", "There is no such price.")
    if any(line.price_id == price.pk for line in lines):
        raise ConflictError("The subscription bills this price already, under another key.", code="PRICE_BILLED")
    return line_of(subscription, new.price_key, get_current_revision(price_id=price.pk), is_owned=True)


def _check_billing(line: Line, new: NewInterval, *, field: str) -> None:
    """Check that an interval is billed as its price is."""
    is_once = new.billing_cadence == ONE_OFF
    if not is_once:
        try:
            is_same = not line.cadence.is_once and Cadence.parse(new.billing_cadence) == line.cadence
        except ValueError:
            is_same = False
    else:
        is_same = line.cadence.is_once
    if not is_same:
        raise invalid(f"{field}.billingCadence", f"The price is billed by {line.billing_cadence}.")
    if new.billing_mode != line.billing_mode and not is_once:
        raise invalid(f"{field}.billingMode", f"The price is billed in {line.billing_mode}.")
    if is_once != (new.bills_at is not None):
        message = "Say when it is billed." if is_once else "Only for what is billed once."
        raise invalid(f"{field}.billDate", message)
    if new.bills_at is not None and (new.bills_at < new.start or (new.end is not None and new.bills_at >= new.end)):
        raise invalid(f"{field}.billDate", "Must lie inside the interval.")


def _check_same(shown: Shown, same: Mapping[str, Any], field: str) -> None:
    current = copy_of(shown)
    for name in FIXED:
        if name in same and same[name] != current[name]:
            raise invalid(f"{field}.{name}", f"Cannot change; it is {current[name]}.")


def _find(intervals: Sequence[Shown], public_id: str) -> Shown:
    for shown in intervals:
        if shown.public_id == public_id:
            return shown
    raise NotFoundError(f"There is no interval {public_id}.")


def _form(shown: Shown) -> Any:
    return shown.public_id, copy_of(shown)


def open_invoice_of(subscription: Subscription) -> Invoice | None:
    """Give the open invoice of a subscription; None before it is active and after its end."""
    return (
        with_neighbours(Invoice.objects.all()).filter(subscription=subscription, status=InvoiceStatus.ACTIVE).first()
    )


def _lines(invoice: Invoice | None, as_of: datetime) -> set[tuple[Any, ...]]:
    """Give what the open invoice bills of prices."""
    if invoice is None:
        return set()
    return {
        (line.price_revision_id, line.reference, line.quantity, line.unit_price, line.gross)
        for line in target_lines([invoice], as_of=as_of)[invoice.pk]
        if line.price_revision_id is not None
    }
