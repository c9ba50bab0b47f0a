"""Invoices that the coming periods will bring, without usage."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from apps.catalog.models import PriceRevision
from apps.catalog.selectors.terms import current_revision_ids, revisions_by_id
from apps.invoicing.domain.adjustments import AdjustmentTerms, discounts_of, quantity_terms, with_discounts
from apps.invoicing.domain.charges import Charge, charges_due
from apps.invoicing.domain.targets import TargetLine, Totals, totals_of
from apps.invoicing.domain.taxes import tax_rate_for
from apps.invoicing.selectors.adjustments import adjustment_terms
from apps.invoicing.selectors.due import charge_terms, owned_terms
from apps.invoicing.selectors.parts import fee_parts, parts_of
from apps.invoicing.selectors.shares import is_asleep
from apps.invoicing.selectors.taxing import book_of, taxed
from apps.kernel.time import Cadence, Period, add, format_instant
from apps.rating.splits import rate_fee_parts
from apps.subscriptions.domain.timeline import Timeline
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.subscriptions import cadence_of, grid_of, read_pauses, upcoming_version_id
from apps.subscriptions.selectors.timeline import timeline_of

DEFAULT_SPAN = Cadence.parse("P1M")
LONGEST_SPAN = Cadence.parse("P1Y")


@dataclass(frozen=True, slots=True)
class ProjectedInvoice:
    """The bill a future boundary will bring as far as it is known today: fees, no usage."""

    public_id: str
    sequence_number: int
    period: Period
    totals: Totals
    line_count: int


def projected_invoices(
    subscription: Subscription, *, start: datetime | None, end: datetime | None, as_of: datetime
) -> list[ProjectedInvoice]:
    """Give the invoices whose period ends in `(start, end]`, the open one first.

    Args:
        start: not before the present, which is also the default.
        end: a month after the start by default, at most a year ahead.
    """
    if subscription.status != SubscriptionStatus.ACTIVE or subscription.period_start is None:
        return []
    first = max(start or as_of, as_of)
    last = min(end or add(first, DEFAULT_SPAN), add(as_of, LONGEST_SPAN))
    grid, cadence = grid_of(subscription), cadence_of(subscription)
    read_pauses([subscription])
    timeline = timeline_of(subscription)
    # The end of the open period brings the next one's fees in advance, so what comes is the next terms' work.
    revision_ids = current_revision_ids(plan_version_id=upcoming_version_id(subscription))
    revisions = revisions_by_id({*revision_ids, *(one.revision_id for one in timeline.owned() if one.revision_id)})
    cadences, trial_usage = subscription.billing_cadence, subscription.trial_usage
    known = [charge_terms(revisions[key], plan_cadence=cadences, trial_usage=trial_usage) for key in revision_ids]
    known += owned_terms(timeline, revisions, plan_cadence=cadences, trial_usage=trial_usage)
    terms = [one for one in known if not revisions[one.revision_id].bills_usage]
    agreed = adjustment_terms([subscription.pk]).get(subscription.pk, [])
    book = book_of([subscription.customer])
    found: list[ProjectedInvoice] = []
    number, at = subscription.period_number, subscription.period_start
    while (slot := grid.slot_at(cadence, at)) is not None and slot.service.end <= last:
        if slot.service.end > first:
            charges = charges_due(terms, grid, after=slot.service.start, until=slot.service.end, plan_cadence=cadence)
            plain = [
                line
                for c in charges
                if not is_asleep(subscription, c, revisions[c.revision_id])
                for line in _lines(subscription, timeline, revisions[c.revision_id], c, agreed, as_of)
            ]
            off = {
                line.reference: discounts_of(
                    agreed,
                    Period(line.period_start, line.period_end),
                    is_in_advance=line.payment_term == "in_advance",
                    tz=subscription.timezone,
                )
                for line in plain
            }
            discounted = with_discounts(plain, off, currency=subscription.currency)
            lines = taxed(
                subscription.customer, subscription, discounted, revisions, book, currency=subscription.currency
            )
            found.append(
                ProjectedInvoice(
                    public_id=_stable_id(subscription, slot.service),
                    sequence_number=number,
                    period=slot.service,
                    totals=totals_of(lines),
                    line_count=len(lines),
                )
            )
        number, at = number + 1, slot.service.end
    return found


def _lines(
    subscription: Subscription,
    timeline: Timeline,
    revision: PriceRevision,
    charge: Charge,
    agreed: Sequence[AdjustmentTerms],
    as_of: datetime,
) -> list[TargetLine]:
    plan = subscription.plan
    parts = parts_of(subscription, timeline, charge, revision)
    if not parts:
        return []
    terms = quantity_terms(
        agreed, charge.service, is_in_advance=revision.payment_term == "in_advance", price_id=revision.price_id
    )
    fees = fee_parts(subscription, charge, revision, parts, terms)
    rated = rate_fee_parts(
        fees,
        currency=subscription.currency,
        whole=charge.whole,
        basis=plan.proration,
        sources=[{}] * len(fees),
        calculated_at=as_of,
    )
    return [
        TargetLine(
            kind="fee",
            reference=f"{charge.price_id}:{format_instant(fee.period.start)}",
            display_name=revision.invoice_display_name,
            payment_term=revision.payment_term,
            period_start=fee.period.start,
            period_end=fee.period.end,
            quantity=line.quantity,
            unit_price=line.unit_price,
            gross=line.subtotal,
            price_revision_id=revision.pk,
            tax_rate=tax_rate_for(
                is_exempt=subscription.tax_exempt,
                is_in_scope=revision.supply_scope == "IN_SCOPE",
                customer_rates=subscription.customer.tax_rates,
                metric_public_id=None,
                plan_public_id=plan.public_id,
                plan_rate=plan.default_tax_rate,
            ),
        )
        for fee, line in zip(fees, rated, strict=True)
    ]


def _stable_id(subscription: Subscription, period: Period) -> str:
    """Give the same id for the same future invoice at every call; it cannot be read by it."""
    text = f"{subscription.public_id}:{period.start.isoformat()}"
    return "inv_" + hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
