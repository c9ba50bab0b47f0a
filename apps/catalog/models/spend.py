import pgtrigger
from django.db import models
from django.db.models import Q

from apps.catalog.domain.cadences import OF_DAYS, OF_MONTHS
from apps.catalog.models.plans import PlanVersion
from apps.catalog.models.prices import PriceRevision
from apps.kernel.models import AmountField


class SpendKind(models.TextChoices):
    COMMITMENT = "commitment", "Minimum commitment"
    CAP = "cap", "Spend cap"


class SpendTerms(models.Model):
    """The least or the most that a period bills, as a version of a plan or a revision of a price has it for ever."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    plan_version = models.ForeignKey(
        PlanVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="spend_terms"
    )
    price_revision = models.ForeignKey(
        PriceRevision, null=True, blank=True, on_delete=models.PROTECT, related_name="spend_terms"
    )
    kind = models.CharField(max_length=10, choices=SpendKind)
    amount = AmountField(help_text="For a full period, in the plan's currency, stated as its prices are.")
    cadence = models.CharField(max_length=20, blank=True, help_text="ISO 8601; empty: each billing period.")

    class Meta:
        verbose_name_plural = "spend terms"
        constraints = [
            models.CheckConstraint(
                name="spendterms_of_version_or_revision",
                condition=Q(plan_version__isnull=False, price_revision__isnull=True)
                | Q(plan_version__isnull=True, price_revision__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["plan_version", "kind"],
                name="spendterms_once_a_version",
                condition=Q(plan_version__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["price_revision", "kind"],
                name="spendterms_once_a_revision",
                condition=Q(price_revision__isnull=False),
            ),
            models.CheckConstraint(
                name="spendterms_amount_in_range",
                condition=Q(kind="commitment", amount__gt=0) | Q(kind="cap", amount__gte=0),
            ),
            models.CheckConstraint(
                name="spendterms_cadence_is_a_step",
                condition=Q(cadence="")
                | (Q(cadence__regex=r"[1-9]") & (Q(cadence__regex=OF_MONTHS) | Q(cadence__regex=OF_DAYS))),
            ),
        ]
        indexes = [
            # Serves every calculation: which merchants have any.
            models.Index(fields=["organization", "kind"], name="spendterms_of_organization")
        ]
        triggers = [
            # What was billed by it must stay recomputable.
            pgtrigger.Protect(name="spend_terms_are_frozen", operation=pgtrigger.Update | pgtrigger.Delete)
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.amount.normalize():f}"
