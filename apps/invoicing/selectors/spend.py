"""Commitments and caps of subscriptions: which hold when, what is billed in them, and their lines."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction

from django.db.models import Q, QuerySet

from apps.catalog.models import PriceRevision, SpendTerms
from apps.catalog.selectors.spend import spend_terms_of
from apps.catalog.selectors.terms import revisions_by_id
from apps.invoicing.domain.settling import Label, Settling, with_cap, with_true_ups
from apps.invoicing.domain.spend import (
    CAP,
    COMMITMENT,
    Entry,
    Span,
    SpendRule,
    Timeline,
    find_role,
    timeline,
)
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus, SpendAgreement
from apps.invoicing.selectors.rates import rate_of
from apps.kernel.rows import many
from apps.kernel.time import Cadence
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.subscriptions import grid_of, pauses_of, upcoming_version_id

Scope = tuple[str, int | None]


@dataclass(frozen=True, slots=True)
class Window:
    """An invoice of a subscription as far as settling asks: what falls due in it, and the terms it opened with."""

    invoice_id: int
    is_calculated: bool
    due_after: datetime
    due_until: datetime


@dataclass(frozen=True, slots=True)
class Opening:
    """The terms that periods from an instant on begin with, until the next opening."""

    at: datetime
    version_id: int | None
    revision_ids: Sequence[int]


@dataclass(slots=True)
class SpendBook:
    """What decides the commitments and caps on some invoices; invoices that are worked out add to it.

    Attributes:
        of_version: terms by plan version and kind.
        of_revision: terms by price revision and kind.
        agreements: by subscription, the latest agreed first.
        windows: the invoices of each subscription, in order.
        openings: by subscription, in order.
        entries: what other invoices of each subscription bill.
        revisions: price revisions by their keys, at least those that lines may name.
        carriers: the invoice of each subscription that takes corrections of earlier periods.
        worked_out: invoices of this batch that are done.
    """

    of_version: dict[int, dict[str, SpendTerms]] = field(default_factory=lambda: defaultdict(dict))
    of_revision: dict[int, dict[str, SpendTerms]] = field(default_factory=lambda: defaultdict(dict))
    agreements: dict[int, list[SpendAgreement]] = field(default_factory=lambda: defaultdict(list))
    windows: dict[int, list[Window]] = field(default_factory=lambda: defaultdict(list))
    openings: dict[int, list[Opening]] = field(default_factory=lambda: defaultdict(list))
    entries: dict[int, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    revisions: dict[int, PriceRevision] = field(default_factory=dict)
    carriers: dict[int, int] = field(default_factory=dict)
    worked_out: set[int] = field(default_factory=set)

    def settle(self, invoice: Invoice, lines: Sequence[TargetLine]) -> list[TargetLine]:
        """Give an invoice's lines with those of its commitments and caps: caps first, and of prices first."""
        found = list(lines)
        scopes = sorted(self._scopes(invoice), key=lambda scope: (scope[0] != CAP, scope[1] is None, scope[1] or 0))
        for kind, price_id in scopes:
            settled = with_cap if kind == CAP else with_true_ups
            found = settled(found, self._settling(invoice, kind, price_id, found), price_id=price_id)
        return found

    def note(self, invoice: Invoice, lines: Iterable[TargetLine]) -> None:
        """Let the invoices that are worked out after it know what it bills."""
        known = self.entries[invoice.subscription_id]
        known.extend(entry for entry in map(self.entry_of, lines) if entry is not None)
        self.worked_out.add(invoice.pk)

    def entry_of(self, line: TargetLine) -> Entry | None:
        key = line.price_revision_id
        role = find_role(line.kind, line.reference, has_price=key is not None)
        if role is None:
            return None
        price_id = self.revisions[key].price_id if key is not None else None
        return Entry(role, price_id, key, line.period_start, line.gross)

    def _scopes(self, invoice: Invoice) -> set[Scope]:
        found: set[Scope] = {(row.kind, row.price_id) for row in self.agreements[invoice.subscription_id]}
        for opening in self.openings[invoice.subscription_id]:
            found |= {(kind, None) for kind in self.of_version.get(opening.version_id or 0, ())}
            for key in opening.revision_ids:
                found |= {(kind, self.revisions[key].price_id) for kind in self.of_revision.get(key, ())}
        return found

    def _settling(self, invoice: Invoice, kind: str, price_id: int | None, lines: Sequence[TargetLine]) -> Settling:
        return Settling(
            line=self._timeline(invoice, kind, price_id, lines),
            share=lambda span: self._share(invoice, span),
            earlier=self.entries[invoice.subscription_id],
            entry_of=self.entry_of,
            is_due=lambda span: self._is_due(invoice, span, kind),
            label=lambda key: self._label(invoice, kind, price_id, key),
            currency=invoice.currency,
        )

    def _timeline(self, invoice: Invoice, kind: str, price_id: int | None, lines: Sequence[TargetLine]) -> Timeline:
        subscription = invoice.subscription
        agreed = [row for row in self.agreements[subscription.pk] if (row.kind, row.price_id) == (kind, price_id)]
        changes = [opening.at for opening in self.openings[subscription.pk]]
        for row in agreed:
            changes += [at for at in (row.effective_from, row.effective_to) if at is not None]
        return timeline(
            lambda at: self._rule_at(subscription, kind, price_id, agreed, at),
            changes,
            grid_of(subscription),
            # What is tried commits to nothing; what is billed of it all the same counts in the first period after.
            starts_at=max(subscription.billing_starts_at, subscription.trial_ends_at or subscription.started_at),
            until=max([invoice.due_until, *(line.period_start for line in lines)]),
        )

    def _rule_at(
        self,
        subscription: Subscription,
        kind: str,
        price_id: int | None,
        agreed: Sequence[SpendAgreement],
        at: datetime,
    ) -> SpendRule | None:
        """Give what holds for a period that begins at an instant: what is agreed, else the plan's or the price's."""
        openings = self.openings[subscription.pk]
        opening = next((known for known in reversed(openings) if known.at <= at), openings[0] if openings else None)
        own = self._revision(opening, price_id)
        cadence = Cadence.parse((own.billing_cadence if own is not None else "") or subscription.billing_cadence)
        for row in agreed:
            if row.effective_from > at or (row.effective_to is not None and row.effective_to <= at):
                continue
            step = Cadence.parse(row.cadence) if row.cadence else cadence
            slot = grid_of(subscription).slot_at(step, at)
            if slot is None or min(slot.service.end, row.effective_to or slot.service.end) <= row.placed_at:
                # What was over when it was agreed is billed without it.
                continue
            if row.amount is None:
                return None
            ref = {"type": "spendAgreement", "ref": {"spendAgreementId": row.public_id}}
            return SpendRule(kind, price_id, row.amount, step, ref, row.effective_to)
        if price_id is None:
            version_id = opening.version_id if opening is not None else None
            terms = self.of_version.get(version_id or 0, {}).get(kind)
        else:
            terms = self.of_revision.get(own.pk, {}).get(kind) if own is not None else None
        if terms is None:
            return None
        return SpendRule(
            kind, price_id, terms.amount, Cadence.parse(terms.cadence) if terms.cadence else cadence, _source(terms)
        )

    def _revision(self, opening: Opening | None, price_id: int | None) -> PriceRevision | None:
        """Give the revision that an opening bills a price by."""
        if opening is None or price_id is None:
            return None
        known = (self.revisions[key] for key in opening.revision_ids if key in self.revisions)
        return next((row for row in known if row.price_id == price_id), None)

    def _share(self, invoice: Invoice, span: Span) -> Fraction:
        subscription = invoice.subscription
        return pauses_of(subscription).active_share(
            span.service, span.whole, basis=subscription.plan.proration, tz=subscription.timezone
        )

    def _is_due(self, invoice: Invoice, span: Span, kind: str) -> bool:
        """Whether a period is settled on an invoice: the one that its end falls in, or one that corrects it.

        A true-up waits until every other invoice that may bill something of the period is calculated. What it misses
        on its own invoice because of that, the next one takes.
        """
        carries = self.carriers.get(invoice.subscription_id) == invoice.pk
        if kind == CAP:
            return carries
        if invoice.sequence_number == 0 or invoice.is_early:
            return False
        end = span.service.end
        others = [known for known in self.windows[invoice.subscription_id] if known.invoice_id != invoice.pk]
        done = [known for known in others if known.is_calculated or known.invoice_id in self.worked_out]
        if sum(known.due_after < end for known in others) > sum(known.due_after < end for known in done):
            return False
        if invoice.due_after < end <= invoice.due_until:
            return True
        return carries and (end <= invoice.due_until or any(known.due_until >= end for known in done))

    def _label(self, invoice: Invoice, kind: str, price_id: int | None, key: int | None) -> Label:
        if kind == COMMITMENT:
            name = "Minimum commitment"
            if price_id is None:
                return Label("plan", name, rate_of(invoice, None))
            openings = reversed(self.openings[invoice.subscription_id])
            row = next(row for row in (self._revision(known, price_id) for known in openings) if row is not None)
            scope = row.price.public_id
        else:
            row, name = self.revisions[key or 0], "Spend cap, given back"
            scope = f"{row.price.public_id}.{row.number}"
        return Label(scope, f"{name}: {row.invoice_display_name}", rate_of(invoice, row), row.pk, row.metric_id)


