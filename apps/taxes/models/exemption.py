from typing import ClassVar

import pghistory
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateRangeField, RangeOperators
from django.db import models
from django.db.models import Q

from apps.customers.models import ZeroTaxReason
from apps.kernel.models import Entity


@pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())
class TaxExemption(Entity):
    """That a customer pays no tax somewhere: why, by which certificate, from when to when."""

    PREFIX: ClassVar[str] = "txe"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey("customers.Customer", on_delete=models.PROTECT, related_name="tax_exemptions")
    country = models.CharField(max_length=2, blank=True, help_text="Empty: everywhere.")
    region = models.CharField(max_length=20, blank=True, help_text="Empty: the whole country.")
    category = models.CharField(max_length=2, choices=ZeroTaxReason, default=ZeroTaxReason.EXEMPT)
    certificate = models.CharField(max_length=100, blank=True, help_text="Number of the document that shows it.")
    reason = models.CharField(max_length=255, help_text="The rule that says so, as documents quote it.")
    valid = DateRangeField(help_text="Days; the last one is not in it.")

    class Meta:
        constraints = [
            ExclusionConstraint(
                name="taxexemption_one_at_a_time",
                expressions=[
                    ("customer", RangeOperators.EQUAL),
                    ("country", RangeOperators.EQUAL),
                    ("region", RangeOperators.EQUAL),
                    ("valid", RangeOperators.OVERLAPS),
                ],
            ),
            models.CheckConstraint(name="taxexemption_valid_some_day", condition=Q(valid__isempty=False)),
            models.CheckConstraint(
                name="taxexemption_country_is_code",
                condition=Q(country="", region="") | Q(country__regex="^[A-Z]{2}$"),
            ),
            models.CheckConstraint(name="taxexemption_says_why", condition=~Q(reason="")),
            models.CheckConstraint(
                name="taxexemption_category_known", condition=Q(category__in=ZeroTaxReason.values)
            ),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="taxexemption_list")]

    def __str__(self) -> str:
        return f"{self.customer} {self.certificate or self.get_category_display()}"
