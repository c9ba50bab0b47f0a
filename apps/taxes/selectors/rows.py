"""What a merchant set about taxes, as lists show it."""

from django.db.models import QuerySet

from apps.taxes.models import TaxCategory, TaxExemption, TaxRate, TaxRegistration


def registrations_of(*, organization_id: int) -> QuerySet[TaxRegistration]:
    """Give a merchant's registrations, newest first."""
    rows = TaxRegistration.objects.filter(organization_id=organization_id)
    return rows.select_related("organization").order_by("-id")


def rates_of(*, organization_id: int) -> QuerySet[TaxRate]:
    """Give a merchant's rates, newest first."""
    rows = TaxRate.objects.filter(organization_id=organization_id)
    return rows.select_related("organization", "category").order_by("-id")


def categories_of(*, organization_id: int) -> QuerySet[TaxCategory]:
    """Give a merchant's product tax categories, newest first."""
    rows = TaxCategory.objects.filter(organization_id=organization_id)
    return rows.select_related("organization").order_by("-id")


def exemptions_of(*, organization_id: int) -> QuerySet[TaxExemption]:
    """Give the exemptions of a merchant's customers, newest first."""
    rows = TaxExemption.objects.filter(organization_id=organization_id)
    return rows.select_related("organization", "customer__consumer").order_by("-id")
