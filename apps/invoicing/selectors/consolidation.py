"""Which invoices may be issued as one document."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from datetime import datetime
from itertools import groupby

from django.db.models import Exists, Q, QuerySet

from apps.customers.models import Customer
from apps.invoicing.models import Invoice, InvoiceLine
from apps.kernel.rows import many
from apps.organizations.models import Organization


def consolidating(rows: QuerySet[Invoice]) -> QuerySet[Invoice]:
    """Narrow invoices to those whose customers get one document, as these or their merchant have it."""
    # Few want it: who does is looked up once, in place of the customer and the merchant of every invoice; where
    # nobody does, no invoice is read.
    customers = Customer.objects.filter(consolidate_invoices__isnull=False)
    wanting, unwilling = customers.filter(consolidate_invoices=True), customers.filter(consolidate_invoices=False)
    merchants = Organization.objects.filter(consolidate_invoices=True)
    return rows.filter(
        Q(Exists(wanting)) | Q(Exists(merchants)),
        Q(customer__in=wanting) | Q(organization__in=merchants) & ~Q(customer__in=unwilling),
    )


def due_groups(due: QuerySet[Invoice], ids: Sequence[int], *, size: int) -> list[list[int]]:
    """Put due invoices into groups to be calculated together; those that may share a document are never parted.

    Args:
        due: everything that is due.
        ids: the part of it that is worked on; what shares a document with any of it comes along.
        size: of a group, as far as documents allow.
    """
    sets = _shared(due, ids)
    known = {pk for members in sets.values() for pk in members}
    units = [*sets.values(), *([pk] for pk in ids if pk not in known)]
    groups: list[list[int]] = []
    for unit in units:
        if not groups or len(groups[-1]) + len(unit) > size:
            groups.append([])
        groups[-1].extend(unit)
    return groups


def units_of(ids: Sequence[int]) -> list[list[int]]:
    """Part invoices into those that may share documents, and the others one by one."""
    rows = consolidating(Invoice.objects.filter(pk__in=many(ids))).order_by("customer_id", "pk")
    units = [
        [pk for _, pk in members]
        for _, members in groupby(rows.values_list("customer_id", "pk"), key=lambda row: row[0])
    ]
    known = {pk for unit in units for pk in unit}
    return [*units, *([pk] for pk in ids if pk not in known)]


def _shared(due: QuerySet[Invoice], ids: Sequence[int]) -> dict[tuple[int, datetime | None], list[int]]:
    """Give by customer and due moment what is due of customers that get one document."""
    rows = consolidating(Invoice.objects.filter(pk__in=many(ids))).order_by("next_action_at", "customer_id")
    # Of a merchant who does not consolidate there are none, which is all that this costs then.
    sets: dict[tuple[int, datetime | None], list[int]] = {
        key: [] for key in rows.values_list("customer_id", "next_action_at").distinct()
    }
    if sets:
        found = due.filter(customer_id__in={customer_id for customer_id, _ in sets}).order_by("pk")
        for pk, customer_id, moment in found.values_list("pk", "customer_id", "next_action_at"):
            if (customer_id, moment) in sets:
                sets[customer_id, moment].append(pk)
    return sets


def documents_of(invoices: Sequence[Invoice]) -> list[list[Invoice]]:
    """Part calculated invoices by the documents that they are issued on, in the order of the first of each.

    Args:
        invoices: of one organization, with their neighbours, and stored with their lines.
    """
    candidates = [invoice for invoice in invoices if _is_consolidating(invoice)]
    if not candidates:
        return [[invoice] for invoice in invoices]
    outside = _outside_scope(candidates) if len(candidates) > 1 else set()
    documents: dict[Hashable, list[Invoice]] = defaultdict(list)
    together = {invoice.pk for invoice in candidates}
    for invoice in invoices:
        key = _terms(invoice, invoice.pk in outside) if invoice.pk in together else invoice.pk
        documents[key].append(invoice)
    return list(documents.values())


def _is_consolidating(invoice: Invoice) -> bool:
    own = invoice.customer.consolidate_invoices
    return invoice.organization.consolidate_invoices if own is None else own


def _terms(invoice: Invoice, is_outside_scope: bool) -> Hashable:
    """Give what invoices must have in common: a document has one customer, currency, due date and set of dates.

    What is not subject to tax stands apart, as e-invoices ask for.
    """
    subscription = invoice.subscription
    return (
        invoice.customer_id,
        invoice.currency,
        invoice.due_until,
        subscription.test_clock_id,
        subscription.timezone,
        subscription.payment_term_days,
        subscription.auto_charge,
        subscription.tax_exempt,
        subscription.plan.tax_behavior,
        is_outside_scope,
    )


def _outside_scope(invoices: Sequence[Invoice]) -> set[int]:
    rows = InvoiceLine.objects.filter(
        Q(price_revision__supply_scope="OUTSIDE_SCOPE") | Q(tax_treatment__category="O"), invoice__in=invoices
    )
    return set(rows.values_list("invoice_id", flat=True))
