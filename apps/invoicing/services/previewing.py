"""What a change would bill: it is made, looked at, and undone; a preview and the change are one calculation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from django.db import transaction
from django.db.models import QuerySet

from apps.catalog.models import Plan
from apps.customers.models import Customer
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus
from apps.invoicing.selectors.invoices import stored_lines, with_neighbours
from apps.invoicing.selectors.targets import OPEN, target_lines
from apps.invoicing.services.adjustments import Agreement, create_adjustment
from apps.invoicing.services.cancelling import schedule_cancellation
from apps.invoicing.services.changing import NOW, change_plan, pass_boundary
from apps.invoicing.services.intervals import Outcome
from apps.invoicing.services.migrating import migrate_version
from apps.invoicing.services.pausing import pause_subscription, resume_subscription
from apps.invoicing.services.prepaid import CREDIT
from apps.invoicing.services.requantifying import change_quantities
from apps.invoicing.services.spend import SpendDeal, agree_spend
from apps.invoicing.services.subscribing import start_billing, subscribe
from apps.invoicing.services.terminating import refused, terminate_subscription
from apps.kernel.errors import ConflictError
from apps.subscriptions.models import Subscription
from apps.subscriptions.services.quantities import ChosenItem
from apps.subscriptions.services.subscriptions import SubscriptionOptions

# Up to so many periods a change may lie ahead to be looked at.
MOST_PERIODS = 120

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bill:
    """The lines an invoice has, what they come to, and what the customer's balance pays of it, in major units."""

    lines: tuple[TargetLine | InvoiceLine, ...] = ()
    balance_applied: Decimal = Decimal(0)

    @property
    def subtotal(self) -> Decimal:
        return sum((line.subtotal for line in self.lines), Decimal(0))

    @property
    def tax(self) -> Decimal:
        return sum((line.tax_amount for line in self.lines), Decimal(0))

    @property
    def total(self) -> Decimal:
        return sum((line.total for line in self.lines), Decimal(0))

    @property
    def due(self) -> Decimal:
        return self.total - self.balance_applied


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change would bring.

    Attributes:
        effective_at: from when it holds; None when nothing would change.
        before: the open bill as it is without the change, with the usage that is counted by now.
        closing: the open bill as the change makes it: the last one where the subscription ends.
        opening: the first bill of a subscription that begins by it.
        credit: what the bills give back of prepaid fees, without tax; 0 or less.
        due_today: what is asked for in the moment of the change, less what the customer's balance pays; what stands
            on an open bill is due with that.
    """

    effective_at: datetime | None
    currency: str
    before: Bill
    closing: Bill
    opening: Bill
    credit: Decimal
    due_today: Decimal

    @property
    def net(self) -> Decimal:
        """What the bills come to together."""
        return self.closing.total + self.opening.total


def undone(make: Callable[[], T]) -> T:
    """Run something and take back all that it wrote; what it gave stays."""
    with transaction.atomic():
        found = make()
        transaction.set_rollback(True)
    return found


def preview_subscription(
    *,
    customer: Callable[[], Customer],
    plan: Plan,
    name: str,
    started_at: datetime,
    as_of: datetime,
    options: SubscriptionOptions,
) -> Preview:
    """Say what a new subscription would bill at its start.

    Args:
        customer: gives the subscriber; one that it makes is undone as well.

    Raises:
        ConflictError: the customer has the plan already, or another one of the product.
        InvalidError: the dates do not fit.
    """

    def make() -> Preview:
        made, is_new = subscribe(
            customer=customer(), plan=plan, name=name, started_at=started_at, as_of=as_of, options=options
        )
        if not is_new:
            raise ConflictError(
                f"The customer has {plan.name} already; subscribing again changes nothing.",
                code="SUBSCRIPTION_EXISTS",
                details={"subscriptionId": made.public_id, "planId": plan.public_id},
            )
        if started_at > as_of:
            start_billing(subscription_id=made.pk, as_of=started_at)
        opening = _first_bill(made.pk)
        is_due = started_at <= as_of
        return Preview(
            started_at, made.currency, Bill(), Bill(), opening, Decimal(0), opening.due if is_due else Decimal(0)
        )

    return undone(make)


def preview_plan_change(
    *, subscription_id: int, plan: Plan, as_of: datetime, timing: str = NOW, at: datetime | None = None
) -> Preview:
    """Say what a change of plan would bill and give back.

    Raises:
        ConflictError: as the change itself.
        InvalidError: as the change itself.
    """

    def change() -> datetime:
        changed = change_plan(subscription_id=subscription_id, plan=plan, as_of=as_of, by="", timing=timing, at=at)
        if changed.pk == subscription_id:
            return _pass_end(changed)
        return changed.started_at

    return _previewed(subscription_id, change, as_of=as_of)


def preview_cancellation(*, subscription_id: int, as_of: datetime, at: datetime | None = None) -> Preview:
    """Say what the last bill of a subscription would be that is cancelled; refused as the cancellation itself."""
    return _previewed(
        subscription_id,
        lambda: _pass_end(
            schedule_cancellation(subscription_id=subscription_id, as_of=as_of, reason="Preview", by="", at=at)
        ),
        as_of=as_of,
    )


def preview_termination(*, subscription_id: int, as_of: datetime) -> Preview:
    """Say what the last bill of a subscription would be that ends now; refused as the termination itself."""
    return _previewed(
        subscription_id,
        lambda: (
            terminate_subscription(
                subscription_id=subscription_id, as_of=as_of, reason="Preview", by=""
            ).terminated_at
        ),
        as_of=as_of,
    )


def preview_pause(*, subscription_id: int, as_of: datetime) -> Preview:
    """Say what a pause from now on would give back; refused as the pause itself."""

    def pause() -> datetime:
        pause_subscription(subscription_id=subscription_id, as_of=as_of)
        return as_of

    return _previewed(subscription_id, pause, as_of=as_of)


def preview_resumption(*, subscription_id: int, as_of: datetime) -> Preview:
    """Say what going on from now would bill of the running period; refused as the resumption itself."""

    def resume() -> datetime:
        resume_subscription(subscription_id=subscription_id, as_of=as_of)
        return as_of

    return _previewed(subscription_id, resume, as_of=as_of)


def preview_migration(*, subscription_id: int, target_number: int, timing: str | None, as_of: datetime) -> Preview:
    """Say what the open bill would be after a move to a version of the plan; refused as the move itself."""

    def migrate() -> datetime | None:
        done = migrate_version(
            subscription_id=subscription_id, target_number=target_number, timing=timing, as_of=as_of
        )
        return done.features_effective_at

    return _previewed(subscription_id, migrate, as_of=as_of)


def preview_adjustment(*, subscription_id: int, agreement: Agreement, as_of: datetime) -> Preview:
    """Say what the open bill would be after an adjustment; refused as the adjustment itself."""

    def agree() -> datetime:
        row, _ = create_adjustment(subscription_id=subscription_id, agreement=agreement, as_of=as_of)
        return row.effective_from

    return _previewed(subscription_id, agree, as_of=as_of)


def preview_quantities(
    *,
    subscription_id: int,
    items: Sequence[ChosenItem],
    as_of: datetime,
    timing: str = NOW,
    at: datetime | None = None,
) -> Preview:
    """Say what the open bill would be with other quantities; refused as the change itself."""

    def change() -> datetime | None:
        made = change_quantities(
            subscription_id=subscription_id, items=items, as_of=as_of, by="", timing=timing, at=at
        )
        return None if made.record is None else made.effective_at

    return _previewed(subscription_id, change, as_of=as_of)


def preview_intervals(*, subscription_id: int, edit: Callable[[], Outcome], as_of: datetime) -> Preview:
    """Say what the open bill would be after an edit of price intervals; refused as the edit itself.

    Args:
        subscription_id: whose.
        edit: makes it.
        as_of: the present of the subscription.
    """

    def change() -> datetime | None:
        return edit().effective_at

    return _previewed(subscription_id, change, as_of=as_of)


def preview_spend(*, subscription_id: int, deal: SpendDeal, as_of: datetime) -> Preview:
    """Say what the open bill would be with a commitment or a cap; refused as the agreement itself."""

    def agree() -> datetime:
        row, _ = agree_spend(subscription_id=subscription_id, deal=deal, as_of=as_of)
        return row.effective_from

    return _previewed(subscription_id, agree, as_of=as_of)


def _previewed(subscription_id: int, change: Callable[[], datetime | None], *, as_of: datetime) -> Preview:
    """Make a change of a subscription, look at its bills, and undo it.

    Args:
        change: makes it and gives from when it holds.
    """

    def make() -> Preview:
        before = _last_bill(subscription_id)
        effective_at = change()
        subscription = Subscription.objects.get(pk=subscription_id)
        follower = Subscription.objects.filter(replaces_id=subscription_id).first()
        opening = Bill() if follower is None else _first_bill(follower.pk)
        is_due = effective_at is not None and effective_at <= as_of
        return Preview(
            effective_at=effective_at,
            currency=subscription.currency,
            before=before,
            closing=_last_bill(subscription_id),
            opening=opening,
            credit=_credit(subscription_id),
            due_today=opening.due if is_due else Decimal(0),
        )

    return undone(make)


def _pass_end(subscription: Subscription) -> datetime:
    """Let time go on to the end that a change announced, and give it.

    Raises:
        InvalidError: it lies too many periods ahead to be looked at.
    """
    ends_at = subscription.cancels_at
    assert ends_at is not None
    for _ in range(MOST_PERIODS):
        if not pass_boundary(subscription_id=subscription.pk, as_of=ends_at):
            return ends_at
    raise refused("cancelsAt", f"That is more than {MOST_PERIODS} periods ahead, too far to be previewed.")


def _last_bill(subscription_id: int) -> Bill:
    invoice = _invoices(subscription_id).order_by("-sequence_number", "part").first()
    return Bill() if invoice is None else _bill(invoice)


def _first_bill(subscription_id: int) -> Bill:
    invoice = _invoices(subscription_id).filter(sequence_number=0).first()
    return Bill() if invoice is None else _bill(invoice)


def _bill(invoice: Invoice) -> Bill:
    if invoice.status == InvoiceStatus.CANCELLED:
        return Bill()
    if invoice.status in OPEN:
        return Bill(tuple(target_lines([invoice], as_of=None)[invoice.pk]))
    return Bill(tuple(stored_lines(invoice)), invoice.balance_applied)


def _credit(subscription_id: int) -> Decimal:
    """Give what the bills that are not calculated yet give back, as far as the change has let time go on."""
    crediting = InvoiceLine.objects.filter(invoice__subscription_id=subscription_id, reference__startswith=CREDIT)
    ids = list(crediting.filter(invoice__status__in=OPEN).values_list("invoice_id", flat=True).distinct())
    lines = target_lines(list(_invoices(subscription_id).filter(pk__in=ids)), as_of=None) if ids else {}
    return sum(
        (line.subtotal for bill in lines.values() for line in bill if line.reference.startswith(CREDIT)), Decimal(0)
    )


def _invoices(subscription_id: int) -> QuerySet[Invoice]:
    return with_neighbours(Invoice.objects.filter(subscription_id=subscription_id, is_purchase=False))
