"""What terms would come to over the usage of customers in a past time, or over usage that nobody had.

A bill is simulated by the calculation of real ones, over rows that only live in memory: a subscription to the terms
whose periods count from the interval's start, and an invoice of all that falls due in it. Nothing is stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any

from django.db.models import Sum
from msgspec.structs import replace

from apps.catalog.models import Plan, PriceRevision
from apps.catalog.selectors.terms import current_revision_ids_of, revisions_by_id
from apps.customers.models import Customer
from apps.invoicing.domain.adjustments import AdjustmentTerms
from apps.invoicing.domain.simulation import GivenUsage, spread, usage_of_given
from apps.invoicing.domain.targets import Totals, totals_of
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus
from apps.invoicing.selectors.adjustments import adjustment_terms_under
from apps.invoicing.selectors.metered import MeteredRequest, metered_usage
from apps.invoicing.selectors.simulated import Offer, SimulatedBill, Simulation, lines_of
from apps.invoicing.selectors.simulated_rights import SimulatedRights
from apps.invoicing.selectors.targets import Terms, calculated_lines, just_before
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.time import Cadence, Period, add
from apps.metering.selectors.links import subjects_of
from apps.metering.selectors.usage import UsageRequest, period_usage
from apps.rating.usage import Usage
from apps.subscriptions.models import Subscription, SubscriptionPause, SubscriptionStatus
from apps.subscriptions.selectors.timeline import keys_of, timelines_of

PRESENT, BILLED, NOTHING = "present", "billed", "none"
COMPARISONS = (PRESENT, BILLED, NOTHING)
# Of all customers together, so that an answer takes seconds.
MOST_CHARGES = 100_000
ONCE = "P0D"


@dataclass(slots=True)
class _Life:
    """When a customer had the product, by whatever plan, and the subscription that is or was the last."""

    last: Subscription
    start: datetime
    end: datetime | None
    pauses: list[SubscriptionPause] = field(default_factory=list)

    def within(self, period: Period) -> Period:
        """Give the part of an interval that it covers; it touches the interval."""
        end = period.end if self.end is None else min(self.end, period.end)
        return Period(max(self.start, period.start), end)


def simulate(
    *,
    offer: Offer,
    customers: Sequence[Customer],
    period: Period,
    tz: str,
    comparison: str,
    with_one_time: bool,
    as_of: datetime,
) -> Simulation:
    """Price the usage that customers had in an interval by some terms.

    A customer is billed for the time in which it had the product; one that never had it, for the whole interval.
    What was agreed with it for that time holds in the simulated terms, too, and so do its pauses and taxes. What it
    pays now has the prices and quantities that only it has. Rights to features cover usage on both sides.

    Args:
        customers: of one merchant, with organization and consumer at hand.
        tz: calendar steps are local to it.
        comparison: with the terms of the plan version it has, with what was billed, or none.
        with_one_time: whether fees that are charged once are billed at the beginning.
        as_of: the present, for provenance.

    Raises:
        InvalidError: that would be too many charges.
        RawEventsGoneError: events that are needed one by one are dropped.
    """
    lives = _lives([customer.pk for customer in customers], offer.plan.product_id, period)
    present = _present_terms(lives, offer) if comparison == PRESENT else {}
    numbers = count(1)
    offered = _kept(offer.revisions, with_one_time)
    simulated = {c.pk: _as_if(next(numbers), c, lives.get(c.pk), offer.plan, offered, period, tz) for c in customers}
    others = {
        c.pk: _as_if(
            next(numbers), c, lives[c.pk], lives[c.pk].last.plan, _kept(present[c.pk], with_one_time), period, tz
        )
        for c in customers
        if c.pk in present
    }
    rows = [*simulated.values(), *others.values()]
    revisions = {row.pk: row for row in (*offered, *(row for known in present.values() for row in known))}
    _check_size(rows, revisions, period)
    lasts = {customer_id: life.last for customer_id, life in lives.items()}
    known = keys_of(list(lasts.values()))
    agreed = adjustment_terms_under(
        {last.pk: offer.lines_for(last.plan_id, known[last.pk]) for last in lasts.values()}
    )
    agreed_now = adjustment_terms_under(
        {lasts[key].pk: lines_of(kept, known[lasts[key].pk]) for key, kept in present.items()}
    )
    adjustments: dict[int, Sequence[AdjustmentTerms]] = {
        row.subscription.pk: terms_of_all.get(lasts[key].pk, ())
        for side, terms_of_all in ((simulated, agreed), (others, agreed_now))
        for key, row in side.items()
        if key in lasts
    }
    agreed_prices = timelines_of(lives[key].last for key in others)
    owned = {one.revision_id for timeline in agreed_prices.values() for one in timeline.owned() if one.revision_id}
    terms = Terms(
        revisions={**(revisions_by_id(owned) if owned else {}), **revisions},
        next_ids={},
        subjects=subjects_of(customer_ids=[customer.pk for customer in customers]),
        adjustments=adjustments,
        timelines={row.subscription.pk: agreed_prices[lives[key].last.pk] for key, row in others.items()},
    )
    gone = {key: life.end for key, life in lives.items() if life.end is not None and life.end <= period.end}
    rights = SimulatedRights(rows, revisions, terms.subjects, usage_of=_read, gone=gone)

    def usage_of(requests: Sequence[MeteredRequest]) -> list[Usage]:
        return rights.applied(requests, _each_once(requests))

    lines = calculated_lines(rows, terms, as_of=as_of, beside={}, usage_of=usage_of)
    billed = _billed(customers, lives, offer, period, with_one_time) if comparison == BILLED else {}
    bills = []
    for customer in customers:
        own = tuple(lines[simulated[customer.pk].pk])
        other = tuple(lines[others[customer.pk].pk]) if customer.pk in others else ()
        compared = totals_of(other) if customer.pk in others else billed.get(customer.pk)
        own_units = rights.of(simulated[customer.pk])
        other_units = rights.of(others[customer.pk]) if customer.pk in others else ()
        bills.append(SimulatedBill(customer, own, totals_of(own), compared, other, own_units, other_units))
    bills.sort(key=lambda bill: (bill.difference is None, -(bill.difference or Decimal(0))))
    return Simulation(offer, period, comparison, tuple(bills))


def simulate_given(
    *,
    offer: Offer,
    organization_id: int,
    given: Sequence[GivenUsage],
    start: datetime,
    tz: str,
    with_one_time: bool,
    as_of: datetime,
) -> Simulation:
    """Price usage that nobody had by some terms, over one period of the plan from `start` on.

    Args:
        given: the usage of one period of each price.
    """
    period = Period(start, add(start, Cadence.parse(offer.plan.billing_cadence), tz))
    customer = Customer(pk=-1, organization_id=organization_id)
    revisions = _kept(offer.revisions, with_one_time)
    invoice = _as_if(1, customer, None, offer.plan, revisions, period, tz)
    terms = Terms({row.pk: row for row in revisions}, {}, {}, {})

    rights = SimulatedRights([invoice], terms.revisions, {}, usage_of=partial(_spread, given, period))

    def usage_of(requests: Sequence[MeteredRequest]) -> list[Usage]:
        known = [
            usage_of_given(request.price, [row for row in given if row.metric_id == request.usage.metric_id])
            for request in requests
        ]
        return rights.applied(requests, known)

    lines = tuple(calculated_lines([invoice], terms, as_of=as_of, beside={}, usage_of=usage_of)[invoice.pk])
    bill = SimulatedBill(None, lines, totals_of(lines), units=rights.of(invoice))
    return Simulation(offer, period, NOTHING, (bill,))


def _spread(given: Sequence[GivenUsage], period: Period, requests: Sequence[UsageRequest]) -> list[Decimal]:
    """Give what spans have of usage that nobody had: it comes evenly over the period."""
    return [spread(given, request.metric_id, period, Period(request.start, request.end)) for request in requests]


def _lives(customer_ids: Sequence[int], product_id: int, period: Period) -> dict[int, _Life]:
    """Give by customer when it had the product in an interval; those that had it not are left out."""
    rows = (
        Subscription.objects.filter(
            customer_id__in=customer_ids,
            product_id=product_id,
            activated_at__isnull=False,
            started_at__lt=period.end,
        )
        .exclude(terminated_at__lte=period.start)
        .select_related("plan", "plan_version")
        .prefetch_related("pauses")
        .order_by("customer_id", "started_at", "pk")
    )
    found: dict[int, _Life] = {}
    for row in rows:
        known = found.setdefault(row.customer_id, _Life(row, row.started_at, row.terminated_at))
        known.last = row
        known.end = None if known.end is None or row.terminated_at is None else max(known.end, row.terminated_at)
        known.pauses.extend(row.pauses.all())
    return found


def _present_terms(lives: Mapping[int, _Life], offer: Offer) -> dict[int, list[PriceRevision]]:
    """Give by customer the prices of the plan version it has; none where it pays in another currency."""
    own = {
        customer_id: life.last.plan_version_id
        for customer_id, life in lives.items()
        if life.last.currency == offer.plan.currency
    }
    ids = current_revision_ids_of(set(own.values()))
    rows = revisions_by_id({key for keys in ids.values() for key in keys})
    return {customer_id: [rows[key] for key in ids[version]] for customer_id, version in own.items()}


def _kept(revisions: Sequence[PriceRevision], with_one_time: bool) -> list[PriceRevision]:
    return [row for row in revisions if with_one_time or row.billing_cadence != ONCE]


def _as_if(
    number: int,
    customer: Customer,
    life: _Life | None,
    plan: Plan,
    revisions: Sequence[PriceRevision],
    period: Period,
    tz: str,
) -> Invoice:
    """Give the bill of an interval as if the customer had had these terms in it; negative keys name no stored row."""
    service = period if life is None else life.within(period)
    subscription = Subscription(
        pk=-number,
        public_id=life.last.public_id if life is not None else "",
        organization_id=customer.organization_id,
        customer=customer,
        plan=plan,
        product_id=plan.product_id,
        name=plan.name,
        status=SubscriptionStatus.ACTIVE,
        currency=plan.currency,
        placed_at=service.start,
        started_at=service.start,
        billing_starts_at=service.start,
        billing_anchor=period.start,
        billing_cadence=plan.billing_cadence,
        has_own_anchor=False,
        timezone=tz,
        ending_at=service.end,
        tax_exempt=life.last.tax_exempt if life is not None else False,
        paused_at=life.last.paused_at if life is not None else None,
    )
    # As a prefetch leaves them: what is not stored has no pauses of its own to be read.
    prefetched: dict[str, Any] = {"pauses": life.pauses if life is not None else []}
    subscription._prefetched_objects_cache = prefetched  # type: ignore[attr-defined]
    return Invoice(
        pk=-number,
        organization_id=customer.organization_id,
        customer=customer,
        subscription=subscription,
        # As that of all that falls due up to a moment.
        sequence_number=0,
        status=InvoiceStatus.CALCULATING,
        currency=plan.currency,
        period_start=service.start,
        period_end=service.end,
        due_after=just_before(service.start),
        due_until=service.end,
        price_revision_ids=[row.pk for row in revisions],
    )


def _check_size(rows: Sequence[Invoice], revisions: Mapping[int, PriceRevision], period: Period) -> None:
    charges = 0
    for invoice in rows:
        for key in invoice.price_revision_ids:
            cadence = Cadence.parse(revisions[key].billing_cadence or invoice.subscription.billing_cadence)
            days = cadence.months * 30 + cadence.days
            charges += 1 + (period.end - period.start).days // days if days else 1
    if charges > MOST_CHARGES:
        message = f"That would be {charges:,} charges, and {MOST_CHARGES:,} is the most; ask for a shorter time."
        raise InvalidError(message, errors=[FieldError("to", message, "too_many")])


def _each_once(requests: Sequence[MeteredRequest]) -> list[Usage]:
    """Read usage that both sides of a comparison ask for only once, before rights take anything off it."""
    numbers: dict[tuple[Any, ...], int] = {}
    places: list[int] = []
    unique: list[MeteredRequest] = []
    for request in requests:
        usage = request.usage
        # The lists of subjects and the prices are shared by all charges of a customer, and of a price.
        key = (usage.metric_id, id(usage.subjects), usage.start, usage.end, _reading_of(request))
        if key not in numbers:
            numbers[key] = len(unique)
            unique.append(replace(request, allowance=None))
        places.append(numbers[key])
    answers = metered_usage(unique)
    return [answers[place] for place in places]


def _read(requests: Sequence[UsageRequest]) -> Sequence[Decimal | None]:
    return period_usage(requests=requests)


def _reading_of(request: MeteredRequest) -> int | None:
    """Tell readings of the same usage apart: a plain quantity is the same for every price."""
    return None if request.is_plain else id(request.price)


def _billed(
    customers: Sequence[Customer], lives: Mapping[int, _Life], offer: Offer, period: Period, with_one_time: bool
) -> dict[int, Totals]:
    """Give by customer what issued invoices billed for the product and for service that begins in the interval."""
    lines = InvoiceLine.objects.filter(
        invoice__customer_id__in=[customer.pk for customer in customers],
        invoice__subscription__product_id=offer.plan.product_id,
        invoice__issued_at__isnull=False,
        currency=offer.plan.currency,
        price_revision__isnull=False,
        period_start__gte=period.start,
        period_start__lt=period.end,
    ).exclude(invoice__status=InvoiceStatus.CANCELLED)
    if not with_one_time:
        lines = lines.exclude(price_revision__billing_cadence=ONCE)
    sums = lines.values_list("invoice__customer_id").annotate(net=Sum("subtotal"), tax=Sum("tax_amount"))
    found = {key: Totals(Decimal(0), Decimal(0)) for key, life in lives.items()}
    found |= {key: Totals(net, tax) for key, net, tax in sums}
    return found


def subscribers_of(*, plan: Plan, period: Period, limit: int) -> list[Customer]:
    """Give the customers that had a plan in an interval, up to one more than the limit, the first customers first."""
    rows = Subscription.objects.filter(plan=plan, activated_at__isnull=False, started_at__lt=period.end)
    ids = rows.exclude(terminated_at__lte=period.start).values("customer_id")
    found = Customer.objects.filter(organization_id=plan.organization_id, pk__in=ids)
    return list(found.select_related("organization", "consumer").order_by("pk")[: limit + 1])
