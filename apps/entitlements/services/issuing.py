"""Making and ending rights."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

from django.db import IntegrityError, transaction

from apps.catalog.domain.templates import Template, TemplateError, read_template
from apps.catalog.models import Feature, Price
from apps.customers.models import Customer
from apps.entitlements.events import EntitlementCanceled, EntitlementCreated
from apps.entitlements.models import Entitlement, EntitlementMeter
from apps.entitlements.selectors.terms import metered_fields
from apps.entitlements.services.metering import end_meters_by_hand, meter_by_hand, open_pool
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.time import Cadence
from apps.outbox.services import Announcement, publish_all
from apps.subscriptions.models import Subscription


@transaction.atomic
def issue_entitlement(
    *,
    customer: Customer,
    feature: Feature,
    template: Mapping[str, Any],
    active_from: datetime,
    active_to: datetime | None = None,
    subscription: Subscription | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Entitlement:
    """Give a customer a feature by hand; a metered one counts what all prices of the feature meter.

    Raises:
        InvalidError: the template is not one for the feature, or the end does not lie after the start.
        ConflictError: the customer has a right to the feature in that time already.
    """
    try:
        terms = read_template(template, kind=feature.type)
    except TemplateError as error:
        raise template_refused(error, "template") from None
    if active_to is not None and active_to <= active_from:
        message = "The end must lie after the start."
        raise InvalidError(message, errors=[FieldError("activeTo", message, "invalid")])
    if subscription is not None and subscription.customer_id != customer.pk:
        message = "The subscription is another customer's."
        raise InvalidError(message, errors=[FieldError("subscriptionId", message, "invalid")])
    prices = list(
        Price.objects.filter(feature=feature, metric__isnull=False, is_flat=False, deleted_at__isnull=True).order_by(
            "pk"
        )
    )
    pool = _pool_of_prices(customer, feature, prices, terms, at=active_from)
    row = store_entitlement(
        customer=customer,
        feature=feature,
        terms=terms,
        template=dict(template),
        prices=prices,
        pool=pool,
        active_from=active_from,
        active_to=active_to,
        subscription=subscription,
        metadata=dict(metadata or {}),
    )
    if row is None:
        raise ConflictError(
            f"The customer has the feature {feature.key} in that time already; end that right first.",
            code="ENTITLEMENT_EXISTS",
        )
    if pool is not None:
        meter_by_hand(row, at=active_from)
    return row


def _pool_of_prices(
    customer: Customer, feature: Feature, prices: Iterable[Price], terms: Template, *, at: datetime
) -> Entitlement | None:
    """Give the pool that a feature is used from; None where its prices are in money.

    Raises:
        ConflictError: some prices are in one unit and some are not.
        InvalidError: the template asks for what a pool does not have.
    """
    units = {price.pricing_unit_id for price in prices} if feature.type == "metered" else set()
    if not units - {None}:
        return None
    if len(units) > 1:
        raise ConflictError(
            f"Prices of the feature {feature.key} are in different units; take it off those that are not meant.",
            code="FEATURE_UNITS_DIFFER",
        )
    require_pool_terms(terms)
    return open_pool(customer=customer, pricing_unit_id=cast(int, units.pop()), at=at)


def require_pool_terms(terms: Template) -> None:
    """Refuse terms that credits of a pool cannot have.

    Raises:
        InvalidError: rollover, or overage that resets carry.
    """
    if terms.rollover_min or terms.rollover_max or terms.is_preserving:
        message = "The feature is used in credits of a pool; they do not roll over, and overage waits for the next."
        raise InvalidError(message, errors=[FieldError("template", message, "invalid")])


def store_entitlement(
    *,
    customer: Customer,
    feature: Feature,
    terms: Template,
    template: dict[str, Any] | None,
    prices: Iterable[Price],
    active_from: datetime,
    active_to: datetime | None = None,
    subscription: Subscription | None = None,
    is_of_plan: bool = False,
    metadata: dict[str, str] | None = None,
    pool: Entitlement | None = None,
    first_allowance: Decimal | None = None,
) -> Entitlement | None:
    """Write a right down with its meters and announce it (caller's transaction).

    Args:
        first_allowance: units issued at the start, where they are not those of a reset.
        pool: what it is used from, if that is not its own units.

    Returns:
        None when the customer has the feature in that time already.
    """
    is_metered = feature.type == "metered"
    anchor = active_from if subscription is None else subscription.billing_anchor
    tz = customer.timezone or customer.organization.timezone if subscription is None else subscription.timezone
    prices = list(prices)
    is_billed = subscription is not None and pool is None and terms.is_soft and not terms.is_preserving
    row = Entitlement(
        organization_id=customer.organization_id,
        customer=customer,
        feature=feature,
        subscription=subscription,
        pool=pool,
        is_of_plan=is_of_plan,
        active_from=active_from,
        active_to=active_to,
        config=terms.config,
        slots=terms.slots,
        template=template,
        metadata=metadata or {},
        is_metered=is_metered,
        timezone=tz,
        first_allowance=first_allowance,
        billing_cadence=_billing_cadence(subscription, prices) if is_metered and is_billed and subscription else "",
        **(metered_fields(terms, anchor=anchor) if is_metered else {}),
    )
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        if "entitlement_one_of_a_feature" not in str(error):
            raise
        return None
    if is_metered and pool is None:
        add_meters(row, prices)
    created = EntitlementCreated(row.public_id, customer.public_id, feature.key, active_from)
    publish_all([Announcement(created, row.organization_id, row.public_id, active_from)])
    return row


def _billing_cadence(subscription: Subscription, prices: Iterable[Price]) -> str:
    """Give how often the usage of prices is billed, of several the shortest; empty where none is."""
    isos = {price.billing_cadence or subscription.billing_cadence for price in prices if price.bills_usage}
    known = [cadence for cadence in map(Cadence.parse, isos) if not cadence.is_once]
    shortest = min(known, key=lambda cadence: 30 * cadence.months + cadence.days, default=None)
    return "" if shortest is None else shortest.iso


def add_meters(row: Entitlement, prices: Iterable[Price]) -> int:
    """Let the usage of prices draw on an entitlement; those that do already are left (caller's transaction)."""
    known = set(EntitlementMeter.objects.filter(entitlement=row).values_list("price_id", flat=True))
    made = [
        EntitlementMeter(
            organization_id=row.organization_id, entitlement=row, price_id=price.pk, metric_id=price.metric_id
        )
        for price in prices
        if price.metric_id is not None and price.bills_usage and price.pk not in known
    ]
    EntitlementMeter.objects.bulk_create(made)
    return len(made)


def end_entitlement(row: Entitlement, *, at: datetime) -> None:
    """End a right before its time; one that has not begun never does (caller's transaction)."""
    row.active_to = max(at, row.active_from)
    row.is_canceled = True
    row.save(update_fields=["active_to", "is_canceled", "updated_at"])
    if row.pool_id is not None and not row.is_of_plan:
        end_meters_by_hand(row)
    ended = EntitlementCanceled(row.public_id, row.customer.public_id, row.right_to.key, row.active_to)
    publish_all([Announcement(ended, row.organization_id, row.public_id, row.active_to)])


@transaction.atomic
def cancel_entitlement(*, entitlement_id: int, as_of: datetime) -> Entitlement:
    """End a right now; ended already is no error."""
    row = (
        Entitlement.objects.select_for_update(of=("self",))
        .select_related("customer", "feature")
        .get(pk=entitlement_id)
    )
    if row.active_to is None or row.active_to > as_of:
        end_entitlement(row, at=as_of)
    return row


def template_refused(error: TemplateError, field: str) -> InvalidError:
    """Give the refusal of a template that names every bad key under a field."""
    errors = [FieldError(f"{field}.{key}", problem, "invalid") for key, problem in error.problems.items()]
    return InvalidError("The entitlement template is malformed.", errors=errors)
