"""What was billed of a period before its end."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal

from django.db.models import Max, Q, Sum
from msgspec.structs import replace

from apps.invoicing.domain.apart import OFF_USAGE
from apps.invoicing.domain.cuts import PREFIX, charge_of
from apps.invoicing.domain.early import WITHDRAWN, BilledEarly
from apps.invoicing.domain.spend import CAP_OF_PLAN, CAP_OF_PRICE, RELEASED
from apps.invoicing.models import AppliedCoupon, Invoice, InvoiceLine, InvoiceStatus
from apps.invoicing.selectors.stored import target_of
from apps.kernel.rows import many

# A coupon is off what each bill is left with, and a cap is settled by what all bills of its period cut: their lines
# are no part of what a charge comes to.
NO_PARTS = Q(reference__startswith=f"{PREFIX}{AppliedCoupon.PREFIX}_") | Q(reference__startswith=RELEASED)
for source in (CAP_OF_PRICE, CAP_OF_PLAN):
    NO_PARTS |= Q(reference__startswith=f"{PREFIX}{source}:")


def billed_early(invoices: Sequence[Invoice]) -> dict[int, Mapping[str, BilledEarly]]:
    """Give, by invoice key, what early bills billed of the charges that are due on it or later, by reference.

    Two queries for all, one where there are no early bills.
    """
    asked = [invoice for invoice in invoices if invoice.sequence_number > 0]
    if not asked:
        return {}
    lines = InvoiceLine.objects.filter(
        invoice__subscription_id__in=many({invoice.subscription_id for invoice in asked}),
        invoice__part__gt=0,
        # A charge that was due before these bills is settled.
        period_end__gt=min(invoice.due_after for invoice in asked),
    ).exclude(Q(invoice__status=InvoiceStatus.CANCELLED) | NO_PARTS)
    sums = list(
        lines.values("invoice__subscription_id", "reference")
        .annotate(gross_sum=Sum("gross"), quantity_sum=Sum("quantity"), last=Max("pk"))
        .order_by("last")
    )
    if not sums:
        return {}
    # What units paid of usage stands on lines of its own; a charge came to its usage less that.
    apart = {
        (row["invoice__subscription_id"], charge_of(row["reference"])): row
        for row in sums
        if row["reference"].startswith(OFF_USAGE)
    }
    sums = [row for row in sums if not row["reference"].startswith(OFF_USAGE)]
    latest = InvoiceLine.objects.select_related("price_revision").in_bulk([row["last"] for row in sums])
    found: dict[int, dict[str, BilledEarly]] = defaultdict(dict)
    for row in sums:
        off = apart.get((row["invoice__subscription_id"], row["reference"]))
        if off is not None:
            row["gross_sum"] += off["gross_sum"]
            row["quantity_sum"] -= off["quantity_sum"]
        line = latest[row["last"]]
        of_subscription = found[row["invoice__subscription_id"]]
        # What was taken back already is off what was billed.
        reference = row["reference"].removeprefix(WITHDRAWN)
        known = of_subscription.get(reference)
        of_subscription[reference] = BilledEarly(
            row["gross_sum"] + (known.gross if known else 0),
            row["quantity_sum"] + (known.quantity if known else 0),
            replace(target_of(line), description="", whole=Decimal(0)),
            line.price_revision.price_id if line.price_revision is not None else None,
        )
    return {
        invoice.pk: {
            reference: early
            for reference, early in found[invoice.subscription_id].items()
            if early.last.period_end > invoice.due_after
        }
        for invoice in asked
        if invoice.subscription_id in found
    }


def is_settled_on(invoice: Invoice, sold: Collection[int], early: BilledEarly) -> bool:
    """Whether a charge that was billed early must be on a bill if it is still to be paid.

    Args:
        invoice: a period's own bill, which has what is due by its end, or an early one.
        sold: keys of the prices that the subscription bills by now.
        early: what was billed.
    """
    if invoice.is_early:
        return early.price_id is not None and early.price_id not in sold
    return early.last.period_end <= invoice.due_until or invoice.subscription.terminated_at is not None
