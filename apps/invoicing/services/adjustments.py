"""Agreeing something with one subscriber beside its prices, and taking it back."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import Max, Q, QuerySet

from apps.catalog.models import PlanVersionPrice, Price, PriceRevision
from apps.invoicing.domain.adjustments import PERCENTAGE, USAGE
from apps.invoicing.events import AdjustmentCreated, AdjustmentWithdrawn
from apps.invoicing.models import InvoiceLine, InvoiceStatus, LineKind, SubscriptionAdjustment
from apps.invoicing.selectors.adjustments import terms_of
from apps.invoicing.services.agreeing import find_known, hold_invoices, require_live, withdraw
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.time import Period
from apps.outbox.services import publish
from apps.rating.grouped import GroupedPrice, parse_price
from apps.rating.price_models import TransactionPriceModel
from apps.rating.price_models.standard import StandardPrice
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.timeline import keys_of


@dataclass(frozen=True, slots=True)
class Agreement:
    """What is agreed; see `SubscriptionAdjustment`."""

    type: str
    value: Decimal
    effective_from: datetime
    effective_to: datetime | None = None
    price_public_id: str | None = None
    description: str = ""
    idempotency_key: str | None = None


@transaction.atomic
def create_adjustment(
    *, subscription_id: int, agreement: Agreement, as_of: datetime
) -> tuple[SubscriptionAdjustment, bool]:
    """Attach an adjustment, or give the one that the same key attached before.

    It reaches what falls due from now on, in the open period too; what had closed is billed without it.

    Returns:
        The adjustment and whether it is new.

    Raises:
        InvalidError: the target is not one that such an adjustment can have; the bad field is named.
        ConflictError: the subscription has ended.
    """
    subscription = Subscription.objects.select_for_update(no_key=True).get(pk=subscription_id)
    rows = SubscriptionAdjustment.objects.filter(subscription=subscription)
    known = find_known(rows, agreement.idempotency_key)
    if known is not None:
        return known, False
    require_live(subscription)
    if agreement.effective_to is not None and agreement.effective_to <= agreement.effective_from:
        raise _invalid("effectiveTo", "Must be after effectiveFrom.")
    price = _target(subscription, agreement)
    row = SubscriptionAdjustment(
        organization_id=subscription.organization_id,
        subscription=subscription,
        type=agreement.type,
        value=agreement.value,
        price=price,
        price_key=_key_of(subscription, price) if price is not None else "",
        effective_from=agreement.effective_from,
        effective_to=agreement.effective_to,
        description=agreement.description,
        idempotency_key=agreement.idempotency_key,
        placed_at=max(as_of, _latest_due(subscription) or as_of),
    )
    row.save()
    publish(
        AdjustmentCreated(
            adjustment_id=row.public_id,
            subscription_id=subscription.public_id,
            type=row.type,
            value=row.value,
            effective_from=row.effective_from,
            effective_to=row.effective_to,
        ),
        organization_id=row.organization_id,
        object_id=row.public_id,
        at=as_of,
    )
    return row, True


@transaction.atomic
def withdraw_adjustment(*, adjustment_id: int, as_of: datetime) -> SubscriptionAdjustment | None:
    """Take an adjustment back: delete it, or end it with the last period that was billed with it; twice is fine.

    Returns:
        The adjustment as it stands, None when it is deleted.
    """

    def announce(row: SubscriptionAdjustment, billed_until: datetime | None) -> None:
        publish(
            AdjustmentWithdrawn(
                adjustment_id=row.public_id,
                subscription_id=row.subscription.public_id,
                effective_to=billed_until,
            ),
            organization_id=row.organization_id,
            object_id=row.public_id,
            at=as_of,
        )

    found = SubscriptionAdjustment.objects.filter(pk=adjustment_id)
    return withdraw(found, used_until=_billed_until, announce=announce)


def _latest_due(subscription: Subscription) -> datetime | None:
    """Wait for calculations that go on, and give when the latest charge of calculated invoices fell due."""
    hold_invoices(subscription)
    in_advance = Q(payment_term="in_advance") & ~Q(kind=LineKind.METERED)
    due = _calculated_lines(subscription.pk).aggregate(
        start=Max("period_start", filter=in_advance), end=Max("period_end", filter=~in_advance)
    )
    return max((at for at in due.values() if at is not None), default=None)


def _calculated_lines(subscription_id: int) -> QuerySet[InvoiceLine]:
    return InvoiceLine.objects.filter(
        invoice__subscription_id=subscription_id,
        invoice__calculated_at__isnull=False,
        # A period with early bills is still open: its own bill goes by what is agreed by then.
        invoice__part=0,
        kind__in=[LineKind.FEE, LineKind.METERED, LineKind.ADJUSTMENT],
        price_revision__isnull=False,
    ).exclude(invoice__status=InvoiceStatus.CANCELLED)


def _billed_until(row: SubscriptionAdjustment) -> datetime | None:
    """Give the end of the last period that a calculated invoice billed with it."""
    terms = terms_of(row)
    ends = []
    for line in _calculated_lines(row.subscription_id).select_related("price_revision"):
        assert line.price_revision is not None
        period = Period(line.period_start, line.period_end)
        if terms.reaches(period, is_in_advance=line.is_prepaid, price_id=line.price_revision.price_id):
            ends.append(line.period_end)
    return max(ends, default=None)


def _target(subscription: Subscription, agreement: Agreement) -> Price | None:
    """Give the price whose quantity changes.

    Raises:
        InvalidError: there is none, or not one whose quantity can change so.
    """
    if agreement.type == PERCENTAGE:
        if agreement.price_public_id is not None:
            raise _invalid("targetPriceIds", "A percentage is off every charge; leave this out.")
        return None
    sold = PlanVersionPrice.objects.filter(plan_version_id=subscription.plan_version_id).values("price_id")
    billed = PriceRevision.objects.filter(pk__in=subscription.price_revision_ids).values("price_id")
    prices = Price.objects.select_related("metric", "fee").filter(organization_id=subscription.organization_id)
    price = prices.filter(public_id=agreement.price_public_id, pk__in=sold.union(billed)).first()
    if price is None:
        raise _invalid("targetPriceIds", "Name one price of this subscription.")
    if price.pricing_unit_id is not None:
        raise _invalid("targetPriceIds", "This price is in credits; grant the customer some instead.")
    model = parse_price(price.model, price.properties)
    if isinstance(model, GroupedPrice | TransactionPriceModel):
        raise _invalid("targetPriceIds", "This price looks at single events or groups, not at one quantity.")
    if price.billing_cadence == "P0D":
        raise _invalid("targetPriceIds", "This price bills once, so there is no period to measure.")
    if agreement.type == USAGE and not price.bills_usage:
        raise _invalid("targetPriceIds", "Only usage can be waived; name a metered price.")
    if agreement.type == USAGE and isinstance(model, StandardPrice) and model.unit_price < 0:
        raise _invalid("targetPriceIds", "This price is a rebate; fewer units would raise the invoice.")
    return price


def _key_of(subscription: Subscription, price: Price) -> str:
    """Give the line that a price of a subscription is, by the version it is on, else by the latest that sold it."""
    return keys_of([subscription])[subscription.pk][price.pk]


def _invalid(field: str, message: str) -> InvalidError:
    return InvalidError("The adjustment is malformed.", errors=[FieldError(field, message, "invalid")])
