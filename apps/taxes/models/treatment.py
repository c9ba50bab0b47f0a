import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.functional import cached_property

from apps.taxes.domain.treatment import Treatment


class TaxTreatment(models.Model):
    """A decision about tax as lines of invoices keep it; kept once however many lines it is of, and never changed."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the decision.")
    category = models.CharField(max_length=2, blank=True, help_text="Code of EN 16931.")
    basis = models.CharField(max_length=30, help_text="The rule that decided.")
    jurisdiction = models.CharField(max_length=40, blank=True)
    rate = models.DecimalField(max_digits=8, decimal_places=4, help_text="Percent of all its taxes.")
    percents = ArrayField(
        models.DecimalField(max_digits=8, decimal_places=4), default=list, blank=True, help_text="Of each tax."
    )
    facts = models.JSONField(help_text="All of the decision.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            # Also serves "is this decision kept already".
            models.UniqueConstraint(fields=["organization", "digest"], name="taxtreatment_once"),
        ]
        triggers = [
            pgtrigger.Protect(name="treatment_never_changes", operation=pgtrigger.Update | pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return f"{self.category or '—'} {self.jurisdiction} {self.rate.normalize():f} %"

    @cached_property
    def decision(self) -> Treatment:
        return Treatment.of_facts(self.facts)
