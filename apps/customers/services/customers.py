from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from apps.customers.events import CustomerCreated
from apps.customers.models import Customer
from apps.customers.services.links import follow_external_id
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.organizations.models import Organization
from apps.outbox.services import publish

Blocker = dict[str, Any]

# What keeps a customer from being deleted; the apps that know say so at start-up.
_blockers: list[Callable[[Customer], Blocker | None]] = []


def register_blocker(find: Callable[[Customer], Blocker | None]) -> None:
    """Let a higher app name what keeps a customer: `{type, count, items[{id, status}]}` or None."""
    _blockers.append(find)


@transaction.atomic
def create_customer(
    *,
    merchant: Organization,
    consumer: Organization,
    external_id: str | None = None,
    tax_id: str = "",
    tax_rates: dict[str, Any] | None = None,
    timezone: str = "",
    as_of: datetime,
) -> tuple[Customer, bool]:
    """Link a consumer to a merchant, or give the link that exists.

    Returns:
        The customer and whether it is new.

    Raises:
        ConflictError: another customer has the external id.
    """
    known = Customer.objects.filter(organization=merchant, consumer=consumer, deleted_at__isnull=True).first()
    if known is not None:
        return known, False
    try:
        with transaction.atomic():
            customer = Customer.objects.create(
                organization=merchant,
                consumer=consumer,
                external_id=external_id or None,
                tax_id=tax_id,
                tax_rates=tax_rates or {},
                timezone=timezone,
            )
            follow_external_id(customer=customer, as_of=as_of)
    except IntegrityError:
        known = Customer.objects.filter(organization=merchant, consumer=consumer, deleted_at__isnull=True).first()
        if known is not None:
            return known, False
        raise _taken(external_id) from None
    publish(
        CustomerCreated(
            customer_id=customer.public_id, consumer_id=consumer.public_id, external_id=customer.external_id
        ),
        organization_id=merchant.pk,
        object_id=customer.public_id,
        at=as_of,
    )
    return customer, True


@transaction.atomic
def update_customer(*, customer_id: int, changes: dict[str, Any], as_of: datetime) -> Customer:
    """Change what a merchant may change of a customer; an own id stands for it from its present on.

    Raises:
        ConflictError: another customer has the external id.
    """
    customer = Customer.objects.select_for_update(of=("self",)).select_related("consumer").get(pk=customer_id)
    for name, value in changes.items():
        setattr(customer, name, value)
    try:
        with transaction.atomic():
            customer.save()
            follow_external_id(customer=customer, as_of=as_of)
    except IntegrityError:
        raise _taken(customer.external_id) from None
    return customer


@transaction.atomic
def delete_customer(*, customer_id: int, as_of: datetime) -> None:
    """Withdraw a customer that nothing keeps.

    Raises:
        ConflictError: naming everything that keeps it.
    """
    customer = Customer.objects.select_for_update().get(pk=customer_id)
    blockers = [blocker for find in _blockers if (blocker := find(customer)) is not None]
    if blockers:
        raise ConflictError(
            "The customer cannot be deleted yet; end what keeps it first.",
            code="CUSTOMER_IN_USE",
            details={"blockers": blockers},
        )
    customer.deleted_at = as_of
    customer.save(update_fields=["deleted_at", "updated_at"])
    follow_external_id(customer=customer, as_of=as_of)


def check_tax_rates(rates: dict[str, Any]) -> dict[str, Any]:
    """Check a map of percents.

    Raises:
        InvalidError: a rate is not a number from 0 to 100.
    """
    errors = [
        FieldError(f"taxRates.{name}", "Give a percent from 0 to 100.", "out_of_range")
        for name, rate in rates.items()
        if isinstance(rate, bool) or not hasattr(rate, "__le__") or isinstance(rate, str) or not 0 <= rate <= 100
    ]
    if errors:
        raise InvalidError("The tax rates are out of range.", errors=errors)
    # Kept as text: JSON columns have no exact decimals.
    return {name: str(rate) for name, rate in rates.items()}


def _taken(external_id: str | None) -> ConflictError:
    return ConflictError(f"Another customer has the externalId {external_id}.", code="EXTERNAL_ID_TAKEN")
