"""The taxes of bills: what decides them is read once for all of them."""

from collections.abc import Hashable, Iterable, Mapping, Sequence

from apps.catalog.models import PriceRevision
from apps.catalog.selectors.terms import revisions_by_id
from apps.customers.models import Customer
from apps.invoicing.domain.targets import TargetLine, with_tax
from apps.invoicing.domain.taxes import keeps_its_tax, own_tax_rate, tax_point
from apps.invoicing.models import Invoice
from apps.subscriptions.models import Subscription
from apps.taxes.domain.decision import Supply
from apps.taxes.domain.treatment import Treatment
from apps.taxes.selectors.book import TaxBook, tax_book


def taxed_lines(
    invoices: Sequence[Invoice], lines: Mapping[int, Sequence[TargetLine]], revisions: Mapping[int, PriceRevision]
) -> dict[int, list[TargetLine]]:
    """Give the lines of bills with their taxes.

    A merchant that is registered for tax has them decided by jurisdiction; another by plan and customer, as lines
    say already. One query where nobody is registered, five at most where somebody is.

    Args:
        invoices: with their neighbours.
        lines: by invoice key, with all that is on and off them.
        revisions: the price revisions known by now; others that lines go by are read.
    """
    book = book_of([invoice.customer for invoice in invoices])
    known = _named(lines.values(), revisions) if book.rules else revisions
    found = {}
    for invoice in invoices:
        found[invoice.pk] = taxed(
            invoice.customer, invoice.subscription, lines[invoice.pk], known, book, currency=invoice.currency
        )
    return found


def book_of(customers: Sequence[Customer]) -> TaxBook:
    """Read what decides the taxes of some customers."""
    return tax_book(
        organization_ids={row.organization_id for row in customers}, customer_ids={row.pk for row in customers}
    )


def taxed(
    customer: Customer,
    subscription: Subscription,
    lines: Sequence[TargetLine],
    revisions: Mapping[int, PriceRevision],
    book: TaxBook,
    *,
    currency: str,
) -> list[TargetLine]:
    """Give the lines of one bill with their taxes.

    Args:
        customer: with its merchant and consumer.
        subscription: with its plan.
        revisions: all that the lines go by.
        book: read for this subscription among others.
    """
    treatments = None
    if customer.organization_id in book.rules:
        treatments = _treatments(lines, customer, subscription, revisions, book)
    is_inclusive = subscription.plan.tax_behavior == "inclusive"
    return with_tax(lines, currency=currency, is_inclusive=is_inclusive, treatments=treatments)


def _treatments(
    lines: Sequence[TargetLine],
    customer: Customer,
    subscription: Subscription,
    revisions: Mapping[int, PriceRevision],
    book: TaxBook,
) -> list[Treatment | None]:
    """Decide the taxes of lines: once for those that are sold alike for the same time."""
    has_own_rates = bool(customer.tax_rates)
    decided: dict[Hashable, Treatment | None] = {}
    found: list[Treatment | None] = []
    for line in lines:
        if keeps_its_tax(line):
            found.append(line.treatment)
            continue
        category, scope, metric_id = "", "IN_SCOPE", None
        revision = revisions.get(line.price_revision_id or 0)
        if revision is not None:
            scope, sold = revision.supply_scope, revision.metric or revision.fee
            category = sold.tax_code if sold is not None else ""
            metric_id = revision.metric_id if has_own_rates else None
        alike = (category, scope, metric_id, line.is_prepaid, line.period_start, line.period_end)
        if alike not in decided:
            decided[alike] = _treatment(line, customer, subscription, revision, book)
        found.append(decided[alike])
    return found


def _treatment(
    line: TargetLine, customer: Customer, subscription: Subscription, revision: PriceRevision | None, book: TaxBook
) -> Treatment | None:
    plan = subscription.plan
    metric = revision.metric if revision is not None else None
    sold = metric or (revision.fee if revision is not None else None)
    supply = Supply(
        day=tax_point(line, subscription.timezone),
        category=(sold.tax_code if sold is not None else "") or plan.default_tax_code,
        is_in_scope=revision is None or revision.supply_scope == "IN_SCOPE",
        is_exempt=subscription.tax_exempt,
        own_rate=own_tax_rate(
            customer.tax_rates,
            metric_public_id=metric.public_id if metric is not None else None,
            plan_public_id=plan.public_id,
        ),
        plan_rate=plan.default_tax_rate,
    )
    return book.decide(customer.organization, customer, supply)


def _named(
    lines: Iterable[Sequence[TargetLine]], revisions: Mapping[int, PriceRevision]
) -> Mapping[int, PriceRevision]:
    """Give the revisions that lines go by, reading those that are not known."""
    named = {line.price_revision_id for rows in lines for line in rows if line.price_revision_id is not None}
    missing = named - revisions.keys()
    return {**revisions, **revisions_by_id(missing)} if missing else revisions
