from typing import ClassVar

import pghistory
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateRangeField, RangeOperators
from django.db import models
from django.db.models import Q

from apps.kernel.models import Entity


@pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())
class TaxCategory(Entity):
    """A kind of product as tax law sees it; plans, metrics and fees name it by its code."""

    PREFIX: ClassVar[str] = "txc"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    code = models.CharField(max_length=30, help_text="As the tax code of plans, metrics and fees says it.")
    name = models.CharField(max_length=255)
    is_exempt = models.BooleanField(default=False, help_text="Exempt wherever it is taxed.")
    is_goods = models.BooleanField(
        default=False, help_text="It is shipped: leaving the country it is an export or a supply within the EU."
    )
    reason = models.CharField(
        max_length=255, blank=True, help_text="The rule that exempts it, as documents quote it."
    )
    reason_code = models.CharField(
        max_length=30, blank=True, help_text="Its code on e-invoices, such as VATEX-EU-132-1I."
    )

    class Meta:
        verbose_name_plural = "tax categories"
        constraints = [
            models.UniqueConstraint(fields=["organization", "code"], name="taxcategory_code_once"),
            models.CheckConstraint(
                name="taxcategory_code_is_slug", condition=Q(code__regex=r"^[a-z0-9][a-z0-9_-]*$")
            ),
            models.CheckConstraint(
                name="taxcategory_exempt_has_reason",
                condition=(Q(is_exempt=True) & ~Q(reason="")) | Q(is_exempt=False, reason="", reason_code=""),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class RateKind(models.TextChoices):
    STANDARD = "standard", "Standard"
    REDUCED = "reduced", "Reduced"
    ZERO = "zero", "Zero rated"
    EXEMPT = "exempt", "Exempt"


@pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())
class TaxRate(Entity):
    """A percent of one tax in one place from when to when; taxes of different names are added up."""

    PREFIX: ClassVar[str] = "txrt"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    country = models.CharField(max_length=2, help_text="ISO 3166 code, such as CA.")
    region = models.CharField(
        max_length=20, blank=True, help_text="Code of a state or province, such as QC; empty: the whole country."
    )
    postal_prefix = models.CharField(
        max_length=12, blank=True, help_text="Postal codes that begin so; empty: all of the place."
    )
    name = models.CharField(
        max_length=50, help_text="Of the tax, such as VAT or GST; of one name the most specific rate counts."
    )
    category = models.ForeignKey(
        TaxCategory, null=True, blank=True, on_delete=models.PROTECT, related_name="rates",
        help_text="Empty: everything without a rate of its own.",
    )  # fmt: skip
    kind = models.CharField(max_length=8, choices=RateKind, default=RateKind.STANDARD)
    percent = models.DecimalField(max_digits=7, decimal_places=4)
    reason = models.CharField(max_length=255, blank=True, help_text="Of an exempt rate, as documents quote it.")
    valid = DateRangeField(help_text="Days; the last one is not in it.")

    class Meta:
        constraints = [
            ExclusionConstraint(
                name="taxrate_one_at_a_time",
                expressions=[
                    ("organization", RangeOperators.EQUAL),
                    ("country", RangeOperators.EQUAL),
                    ("region", RangeOperators.EQUAL),
                    ("postal_prefix", RangeOperators.EQUAL),
                    ("name", RangeOperators.EQUAL),
                    (models.functions.Coalesce("category", 0), RangeOperators.EQUAL),
                    ("valid", RangeOperators.OVERLAPS),
                ],
            ),
            models.CheckConstraint(name="taxrate_valid_some_day", condition=Q(valid__isempty=False)),
            models.CheckConstraint(name="taxrate_country_is_code", condition=Q(country__regex=r"^[A-Z]{2}$")),
            models.CheckConstraint(name="taxrate_is_percent", condition=Q(percent__gte=0, percent__lte=100)),
            models.CheckConstraint(name="taxrate_name_filled", condition=~Q(name="")),
            models.CheckConstraint(
                name="taxrate_is_of_its_kind",
                condition=Q(kind__in=["standard", "reduced"], percent__gt=0, reason="")
                | Q(kind="zero", percent=0, reason="")
                | (Q(kind="exempt", percent=0) & ~Q(reason="")),
            ),
        ]
        indexes = [models.Index(fields=["organization", "country", "-id"], name="taxrate_list")]

    def __str__(self) -> str:
        place = f"{self.country}-{self.region}" if self.region else self.country
        return f"{place} {self.name} {self.percent.normalize():f} %"
