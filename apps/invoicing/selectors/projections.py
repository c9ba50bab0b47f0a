"""Invoices that the coming periods will bring, without usage."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import prefetch_related_objects

from apps.catalog.models import PriceRevision
from apps.catalog.selectors.terms import current_revision_ids, revisions_by_id
from apps.invoicing.domain.adjustments import AdjustmentTerms, discounts_of, quantity_terms, with_discounts
from apps.invoicing.domain.charges import Charge, charges_due
from apps.invoicing.domain.targets import TargetLine, Totals, totals_of, with_tax
from apps.invoicing.domain.taxes import tax_rate_for
from apps.invoicing.selectors.adjustments import adjustment_terms
from apps.invoicing.selectors.shares import is_asleep, share_of
from apps.invoicing.selectors.targets import charge_terms
from apps.kernel.time import Cadence, Period, add
from apps.rating.grouped import parse_price
from apps.rating.lines import rate_fee
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.subscriptions import cadence_of, grid_of, upcoming_version_id

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
    prefetch_related_objects([subscription], "pauses")
    # The end of the open period brings the next one's fees in advance, so what comes is the next terms' work.
    revision_ids = current_revision_ids(plan_version_id=upcoming_version_id(subscription))
    revisions = revisions_by_id(revision_ids)
    terms = [
        charge_terms(revisions[key], plan_cadence=subscription.billing_cadence, trial_usage=subscription.trial_usage)
        for key in revision_ids
        if revisions[key].metric_id is None
    ]
    agreed = adjustment_terms([subscription.pk]).get(subscription.pk, [])
    found: list[ProjectedInvoice] = []
    number, at = subscription.period_number, subscription.period_start
    while (slot := grid.slot_at(cadence, at)) is not None and slot.service.end <= last:
        if slot.service.end > first:
            charges = charges_due(terms, grid, after=slot.service.start, until=slot.service.end, plan_cadence=cadence)
            plain = [
                _line(subscription, revisions[c.revision_id], c, agreed, as_of)
                for c in charges
                if not is_asleep(subscription, c, revisions[c.revision_id])
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
            lines = with_tax(
                with_discounts(plain, off, currency=subscription.currency),
                currency=subscription.currency,
                is_inclusive=subscription.plan.tax_behavior == "inclusive",
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


def _line(
    subscription: Subscription,
    revision: PriceRevision,
    charge: Charge,
    agreed: Sequence[AdjustmentTerms],
    as_of: datetime,
) -> TargetLine:
    plan = subscription.plan
    rated = rate_fee(
        price=parse_price(revision.model, revision.properties),
        quantity=Decimal(revision.quantity),
        currency=subscription.currency,
        period=charge.service,
        sources={},
        calculated_at=as_of,
        share=share_of(subscription, charge, revision),
        whole=charge.whole,
        basis=plan.proration,
        terms=quantity_terms(
            agreed, charge.service, is_in_advance=revision.payment_term == "in_advance", price_id=revision.price_id
        ),
    )
    return TargetLine(
        kind="fee",
        reference=charge.reference,
        display_name=revision.invoice_display_name,
        payment_term=revision.payment_term,
        period_start=charge.service.start,
        period_end=charge.service.end,
        quantity=rated.quantity,
        unit_price=rated.unit_price,
        gross=rated.subtotal,
        tax_rate=tax_rate_for(
            is_exempt=subscription.tax_exempt,
            is_in_scope=revision.supply_scope == "IN_SCOPE",
            customer_rates=subscription.customer.tax_rates,
            metric_public_id=None,
            plan_public_id=plan.public_id,
            plan_rate=plan.default_tax_rate,
        ),
    )


def _stable_id(subscription: Subscription, period: Period) -> str:
    """Give the same id for the same future invoice at every call; it cannot be read by it."""
    text = f"{subscription.public_id}:{period.start.isoformat()}"
    return "inv_" + hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
