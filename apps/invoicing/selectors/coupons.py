"""Redeemed coupons as billing and lists read them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from django.db.models import QuerySet

from apps.catalog.models import Coupon
from apps.invoicing.domain.coupons import CouponTerms, Used, lasts, uses_in
from apps.invoicing.domain.cuts import COUPON, PREFIX, source_of
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import AppliedCoupon, Invoice, InvoiceLine, InvoiceStatus, LineKind
from apps.kernel.money import EXACT
from apps.kernel.rows import many
from apps.subscriptions.selectors.chains import predecessors_of


@dataclass(slots=True)
class CouponBook:
    """The coupons of some invoices, and what each took off so far; invoices that are worked out add to it.

    Attributes:
        rows: what was redeemed, by customer, the oldest first.
        terms: what each takes off.
        used: what each took off on other invoices.
        lineage: by subscription, itself and what it replaced.
    """

    rows: dict[int, list[AppliedCoupon]] = field(default_factory=dict)
    terms: dict[str, CouponTerms] = field(default_factory=dict)
    used: dict[str, Used] = field(default_factory=dict)
    # Periods, by subscription and number, that each has reduced; the bills of one period count once.
    periods: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    lineage: dict[int, set[int]] = field(default_factory=dict)

    def of(self, invoice: Invoice) -> list[tuple[CouponTerms, Used]]:
        """Give the coupons that reach an invoice and still last, the oldest first."""
        return [
            (self.terms[row.public_id], self.used[row.public_id])
            for row in self.rows.get(invoice.customer_id, ())
            if self._reaches(row, invoice) and lasts(self.terms[row.public_id], self._used_before(row, invoice))
        ]

    def note(self, invoice: Invoice, lines: Iterable[TargetLine]) -> None:
        """Count what an invoice took off, for those that are worked out after it."""
        for source, amount in uses_in(lines).items():
            used = self.used[source]
            self.periods[source].add(_period_of(invoice))
            used.amount, used.invoices = EXACT.add(used.amount, amount), len(self.periods[source])

    def _used_before(self, row: AppliedCoupon, invoice: Invoice) -> Used:
        """Give what other periods used."""
        used = self.used[row.public_id]
        is_counted = _period_of(invoice) in self.periods[row.public_id]
        return Used(used.amount, used.invoices - 1) if is_counted else used

    def _reaches(self, row: AppliedCoupon, invoice: Invoice) -> bool:
        """Whether the invoice's window was open while the customer had the coupon.

        A subscription that was made later may live in another time, on a test clock; it always has it.
        """
        subscription = invoice.subscription
        if row.subscription_id is not None and row.subscription_id not in self.lineage[subscription.pk]:
            return False
        if row.removed_at is not None and invoice.due_until > row.removed_at:
            return False
        return (
            invoice.sequence_number == 0
            or invoice.due_until > row.placed_at
            or subscription.created_at > row.created_at
        )


def coupon_book(invoices: Sequence[Invoice]) -> CouponBook:
    """Give the coupons of some invoices' customers, with a fixed number of queries, one where there are none."""
    rows = (
        AppliedCoupon.objects.filter(customer_id__in=many({invoice.customer_id for invoice in invoices}))
        .select_related("coupon")
        .prefetch_related("coupon__targets")
        .order_by("pk")
    )
    book = CouponBook()
    for row in rows:
        book.rows.setdefault(row.customer_id, []).append(row)
        book.terms[row.public_id] = coupon_terms(row)
    if not book.rows:
        return book
    book.used = {source: Used() for source in book.terms}
    uses = _uses(sorted(book.rows)).exclude(invoice__in=[invoice.pk for invoice in invoices])
    book.periods = {source: set() for source in book.terms}
    names = ("reference", "invoice__subscription_id", "invoice__sequence_number", "gross")
    for reference, subscription_id, number, gross in uses.values_list(*names):
        source = source_of(reference)
        book.used[source].amount = EXACT.subtract(book.used[source].amount, gross)
        book.periods[source].add((subscription_id, number))
    for source, periods in book.periods.items():
        book.used[source].invoices = len(periods)
    if any(row.subscription_id is not None for found in book.rows.values() for row in found):
        book.lineage = predecessors_of(invoice.subscription_id for invoice in invoices)
    return book


def _period_of(invoice: Invoice) -> tuple[int, int]:
    return invoice.subscription_id, invoice.sequence_number


def coupon_terms(row: AppliedCoupon) -> CouponTerms:
    """Give a redeemed coupon as billing reads it."""
    coupon: Coupon = row.coupon
    targets = list(coupon.targets.all())
    return CouponTerms(
        source=row.public_id,
        name=coupon.name,
        code=coupon.code,
        percentage=coupon.percentage,
        amount=coupon.amount,
        currency=coupon.currency,
        duration=coupon.duration,
        periods=coupon.duration_periods,
        price_ids=frozenset(target.price_id for target in targets if target.price_id is not None),
        metric_ids=frozenset(target.metric_id for target in targets if target.metric_id is not None),
        plan_ids=frozenset(target.plan_id for target in targets if target.plan_id is not None),
    )


def applied_coupons(*, organization_id: int) -> QuerySet[AppliedCoupon]:
    """Give what a merchant's customers redeemed, newest first."""
    rows = AppliedCoupon.objects.filter(organization_id=organization_id)
    return rows.select_related("coupon", "customer", "subscription").order_by("-id")


def uses_of(rows: Sequence[AppliedCoupon]) -> dict[int, dict[str, Used]]:
    """Give what redeemed coupons took off so far, by their key and by currency."""
    keys = {row.public_id: row.pk for row in rows}
    found: dict[int, dict[str, Used]] = {row.pk: {} for row in rows}
    counted: dict[tuple[int, str], set[tuple[int, int]]] = defaultdict(set)
    lines = _uses([row.customer_id for row in rows]).values_list(
        "reference", "invoice__subscription_id", "invoice__sequence_number", "invoice__currency", "gross"
    )
    for reference, subscription_id, number, currency, gross in lines:
        key = keys.get(source_of(reference))
        if key is None:
            continue
        used = found[key].setdefault(currency, Used())
        used.amount = EXACT.subtract(used.amount, gross)
        counted[key, currency].add((subscription_id, number))
        used.invoices = len(counted[key, currency])
    return found


def total_use(uses: dict[str, Used], currency: str) -> Used:
    """Give what decides whether a coupon lasts: invoices of all currencies, and what it took off in its own."""
    own = uses.get(currency)
    return Used(own.amount if own else Decimal(0), sum(used.invoices for used in uses.values()))


def _uses(customer_ids: Sequence[int]) -> QuerySet[InvoiceLine]:
    return InvoiceLine.objects.filter(
        invoice__customer_id__in=customer_ids,
        invoice__calculated_at__isnull=False,
        kind=LineKind.DISCOUNT,
        reference__startswith=f"{PREFIX}{COUPON}",
    ).exclude(invoice__status=InvoiceStatus.CANCELLED)