def spend_book(
    invoices: Sequence[Invoice],
    lines: Mapping[int, Sequence[TargetLine]],
    revisions: Mapping[int, PriceRevision],
    next_ids: Mapping[int, Sequence[int]],
) -> SpendBook | None:
    """Give what decides the commitments and caps on some invoices; None where nothing of the kind is agreed.

    A fixed number of queries, two where there is nothing.

    Args:
        invoices: open ones, with their neighbours.
        lines: rated, by invoice.
        revisions: the price revisions known by now.
        next_ids: by invoice, the revisions that the next period goes by.
    """
    ids = sorted({invoice.subscription_id for invoice in invoices})
    terms = spend_terms_of(organization_ids=[invoice.organization_id for invoice in invoices])
    agreements = list(
        SpendAgreement.objects.filter(subscription_id__in=many(ids)).select_related("price").order_by("-pk")
    )
    if not terms and not agreements:
        return None
    book = SpendBook()
    for row in terms:
        if row.plan_version_id is not None:
            book.of_version[row.plan_version_id][row.kind] = row
        elif row.price_revision_id is not None:
            book.of_revision[row.price_revision_id][row.kind] = row
    for agreed in agreements:
        book.agreements[agreed.subscription_id].append(agreed)
    _read_windows(book, ids)
    for invoice in invoices:
        _open(book, invoice, next_ids.get(invoice.pk, ()))
        if invoice.sequence_number > 0 and not invoice.is_early:
            book.carriers[invoice.subscription_id] = invoice.pk
    wanted = {key for known in book.openings.values() for opening in known for key in opening.revision_ids}
    wanted |= {line.price_revision_id for rows in lines.values() for line in rows if line.price_revision_id}
    billed = list(_billed(ids, [invoice.pk for invoice in invoices]))
    wanted |= {line.price_revision_id for line in billed if line.price_revision_id}
    missing = wanted - revisions.keys()
    book.revisions = {**revisions, **revisions_by_id(missing)}
    for line in billed:
        entry = _entry(book, line)
        if entry is not None:
            book.entries[line.invoice.subscription_id].append(entry)
    for invoice in invoices:
        _add_own_prices(book, invoice, lines.get(invoice.pk, ()))
    return book


