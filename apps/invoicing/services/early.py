"""Bills of an open period's usage, before its end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from django.db import transaction
from django.db.models import Max

from apps.invoicing.domain.early import worth_billing
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import Invoice, InvoiceStatus
from apps.invoicing.selectors.drafts import draw_up, early_revisions
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.targets import target_lines
from apps.invoicing.services.coupons import hold_coupons
from apps.invoicing.services.holding import hold_rates
from apps.invoicing.services.issuing import issue_group, store_calculations
from apps.invoicing.services.periods import announcement_of, approves_itself
from apps.invoicing.services.spend import take_turns
from apps.kernel.clock import wall_now
from apps.kernel.errors import ConflictError
from apps.metering.services.merge import drain
from apps.outbox.services import publish_all
from apps.subscriptions.models import Subscription, SubscriptionStatus


@dataclass(frozen=True, slots=True)
class EarlyBill:
    """A bill that is drawn up and not stored yet, with the lines that it has."""

    invoice: Invoice
    lines: Sequence[TargetLine]


def bill_usage_now(*, subscription_id: int, as_of: datetime) -> Invoice:
    """Bill the usage of the open period so far; the period's own bill has what comes after.

    Raises:
        ConflictError: the subscription is not active, or there is nothing to bill.
    """
    drain()
    with transaction.atomic():
        counted_at = wall_now()
        opened = _opened(subscription_id, as_of)
        revisions = early_revisions([opened])[opened.pk]
        draft = draw_up(opened, revision_ids=[row.pk for row in revisions], as_of=as_of)
        take_turns([draft])
        hold_coupons([draft])
        hold_rates([draft])
        lines = worth_billing(target_lines([draft], as_of=as_of)[draft.pk])
        if not lines:
            raise ConflictError(
                "There is no usage that could be billed before the end of the period.", code="NOTHING_TO_BILL"
            )
        (invoice,) = store_early_bills([EarlyBill(draft, lines)], counted_at=counted_at)
        return invoice


def store_early_bills(bills: Sequence[EarlyBill], *, counted_at: datetime) -> list[Invoice]:
    """Store bills that are drawn up, and issue those that need no approval (caller's transaction).

    Args:
        bills: of locked subscriptions, one each.
        counted_at: wall-clock moment before their usage was read.

    Returns:
        The invoices, same order.
    """
    last = {
        (row["subscription_id"], row["sequence_number"]): row["last"]
        for row in Invoice.objects.filter(subscription_id__in=[bill.invoice.subscription_id for bill in bills])
        .values("subscription_id", "sequence_number")
        .annotate(last=Max("part"))
    }
    for bill in bills:
        invoice, as_of = bill.invoice, bill.invoice.period_end
        invoice.pk, invoice.auto_approve = None, approves_itself(invoice.subscription)
        invoice.part = last.get((invoice.subscription_id, invoice.sequence_number), 0) + 1
        invoice.save()
        publish_all([announcement_of(invoice, at=as_of)])
        lines = {invoice.pk: bill.lines}
        store_calculations(invoices=[invoice], lines=lines, as_of=as_of, counted_at=counted_at)
        if not invoice.auto_approve:
            invoice.status = InvoiceStatus.DRAFT
        invoice.save()
    made = [bill.invoice for bill in bills]
    to_issue = [invoice for invoice in made if invoice.auto_approve]
    # Numbers last, in the order in which every other work takes them.
    to_issue.sort(key=lambda invoice: (invoice.organization_id, invoice.period_end, invoice.pk))
    for (_, as_of), group in groupby(to_issue, lambda invoice: (invoice.organization_id, invoice.period_end)):
        issue_group(invoices=list(group), as_of=as_of)
    return made


def _opened(subscription_id: int, as_of: datetime) -> Invoice:
    """Lock an active subscription and give its open invoice."""
    subscription = Subscription.objects.select_for_update(of=("self",), no_key=True).get(pk=subscription_id)
    if subscription.status != SubscriptionStatus.ACTIVE:
        raise ConflictError("Only an active subscription has an open period.", code="SUBSCRIPTION_NOT_ACTIVE")
    opened = with_neighbours(Invoice.objects.all()).get(subscription=subscription, status=InvoiceStatus.ACTIVE)
    if not opened.period_start <= as_of < opened.period_end:
        raise ConflictError(
            "The open period is over, or its clock is on the way; its own bill has the usage.", code="PERIOD_OVER"
        )
    return opened
