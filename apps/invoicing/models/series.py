from django.db import models
from django.db.models import Q


class NumberSeries(models.Model):
    """The counter behind one run of document numbers; its row lock makes them gapless."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=12, default="invoice")
    prefix = models.CharField(max_length=12)
    year = models.PositiveSmallIntegerField()
    last_number = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "number series"
        constraints = [
            models.UniqueConstraint(fields=["organization", "kind", "prefix", "year"], name="numberseries_once"),
            models.CheckConstraint(name="numberseries_year_sane", condition=Q(year__gte=1970)),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}-{self.year}"