def commits_to_spend(subscription: Subscription) -> bool:
    """Whether the end of a subscription may still bring a true-up."""
    terms = SpendTerms.objects.filter(
        Q(plan_version__plan_id=subscription.plan_id) | Q(price_revision_id__in=subscription.price_revision_ids),
        kind=COMMITMENT,
    )
    agreed = SpendAgreement.objects.filter(subscription=subscription, kind=COMMITMENT, amount__isnull=False)
    return terms.exists() or agreed.exists()


def agreements_of(*, subscription: Subscription) -> QuerySet[SpendAgreement]:
    """Give the commitments and caps agreed with a subscriber, the oldest window first."""
    rows = SpendAgreement.objects.filter(subscription=subscription).select_related("subscription", "price")
    return rows.order_by("effective_from", "pk")


def _read_windows(book: SpendBook, subscription_ids: Sequence[int]) -> None:
    # Early bills are parts of a period and documents are of several; what they bill counts, but they are no windows.
    rows = Invoice.objects.filter(subscription_id__in=subscription_ids, part=0, has_members=False, is_purchase=False)
    for row in rows.exclude(status=InvoiceStatus.CANCELLED).order_by("subscription_id", "sequence_number").only(
        "pk", "subscription_id", "sequence_number", "calculated_at", "due_after", "due_until", "period_start",
        "plan_version_id", "price_revision_ids",
    ):  # fmt: skip
        known = Window(row.pk, row.calculated_at is not None, row.due_after, row.due_until)
        book.windows[row.subscription_id].append(known)
        if row.sequence_number > 0:
            opening = Opening(row.period_start, row.plan_version_id, row.price_revision_ids)
            book.openings[row.subscription_id].append(opening)


