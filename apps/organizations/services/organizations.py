from typing import Any

from django.db import transaction

from apps.organizations.domain.roles import Role
from apps.organizations.models import Environment, Membership, Organization, User


@transaction.atomic
def create_merchant(
    *, name: str, email: str, owner: User, environment: str = Environment.TEST, **settings: Any
) -> Organization:
    """Make an organization that sells, with its first owner."""
    merchant = Organization.objects.create(
        name=name, email=email, is_merchant=True, environment=environment, **settings
    )
    Membership.objects.create(organization=merchant, user=owner, role=Role.OWNER)
    return merchant


@transaction.atomic
def find_or_create_consumer(
    *, merchant: Organization, name: str, email: str, phone: str = "", address: dict[str, str] | None = None
) -> Organization:
    """Give the merchant's managed consumer with this e-mail, making it when there is none.

    Reuse stays within one merchant: another merchant's consumers are never revealed by their e-mail.
    """
    # The merchant's row serialises two calls for the same e-mail.
    Organization.objects.select_for_update(no_key=True).get(pk=merchant.pk)
    known = Organization.objects.filter(managed_by=merchant, email__iexact=email).first() if email else None
    if known is not None:
        return known
    address = address or {}
    return Organization.objects.create(
        name=name,
        email=email,
        phone=phone,
        billing_emails=[email] if email else [],
        is_consumer=True,
        managed_by=merchant,
        environment=merchant.environment,
        line1=address.get("line1", ""),
        line2=address.get("line2", ""),
        city=address.get("city", ""),
        state=address.get("state", ""),
        country=address.get("country", ""),
        zip_code=address.get("zipCode", ""),
    )
