"""Which charges are on which invoice, and by which terms each goes."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

from apps.catalog.models import PriceRevision
from apps.catalog.selectors.terms import current_revision_ids_of
from apps.invoicing.domain.charges import Charge, ChargeTerms, charges_due, charges_running
from apps.invoicing.models import Invoice, InvoiceStatus
from apps.invoicing.selectors.shares import is_asleep
from apps.kernel.time import Cadence
from apps.subscriptions.domain.grid import Grid
from apps.subscriptions.domain.timeline import Timeline
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.subscriptions import (
    cadence_of,
    gives_back_unused,
    grid_of,
    known_end,
    open_grid_of,
    upcoming_version_id,
)


def next_terms_of(invoices: Sequence[Invoice]) -> dict[int, Sequence[int]]:
    """Give, by invoice key, the price revisions that charges in advance of the next period go by."""
    opened = [invoice for invoice in invoices if invoice.status == InvoiceStatus.ACTIVE]
    versions = {invoice.pk: upcoming_version_id(invoice.subscription) for invoice in opened}
    current = current_revision_ids_of(set(versions.values()))
    return {
        invoice.pk: current[versions[invoice.pk]] if invoice.pk in versions else invoice.next_revision_ids
        for invoice in invoices
    }


def charge_terms(revision: PriceRevision, *, plan_cadence: str, trial_usage: str) -> ChargeTerms:
    """Give what decides when a price is charged; without an own cadence it follows the plan's."""
    return ChargeTerms(
        revision_id=revision.pk,
        price_id=revision.price.public_id,
        is_in_advance=revision.is_prepaid,
        cadence=Cadence.parse(revision.billing_cadence or plan_cadence),
        is_obligation=revision.is_obligation,
        is_billed_in_trial=revision.bills_usage and trial_usage == "billed",
    )


def charges_of(
    invoice: Invoice, revisions: Mapping[int, PriceRevision], next_ids: Sequence[int], timeline: Timeline
) -> list[Charge]:
    """Give the charges that belong on an invoice: those due in its window, each by the terms it opened with.

    Prices that only this subscription has come last, each by the terms it was made with.
    """
    subscription = invoice.subscription
    cadence, plan_cadence = subscription.billing_cadence, cadence_of(subscription)
    after, until = invoice.due_after, invoice.due_until
    grid, grid_in_advance = grid_of(subscription), _grid_in_advance(subscription)
    known: dict[Hashable, list[Charge]] = {}

    def due(ids: Iterable[int]) -> list[Charge]:
        found: list[Charge] = []
        for row in (revisions[i] for i in ids if i in revisions):
            # Prices of one calendar are charged at the same times: worked out for the first of them.
            calendar = (row.is_prepaid, row.billing_cadence, row.is_obligation, row.bills_usage)
            like = known.get(calendar)
            if like is None:
                terms = charge_terms(row, plan_cadence=cadence, trial_usage=subscription.trial_usage)
                like = known[calendar] = due_of([terms])
            price_id = row.price.public_id
            found += [Charge(row.pk, price_id, one.service, one.whole, one.due_at) for one in like]
        return found

    def due_of(terms_of_all: Iterable[ChargeTerms]) -> list[Charge]:
        found: list[Charge] = []
        for terms in terms_of_all:
            own = grid_in_advance if terms.is_in_advance else grid
            if invoice.is_early:
                charges = charges_running([terms], own, after=after, at=until)
            else:
                charges = charges_due([terms], own, after=after, until=until, plan_cadence=plan_cadence)
            revision = revisions[terms.revision_id]
            found.extend(c for c in charges if is_owed(subscription, c) and not is_asleep(subscription, c, revision))
        return found

    if invoice.is_early:
        return due(invoice.price_revision_ids)
    owned = due_of(owned_terms(timeline, revisions, plan_cadence=cadence, trial_usage=subscription.trial_usage))
    if invoice.sequence_number == 0:
        return due(invoice.price_revision_ids) + owned
    starts_next = invoice.due_until
    own = [c for c in due(invoice.price_revision_ids) if c.service.start < starts_next]
    return own + [c for c in due(next_ids) if c.service.start >= starts_next] + owned


def sameness_of(invoice: Invoice, next_ids: Sequence[int]) -> Hashable:
    """Give what charges of an invoice depend on, whose subscription has no prices, quantities or pauses of its own.

    Invoices with the same have the same charges with the same parts: `charges_of` and `parts_of` read nothing else.
    """
    subscription = invoice.subscription
    return (
        # What makes its calendar, not made for each of very many.
        subscription.billing_anchor,
        subscription.started_at,
        subscription.timezone,
        subscription.has_own_anchor,
        subscription.trial_ends_at,
        known_end(subscription),
        invoice.due_after,
        invoice.due_until,
        invoice.is_early,
        invoice.sequence_number == 0,
        tuple(invoice.price_revision_ids),
        tuple(next_ids),
        subscription.plan_id,
        subscription.next_plan_id is None,
        subscription.billing_cadence,
        subscription.trial_usage,
        subscription.terminated_at,
    )


def owned_terms(
    timeline: Timeline, revisions: Mapping[int, PriceRevision], *, plan_cadence: str, trial_usage: str
) -> list[ChargeTerms]:
    """Give what decides when the prices are charged that only one subscription has, each for its time."""
    return [
        replace(
            charge_terms(revisions[interval.revision_id], plan_cadence=plan_cadence, trial_usage=trial_usage),
            starts_at=interval.start,
            ends_at=interval.end,
            bills_at=interval.bills_at,
            own_key=interval.key,
        )
        for interval in timeline.owned()
        if interval.revision_id is not None
    ]


def _grid_in_advance(subscription: Subscription) -> Grid:
    """Give the calendar that charges in advance go by.

    What fell due in advance before a termination is owed whole, unless the plan gives the unused part back.
    """
    return grid_of(subscription) if gives_back_unused(subscription) else open_grid_of(subscription)


def is_owed(subscription: Subscription, charge: Charge) -> bool:
    """Whether a charge's service begins before the subscription was terminated."""
    return subscription.terminated_at is None or charge.service.start < subscription.terminated_at