def _open(book: SpendBook, invoice: Invoice, next_ids: Sequence[int]) -> None:
    """Add what is only known of the present: how Invoice 0 begins, and how the period after an open one will."""
    known = book.openings[invoice.subscription_id]
    if not known:
        start = invoice.subscription.started_at
        known.append(Opening(start, invoice.plan_version_id, invoice.price_revision_ids))
    elif invoice.status == InvoiceStatus.ACTIVE:
        known.append(Opening(invoice.due_until, upcoming_version_id(invoice.subscription), next_ids))


def _add_own_prices(book: SpendBook, invoice: Invoice, lines: Sequence[TargetLine]) -> None:
    """Add the prices that only this subscription has, which no plan opens with, as far as they ask for anything."""
    known = book.openings[invoice.subscription_id]
    sold = {book.revisions[key].price_id for opening in known for key in opening.revision_ids}
    billed = [entry.revision_id for entry in book.entries[invoice.subscription_id]]
    named = {*billed, *(line.price_revision_id for line in lines)} & book.of_revision.keys()
    own = sorted(key for key in named if key is not None and book.revisions[key].price_id not in sold)
    if own:
        book.openings[invoice.subscription_id] = [
            replace(opening, revision_ids=[*opening.revision_ids, *own]) for opening in known
        ]


def _billed(subscription_ids: Sequence[int], being_worked_out: Sequence[int]) -> QuerySet[InvoiceLine]:
    """Give the lines of calculated invoices, without what decides nothing."""
    rows = InvoiceLine.objects.filter(
        invoice__subscription_id__in=subscription_ids, invoice__calculated_at__isnull=False
    )
    rows = rows.exclude(invoice__status=InvoiceStatus.CANCELLED).exclude(invoice_id__in=being_worked_out)
    return rows.select_related("invoice").only(
        "kind", "reference", "price_revision_id", "period_start", "gross", "invoice__subscription_id"
    )


def _entry(book: SpendBook, row: InvoiceLine) -> Entry | None:
    key = row.price_revision_id
    role = find_role(row.kind, row.reference, has_price=key is not None)
    if role is None:
        return None
    price_id = book.revisions[key].price_id if key is not None else None
    return Entry(role, price_id, key, row.period_start, row.gross)


def _source(terms: SpendTerms) -> dict[str, object]:
    if terms.plan_version is not None:
        ref: dict[str, object] = {"planVersionId": terms.plan_version.public_id}
        return {"type": "planVersion", "ref": ref}
    assert terms.price_revision is not None
    price = terms.price_revision
    return {"type": "price", "ref": {"priceId": price.price.public_id, "revision": price.number}}
