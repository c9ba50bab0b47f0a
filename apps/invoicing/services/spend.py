"""Agreeing a commitment or a cap with one subscriber, and taking it back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction
from django.db.models.fields.json import KT

from apps.catalog.models import PlanVersionPrice, Price, PriceRevision, SpendTerms
from apps.catalog.selectors.spend import SpendAmount
from apps.catalog.services.spend import amount_errors
from apps.invoicing.events import SpendAgreed, SpendWithdrawn
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus, LineKind, SpendAgreement
from apps.invoicing.services.agreeing import find_known, hold_invoices, require_live, withdraw
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.rows import many
from apps.kernel.time import parse_instant
from apps.outbox.services import publish
from apps.subscriptions.models import Subscription

# The class of the advisory locks by which calculations of one subscription take turns.
SETTLING_LOCKS = 7_201


@dataclass(frozen=True, slots=True)
class SpendDeal:
    """What is agreed; see `SpendAgreement`. Without an amount, none of the plan's or the price's holds."""

    kind: str
    amount: SpendAmount | None
    effective_from: datetime
    effective_to: datetime | None = None
    price_public_id: str | None = None
    description: str = ""
    idempotency_key: str | None = None


@transaction.atomic
def agree_spend(*, subscription_id: int, deal: SpendDeal, as_of: datetime) -> tuple[SpendAgreement, bool]:
    """Agree a commitment or a cap, or give the one that the same key agreed before.

    It takes the place of the plan's or the price's own for periods that begin in its window and are not over by now;
    of several the latest agreed holds.

    Returns:
        The agreement and whether it is new.

    Raises:
        InvalidError: the amount, the dates or the price do not fit; the bad field is named.
        ConflictError: the subscription has ended.
    """
    subscription = Subscription.objects.select_for_update(no_key=True).get(pk=subscription_id)
    rows = SpendAgreement.objects.filter(subscription=subscription)
    known = find_known(rows, deal.idempotency_key)
    if known is not None:
        return known, False
    require_live(subscription)
    errors = []
    if deal.effective_to is not None and deal.effective_to <= deal.effective_from:
        errors.append(FieldError("effectiveTo", "Must be after effectiveFrom.", "invalid"))
    if deal.amount is not None:
        errors.extend(amount_errors(deal.kind, deal.amount, currency=subscription.currency, field=""))
    if errors:
        raise InvalidError("The agreement is malformed.", errors=errors)
    hold_invoices(subscription)
    row = SpendAgreement(
        organization_id=subscription.organization_id,
        subscription=subscription,
        kind=deal.kind,
        price=_target(subscription, deal.price_public_id),
        amount=None if deal.amount is None else deal.amount.amount,
        cadence="" if deal.amount is None else deal.amount.cadence,
        effective_from=deal.effective_from,
        effective_to=deal.effective_to,
        description=deal.description,
        idempotency_key=deal.idempotency_key,
        placed_at=as_of,
    )
    row.save()
    publish(
        SpendAgreed(
            spend_agreement_id=row.public_id,
            subscription_id=subscription.public_id,
            kind=row.kind,
            amount=row.amount,
            effective_from=row.effective_from,
            effective_to=row.effective_to,
        ),
        organization_id=row.organization_id,
        object_id=row.public_id,
        at=as_of,
    )
    return row, True


@transaction.atomic
def withdraw_spend(*, agreement_id: int, as_of: datetime) -> SpendAgreement | None:
    """Take an agreement back: delete it, or end it with the last period that was billed with it; twice is fine.

    Returns:
        The agreement as it stands, None when it is deleted.
    """

    def announce(row: SpendAgreement, used_until: datetime | None) -> None:
        told = SpendWithdrawn(
            spend_agreement_id=row.public_id, subscription_id=row.subscription.public_id, effective_to=used_until
        )
        publish(told, organization_id=row.organization_id, object_id=row.public_id, at=as_of)

    return withdraw(SpendAgreement.objects.filter(pk=agreement_id), used_until=_used_until, announce=announce)


def take_turns(invoices: Sequence[Invoice]) -> None:
    """Let invoices of one subscription that commit or are capped be calculated one after the other.

    Of two at once each would see the other as not calculated, and both would leave a true-up to the other. It is no
    lock of a row: whoever changes a subscription holds it while it waits for its invoices (caller's transaction).
    """
    rows = SpendTerms.objects.filter(organization_id__in={invoice.organization_id for invoice in invoices})
    committing = set(rows.values_list("organization_id", flat=True))
    subscriptions = {invoice.subscription_id for invoice in invoices}
    agreed = SpendAgreement.objects.filter(subscription_id__in=many(subscriptions)).values_list(
        "subscription_id", flat=True
    )
    wanted = {invoice.subscription_id for invoice in invoices if invoice.organization_id in committing} | set(agreed)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s, key) FROM (SELECT unnest(%s::int[]) AS key ORDER BY key) AS keys",
            [SETTLING_LOCKS, sorted(wanted)],
        )


def _used_until(row: SpendAgreement) -> datetime | None:
    """Give the end of the last period that a calculated invoice settled by it."""
    lines = InvoiceLine.objects.filter(
        invoice__subscription_id=row.subscription_id,
        invoice__calculated_at__isnull=False,
        kind__in=[LineKind.COMMITMENT, LineKind.DISCOUNT],
    ).exclude(invoice__status=InvoiceStatus.CANCELLED)
    of_row = lines.alias(agreement=KT("provenance__sources__spend__ref__spendAgreementId")).filter(
        agreement=row.public_id
    )
    ends = of_row.values_list(KT("provenance__sources__spend__window__end"), flat=True)
    return max((parse_instant(end) for end in ends), default=None)


def _target(subscription: Subscription, public_id: str | None) -> Price | None:
    """Give the price whose periods are committed to or capped; None of the whole subscription.

    Raises:
        InvalidError: the subscription does not bill it, or bills it once.
    """
    if public_id is None:
        return None
    sold = PlanVersionPrice.objects.filter(plan_version_id=subscription.plan_version_id).values("price_id")
    billed = PriceRevision.objects.filter(pk__in=subscription.price_revision_ids).values("price_id")
    prices = Price.objects.filter(organization_id=subscription.organization_id, public_id=public_id)
    price = prices.filter(pk__in=sold.union(billed)).first()
    problem = None
    if price is None:
        problem = "Name a price of this subscription."
    elif price.billing_cadence == "P0D":
        problem = "This price bills once, so there is no period to commit to or to cap."
    if problem is not None:
        raise InvalidError("The agreement is malformed.", errors=[FieldError("priceId", problem, "invalid")])
    return price
