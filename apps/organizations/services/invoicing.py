from django.db import transaction

from apps.organizations.models import Organization


@transaction.atomic
def set_consolidation(*, organization_id: int, is_wanted: bool) -> Organization:
    """Say whether a merchant's invoices of one customer are issued as one document; those issued stay as they are."""
    organization = Organization.objects.select_for_update().get(pk=organization_id)
    organization.consolidate_invoices = is_wanted
    organization.save(update_fields=["consolidate_invoices", "updated_at"])
    return organization
