from typing import ClassVar

import pghistory
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateRangeField, RangeOperators
from django.db import models
from django.db.models import Q

from apps.kernel.models import Entity
from apps.taxes.domain import rules


class Scheme(models.TextChoices):
    DOMESTIC = rules.DOMESTIC, "Of the country or region"
    OSS = rules.OSS, "One stop shop (consumers in the EU)"


class Businesses(models.TextChoices):
    """Who owes the tax of businesses that have a valid tax id."""

    BY_LAW = rules.BY_LAW, "Reverse charge within the EU, charged elsewhere"
    REVERSE_CHARGE = rules.REVERSED, "They owe it themselves"
    CHARGED = rules.CHARGED, "Charged like everybody"


@pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())
class TaxRegistration(Entity):
    """Where a merchant collects tax, under which id and from when to when."""

    PREFIX: ClassVar[str] = "txr"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    country = models.CharField(max_length=2, help_text="ISO 3166 code, such as DE.")
    region = models.CharField(
        max_length=20, blank=True, help_text="Code of a state or province, such as QC; empty: the whole country."
    )
    scheme = models.CharField(max_length=8, choices=Scheme, default=Scheme.DOMESTIC)
    tax_id = models.CharField(max_length=50, help_text="Under which the tax is collected.")
    businesses = models.CharField(
        max_length=14, choices=Businesses, default=Businesses.BY_LAW, help_text="Customers with a valid tax id."
    )
    valid = DateRangeField(help_text="Days; the last one is not in it.")

    class Meta:
        constraints = [
            ExclusionConstraint(
                name="taxregistration_one_at_a_time",
                expressions=[
                    ("organization", RangeOperators.EQUAL),
                    ("country", RangeOperators.EQUAL),
                    ("region", RangeOperators.EQUAL),
                    ("scheme", RangeOperators.EQUAL),
                    ("valid", RangeOperators.OVERLAPS),
                ],
            ),
            models.CheckConstraint(name="taxregistration_valid_some_day", condition=Q(valid__isempty=False)),
            models.CheckConstraint(name="taxregistration_country_is_code", condition=Q(country__regex=r"^[A-Z]{2}$")),
            models.CheckConstraint(name="taxregistration_has_id", condition=~Q(tax_id="")),
            models.CheckConstraint(
                name="taxregistration_known", condition=Q(scheme__in=Scheme.values, businesses__in=Businesses.values)
            ),
            models.CheckConstraint(
                name="taxregistration_oss_is_of_countries", condition=~Q(scheme="oss") | Q(region="")
            ),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="taxregistration_list")]

    def __str__(self) -> str:
        place = f"{self.country}-{self.region}" if self.region else self.country
        return f"{place} {self.tax_id}"
