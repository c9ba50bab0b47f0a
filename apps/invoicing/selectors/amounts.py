"""What happens to the amounts of invoices once their lines are rated, in one fixed order.

The order is: percentages agreed with the subscriber → less what was billed of it early → spend caps → minimum
commitments → rebates and corrections held at zero → coupons → tax. ADR 0017 says why. Before tax, usage whose price
asks for it is shown in full, with what units paid of it on a line of its own: that moves no amount.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from apps.catalog.models import PriceRevision
from apps.catalog.selectors.terms import revisions_by_id
from apps.invoicing.domain.adjustments import AdjustmentTerms, discounts_of, with_discounts
from apps.invoicing.domain.apart import grants_apart
from apps.invoicing.domain.coupons import with_coupons
from apps.invoicing.domain.early import BilledEarly, less_billed_early, withdrawn_lines
from apps.invoicing.domain.targets import TargetLine, limit_rebates
from apps.invoicing.models import Invoice
from apps.invoicing.selectors.apart import shown_apart
from apps.invoicing.selectors.coupons import CouponBook
from apps.invoicing.selectors.early import is_settled_on
from apps.invoicing.selectors.given_back import within_credits
from apps.invoicing.selectors.spend import spend_book
from apps.invoicing.selectors.taxing import taxed_lines
from apps.kernel.time import Period
from apps.subscriptions.selectors.clocks import current_time


def settled_lines(
    invoices: Sequence[Invoice],
    lines: Mapping[int, Sequence[TargetLine]],
    adjustments: Mapping[int, Sequence[AdjustmentTerms]],
    revisions: Mapping[int, PriceRevision],
    next_ids: Mapping[int, Sequence[int]],
    *,
    as_of: datetime | None,
    coupons: CouponBook,
    early: Mapping[int, Mapping[str, BilledEarly]],
) -> dict[int, list[TargetLine]]:
    """Give the final lines of open invoices from their rated ones.

    Invoices of one customer are worked out in the order of their windows, so that what a coupon has left goes to the
    earliest, however the invoices are given.

    Args:
        invoices: open ones, with their neighbours.
        lines: rated, by invoice key.
        adjustments: by subscription.
        revisions: the price revisions known by now; others that lines go by are read.
        next_ids: by invoice, the revisions that charges in advance of the next period go by.
        as_of: for provenance; None: the present of each subscription.
        coupons: what the customers redeemed; what these invoices use of it is noted.
        early: by invoice key, what was billed of it early, by reference.
    """
    spend = spend_book(invoices, lines, revisions, next_ids)
    prices = _prices(lines, revisions if spend is None else spend.revisions) if coupons.rows else {}
    found: dict[int, list[TargetLine]] = {}
    for invoice in sorted(invoices, key=lambda row: (row.due_until, row.pk)):
        kept = _discounted(invoice, lines.get(invoice.pk, ()), adjustments)
        kept = _not_billed_early(invoice, kept, early.get(invoice.pk), revisions, as_of)
        if spend is not None:
            kept = spend.settle(invoice, kept)
        kept = limit_rebates(within_credits(invoice, kept), is_last=invoice.is_of_corrections)
        if spend is not None:
            spend.note(invoice, kept)
        reached = coupons.of(invoice) if coupons.rows else []
        if reached:
            plan_id = invoice.subscription.plan_id
            kept = with_coupons(kept, reached, currency=invoice.currency, plan_id=plan_id, prices=prices)
            coupons.note(invoice, kept)
        found[invoice.pk] = kept
    by_key = {invoice.pk: invoice for invoice in invoices}
    for key, shown in shown_apart(by_key, found, revisions).items():
        found[key] = grants_apart(found[key], shown, currency=by_key[key].currency)
    return taxed_lines(invoices, found, revisions)


def _discounted(
    invoice: Invoice, lines: Sequence[TargetLine], adjustments: Mapping[int, Sequence[AdjustmentTerms]]
) -> list[TargetLine]:
    agreed = adjustments.get(invoice.subscription_id, ())
    if not agreed:
        return list(lines)
    tz = invoice.subscription.timezone
    off = {
        line.reference: discounts_of(
            agreed, Period(line.period_start, line.period_end), is_in_advance=line.is_prepaid, tz=tz
        )
        for line in lines
        # Late usage has them in its own calculation; manual lines and credits are what they are.
        if line.price_revision_id is not None and not line.is_late
    }
    return with_discounts(lines, off, currency=invoice.currency)


def _not_billed_early(
    invoice: Invoice,
    lines: Sequence[TargetLine],
    early: Mapping[str, BilledEarly] | None,
    revisions: Mapping[int, PriceRevision],
    as_of: datetime | None,
) -> list[TargetLine]:
    """Give what the period comes to, less what was billed of it."""
    due = less_billed_early(lines, early or {})
    if early:
        as_of = as_of or current_time(invoice.subscription)
        sold = {revisions[i].price_id for i in invoice.subscription.price_revision_ids if i in revisions}
        is_settled = partial(is_settled_on, invoice, sold)
        due += withdrawn_lines(lines, early, is_settled=is_settled, currency=invoice.currency, as_of=as_of)
    return due


def _prices(lines: Mapping[int, Sequence[TargetLine]], revisions: Mapping[int, PriceRevision]) -> dict[int, int]:
    """Give the keys of prices by those of the revisions that lines go by."""
    named = {line.price_revision_id for rows in lines.values() for line in rows}
    missing = {key for key in named if key is not None and key not in revisions}
    known = {**revisions, **(revisions_by_id(missing) if missing else {})}
    return {key: row.price_id for key, row in known.items()}
